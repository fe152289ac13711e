#!/bin/sh
# What `make demo` runs: the incident, without Interlock and with it. Everything that it makes is in .demo/;
# demo.sh NAME leaves its worlds and its ledger in .demo/NAME/ instead of .demo/run/.
set -eu
cd "$(dirname "$0")/.."
scripts/demo_setup.sh
exec .venv/bin/python -m examples.support.demo "$@"
