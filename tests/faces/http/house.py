"""A whole service in this process: a real gateway, real keys, the real application; and clients that hold a key."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import httpx2

import interlock
from interlock.core.audit import SYSTEM, Entry
from interlock.core.principal import Principal, Role
from interlock.faces.http.app import App
from interlock.faces.http.compose import compose
from interlock.keyrings import identity_of

BOT = Principal(name="bot key", roles=(Role.AGENT,), tenant="acme", agent="bot", env="prod")


class House:
    """One service. `agent` acts for acme; `key` gives a key of anybody."""

    def __init__(self, gateway: interlock.Gateway) -> None:
        self.gateway = gateway
        self.identity = identity_of(gateway)
        self.app: App = compose(gateway, self.identity)

    def key(self, *roles: Role, tenant: str = "acme", name: str = "") -> str:
        """The token of a person, or of an agent."""
        if roles == (Role.AGENT,):
            return self.give(Principal(name=name or "bot key", roles=roles, tenant=tenant, agent="bot", env="prod"))
        return self.give(Principal(name=name or str(roles[0]), roles=roles, tenant=tenant))

    def give(self, principal: Principal) -> str:
        """The token of anybody."""
        return self.identity.give(principal, by="test")[1]

    def client(self, token: str = "", **headers: str) -> httpx2.AsyncClient:
        """Speaks to the application without a network."""
        if token:
            headers["authorization"] = f"Bearer {token}"
        transport = httpx2.ASGITransport(app=self.app, raise_app_exceptions=False)
        return httpx2.AsyncClient(transport=transport, base_url="http://gateway", headers=headers)

    def agent(self, **headers: str) -> httpx2.AsyncClient:
        """A client with an agent's key."""
        return self.client(self.give(BOT), **headers)

    def person(self, *roles: Role, tenant: str = "acme", name: str = "") -> httpx2.AsyncClient:
        """A client with a person's key."""
        return self.client(self.key(*roles, tenant=tenant, name=name))

    def turned_away(self, tenant: str = "acme") -> list[Entry]:
        """What the audit has of those who were turned away."""
        return [entry for entry in self.gateway.audit.entries(tenant) if entry.kind == "turned_away"]

    def all_turned_away(self) -> int:
        """How many were, whoever they are of."""
        return sum(len(self.turned_away(tenant)) for tenant in {*self.gateway.audit.tenants(), SYSTEM})


@asynccontextmanager
async def opened(client: httpx2.AsyncClient, **said: Any) -> AsyncIterator[str]:
    """A run of the client's agent."""
    answer = await client.post("/v1/runs", json=said)
    assert answer.status_code == 200, answer.text
    yield answer.json()["run_id"]
