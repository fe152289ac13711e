#!/usr/bin/env bash
# Write anew: requirements.lock (the environment of `make install`), requirements-runtimes.lock (that of the tests with
# agent runtimes), requirements-crewai.lock (that of CrewAI, which has to be alone), requirements-bench.lock (that of
# `make bench`) and requirements-serve.lock (what the container installs). Given names of those files, only these.
#
# A clean environment is made for every supported Python that is found here (3.11, 3.12, 3.13), frozen, and the lists
# are merged: a pin that is not the same everywhere carries an environment marker. The project itself is not in it.
set -euo pipefail
cd "$(dirname "$0")/.."

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

pythons() {  # every working interpreter in range, one a version
  local candidate version seen=" "
  for candidate in python3 python3.11 python3.12 python3.13 ${INTERLOCK_PYTHONS:-}; do
    version=$("$candidate" -c 'import sys, venv, ensurepip; print("%d.%d" % sys.version_info[:2])' 2>/dev/null) || continue
    case "$version" in 3.11 | 3.12 | 3.13) ;; *) continue ;; esac
    case "$seen" in *" $version "*) continue ;; esac
    seen+="$version "
    echo "$version $candidate"
  done
}

wanted() {  # the project's requirements with the given extras, or those of `--group GROUP` alone, one a line
  "$1" - "${@:2}" <<'PY'
import sys, tomllib
with open("pyproject.toml", "rb") as file:
    said = tomllib.load(file)
if sys.argv[1] == "--group":
    lines = said["dependency-groups"][sys.argv[2]]
else:
    project = said["project"]
    lines = project["dependencies"] + [r for extra in sys.argv[1:] for r in project["optional-dependencies"][extra]]
print(*lines, sep="\n")
PY
}

only=" $* "

lock() {  # lock FILE EXTRA... | lock FILE --group GROUP
  local file=$1 version python
  shift
  if [ "$only" != "  " ] && [[ "$only" != *" $file "* ]]; then return; fi
  rm -rf "$work/frozen" && mkdir "$work/frozen"
  while read -r version python; do
    echo "$file: resolving for Python $version" >&2
    rm -rf "$work/env" && "$python" -m venv "$work/env"
    wanted "$work/env/bin/python" "$@" | grep -v '^$' >"$work/wanted.txt"
    "$work/env/bin/python" -m pip install --quiet --disable-pip-version-check -r "$work/wanted.txt"
    "$work/env/bin/python" -m pip list --format=json --disable-pip-version-check >"$work/frozen/$version.json"
  done < <(pythons)
  "$work/env/bin/python" - "$work/frozen" "$*" >"$work/lock" <<'PY'
import json, pathlib, sys
NOT_OURS = {"pip", "setuptools", "wheel", "interlock"}
versions = {p.stem: {d["name"].lower().replace("_", "-"): d["version"] for d in json.loads(p.read_text())}
            for p in sorted(pathlib.Path(sys.argv[1]).glob("*.json"))}
what = "the group" + sys.argv[2].removeprefix("--group") if "--group" in sys.argv[2] else f"the extras {sys.argv[2]}"
print(f"# Written by scripts/lock.sh with {what}, on Python {', '.join(versions)}. Do not edit.")
for name in sorted(set().union(*versions.values()) - NOT_OURS):
    pins = {}
    for python, found in versions.items():
        if name in found:
            pins.setdefault(found[name], []).append(python)
    for pin, pythons in pins.items():
        everywhere = len(pythons) == len(versions)
        marker = "" if everywhere else " ; " + " or ".join(f'python_version == "{python}"' for python in pythons)
        print(f"{name}=={pin}{marker}")
PY
  cp "$work/lock" "$file"
}

lock requirements.lock build otel test dev
lock requirements-runtimes.lock build test \
  openai-agents langchain pydantic-ai agent-framework google-adk anthropic claude-agent
lock requirements-crewai.lock --group crewai
lock requirements-bench.lock build otel bench
lock requirements-serve.lock build otel
