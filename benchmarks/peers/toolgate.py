"""toolgate-io as the bench sees it: a server, a tenant with its agent, policy and upstream, and a grant per client.

Its calls carry a proof that is signed by the agent. The proofs are signed before the clock starts.
"""

from __future__ import annotations

import asyncio
import base64
import hashlib
import json
import secrets
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from benchmarks.figures import require
from benchmarks.load import arguments
from benchmarks.peers.process import free_port, listening, place_of
from benchmarks.wire import Wire

PATH = "/v1/gate/call/desk"


class Toolgate:
    """A running one. `register` first."""

    def __init__(self, port: int, admin_key: str) -> None:
        self._port, self._url = port, f"http://127.0.0.1:{port}"
        self._operator = {"X-Toolgate-Admin-Key": admin_key}
        self._key = Ed25519PrivateKey.generate()
        self._public = {"kty": "OKP", "crv": "Ed25519", "x": _base64(self._key.public_key().public_bytes_raw())}
        self._agent = ""
        self._grants: list[str] = []

    async def register(self, upstream: str, secret: str, clients: int) -> None:
        """All that an operator would set up once."""
        tenant = await self._made("tenants", {"name": "acme"})
        user = await self._made("users", {"tenantId": tenant, "displayName": "Sam", "email": "sam@acme.example"})
        self._agent = await self._made("agents", {"tenantId": tenant, "name": "bot", "publicJwk": self._public})
        await self._made("upstreams", {
            "tenantId": tenant, "name": "desk", "baseUrl": upstream, "credential": {"mode": "bearer", "secret": secret},
            "tools": [{"name": "open", "sideEffecting": True, "costUnits": 1}],
        })
        rules = [
            {"id": "trial", "effect": "require_approval", "match": {"upstream": "trial", "tool": "*"}},
            {"id": "staging", "effect": "deny", "match": {"upstream": "staging", "tool": "*"}},
            {"id": "delete", "effect": "deny", "match": {"upstream": "desk", "tool": "delete_*"}},
            {"id": "refunds", "effect": "require_approval", "match": {"upstream": "refund", "tool": "*"}},
            {"id": "desk", "effect": "allow", "match": {"upstream": "desk", "tool": "*"}},
        ]
        policy = await self._made("policies", {"tenantId": tenant, "name": "bench", "rules": rules})
        grant = {
            "tenantId": tenant, "userId": user, "agentId": self._agent, "policyId": policy, "scopes": ["desk"],
            "authorization": [{"upstream": "desk", "tools": ["*"]}], "budgetMaxUnits": 10_000_000, "ttlHours": 8,
        }
        self._grants = [await self._made("grants", grant) for _ in range(clients)]

    async def load(self, clients: int, calls: int) -> tuple[float, list[float]]:
        """Calls per second, and the seconds of each."""
        wires = [Wire("127.0.0.1", self._port, {}) for _ in range(clients)]
        signed = [self._signed(await self._token(grant), calls) for grant in self._grants[:clients]]
        for wire in wires:
            await wire.send("GET", "/healthz")
        taken: list[float] = []

        async def call(wire: Wire, prepared: list[tuple[bytes, dict[str, str]]]) -> None:
            for body, headers in prepared:
                began = time.perf_counter()
                status, answer = await wire.send("POST", PATH, body, headers)
                taken.append(time.perf_counter() - began)
                require(status == 200 and b'"executed"' in answer, f"toolgate answered {status}: {answer[:300]!r}")

        began = time.perf_counter()
        await asyncio.gather(*(call(*each) for each in zip(wires, signed, strict=True)))
        seconds = time.perf_counter() - began
        for wire in wires:
            wire.close()
        return len(taken) / seconds, taken

    async def verified(self) -> bool:
        """Whether its audit chain verifies."""
        return bool((await self._asked("GET", "/v1/control/audit/verify"))["valid"])

    async def _made(self, what: str, body: dict[str, Any]) -> str:
        return str((await self._asked("POST", f"/v1/control/{what}", body))["id"])

    async def _asked(self, method: str, path: str, body: Any = None) -> dict[str, Any]:
        wire = Wire("127.0.0.1", self._port, self._operator)
        status, answer = await wire.send(method, path, body)
        wire.close()
        require(status in (200, 201), f"toolgate answered {method} {path} with {status}: {answer[:300]!r}")
        told: dict[str, Any] = json.loads(answer)
        return told

    async def _token(self, grant: str) -> str:
        url, now = f"{self._url}/v1/token", int(time.time())
        assertion = self._jws("tg-client+jwt", {}, {
            "iss": self._agent, "sub": self._agent, "aud": url, "iat": now, "exp": now + 60,
            "jti": secrets.token_urlsafe(12),
        })
        told = await self._asked("POST", "/v1/token", {
            "grant_type": "urn:ietf:params:oauth:grant-type:token-exchange", "client_assertion": assertion,
            "grant_id": grant, "requested_ttl_seconds": 300,
        })
        return str(told["access_token"])

    def _signed(self, token: str, calls: int) -> list[tuple[bytes, dict[str, str]]]:
        bodies = [json.dumps({"tool": "open", "args": arguments(number)}).encode() for number in range(calls)]
        return [(body, {"Authorization": f"Bearer {token}", "X-Toolgate-Proof": self._proof(token, body)})
                for body in bodies]

    def _proof(self, token: str, body: bytes) -> str:
        return self._jws("tg-pop+jwt", {"jwk": self._public}, {
            "htm": "POST", "htu": f"{self._url}{PATH}", "ath": _base64(hashlib.sha256(token.encode()).digest()),
            "iat": int(time.time()), "jti": secrets.token_urlsafe(12), "cd": _base64(hashlib.sha256(body).digest()),
        })

    def _jws(self, kind: str, header: dict[str, Any], claims: dict[str, Any]) -> str:
        head = _base64(json.dumps({"alg": "EdDSA", "typ": kind, **header}).encode())
        said = f"{head}.{_base64(json.dumps(claims).encode())}"
        return f"{said}.{_base64(self._key.sign(said.encode()))}"


@contextmanager
def toolgate(folder: Path) -> Iterator[Toolgate]:
    """A fresh one on SQLite, as its own server starts."""
    port, admin_key = free_port(), secrets.token_urlsafe(32)
    env = {
        "TOOLGATE_DB": str(folder / "toolgate.db"), "TOOLGATE_ADMIN_KEY": admin_key, "TOOLGATE_VAULT_ALLOW_ENV": "1",
        "TOOLGATE_MASTER_KEY": base64.b64encode(secrets.token_bytes(32)).decode(),
    }
    start = Path(__file__).with_name("start_toolgate.py")
    with listening([place_of("toolgate") / "python", "-P", start, str(port)], port, folder / "toolgate.log", env):
        yield Toolgate(port, admin_key)


def _base64(raw: bytes) -> str:
    return base64.urlsafe_b64encode(raw).rstrip(b"=").decode()
