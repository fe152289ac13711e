"""A PostgreSQL server of one's own: made in a temporary folder, gone afterwards. Not a way to reach an existing server.

Law: the server is never run by root, listens on loopback and on a socket in its own folder only, and does not outlive
the process that asked for it, however that process ends. Both ends take one road: a small shell that owns the server
waits on a pipe; when the pipe closes (`stop()`, or our death) it stops the server and removes the folder.
"""

import itertools
import os
import pwd
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import psycopg
from psycopg import sql

ACCOUNT = "interlock-pg"  #: the system user that runs the server where we are root
DEBIAN = Path("/usr/lib/postgresql")  #: where Debian puts its servers, a folder a version
SUPERUSER = "interlock"  #: the database's own superuser
OWNER = "gateway"  #: who owns the databases of tests, and may nothing else: row-level security binds it
START_SECONDS = 60.0
STOP_SECONDS = 45.0  #: longer than the supervisor needs for its three signals

SETTINGS = {
    "listen_addresses": "127.0.0.1",
    "max_connections": "200",
    "shared_buffers": "64MB",
    "fsync": "on",
    "synchronous_commit": "on",
    "timezone": "UTC",
}
INITDB = ["--encoding=UTF8", "--locale=C", "--auth-local=trust", "--auth-host=trust", "--no-sync"]
NOT_DURABLE = {"fsync": "off", "synchronous_commit": "off", "full_page_writes": "off"}

#: $1 is the folder of the binaries, $2 the server's own. INT asks for a fast shutdown, QUIT for an immediate one.
SUPERVISOR = r"""
exec 3<&0 </dev/null
"$1/postgres" -D "$2/data" >>"$2/log" 2>&1 3<&- &
server=$!
{
  read -r _ <&3
  : >"$2/closing"
  for signal in INT QUIT KILL; do
    kill -$signal $server || break
    tries=0
    while kill -0 $server && [ $tries -lt 100 ]; do sleep 0.1; tries=$((tries + 1)); done
  done
} 2>/dev/null &
watcher=$!
wait $server
code=$?
if [ -e "$2/closing" ]; then rm -rf "$2"; fi
kill $watcher 2>/dev/null
exit $code
"""


class PostgresUnavailable(Exception):
    """No server can be run here; the message names the remedy."""


class PostgresServer:
    """A private server: `with PostgresServer() as server: psycopg.connect(server.create_database())`."""

    def __init__(
        self,
        *,
        durable: bool = True,
        settings: dict[str, str] | None = None,
        choose_port: Callable[[], int] | None = None,
    ) -> None:
        self.settings = SETTINGS | ({} if durable else NOT_DURABLE) | (settings or {})
        self.binaries = find_binaries()
        self.account = find_account()
        self.folder: Path | None = None
        self.port = 0
        self._choose_port = choose_port or free_port
        self._supervisor: subprocess.Popen[bytes] | None = None
        self._numbers = itertools.count(1)

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    @property
    def url(self) -> str:
        """The URL of the maintenance database."""
        return self.url_of("postgres")

    def url_of(self, database: str, user: str = SUPERUSER) -> str:
        """The URL of one database of this server."""
        return f"postgresql://{user}@127.0.0.1:{self.port}/{database}"

    def create_database(self, template: str = "template1") -> str:
        """Make a fresh database, a copy of the template (which nobody may be connected to); answers its owner's URL."""
        name = f"test_{next(self._numbers)}"
        self._administer("CREATE DATABASE {} TEMPLATE {} OWNER {}", name, template, OWNER)
        return self.url_of(name, OWNER)

    def drop_database(self, url: str) -> None:
        """Drop a database by its URL, and throw out whoever is still connected."""
        self._administer("DROP DATABASE IF EXISTS {} WITH (FORCE)", url.rsplit("/", 1)[1])

    def _administer(self, statement: str, *names: str) -> None:
        with psycopg.connect(self.url, autocommit=True) as connection:
            connection.execute(sql.SQL(statement).format(*map(sql.Identifier, names)))

    def start(self) -> None:
        """Make the cluster and run it; returns when it answers."""
        self.folder = Path(tempfile.mkdtemp(prefix="interlock-pg-", dir=reachable_folder(self.account)))
        try:
            os.chown(self.folder, self.account.pw_uid, self.account.pw_gid)
            self._make_cluster(self.folder)
            self._run(self.folder)
            self._administer("CREATE ROLE {} LOGIN", OWNER)
        except BaseException:
            self.stop()
            raise

    def stop(self) -> None:
        """Stop the server and remove its folder. Does nothing the second time."""
        self._stop_supervisor()
        folder, self.folder = self.folder, None
        if folder is not None:  # the supervisor has removed it, unless it never ran or had to be killed
            shutil.rmtree(folder, ignore_errors=True)

    def _make_cluster(self, folder: Path) -> None:
        made = subprocess.run(
            [self.binaries / "initdb", "--pgdata", folder / "data", "--username", SUPERUSER, *INITDB],
            **self._as_account(folder),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            check=False,
        )
        if made.returncode != 0:
            raise PostgresUnavailable(f"initdb failed:\n{made.stdout.decode(errors='replace')}")

    def _run(self, folder: Path) -> None:
        """Start the server on a free port; on another one where somebody was quicker."""
        for _ in range(5):
            self.port = self._choose_port()
            self._configure(folder)
            self._supervisor = subprocess.Popen(
                ["/bin/sh", "-c", SUPERVISOR, "interlock-pg", self.binaries, folder],
                **self._as_account(folder),
                stdin=subprocess.PIPE,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
                start_new_session=True,  # Ctrl-C is for us, not for the server
            )
            if self._is_ready(folder, self._supervisor):
                return
            self._stop_supervisor()
        raise PostgresUnavailable(f"the server did not start:\n{(folder / 'log').read_text(errors='replace')}")

    def _configure(self, folder: Path) -> None:
        settings = self.settings | {"port": str(self.port), "unix_socket_directories": str(folder)}
        lines = [f"{name} = '{value}'\n" for name, value in settings.items()]
        (folder / "data" / "postgresql.auto.conf").write_text("".join(lines))

    def _is_ready(self, folder: Path, supervisor: subprocess.Popen[bytes]) -> bool:
        """Whether the server came up; False as soon as it has given up."""
        status, until = folder / "data" / "postmaster.pid", time.monotonic() + START_SECONDS
        while supervisor.poll() is None:
            if status.exists() and status.read_text().rstrip().endswith("ready"):
                return True
            if time.monotonic() > until:
                raise PostgresUnavailable(f"the server is not ready after {START_SECONDS:.0f} seconds")
            time.sleep(0.02)
        return False

    def _stop_supervisor(self) -> None:
        supervisor, self._supervisor = self._supervisor, None
        if supervisor is None:
            return
        assert supervisor.stdin is not None
        supervisor.stdin.close()
        try:
            supervisor.wait(STOP_SECONDS)
        except subprocess.TimeoutExpired:
            os.killpg(supervisor.pid, signal.SIGKILL)
            supervisor.wait()

    def _as_account(self, folder: Path) -> dict[str, Any]:
        """How a child is started so that it belongs to the account, and sees nothing of our environment."""
        child: dict[str, Any] = {"cwd": folder, "env": {"PATH": os.defpath, "LC_ALL": "C", "HOME": str(folder)}}
        if os.geteuid() == 0:
            child |= {"user": self.account.pw_uid, "group": self.account.pw_gid, "extra_groups": []}
        return child


def as_superuser(url: str) -> str:
    """The URL of the same database for its server's superuser, whom row-level security does not bind."""
    return url.replace(f"//{OWNER}@", f"//{SUPERUSER}@")


def find_binaries(debian: Path = DEBIAN) -> Path:
    """The folder of initdb and postgres: in PATH, in Debian's place (newest first), or where pg_config says."""
    places = [Path(found).resolve().parent for found in [shutil.which("initdb")] if found]
    places += sorted(debian.glob("*/bin"), key=lambda p: float(p.parent.name), reverse=True)
    if shutil.which("pg_config"):
        told = subprocess.run(["pg_config", "--bindir"], capture_output=True, text=True, check=False)
        places.append(Path(told.stdout.strip()))
    for place in places:
        if (place / "initdb").is_file() and (place / "postgres").is_file():
            return place
    raise PostgresUnavailable("no PostgreSQL server binaries (initdb, postgres) here; run scripts/postgres.sh")


def find_account() -> pwd.struct_passwd:
    """Who runs the server: ourselves; where we are root, a system user that is made once."""
    if os.geteuid() != 0:
        return pwd.getpwuid(os.geteuid())
    try:
        return pwd.getpwnam(ACCOUNT)
    except KeyError:
        command = ["useradd", "--system", "--user-group", "--no-create-home", "--home-dir", "/nonexistent"]
        subprocess.run([*command, "--shell", "/usr/sbin/nologin", ACCOUNT], capture_output=True, check=False)
    try:
        return pwd.getpwnam(ACCOUNT)  # made by us, or by somebody quicker
    except KeyError:
        raise PostgresUnavailable(
            f"PostgreSQL is never run by root, and the user {ACCOUNT!r} could not be made; "
            f"make it with `useradd --system {ACCOUNT}`, or run the tests as another user"
        ) from None


def reachable_folder(account: pwd.struct_passwd) -> Path:
    """A folder for temporary folders that the account can enter, short enough for a socket's path."""
    usual = Path(tempfile.gettempdir()).resolve()
    for place in [usual, Path("/tmp"), Path("/var/tmp")]:
        open_to_all = all(folder.stat().st_mode & 0o001 for folder in [place, *place.parents])
        if (open_to_all or account.pw_uid == os.geteuid()) and len(str(place)) < 60:
            return place
    raise PostgresUnavailable(f"user {account.pw_name!r} can enter neither {usual} nor /tmp; set TMPDIR")


def free_port() -> int:
    """A port on loopback that is free at this moment."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
