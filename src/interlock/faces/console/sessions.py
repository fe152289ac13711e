"""Sessions of people at the console: signed cookies, and the tokens that bind a form to one.

Not who somebody is (`identity.py`) and not what they may do. Law: a session names its key and is looked up with it each
time, so that it ends in the moment in which the key is revoked; a cookie that was not signed here is no session; a form
counts only with the token of the session that it was made for.
"""

from __future__ import annotations

import asyncio
import hashlib
import hmac
import secrets
from base64 import urlsafe_b64decode, urlsafe_b64encode
from typing import TYPE_CHECKING

import msgspec
from msgspec import Struct

from interlock.core.call import MICROS
from interlock.core.principal import Principal

if TYPE_CHECKING:
    from interlock.gateway import Gateway
    from interlock.identity import Identity

HOURS = 12  #: a session with a key of ours lasts a working day
PROVIDED = 3600 * MICROS  #: one with an identity provider's token is asked for anew after an hour
_MAX_COOKIE = 4096
_PURPOSE = "interlock console sessions, version 1"


class Session(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What a cookie says. With a key of ours it holds no principal: who that is, the key says, each time anew."""

    sid: str
    until: int
    key_id: str = ""
    principal: Principal | None = None


class Sessions:
    """Makes and reads the cookies of one gateway; every process with the same signing key reads them."""

    def __init__(self, gateway: Gateway, identity: Identity, secret: bytes) -> None:
        self._clock = gateway.clock
        self._identity = identity
        self._secret = secret
        self._encoder = msgspec.json.Encoder()
        self._decoder = msgspec.json.Decoder(Session)

    def begin(self, principal: Principal, until: int | None = None) -> tuple[str, int]:
        """The cookie of a new session, and for how many seconds it holds."""
        now = self._clock.now()
        keyed = bool(principal.key_id)
        end = now + (HOURS * 3600 * MICROS if keyed else PROVIDED)
        end = end if until is None else min(end, until)
        session = Session(
            sid=secrets.token_urlsafe(18), until=end, key_id=principal.key_id, principal=None if keyed else principal
        )
        return self.seal("session", self._encoder.encode(session)), max(0, end - now) // MICROS

    async def read(self, cookie: str) -> tuple[Session, Principal] | None:
        """Whose session a cookie is; None where it is none, or is over."""
        body = self.unseal("session", cookie)
        if body is None:
            return None
        try:
            session = self._decoder.decode(body)
        except msgspec.MsgspecError:
            return None
        now = self._clock.now()
        if now >= session.until:
            return None
        if session.principal is not None:
            return session, session.principal
        key = await asyncio.to_thread(self._identity.find, session.key_id)
        return (session, key.principal) if key is not None and key.usable(now) else None

    def token(self, sid: str) -> str:
        """What a form of this session brings back."""
        return hmac.new(self._secret, f"form\0{sid}".encode(), hashlib.sha256).hexdigest()

    def fits(self, sid: str, token: str) -> bool:
        """True where a form was made for this session."""
        return hmac.compare_digest(self.token(sid).encode(), token.encode("utf-8", "replace"))

    def seal(self, purpose: str, body: bytes) -> str:
        """A text that only we can have made, for one purpose."""
        return f"{_text(body)}.{_text(self._mac(purpose, body))}"

    def unseal(self, purpose: str, sealed: str) -> bytes | None:
        """What was sealed for that purpose, or None."""
        body, dot, mac = sealed.partition(".")
        if not dot or len(sealed) > _MAX_COOKIE:
            return None
        try:
            plain, found = _bytes(body), _bytes(mac)
        except ValueError:
            return None
        return plain if hmac.compare_digest(self._mac(purpose, plain), found) else None

    def _mac(self, purpose: str, body: bytes) -> bytes:
        return hmac.new(self._secret, purpose.encode() + b"\0" + body, hashlib.sha256).digest()


def secret_of(gateway: Gateway) -> bytes:
    """What sessions are signed with: drawn from the ledger's own key, which every process has and the database has not;
    for a ledger without one, a secret of this process."""
    from interlock.assemble import notary_of

    notary = notary_of(gateway.config, gateway.store, gateway.clock)
    return secrets.token_bytes(32) if notary is None else notary.key.signer.derived(_PURPOSE)


def _text(raw: bytes) -> str:
    return urlsafe_b64encode(raw).decode().rstrip("=")


def _bytes(text: str) -> bytes:
    return urlsafe_b64decode(text.encode("ascii") + b"=" * (-len(text) % 4))
