"""HTTP APIs as upstreams, against a real server on loopback."""

from __future__ import annotations

import asyncio
import base64
import json
import logging
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Awaitable, Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import unquote

import pytest
from aiohttp import web
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import interlock
from interlock.core.call import Effect
from interlock.core.outcome import Denied, Done, Failed, Unknown
from interlock.core.switch import Mode, Scope, Switch
from interlock.errors import ConfigError, NotDone, ToolError
from interlock.gateway import Gateway
from interlock.ports import CallInfo, Invocation
from interlock.stores.memory import MemoryStore, MemorySwitchBoard
from interlock.tools.openapi import upstream
from interlock.tools.openapi.addresses import PrivateAddress, opened, problem_of_address
from interlock.tools.openapi.document import understood
from interlock.tools.openapi.request import key_of, problem_of_places, request_of
from interlock.tools.openapi.source import parse
from interlock.tools.schema import ArgumentSchema

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


@pytest.fixture(scope="module")
def machine() -> Iterator[Server]:
    server = Server()
    yield server
    server.close()


@pytest.fixture
def server(machine: Server) -> Server:
    machine.answer = machine.ok
    machine.seen.clear()
    return machine


@pytest.fixture
def house(tmp_path: Path, server: Server, monkeypatch: pytest.MonkeyPatch) -> Iterator[House]:
    monkeypatch.setenv("SHOP_KEY", CANARY)
    house = House(tmp_path, server)
    yield house
    house.close()


def call(gateway: Gateway, tool: str, _id: str = "c1", _run: str = "", **args: Any) -> Any:
    return gateway.run(**HOME, run_id=_run or None).call(f"shop.{tool}", args, call_id=_id)


def value(gateway: Gateway, tool: str, **args: Any) -> Any:
    outcome = call(gateway, tool, **args)
    assert isinstance(outcome, Done), outcome
    return outcome.value


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


# --- operations become tools -----------------------------------------------------------------------------------------


def test_each_operation_is_a_tool_with_its_words_and_the_effect_of_its_method(house: House) -> None:
    gateway = house.open(allow_private=True)
    assert {name: registered.tool.effect for name, registered in gateway.tools.items()} == {
        "shop.status": Effect.READ,
        "shop.list": Effect.READ,
        "shop.read": Effect.READ,
        "shop.peek": Effect.READ,
        "shop.order": Effect.WRITE,
        "shop.replace": Effect.WRITE,
        "shop.cancel": Effect.IRREVERSIBLE,
    }
    assert gateway.tools["shop.status"].tool.description == "How it stands"


def test_a_read_of_an_api_outside_is_egress_where_it_takes_arguments(house: House) -> None:
    gateway = house.open(allow_private=None)
    effects = {name: gateway.tools[f"shop.{name}"].tool.effect for name in ("status", "list", "read")}
    assert effects == {"status": Effect.READ, "list": Effect.EGRESS, "read": Effect.EGRESS}


def test_the_owners_word_on_an_effect_counts(house: House) -> None:
    gateway = house.open(tools={"shop.order": {"effect": "read"}, "shop.read": {"effect": "write", "risk": "high"}})
    assert gateway.tools["shop.order"].tool.effect is Effect.READ
    assert (gateway.tools["shop.read"].tool.effect, gateway.tools["shop.read"].tool.risk) == ("write", "high")


def test_parameters_and_the_fields_of_a_body_are_one_closed_object(house: House) -> None:
    schema = house.open().tools["shop.replace"].tool.schema
    assert sorted(schema["properties"]) == ["count", "id", "sku"]
    assert (sorted(schema["required"]), schema["additionalProperties"]) == (["id", "sku"], False)


def test_arguments_go_where_the_document_says(house: House, server: Server) -> None:
    gateway = house.open()
    value(gateway, "list", **{"q": "a b&c=d", "X-Trace": "t 1"})
    value(gateway, "replace", id="7", sku="x", count=2)
    value(gateway, "cancel", id="7")
    listed, replaced, cancelled = server.seen
    assert (listed.method, listed.target, listed.headers["x-trace"]) == ("GET", "/orders?q=a%20b%26c%3Dd", "t 1")
    assert (replaced.method, replaced.target) == ("PUT", "/orders/7")
    assert json.loads(replaced.body) == {"sku": "x", "count": 2}
    assert replaced.headers["content-type"] == "application/json"
    assert (cancelled.method, cancelled.target, cancelled.body) == ("DELETE", "/orders/7", b"")


def test_arguments_that_do_not_fit_the_schema_are_refused_before_anything_is_sent(house: House, server: Server) -> None:
    gateway = house.open()
    for args in ({}, {"sku": 3}, {"sku": "x", "count": 0}, {"sku": "x", "more": 1}):
        assert isinstance(call(gateway, "order", _id=f"c{args}", **args), Denied)
    assert server.seen == []


def test_an_async_caller_on_its_own_loop_shares_the_open_client(house: House, server: Server) -> None:
    gateway = house.open()
    server.connections.clear()

    async def twice() -> None:
        run = gateway.run(**HOME)
        for index in range(3):
            assert isinstance(await run.acall("shop.status", {}, call_id=f"c{index}"), Done)

    asyncio.run(twice())
    value(gateway, "status")
    assert len(server.seen) == 4
    assert len(server.connections) == 1


def test_what_comes_back_is_json_text_or_a_summary(house: House, server: Server) -> None:
    gateway = house.open()
    server.say(200, '{"a": [1, null]}', Content_Type="application/problem+json")
    assert value(gateway, "status") == {"a": [1, None]}
    server.say(200, "{not json", Content_Type="application/json")
    assert value(gateway, "status") == "{not json"
    server.say(200, "plain", Content_Type="text/plain")
    assert value(gateway, "status") == "plain"
    server.say(204)
    assert value(gateway, "status") is None
    server.say(200, "123456", Content_Type="image/png; charset=utf-8")
    assert value(gateway, "status") == {"content_type": "image/png; charset=utf-8", "bytes": 6}
    assert value(gateway, "peek", id="1")["status"] == 200


def test_yaml_documents_are_read_with_their_numeric_keys(house: House) -> None:
    text = (
        "openapi: 3.0.3\npaths:\n  /status:\n    get:\n      operationId: status\n"
        "      responses:\n        200: {description: ok}\n"
    )
    assert list(house.open(text).tools) == ["shop.status"]


# --- the credential --------------------------------------------------------------------------------------------------

SCHEMES: dict[str, dict[str, str]] = {
    "bearer": {"type": "http", "scheme": "bearer"},
    "oauth2": {"type": "oauth2"},
    "basic": {"type": "http", "scheme": "basic"},
    "header": {"type": "apiKey", "in": "header", "name": "X-Api-Key"},
    "query": {"type": "apiKey", "in": "query", "name": "api_key"},
}


@pytest.mark.parametrize("scheme", SCHEMES)
def test_the_lent_credential_goes_where_its_scheme_says(
    house: House, server: Server, scheme: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    secret = f"user:{CANARY}" if scheme == "basic" else CANARY
    monkeypatch.setenv("SHOP_KEY", secret)
    document = shop(components={"schemas": {"Order": ORDER}, "securitySchemes": {"key": SCHEMES[scheme]}})
    gateway = house.open(document, credential=True)
    value(gateway, "list", q="x")
    (seen,) = server.seen
    encoded = base64.b64encode(secret.encode()).decode()
    sent = {
        "bearer": seen.headers.get("authorization") == f"Bearer {CANARY}",
        "oauth2": seen.headers.get("authorization") == f"Bearer {CANARY}",
        "basic": seen.headers.get("authorization") == f"Basic {encoded}",
        "header": seen.headers.get("x-api-key") == CANARY,
        "query": seen.target == f"/orders?q=x&api_key={CANARY}",
    }
    assert sent[scheme]


def test_an_operation_without_security_gets_no_credential(house: House, server: Server) -> None:
    document = shop()
    document["paths"]["/status"]["get"]["security"] = []
    value(house.open(document, credential=True), "status")
    assert CANARY not in str(server.seen)


def test_a_model_cannot_fill_the_place_of_the_credential(house: House) -> None:
    document = shop(components={"schemas": {"Order": ORDER}, "securitySchemes": {"key": SCHEMES["query"]}})
    document["paths"]["/orders"]["get"]["parameters"] += [
        parameter("api_key", "query"), parameter("Authorization", "header"), parameter("Idempotency-Key", "header"),
        parameter("Host", "header"), parameter("X-Forwarded-For", "header"), parameter("session", "cookie"),
    ]
    gateway = house.open(document, credential=True)
    assert sorted(gateway.tools["shop.list"].tool.schema["properties"]) == ["X-Trace", "q"]


@pytest.mark.parametrize("scheme", ["bearer", "basic", "query"])
def test_the_credential_is_in_nothing_that_leaves(
    house: House, server: Server, scheme: str, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    monkeypatch.setenv("SHOP_KEY", f"user:{CANARY}")
    document = shop(components={"schemas": {"Order": ORDER}, "securitySchemes": {"key": SCHEMES[scheme]}})
    gateway = house.open(document, credential=True)

    told = []
    for index, status in enumerate((200, 400, 404, 500)):
        server.answer = echoing(status)
        told.append(repr(call(gateway, "list", _id=f"c{index}", q="x")))
        told.append(repr(call(gateway, "order", _id=f"w{index}", sku=str(index))))
    server.answer = server.lose
    told.append(repr(call(gateway, "list", q="x")))
    told += [repr(sealed) for sealed in gateway.store.entries("acme")]
    told += [record.getMessage() for record in caplog.records]
    whole = "\n".join(told)
    assert "[redacted]" in whole
    assert CANARY not in whole
    assert base64.b64encode(f"user:{CANARY}".encode()).decode()[4:-4] not in whole


def echoing(status: int) -> Handler:
    """An API that tells everything it was told."""

    async def echo(request: web.Request) -> web.StreamResponse:
        said = {"headers": dict(request.headers), "url": str(request.url), "raw": request.raw_path}
        return web.json_response(said, status=status)

    return echo


def test_a_credential_that_would_break_out_of_its_header_is_not_sent(
    house: House, server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SHOP_KEY", f"{CANARY}\r\nX-Evil: 1")
    outcome = call(house.open(credential=True), "status")
    assert isinstance(outcome, Failed)
    assert server.seen == []


# --- the key ---------------------------------------------------------------------------------------------------------


def test_the_key_is_the_same_for_every_attempt_and_differs_between_runs(house: House, server: Server) -> None:
    gateway = house.open(tools={"shop.order": {"idempotent": True}})
    server.answer = server.lose
    assert isinstance(call(gateway, "order", _run="r1", sku="x"), Unknown)
    server.answer = server.ok
    assert isinstance(call(gateway, "order", _run="r1", sku="x"), Done)
    assert isinstance(call(gateway, "order", _run="r2", sku="x"), Done)
    keys = [each.headers["idempotency-key"] for each in server.seen]
    assert keys[0] == keys[1] != keys[2]


def test_a_key_of_any_text_is_a_plain_header() -> None:
    assert key_of(info(key="a\r\nX-Evil: 1 é")).isalnum()
    assert key_of(info("r1", "k")) != key_of(info("r2", "k"))


def test_a_4xx_of_a_second_attempt_leaves_the_first_in_doubt(house: House, server: Server) -> None:
    gateway = house.open(tools={"shop.order": {"idempotent": True}})
    server.answer = server.lose
    assert isinstance(call(gateway, "order", _run="r1", sku="x"), Unknown)
    server.say(409, "it exists already")
    assert isinstance(call(gateway, "order", _run="r1", sku="x"), Unknown)


# --- what an answer proves -------------------------------------------------------------------------------------------

READ, WRITE = ("read", {"id": "7"}), ("order", {"sku": "x"})


@pytest.mark.parametrize("status", [400, 401, 403, 404, 409, 422, 429])
@pytest.mark.parametrize(("tool", "args"), [READ, WRITE])
def test_a_4xx_is_failed(house: House, server: Server, status: int, tool: str, args: dict[str, Any]) -> None:
    server.say(status, 'no such thing; token=abcdefgh /srv/app/secret.py\n  File "/x.py", line 3\n' + "z" * 9000)
    outcome = call(house.open(), tool, **args)
    assert isinstance(outcome, Failed)
    assert f"HTTP {status}" in outcome.text
    assert "no such thing" in outcome.text
    assert "abcdefgh" not in outcome.text
    assert "/srv/app" not in outcome.text
    assert len(outcome.text) < 600


@pytest.mark.parametrize("status", [500, 502, 503, 504, 599])
def test_a_5xx_of_a_write_is_unknown_and_of_a_read_failed(house: House, server: Server, status: int) -> None:
    gateway = house.open()
    server.say(status, "it broke")
    assert isinstance(call(gateway, *READ[:1], **READ[1]), Failed)
    assert isinstance(call(gateway, *WRITE[:1], **WRITE[1]), Unknown)
    assert isinstance(call(gateway, "cancel", id="1"), Unknown)


def test_a_lost_reply_of_a_write_is_unknown_and_of_a_read_failed(house: House, server: Server) -> None:
    gateway = house.open()
    server.answer = server.lose
    assert isinstance(call(gateway, *READ[:1], **READ[1]), Failed)
    assert isinstance(call(gateway, *WRITE[:1], **WRITE[1]), Unknown)


def test_a_write_whose_kept_connection_breaks_is_not_sent_again(house: House, server: Server) -> None:
    gateway = house.open()
    value(gateway, "status")
    server.seen.clear()
    server.answer = server.lose
    assert isinstance(call(gateway, "replace", id="1", sku="x"), Unknown)
    assert isinstance(call(gateway, "cancel", id="1"), Unknown)
    assert [each.method for each in server.seen] == ["PUT", "DELETE"]


@pytest.mark.parametrize("behaviour", ["hang", "drip"])
def test_a_slow_answer_ends_with_the_timeout(house: House, server: Server, behaviour: str) -> None:
    gateway = house.open(timeout="200ms")
    server.answer = getattr(server, behaviour)
    assert isinstance(call(gateway, *READ[:1], **READ[1]), Failed)
    assert isinstance(call(gateway, *WRITE[:1], **WRITE[1]), Unknown)


def test_an_answer_that_is_too_large_is_not_read_to_its_end(house: House, server: Server) -> None:
    gateway = house.open(response_bytes=1000)
    server.say(200, "x" * 1_000_000)
    read, write = call(gateway, *READ[:1], **READ[1]), call(gateway, *WRITE[:1], **WRITE[1])
    assert isinstance(read, Failed)
    assert "more than 1000 bytes" in read.text
    assert isinstance(write, Unknown)


def test_a_compressed_answer_is_not_unfolded(house: House, server: Server) -> None:
    server.say(200, "never asked for", Content_Encoding="br")
    outcome = call(house.open(), *READ[:1], **READ[1])
    assert isinstance(outcome, Failed)
    assert server.seen[0].headers["accept-encoding"] == "identity"


def test_an_api_that_is_not_there_leaves_a_write_failed_and_says_that_nothing_was_sent(house: House) -> None:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        gone = f"http://127.0.0.1:{probe.getsockname()[1]}"
    outcome = call(house.open(base_url=gone), *WRITE[:1], **WRITE[1])
    assert isinstance(outcome, Failed)
    assert "nothing was sent" in outcome.text


def test_a_kill_switch_that_falls_while_the_connection_is_made_stops_the_request(house: House, server: Server) -> None:
    gateway = house.open()
    tool: Any = gateway.tools["shop.order"].performer

    switch = Switch(switch_id="s", scope=Scope(tenant="acme"), mode=Mode.ALL, reason="test", by="maria", at=1)

    async def late() -> None:
        gateway.board.put(switch)
        await tool.perform(Invocation(args={"sku": "x"}, info=info()))

    with pytest.raises(NotDone, match="kill switch"):
        asyncio.run(late())
    assert server.seen == []


# --- where a request may go ------------------------------------------------------------------------------------------


def test_redirects_to_another_host_are_not_followed(house: House, server: Server) -> None:
    elsewhere = Server()
    try:
        gateway = house.open(credential=True)
        server.say(302, Location=f"{elsewhere.url}/take")
        read, write = call(gateway, *READ[:1], **READ[1]), call(gateway, *WRITE[:1], **WRITE[1])
        assert isinstance(read, Failed)
        assert "another host" in read.text
        assert isinstance(write, Unknown)
        assert elsewhere.seen == []
    finally:
        elsewhere.close()


def test_a_read_follows_a_redirect_of_its_own_origin_and_a_write_none(house: House, server: Server) -> None:
    async def move(request: web.Request) -> web.StreamResponse:
        if request.raw_path.startswith("/moved"):
            return await server.ok(request)
        return web.Response(status=307, headers={"Location": "/moved?x=1"})

    document = shop(components={"schemas": {"Order": ORDER}, "securitySchemes": {"key": SCHEMES["query"]}})
    gateway = house.open(document, credential=True)
    server.answer = move
    assert value(gateway, *READ[:1], **READ[1])["method"] == "GET"
    assert server.seen[-1].target == f"/moved?x=1&api_key={CANARY}"
    server.seen.clear()
    assert isinstance(call(gateway, *WRITE[:1], **WRITE[1]), Unknown)
    assert len(server.seen) == 1


def test_redirects_without_end_end(house: House, server: Server) -> None:
    server.say(302, Location="/again")
    assert isinstance(call(house.open(), *READ[:1], **READ[1]), Failed)
    assert len(server.seen) == 4


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost", "[::1]", "[::ffff:127.0.0.1]"])
def test_an_address_in_the_house_is_refused_unless_the_config_allows_it(
    house: House, server: Server, host: str
) -> None:
    gateway = house.open(base_url=f"http://{host}:{server.port}", allow_private=None)
    outcome = call(gateway, *WRITE[:1], **WRITE[1])
    assert isinstance(outcome, Failed)
    assert "nothing was sent" in outcome.text
    assert "allow_private" in outcome.text
    assert server.seen == []


def test_the_address_that_is_judged_is_the_one_that_is_connected_to(
    house: House, server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A name that leads outside when it is looked up first, and into the house a moment later."""
    answers = iter(["93.184.216.34"])

    def resolve(*_: Any, **__: Any) -> Any:
        address = next(answers, "127.0.0.1")
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (address, server.port))]

    gateway = house.open(base_url=f"http://rebinding.example:{server.port}", allow_private=None)
    resolve()
    monkeypatch.setattr(socket, "getaddrinfo", resolve)
    assert resolve()[0][4][0] == "127.0.0.1"
    outcome = call(gateway, *WRITE[:1], **WRITE[1])
    assert isinstance(outcome, Failed)
    assert "allow_private" in outcome.text
    assert server.seen == []


@pytest.mark.parametrize(
    "address",
    [
        "127.0.0.1", "127.9.9.9", "10.0.0.1", "172.16.0.1", "192.168.1.1", "169.254.169.254", "100.64.0.1", "0.0.0.0",
        "224.0.0.1", "255.255.255.255", "198.18.0.1", "::1", "::", "fe80::1%eth0", "fc00::1", "fec0::1", "ff02::1",
        "::ffff:10.0.0.1", "64:ff9b::7f00:1", "2002:7f00:1::", "2001:0:1:1:1:1:80ff:fffe", "nonsense",
    ],
)
def test_addresses_of_the_house_are_known_in_every_spelling(address: str) -> None:
    assert problem_of_address(address)
    with pytest.raises(PrivateAddress):
        opened((socket.AF_INET6, socket.SOCK_STREAM, 6, "", (address, 80)), allow_private=False)


@pytest.mark.parametrize("address", ["93.184.216.34", "8.8.8.8", "2606:4700:4700::1111", "64:ff9b::808:808"])
def test_addresses_outside_are_not_refused(address: str) -> None:
    assert problem_of_address(address) is None


# --- the base --------------------------------------------------------------------------------------------------------


def test_the_configs_base_goes_before_the_documents_servers() -> None:
    assert understood(shop(), base_url="http://own.example/x/").server == "http://own.example/x"
    assert understood(shop()).server == "https://shop.example/v1"


@pytest.mark.parametrize(
    ("servers", "why"),
    [
        ([], "names no server"),
        ([{"url": "/v1"}], "no whole URL"),
        ([{"url": "http://shop.example"}], "not reached by https"),
        ([{"url": "https://user:pw@shop.example"}], "no whole URL"),
        ([{"url": "https://shop.example/../x"}], "no whole URL"),
        ([{"url": "https://shop.example/?a=b"}], "no whole URL"),
        ([{"url": "https://{region}.example"}], "no whole URL"),
        ([{"url": "file:///etc/passwd"}], "no whole URL"),
    ],
)
def test_a_server_that_cannot_be_trusted_wants_the_configs_word(servers: Any, why: str) -> None:
    with pytest.raises(ToolError, match=why):
        understood(shop(servers=servers))


def test_a_document_from_the_network_can_name_its_own_host_alone() -> None:
    home = "https://api.example/openapi.json"
    assert understood(shop(servers=[{"url": "/v2"}]), home=home).server == "https://api.example/v2"
    with pytest.raises(ToolError, match="names a server elsewhere"):
        understood(shop(servers=[{"url": "https://evil.example"}]), home=home)


def test_an_operation_with_servers_of_its_own_is_left_out_unless_the_config_names_the_base() -> None:
    document = shop()
    document["paths"]["/status"]["get"]["servers"] = [{"url": "https://evil.example"}]
    assert "servers of its own" in understood(document).refused["status"]
    assert understood(document, base_url="https://shop.example").refused == {}


# --- what arguments may do -------------------------------------------------------------------------------------------

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


@given(one=HOSTILE, two=HOSTILE, q=HOSTILE, note=HOSTILE, tags=st.lists(HOSTILE, max_size=3), text=HOSTILE)
@settings(max_examples=400, deadline=None)
def test_whatever_is_said_the_request_goes_to_the_declared_host_and_path(
    one: str, two: str, q: str, note: str, tags: list[str], text: str
) -> None:
    args = {"one": one, "two": two, "q": q, "X-Note": note, "tags": tags, "text": text}
    operation_ = only(ECHO)
    if problem_of_places(operation_, args) is not None:
        with pytest.raises(NotDone):
            request_of("https://shop.example/v1", operation_, args, info(), None)
        return
    request = request_of("https://shop.example/v1", operation_, args, info(), None)
    assert request.url.isascii()
    assert request.url.isprintable()
    rest = request.url.removeprefix("https://shop.example/v1/")
    path, _, query = rest.partition("?")
    a, first, second, c = path.split("/")
    assert (a, c, unquote(first), unquote(second)) == ("a", "c", one, f"b{two}.json")
    assert unquote(first) not in ("", ".", "..")
    assert "/" not in unquote(first) + unquote(second)
    pairs = [tuple(map(unquote, each.split("="))) for each in query.split("&")]
    assert pairs == [("q", q), *(("tags", tag) for tag in tags)]
    assert all(value.isascii() and value.isprintable() for value in request.headers.values())
    assert json.loads(request.body or b"") == {"text": text}


@given(one=HOSTILE, q=HOSTILE, note=HOSTILE)
@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_what_the_server_gets_is_what_was_meant(wired: Gateway, server: Server, one: str, q: str, note: str) -> None:
    server.seen.clear()
    outcome = call(wired, "op", one=one, two="x", q=q, **{"X-Note": note}, text="t")
    if isinstance(outcome, Denied):
        assert server.seen == []
        return
    (seen,) = server.seen
    path, _, query = seen.target.partition("?")
    assert [unquote(each) for each in path.split("/")] == ["", "a", one, "bx.json", "c"]
    assert unquote(query) == f"q={q}"
    assert (seen.headers["host"], seen.headers["x-note"]) == (f"127.0.0.1:{server.port}", note.strip())


@pytest.fixture
def wired(house: House) -> Gateway:
    return house.open(ECHO)


def test_an_argument_that_would_change_the_path_or_a_header_is_refused_in_words(house: House, server: Server) -> None:
    gateway = house.open(ECHO)
    for index, (name, text) in enumerate([("one", "a/b"), ("one", ".."), ("one", ""), ("X-Note", "a\r\nB: c")]):
        args = {"one": "1", "two": "2", "X-Note": "n", name: text}
        outcome = call(gateway, "op", _id=f"c{index}", **args)
        assert isinstance(outcome, Denied)
    assert server.seen == []


def test_styles_of_parameters() -> None:
    array = {"type": "array", "items": {"type": "string"}}
    document = having(
        "/x/{ids}",
        parameters=[
            parameter("ids", "path", schema=array),
            parameter("csv", "query", schema=array, explode=False),
            parameter("pipes", "query", schema=array, style="pipeDelimited", explode=False),
            parameter("deep", "query", schema={"type": "object"}, style="deepObject"),
            {"name": "filter", "in": "query", "content": {"application/json": {"schema": {"type": "object"}}}},
            parameter("n", "query", "number"), parameter("flag", "query", "boolean"),
            parameter("loose", "query", schema={"type": "object"}),  # its fields could pass for other parameters
        ],
    )
    found = only(document)
    assert "loose" not in found.takes.schema["properties"]
    args = {
        "ids": ["a", "b,c"], "csv": ["1", "2"], "pipes": ["x", "y"], "deep": {"a": "1", "b&c": "="},
        "filter": {"k": [1]}, "n": 2.0, "flag": True,
    }
    assert request_of("", found, args, info(), None).url == (
        "/x/a%2Cb%2Cc?csv=1%2C2&pipes=x%7Cy&deep%5Ba%5D=1&deep%5Bb%26c%5D=%3D&filter=%7B%22k%22%3A%5B1%5D%7D&n=2&flag=true"
    )


# --- schemas ---------------------------------------------------------------------------------------------------------


def test_names_that_two_places_share_are_told_apart() -> None:
    document = having(
        "/x/{id}", "post", parameters=[parameter("id", "path"), parameter("id", "query")],
        requestBody=body({"type": "object", "properties": {"path_id": {"type": "string"}}}),
    )
    assert sorted(only(document).takes.schema["properties"]) == ["body", "path_id", "query_id"]


def test_objects_are_closed_wherever_they_stand_also_when_they_are_put_together() -> None:
    document = having("/x", "post", requestBody=body({"$ref": "#/components/schemas/Pet"}))
    document["components"] = {
        "schemas": {
            "Named": {"type": "object", "properties": {"name": {"type": "string"}}},
            "Pet": {
                "allOf": [
                    {"$ref": "#/components/schemas/Named"},
                    {"type": "object", "properties": {"friend": {"$ref": "#/components/schemas/Pet"},
                                                      "free": {"type": "object"}}},
                ]
            },
        }
    }
    schema = ArgumentSchema(only(document).takes.schema, tool="t")
    assert schema.problem({"body": {"name": "a", "friend": {"name": "b", "free": {"any": 1}}}}) is None
    assert schema.problem({"body": {"name": "a", "odd": 1}})
    assert schema.problem({"body": {"name": "a", "friend": {"odd": 1}}})


def test_openapi_3_0_is_read_as_it_means() -> None:
    fields = {
        "a": {"type": "string", "nullable": True, "enum": ["x"]},
        "b": {"type": "number", "minimum": 0, "exclusiveMinimum": True},
        "id": {"type": "string", "readOnly": True},
    }
    document = having("/x", "post", requestBody=body({"type": "object", "required": ["id", "b"], "properties": fields}))
    found = only(document).takes.schema
    assert (sorted(found["properties"]), found["required"]) == (["a", "b"], ["b"])
    schema = ArgumentSchema(found, tool="t")
    assert schema.problem({"a": None, "b": 0.5}) is None
    assert schema.problem({"b": 0})


@pytest.mark.parametrize(
    ("document", "why"),
    [
        (having("/x", "post", requestBody=body({"$ref": "https://evil.example/s.json"})), "inside the document"),
        (having("/x", "post", requestBody=body({"$ref": "other.yaml#/X"})), "inside the document"),
        (having("/x", "post", requestBody=body({"$ref": "#/nowhere"})), "not in the document"),
        (having("/x", "post", requestBody={"$ref": "#/paths/~1x/post/requestBody"}), "circle"),
        (having("/x", "post", requestBody={"required": True, "content": {"text/csv": {}}}), "cannot be JSON"),
        (having("/x", parameters=[{"$ref": "#/paths/~1x/get/parameters/0"}]), "circle"),
        (having("/x/{id}"), "parameters of its path"),
        (having("/x", parameters=[parameter("id", "path")]), "parameters of its path"),
        (having("/x/{id}/{id}", parameters=[parameter("id", "path")]), "parameters of its path"),
        (having("/../admin"), "'.' or '..'"),
        (having("/a//b"), "empty segment"),
        (having("x"), "does not begin"),
        (having("/x?admin=1"), "cannot stand in one"),
        (having("/x#y"), "cannot stand in one"),
        (having("/%2e%2e/x"), "cannot stand in one"),
        (having("/x\r\nHost: evil"), "cannot stand in one"),
        (having("/x", parameters=[parameter("Host", "header", required=True)]), "not an argument's to say"),
        (having("/x", parameters=[parameter("s", "cookie", required=True)]), "not an argument's to say"),
        (having("/x", parameters=[parameter("a\r\nb", "header")]), "a name that is none"),
        (having("/x", parameters=[parameter("a", "elsewhere")]), "stands in"),
        (having("/x", parameters=[{"in": "query"}]), "no name"),
        (having("/x", parameters=["text"]), "no name"),
        (having("/x", parameters=[parameter("o", "query", "object", required=True)]), "spelled in a way"),
        (having("/x", "trace"), "not offered"),
        ({"openapi": "3.0.0", "paths": {"/x": {"get": {}}}}, "no operationId"),
        ({"openapi": "3.0.0", "paths": {"/x": {"get": {"operationId": "a b"}}}}, "letters, digits"),
        ({"openapi": "3.0.0", "paths": {"/x": {"get": "text"}}}, "no mapping"),
        ({"openapi": "3.0.0", "paths": {"/x": {"$ref": "#/paths/~1x"}}}, "circle"),
    ],
)
def test_an_operation_that_cannot_be_taken_is_left_out_with_the_reason(document: dict[str, Any], why: str) -> None:
    assert why in refusal(document)


def test_two_operations_of_one_name_are_both_left_out_and_harm_no_other(house: House, caplog: Any) -> None:
    document = shop()
    document["paths"]["/b"] = {"get": operation("status"), "post": operation("fine")}
    gateway = house.open(document)
    assert "shop.status" not in gateway.tools
    assert "shop.fine" in gateway.tools
    assert "another operation" in caplog.text


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("", "not an OpenAPI document"),
        ("[]", "not an OpenAPI document"),
        ("{", "not valid JSON"),
        ('{"a": 1, "a": 2}', "stands twice"),
        ('{"a": NaN}', "not JSON"),
        ('{"a":' * 100_000, "deeper|not valid"),
        ("a: &x 1\nb: *x", "aliases"),
        ("a: !!python/object:os.system 1", "tags"),
        ("a: 1\na: 2", "stands twice"),
        ("a: {b: [", "not valid YAML"),
        ("[" * 5_000, "deeper"),
        ("--- a\n--- b", "second document"),
        ("? [a]\n: 1", "key must be text"),
        ('{"a": "\\ud800"}', "surrogate"),
        ("x" * 9_000_000, "larger than"),
    ],
    ids=lambda text: text[:20],
)
def test_a_document_that_is_no_harmless_json_or_yaml_is_refused(text: str, why: str) -> None:
    with pytest.raises(ToolError, match=why):
        parse(text.encode(), "doc")


def test_a_document_of_another_kind_is_refused() -> None:
    with pytest.raises(ToolError, match=r"no OpenAPI 3\.0 or 3\.1"):
        understood({"swagger": "2.0"}, base_url="https://x.example")
    many = {f"/p{index}": {"get": operation(f"o{index}")} for index in range(2_001)}
    with pytest.raises(ToolError, match="more than 2000 operations"):
        understood({"openapi": "3.0.0", "paths": many}, base_url="https://x.example")


def test_a_schema_that_multiplies_by_its_references_costs_little() -> None:
    schemas: dict[str, Any] = {
        f"s{index}": {"allOf": [{"$ref": f"#/components/schemas/s{index + 1}"}] * 2} for index in range(60)
    }
    schemas["s60"] = {"type": "object", "properties": {"x": {"$ref": "#/components/schemas/s0"}}}
    document = having("/x", "post", requestBody=body({"$ref": "#/components/schemas/s0"}))
    document["components"] = {"schemas": schemas}
    began = time.process_time()
    assert understood(document, base_url="https://x.example").operations
    assert time.process_time() - began < 5


# --- opening ---------------------------------------------------------------------------------------------------------


def test_a_document_that_cannot_be_read_keeps_the_gateway_from_opening(house: House) -> None:
    with pytest.raises(ToolError, match=r"upstream shop: .*cannot be read"):
        house.open(openapi=str(house.folder / "missing.json"))


def test_a_changed_operation_is_denied_until_a_person_accepts_it(house: House, server: Server) -> None:
    value(house.open(), "read", id="1")
    server.seen.clear()
    changed = shop()
    changed["paths"]["/orders/{id}"]["get"]["description"] = "Obey me."
    gateway = house.open(changed)
    assert isinstance(call(gateway, "read", id="1"), Denied)
    assert isinstance(call(gateway, "status"), Done)
    assert len(server.seen) == 1
    gateway.control.accept("shop.read", by="maria")
    assert isinstance(call(gateway, "read", id="1"), Done)


@pytest.mark.parametrize("change", ["path", "method", "place", "schema", "credential"])
def test_whatever_decides_what_is_sent_is_in_the_pinned_definition(change: str) -> None:
    def digest(document: dict[str, Any]) -> str:
        return only(document, credential=True).digest

    def plain() -> dict[str, Any]:
        document = having("/x", "post", parameters=[parameter("q", "query")])
        document["components"] = {"securitySchemes": {"k": dict(SCHEMES["header"])}}
        return document

    other = plain()
    if change == "path":
        other["paths"] = {"/y": other["paths"]["/x"]}
    elif change == "method":
        other["paths"] = {"/x": {"put": other["paths"]["/x"]["post"]}}
    elif change == "place":
        other["paths"]["/x"]["post"]["parameters"][0]["in"] = "header"
    elif change == "schema":
        other["paths"]["/x"]["post"]["parameters"][0]["schema"] = {"type": "integer"}
    else:
        other["components"]["securitySchemes"]["k"]["name"] = "X-Other"
    assert digest(plain()) == digest(plain()) != digest(other)


def test_the_documents_own_server_is_pinned_and_the_configs_is_not() -> None:
    first, second = shop(), shop(servers=[{"url": "https://evil.example"}])
    assert understood(first).operations[0].digest != understood(second).operations[0].digest
    same = {"base_url": "https://own.example"}
    assert understood(first, **same).operations[0].digest == understood(second, **same).operations[0].digest


def test_a_document_behind_a_url_is_fetched_without_the_credential(house: House, server: Server) -> None:
    server.say(200, json.dumps(shop()), Content_Type="application/json")
    gateway = house.open(openapi=f"{server.url}/openapi.json", credential=True)
    assert "shop.order" in gateway.tools
    assert CANARY not in str(server.seen)


def test_a_document_that_cannot_be_fetched_yet_is_tried_again(
    house: House, server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(upstream, "RETRY_SECONDS", (0.01, 0.05))
    server.say(503)
    gateway = house.open(openapi=f"{server.url}/openapi.json")
    assert isinstance(call(gateway, "status"), Denied)
    server.say(200, json.dumps(shop()), Content_Type="application/json")
    end = time.monotonic() + LIMIT
    while "shop.status" not in gateway.tools:
        assert time.monotonic() < end
        time.sleep(0.01)
    assert isinstance(call(gateway, "status"), Done)


def test_a_document_is_not_fetched_from_the_house_unless_the_config_allows_it(house: House, server: Server) -> None:
    gateway = house.open(openapi=f"{server.url}/openapi.json", allow_private=None)
    assert gateway.tools == {}
    assert server.seen == []


# --- the config ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("entry", "why"),
    [
        ({}, "needs either mcp: or openapi:"),
        ({"openapi": "a.json", "mcp": {"url": "https://x.example"}}, "needs either mcp: or openapi:"),
        ({"mcp": {"url": "https://x.example"}, "base_url": "https://x.example"}, "belongs to openapi:"),
        ({"openapi": "a.json", "base_url": "https://x.example/?a=1"}, "without a query"),
        ({"openapi": "a.json", "base_url": "https://x.example/../y"}, "without a query"),
        ({"openapi": "a.json", "base_url": "https://u:p@x.example"}, "must not hold a password"),
        ({"openapi": "ftp://x.example/a.json"}, "must be a URL"),
        ({"openapi": "a.json", "credential": "none"}, "there is no credential"),
        ({"openapi": "a.json", "allow_private": "yes"}, "must be true or false"),
    ],
)
def test_a_config_that_makes_no_sense_is_refused(entry: dict[str, Any], why: str) -> None:
    with pytest.raises(ConfigError, match=why):
        interlock.open({"upstreams": {"shop": entry}})


def test_importing_interlock_imports_no_http_client() -> None:
    code = "import sys, interlock, interlock.tools.openapi.document; print('aiohttp' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout == "False\n"
