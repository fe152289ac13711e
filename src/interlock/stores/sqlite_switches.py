"""The switch board in a small SQLite file of its own, beside the ledger.

Not the ledger, on purpose: a kill never queues behind its writers. Law: every look is at the file, not at a cache.
"""

from __future__ import annotations

import sqlite3
import threading
from pathlib import Path

import msgspec

from interlock.core.switch import Switch
from interlock.stores.sqlite_file import OpenedFile, begun, connect, mapped, raise_unavailable

_encode = msgspec.json.Encoder().encode


class SqliteSwitchBoard:
    """A `ports.SwitchBoard` in a small SQLite file of its own."""

    def __init__(self, path: str | Path) -> None:
        self._path = Path(path)
        self._lock = threading.Lock()
        self._version: int | None = None
        self._active: tuple[Switch, ...] = ()
        with mapped(self._path):
            self._connection = connect(self._path, "full")
            with begun(self._connection):
                self._connection.execute(
                    "CREATE TABLE IF NOT EXISTS switches"
                    " (switch_id TEXT PRIMARY KEY, at INTEGER NOT NULL, active INTEGER NOT NULL, body TEXT NOT NULL)"
                )
        self._file = OpenedFile(self._path)

    def active(self) -> tuple[Switch, ...]:
        try:
            with self._lock:  # Python shares its prepared statements between threads
                self._file.check()
                version = self._connection.execute("PRAGMA data_version").fetchone()[0]
                if version != self._version:  # somebody has written since: this looks at the file, not at a cache
                    self._active = self._read(" WHERE active = 1")
                    self._version = version
                return self._active
        except sqlite3.Error as error:
            raise_unavailable(self._path, error)

    def history(self) -> tuple[Switch, ...]:
        with self._lock, mapped(self._path):
            return self._read("")

    def put(self, switch: Switch) -> None:
        self._file.check()
        with self._lock, mapped(self._path):
            with begun(self._connection):
                self._connection.execute(
                    "INSERT INTO switches VALUES (?, ?, ?, ?) ON CONFLICT DO UPDATE SET"
                    " active = excluded.active, body = excluded.body",
                    (switch.switch_id, switch.at, int(switch.active), _encode(switch).decode()),
                )
            self._version = None

    def close(self) -> None:
        with self._lock:
            self._connection.close()

    def _read(self, where: str) -> tuple[Switch, ...]:
        rows = self._connection.execute(f"SELECT body FROM switches{where} ORDER BY at, switch_id").fetchall()
        return tuple(msgspec.json.decode(row[0], type=Switch) for row in rows)
