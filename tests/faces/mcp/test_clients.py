"""Clients of the SDK, of both eras, against a served front."""

from __future__ import annotations

import asyncio
import json
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from mcp import Client

from interlock import pins
from interlock.core.call import Effect, Tool
from interlock.core.principal import Role
from interlock.faces.mcp import codec as codec_module
from interlock.ports import RunKey
from interlock.unit import Unit
from interlock.watch import Watch
from tests.faces.mcp.conftest import Open, Served, message_of, run

ERAS = pytest.mark.parametrize("mode", ["auto", "legacy"])
UPSTREAM = Path(__file__).with_name("mcp_upstream.py")
CANARY = "canary-5e1f0c77"


def text(result: Any) -> str:
    return str(result.content[0].text)


def opened(served: Served, run_id: str, **whose: str) -> dict[str, Any]:
    """A run that a program has opened, and the `_meta` that names it."""
    who = {"agent": "bot", "tenant": "acme", "env": "prod", **whose}
    served.gateway.run(run_id=run_id, **who)
    return {"interlock/run_id": run_id}


# --- listing and calling ---------------------------------------------------------------------------------------------


@ERAS
def test_a_client_lists_what_it_may_use_and_calls_it(served: Served, mode: str) -> None:
    async def go() -> None:
        async with served.client(mode=mode) as client:
            listed = {tool.name: tool for tool in (await client.list_tools()).tools}
            assert {"kb.search", "ticket.create", "ticket.close"} <= set(listed)
            assert not {"ticket.delete", "office.burn"} & set(listed)
            result = await client.call_tool("kb.search", {"text": "x"})
            assert result.structured_content == {"found": ["x", None], "count": 1}
            assert not result.is_error
            assert result.meta["interlock/outcome"] == "done"

    run(go())


def test_a_tool_is_listed_once_a_person_has_accepted_its_changed_definition_wherever_they_did(served: Served) -> None:
    gateway = served.gateway
    before, now = (pins.definition(name="find", description=said, input_schema={}) for said in ("Find.", "Find!"))

    class Changed:
        tool, is_async, digest = Tool(name="kb.find", effect=Effect.READ), False, pins.definition_digest(now)

        def problem(self, args: Any) -> str | None:
            return None

        def perform(self, invocation: Any) -> Any:
            return "found"

    keys = pins.keys(["kb.find"])
    for shown in (before, now):
        gateway.committer.run(Unit(keys, partial(pins.observe, definitions={"kb.find": shown}, now=1)))
    gateway.register(Changed(), problem="its definition has changed")

    async def listed() -> set[str]:
        async with served.client() as client:
            return {tool.name for tool in (await client.list_tools()).tools}

    assert "kb.find" not in run(listed())
    accept = partial(pins.accept, tool="kb.find", by="anna", now=2)  # as another process does
    gateway.committer.run(Unit(keys, accept))
    Watch(gateway).sweep()
    assert "kb.find" in run(listed())


def test_hints_come_from_our_own_effects(served: Served) -> None:
    async def go() -> None:
        async with served.client() as client:
            hints = {tool.name: tool.annotations for tool in (await client.list_tools()).tools}
            assert hints["kb.search"].read_only_hint
            assert hints["kb.read"].read_only_hint
            assert hints["kb.read"].open_world_hint
            assert not hints["ticket.create"].read_only_hint
            assert hints["ticket.create"].destructive_hint is False

    run(go())


@ERAS
def test_a_tool_that_is_not_listed_is_refused_when_it_is_called(served: Served, sent: list[Any], mode: str) -> None:
    async def go() -> None:
        async with served.client(mode=mode) as client:
            for name, args in (("ticket.delete", {"number": 1}), ("office.burn", {}), ("made.up", {})):
                result = await client.call_tool(name, args)
                assert result.is_error
                assert result.meta["interlock/outcome"] == "denied"
                assert text(result).startswith("NOT DONE")

    run(go())
    assert sent == []


def test_each_tenant_is_shown_its_own_list(served: Served) -> None:
    async def go() -> None:
        async with served.client(served.token()) as acme, served.client(served.token(tenant="globex")) as globex:
            assert "kb.secret" in {tool.name for tool in (await acme.list_tools()).tools}
            assert "kb.secret" not in {tool.name for tool in (await globex.list_tools()).tools}

    run(go())


def test_a_client_that_dislikes_dots_gets_names_without(served: Served) -> None:
    async def go() -> None:
        async with served.client(query="?names=plain") as client:
            names = {tool.name for tool in (await client.list_tools()).tools}
            assert {"kb_search", "ticket_create"} <= names
            assert not any("." in name for name in names)
            assert not (await client.call_tool("kb_search", {"text": "x"})).is_error

    run(go())


@ERAS
def test_a_stop_is_a_result_with_its_reason(serve: Open, mode: str) -> None:
    served = serve(budgets={"max_tool_calls": 1})

    async def go() -> None:
        async with served.client(mode=mode) as client:
            assert not (await client.call_tool("kb.read", {"name": "a"})).is_error
            result = await client.call_tool("kb.read", {"name": "b"})
            assert result.is_error
            assert result.meta["interlock/outcome"] == "stopped"
            assert result.meta["interlock/stop_reason"] == "max_tool_calls"
            assert result.meta["interlock/run_id"]
            assert result.meta["interlock/call_id"]

    run(go())


# --- approvals -------------------------------------------------------------------------------------------------------


@ERAS
def test_a_call_that_waits_for_a_person_is_done_once_when_it_is_approved_and_sent_again(
    served: Served, sent: list[Any], mode: str
) -> None:
    async def go() -> None:
        async with served.client(mode=mode) as client:
            pending = await client.call_tool("ticket.close", {"number": 7})
            approval_id = pending.meta["interlock/approval_id"]
            assert pending.is_error
            assert text(pending).startswith(f"APPROVAL_REQUIRED {approval_id}. Not executed.")
            for _ in range(5):  # asking again is no loop
                again = await client.call_tool("ticket.close", {"number": 7})
                assert again.meta["interlock/approval_id"] == approval_id
            served.gateway.control.approve(approval_id, by="anna")
            for _ in range(2):
                assert text(await client.call_tool("ticket.close", {"number": 7})) == "closed 7"

    run(go())
    assert sent == [7]


@ERAS
@pytest.mark.parametrize(
    ("tool", "args", "done"),
    [("ticket.close", {"number": 7}, "closed 7"), ("kb.read", {"name": "x"}, "the article x")],
)
def test_a_call_that_waits_is_the_same_call_under_whatever_id_it_is_sent_again(
    serve: Open, mode: str, tool: str, args: dict[str, Any], done: str
) -> None:
    served = serve(approvals={"required_for": ["ticket.close", "kb.read"]})

    async def go() -> None:
        async with served.client(mode=mode) as client:
            meta: Any = opened(served, "r1")
            sent = [await client.call_tool(tool, args, meta={**meta, "interlock/call_id": f"c{n}"}) for n in range(6)]
            assert {each.meta["interlock/call_id"] for each in sent} == {"c0"}
            (waiting,) = served.gateway.control.approvals()
            served.gateway.control.approve(waiting.approval_id, by="anna")
            assert text(await client.call_tool(tool, args, meta={**meta, "interlock/call_id": "c6"})) == done
            known = await client.call_tool(tool, args, meta={**meta, "interlock/call_id": "c0"})
            assert known.meta["interlock/replayed"]

    run(go())


def test_a_call_with_a_key_of_its_own_is_no_other_that_waits(serve: Open) -> None:
    served = serve(tools={"ticket.close": {"dedupe": "off"}})

    async def go() -> None:
        async with served.client() as client:
            for key in ("k1", "k2", "k1"):
                meta: Any = {**opened(served, "r1"), "interlock/idempotency_key": key}
                assert (await client.call_tool("ticket.close", {"number": 7}, meta=meta)).is_error
            assert len(served.gateway.control.approvals()) == 2

    run(go())


def test_a_rejected_call_says_so(served: Served, sent: list[Any]) -> None:
    async def go() -> None:
        meta: Any = {**opened(served, "r1"), "interlock/call_id": "c1"}
        async with served.client() as client:
            pending = await client.call_tool("ticket.close", {"number": 7}, meta=meta)
            served.gateway.control.reject(pending.meta["interlock/approval_id"], by="anna", note="not now")
            result = await client.call_tool("ticket.close", {"number": 7}, meta=meta)
            assert result.is_error
            assert result.meta["interlock/outcome"] == "denied"

    run(go())
    assert sent == []


# --- which run, which call -------------------------------------------------------------------------------------------


async def _calls_of(served: Served, client: Client, **more: Any) -> str:
    result = await client.call_tool("kb.read", {"name": "x"}, **more)
    assert not result.is_error, text(result)
    return str(result.meta["interlock/run_id"])


@ERAS
def test_a_run_is_named_in_meta_in_baggage_or_in_a_header(served: Served, mode: str) -> None:
    for run_id in ("by-meta", "by baggage", "by-header", "by-baggage-header"):
        opened(served, run_id)

    async def go() -> None:
        async with served.client(mode=mode) as client:
            meta: Any = {"interlock/run_id": "by-meta"}
            assert await _calls_of(served, client, meta=meta) == "by-meta"
            meta = {"baggage": "a=b,interlock.run_id=by%20baggage;prop=1"}
            assert await _calls_of(served, client, meta=meta) == "by baggage"
        async with served.client(mode=mode, headers={"interlock-run-id": "by-header"}) as client:
            assert await _calls_of(served, client) == "by-header"
            meta = {"interlock/run_id": "by-meta"}
            assert await _calls_of(served, client, meta=meta) == "by-meta"
        async with served.client(mode=mode, headers={"baggage": "interlock.run_id=by-baggage-header"}) as client:
            assert await _calls_of(served, client) == "by-baggage-header"

    run(go())


@ERAS
def test_without_a_name_one_key_has_one_run_a_day(served: Served, mode: str) -> None:
    token, other = served.token(), served.token(agent="other")

    async def go() -> None:
        async with served.client(token, mode) as one, served.client(token, mode) as two:
            runs = {await _calls_of(served, client) for client in (one, two, one)}
            assert len(runs) == 1
        async with served.client(other, mode) as third:
            assert await _calls_of(served, third) not in runs

    run(go())


def test_without_a_name_each_connection_has_a_run_where_the_config_says_so(serve: Open) -> None:
    served = serve(serve={"mcp": {"run_per": "connection"}})
    token = served.token()

    async def go() -> None:
        async with served.client(token, "legacy") as one, served.client(token, "legacy") as two:
            first, second = await _calls_of(served, one), await _calls_of(served, two)
            assert first != second
            assert await _calls_of(served, one) == first

    run(go())


@ERAS
def test_the_same_call_id_is_the_same_call(served: Served, sent: list[Any], mode: str) -> None:
    async def go() -> None:
        async with served.client(mode=mode) as client:
            for name in ("interlock/call_id", "claudecode/toolUseId", "interlock/idempotency_key"):
                meta: Any = {**opened(served, f"run of {name}"), name: "t1"}
                for title in ("a", "a", "b"):
                    last = await client.call_tool("ticket.create", {"title": title}, meta=meta)
                assert last.is_error
                assert last.meta["interlock/problem"] == "key_reused"

    run(go())
    assert sent == ["a", "a", "a"]


@ERAS
def test_a_call_may_be_named_in_the_baggage_of_its_meta_and_nowhere_else(
    served: Served, sent: list[Any], mode: str
) -> None:
    async def go() -> None:
        async with served.client(mode=mode, headers={"baggage": "interlock.call_id=of-the-connection"}) as client:
            meta: Any = {**opened(served, "r1"), "baggage": "a=b,interlock.call_id=toolu%201;prop=1"}
            first = await client.call_tool("ticket.create", {"title": "a"}, meta=meta)
            assert first.meta["interlock/call_id"] == "toolu 1"
            again = await client.call_tool("ticket.create", {"title": "a"}, meta=meta)
            assert again.meta["interlock/replayed"]
            nearer = await client.call_tool("kb.read", {"name": "x"}, meta={**meta, "interlock/call_id": "c1"})
            assert nearer.meta["interlock/call_id"] == "c1"
            unnamed: Any = {"interlock/run_id": "r1"}
            other = await client.call_tool("kb.read", {"name": "x"}, meta=unnamed)
            assert other.meta["interlock/call_id"] != "of-the-connection"

    run(go())
    assert sent == ["a"]


@ERAS
def test_a_run_of_somebody_else_is_refused_as_one_that_does_not_exist(
    served: Served, sent: list[Any], mode: str
) -> None:
    opened(served, "theirs", tenant="globex")
    opened(served, "agents", agent="other")

    async def go() -> None:
        async with served.client(mode=mode) as client:
            said = []
            for run_id in ("theirs", "agents", "nobodys"):
                meta: Any = {"interlock/run_id": run_id}
                result = await client.call_tool("ticket.create", {"title": "x"}, meta=meta)
                assert result.is_error
                said.append((text(result).replace(run_id, "…"), result.meta["interlock/problem"]))
            assert len(set(said)) == 1

    run(go())
    assert sent == []
    turned = [sealed for sealed in served.gateway.store.entries("acme") if b"turned_away" in sealed.body]
    assert len(turned) == 3


# --- who may come in -------------------------------------------------------------------------------------------------


def test_without_a_credential_the_answer_says_where_to_get_one(served: Served) -> None:
    async def go() -> None:
        for token in ("none", "ilk_wrong"):
            response = await served.post({"jsonrpc": "2.0", "id": 1, "method": "ping"}, token)
            assert response.status_code == 401
            assert "/.well-known/oauth-protected-resource/mcp" in response.headers["www-authenticate"]

    run(go())


def test_people_do_not_call_tools(served: Served) -> None:
    async def go() -> None:
        for role in (Role.ADMIN, Role.OPERATOR, Role.APPROVER, Role.AUDITOR):
            response = await served.modern("tools/list", served.persons_token(role))
            assert response.status_code == 403

    run(go())


def test_a_revoked_key_ends_at_the_door(served: Served) -> None:
    token = served.token()

    async def go() -> None:
        send = await served.session(token)
        assert (await send("tools/list")).status_code == 200
        served.service.identity.revoke(token.split("_")[1], by="ops")
        assert (await send("tools/list")).status_code == 401

    run(go())


def test_a_session_belongs_to_the_key_that_opened_it(served: Served) -> None:
    async def go() -> None:
        opened = await served.post(
            {
                "jsonrpc": "2.0", "id": 0, "method": "initialize",
                "params": {
                    "protocolVersion": "2025-11-25", "capabilities": {}, "clientInfo": {"name": "x", "version": "1"},
                },
            },
            served.token(),
        )
        headers = {"mcp_session_id": opened.headers["mcp-session-id"], "mcp_protocol_version": "2025-11-25"}
        body = {"jsonrpc": "2.0", "id": 1, "method": "tools/list"}
        assert (await served.post(body, served.token(tenant="globex"), **headers)).status_code == 404

    run(go())


def test_pages_of_other_origins_and_other_host_names_are_refused(served: Served) -> None:
    async def go() -> None:
        body = {"jsonrpc": "2.0", "id": 1, "method": "ping"}
        assert (await served.post(body, origin="http://evil.example")).status_code == 403
        assert (await served.post(body, origin="null")).status_code == 403
        assert (await served.post(body, host="evil.example")).status_code == 421

    run(go())


def test_a_request_has_a_size(serve: Open) -> None:
    served = serve(serve={"body_bytes": 2_000})

    async def go() -> None:
        assert (await served.post(b" " * 2_001)).status_code == 413

    run(go())


def test_a_body_that_does_not_arrive_holds_nothing(serve: Open) -> None:
    served = serve(serve={"body_seconds": "200ms"})
    token = served.token()

    async def go() -> bytes:
        reader, writer = await asyncio.open_connection("127.0.0.1", served.port)
        head = f"POST /mcp HTTP/1.1\r\nHost: 127.0.0.1\r\nAuthorization: Bearer {token}\r\nContent-Length: 9\r\n\r\n"
        writer.write(head.encode() + b"{")
        answer = await reader.read(100)
        writer.close()
        return answer

    assert b" 408 " in run(go())


# --- an upstream behind it -------------------------------------------------------------------------------------------


@pytest.fixture
def upstream(serve: Open, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Served:
    """A served gateway with an MCP server behind it, which holds a secret."""
    monkeypatch.setenv("UP_TOKEN", CANARY)
    command = [sys.executable, str(UPSTREAM), str(tmp_path)]
    mcp = {"command": command, "env": {"TOKEN": "{credential}"}}
    reads = {f"up.{name}": {"effect": "read"} for name in ("add", "add_wrongly", "say", "steps", "leak")}
    return serve(
        upstreams={"up": {"mcp": mcp, "credential": "up"}}, credentials={"up": "env:UP_TOKEN"},
        tools={**reads, "up.wait": {"effect": "write"}},
    )


def events(folder: Path, event: str) -> list[dict[str, Any]]:
    file = folder / "events"
    lines = file.read_text().splitlines() if file.exists() else []
    return [each for each in map(json.loads, lines) if each["event"] == event]


async def until(true: Callable[[], Any]) -> None:
    while not true():  # noqa: ASYNC110  another process is waited for
        await asyncio.sleep(0.01)


@ERAS
def test_structured_output_passes_through_as_it_was_declared(upstream: Served, mode: str) -> None:
    async def go() -> None:
        async with upstream.client(mode=mode) as client:
            listed = {tool.name: tool.output_schema for tool in (await client.list_tools()).tools}
            assert listed["up.add"] is not None
            assert (await client.call_tool("up.add", {"a": 1, "b": 2})).structured_content == {"sum": 3}
            assert (await client.call_tool("up.say", {})).structured_content == {"result": "hello"}

    run(go())


@ERAS
def test_progress_passes_through_without_the_upstreams_secret(upstream: Served, mode: str) -> None:
    heard: list[Any] = []

    async def progress(done: float, total: float | None, message: str | None) -> None:
        heard.append((done, total, message))

    async def go() -> None:
        async with upstream.client(mode=mode) as client:
            result = await client.call_tool("up.steps", {}, progress_callback=progress)
            assert text(result) == "three steps"

    run(go())
    assert [each[:2] for each in heard] == [(1, 3), (2, 3), (3, 3)]
    assert CANARY not in repr(heard)


@ERAS
def test_a_call_that_its_client_gives_up_is_cancelled_upstream(upstream: Served, tmp_path: Path, mode: str) -> None:
    async def go() -> None:
        async with upstream.client(mode=mode) as client:
            call = asyncio.create_task(client.call_tool("up.wait", {}))
            await until(lambda: events(tmp_path, "call"))
            call.cancel()
            await asyncio.wait({call})
            await until(lambda: events(tmp_path, "cancelled"))
            assert not (await client.call_tool("up.add", {"a": 1, "b": 2})).is_error

    run(go())


@ERAS
def test_a_secret_of_an_upstream_is_in_no_answer(upstream: Served, mode: str) -> None:
    async def go() -> None:
        async with upstream.client(mode=mode) as client:
            leaks: list[dict[str, Any]] = [{"error": True}, {"fail": True}]
            failed = [await client.call_tool("up.leak", args) for args in leaks]
            assert all(each.is_error for each in failed)
            assert "/srv/private" not in repr(failed)
            said = [await client.list_tools(), await client.call_tool("up.leak", {}), *failed]
            assert CANARY not in repr([*said, await client.call_tool("up.add_wrongly", {"a": 1, "b": 2})])

    run(go())


def test_the_callers_token_and_headers_do_not_go_upstream(upstream: Served, tmp_path: Path) -> None:
    token = upstream.token()

    async def go() -> None:
        async with upstream.client(token, headers={"x-secret": "s"}) as client:
            meta: Any = {"claudecode/toolUseId": "t1", "my/secret": "m"}
            assert not (await client.call_tool("up.add", {"a": 1, "b": 2}, meta=meta)).is_error

    run(go())
    (call,) = events(tmp_path, "call")
    assert call["meta"]["interlock/call_id"] == "t1"
    assert token not in repr(call)
    assert "my/secret" not in call["meta"]


# --- long calls ------------------------------------------------------------------------------------------------------


def test_a_long_silence_is_broken_by_pings_and_the_answer_still_comes(
    serve: Open, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(codec_module, "PING_SECONDS", 0.01)
    served = serve()
    gate = asyncio.Event()

    @served.gateway.tool("kb.slow", effect="read")
    async def slow() -> str:
        while not gate.is_set():  # noqa: ASYNC110  it is set in another loop
            await asyncio.sleep(0.01)
        return "at last"

    async def go() -> None:
        call = asyncio.create_task(served.modern("tools/call", name="kb.slow", arguments={}))
        await asyncio.sleep(0.2)
        gate.set()
        response = await call
        assert response.text.startswith(": ping")
        assert text_of(message_of(response)) == "at last"

    run(go())


def text_of(message: Any) -> str:
    return str(message["result"]["content"][0]["text"])


def test_a_run_of_the_day_is_the_agents_own(served: Served) -> None:
    async def go() -> str:
        async with served.client() as client:
            return await _calls_of(served, client)

    found = served.gateway.store.load(RunKey("acme", run(go())))
    assert (found.agent, found.env, found.runtime) == ("bot", "prod", "mcp")
