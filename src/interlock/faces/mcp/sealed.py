"""The state that a client carries for us between two rounds of one call.

Not a secret: whoever holds it may read it. Law: it was made here, for this principal and these arguments, not long ago,
and it is used once; whatever else comes is nothing.
"""

from __future__ import annotations

import base64
import binascii
import hmac
import os
import secrets

import msgspec
from msgspec import Struct

from interlock.core.call import MICROS
from interlock.core.canonical import digest
from interlock.core.principal import Principal
from interlock.faces.mcp import STATE_KEY
from interlock.ports import Clock

LIVES = 15 * 60 * MICROS
MAX_STATE = 2_048
MAX_USED = 100_000


class Round(Struct, frozen=True, gc=False, array_like=True):
    """What the first round of a call has come to."""

    run_id: str
    call_id: str
    approval_id: str
    until: int
    nonce: str


class Forged(Exception):
    """A state that was not made here, or for somebody or something else."""


class Seal:
    """Makes and opens such states."""

    def __init__(self, clock: Clock) -> None:
        given = os.environ.get(STATE_KEY, "")
        self._key = bytes.fromhex(given) if len(given) >= 64 else secrets.token_bytes(32)
        self._clock = clock
        self._used: dict[str, int] = {}

    def close(self, who: Principal, wish: str, *, run_id: str, call_id: str, approval_id: str) -> str:
        """A state to be handed out. `wish`: a digest of the tool and its arguments."""
        until = self._clock.now() + LIVES
        body = msgspec.msgpack.encode(Round(run_id, call_id, approval_id, until, secrets.token_hex(8)))
        return base64.urlsafe_b64encode(self._mac(who, wish, body) + body).decode()

    def open(self, who: Principal, wish: str, state: str) -> Round | None:
        """What was handed out to this principal for this wish, the first time that it comes back in time; else None.

        Raises Forged for what was never handed out to them for that.
        """
        if len(state) > MAX_STATE:
            raise Forged
        try:
            raw = base64.urlsafe_b64decode(state.encode("ascii"))
            if base64.urlsafe_b64encode(raw).decode() != state:  # decoding overlooks what does not belong there
                raise Forged
            found = msgspec.msgpack.decode(raw[32:], type=Round)
        except (binascii.Error, UnicodeError, ValueError, msgspec.MsgspecError):
            raise Forged from None
        if not hmac.compare_digest(raw[:32], self._mac(who, wish, raw[32:])):
            raise Forged
        now = self._clock.now()
        if now >= found.until or found.nonce in self._used:
            return None
        while self._used and (len(self._used) >= MAX_USED or next(iter(self._used.values())) <= now):
            del self._used[next(iter(self._used))]  # the oldest; a call is performed once whatever comes back twice
        self._used[found.nonce] = found.until
        return found

    def _mac(self, who: Principal, wish: str, body: bytes) -> bytes:
        bound = digest("mcp request state", who.tenant, who.agent, who.env, who.name, who.key_id, wish, body)
        return hmac.digest(self._key, bound.encode(), "sha256")
