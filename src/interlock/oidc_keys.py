"""The public keys of an identity provider: where they come from, and which of them a token may be verified with.

Not the verification (`oidc.py`). Law: an asymmetric public key only, for the algorithms of its own kind only; nothing a
token says makes us ask more than once a minute, or anywhere else than the config says; what is fetched is bounded.
"""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import Awaitable, Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import urlsplit

import msgspec
from msgspec import Struct

from interlock.config.serve import Oidc, problem_of_provider
from interlock.core.call import MICROS
from interlock.errors import ConfigError
from interlock.ports import Clock

AGAIN = 60 * MICROS  #: keys are not asked for more often than this
FRESH = 900 * MICROS  #: keys that are older are asked for again while they are used
STALE = 86_400 * MICROS  #: keys that nobody could ask for again for so long are not believed any more
MOST_BYTES = 524_288
MOST_KEYS = 100
SECONDS = 5.0  #: that a provider has to answer in
RSA_BITS = 2048

_RSA = frozenset({"RS256", "RS384", "RS512", "PS256", "PS384", "PS512"})
_CURVES = {"P-256": "ES256", "P-384": "ES384", "P-521": "ES512"}
ALLOWED = _RSA | frozenset(_CURVES.values()) | {"EdDSA"}  #: never `none`, never a shared secret

Fetch = Callable[[], Awaitable[bytes]]


class SigningKey(NamedTuple):
    """One public key."""

    kid: str
    algorithms: frozenset[str]
    key: Any


class Discovery(Struct, frozen=True):
    """What a provider says of itself at `/.well-known/openid-configuration`, as far as it is used."""

    issuer: str
    jwks_uri: str
    authorization_endpoint: str = ""
    token_endpoint: str = ""


class SigningKeys:
    """The keys as they were fetched last."""

    def __init__(self, fetch: Fetch, clock: Clock, trouble: Callable[[str, Exception], None]) -> None:
        self._fetch = fetch
        self._clock = clock
        self._trouble = trouble
        self._keys: tuple[SigningKey, ...] = ()
        self._digest = b""
        self._fetched_at = self._asked_at = -STALE
        self._asking: asyncio.Task[None] | None = None
        self.generation = 0  #: moves whenever the keys do: what older ones have verified counts for nothing

    async def find(self, kid: str | None, algorithm: str) -> SigningKey | None:
        """The key of that id; or, of a token that names none, the only key that fits."""
        if not self._knows(kid):
            await self.refresh()
        fitting = [
            key for key in self._keys if algorithm in key.algorithms and (kid is None or key.kid == kid)
        ]
        return fitting[0] if len(fitting) == 1 else None

    def look_after(self) -> None:
        """Have the keys asked for again in the background where they are old; forget those that are too old."""
        age = self._clock.now() - self._fetched_at
        if age > FRESH:
            self._ask()
        if age > STALE and self._keys:
            self._replace((), b"")

    async def refresh(self) -> None:
        """Ask for the keys, unless that was done within the last minute. Never raises: what was known stays."""
        asking = self._ask()
        if asking is not None:
            await asyncio.shield(asking)  # whoever hangs up must not end it for the others

    def _knows(self, kid: str | None) -> bool:
        return any(kid is None or key.kid == kid for key in self._keys)

    def _ask(self) -> asyncio.Task[None] | None:
        if self._asking is not None and not self._asking.done():
            return self._asking
        now = self._clock.now()
        if 0 <= now - self._asked_at < AGAIN:
            return None
        self._asked_at = now
        self._asking = asyncio.ensure_future(self._load())
        return self._asking

    async def _load(self) -> None:
        try:
            raw = await self._fetch()
            keys = read_keys(raw)
        except Exception as error:  # it is somebody else's answer: whatever is wrong with it, we go on
            self._trouble("the keys of the identity provider could not be fetched", error)
            return
        self._fetched_at = self._clock.now()
        digest = hashlib.sha256(raw).digest()
        if digest != self._digest:
            self._replace(keys, digest)

    def _replace(self, keys: tuple[SigningKey, ...], digest: bytes) -> None:
        self._keys, self._digest = keys, digest
        self.generation += 1


# --- a set of keys ---------------------------------------------------------------------------------------------------


def read_keys(raw: bytes) -> tuple[SigningKey, ...]:
    """The usable keys of a JWKS. Raises ValueError for what is none, or holds none."""
    try:
        said = msgspec.json.decode(raw)
    except RecursionError:
        raise ValueError("this is no JSON Web Key Set: it is too deep") from None
    listed = said.get("keys") if isinstance(said, dict) else None
    if not isinstance(listed, list):
        raise ValueError("this is no JSON Web Key Set: it has no list of keys")
    found = tuple(key for each in listed[:MOST_KEYS] if isinstance(each, dict) and (key := _key_of(each)) is not None)
    if not found:
        raise ValueError("none of its keys is an RSA, EC or Ed25519 public key for signatures")
    return found


def _key_of(said: Mapping[str, Any]) -> SigningKey | None:
    """One entry, or None for one that tokens are not to be verified with."""
    if "d" in said or said.get("use", "sig") != "sig" or "verify" not in _listed(said.get("key_ops", ["verify"])):
        return None
    from jwt import PyJWK, PyJWTError

    kind, curve, kid = said.get("kty"), str(said.get("crv")), said.get("kid", "")
    algorithms = (
        _RSA if kind == "RSA"
        else frozenset({_CURVES[curve]}) if kind == "EC" and curve in _CURVES
        else frozenset({"EdDSA"}) if kind == "OKP" and curve == "Ed25519"
        else frozenset()
    )
    if "alg" in said:
        algorithms &= {said["alg"]} if isinstance(said["alg"], str) else set()
    if not algorithms or not isinstance(kid, str):
        return None
    try:
        key = PyJWK(dict(said), algorithm=min(algorithms)).key
    except (PyJWTError, ValueError, TypeError):
        return None
    if kind == "RSA" and key.key_size < RSA_BITS:
        return None
    return SigningKey(kid, algorithms, key)


def _listed(said: object) -> Sequence[object]:
    return said if isinstance(said, list) else ()


# --- where it is -----------------------------------------------------------------------------------------------------


def source(settings: Oidc, base: Path) -> Fetch:
    """How the keys are got at: from the URL or the file of the config, or as the issuer says. Raises ConfigError for a
    file that holds none."""
    place = settings.jwks
    if place is None:
        return lambda: _as_the_issuer_says(settings.issuer)
    if urlsplit(place).scheme in ("http", "https"):
        return lambda: get(place)
    path = base / place
    try:
        read_keys(_read(path))
    except (OSError, ValueError) as error:
        why = getattr(error, "strerror", None) or error
        raise ConfigError(f"serve.oidc.jwks: {path.name}: {why}; name a JSON Web Key Set, or leave it out") from error
    return lambda: asyncio.to_thread(_read, path)


async def discover(issuer: str) -> Discovery:
    """What the issuer says of itself. Raises OSError, ValueError."""
    said = msgspec.json.decode(await get(issuer.rstrip("/") + "/.well-known/openid-configuration"), type=Discovery)
    if said.issuer != issuer:
        raise ValueError(f"it says that its issuer is {said.issuer!r:.200}, not the configured one")
    for url in (said.jwks_uri, said.authorization_endpoint, said.token_endpoint):
        problem = problem_of_provider(url) if url else None
        if problem is not None:
            raise ValueError(f"{url!r:.200} {problem}")
    return said


async def get(url: str) -> bytes:
    """A bounded answer from just this URL: no redirect, no proxy of the environment, no compression. Raises OSError."""
    import aiohttp

    timeout = aiohttp.ClientTimeout(total=SECONDS)
    headers = {"accept": "application/json", "accept-encoding": "identity"}
    try:
        async with (
            aiohttp.ClientSession(timeout=timeout, headers=headers, auto_decompress=False, trust_env=False) as session,
            session.get(url, allow_redirects=False) as answer,
        ):
            if answer.status != 200:
                raise OSError(f"{url} answered with status {answer.status}")
            body = bytearray()
            async for chunk in answer.content.iter_any():
                body += chunk
                if len(body) > MOST_BYTES:
                    raise OSError(f"{url} answered with more than {MOST_BYTES} bytes")
            return bytes(body)
    except (aiohttp.ClientError, TimeoutError) as error:
        raise OSError(f"{url}: {type(error).__name__}") from error


async def _as_the_issuer_says(issuer: str) -> bytes:
    return await get((await discover(issuer)).jwks_uri)


def _read(path: Path) -> bytes:
    with path.open("rb") as file:
        raw = file.read(MOST_BYTES + 1)
    if len(raw) > MOST_BYTES:
        raise ValueError(f"is larger than {MOST_BYTES} bytes")
    return raw
