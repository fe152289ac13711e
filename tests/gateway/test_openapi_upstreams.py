"""HTTP APIs as upstreams, against a real server on loopback."""

from __future__ import annotations

import asyncio
import base64
import json
import logging
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import unquote

import pytest
from aiohttp import web
from hypothesis import HealthCheck, given, settings

import interlock
from interlock.check import check
from interlock.config import load
from interlock.core.call import Effect
from interlock.core.outcome import Denied, Done, Failed, Unknown
from interlock.core.switch import Mode, Scope, Switch
from interlock.errors import ConfigError, NotDone, ToolError
from interlock.gateway import Gateway
from interlock.ports import Invocation
from interlock.tools.openapi import upstream
from interlock.tools.openapi.addresses import PrivateAddress, opened, problem_of_address
from interlock.tools.openapi.request import key_of
from tests.gateway.openapi_shop import (
    CANARY,
    ECHO,
    HOME,
    HOSTILE,
    LIMIT,
    ORDER,
    SCHEMES,
    Handler,
    House,
    Server,
    info,
    operation,
    parameter,
    shop,
)


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


def test_each_event_loop_keeps_one_connection_open_which_ends_with_it(house: House, server: Server) -> None:
    gateway = house.open()
    server.connections.clear()

    async def thrice(prefix: str) -> None:
        run = gateway.run(**HOME)
        for index in range(3):
            assert isinstance(await run.acall("shop.status", {}, call_id=f"{prefix}{index}"), Done)

    asyncio.run(thrice("a"))
    value(gateway, "status")
    value(gateway, "status")  # sync callers share a loop
    assert len(server.seen) == 5
    assert len(server.connections) == 2
    assert [connection.is_closing() for connection in server.connections].count(True) == 1


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


# --- what arguments may do -------------------------------------------------------------------------------------------

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


def test_two_operations_of_one_name_are_both_left_out_and_harm_no_other(house: House, caplog: Any) -> None:
    document = shop()
    document["paths"]["/b"] = {"get": operation("status"), "post": operation("fine")}
    gateway = house.open(document)
    assert "shop.status" not in gateway.tools
    assert "shop.fine" in gateway.tools
    assert "another operation" in caplog.text


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


def test_check_shows_the_tools_of_a_document_and_what_is_wrong_with_it(tmp_path: Path) -> None:
    document = shop()
    document["paths"]["/x"] = {"get": {}}
    (tmp_path / "shop.json").write_text(json.dumps(document))
    (tmp_path / "interlock.yaml").write_text(
        "policy: {allow: [shop.read]}\nupstreams:\n  shop: {openapi: shop.json}\n  gone: {openapi: gone.json}\n"
    )
    report = check(load(tmp_path / "interlock.yaml"))
    gets = {line.tool: (line.effect, line.verdict) for line in report.lines}
    assert gets["shop.read"] == ("egress", "allowed")
    assert gets["shop.cancel"] == ("irreversible", "denied")
    warned = "\n".join(report.warnings)
    assert "interlock.yaml:3: upstream shop: its operation 'GET /x' is left out" in warned
    assert "interlock.yaml:4: upstream gone: " in warned


def test_importing_interlock_imports_no_http_client() -> None:
    code = "import sys, interlock, interlock.tools.openapi.document; print('aiohttp' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout == "False\n"
