"""Tokens of an identity provider: what makes a principal, and every way to pretend."""

from __future__ import annotations

import asyncio
import base64
import hashlib
import hmac
import json
import os
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import jwt
import pytest
from aiohttp import web
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from jwt.algorithms import ECAlgorithm, OKPAlgorithm, RSAAlgorithm

import interlock
from interlock.config.serve import Claims, Oidc
from interlock.core.call import MICROS
from interlock.core.principal import Principal, Role
from interlock.errors import ConfigError
from interlock.identity import Unauthenticated
from interlock.keyrings import identity_of
from interlock.oidc import OidcProvider
from interlock.oidc_keys import SigningKeys, get, read_keys, source
from interlock.testing import ManualClock

ISSUER, AUDIENCE = "https://login.example/acme", "interlock"
RSA, OTHER = (rsa.generate_private_key(65537, 2048) for _ in range(2))
EC = ec.generate_private_key(ec.SECP256R1())
ED = ed25519.Ed25519PrivateKey.generate()
DAY = 86_400
Handler = Callable[[web.Request], Coroutine[Any, Any, web.StreamResponse]]


def jwk(key: Any, kid: str, **more: Any) -> dict[str, Any]:
    algorithm = {rsa.RSAPrivateKey: RSAAlgorithm, ec.EllipticCurvePrivateKey: ECAlgorithm}
    kind = next((each for base, each in algorithm.items() if isinstance(key, base)), OKPAlgorithm)
    return {**kind.to_jwk(key.public_key(), as_dict=True), "kid": kid, **more}


JWKS = {"keys": [jwk(RSA, "r1", use="sig", alg="RS256"), jwk(EC, "e1"), jwk(ED, "d1")]}


class Tower:
    """A provider's keys in a file, a clock that stands still, and tokens made by hand."""

    def __init__(self, folder: Path, claims: Claims | None = None) -> None:
        self.clock = ManualClock()
        self.path = folder / "jwks.json"
        self.path.write_text(json.dumps(JWKS))
        settings = Oidc(issuer=ISSUER, audience=AUDIENCE, jwks="jwks.json", claims=claims or Claims())
        self.troubles: list[str] = []
        keys = SigningKeys(source(settings, folder), self.clock, lambda _, error: self.troubles.append(str(error)))
        self.provider = OidcProvider(settings, keys, self.clock)

    @property
    def now(self) -> int:
        return self.clock.now() // MICROS

    def claims(self, **more: Any) -> dict[str, Any]:
        said = {
            "iss": ISSUER, "aud": AUDIENCE, "sub": "ann", "iat": self.now, "exp": self.now + 600, "tenant": "acme",
            "roles": ["approver"], **more,
        }
        return {key: value for key, value in said.items() if value is not ...}

    def token(
        self, key: Any = RSA, algorithm: str = "RS256", kid: Any = "r1", header: Any = None, **more: Any
    ) -> str:
        return jwt.encode(self.claims(**more), key, algorithm, headers={"kid": kid, **(header or {})})

    def who(self, token: str) -> Principal:
        return asyncio.run(self.provider.principal_of(token))

    def nobody(self, token: str) -> str:
        with pytest.raises(Unauthenticated) as caught:
            self.who(token)
        return str(caught.value)


@pytest.fixture
def tower(tmp_path: Path) -> Tower:
    return Tower(tmp_path)


def b64(raw: bytes | dict[str, Any]) -> str:
    raw = raw if isinstance(raw, bytes) else json.dumps(raw).encode()
    return base64.urlsafe_b64encode(raw).rstrip(b"=").decode()


# --- who it makes ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("key", "algorithm", "kid"), [(RSA, "RS256", "r1"), (EC, "ES256", "e1"), (ED, "EdDSA", "d1")]
)
def test_a_token_of_the_provider_makes_a_person(tower: Tower, key: Any, algorithm: str, kid: str) -> None:
    found = tower.who(tower.token(key, algorithm, kid, roles=["auditor", "approver", "offline_access"]))
    assert found == Principal(name="ann", roles=(Role.APPROVER, Role.AUDITOR), tenant="acme")


def test_a_token_makes_an_agent(tower: Tower) -> None:
    found = tower.who(tower.token(sub="svc-1", roles="agent openid", agent="bot", env="prod", aud=["other", AUDIENCE]))
    assert found == Principal(name="svc-1", roles=(Role.AGENT,), tenant="acme", agent="bot", env="prod")


def test_the_claims_are_those_that_the_config_names(tmp_path: Path) -> None:
    claims = Claims(name="email", tenant="https://example.com/tenant", roles="realm_access.roles")
    tower = Tower(tmp_path, claims)
    more = {"email": "ann@example.com", "https://example.com/tenant": "other", "realm_access": {"roles": ["operator"]}}
    assert tower.who(tower.token(**more)) == Principal(name="ann@example.com", roles=(Role.OPERATOR,), tenant="other")


def test_only_who_says_so_serves_every_tenant(tower: Tower) -> None:
    assert tower.who(tower.token(tenant="*")).tenant == ""
    assert "tenant" in tower.nobody(tower.token(tenant=...))
    assert "tenant" in tower.nobody(tower.token(tenant=""))
    assert "tenant" in tower.nobody(tower.token(roles=["agent"], agent="bot", env="prod", tenant="*"))


def test_a_persons_token_has_no_agent(tower: Tower) -> None:
    found = tower.who(tower.token(agent="bot", env="prod"))
    assert (found.agent, found.env) == ("", "")


@pytest.mark.parametrize(
    "more",
    [
        {"roles": ["agent", "approver"], "agent": "bot", "env": "prod"},
        {"roles": ["admin", "agent"], "agent": "bot", "env": "prod"},
        {"roles": ["agent"], "env": "prod"},
        {"roles": ["agent"], "agent": "bot"},
        {"roles": ["agent"], "agent": "bot", "env": "prod", "tenant": ["acme"]},
        {"roles": ["agent"], "agent": {"name": "bot"}, "env": "prod"},
        {"roles": []},
        {"roles": ...},
        {"roles": ["root", "ADMIN", "Admin", "admin "]},
        {"roles": {"admin": True}},
        {"roles": [["admin"]]},
        {"roles": 7},
        {"sub": ...},
        {"sub": ""},
        {"sub": "ann\u202e"},
        {"sub": "a" * 201},
        {"sub": "\ud800"},
    ],
)
def test_claims_that_make_no_principal_are_refused(tower: Tower, more: dict[str, Any]) -> None:
    tower.nobody(tower.token(**more))


# --- attacks ---------------------------------------------------------------------------------------------------------


def test_an_unsigned_token_is_nobody(tower: Tower) -> None:
    for algorithm in ("none", "None", "NONE", "nOnE", ""):
        head = b64({"alg": algorithm, "kid": "r1", "typ": "JWT"})
        tower.nobody(f"{head}.{b64(tower.claims())}.")
        tower.nobody(f"{head}.{b64(tower.claims())}.AA")


def test_a_public_key_is_no_shared_secret(tower: Tower) -> None:
    pem = RSA.public_key().public_bytes(
        serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo
    )
    for secret in (pem, pem.strip(), json.dumps(JWKS["keys"][0]).encode(), b""):
        for algorithm, digest in (("HS256", hashlib.sha256), ("HS512", hashlib.sha512)):
            signed = f"{b64({'alg': algorithm, 'kid': 'r1'})}.{b64(tower.claims())}"
            tower.nobody(f"{signed}.{b64(hmac.digest(secret, signed.encode(), digest))}")


def test_a_key_that_is_a_shared_secret_is_not_taken(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="none of its keys"):
        read_keys(json.dumps({"keys": [{"kty": "oct", "k": b64(b"s" * 32), "kid": "o", "alg": "HS256"}]}).encode())


def test_only_keys_to_verify_signatures_with_are_taken() -> None:
    private = {**RSAAlgorithm.to_jwk(RSA, as_dict=True), "kid": "private"}
    small = jwk(rsa.generate_private_key(65537, 1024), "small")
    odd: list[Any] = [
        private, small, jwk(RSA, "enc", use="enc"), jwk(RSA, "ops", key_ops=["encrypt"]), jwk(RSA, "hs", alg="HS256"),
        jwk(RSA, "none", alg="none"), jwk(EC, "mixed", alg="RS256"), {"kty": "RSA", "kid": "half", "n": "AQAB"},
        {"kty": "EC", "crv": "secp256k1", "kid": "k"}, {"kty": "EC", "crv": {}, "kid": "k"}, {}, 7, None,
        jwk(RSA, "alg", alg=["RS256"]), jwk(RSA, 7),  # type: ignore[arg-type]
    ]
    assert [key.kid for key in read_keys(json.dumps({"keys": [*odd, jwk(RSA, "good")]}).encode())] == ["good"]
    for raw in (b"", b"[]", b"{}", b'{"keys": {}}', b"[" * 100_000, b"\xff", json.dumps({"keys": odd}).encode()):
        with pytest.raises(ValueError):
            read_keys(raw)


def test_another_issuers_key_is_nobodys(tower: Tower) -> None:
    tower.nobody(tower.token(OTHER))
    tower.nobody(tower.token(OTHER, kid="theirs"))
    tower.nobody(tower.token(OTHER, header={"jwk": jwk(OTHER, "r1")}))
    tower.nobody(tower.token(OTHER, header={"jku": "https://evil.example/jwks", "x5u": "https://evil.example/x"}))


def test_a_key_of_one_kind_verifies_nothing_of_another(tower: Tower) -> None:
    for key, algorithm, kid in (
        (RSA, "RS512", "r1"), (RSA, "PS256", "r1"), (RSA, "RS256", "e1"), (EC, "ES256", "r1"), (ED, "EdDSA", "e1"),
        (ec.generate_private_key(ec.SECP384R1()), "ES384", "e1"),
        (ec.generate_private_key(ec.SECP256K1()), "ES256K", "e1"),
    ):
        assert tower.nobody(tower.token(key, algorithm, kid)) == "this is no valid credential"


def test_a_kid_is_a_name_and_nothing_else(tower: Tower) -> None:
    for kid in ("../../etc/passwd", "/dev/null", "r1\x00", "' OR 1=1", "R1", "", "http://127.0.0.1/", "r" * 5000):
        assert tower.nobody(tower.token(kid=kid)) == "this is no valid credential"
    for odd in (7, None, ["r1"], {"r1": 1}, True):
        signed = f"{b64({'alg': 'RS256', 'kid': odd})}.{b64(tower.claims())}"
        tower.nobody(f"{signed}.{b64(b's' * 256)}")


def test_a_token_without_a_kid_is_taken_only_where_one_key_fits(tower: Tower) -> None:
    bare = jwt.encode(tower.claims(), RSA, "RS256")
    assert tower.who(bare).name == "ann"
    tower.path.write_text(json.dumps({"keys": [*JWKS["keys"], jwk(OTHER, "r2")]}))
    tower.clock.advance(61)
    tower.nobody(tower.token(kid="unknown"))  # has the keys read again
    assert tower.nobody(bare) == "this is no valid credential"


@pytest.mark.parametrize(
    ("more", "why"),
    [
        ({"iss": "https://login.example/acme/"}, "issuer"),
        ({"iss": "https://evil.example"}, "issuer"),
        ({"iss": ...}, "issuer"),
        ({"iss": [ISSUER]}, "issuer|valid"),
        ({"aud": "other"}, "audience"),
        ({"aud": ["other", "interlock2"]}, "audience"),
        ({"aud": ...}, "audience"),
        ({"aud": {AUDIENCE: 1}}, "audience"),
        ({"aud": f"x {AUDIENCE}"}, "audience"),
        ({"exp": 1}, "expired"),
        ({"exp": ...}, "expiry"),
        ({"exp": "9999999999"}, "no time"),
        ({"exp": True}, "no time"),
        ({"exp": 10**30}, "no time|valid"),
        ({"exp": -5}, "no time"),
        ({"exp": [1]}, "no time"),
        ({"nbf": 4_000_000_000}, "not valid yet"),
        ({"iat": 4_000_000_000}, "not valid yet"),
        ({"nbf": "soon"}, "no time"),
    ],
)
def test_a_token_for_somebody_else_or_for_another_time_is_refused(
    tower: Tower, more: dict[str, Any], why: str
) -> None:
    head = b64({"alg": "RS256", "kid": "r1"})
    signed = f"{head}.{b64(tower.claims(**more))}".encode()
    signature = RSAAlgorithm(RSAAlgorithm.SHA256).sign(signed, RSA)
    with pytest.raises(Unauthenticated, match=why):
        tower.who(f"{signed.decode()}.{b64(signature)}")


def test_a_token_ends_when_it_expires_remembered_or_not(tower: Tower) -> None:
    token = tower.token()
    assert tower.who(token) == tower.who(token)
    tower.clock.advance(599.999)
    assert tower.who(token).name == "ann"
    tower.clock.advance(0.001)
    assert tower.nobody(token) == "this token has expired"
    assert tower.nobody(token) == "this token has expired"


def test_a_provider_whose_clock_is_a_little_ahead_is_believed(tower: Tower) -> None:
    assert tower.who(tower.token(iat=tower.now + 59, nbf=tower.now + 59)).name == "ann"
    tower.nobody(tower.token(iat=tower.now + 62))


def test_what_is_no_access_token_is_refused(tower: Tower) -> None:
    assert tower.who(tower.token(header={"typ": "at+JWT"})).name == "ann"
    for header in (
        {"typ": "logout+jwt"}, {"typ": "dpop+jwt"}, {"typ": 7}, {"crit": ["exp"]}, {"crit": ["b64"], "b64": False},
        {"b64": True},
    ):
        signed = f"{b64({'alg': 'RS256', 'kid': 'r1', **header})}.{b64(tower.claims())}"
        signature = RSAAlgorithm(RSAAlgorithm.SHA256).sign(signed.encode(), RSA)
        assert tower.nobody(f"{signed}.{b64(signature)}") == "this is no valid credential"


def test_a_changed_token_is_nobody(tower: Tower) -> None:
    head, body, signature = tower.token().split(".")
    assert tower.who(f"{head}.{body}.{signature}").name == "ann"
    admin = b64(tower.claims(roles=["admin"]))
    for wrong in (
        f"{head}.{admin}.{signature}", f"{head}.{body}.{signature[:-8]}", f"{head}.{body}.", f"{head}.{body}",
        f"{head}.{body}.{signature}.{signature}", f"{body}.{head}.{signature}", f"..{signature}", "...", "a.b.c",
        f"{head}.{body}.{signature}=", f" {head}.{body}.{signature}", f"{head}.{body}.{signature}\n",
        f"{b64(b'[]')}.{body}.{signature}", f"{b64(b'[' * 5000)}.{body}.{signature}",
        f"{head}.{body}.{signature}\ud800",
    ):
        assert tower.nobody(wrong) == "this is no valid credential"


def test_a_signed_payload_that_is_no_claims_is_refused(tower: Tower) -> None:
    for payload in (b"[]", b"7", b"null", b"{", b"[" * 6000, b'{"exp": NaN}', b"\xff", b'{"a": 1e999}'):
        signed = f"{b64({'alg': 'RS256', 'kid': 'r1'})}.{b64(payload)}"
        tower.nobody(f"{signed}.{b64(RSAAlgorithm(RSAAlgorithm.SHA256).sign(signed.encode(), RSA))}")


def test_a_huge_token_is_nobody(tower: Tower) -> None:
    for huge in (tower.token(pad="x" * 100_000), "a" * 50_000_000, "." * 5_000_000):
        assert tower.nobody(huge) == "this is no valid credential"


def test_random_bytes_are_nobody(tower: Tower) -> None:
    for size in range(200):
        tower.nobody(os.urandom(size).decode("latin-1"))
        tower.nobody(".".join(b64(os.urandom(size)) for _ in range(3)))


# --- signing people in -----------------------------------------------------------------------------------------------


def test_an_id_token_is_taken_for_the_client_that_asked_and_for_its_sign_in_alone(tower: Tower) -> None:
    token = tower.token(aud="console", nonce="n1")
    tower.nobody(token)

    def claims(audience: str, nonce: str) -> Any:
        return asyncio.run(tower.provider.claims_of(token, audience, nonce=nonce))

    assert tower.provider.principal_from(claims("console", "n1")).name == "ann"
    for audience, nonce in (("console", "n2"), ("console", ""), (AUDIENCE, "n1")):
        with pytest.raises(Unauthenticated):
            claims(audience, nonce)


# --- where the keys come from ----------------------------------------------------------------------------------------


def test_a_key_that_the_provider_took_back_verifies_nothing_even_what_was_remembered(tower: Tower) -> None:
    token = tower.token(exp=tower.now + DAY)
    assert tower.who(token).name == "ann"
    tower.path.write_text(json.dumps({"keys": [jwk(OTHER, "r2")]}))

    async def later() -> None:
        tower.clock.advance(901)
        await tower.provider.principal_of(token)  # the keys are old: they are asked for again meanwhile
        await tower.provider.start()
        with pytest.raises(Unauthenticated):
            await tower.provider.principal_of(token)

    asyncio.run(later())
    assert tower.who(tower.token(OTHER, kid="r2")).name == "ann"


def test_keys_that_nobody_could_ask_for_again_for_a_day_are_not_believed(tower: Tower) -> None:
    token = tower.token(exp=tower.now + 9 * DAY)
    assert tower.who(token).name == "ann"
    tower.path.unlink()
    tower.clock.advance(DAY - 1)
    assert tower.who(token).name == "ann"
    tower.clock.advance(62)
    asyncio.run(tower.provider.start())
    assert len(tower.troubles) == 1
    tower.nobody(token)


def test_a_file_that_was_spoiled_leaves_the_keys_as_they_were(tower: Tower) -> None:
    assert tower.who(tower.token()).name == "ann"
    tower.path.write_text("{")
    tower.clock.advance(61)
    tower.nobody(tower.token(kid="new"))
    assert tower.troubles
    assert tower.who(tower.token()).name == "ann"


@asynccontextmanager
async def served(*routes: tuple[str, Handler]) -> AsyncIterator[str]:
    app = web.Application()
    for path, handler in routes:
        app.router.add_get(path, handler)
    runner = web.AppRunner(app, shutdown_timeout=0.1)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    try:
        yield f"http://127.0.0.1:{runner.addresses[0][1]}"
    finally:
        await runner.cleanup()


def test_keys_are_fetched_from_where_the_issuer_says_and_once_a_minute_at_most() -> None:
    asked: list[str] = []
    sets = [JWKS]

    async def scenario() -> None:
        async def discovery(request: web.Request) -> web.Response:
            asked.append(request.path)
            return web.json_response(
                {"issuer": url, "jwks_uri": f"{url}/keys", "token_endpoint": f"{url}/token", "more": [1]}
            )

        async def keys(request: web.Request) -> web.Response:
            asked.append(request.path)
            return web.json_response(sets[-1])

        async with served(("/.well-known/openid-configuration", discovery), ("/keys", keys)) as url:
            clock = ManualClock()
            config = {"ledger": "memory:", "serve": {"oidc": {"issuer": url, "audience": AUDIENCE}}}
            with interlock.open(config, clock=clock) as gateway:
                identity = identity_of(gateway)
                now = clock.now() // MICROS
                who = {"sub": "ann", "roles": ["operator"], "tenant": "acme"}
                claims = {"iss": url, "aud": AUDIENCE, "exp": now + 9000, **who}

                def token(key: Any, kid: str) -> str:
                    return jwt.encode(claims, key, "RS256", headers={"kid": kid})

                await identity.start()
                assert asked == ["/.well-known/openid-configuration", "/keys"]
                assert (await identity.principal_of(token(RSA, "r1"))).roles == (Role.OPERATOR,)
                sets.append({"keys": [*JWKS["keys"], jwk(OTHER, "r2")]})
                for _ in range(5):
                    with pytest.raises(Unauthenticated):
                        await identity.principal_of(token(OTHER, "r2"))
                assert len(asked) == 2
                clock.advance(60)
                found = await asyncio.gather(*(identity.principal_of(token(OTHER, "r2")) for _ in range(20)))
                assert {each.name for each in found} == {"ann"}
                assert len(asked) == 4
                provider = identity.provider
                assert isinstance(provider, OidcProvider)
                assert (await provider.discovery()).token_endpoint == f"{url}/token"

    asyncio.run(scenario())


def test_a_provider_that_answers_badly_is_not_believed_and_ends_nothing() -> None:
    async def scenario() -> None:
        async def other_issuer(request: web.Request) -> web.Response:
            return web.json_response({"issuer": "https://evil.example", "jwks_uri": "https://evil.example/keys"})

        async def elsewhere(request: web.Request) -> web.Response:
            raise web.HTTPFound("/good")

        async def good(request: web.Request) -> web.Response:
            return web.json_response(JWKS)

        async def large(request: web.Request) -> web.StreamResponse:
            return web.Response(body=b" " * 600_000 + json.dumps(JWKS).encode())

        async def broken(request: web.Request) -> web.StreamResponse:
            assert request.transport is not None
            request.transport.abort()
            return web.Response()

        async with served(
            ("/.well-known/openid-configuration", other_issuer), ("/away", elsewhere), ("/good", good),
            ("/large", large), ("/broken", broken),
        ) as url:
            for jwks, why in (
                (None, "issuer"), (f"{url}/away", "status 302"), (f"{url}/large", "more than"), (f"{url}/none", "404"),
                (f"{url}/broken", "Disconnected|ClientOSError"), ("http://127.0.0.1:9/keys", "Connect"),
            ):
                troubles: list[str] = []
                settings = Oidc(issuer=url, audience=AUDIENCE, jwks=jwks)
                clock = ManualClock()
                keys = SigningKeys(source(settings, Path()), clock, lambda _, error: troubles.append(str(error)))  # noqa: B023
                provider = OidcProvider(settings, keys, clock)
                await provider.start()
                assert len(troubles) == 1
                with pytest.raises(Unauthenticated):
                    await provider.principal_of(jwt.encode({"a": 1}, RSA, "RS256", headers={"kid": "r1"}))
                assert any(word in troubles[0] for word in why.split("|")), troubles
            assert await get(f"{url}/good")

    asyncio.run(scenario())


def test_a_key_file_that_holds_none_is_refused_when_the_service_starts(tmp_path: Path) -> None:
    for contents in (None, "", "{}", '{"keys": []}'):
        if contents is not None:
            (tmp_path / "jwks.json").write_text(contents)
        with pytest.raises(ConfigError, match=r"serve\.oidc\.jwks"):
            source(Oidc(issuer=ISSUER, audience=AUDIENCE, jwks="jwks.json"), tmp_path)


@pytest.mark.parametrize("oidc", [{"issuer": "http://login.example"}, {"issuer": ISSUER, "jwks": "http://10.0.0.1/keys"}])
def test_keys_do_not_come_over_an_open_road(oidc: dict[str, Any]) -> None:
    with pytest.raises(ConfigError, match="must begin with https://"):
        interlock.open({"ledger": "memory:", "serve": {"oidc": {**oidc, "audience": AUDIENCE}}})
