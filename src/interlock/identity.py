"""Who somebody is, by what they show: a key of ours, or a token of an identity provider.

Not what they may do (`core/principal.py`). Law: a secret is stored as its digest alone and compared in constant time;
what cannot be verified is nobody; no message says why more than it must.
"""

from __future__ import annotations

from interlock.core.principal import Principal
from interlock.errors import InterlockError
from interlock.ports import Clock, KeyRing


class Unauthenticated(InterlockError):
    """What was shown is no valid credential. The message may be shown to whoever sent it."""


class Identity:
    """Turns a bearer token into a principal."""

    def __init__(self, ring: KeyRing, clock: Clock) -> None:
        self._ring = ring
        self._clock = clock

    async def principal_of(self, token: str) -> Principal:
        """Raises Unauthenticated."""
        raise NotImplementedError
