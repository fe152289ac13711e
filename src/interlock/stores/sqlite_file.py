"""A SQLite file: opened, locked, and its errors in words.

Not what stands in it. Law: foreign errors come out as LedgerUnavailable, each with a remedy.
"""

from __future__ import annotations

import os
import random
import sqlite3
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NoReturn

from interlock.errors import LedgerUnavailable
from interlock.ports import Busy

BUSY_SECONDS = 10.0  #: how long a transaction waits for the other writers of the file


def connect(path: Path, synchronous: str) -> sqlite3.Connection:
    connection = sqlite3.connect(
        path, timeout=BUSY_SECONDS, isolation_level=None, check_same_thread=False, cached_statements=256
    )
    connection.execute("PRAGMA journal_mode = WAL")
    connection.execute(f"PRAGMA synchronous = {synchronous}")
    connection.execute("PRAGMA cache_size = -65536")  # KiB: a batch touches more pages than the 2 MiB of the default
    return connection


@contextmanager
def begun(connection: sqlite3.Connection) -> Iterator[None]:
    """A transaction that lands whole or not at all."""
    begin(connection)
    try:
        yield
        connection.execute("COMMIT")
    except BaseException:
        if connection.in_transaction:
            connection.execute("ROLLBACK")
        raise


def begin(connection: sqlite3.Connection, *, wait: bool = True) -> None:
    """Wait for the write lock in short, uneven steps: SQLite's own back-off sleeps up to 100 ms at a time. Raises Busy
    instead, where whoever asked would not wait."""
    give_up = time.monotonic() + BUSY_SECONDS
    while True:
        try:
            connection.execute("BEGIN IMMEDIATE")
        except sqlite3.OperationalError as error:
            if "locked" not in str(error) or time.monotonic() > give_up:
                raise
            if not wait:
                raise Busy from None
            time.sleep(random.uniform(0.0001, 0.0004))  # spreads the writers, guards nothing
        else:
            return


class OpenedFile:
    """The file that was opened. SQLite itself goes on with one that was deleted or replaced, which nobody else sees."""

    __slots__ = ("_opened", "_path")

    def __init__(self, path: Path) -> None:
        self._path = str(path)
        self._opened = self._seen()

    def check(self) -> None:
        if self._seen() != self._opened:
            name = Path(self._path).name
            raise LedgerUnavailable(
                f"ledger {name}: the file was deleted or replaced while it was open; "
                "put it back, or open the gateway again"
            )

    def _seen(self) -> tuple[int, int] | None:
        try:
            found = os.stat(self._path)  # noqa: PTH116  on the road of every call
        except OSError:
            return None
        return found.st_dev, found.st_ino


class mapped:  # noqa: N801  used as a statement
    """Foreign errors become LedgerUnavailable, with what to do."""

    __slots__ = ("_path",)

    def __init__(self, path: Path) -> None:
        self._path = path

    def __enter__(self) -> None:
        return None

    def __exit__(self, kind: type | None, error: BaseException | None, trace: object) -> None:
        if isinstance(error, sqlite3.Error):
            raise_unavailable(self._path, error)


def raise_unavailable(path: Path, error: Exception) -> NoReturn:
    text = str(error)
    if "locked" in text:
        held = f"another process has held its write lock for {BUSY_SECONDS:.0f} s"
        remedy = f"{held}: end it, or give each host its own ledger"
    elif "full" in text:
        remedy = "the disk is full: free some space; what was committed is safe"
    elif "disk I/O" in text:
        remedy = "the disk fails, or a quota is used up: see the system's log; what was committed is safe"
    elif "readonly" in text or "unable to open" in text:
        remedy = "make the file and its folder writable for this user"
    elif "malformed" in text or "not a database" in text:
        remedy = "the file is damaged or is no ledger: restore it from a backup"
    elif "closed" in text:
        remedy = "the gateway was closed: open it again"
    else:
        remedy = "see the operations page of the docs"
    raise LedgerUnavailable(f"ledger {path.name}: {text}; {remedy}") from error
