#!/usr/bin/env bash
# See to it that Chromium is on this machine, for the tests that use a real browser; print where.
#
# Uses what is there. Otherwise, as root on Debian or a child of it, installs the distribution's package. Nothing is
# fetched by Playwright, which only drives what this finds (tests/faces/console/browser.py).
set -euo pipefail

find_browser() { command -v chromium || command -v chromium-browser || command -v google-chrome; }

remedy() {
  cat >&2 <<'TEXT'
Chromium was not found in PATH (chromium, chromium-browser, google-chrome), and cannot be installed from here.
Install it and try again:
  Debian           sudo apt-get install chromium
  Fedora           sudo dnf install chromium
  macOS            brew install --cask chromium
TEXT
  exit 1
}

if ! find_browser >/dev/null; then
  if [ "$(id -u)" -ne 0 ] || ! command -v apt-get >/dev/null; then remedy; fi
  echo "installing Chromium from the distribution's packages" >&2
  export DEBIAN_FRONTEND=noninteractive
  {
    apt-get update -qq
    apt-get install -y -qq --no-install-recommends chromium fonts-liberation
  } </dev/null >&2 || remedy
  find_browser >/dev/null || remedy
fi

browser=$(find_browser)
echo "$("$browser" --version --no-sandbox 2>/dev/null | head -n 1), $browser"
