"""An API and its document, for the tests of OpenAPI upstreams: a real server on a thread, and gateways before it."""

from __future__ import annotations

import asyncio
import json
import threading
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from aiohttp import web
from hypothesis import strategies as st

import interlock
from interlock.gateway import Gateway
from interlock.ports import CallInfo
from interlock.stores.memory import MemoryStore, MemorySwitchBoard
from interlock.tools.openapi.document import understood

CANARY = "canary-7f3a9c-shop"
LIMIT = 60.0  #: seconds until a test gives up; nothing here depends on how fast things are
HOME = {"agent": "bot", "tenant": "acme", "env": "prod"}

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


def operation(name: str, **more: Any) -> dict[str, Any]:
    return {"operationId": name, "responses": {"200": {"description": "ok"}}, **more}


def parameter(name: str, where: str, kind: str = "string", **more: Any) -> dict[str, Any]:
    return {"name": name, "in": where, "required": where == "path", "schema": {"type": kind}, **more}


def body(schema: dict[str, Any], *, required: bool = True) -> dict[str, Any]:
    return {"required": required, "content": {"application/json": {"schema": schema}}}


ORDER = {
    "type": "object",
    "required": ["sku"],
    "properties": {"sku": {"type": "string"}, "count": {"type": "integer", "minimum": 1}},
}


def shop(**more: Any) -> dict[str, Any]:
    """A small API: the document of most tests."""
    one = [parameter("id", "path")]
    return {
        "openapi": "3.1.0",
        "info": {"title": "Shop", "version": "1"},
        "servers": [{"url": "https://shop.example/v1"}],
        "paths": {
            "/status": {"get": operation("status", summary="How it stands")},
            "/orders": {
                "get": operation("list", parameters=[parameter("q", "query"), parameter("X-Trace", "header")]),
                "post": operation("order", requestBody=body({"$ref": "#/components/schemas/Order"})),
            },
            "/orders/{id}": {
                "parameters": one,
                "get": operation("read"),
                "put": operation("replace", requestBody=body(ORDER)),
                "delete": operation("cancel"),
                "head": operation("peek"),
            },
        },
        "components": {
            "schemas": {"Order": ORDER},
            "securitySchemes": {"key": {"type": "http", "scheme": "bearer"}},
        },
        "security": [{"key": []}],
        **more,
    }


@dataclass
class Seen:
    """A request as the server had it on the wire."""

    method: str
    target: str
    headers: dict[str, str]
    body: bytes


class Server:
    """An HTTP server on a thread of its own, that answers as it is told."""

    def __init__(self) -> None:
        self.seen: list[Seen] = []
        self.answer: Handler = self.ok
        self.connections: set[Any] = set()
        self._loop = asyncio.new_event_loop()
        self._stopped = threading.Event()
        self.release = asyncio.Event()
        started = threading.Event()

        async def serve() -> None:
            runner = web.AppRunner(self._app(), access_log=None, shutdown_timeout=0.1)
            await runner.setup()
            site = web.TCPSite(runner, "127.0.0.1", 0)
            await site.start()
            self.port = runner.addresses[0][1]
            self._end = asyncio.Event()
            started.set()
            await self._end.wait()
            self.release.set()
            await runner.cleanup()

        def run() -> None:
            asyncio.set_event_loop(self._loop)
            self._loop.run_until_complete(serve())
            self._loop.close()

        self._thread = threading.Thread(target=run, daemon=True)
        self._thread.start()
        assert started.wait(LIMIT)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def _app(self) -> web.Application:
        app = web.Application(client_max_size=2**24)

        async def handle(request: web.Request) -> web.StreamResponse:
            headers = {key.lower(): value for key, value in request.headers.items()}
            self.connections.add(request.transport)
            self.seen.append(Seen(request.method, request.raw_path, headers, await request.read()))
            return await self.answer(request)

        app.router.add_route("*", "/{tail:.*}", handle)
        return app

    async def ok(self, request: web.Request) -> web.StreamResponse:
        return web.json_response({"method": request.method, "path": request.raw_path})

    async def lose(self, request: web.Request) -> web.StreamResponse:
        """The effect happens, and the connection ends without an answer."""
        assert request.transport is not None
        request.transport.abort()
        return web.Response()

    async def hang(self, request: web.Request) -> web.StreamResponse:
        await self.release.wait()
        return web.Response()

    async def drip(self, request: web.Request) -> web.StreamResponse:
        """Headers at once, and a body that does not end."""
        response = web.StreamResponse(headers={"Content-Type": "application/json"})
        await response.prepare(request)
        await response.write(b'{"a":')
        await self.release.wait()
        return response

    def say(self, status: int, text: str = "", **headers: str) -> None:
        async def answer(_: web.Request) -> web.StreamResponse:
            return web.Response(status=status, text=text, headers={k.replace("_", "-"): v for k, v in headers.items()})

        self.answer = answer

    def close(self) -> None:
        self._loop.call_soon_threadsafe(self._end.set)
        self._thread.join(LIMIT)


class House:
    """Gateways over one ledger, with the API of one server."""

    def __init__(self, folder: Path, server: Server) -> None:
        self.folder, self.server = folder, server
        self.parts: tuple[Any, Any] = MemoryStore(), MemorySwitchBoard()
        self._opened: list[Gateway] = []

    def open(self, document: Any = None, *, tools: Any = None, credential: bool = False, **more: Any) -> Gateway:
        path = self.folder / "shop.openapi.json"
        path.write_text(document if isinstance(document, str) else json.dumps(document or shop()))
        entry = {"openapi": str(path), "base_url": self.server.url, "allow_private": True, **more}
        entry = {key: value for key, value in entry.items() if value is not None}
        config: dict[str, Any] = {
            "ledger": "memory:",
            "budgets": {"max_tool_calls": 1000, "max_denials": 1000, "max_repeats": 1000},
            "policy": {"allow": ["*"]},
            "upstreams": {"shop": entry},
            "tools": tools or {},
        }
        if credential:
            config["credentials"] = {"shop": "env:SHOP_KEY"}
            entry["credential"] = "shop"
        store, board = self.parts
        gateway = interlock.open({k: v for k, v in config.items() if v}, store=store, board=board)
        self._opened.append(gateway)
        return gateway

    def close(self) -> None:
        for gateway in self._opened:
            gateway.close()


def info(run: str = "r1", key: str = "k1", attempt: int = 1) -> CallInfo:
    return CallInfo(
        tenant="acme", agent="bot", env="prod", run_id=run, step_id="", call_id=key, key=key, deadline=2**60,
        attempt=attempt, report_cost=lambda _: None,
    )


def only(document: dict[str, Any], **more: Any) -> Any:
    """The one operation of a document."""
    found = understood(document, base_url="https://shop.example/v1", **more)
    assert not found.refused, found.refused
    (one,) = found.operations
    return one


def refusal(document: dict[str, Any], **more: Any) -> str:
    """Why the one operation of a document is left out."""
    found = understood(document, base_url="https://shop.example/v1", **more)
    assert not found.operations
    (why,) = found.refused.values()
    return why


def having(path: str, method: str = "get", **more: Any) -> dict[str, Any]:
    return {"openapi": "3.0.3", "paths": {path: {method: operation("op", **more)}}}


SCHEMES: dict[str, dict[str, str]] = {
    "bearer": {"type": "http", "scheme": "bearer"},
    "oauth2": {"type": "oauth2"},
    "basic": {"type": "http", "scheme": "basic"},
    "header": {"type": "apiKey", "in": "header", "name": "X-Api-Key"},
    "query": {"type": "apiKey", "in": "query", "name": "api_key"},
}

ECHO = {
    "openapi": "3.1.0",
    "paths": {
        "/a/{one}/b{two}.json/c": {
            "post": operation(
                "op",
                parameters=[
                    parameter("one", "path"), parameter("two", "path"), parameter("q", "query"),
                    parameter("X-Note", "header"),
                    parameter("tags", "query", schema={"type": "array", "items": {"type": "string"}}),
                ],
                requestBody=body({"type": "object", "properties": {"text": {"type": "string"}}}),
            )
        }
    },
}
HOSTILE = st.one_of(
    st.text(max_size=30),
    st.text(alphabet="./\\%2fFeE:;?#@&= \r\n\t\x00é", max_size=12),
    st.sampled_from([".", "..", "../..", "%2e%2e", "..%2f", "//evil.example", "a\r\nHost: evil", "http://evil.example"]),
)
