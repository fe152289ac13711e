"""Calls to MCP servers without the SDK: the SDK's client, over the same server, says what each answer has to mean."""

import asyncio
import datetime as dt
import json
import ssl
import time
from collections.abc import Callable, Coroutine, Iterator
from pathlib import Path
from typing import Any

import pytest
import uvloop
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from mcp.shared.exceptions import MCPError

from interlock.errors import NotDone
from interlock.loops import LoopThread
from interlock.ports import CallInfo, Invocation, Progress
from interlock.tools.mcp import McpUpstream, ReplyLost, UpstreamError, http1
from interlock.tools.mcp.events import Events, TooLong
from interlock.tools.mcp.reply import UNSENT, Plain
from interlock.tools.mcp.wire import Wire, wire_to
from tests.gateway.mcp_scripted_server import Script, ScriptedServer, answer_of, http, says
from tests.gateway.test_mcp_upstreams import Clock, Settings, Vault

LIMIT = 60.0
TEXT = {"type": "text", "text": "hello"}
IMAGE = {"type": "image", "data": "aGVsbG8=", "mimeType": "image/png"}


def done(*content: Any, **more: Any) -> dict[str, Any]:
    return {"content": list(content), "resultType": "complete", **more}


def gives(*content: Any, **more: Any) -> Script:
    return says(lambda number: http(answer_of(number, done(*content, **more))))


def raw(result: str) -> Script:
    return says(lambda number: http(b'{"jsonrpc":"2.0","id":%d,"result":%s}' % (number, result.encode())))


def errs(code: int, message: str = "no", *, status: int = 200, own_id: bool = True) -> Script:
    def make(number: int) -> bytes:
        said = {"jsonrpc": "2.0", "id": number if own_id else None, "error": {"code": code, "message": message}}
        return http(json.dumps(said).encode(), status=status)

    return says(make)


def chunked(body: bytes, size: int, kind: str = "application/json") -> bytes:
    head = f"HTTP/1.1 200 OK\r\ncontent-type: {kind}\r\ntransfer-encoding: chunked\r\n\r\n".encode()
    pieces = [body[start : start + size] for start in range(0, len(body), size)]
    return head + b"".join(b"%x\r\n%b\r\n" % (len(piece), piece) for piece in pieces) + b"0\r\nx-trailer: 1\r\n\r\n"


def streams(*events: str, size: int = 7, end: str = "\r\n") -> Script:
    """Events, with ANSWER where the answer goes, in small chunks."""

    def make(number: int) -> bytes:
        answer = answer_of(number, done(TEXT)).decode()
        body = "".join(event.replace("ANSWER", answer).replace("\n", end) for event in events)
        return chunked(body.encode(), size, "text/event-stream")

    return says(make)


NOTICE = json.dumps({"jsonrpc": "2.0", "method": "notifications/message", "params": {"level": "info", "data": 1}})
STRUCTURED = {"structuredContent": {"a": 1, "b": [None, 1.5, 2**70, "ü"]}}

ANSWERS: dict[str, Script] = {
    "text": gives(TEXT),
    "texts": gives(TEXT, TEXT),
    "nothing": gives(),
    "structured": gives(TEXT, **STRUCTURED),
    "structured_alone": gives(**STRUCTURED),
    "structured_text": gives(TEXT, structuredContent={"result": "hello"}),
    "structured_null": gives(TEXT, structuredContent=None),
    "structured_list": gives(TEXT, structuredContent=[1, 2]),
    "image": gives(TEXT, IMAGE),
    "image_structured": gives(TEXT, IMAGE, structuredContent={"result": "hello"}),
    "annotated": gives({**TEXT, "annotations": {"priority": 0.5}}),
    "resource": gives({"type": "resource", "resource": {"uri": "a:b", "text": "inside"}}),
    "link": gives({"type": "resource_link", "uri": "file:///a", "name": "a"}),
    "own_words": gives({**TEXT, "own": 1}, own=2),
    "meta": gives(TEXT, _meta={"io.modelcontextprotocol/serverInfo": {"name": "x", "version": "1"}}),
    "failed": gives({"type": "text", "text": "cannot open /srv/x/book.db: password=hunter2hunter2"}, isError=True),
    "failed_silently": gives(isError=True),
    "failed_with_image": gives(TEXT, IMAGE, isError=True),
    "numbers": raw('{"content":[],"resultType":"complete","structuredContent":{"a":1e400,"b":-0,"c":1.0,"d":1e2}}'),
    "twice": raw('{"content":[],"resultType":"complete","structuredContent":{"a":1,"a":2}}'),
    "surrogate": raw('{"content":[{"type":"text","text":"\\ud800"}],"resultType":"complete"}'),
    "not_utf8": says(lambda n: http(b'{"jsonrpc":"2.0","id":%d,"result":{"content":[],"resultType":"\xff"}}' % n)),
    "deep": raw('{"content":[],"resultType":"complete","structuredContent":' + '{"a":' * 3000 + "1" + "}" * 3001),
    "asks": raw('{"resultType":"input_required","inputRequests":{}}'),
    "no_type": raw('{"content":[]}'),
    "strange_type": raw('{"content":[],"resultType":"strange"}'),
    "no_content": raw('{"resultType":"complete"}'),
    "strange_block": gives({"type": "hologram"}),
    "lax": raw('{"content":[],"resultType":"complete","isError":"yes"}'),
    "bad_meta": gives(TEXT, _meta=5),
    "result_null": raw("null"),
    "text_id": says(lambda n: http(json.dumps({"jsonrpc": "2.0", "id": str(n), "result": done(TEXT)}).encode())),
    "not_json": says(lambda _: http(b"<html>")),
    "empty": says(lambda _: http(b"")),
    "batch": says(lambda n: http(b"[" + answer_of(n, done(TEXT)) + b"]")),
    "chunked": says(lambda n: chunked(answer_of(n, done(TEXT)), 5)),
    "charset": says(lambda n: http(answer_of(n, done(TEXT)), kind="Application/JSON; charset=utf-8")),
    "html": says(lambda _: http(b"<html>", kind="text/html")),
    "no_kind": says(lambda n: http(answer_of(n, done(TEXT)), kind="")),
    "until_the_end": says(
        lambda n: b"HTTP/1.1 200 X\r\ncontent-type: application/json\r\n\r\n" + answer_of(n, done(TEXT)), close=True
    ),
    "old_http": says(lambda n: http(answer_of(n, done(TEXT))).replace(b"HTTP/1.1", b"HTTP/1.0"), close=True),
    "continues": says(lambda n: b"HTTP/1.1 103 Early\r\nlink: x\r\n\r\n" + http(answer_of(n, done(TEXT)))),
    "compressed": says(lambda _: http(b"\x1f\x8b", more="content-encoding: gzip\r\n")),
    "compressed_stream": says(lambda _: http(b"\x1f\x8b", kind="text/event-stream", more="content-encoding: br\r\n")),
    "accepted": says(lambda _: http(b"", status=202)),
    "401": says(lambda _: http(b"{}", status=401)),
    "403": says(lambda _: http(b"{}", status=403)),
    "401_stream": says(lambda _: http(b"", status=401, kind="text/event-stream")),
    "404": says(lambda _: http(b"gone", status=404, kind="text/plain")),
    "400_error": errs(-32602, "no such column: /srv/private/x", status=400),
    "400_error_without_id": errs(-32600, status=400, own_id=False),
    "400_result": says(lambda n: http(answer_of(n, done(TEXT)), status=400)),
    "500": says(lambda _: http(b"oops", status=500)),
    "503_stream": says(lambda _: http(b"data: x\n\n", status=503, kind="text/event-stream")),
    "no_method": errs(-32601),
    "invalid": errs(-32602),
    "ambiguous": errs(-32602, "Invalid request parameters"),
    "internal": errs(-32603, "token=abcdefghijklmnop"),
    "mismatch": errs(-32020),
    "own_error": errs(5),
    "stream": streams("event: message\ndata: ANSWER\n\n"),
    "stream_with_notices": streams(f"data: {NOTICE}\n\n: ping\n\nevent: other\ndata: x\n\ndata: ANSWER\n\n"),
    "stream_of_lf": streams("id: 1\ndata:\n\n", "data: ANSWER\n\n", end="\n"),
    "stream_of_cr": streams("data: ANSWER\n\n", "data: ANSWER\n\n", end="\r"),
    "stream_of_lines": streams('data: {"jsonrpc":"2.0",\ndata: "id":0}\n\n'.replace('"id":0}', '"id":"x","result":1}')),
    "stream_of_nonsense": streams("data: nonsense\n\n"),
    "stream_without_answer": streams(f"data: {NOTICE}\n\n"),
    "stream_too_long": streams("data: " + "x" * (1024 * 1024 + 10) + "\n\n", size=60_000),
    "cut_head": says(lambda _: b"HTTP/1.1 200 OK\r\ncontent-ty", close=True),
    "cut_body": says(lambda n: http(answer_of(n, done(TEXT)))[:-5], close=True),
    "cut_chunk": says(lambda n: chunked(answer_of(n, done(TEXT)), 5)[:-30], close=True),
    "cut_stream": says(lambda _: chunked(b"data: {", 3, "text/event-stream")[:-8], close=True),
    "closed": says(lambda _: b"", close=True),
    "not_http": says(lambda _: b"220 smtp.example ESMTP\r\n\r\n", close=True),
    "two_lengths": says(lambda n: http(answer_of(n, done(TEXT)), more="content-length: 3\r\n"), close=True),
}  # fmt: skip

ELSEWHERE = says(lambda _: http(b"", status=303, more="location: http://127.0.0.1:1/mcp\r\n"))

#: What the SDK waits for until it is out of time, and the wire knows to be lost at once.
LOST: dict[str, Script] = {
    "wrong_id": says(lambda n: http(answer_of(n + 1, done(TEXT)))),
    "no_id": errs(-32602, own_id=False),
    "notice": says(lambda _: http(NOTICE.encode())),
    "silent": says(lambda _: b""),
}

HUGE = 17 * 1024 * 1024


class World:
    """A scripted server, an upstream to it, and another one whose calls all go by the SDK's client."""

    progress: Progress | None = None

    def __init__(self, scripts: dict[str, Script], **settings: Any) -> None:
        self.loop = LoopThread()
        self.server = ScriptedServer()
        self.server.scripts |= scripts
        vault = Vault() if "credential" in settings else None
        url = f"http://127.0.0.1:{self.server.port}/mcp?a=b"
        self.upstream, self.oracle = (
            McpUpstream(Settings(url=url, **settings), self.loop, vault, Clock(), wait_seconds=LIMIT, short=short)
            for short in (True, False)
        )
        self.tools, self.oracles = (
            {tool.remote_name: tool for tool in upstream.start("acme", "prod").result(LIMIT)}
            for upstream in (self.upstream, self.oracle)
        )

    def call(self, name: str, *, by_sdk: bool = False, **args: Any) -> Any:
        return asyncio.run(self.acall(name, by_sdk=by_sdk, **args))

    async def acall(self, name: str, *, by_sdk: bool = False, **args: Any) -> Any:
        call, tool = invocation(args, self.progress), (self.oracles if by_sdk else self.tools)[name]
        async with asyncio.timeout(LIMIT):
            await tool.ready(call)
            return await tool.perform(call)

    def told(self, name: str, **more: Any) -> Any:
        """The value, or what is raised."""
        try:
            return self.call(name, **more)
        except Exception as error:
            return type(error), str(error)

    def close(self) -> None:
        self.upstream.close()
        self.oracle.close()
        self.loop.close()
        self.server.close()


def invocation(args: dict[str, Any], listener: Progress | None = None) -> Invocation:
    info = CallInfo(
        tenant="acme", agent="bot", env="prod", run_id="run-1", step_id="", call_id="call-1", key="key-1",
        deadline=Clock().now() + 3_600_000_000, attempt=1, report_cost=lambda _: None,
        listener=listener,
    )
    return Invocation(args=args, info=info)


@pytest.fixture(scope="module")
def world() -> Iterator[World]:
    world = World(ANSWERS)
    yield world
    world.close()


@pytest.fixture
def opened() -> Iterator[Callable[..., World]]:
    worlds: list[World] = []

    def open_(scripts: dict[str, Script], **settings: Any) -> World:
        worlds.append(World(scripts, **settings))
        return worlds[-1]

    yield open_
    for world in worlds:
        world.close()


Run = Callable[[Coroutine[Any, Any, Any]], Any]


@pytest.fixture(params=[asyncio.run, uvloop.run], ids=["asyncio", "uvloop"])
def run(request: pytest.FixtureRequest) -> Run:
    """What runs a coroutine in an event loop of its own."""
    runs: Run = request.param
    return runs


def until(true: Callable[[], Any]) -> None:
    end = time.monotonic() + LIMIT
    while not true():
        assert time.monotonic() < end, "it did not come true"
        time.sleep(0.005)


@pytest.mark.parametrize("name", ANSWERS)
def test_an_answer_means_what_it_means_to_the_sdk(world: World, name: str) -> None:
    world.server.heard.clear()
    ours, theirs = world.told(name), world.told(name, by_sdk=True)
    used = [heard.headers["user-agent"].partition("/")[0] for heard in world.server.heard]
    assert used == ["interlock", "python-httpx2"]  # each sent it, once
    if isinstance(theirs, tuple):
        assert isinstance(ours, tuple), ours
        assert ours[0] is theirs[0], (ours, theirs)
        for secret in ("/srv", "hunter2", "abcdefghijklmnop"):
            assert secret not in ours[1]
    else:
        assert ours == theirs
        assert repr(ours) == repr(theirs)  # 1 is not 1.0, nor True


def noticing(*params: dict[str, Any]) -> Script:
    """A stream that tells of progress before its answer; token 0 stands for the request's own."""

    def make(number: int) -> bytes:
        said = [{**each, "progressToken": each["progressToken"] or number} for each in params]
        notices = [json.dumps({"jsonrpc": "2.0", "method": "notifications/progress", "params": each}) for each in said]
        events = [*notices, answer_of(number, done(TEXT)).decode()]
        return chunked("".join(f"data: {event}\n\n" for event in events).encode(), 50, "text/event-stream")

    return says(make)


def test_progress_is_what_it_is_to_the_sdk(opened: Callable[..., World]) -> None:
    world = opened({"steps": noticing(
        {"progressToken": 0, "progress": 1}, {"progressToken": 0, "progress": 2.5, "total": 3, "message": "half"},
        {"progressToken": 10_000_000, "progress": 9}, {"progressToken": 0, "progress": "much"}, {"progressToken": 0},
        {"progressToken": 0, "progress": 3, "total": 3, "message": "token=abcdefghijklmnop"},
    )})  # fmt: skip
    told: list[Any] = []
    world.progress = lambda *report: told.append(report)
    ours, ours_told = world.told("steps"), [told.pop(0) for _ in range(len(told))]
    assert (ours, ours_told) == (world.told("steps", by_sdk=True), told)
    assert [each[:2] for each in told] == [(1, None), (2.5, 3), (3, 3)]
    assert "abcdefghijklmnop" not in repr(told)


def test_a_request_says_what_the_sdks_says(world: World) -> None:
    args = {"a": None, "b": [1, 2.5, True, {"c": None}], "ü": "\u2028 </x>", "n": 2**60, "big": 2**70}
    world.server.heard.clear()
    for each in (args, {"a": 1}, {}):
        world.call("text", **each)
        world.call("text", by_sdk=True, **each)
    for ours, theirs in zip(world.server.heard[::2], world.server.heard[1::2], strict=True):
        own = {"user-agent", "content-length", "connection", "accept-encoding", "host"}
        assert {k: v for k, v in ours.headers.items() if k not in own} == {
            k: v for k, v in theirs.headers.items() if k not in own
        }
        assert (ours.headers["host"], ours.headers["accept-encoding"]) == (theirs.headers["host"], "identity")
        theirs.body["params"]["_meta"].pop("progressToken", None)
        for said in (ours, theirs):  # where something in this process traces, the SDK begins a span of its own
            said.body["params"]["_meta"].pop("traceparent", None)
        assert {**ours.body, "id": 0} == {**theirs.body, "id": 0}


@pytest.mark.parametrize("name", LOST)
def test_what_is_no_answer_to_the_request_is_a_lost_reply(opened: Callable[..., World], name: str) -> None:
    world = opened(LOST, timeout=400_000)
    assert world.told(name)[0] is world.told(name, by_sdk=True)[0] is ReplyLost


@pytest.mark.parametrize("kind", ["length", "chunks"])
def test_an_answer_without_end_is_cut_off(opened: Callable[..., World], kind: str) -> None:
    body = b" " * HUGE
    world = opened({"huge": says(lambda _: http(body) if kind == "length" else chunked(body, 65536))})
    assert world.told("huge") == world.told("huge", by_sdk=True)
    assert "more than" in world.told("huge")[1]


def test_headers_without_end_are_cut_off(opened: Callable[..., World]) -> None:
    world = opened({"huge": says(lambda _: b"HTTP/1.1 200 OK\r\n" + b"x: " + b"y" * 200_000)})
    assert world.told("huge")[0] is ReplyLost


def test_calls_go_over_one_connection_one_after_the_other(opened: Callable[..., World], run: Run) -> None:
    world = opened(ANSWERS)

    async def many() -> None:
        for name in ("text", "chunked", "stream", "no_method", "text") * 3:
            if name == "no_method":
                with pytest.raises(NotDone):
                    await world.acall(name)
            else:
                assert await world.acall(name) == "hello"

    run(many())
    assert len({heard.connection for heard in world.server.heard}) == 1


def test_waiting_for_the_connection_opens_it_and_sends_nothing(opened: Callable[..., World], run: Run) -> None:
    world = opened(ANSWERS)
    before = world.server.connections

    async def ready_and_then() -> None:
        call = invocation({})
        await world.tools["text"].ready(call)
        await asyncio.to_thread(until, lambda: world.server.connections == before + 1)
        assert not world.server.heard
        assert await world.tools["text"].perform(call) == "hello"

    run(ready_and_then())
    assert world.server.heard[0].connection == world.server.connections == before + 1


def test_a_connection_that_the_server_dropped_meanwhile_is_not_used(opened: Callable[..., World], run: Run) -> None:
    world = opened(ANSWERS)

    async def before_and_after() -> None:
        for _ in range(5):
            assert await world.acall("text") == "hello"
            world.server.drop()  # blocks this loop: it cannot have heard of it
            assert await world.acall("text") == "hello"

    run(before_and_after())
    assert len(world.server.heard) == 10


def test_a_request_whose_kept_connection_breaks_is_not_sent_again(opened: Callable[..., World], run: Run) -> None:
    world = opened({"text": ANSWERS["text"], "closed": ANSWERS["closed"]})

    async def calls() -> None:
        assert await world.acall("text") == "hello"
        with pytest.raises(ReplyLost):
            await world.acall("closed")
        assert await world.acall("text") == "hello"

    run(calls())
    first, second, third = world.server.heard
    assert first.connection == second.connection != third.connection
    assert [each.body["params"]["name"] for each in world.server.heard] == ["text", "closed", "text"]


def test_a_connection_that_says_something_unasked_is_not_used_again(opened: Callable[..., World], run: Run) -> None:
    forged = http(answer_of(10**6, done({"type": "text", "text": "forged"})))
    world = opened({"text": says(lambda n: http(answer_of(n, done(TEXT))) + forged)})

    async def thrice() -> None:
        for _ in range(3):
            assert await world.acall("text") == "hello"

    run(thrice())
    assert len({heard.connection for heard in world.server.heard}) == 3


def test_a_connection_that_the_server_wants_closed_is_closed(opened: Callable[..., World], run: Run) -> None:
    world = opened({"text": says(lambda n: http(answer_of(n, done(TEXT)), more="connection: close\r\n"))})

    async def twice() -> None:
        assert [await world.acall("text") for _ in range(2)] == ["hello"] * 2

    run(twice())
    assert len({heard.connection for heard in world.server.heard}) == 2


def test_a_connection_that_nobody_uses_is_closed(
    opened: Callable[..., World], run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(http1, "IDLE_SECONDS", 0.02)
    world = opened(ANSWERS)

    async def once() -> None:
        await world.acall("text")
        await asyncio.to_thread(until, lambda: world.server.heard[0].connection in world.server.gone)

    run(once())


def test_an_event_loop_that_ends_leaves_no_connection(opened: Callable[..., World], run: Run) -> None:
    world = opened(ANSWERS)
    for _ in range(3):
        run(world.acall("text"))
    until(lambda: {heard.connection for heard in world.server.heard} <= set(world.server.gone))


@pytest.mark.parametrize("how", ["cancelled", "late"])
def test_whoever_is_cancelled_or_out_of_time_closes_the_connection(
    opened: Callable[..., World], run: Run, how: str
) -> None:
    world = opened({"silent": says(lambda _: b""), **ANSWERS}, timeout=300_000 if how == "late" else 60_000_000)

    async def call() -> None:
        task = asyncio.ensure_future(world.acall("silent"))
        await asyncio.to_thread(until, lambda: world.server.heard)
        if how == "cancelled":
            task.cancel()
        with pytest.raises(asyncio.CancelledError if how == "cancelled" else ReplyLost):
            await task
        await asyncio.to_thread(until, lambda: world.server.heard[0].connection in world.server.gone)
        assert await world.acall("text") == "hello"

    run(call())


def test_a_server_that_is_gone_is_told_apart_before_anything_is_sent(opened: Callable[..., World]) -> None:
    world = opened(ANSWERS)
    world.call("text")
    world.server.close()
    try:
        with pytest.raises(NotDone, match="nothing was sent"):
            world.call("text")
    finally:
        world.server = ScriptedServer()


def test_many_calls_at_once_each_hear_their_own_answer(opened: Callable[..., World]) -> None:
    async def script(number: int, _: Any, writer: asyncio.StreamWriter) -> None:
        await asyncio.sleep(0.001 * (number % 7))
        text = {"type": "text", "text": str(number)}
        writer.write(http(answer_of(number, done(text))))

    world = opened({"echo": script})

    async def many() -> list[str]:
        async def some() -> list[str]:
            return [await world.acall("echo") for _ in range(20)]

        return [each for one in await asyncio.gather(*(some() for _ in range(16))) for each in one]

    heard = asyncio.run(many())
    assert len(set(heard)) == 320
    assert len({each.connection for each in world.server.heard}) <= 32


def test_a_redirect_that_comes_later_is_not_followed_and_then_left_to_the_sdk(opened: Callable[..., World]) -> None:
    world = opened({"elsewhere": ELSEWHERE, "text": ANSWERS["text"]})
    for _ in range(2):  # by the wire, then by the SDK
        with pytest.raises(UpstreamError, match="not followed"):
            world.call("elsewhere")
    assert world.call("text") == "hello"
    assert [heard.headers["user-agent"].partition("/")[0] for heard in world.server.heard] == [
        "interlock", "python-httpx2", "python-httpx2"
    ]  # fmt: skip


def test_arguments_that_go_into_headers_are_left_to_the_sdk(opened: Callable[..., World]) -> None:
    schema = {"type": "object", "properties": {"region": {"type": "string", "x-mcp-header": "Region"}}}
    scripts = {"text": ANSWERS["text"]}
    world = opened({})
    world.server.schemas["text"] = schema
    world.server.scripts |= scripts
    again = McpUpstream(world.upstream.settings, world.loop, None, Clock(), wait_seconds=LIMIT)
    world.tools = {tool.remote_name: tool for tool in again.start().result(LIMIT)}
    try:
        assert world.call("text", region="eu") == "hello"
    finally:
        again.close()
    assert world.server.heard[0].headers["mcp-param-region"] == "eu"


def test_each_tenant_shows_its_own_credential_over_connections_of_its_own(opened: Callable[..., World]) -> None:
    leaks = {"type": "text", "text": "s3cr3t-acme-prod and s3cr3t-globex-prod"}
    world = opened({"leak": gives(leaks), "fail": gives(leaks, isError=True)}, credential="crm")

    async def of(tenant: str) -> Any:
        call = invocation({})
        info = CallInfo(**{name: getattr(call.info, name) for name in call.info.__struct_fields__} | {"tenant": tenant})
        return await world.tools["leak"].perform(Invocation(args={}, info=info))

    async def both() -> list[Any]:
        return [await of(tenant) for tenant in ("acme", "globex", "acme", "globex")]

    world.upstream.start("globex", "prod").result(LIMIT)
    assert asyncio.run(both())[:2] == ["[redacted] and s3cr3t-globex-prod", "s3cr3t-acme-prod and [redacted]"]
    shown = [(heard.headers["authorization"], heard.connection) for heard in world.server.heard]
    assert [each for each, _ in shown] == ["Bearer s3cr3t-acme-prod", "Bearer s3cr3t-globex-prod"] * 2
    assert shown[0][1] == shown[2][1] != shown[1][1] == shown[3][1]
    assert "s3cr3t-acme" not in world.told("fail")[1]


@pytest.mark.parametrize("secret", ["with space", "line\r\nX-Evil: 1", "ünusual"])
def test_a_credential_that_is_no_header_never_becomes_one(opened: Callable[..., World], secret: str) -> None:
    assert wire_to("http://127.0.0.1:1/mcp", secret, "2026-07-28") is None
    assert wire_to("http://joe:pw@127.0.0.1:1/mcp", "", "2026-07-28") is None
    assert wire_to("http://127.0.0.1:1/mcp", "", "2025-11-25") is None


def test_a_sync_caller_uses_it_too(world: World) -> None:
    before = len(world.server.heard)
    call = invocation({})

    async def perform() -> Any:
        return await world.tools["text"].perform(call)

    assert world.loop.submit(perform()).result(LIMIT) == "hello"
    assert "interlock" in world.server.heard[before].headers["user-agent"]


def test_nothing_is_asked_after_closing_and_whoever_waits_hears_of_it(opened: Callable[..., World]) -> None:
    world = opened({"silent": says(lambda _: b"")})

    async def waits() -> None:
        task = asyncio.ensure_future(world.acall("silent"))
        await asyncio.to_thread(until, lambda: world.server.heard)
        await asyncio.to_thread(world.upstream.close)
        with pytest.raises(ReplyLost):
            await task

    asyncio.run(waits())
    with pytest.raises(NotDone, match="closed"):
        world.call("silent")


def test_over_tls_a_server_is_believed_that_the_context_trusts_and_no_other(tmp_path: Path, run: Run) -> None:
    key, certificate = self_signed(tmp_path)
    serving = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    serving.load_cert_chain(certificate, key)
    server = ScriptedServer(serving)
    server.scripts["text"] = ANSWERS["text"]
    origin = http1.Origin(
        "localhost", server.port, b"localhost", b"/mcp", ssl.create_default_context(cafile=str(certificate))
    )

    async def calls() -> None:
        trusted = Wire(origin, "", "2026-07-28")
        for _ in range(3):
            reply = await trusted.call("text", {}, {}, LIMIT)
            assert isinstance(reply, Plain)
            assert reply.text == "hello"
        strange = wire_to(f"https://localhost:{server.port}/mcp", "s3cr3t", "2026-07-28")
        assert strange is not None
        with pytest.raises(MCPError, match="cannot be reached") as caught:
            await strange.call("text", {}, {}, LIMIT)
        assert caught.value.code == UNSENT

    try:
        run(calls())
    finally:
        server.close()
    assert len(server.heard) == 3
    assert len({heard.connection for heard in server.heard}) == 1


def self_signed(folder: Path) -> tuple[Path, Path]:
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "localhost")])
    now = dt.datetime.fromtimestamp(time.time(), dt.UTC)
    made = (
        x509.CertificateBuilder().subject_name(name).issuer_name(name).public_key(key.public_key()).serial_number(1)
        .not_valid_before(now - dt.timedelta(days=1)).not_valid_after(now + dt.timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName("localhost")]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .sign(key, hashes.SHA256())
    )  # fmt: skip
    files = folder / "key.pem", folder / "certificate.pem"
    pem = serialization.Encoding.PEM
    plain = serialization.NoEncryption()
    files[0].write_bytes(key.private_bytes(pem, serialization.PrivateFormat.PKCS8, plain))
    files[1].write_bytes(made.public_bytes(pem))
    return files


@pytest.mark.parametrize("end", ["\n", "\r\n", "\r"])
def test_events_are_the_same_in_whatever_pieces_they_come(end: str) -> None:
    text = "\ufeff: hi\n\ndata: a\ndata:b\n\nevent: other\ndata: c\n\nid: 1\n\ndata\n\nevent: message\ndata: d\n\n"
    said = f"{text}data: e\n".replace("\n", end).encode()
    for size in range(1, len(said) + 1):
        events = Events(100)
        heard = [each for at in range(0, len(said), size) for each in events.heard(said[at : at + size])]
        assert heard == [b"a\nb", b"d"]


def test_an_event_without_end_is_too_long() -> None:
    def hear(piece: bytes) -> None:
        events = Events(100)
        for _ in range(200):
            list(events.heard(piece))

    for piece in (b"x", b"data: x\n", b": x\n"):
        with pytest.raises(TooLong):
            hear(piece)
