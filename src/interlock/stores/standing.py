"""Whether a ledger is there as this program has it, so that opening it changes nothing.

Not the opening, which makes what is missing and migrates what is old. Law: it only looks, at the file or the database.
"""

from __future__ import annotations

import sqlite3
from contextlib import closing
from pathlib import Path

from interlock.errors import LedgerUnavailable
from interlock.stores.migrate import TABLE, Migration, migrations, pending
from interlock.stores.sqlite_file import mapped


def require_sqlite(path: Path, board: Path) -> None:
    """Raises LedgerUnavailable where the file is no ledger, an older one, or has lost the switch board beside it."""
    if not board.exists():
        raise LedgerUnavailable(
            f"ledger {path.name}: there is no switch board {board.name} beside it, and the kills in it hold no more; "
            "restore it, or open a gateway, which begins a new one"
        )
    with mapped(path), closing(sqlite3.connect(f"{path.absolute().as_uri()}?mode=ro", uri=True)) as connection:
        known = connection.execute("SELECT 1 FROM sqlite_master WHERE name = ?", (TABLE,)).fetchone()
        left = migrations("sqlite") if known is None else pending("sqlite", connection.execute)
    _refuse(left, len(migrations("sqlite")), f"ledger {path.name}")


def require_postgres(url: str) -> None:
    """Raises LedgerUnavailable where the database holds no ledger, or an older one."""
    from interlock.stores.wire import Wire

    wire = Wire(url)
    try:
        _refuse(wire.pending("postgres"), len(migrations("postgres")), wire.name)
    finally:
        wire.close()


def _refuse(left: list[Migration], every: int, name: str) -> None:
    if not left:
        return
    done = every - len(left)
    told = f"is at migration {done}, this program at {every}" if done else "holds no ledger yet"
    raise LedgerUnavailable(f"{name}: it {told}; a program that opens a gateway on it brings it up to date")
