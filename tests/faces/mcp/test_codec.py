"""The codec against its measure, the SDK: the same requests, the same answers."""

from __future__ import annotations

import json
from typing import Any

import pytest

from tests.faces.mcp.conftest import Open, Served, message_of, run

CALLS: list[tuple[str, dict[str, Any]]] = [
    ("kb.search", {"text": "ü \\ud800 \u2028"}),
    ("kb.search", {"text": 3}),
    ("kb.search", {}),
    ("kb.read", {"name": "x"}),
    ("kb.fail", {}),
    ("ticket.create", {"title": "a"}),
    ("ticket.close", {"number": 1}),
    ("ticket.delete", {"number": 1}),
    ("office.burn", {}),
    ("no.such.tool", {"a": [1, 2.5, None]}),
    ("no such\ttool", {}),
    ("", {}),
]
MALFORMED: list[Any] = [
    b"{",
    b"[]",
    b"\xff\xfe",
    b"[" * 5_000,
    {"jsonrpc": "1.0", "id": 1, "method": "tools/list", "params": {}},
    {"jsonrpc": "2.0", "id": None, "method": "tools/list", "params": {}},
    {"jsonrpc": "2.0", "id": 1.5, "method": "tools/list", "params": {}},
    {"jsonrpc": "2.0", "id": True, "method": "tools/call", "params": {"name": "kb.read"}},
    {"jsonrpc": "2.0", "id": 1, "method": "tools/call"},
    {"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": {"name": 3}},
    {"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": {"name": "kb.read", "arguments": [1]}},
    {"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": {"name": "kb.read", "_meta": 3}},
    {"jsonrpc": "2.0", "id": 1, "method": "tools/list", "params": {"cursor": "more"}},
    {"jsonrpc": "2.0", "id": 1, "method": "prompts/list", "params": {}},
    {"jsonrpc": "2.0", "id": 1, "method": "ping", "params": {}},
    {"jsonrpc": "2.0", "method": "notifications/progress", "params": {}},
]


def same(message: Any) -> Any:
    """Without what differs from call to call."""
    result = message.get("result", {})
    if "interlock/approval_id" in result.get("_meta", {}):
        asked = result["_meta"].pop("interlock/approval_id")
        result["content"][0]["text"] = result["content"][0]["text"].replace(asked, "…")
    return message


@pytest.fixture
def both(serve: Open) -> tuple[Served, Served, str, str]:
    """The same gateway twice: with the codec, and with the SDK alone."""
    fast, slow = serve(ledger="memory:"), serve(ledger="memory:", codec=False)
    return fast, slow, fast.token(), slow.token()


def named(served: Served, token: str) -> dict[str, Any]:
    served.gateway.run(agent="bot", tenant="acme", env="prod", run_id="r1")
    return {"interlock/run_id": "r1"}


def test_calls_of_the_newest_revision_are_answered_as_the_sdk_answers_them(
    both: tuple[Served, Served, str, str],
) -> None:
    fast, slow, *tokens = both

    async def ask(served: Served, token: str) -> list[Any]:
        meta = named(served, token)
        answers = [message_of(await served.modern("tools/list", token))]
        for number, (name, args) in enumerate(CALLS):
            said = {**meta, "interlock/call_id": f"c{number}"}
            response = await served.modern("tools/call", token, said, number, name=name, arguments=args)
            answers.append((response.status_code, same(message_of(response))))
        return answers

    async def go() -> None:
        got, expected = await ask(fast, tokens[0]), await ask(slow, tokens[1])
        assert got == expected
        assert got[0]["result"]["cacheScope"] == "private"

    run(go())


def test_calls_of_a_session_are_answered_as_the_sdk_answers_them(both: tuple[Served, Served, str, str]) -> None:
    fast, slow, *tokens = both

    async def ask(served: Served, token: str) -> list[Any]:
        meta, send = named(served, token), await served.session(token)
        answers = [message_of(await send("tools/list"))]
        for number, (name, args) in enumerate(CALLS):
            said = {**meta, "interlock/call_id": f"c{number}"}
            response = await send("tools/call", f"n{number}", name=name, arguments=args, _meta=said)
            answers.append((response.status_code, same(message_of(response))))
        return answers

    async def go() -> None:
        assert await ask(fast, tokens[0]) == await ask(slow, tokens[1])

    run(go())


@pytest.mark.parametrize("era", ["newest", "session"])
def test_progress_is_told_as_the_sdk_tells_it(both: tuple[Served, Served, str, str], era: str) -> None:
    fast, slow, *tokens = both

    async def ask(served: Served, token: str, wanted: int | str) -> list[Any]:
        meta = {**named(served, token), "interlock/call_id": f"c{wanted}", "progressToken": wanted}
        if era == "newest":
            response = await served.modern("tools/call", token, meta, 7, name="kb.steps", arguments={})
        else:
            send = await served.session(token)
            response = await send("tools/call", 7, name="kb.steps", arguments={}, _meta=meta)
        assert response.headers["content-type"].startswith("text/event-stream")
        data = [line.removeprefix("data:") for line in response.text.splitlines() if line.startswith("data:")]
        return [same(json.loads(each)) for each in data if each.strip()]

    async def go() -> None:
        for wanted in ("a token", 5):
            got, expected = await ask(fast, tokens[0], wanted), await ask(slow, tokens[1], wanted)
            assert got == expected
            assert len(got) == 4

    run(go())


def test_what_is_malformed_is_refused_as_the_sdk_refuses_it(both: tuple[Served, Served, str, str]) -> None:
    fast, slow, *tokens = both
    wrong_headers: list[dict[str, str]] = [
        {"mcp_protocol_version": "2026-07-28"},
        {"mcp_protocol_version": "2026-07-28", "mcp_method": "tools/list"},
        {"mcp_protocol_version": "2099-01-01", "mcp_method": "tools/list"},
        {"mcp_protocol_version": "2025-11-25"},
        {"mcp_protocol_version": "2025-11-25", "mcp_session_id": "nobody's"},
        {"accept": "text/html"},
        {"content_type": "text/plain", "mcp_protocol_version": "2026-07-28"},
    ]

    async def ask(served: Served, token: str) -> list[Any]:
        answers = []
        for body in MALFORMED:
            for headers in wrong_headers:
                response = await served.post(body, token, **headers)
                answers.append((response.status_code, response.text if response.status_code >= 400 else ""))
        return answers

    async def go() -> None:
        assert await ask(fast, tokens[0]) == await ask(slow, tokens[1])

    run(go())


def test_the_codec_takes_the_hot_methods_and_leaves_the_rest(serve: Open) -> None:
    served = serve()
    codec = served.front._codec
    assert codec is not None
    headers = {
        b"accept": b"application/json, text/event-stream", b"content-type": b"application/json",
        b"mcp-protocol-version": b"2026-07-28", b"mcp-method": b"tools/call", b"mcp-name": b"kb.read",
    }
    envelope = (
        b'"io.modelcontextprotocol/protocolVersion":"2026-07-28","io.modelcontextprotocol/clientCapabilities":{}'
    )
    body = b'{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"kb.read","arguments":{},"_meta":{%s}}}'
    assert codec.understand(headers, body % envelope, "", person=False) is not None
    assert codec.understand(headers, body % (envelope + b',"progressToken":1'), "", person=False) is not None
    assert codec.understand(headers, body % (envelope + b',"progressToken":[1]'), "", person=False) is None
    assert codec.understand({**headers, b"mcp-name": b"kb.search"}, body % envelope, "", person=False) is None
    assert codec.understand({**headers, b"mcp-method": b"tools/list"}, body % envelope, "", person=False) is None
    assert codec.understand(headers, body % b"", "", person=False) is None
    older = {**headers, b"mcp-protocol-version": b"2025-11-25"}
    assert codec.understand(older, body % b"", "s1", person=False) is not None
    assert codec.understand(older, body % envelope, "s1", person=False) is None
