"""Signing in through an identity provider: OpenID Connect, authorization code with PKCE.

Not the verification of tokens (`oidc.py`). Law: a code counts only in the browser that asked for it, once, and soon;
an ID token only with the nonce of that asking; neither code nor token is shown, logged or kept.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import secrets
from typing import TYPE_CHECKING
from urllib.parse import urlencode

import msgspec
from msgspec import Struct
from starlette.requests import Request
from starlette.responses import Response

from interlock.config.serve import Oidc
from interlock.core.call import MICROS
from interlock.core.principal import Principal
from interlock.faces.console.desk import Desk, local
from interlock.identity import Unauthenticated
from interlock.oidc import OidcProvider
from interlock.vaults import Vaults

if TYPE_CHECKING:
    from interlock.oidc_keys import Discovery

COOKIE = "interlock_asking"
MINUTES = 10
SECONDS = 10.0  #: for the provider to answer
_MOST_BYTES = 262_144
_AGAIN = "this sign-in was not begun in this browser, or too long ago; try again"


class Asking(Struct, frozen=True):
    """A sign-in on its way, in a cookie of the browser that began it."""

    state: str
    nonce: str
    verifier: str
    where: str
    until: int


class _Answer(Struct, frozen=True):
    id_token: str


class SignOn:
    """The way to the identity provider and back."""

    def __init__(self, desk: Desk, settings: Oidc) -> None:
        self._desk = desk
        self._settings = settings
        self._client = settings.client_id or ""
        self._back = f"{desk.service.url}/sign-in/callback"

    async def begin(self, answer: Response, where: str) -> str:
        """Where the browser has to go. What it has to bring back goes into its cookie."""
        asking = Asking(
            state=secrets.token_urlsafe(24), nonce=secrets.token_urlsafe(24), verifier=secrets.token_urlsafe(48),
            where=where, until=self._desk.service.gateway.clock.now() + MINUTES * 60 * MICROS,
        )
        endpoint = (await self._discovered()).authorization_endpoint
        # Lax: the browser comes back from elsewhere, and has to bring this along
        answer.set_cookie(
            COOKIE, self._desk.sessions.seal("asking", msgspec.json.encode(asking)), max_age=MINUTES * 60,
            path="/sign-in", secure=self._desk.secure, httponly=True, samesite="lax",
        )
        challenge = base64.urlsafe_b64encode(hashlib.sha256(asking.verifier.encode()).digest()).decode().rstrip("=")
        asked = {
            "response_type": "code", "client_id": self._client, "redirect_uri": self._back, "scope": "openid profile",
            "state": asking.state, "nonce": asking.nonce, "code_challenge": challenge, "code_challenge_method": "S256",
        }
        return f"{endpoint}{'&' if '?' in endpoint else '?'}{urlencode(asked)}"

    async def end(self, request: Request) -> tuple[Principal, int | None, str]:
        """Who came back, until when, and where they wanted to go. Raises Unauthenticated."""
        asking = self._asking(request)
        said = request.query_params
        if not hmac.compare_digest(said.get("state", "").encode(), asking.state.encode()):
            raise Unauthenticated(_AGAIN)
        if "code" not in said:
            raise Unauthenticated("the identity provider did not sign you in")
        provider = self._provider
        claims = await provider.claims_of(await self._exchanged(said["code"], asking), self._client, nonce=asking.nonce)
        return provider.principal_from(claims), None, local(asking.where)

    def forget(self, answer: Response) -> None:
        """The cookie has done its work."""
        answer.delete_cookie(COOKIE, path="/sign-in", secure=self._desk.secure, httponly=True, samesite="lax")

    @property
    def _provider(self) -> OidcProvider:
        provider = self._desk.service.identity.provider
        if not isinstance(provider, OidcProvider):
            raise Unauthenticated("there is no identity provider to sign in with")
        return provider

    async def _discovered(self) -> Discovery:
        found = await self._provider.discovery()
        if not found.authorization_endpoint or not found.token_endpoint:
            raise Unauthenticated("the identity provider does not say where people sign in")
        return found

    def _asking(self, request: Request) -> Asking:
        body = self._desk.sessions.unseal("asking", request.cookies.get(COOKIE, ""))
        if body is None:
            raise Unauthenticated(_AGAIN)
        try:
            asking = msgspec.json.decode(body, type=Asking)
        except msgspec.MsgspecError:
            raise Unauthenticated(_AGAIN) from None
        if self._desk.service.gateway.clock.now() >= asking.until:
            raise Unauthenticated(_AGAIN)
        return asking

    async def _exchanged(self, code: str, asking: Asking) -> str:
        """The ID token for a code."""
        form = {
            "grant_type": "authorization_code", "code": code, "redirect_uri": self._back, "client_id": self._client,
            "code_verifier": asking.verifier,
        }
        if self._settings.client_secret is not None:
            vault = Vaults({"client": self._settings.client_secret})
            form["client_secret"] = await self._desk.service.blocking(vault.lend, "client", tenant="", env="")
        raw = await _posted((await self._discovered()).token_endpoint, form)
        try:
            return msgspec.json.decode(raw, type=_Answer).id_token
        except msgspec.MsgspecError:
            raise Unauthenticated("the identity provider gave no ID token") from None


async def _posted(url: str, form: dict[str, str]) -> bytes:
    """A bounded answer from just this address."""
    import aiohttp

    timeout = aiohttp.ClientTimeout(total=SECONDS)
    headers = {"accept": "application/json", "accept-encoding": "identity"}
    try:
        async with (
            aiohttp.ClientSession(timeout=timeout, headers=headers, auto_decompress=False, trust_env=False) as client,
            client.post(url, data=form, allow_redirects=False) as answer,
        ):
            body = await answer.content.read(_MOST_BYTES)
            while len(body) < _MOST_BYTES and (more := await answer.content.read(_MOST_BYTES - len(body))):
                body += more
            if answer.status != 200 or len(body) >= _MOST_BYTES:
                raise Unauthenticated("the identity provider did not take the code")
            return body
    except (aiohttp.ClientError, TimeoutError, OSError) as error:
        raise Unauthenticated("the identity provider cannot be asked now; try again") from error
