"""The keys in a PostgreSQL table of their own, on a connection of their own.

Not the ledger, on purpose: no ledger transaction touches the table, so a revocation waits for none. Law: every look
asks the database; whatever was committed before it began is in the answer. Looks that wait for the connection at the
same time are answered by one trip, which begins after all of them.
"""

from __future__ import annotations

import threading
from collections.abc import Sequence

import msgspec

from interlock.core.principal import AccessKey
from interlock.stores.wire import Rows, Statement, Step, Wire, bigint, text, texts

_FIND = Statement(b"find_keys", b"SELECT body FROM access_keys WHERE key_id = ANY($1::text[])")
_ALL = Statement(b"all_keys", b"SELECT body FROM access_keys ORDER BY created_at, key_id")
_PUT = Statement(
    b"put_key",
    b"INSERT INTO access_keys (key_id, created_at, body) VALUES ($1::text, $2::bigint, $3::text)"
    b" ON CONFLICT (key_id) DO UPDATE SET body = excluded.body",
)

_encode = msgspec.json.Encoder().encode
_as_key = msgspec.json.Decoder(AccessKey).decode


class PostgresKeyRing:
    """A `ports.KeyRing` on a connection and a table of its own."""

    waits = True

    def __init__(self, url: str) -> None:
        self._wire = Wire(url)
        self._wire.migrate("postgres")
        self._lock = threading.Lock()
        self._next = _Look()  #: what the looks that have not begun wait for

    def find(self, key_id: str) -> AccessKey | None:
        """See `ports.KeyRing`. One indexed read for all who wait."""
        with self._lock:
            look = self._next
            look.wanted.add(key_id)
        with self._wire:  # the first of them to get the connection asks for all
            with self._lock:
                if look is self._next:
                    self._next = _Look()
            if look.found is None:
                rows = self._wire.trip([Step(_FIND, (texts(sorted(look.wanted)),))], again=True)[0]
                look.found = {key.key_id: key for key in _keys(rows)}
        return look.found.get(key_id)

    def put(self, key: AccessKey) -> None:
        """See `ports.KeyRing`."""
        with self._wire:
            self._wire.trip([Step(_PUT, (text(key.key_id), bigint(key.created_at), _encode(key)))], again=True)

    def keys(self) -> Sequence[AccessKey]:
        """See `ports.KeyRing`."""
        with self._wire:
            return _keys(self._wire.trip([Step(_ALL)], again=True)[0])

    def close(self) -> None:
        """See `ports.KeyRing`."""
        self._wire.close()


class _Look:
    """One trip, and what it is to find."""

    __slots__ = ("found", "wanted")

    def __init__(self) -> None:
        self.wanted: set[str] = set()
        self.found: dict[str, AccessKey] | None = None


def _keys(rows: Rows) -> list[AccessKey]:
    return [_as_key(body or b"") for (body,) in rows]
