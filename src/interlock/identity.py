"""Who somebody is, by what they show: a key of ours, or a token of an identity provider.

Not what they may do (`core/principal.py`), and not how a provider's token is verified (`oidc.py`). Law: a secret is
stored as its digest alone and compared in constant time; what cannot be verified is nobody; no message says why more
than it must: the reason is told only to whoever has shown the secret.
"""

from __future__ import annotations

import asyncio
import hashlib
import hmac
import re
import secrets
from collections.abc import Callable, Iterable, Sequence
from typing import Protocol

import msgspec
from msgspec.structs import replace

from interlock.core.audit import SYSTEM, Entry, Kind
from interlock.core.names import problem_of_name
from interlock.core.principal import AccessKey, Principal, Role, problem_with
from interlock.errors import InterlockError, LedgerUnavailable, Refused
from interlock.ports import Clock, KeyRing

PREFIX = "ilk_"  #: what every key of ours begins with, so that a scanner for secrets can know one
LONGEST = 10 * 366 * 86_400 * 1_000_000  #: microseconds that a key may live
MAX_TOKEN = 16_384  #: characters; whatever is longer is no credential
_SHAPE = re.compile(r"ilk_([0-9a-f]{16})_([A-Za-z0-9_-]{43})", re.ASCII)
_NOBODY = "this is no valid credential"
_NO_DIGEST = "0" * 64  #: of no secret; what an unknown key is compared with, so that it takes as long


class Unauthenticated(InterlockError):
    """What was shown is no valid credential. The message may be shown to whoever sent it."""


class Provider(Protocol):
    """An identity provider whose tokens are taken beside our keys."""

    async def start(self) -> None:
        """Get ready before the first token comes. Never raises: a provider that cannot be reached is asked again."""
        ...

    async def principal_of(self, token: str) -> Principal:
        """Raises Unauthenticated."""
        ...


class Identity:
    """Turns a bearer token into a principal; gives keys and takes them back.

    `record` puts an entry into the audit and returns when it is durable.
    """

    def __init__(
        self, ring: KeyRing, clock: Clock, record: Callable[[Entry], None], provider: Provider | None = None
    ) -> None:
        self._ring = ring
        self._clock = clock
        self._record = record
        self.provider = provider

    async def start(self) -> None:
        """Get ready, in the event loop that will ask."""
        if self.provider is not None:
            await self.provider.start()

    # --- who it is ---------------------------------------------------------------------------------------------------

    async def principal_of(self, token: str) -> Principal:
        """Raises Unauthenticated; LedgerUnavailable where the keys cannot be read."""
        if len(token) > MAX_TOKEN:
            raise Unauthenticated(_NOBODY)
        if token.startswith(PREFIX):
            shape = _SHAPE.fullmatch(token)
            if shape is None:
                raise Unauthenticated(_NOBODY)
            key_id, secret = shape.groups()
            key = await asyncio.to_thread(self._ring.find, key_id) if self._ring.waits else self._ring.find(key_id)
            return self._verified(key, secret)
        if self.provider is None:
            raise Unauthenticated(_NOBODY)
        return await self.provider.principal_of(token)

    def _verified(self, key: AccessKey | None, secret: str) -> Principal:
        same = hmac.compare_digest(_digest(secret), key.digest if key is not None else _NO_DIGEST)
        if key is None or not same:
            raise Unauthenticated(_NOBODY)
        if key.revoked_at is not None:
            raise Unauthenticated("this key was revoked")
        if not key.usable(self._clock.now()):
            raise Unauthenticated("this key has expired")
        if problem_with(key.principal) is not None:  # nothing that `give` would have made: somebody wrote to the file
            raise Unauthenticated(_NOBODY)
        return key.principal

    # --- keys --------------------------------------------------------------------------------------------------------

    def give(
        self, principal: Principal, *, by: str, expires_in: int | None = None, expires_at: int | None = None
    ) -> tuple[AccessKey, str]:
        """A new key for a principal, and the token that is to be shown once and is nowhere kept.

        Times are microseconds; left out, the key does not expire. Its entry is in the audit before the key works.
        Raises Refused where there can be no such principal, or no such time.
        """
        now = self._clock.now()
        key_id, secret = secrets.token_hex(8), secrets.token_urlsafe(32)
        roles = tuple(role for role in Role if role in principal.roles)
        principal = replace(principal, roles=roles, key_id=key_id)
        _check(principal, by)
        key = AccessKey(
            key_id=key_id, digest=_digest(secret), principal=principal, created_at=now, created_by=by,
            expires_at=_end(now, expires_in, expires_at),
        )
        self._record(_entry(key, Kind.KEY_GIVEN, now, by))
        self._ring.put(key)
        return key, f"{PREFIX}{key_id}_{secret}"

    def revoke(self, key_id: str, by: str) -> AccessKey:
        """Take a key back: refused in every process once this returns. Revoking again changes nothing.

        Where the audit cannot be written, the key is revoked all the same, and LedgerUnavailable says that its entry
        waits: revoking again writes it. Raises Refused where there is no such key.
        """
        _named(by, "by")
        key, now = self._ring.find(key_id), self._clock.now()
        if key is None:
            raise Refused(f"there is no key {key_id!r:.80}: see interlock keys list")
        if key.revoked_at is None:
            key = replace(key, revoked_at=now, revoked_by=by)
            self._ring.put(key)
        if not key.audited:
            try:
                self._record(_entry(key, Kind.KEY_REVOKED, now, key.revoked_by))
            except LedgerUnavailable as error:
                raise LedgerUnavailable(
                    f"key {key_id} is revoked, and that holds in every process; its audit entry waits for the ledger: "
                    f"revoke it again ({error})"
                ) from error
            key = replace(key, audited=True)
            self._ring.put(key)
        return key

    def keys(self, tenant: str | None = None) -> Sequence[AccessKey]:
        """All keys, or those of one tenant; revoked ones too, oldest first. No secret is among them."""
        every = self._ring.keys()
        return [key for key in every if tenant is None or key.principal.tenant == tenant]

    def find(self, key_id: str) -> AccessKey | None:
        """One key."""
        return self._ring.find(key_id)

    def has_usable_key(self) -> bool:
        """True where anybody can show a key now."""
        every, now = self._ring.keys(), self._clock.now()
        return any(key.usable(now) for key in every)

    def first_operator_key(self, by: str = "interlock serve") -> str | None:
        """The first time, the token of a new admin's key, to be shown once; None where there was ever a key."""
        if self._ring.keys():
            return None
        return self.give(Principal(name="operator", roles=(Role.ADMIN,)), by=by)[1]


def known_roles(said: Iterable[object]) -> tuple[Role, ...]:
    """The roles among what was said; whatever is none of ours counts for nothing."""
    words = {word for word in said if isinstance(word, str)}
    return tuple(role for role in Role if role.value in words)


def _digest(secret: str) -> str:
    return hashlib.sha256(secret.encode()).hexdigest()


def _named(name: str, what: str) -> None:
    problem = problem_of_name(name, what)
    if problem is not None:
        raise Refused(problem)


def _check(principal: Principal, by: str) -> None:
    _named(by, "by")
    _named(principal.name, "name")
    for what in ("tenant", "agent", "env"):
        if getattr(principal, what):
            _named(getattr(principal, what), what)
    problem = problem_with(principal)
    if problem is not None:
        raise Refused(f"there can be no such key: {problem}")


def _end(now: int, expires_in: int | None, expires_at: int | None) -> int | None:
    if expires_in is None and expires_at is None:
        return None
    if expires_in is not None and expires_at is not None:
        raise Refused("say when the key expires once: in how long, or at what time")
    end = expires_at if expires_at is not None else now + (expires_in or 0)
    if not now < end <= now + LONGEST:
        raise Refused("a key expires in the future, and within ten years; one without expiry is revoked when it is due")
    return end


def _entry(key: AccessKey, kind: Kind, now: int, by: str) -> Entry:
    who = key.principal
    return Entry(
        tenant=who.tenant or SYSTEM, at=now, kind=kind, by=by, agent=who.agent, env=who.env,
        detail={
            "key_id": key.key_id, "name": who.name, "roles": msgspec.to_builtins(who.roles),
            "expires_at": key.expires_at,
        },
    )
