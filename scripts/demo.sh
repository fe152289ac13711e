#!/bin/sh
# The incident, without Interlock and with it: what `make demo` runs. Everything that it makes is in .demo/.
set -eu
cd "$(dirname "$0")/.."
scripts/demo_setup.sh
exec .venv/bin/python -m examples.support.demo
