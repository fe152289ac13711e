#!/usr/bin/env bash
# venv.sh DIRECTORY LOCKFILE [alone]: an environment with the locked packages and the project itself, editable; `alone`:
# without the project.
#
# Takes `python3` where it is in range, else python3.13, 3.12, 3.11; PYTHON=… names another.
set -euo pipefail
cd "$(dirname "$0")/.."
directory=$1 lock=$2 alone=${3-}

in_range() {
  "$1" -c 'import sys, venv, ensurepip; sys.exit(not (3, 11) <= sys.version_info[:2] <= (3, 13))' >/dev/null 2>&1
}

python=
for candidate in ${PYTHON:-python3 python3.13 python3.12 python3.11 /usr/bin/python3}; do
  if in_range "$candidate"; then python=$candidate && break; fi
done
if [ -z "$python" ]; then
  echo "No Python 3.11, 3.12 or 3.13 with venv was found. Install one (Debian: apt-get install python3-venv)," >&2
  echo "or name it: make install PYTHON=/path/to/python3.12" >&2
  exit 1
fi

version() { "$1" -c 'import sys; print(sys.version)' 2>/dev/null; }

# Kept where it is of this Python and has not moved with its folder, so that whoever works in it is not disturbed.
if [ "$(version "$directory/bin/python")" != "$(version "$python")" ] ||
  ! head -n 1 "$directory/bin/pip" 2>/dev/null | grep -qF "$PWD/$directory/bin/python"; then
  rm -rf "$directory"
  "$python" -m venv "$directory"
fi
pip=("$directory/bin/python" -m pip install --quiet)
"${pip[@]}" --no-deps -r "$lock"
if [ "$alone" != alone ]; then "${pip[@]}" --no-deps --no-build-isolation --editable .; fi
"$directory/bin/python" -m pip check >/dev/null || { "$directory/bin/python" -m pip check >&2; exit 1; }
echo "$directory: $("$directory/bin/python" -V), $(grep -c == "$lock") locked packages"
