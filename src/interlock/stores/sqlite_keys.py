"""The keys in a small SQLite file of their own, beside the ledger.

Not the ledger, on purpose: a revocation never queues behind its writers. Law: every look is at the file, not at a
cache; nobody but the file's owner may read or write it, because whoever can write it can give themselves a key.
"""

from __future__ import annotations

import os
import sqlite3
import stat
import threading
from collections.abc import Sequence
from pathlib import Path

import msgspec

from interlock.core.principal import AccessKey
from interlock.errors import ConfigError
from interlock.stores.sqlite_file import OpenedFile, begun, connect, mapped, raise_unavailable

_encode = msgspec.json.Encoder().encode
_as_key = msgspec.json.Decoder(AccessKey).decode


class SqliteKeyRing:
    """A `ports.KeyRing` in a small SQLite file of its own."""

    waits = False

    def __init__(self, path: str | Path) -> None:
        self._path = Path(path)
        self._lock = threading.Lock()
        self._version: int | None = None
        self._found: dict[str, AccessKey] = {}  #: as the file has it at `_version`
        with mapped(self._path):
            _ours_alone(self._path)
            self._connection = connect(self._path, "full")
            with begun(self._connection):
                self._connection.execute(
                    "CREATE TABLE IF NOT EXISTS keys"
                    " (key_id TEXT PRIMARY KEY, created_at INTEGER NOT NULL, body TEXT NOT NULL)"
                )
        self._file = OpenedFile(self._path)

    def find(self, key_id: str) -> AccessKey | None:
        """See `ports.KeyRing`."""
        try:
            with self._lock:  # Python shares its prepared statements between threads
                self._file.check()
                version = self._connection.execute("PRAGMA data_version").fetchone()[0]
                if version != self._version:  # somebody has written since: this looks at the file, not at a cache
                    self._found.clear()
                    self._version = version
                key = self._found.get(key_id)
                if key is None:
                    row = self._connection.execute("SELECT body FROM keys WHERE key_id = ?", (key_id,)).fetchone()
                    if row is None:
                        return None  # not remembered: whoever guesses fills no memory
                    key = self._found[key_id] = _as_key(row[0])
                return key
        except sqlite3.Error as error:
            raise_unavailable(self._path, error)

    def put(self, key: AccessKey) -> None:
        """See `ports.KeyRing`."""
        self._file.check()
        with self._lock, mapped(self._path):
            try:
                with begun(self._connection):
                    self._connection.execute(
                        "INSERT INTO keys VALUES (?, ?, ?) ON CONFLICT DO UPDATE SET body = excluded.body",
                        (key.key_id, key.created_at, _encode(key).decode()),
                    )
            finally:
                self._version = None  # our own writes do not move `data_version`

    def keys(self) -> Sequence[AccessKey]:
        """See `ports.KeyRing`."""
        self._file.check()
        with self._lock, mapped(self._path):
            rows = self._connection.execute("SELECT body FROM keys ORDER BY created_at, key_id").fetchall()
        return [_as_key(row[0]) for row in rows]

    def close(self) -> None:
        """See `ports.KeyRing`."""
        with self._lock:
            self._connection.close()


def _ours_alone(path: Path) -> None:
    """Make the file so that its owner alone can read it; refuse one that others can. SQLite gives the files that it
    puts beside it the same mode."""
    try:
        os.close(os.open(path, os.O_CREAT | os.O_EXCL | os.O_RDWR, 0o600))
    except FileExistsError:
        pass
    except OSError as error:
        raise sqlite3.OperationalError(f"unable to open: {error.strerror}") from error
    if os.name == "posix" and stat.S_IMODE(path.stat().st_mode) & 0o077:
        raise ConfigError(f"{path.name}: others than its owner may read or write the keys; chmod 600 {path.name}")
