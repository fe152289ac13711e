#!/bin/sh
# What `make demo` runs: the incident, without Interlock and with it. Everything that it makes is in .demo/.
# demo.sh RUNTIME runs it on that agent runtime, out of .venv-runtimes; demo.sh RUNTIME NAME leaves its worlds and its
# ledger in .demo/NAME/ instead of .demo/run/.
set -eu
cd "$(dirname "$0")/.."
runtime=${1:-plain}
case $runtime in
    plain) venv=.venv ;;
    *) venv=.venv-runtimes ;;
esac
scripts/demo_setup.sh
export OPENAI_AGENTS_DISABLE_TRACING=1 LANGSMITH_TRACING=false # what runtimes would send to their makers
exec $venv/bin/python -m examples.support.demo "$runtime" "${2:-run}"
