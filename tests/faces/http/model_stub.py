"""A provider of models on a real socket, and a gateway in front of it: what the tests of the proxy stand on.

The stub speaks the three protocols with usage to the token, and remembers all that it was sent.
"""

from __future__ import annotations

import asyncio
import json
import socket
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from io import BytesIO
from typing import Any

import aiohttp
import uvicorn
from starlette.applications import Starlette

import interlock
from interlock.core.principal import Principal, Role
from interlock.faces.http.proxy import routes
from interlock.faces.http.service import Service
from interlock.identity import Identity
from interlock.keyrings import identity_of
from interlock.ports import StepKey
from interlock.stores.memory import MemorySwitchBoard
from interlock.stores.memory_keys import MemoryKeyRing

CANARY = "sk-canary-5f1d0c77e2b94a6e"
CHAT = {"prompt_tokens": 1000, "completion_tokens": 200, "total_tokens": 1200}
RESPONSES = {"input_tokens": 1000, "output_tokens": 200, "total_tokens": 1200}
MESSAGES = {"input_tokens": 1000, "output_tokens": 200}
PRICES = {"m": {"input": 1.0, "output": 10.0}}  # a turn of the above costs 3,000 micro-dollars
COST = 3_000
PATHS = {
    "chat": "/openai/v1/chat/completions", "responses": "/openai/v1/responses", "messages": "/anthropic/v1/messages"
}
ALL = tuple(PATHS)


def asking(protocol: str, **more: Any) -> dict[str, Any]:
    """The smallest request."""
    said = [{"role": "user", "content": "hello"}]
    if protocol == "responses":
        return {"model": "m", "input": "hello", "max_output_tokens": 200, **more}
    limit = "max_tokens" if protocol == "messages" else "max_completion_tokens"
    return {"model": "m", "messages": said, limit: 200, **more}


class Provider:
    """What it answers can be changed by a test: `usage`, and `does`, which answers in its place."""

    def __init__(self) -> None:
        self.asked: list[dict[str, Any]] = []
        self.headers: list[dict[str, str]] = []
        self.paths: list[str] = []
        self.usage: dict[str, Any] | None = None
        self.silent = False  #: says no usage
        self.does: Callable[..., Any] | None = None
        self.gone = asyncio.Event()
        self.poured = 0

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] != "http":
            return
        raw = b""
        while True:
            message = await receive()
            raw += message.get("body", b"")
            if not message.get("more_body"):
                break
        self.paths.append(scope["path"])
        self.headers.append({name.decode(): value.decode() for name, value in scope["headers"]})
        body = json.loads(raw) if raw else {}
        self.asked.append(body)
        if self.does is not None:
            await self.does(self, body, receive, send)
        elif scope["method"] == "GET":
            await whole(send, {"object": "list", "data": [{"id": "m"}]})
        elif body.get("stream"):
            await self.streamed(protocol_of(scope["path"]), body, send)
        else:
            await whole(send, self.answer(protocol_of(scope["path"])))

    def used(self, default: dict[str, Any]) -> dict[str, Any] | None:
        return None if self.silent else self.usage or default

    def answer(self, protocol: str) -> dict[str, Any]:
        if protocol == "chat":
            message = {"role": "assistant", "content": "hi"}
            return {"id": "c1", "choices": [{"index": 0, "message": message}], "usage": self.used(CHAT)}
        if protocol == "responses":
            return {"id": "r1", "status": "completed", "output": [], "usage": self.used(RESPONSES)}
        return {"id": "m1", "type": "message", "content": [], "usage": self.used(MESSAGES)}

    async def streamed(self, protocol: str, body: dict[str, Any], send: Any) -> None:
        await start(send)
        for event in self.events(protocol, body):
            await send({"type": "http.response.body", "body": event, "more_body": True})
        await send({"type": "http.response.body", "body": b""})

    def events(self, protocol: str, body: dict[str, Any]) -> list[bytes]:
        if protocol == "chat":
            wanted = (body.get("stream_options") or {}).get("include_usage")
            more = {"usage": None} if wanted else {}
            chunks = [{"choices": [{"index": 0, "delta": {"content": word}}], **more} for word in ("h", "i")]
            if wanted and not self.silent:
                chunks.append({"choices": [], "usage": self.used(CHAT)})
            return [data(chunk) for chunk in chunks] + [b"data: [DONE]\n\n"]
        if protocol == "responses":
            return [
                data({"type": "response.created", "response": {"id": "r1"}}, "response.created"),
                data({"type": "response.output_text.delta", "delta": "hi"}, "response.output_text.delta"),
                data({"type": "response.completed", "response": self.answer(protocol)}, "response.completed"),
            ]
        begun = {"type": "message", "usage": {"input_tokens": 1000, "output_tokens": 1, "cache_read_input_tokens": 0}}
        used = self.used(MESSAGES)
        return [
            data({"type": "message_start", "message": begun}, "message_start"),
            data({"type": "content_block_start", "index": 0, "content_block": {"type": "text"}}, "content_block_start"),
            data({"type": "ping"}, "ping"),
            data({"type": "content_block_delta", "index": 0, "delta": {"text": "hi"}}, "content_block_delta"),
            data({"type": "message_delta", "delta": {}, **({"usage": used} if used else {})}, "message_delta"),
            data({"type": "message_stop"}, "message_stop"),
        ]


def protocol_of(path: str) -> str:
    return next(name for name, ours in PATHS.items() if path.endswith(ours.rpartition("/")[2]))


def data(value: Any, kind: str = "") -> bytes:
    return (f"event: {kind}\n" if kind else "").encode() + b"data: " + json.dumps(value).encode() + b"\n\n"


async def start(send: Any, status: int = 200, kind: str = "text/event-stream", *more: tuple[bytes, bytes]) -> None:
    await send({"type": "http.response.start", "status": status, "headers": [(b"content-type", kind.encode()), *more]})


async def whole(send: Any, body: Any, status: int = 200, *more: tuple[bytes, bytes]) -> None:
    await start(send, status, "application/json", *more)
    await send({"type": "http.response.body", "body": json.dumps(body).encode()})


class World:
    """One gateway, its proxy, the provider behind it, and a client."""

    def __init__(
        self, gateway: interlock.Gateway, identity: Identity, provider: Provider, url: str,
        client: aiohttp.ClientSession,
    ) -> None:
        self.gateway = gateway
        self.identity = identity
        self.provider = provider
        self.url = url
        self.client = client
        self.key = self.key_of()

    def key_of(self, **who: Any) -> str:
        bot = {"name": "bot", "roles": (Role.AGENT,), "tenant": "acme", "agent": "bot", "env": "prod"}
        return self.identity.give(Principal(**{**bot, **who}), by="test")[1]

    def run(self, **more: Any) -> interlock.Run:
        return self.gateway.run(**{"agent": "bot", "tenant": "acme", "env": "prod", **more})

    def step(self, run: interlock.Run, step_id: str = "s1") -> Any:
        return self.gateway.store.load(StepKey(run.tenant, run.run_id, step_id))

    def post(self, protocol: str, body: Any = None, run: interlock.Run | None = None, **headers: str) -> Any:
        """A request as a client of that protocol sends it; to be used with `async with`."""
        key = self.key if run is None else f"{self.key}~{run.run_id}"
        shown = {"x-api-key": key} if protocol == "messages" else {"authorization": f"Bearer {key}"}
        given = {name.replace("_", "-"): value for name, value in headers.items()}
        raw = body if isinstance(body, (bytes, BytesIO)) else json.dumps(body or asking(protocol))
        return self.client.post(self.url + PATHS[protocol], data=raw, headers={**shown, **given})

    async def ask(self, protocol: str, body: Any = None, run: interlock.Run | None = None, **headers: str) -> Any:
        """Status and JSON, or the text of a stream."""
        async with self.post(protocol, body, run, **headers) as answer:
            streamed = answer.content_type == "text/event-stream"
            return answer.status, await (answer.text() if streamed else answer.json())


@asynccontextmanager
async def served(app: Any) -> AsyncIterator[str]:
    """An ASGI application on a port of its own."""
    listening = socket.socket(proto=socket.IPPROTO_TCP)  # or asyncio does not know that it is TCP, and it is slow
    listening.bind(("127.0.0.1", 0))
    config = uvicorn.Config(app, log_level="critical", lifespan="off", timeout_graceful_shutdown=1)
    config.load()
    server = uvicorn.Server(config)
    server.lifespan = config.lifespan_class(config)
    await server.startup(sockets=[listening])  # without its main loop, which looks every tenth of a second
    try:
        yield f"http://127.0.0.1:{listening.getsockname()[1]}"
    finally:
        await server.shutdown(sockets=[listening])


@asynccontextmanager
async def world(
    monkeypatch: Any, models: dict[str, Any] | None = None, patience: str = "10s", store: Any = None, **config: Any
) -> AsyncIterator[World]:
    """All of it, with the provider's key in the environment of the gateway."""
    monkeypatch.setenv("PROVIDER_KEY", CANARY)
    provider = Provider()
    async with served(provider) as theirs:
        serve = {
            "openai": {"url": f"{theirs}/v1", "credential": "provider", "timeout": patience},
            "anthropic": {"url": theirs, "credential": "provider", "timeout": patience}, **(models or {}),
        }
        serve = {what: value for what, value in serve.items() if value is not None}
        said = {
            "ledger": "memory:", "policy": {"allow": ["*"]}, "prices": PRICES, "budgets": {"max_usd": 1},
            "credentials": {"provider": "env:PROVIDER_KEY"}, "serve": {"models": serve}, **config,
        }
        board = MemorySwitchBoard() if store is not None else None
        with interlock.open(said, store=store, board=board) as gateway:
            identity = identity_of(gateway, MemoryKeyRing())
            service = Service(gateway, identity)
            app = Starlette(routes=routes(service))
            async with served(app) as ours, aiohttp.ClientSession() as client:
                here = World(gateway, identity, provider, ours, client)
                try:
                    yield here
                finally:
                    for close in reversed(service.closing):
                        await close()
