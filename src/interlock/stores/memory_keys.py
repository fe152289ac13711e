"""The keys of a gateway whose ledger is in memory: gone with it.

Law: as in `memory.py`: what comes out is never the object that went in.
"""

from __future__ import annotations

import threading
from collections.abc import Sequence

import msgspec

from interlock.core.principal import AccessKey

_encode = msgspec.json.Encoder().encode
_as_key = msgspec.json.Decoder(AccessKey).decode


class MemoryKeyRing:
    """A `ports.KeyRing` for one process."""

    waits = False

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._keys: dict[str, AccessKey] = {}

    def find(self, key_id: str) -> AccessKey | None:
        """See `ports.KeyRing`."""
        return self._keys.get(key_id)

    def put(self, key: AccessKey) -> None:
        """See `ports.KeyRing`."""
        with self._lock:
            self._keys[key.key_id] = _as_key(_encode(key))

    def keys(self) -> Sequence[AccessKey]:
        """See `ports.KeyRing`."""
        with self._lock:
            return sorted(self._keys.values(), key=lambda key: (key.created_at, key.key_id))

    def close(self) -> None:
        """See `ports.KeyRing`."""
