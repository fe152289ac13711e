"""Signing in through an identity provider: a real one on this machine, and every way to cheat."""

from __future__ import annotations

import asyncio
import base64
import hashlib
import threading
from collections.abc import Iterator
from typing import Any
from urllib.parse import parse_qs, urlsplit

import jwt
import pytest
from aiohttp import web
from cryptography.hazmat.primitives.asymmetric import rsa
from jwt.algorithms import RSAAlgorithm
from starlette.testclient import TestClient

from interlock.core.call import MICROS
from interlock.core.principal import Role
from interlock.keyrings import identity_of
from interlock.stores.memory_keys import MemoryKeyRing
from tests.faces.console.conftest import Person
from tests.faces.console.world import World

KEY = rsa.generate_private_key(65537, 2048)
CLIENT, SECRET = "console", "client-secret-canary"


class Provider:
    """An identity provider: it tells where it is, and gives an ID token for a code and its verifier."""

    def __init__(self) -> None:
        self.claims: dict[str, Any] = {}
        self.challenge = ""
        self.asked: list[dict[str, str]] = []
        self.now = 0
        self.url = ""
        self._loop = asyncio.new_event_loop()
        self._ready = threading.Event()
        self._thread = threading.Thread(target=self._serve, daemon=True)
        self._thread.start()
        assert self._ready.wait(10)

    def _serve(self) -> None:
        asyncio.set_event_loop(self._loop)
        app = web.Application()
        app.router.add_get("/.well-known/openid-configuration", self._told)
        app.router.add_get("/jwks", self._keys)
        app.router.add_post("/token", self._token)
        runner = web.AppRunner(app)
        self._loop.run_until_complete(runner.setup())
        site = web.TCPSite(runner, "127.0.0.1", 0)
        self._loop.run_until_complete(site.start())
        self.url = f"http://127.0.0.1:{runner.addresses[0][1]}"
        self._ready.set()
        self._loop.run_forever()
        self._loop.run_until_complete(runner.cleanup())
        self._loop.close()

    async def _told(self, _: web.Request) -> web.Response:
        ways = {"jwks_uri": "/jwks", "authorization_endpoint": "/authorize", "token_endpoint": "/token"}
        return web.json_response({"issuer": self.url, **{way: self.url + path for way, path in ways.items()}})

    async def _keys(self, _: web.Request) -> web.Response:
        return web.json_response({"keys": [{**RSAAlgorithm.to_jwk(KEY.public_key(), as_dict=True), "kid": "k1"}]})

    async def _token(self, request: web.Request) -> web.Response:
        form = {name: str(value) for name, value in (await request.post()).items()}
        self.asked.append(form)
        digest = hashlib.sha256(form.get("code_verifier", "").encode()).digest()
        if base64.urlsafe_b64encode(digest).decode().rstrip("=") != self.challenge:
            return web.json_response({"error": "invalid_grant"}, status=400)
        said = {"iss": self.url, "aud": CLIENT, "sub": "ann", "iat": self.now, "exp": self.now + 300, **self.claims}
        token = jwt.encode(said, KEY, "RS256", headers={"kid": "k1"})
        return web.json_response({"id_token": token, "access_token": "opaque"})

    def close(self) -> None:
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(10)


@pytest.fixture
def provider() -> Iterator[Provider]:
    made = Provider()
    yield made
    made.close()


@pytest.fixture
def house(provider: Provider, monkeypatch: pytest.MonkeyPatch) -> Iterator[World]:
    monkeypatch.setenv("CONSOLE_CLIENT_SECRET", SECRET)
    monkeypatch.setenv("CONSOLE_TEST_PAYMENTS", "x")
    oidc = {
        "issuer": provider.url, "audience": "interlock", "client_id": CLIENT,
        "client_secret": "env:CONSOLE_CLIENT_SECRET",
    }
    made = World(config={"serve": {"oidc": oidc, "url": "http://console.test"}}, identity=_with_provider)
    provider.now = made.clock.now() // MICROS
    yield made
    made.gateway.close()


def _with_provider(gateway: Any) -> Any:
    return identity_of(gateway, MemoryKeyRing())


def leave(robin: Person, where: str = "/runs") -> dict[str, str]:
    """To the provider: what it is asked."""
    answer = robin.get("/sign-in/provider", next=where)
    assert answer.status_code == 303
    return {name: values[0] for name, values in parse_qs(urlsplit(answer.headers["location"]).query).items()}


def come_back(provider: Provider, robin: Person, asked: dict[str, str], **more: Any) -> Any:
    provider.challenge = asked["code_challenge"]
    provider.claims = {"nonce": asked["nonce"], "tenant": "acme", "roles": ["approver"], **provider.claims, **more}
    return robin.get("/sign-in/callback", code="c0de", state=asked["state"])


@pytest.fixture
def robin(house: World) -> Iterator[Person]:
    made = Person(house, "")
    with made.client:
        yield made


def test_a_person_signs_in_at_the_provider(provider, house, robin):
    assert "Sign in with your company account" in robin.get("/sign-in").text
    asked = leave(robin)
    assert asked["redirect_uri"] == "http://console.test/sign-in/callback"
    assert (asked["response_type"], asked["code_challenge_method"]) == ("code", "S256")
    answer = come_back(provider, robin, asked)
    assert answer.status_code == 200
    assert 'content="0;url=/runs"' in answer.text  # from here the browser sends the strict cookie along
    assert provider.asked[0]["client_secret"] == SECRET
    page = robin.get("/runs").text
    assert "ann" in page
    assert "acme" in page
    assert robin.get("/audit").status_code == 403  # an approver, as the claims say
    house.clock.advance(3601)
    assert robin.get("/runs").status_code == 303


def test_an_answer_to_another_browser_signs_nobody_in(provider, house, robin):
    asked = leave(robin)
    with Person(house, "").client as other:
        answer = other.get("/sign-in/callback", params={"code": "c0de", "state": asked["state"]})
    assert answer.status_code == 401
    assert provider.asked == []


@pytest.mark.parametrize(
    "how", ["state", "nonce", "audience", "agent", "nobody", "late", "refused", "denied", "expired"]
)
def test_what_was_not_asked_for_signs_nobody_in(provider, house, robin, how):
    asked, more = leave(robin), {}
    if how == "state":
        asked["state"] = "another"
    if how == "nonce":
        asked["nonce"] = "another"
    if how == "audience":
        more["aud"] = "another"
    if how == "agent":
        more |= {"roles": ["agent"], "agent": "bot", "env": "prod"}
    if how == "nobody":
        more["roles"] = []
    if how == "late":
        house.clock.advance(601)
    if how == "refused":
        asked["code_challenge"] = "another"
    if how == "expired":
        more["exp"] = provider.now - 1
    if how == "denied":
        answer = robin.get("/sign-in/callback", error="access_denied", state=asked["state"])
    else:
        answer = come_back(provider, robin, asked, **more)
    assert answer.status_code in (401, 403)
    assert robin.get("/").status_code == 303
    assert SECRET not in answer.text
    assert "c0de" not in answer.text


def test_without_a_client_there_is_no_such_way_in(world):
    stranger = Person(world, "")
    assert "company account" not in stranger.get("/sign-in").text
    assert stranger.get("/sign-in/provider").status_code == 404
    assert stranger.get("/sign-in/callback", code="c", state="s").status_code == 404


def test_behind_tls_the_cookies_are_secure(monkeypatch):
    monkeypatch.setenv("CONSOLE_TEST_PAYMENTS", "x")
    made = World(config={"serve": {"url": "https://console.test"}})
    try:
        ann = Person(made, made.key("ann", Role.APPROVER))
        ann.client = TestClient(made.app, base_url="https://console.test", follow_redirects=False)
        cookie = ann.sign_in().headers["set-cookie"]
        assert cookie.startswith("__Host-interlock=")
        assert "Secure" in cookie
        assert ann.get("/").status_code == 200
    finally:
        made.gateway.close()


