"""Numbered SQL files, each applied once, in order.

Not a schema differ, and no dialect: the store passes the callable that knows its database. Law: a file and the note
that it was applied land in one transaction, which excludes every other process that migrates; a file that was applied
is never changed, and a ledger that is newer than the code is refused.

A statement of a file ends with a `;` at the end of a line. A body that has such lines itself (a function, a trigger)
is indented and closed by a line that starts with `END` or `$$`.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable, Iterable, Iterator
from importlib.resources import files
from typing import Any, NamedTuple

from interlock.errors import ConfigError, LedgerUnavailable

TABLE = "interlock_migrations"
_CREATE = f"""CREATE TABLE IF NOT EXISTS {TABLE} (
    number INTEGER PRIMARY KEY, name TEXT NOT NULL, sha256 TEXT NOT NULL,
    applied_at TIMESTAMP NOT NULL DEFAULT CURRENT_TIMESTAMP)"""
_NAME = re.compile(r"(\d{4})_([a-z0-9_]+)\.sql")


class Migration(NamedTuple):
    """One numbered file."""

    number: int
    name: str
    script: str

    @property
    def sha256(self) -> str:
        """The checksum that is kept beside its number."""
        return hashlib.sha256(self.script.encode()).hexdigest()


def migrations(folder: str) -> list[Migration]:
    """The files of one folder below `stores/sql`, in order. Raises ConfigError for a gap or an odd name."""
    found = []
    for file in files("interlock.stores").joinpath("sql", folder).iterdir():
        match = _NAME.fullmatch(file.name)
        if match is None:
            raise ConfigError(f"{file.name} among the migrations of {folder} is not called NNNN_name.sql")
        script = file.read_text(encoding="utf-8").replace("\r\n", "\n")
        found.append(Migration(int(match[1]), match[2], script))
    found.sort()
    if [each.number for each in found] != list(range(1, len(found) + 1)):
        raise ConfigError(f"the migrations of {folder} are not numbered from 1 without gaps; is the package complete?")
    return found


Execute = Callable[[str], Iterable[tuple[Any, ...]]]
"""Runs one statement and gives its rows."""


def migrate(folder: str, execute: Execute) -> None:
    """Bring a ledger to the newest migration of a folder.

    To be called inside a transaction that excludes every other one that migrates, in any process; the caller commits.
    """
    execute(_CREATE)
    for migration in pending(folder, execute):
        for statement in statements(migration.script):
            execute(statement)
        execute(
            f"INSERT INTO {TABLE} (number, name, sha256) "
            f"VALUES ({migration.number}, '{migration.name}', '{migration.sha256}')"
        )


def pending(folder: str, execute: Execute) -> list[Migration]:
    """What is still to be applied to a ledger that has the table `TABLE`.

    Raises LedgerUnavailable for a ledger that is newer than this code, ConfigError for a file that was changed since.
    """
    known = migrations(folder)
    applied = {row[0]: row[1] for row in execute(f"SELECT number, sha256 FROM {TABLE} ORDER BY number")}
    if newer := [number for number in applied if number > len(known)]:
        raise LedgerUnavailable(
            f"the ledger is newer than this program: it is at migration {max(newer)}, this program knows {len(known)}; "
            "upgrade Interlock, or open another ledger"
        )
    for migration in known:
        if applied.get(migration.number, migration.sha256) != migration.sha256:
            raise ConfigError(
                f"migration {migration.number:04}_{migration.name} was applied to this ledger with other contents; "
                "restore the file as it was released, and make changes in a new one"
            )
    return [migration for migration in known if migration.number not in applied]


def statements(script: str) -> Iterator[str]:
    """The statements of a file, one by one."""
    gathered: list[str] = []
    for line in script.splitlines():
        code = line.rstrip()
        if not code or code.startswith("--"):
            continue
        if gathered and gathered[-1].endswith(";") and not code.startswith((" ", "\t", "END", "$$")):
            yield "\n".join(gathered)
            gathered = []
        gathered.append(code)
    if gathered:
        yield "\n".join(gathered)
