#!/usr/bin/env bash
# install.sh NAME…|all: a peer of the bench, in an environment of its own under .cache/bench/peers/NAME, as its lock says.
#
# None of them is a dependency of the project. They want Python 3.12 or 3.13; PYTHON=… names one.
set -euo pipefail
cd "$(dirname "$0")/../.."

suits() { "$1" -c 'import sys, venv, ensurepip; sys.exit(not (3, 12) <= sys.version_info[:2] <= (3, 13))' >/dev/null 2>&1; }

python=
for candidate in ${PYTHON:-python3.12 python3.13 python3 "$HOME"/.pyenv/versions/3.1[23].*/bin/python}; do
  if suits "$candidate"; then python=$candidate && break; fi
done
if [ -z "$python" ]; then
  echo "No Python 3.12 or 3.13 with venv was found; name one: PYTHON=/path/to/python3.12 $0 $*" >&2
  exit 1
fi

names=("$@")
if [ "${*:-all}" = all ]; then names=(toolgate fastmcp litellm contextforge); fi
for name in "${names[@]}"; do
  lock=benchmarks/peers/locks/$name.lock place=.cache/bench/peers/$name
  if [ ! -f "$lock" ]; then echo "there is no peer $name" >&2 && exit 2; fi
  rm -rf "$place"
  "$python" -m venv "$place"
  nice "$place/bin/python" -m pip install --quiet --no-deps --requirement "$lock"
  cp "$lock" "$place/installed.lock"  # what the bench looks at
  echo "$place: $("$place/bin/python" -V), $(grep -c == "$lock") locked packages"
done
