#!/usr/bin/env bash
# See to it that PostgreSQL's server binaries (initdb, postgres) are on this machine; print where.
#
# Uses what is there. Otherwise, as root on Debian or a child of it, installs the distribution's package without
# making or starting a cluster: the tests run their own, in a temporary folder (tests/postgres_server.py).
set -euo pipefail

has_server() { [ -n "$1" ] && [ -x "$1/initdb" ] && [ -x "$1/postgres" ]; }

find_server() {
  local folder
  if folder=$(command -v initdb); then
    folder=$(dirname "$(readlink -f "$folder")")
    if has_server "$folder"; then echo "$folder" && return; fi
  fi
  for folder in $(ls -d /usr/lib/postgresql/*/bin 2>/dev/null | sort -rV); do
    if has_server "$folder"; then echo "$folder" && return; fi
  done
  folder=$(pg_config --bindir 2>/dev/null) || folder=
  if has_server "$folder"; then echo "$folder" && return; fi
  return 1
}

remedy() {
  cat >&2 <<'TEXT'
PostgreSQL's server binaries (initdb, postgres) were not found in PATH, /usr/lib/postgresql/*/bin or
`pg_config --bindir`, and cannot be installed from here. Install them and try again:
  Debian, Ubuntu   sudo apt-get install postgresql
  Fedora           sudo dnf install postgresql-server
  macOS            brew install postgresql
The server need not be started.
TEXT
  exit 1
}

if ! find_server >/dev/null; then
  if [ "$(id -u)" -ne 0 ] || ! command -v apt-get >/dev/null; then remedy; fi
  echo "installing PostgreSQL from the distribution's packages" >&2
  export DEBIAN_FRONTEND=noninteractive
  {
    apt-get update -qq
    # postgresql-common first, so that the server's package finds it told to make no cluster.
    apt-get install -y -qq --no-install-recommends postgresql-common
    sed -ri 's/^#?\s*create_main_cluster\b.*$/create_main_cluster = false/' /etc/postgresql-common/createcluster.conf
    apt-get install -y -qq --no-install-recommends postgresql
  } </dev/null >&2 || remedy
  find_server >/dev/null || remedy
fi

folder=$(find_server)
echo "$("$folder/postgres" --version), in $folder"
