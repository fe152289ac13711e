"""A gateway served over MCP on a loopback port, by a real server in a thread, and clients of both eras."""

from __future__ import annotations

import asyncio
import contextlib
import json
import socket
import threading
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Any

import httpx2
import pytest
import uvicorn
from mcp import Client
from mcp.client.streamable_http import streamable_http_client
from starlette.applications import Starlette

import interlock
from interlock.core.principal import Principal, Role
from interlock.faces.http.service import Service
from interlock.faces.mcp.door import McpFront
from interlock.keyrings import identity_of
from interlock.stores.memory_keys import MemoryKeyRing

POLICY: dict[str, Any] = {
    "allow": ["kb.*", "ticket.*", "up.*"],
    "rules": [
        {"id": "no-delete", "tools": ["ticket.delete"], "then": "deny", "reason": "nobody deletes tickets"},
        {"id": "acme-only", "tools": ["kb.secret"], "tenants": ["globex"], "then": "deny"},
    ],
}
ENVELOPE = {
    "io.modelcontextprotocol/protocolVersion": "2026-07-28",
    "io.modelcontextprotocol/clientInfo": {"name": "hand", "version": "1"},
    "io.modelcontextprotocol/clientCapabilities": {},
}
LIMIT = 30.0  #: seconds until a test gives up; nothing here depends on how fast things are


class Served:
    """One gateway behind one port."""

    def __init__(
        self, gateway: interlock.Gateway, *, codec: bool = True, wrap: Callable[[Any, str], Any] = lambda app, _: app
    ) -> None:
        self.gateway = gateway
        self.service = Service(gateway, identity_of(gateway, MemoryKeyRing()))
        self.front = McpFront(self.service, codec=codec)
        self._socket = socket.create_server(("127.0.0.1", 0))
        self.port = self._socket.getsockname()[1]
        self.url = f"http://127.0.0.1:{self.port}/mcp"

        @asynccontextmanager
        async def lifespan(_: Starlette) -> AsyncIterator[None]:
            async with self.front.lifespan():
                yield

        app = wrap(Starlette(routes=self.front.routes, lifespan=lifespan), self.token())
        self._server = uvicorn.Server(
            uvicorn.Config(app, log_level="error", ws="none", timeout_graceful_shutdown=2, access_log=False)
        )
        self._thread = threading.Thread(target=self._serve)
        self._thread.start()
        while not self._server.started:
            assert self._thread.is_alive(), "the server did not start"
            threading.Event().wait(0.01)

    def _serve(self) -> None:
        self._server.run([self._socket])

    def close(self) -> None:
        self._server.should_exit = True
        self._thread.join(LIMIT)
        self.gateway.close()

    def token(self, tenant: str = "acme", agent: str = "bot", env: str = "prod", name: str = "bot") -> str:
        who = Principal(name=name, roles=(Role.AGENT,), tenant=tenant, agent=agent, env=env)
        return self.service.identity.give(who, by="ops")[1]

    def persons_token(self, *roles: Role) -> str:
        return self.service.identity.give(Principal(name="anna", roles=roles), by="ops")[1]

    @asynccontextmanager
    async def client(self, token: str = "", mode: str = "auto", query: str = "", **more: Any) -> AsyncIterator[Client]:
        """A client of the SDK: `auto` speaks the newest revision, `legacy` the handshake."""
        headers = {"authorization": f"Bearer {token or self.token()}"} | more.pop("headers", {})
        async with AsyncExitStack() as stack:
            http = await stack.enter_async_context(httpx2.AsyncClient(headers=headers, timeout=LIMIT, verify=False))
            transport = streamable_http_client(self.url + query, http_client=http)
            yield await stack.enter_async_context(Client(transport, mode=mode, cache=None, **more))

    async def post(self, body: Any, token: str = "", **headers: str) -> httpx2.Response:
        """One request by hand."""
        said = {"accept": "application/json, text/event-stream", "content-type": "application/json"}
        if token != "none":
            said["authorization"] = f"Bearer {token or self.token()}"
        raw = body if isinstance(body, bytes) else json.dumps(body).encode()
        said |= {name.replace("_", "-"): value for name, value in headers.items()}
        async with httpx2.AsyncClient(timeout=LIMIT, verify=False) as http:
            return await http.post(self.url, content=raw, headers={k: v for k, v in said.items() if v})

    async def modern(
        self, method: str, token: str = "", meta: Any = None, number: Any = 1, **params: Any
    ) -> httpx2.Response:
        """One request of the newest revision, by hand."""
        headers = {"mcp_protocol_version": "2026-07-28", "mcp_method": method}
        if "name" in params:
            headers["mcp_name"] = params["name"]
        params["_meta"] = {**ENVELOPE, **(meta or {})}
        return await self.post({"jsonrpc": "2.0", "id": number, "method": method, "params": params}, token, **headers)

    async def session(self, token: str, **capabilities: Any) -> Callable[..., Any]:
        """A session of the handshake era, by hand: gives what sends one request over it."""
        first = {
            "protocolVersion": "2025-11-25", "capabilities": capabilities,
            "clientInfo": {"name": "hand", "version": "1"},
        }
        opened = await self.post({"jsonrpc": "2.0", "id": 0, "method": "initialize", "params": first}, token)
        assert opened.status_code == 200
        headers = {"mcp_session_id": opened.headers["mcp-session-id"], "mcp_protocol_version": "2025-11-25"}
        await self.post({"jsonrpc": "2.0", "method": "notifications/initialized"}, token, **headers)

        async def send(method: str, number: Any = 1, **params: Any) -> httpx2.Response:
            said = {"jsonrpc": "2.0", "method": method, "params": params}
            return await self.post(said if number is None else {**said, "id": number}, token, **headers)

        return send


def message_of(response: httpx2.Response) -> Any:
    """The JSON-RPC answer in a response, whichever way it was sent."""
    if response.headers["content-type"].startswith("text/event-stream"):
        events = [line[6:] for line in response.text.split("\r\n") if line.startswith("data: {")]
        return json.loads(events[-1])
    return response.json()


def tools_of(gateway: interlock.Gateway, sent: list[Any]) -> None:
    """What an office has."""

    @gateway.tool("kb.search", effect="read")
    def search(text: str) -> dict[str, Any]:
        """Search the knowledge base."""
        return {"found": [text, None], "count": 1}

    @gateway.tool("kb.read", effect="egress")
    def read(name: str) -> str:
        """Read one article."""
        return f"the article {name}"

    @gateway.tool("kb.steps", effect="read")
    async def steps(call: interlock.CallInfo) -> str:
        """Tell how far it has come."""
        for report in ((1, None, ""), (2.5, 3, "half\n"), (float("nan"), None, "none"), (3, 3, "ü")):
            call.report_progress(*report)
        return "done"

    @gateway.tool("kb.secret", effect="read")
    def secret() -> str:
        """For one tenant alone."""
        return "s"

    @gateway.tool("kb.fail", effect="read")
    def fail() -> str:
        """Fails."""
        raise RuntimeError("password=hunter2hunter2 in /srv/private/app.py")

    @gateway.tool("ticket.create", effect="write")
    def create(title: str) -> str:
        """Open a ticket."""
        sent.append(title)
        return f"ticket about {title}"

    @gateway.tool("ticket.close", effect="write")
    def close(number: int) -> str:
        """Close a ticket. A person is asked."""
        sent.append(number)
        return f"closed {number}"

    @gateway.tool("ticket.delete", effect="irreversible")
    def delete(number: int) -> str:
        """Delete a ticket. Nobody may."""
        sent.append(("deleted", number))
        return "gone"

    @gateway.tool("office.burn", effect="irreversible")
    def burn() -> str:
        """Granted to nobody."""
        sent.append("burnt")
        return "ash"


Open = Callable[..., Served]


@pytest.fixture
def sent() -> list[Any]:
    """What was done to the world."""
    return []


@pytest.fixture
def serve(tmp_path: Path, sent: list[Any]) -> Iterator[Open]:
    """Opens served gateways; `serve(config…)`."""
    opened: list[Served] = []

    def open_(*, codec: bool = True, **config: Any) -> Served:
        said = {
            "ledger": {"url": f"sqlite:///{tmp_path / 'ledger.db'}", "synchronous": "off"},
            "policy": POLICY, "approvals": {"required_for": ["ticket.close"]}, "budgets": {"max_tool_calls": 1000},
        }
        served = Served(interlock.open({**said, **config}), codec=codec)
        tools_of(served.gateway, sent)
        opened.append(served)
        return served

    yield open_
    for served in opened:
        served.close()


@pytest.fixture
def served(serve: Open) -> Served:
    """A served gateway as a company would have it."""
    return serve()


def run(coroutine: Any) -> Any:
    """Drive one test."""

    async def limited() -> Any:
        async with asyncio.timeout(LIMIT):
            return await coroutine

    with contextlib.closing(asyncio.new_event_loop()) as loop:
        try:
            return loop.run_until_complete(limited())
        finally:
            loop.run_until_complete(loop.shutdown_asyncgens())
