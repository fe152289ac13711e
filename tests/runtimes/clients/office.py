"""A gateway served as `interlock serve` serves it, with an MCP server and a provider of models behind it."""

from __future__ import annotations

import json
import socket
import threading
from collections.abc import MutableMapping
from typing import Any, Literal

import mcp_types as types
import uvicorn
from mcp.server.lowlevel import Server

import interlock
from interlock.core.principal import Principal, Role
from interlock.faces.http import server
from interlock.faces.http.compose import compose
from interlock.keyrings import identity_of
from interlock.stores.memory_keys import MemoryKeyRing
from tests.runtimes.clients.provider import Provider

LIMIT = 60.0  #: seconds until a test gives up; nothing here depends on how fast things are
SECRETS = {"CRM_TOKEN": "the-token-of-the-crm", "MODEL_KEY": "the-key-of-the-provider"}
#: in the environment; the last keeps Google ADK from looking for a metadata server around this machine
ENVIRONMENT = {**SECRETS, "NO_GCE_CHECK": "true"}
PROTOCOLS = ("anthropic", "openai")  #: that the provider speaks
HOME = {"tenant": "acme", "agent": "bot", "env": "prod"}
POLICY: dict[str, Any] = {
    "allow": ["ticket.*", "refund.*", "crm.*"],
    "rules": [
        {"id": "nobody-deletes", "tools": ["ticket.delete"], "then": "deny"},
        {
            "id": "small-refunds", "tools": ["refund.pay"], "when": "args.amount > 100", "then": "deny",
            "reason": "refunds above 100 are not given",
        },
    ],
}
Message = MutableMapping[str, Any]


class Port:
    """A server on a loopback port, in a thread of its own."""

    def __init__(self, config: uvicorn.Config) -> None:
        listening = socket.create_server(("127.0.0.1", 0))
        self.url = f"http://127.0.0.1:{listening.getsockname()[1]}"
        config.timeout_graceful_shutdown = 1
        self._server = uvicorn.Server(config)
        self._thread = threading.Thread(target=self._server.run, args=([listening],))
        self._thread.start()
        while not self._server.started:
            assert self._thread.is_alive(), "the server did not start"
            threading.Event().wait(0.005)

    def close(self) -> None:
        self._server.should_exit = True
        self._thread.join(LIMIT)


def plain(app: Any) -> uvicorn.Config:
    """How somebody else serves."""
    return uvicorn.Config(app, log_level="critical", ws="none", access_log=False)


class Crm:
    """The MCP server behind the gateway. It keeps every byte that it is sent."""

    def __init__(self) -> None:
        self.notes: list[str] = []
        self.heard: list[bytes] = []
        self._app = Server("crm", on_list_tools=self._list, on_call_tool=self._call).streamable_http_app()

    async def __call__(self, scope: Message, receive: Any, send: Any) -> None:
        if scope["type"] == "http":
            self.heard += [name + b": " + value for name, value in scope["headers"]]

        async def heard() -> Message:
            message: Message = await receive()
            self.heard.append(message.get("body", b""))
            return message

        await self._app(scope, heard, send)

    async def _list(self, _: Any, __: Any) -> types.ListToolsResult:
        schema = {"type": "object", "properties": {"text": {"type": "string"}}, "required": ["text"]}
        return types.ListToolsResult(tools=[types.Tool(name="note", description="Write a note.", input_schema=schema)])

    async def _call(self, _: Any, params: types.CallToolRequestParams) -> types.CallToolResult:
        text = str((params.arguments or {})["text"])
        self.notes.append(text)
        return types.CallToolResult(content=[types.TextContent(text=f"noted: {text}")])


class Asked:
    """One `tools/call` as it came to the gateway."""

    def __init__(self, scope: Message, said: dict[str, Any]) -> None:
        self.headers = {name.decode(): value.decode("latin-1") for name, value in scope["headers"]}
        self.tool = said["name"]
        self.meta: dict[str, Any] = said.get("_meta", {})


class Door:
    """What stands before the gateway: it writes down what is called, and can lose answers."""

    def __init__(self, app: Any) -> None:
        self._app = app
        self.gone = app.gone  # whoever serves an App tells it when it ends
        self.asked: list[Asked] = []
        self.loses: Literal["", "cut", "bad_gateway"] = ""  #: the answer to the next call, and how

    async def __call__(self, scope: Message, receive: Any, send: Any) -> None:
        if scope["type"] != "http" or scope["path"] != "/mcp" or scope["method"] != "POST":
            await self._app(scope, receive, send)
            return
        body, more = b"", True
        while more:
            message = await receive()
            body, more = body + message.get("body", b""), message.get("more_body", False)
        unread = [{"type": "http.request", "body": body, "more_body": False}]

        async def again() -> Message:
            return unread.pop() if unread else await receive()

        said = json.loads(body)
        loses = ""
        if said.get("method") == "tools/call":
            self.asked.append(Asked(scope, said["params"]))
            loses, self.loses = self.loses, ""
        await self._app(scope, again, _nowhere if loses else send)
        if loses == "cut":
            send.__self__.transport.abort()  # the connection is gone before a byte of the answer
        if loses == "bad_gateway":
            await send({"type": "http.response.start", "status": 502, "headers": [(b"content-length", b"0")]})
            await send({"type": "http.response.body", "body": b""})


async def _nowhere(_: Message) -> None:
    return


class Office:
    """One company: its gateway, what is behind it, and what was done there."""

    def __init__(self, **config: Any) -> None:
        self.done: list[Any] = []
        self.crm, self.provider = Crm(), Provider()
        self._behind = [Port(plain(self.crm)), Port(plain(self.provider))]
        crm, models = (port.url for port in self._behind)
        serve: dict[str, Any] = config.pop("serve", {})
        said = {
            "ledger": "memory:",
            "policy": POLICY,
            "approvals": {"required_for": ["ticket.close"]},
            "budgets": {"max_tool_calls": 100},
            "tenants": {"globex": {"policy": {"rules": [{"id": "no-crm", "tools": ["crm.*"], "then": "deny"}]}}},
            "upstreams": {"crm": {"mcp": {"url": f"{crm}/mcp"}, "credential": "crm"}},
            "credentials": {"crm": "env:CRM_TOKEN", "provider": "env:MODEL_KEY"},
            "tools": {"crm.note": {"effect": "write"}},
            "serve": {"models": {name: {"url": models, "credential": "provider"} for name in PROTOCOLS}, **serve},
            **config,
        }
        self.gateway = interlock.open(said)
        self._equip()
        self.identity = identity_of(self.gateway, MemoryKeyRing())
        self.door = Door(compose(self.gateway, self.identity))
        self._front = Port(server.settings_for(self.door))
        self.url = self._front.url
        self.key = self.key_of()

    def key_of(self, tenant: str = "acme") -> str:
        """A key for an agent."""
        bot = Principal(name="bot", roles=(Role.AGENT,), **{**HOME, "tenant": tenant})
        return self.identity.give(bot, by="ops")[1]

    def open_run(self, run_id: str, tenant: str = "acme") -> interlock.Run:
        """A run, as a program opens it beforehand."""
        return self.gateway.run(run_id=run_id, **{**HOME, "tenant": tenant})

    def report(self, run_id: str = "r1") -> interlock.Report:
        """What the run has used, and how it stands."""
        return self.open_run(run_id).report()

    def answer(self, *, yes: bool) -> None:
        """A person answers what waits, on the console's page."""
        (waiting,) = self.gateway.control.approvals()
        (self.gateway.control.approve if yes else self.gateway.control.reject)(waiting.approval_id, by="anna")

    def close(self) -> None:
        self._front.close()
        self.gateway.close()
        for port in self._behind:
            port.close()

    def _equip(self) -> None:
        gateway, done = self.gateway, self.done

        @gateway.tool("ticket.read", effect="read")
        def read(number: int) -> str:
            """Read a ticket."""
            return f"ticket {number}: the printer is on fire"

        @gateway.tool("ticket.create", effect="write")
        def create(title: str) -> str:
            """Open a ticket."""
            done.append(("create", title))
            return f"ticket about {title}"

        @gateway.tool("ticket.close", effect="write")
        def close(number: int) -> str:
            """Close a ticket. A person is asked."""
            done.append(("close", number))
            return f"closed {number}"

        @gateway.tool("ticket.delete", effect="irreversible")
        def delete(number: int) -> str:
            """Delete a ticket. Nobody may."""
            done.append(("delete", number))
            return "gone"

        @gateway.tool("refund.pay", effect="write")
        def pay(amount: int) -> str:
            """Pay a refund."""
            done.append(("pay", amount))
            return f"paid {amount}"
