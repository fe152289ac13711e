"""A token of an identity provider, turned into a principal.

Not where the provider's keys come from (`oidc_keys.py`), and no rule of who may do what. Law: nothing of a token is
believed before its signature has been verified with a key of the configured provider; what is believed then is what
the config names, and it makes an agent or a person, never both. A tenant is always said: none is not every one.
"""

from __future__ import annotations

import hashlib
import hmac
import math
import re
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import msgspec

from interlock.config.serve import Oidc
from interlock.core.audit import SYSTEM
from interlock.core.call import MICROS
from interlock.core.names import problem_of_name
from interlock.core.principal import Principal, Role, problem_with
from interlock.identity import MAX_TOKEN, Unauthenticated, known_roles
from interlock.oidc_keys import ALLOWED, Discovery, SigningKeys, discover
from interlock.ports import Clock

SKEW = 60 * MICROS  #: a provider's clock may be so far ahead of ours
REMEMBERED = 4096  #: tokens that need not be verified again
_SHAPE = re.compile(r"[A-Za-z0-9_-]+\.[A-Za-z0-9_-]+\.[A-Za-z0-9_-]+", re.ASCII)
_TYPES = ("", "jwt", "at+jwt", "application/at+jwt")  #: a logout token, say, is no credential
_NOBODY = "this is no valid credential"


class _Known(NamedTuple):
    principal: Principal
    until: int
    generation: int


class OidcProvider:
    """An `identity.Provider`: the one that `serve.oidc` names."""

    def __init__(self, settings: Oidc, keys: SigningKeys, clock: Clock) -> None:
        self.settings = settings
        self._keys = keys
        self._clock = clock
        self._known: dict[bytes, _Known] = {}

    async def start(self) -> None:
        """Fetch the keys before the first token comes. A provider that cannot be reached is asked again later."""
        await self._keys.refresh()

    async def principal_of(self, token: str) -> Principal:
        """Whom an access token for our audience stands for. Raises Unauthenticated."""
        self._keys.look_after()
        _check_shape(token)
        digest = hashlib.sha256(token.encode()).digest()
        known = self._known.get(digest)
        if known is not None:
            if known.generation == self._keys.generation and self._clock.now() < known.until:
                return known.principal
            del self._known[digest]
        claims = await self.claims_of(token, self.settings.audience)
        principal = self.principal_from(claims)
        while len(self._known) >= REMEMBERED:
            del self._known[next(iter(self._known))]  # the oldest
        self._known[digest] = _Known(principal, _moment(claims, "exp") or 0, self._keys.generation)
        return principal

    async def claims_of(self, token: str, audience: str, *, nonce: str | None = None) -> Mapping[str, Any]:
        """The claims of a verified token for that audience: of an ID token (`nonce`: as it was asked for), too.
        Raises Unauthenticated."""
        _check_shape(token)
        claims = await self._verified(token)
        now = self._clock.now()
        ends, begins, issued = (_moment(claims, name) for name in ("exp", "nbf", "iat"))
        if claims.get("iss") != self.settings.issuer:
            raise Unauthenticated("this token is of another issuer")
        if audience not in _texts(claims.get("aud")):
            raise Unauthenticated("this token is for another audience")
        if ends is None or now >= ends:
            raise Unauthenticated("this token has expired" if ends is not None else "this token has no time of expiry")
        if any(moment is not None and moment > now + SKEW for moment in (begins, issued)):
            raise Unauthenticated("this token is not valid yet")
        if nonce is not None and not hmac.compare_digest(str(claims.get("nonce")).encode(), nonce.encode()):
            raise Unauthenticated("this token answers another sign-in")
        return claims

    def principal_from(self, claims: Mapping[str, Any]) -> Principal:
        """Whom verified claims stand for. Raises Unauthenticated where they make nobody."""
        said = self.settings.claims
        roles = known_roles(_texts(_claim(claims, said.roles), spaced=True))
        is_agent = Role.AGENT in roles
        tenant = _name(claims, said.tenant, "tenant", everyone=not is_agent)
        principal = Principal(
            name=_name(claims, said.name, "name"), roles=roles, tenant="" if tenant == SYSTEM else tenant,
            agent=_name(claims, said.agent, "agent") if is_agent else "",
            env=_name(claims, said.env, "env") if is_agent else "",
        )
        problem = problem_with(principal)
        if problem is not None:
            raise Unauthenticated(f"this token makes no principal: {problem}")
        return principal

    async def discovery(self) -> Discovery:
        """Where the provider signs people in. Raises Unauthenticated where it cannot be asked now."""
        try:
            return await discover(self.settings.issuer)
        except (OSError, ValueError) as error:
            raise Unauthenticated("the identity provider cannot be asked now; try again") from error

    async def _verified(self, token: str) -> Mapping[str, Any]:
        import jwt

        try:
            header = jwt.get_unverified_header(token)
            kid, algorithm, kind = header.get("kid"), header.get("alg"), header.get("typ", "")
            if algorithm not in ALLOWED or not isinstance(kind, str) or kind.lower() not in _TYPES:
                raise Unauthenticated(_NOBODY)
            if "crit" in header or "b64" in header or not (kid is None or isinstance(kid, str)):
                raise Unauthenticated(_NOBODY)
            key = await self._keys.find(kid, algorithm)
            if key is None:
                raise Unauthenticated(_NOBODY)
            whole = jwt.PyJWS().decode_complete(
                token, key.key, algorithms=[algorithm], options={"enforce_minimum_key_length": True}
            )
            claims = msgspec.json.decode(whole["payload"])
        except Unauthenticated:
            raise
        except Exception:  # whatever it trips over in there, it has not been verified
            raise Unauthenticated(_NOBODY) from None
        if not isinstance(claims, dict):
            raise Unauthenticated(_NOBODY)
        return claims


def _check_shape(token: str) -> None:
    if len(token) > MAX_TOKEN or _SHAPE.fullmatch(token) is None:
        raise Unauthenticated(_NOBODY)


def _moment(claims: Mapping[str, Any], name: str) -> int | None:
    """A claim that is a time, in microseconds; None where it is not there."""
    said = claims.get(name)
    if said is None:
        return None
    if type(said) not in (int, float) or not math.isfinite(said) or not 0 <= said < 10**11:
        raise Unauthenticated(f"this token's {name} is no time")
    return int(said * MICROS)


def _claim(claims: Mapping[str, Any], name: str) -> Any:
    """A claim by its name; by the path `a.b` where no claim is called so."""
    if name in claims:
        return claims[name]
    found: Any = claims
    for part in name.split("."):
        found = found.get(part) if isinstance(found, dict) else None
    return found


def _texts(said: Any, *, spaced: bool = False) -> Sequence[str]:
    """A claim that is one text or several."""
    if isinstance(said, str):
        return said.split() if spaced else (said,)
    return [each for each in said if isinstance(each, str)] if isinstance(said, list) else ()


def _name(claims: Mapping[str, Any], claim: str, what: str, *, everyone: bool = False) -> str:
    said = _claim(claims, claim)
    if everyone and said == SYSTEM:
        return SYSTEM
    problem = "is not there" if said is None else problem_of_name(said, what)
    if problem is not None:
        raise Unauthenticated(f"this token makes no principal: its {what}: {problem}")
    return str(said)
