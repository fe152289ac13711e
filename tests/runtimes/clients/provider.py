"""A provider of models that says what a script says, streamed or not: in Anthropic's Messages and chat completions."""

from __future__ import annotations

import json
from collections.abc import Iterator, MutableMapping
from typing import Any

from tests.runtimes.clients.script import Script

Message = MutableMapping[str, Any]
OURS = "mcp__interlock__"  #: before the names of the gateway's tools, as Claude Code has them
REMINDER = "\n\n<system-reminder>"  #: what Claude Code adds to a result of its own accord


class Provider:
    """One conversation. A request without tools is none of it: a title, a look whether somebody is there."""

    def __init__(self) -> None:
        self.script = Script()
        self.headers: list[dict[str, str]] = []
        self.refuses = 0  #: so many requests are answered 503

    async def __call__(self, scope: Message, receive: Any, send: Any) -> None:
        if scope["type"] != "http":
            return
        body, more = b"", scope["method"] == "POST"
        while more:
            message = await receive()
            body, more = body + message.get("body", b""), message.get("more_body", False)
        self.headers.append({name.decode(): value.decode() for name, value in scope["headers"]})
        asked = json.loads(body or b"{}")
        if self.refuses:
            self.refuses -= 1
            await _send(send, 503, b"application/json", b'{"error": {"message": "busy", "type": "server_error"}}')
            return
        streamed = asked.get("stream")
        kind = b"text/event-stream" if streamed else b"application/json"
        if scope["path"].endswith("/chat/completions"):
            completion = self._completion(asked)
            said = b"".join(_chunks(completion)) if streamed else json.dumps(completion).encode()
        else:
            content = self._answer(asked) if asked.get("tools") else [{"type": "text", "text": "ok"}]
            said = b"".join(_events(content)) if streamed else json.dumps(_whole(content)).encode()
        await _send(send, 200, kind, said)

    def _answer(self, asked: dict[str, Any]) -> list[dict[str, Any]]:
        offered = [tool["name"].removeprefix(OURS) for tool in asked["tools"]]
        blocks = [block for message in asked["messages"] for block in _blocks(message["content"])]
        told = [_text(block["content"]) for block in blocks if block["type"] == "tool_result"]
        turn = self.script.turn(offered, told)
        if isinstance(turn, str):
            return [{"type": "text", "text": turn}]
        return [{"type": "tool_use", "id": call.id, "name": OURS + call.plain, "input": call.args} for call in turn]

    def _completion(self, asked: dict[str, Any]) -> dict[str, Any]:
        """An answer as chat completions have it. Before the names of tools, CrewAI puts its name for their server."""
        named = {name.rpartition("_mcp_")[2].removeprefix("interlock_"): name for name in _functions(asked)}
        told = [_text(message["content"]) for message in asked["messages"] if message["role"] == "tool"]
        turn = self.script.turn(list(named), told)
        calls = [
            {
                "id": call.id, "type": "function",
                "function": {"name": named.get(call.plain, call.plain), "arguments": json.dumps(call.args)},
            }
            for call in (() if isinstance(turn, str) else turn)
        ]
        message = {"role": "assistant", "content": turn if isinstance(turn, str) else None}
        if calls:
            message["tool_calls"] = calls
        return {
            "id": "chatcmpl-1", "object": "chat.completion", "created": 1, "model": asked["model"],
            "choices": [{"index": 0, "message": message, "finish_reason": "tool_calls" if calls else "stop"}],
            "usage": {"prompt_tokens": 100, "completion_tokens": 10, "total_tokens": 110},
        }


def _chunks(completion: dict[str, Any]) -> Iterator[bytes]:
    """The same, said bit by bit."""
    (choice,) = completion["choices"]
    calls = [{**call, "index": index} for index, call in enumerate(choice["message"].get("tool_calls", ()))]
    delta = {**choice["message"], "tool_calls": calls} if calls else choice["message"]
    about = {**completion, "object": "chat.completion.chunk", "usage": None}
    for choices in ([{"index": 0, "delta": delta, "finish_reason": None}], [{**choice, "message": None, "delta": {}}]):
        yield f"data: {json.dumps({**about, 'choices': choices})}\n\n".encode()
    yield f"data: {json.dumps({**about, 'choices': [], 'usage': completion['usage']})}\n\ndata: [DONE]\n\n".encode()


def _functions(asked: dict[str, Any]) -> list[str]:
    return [tool["function"]["name"] for tool in asked.get("tools", ())]


async def _send(send: Any, status: int, kind: bytes, body: bytes) -> None:
    await send({"type": "http.response.start", "status": status, "headers": [(b"content-type", kind)]})
    await send({"type": "http.response.body", "body": body})


def _blocks(content: Any) -> list[dict[str, Any]]:
    return [{"type": "text", "text": content}] if isinstance(content, str) else content


def _text(content: Any) -> str:
    return "\n".join(block.get("text", "") for block in _blocks(content)).partition(REMINDER)[0]


def _whole(content: list[dict[str, Any]]) -> dict[str, Any]:
    stopped = "tool_use" if content[0]["type"] == "tool_use" else "end_turn"
    return {
        "id": "msg_1", "type": "message", "role": "assistant", "model": "claude-sonnet-4-5", "content": content,
        "stop_reason": stopped, "stop_sequence": None, "usage": {"input_tokens": 100, "output_tokens": 10},
    }


def _events(content: list[dict[str, Any]]) -> Iterator[bytes]:
    whole = _whole(content)
    yield _event("message_start", message={**whole, "content": [], "stop_reason": None})
    for index, block in enumerate(content):
        begun, delta = {**block, "text": ""}, {"type": "text_delta", "text": block.get("text")}
        if block["type"] == "tool_use":
            begun = {**block, "input": {}}
            delta = {"type": "input_json_delta", "partial_json": json.dumps(block["input"])}
        yield _event("content_block_start", index=index, content_block=begun)
        yield _event("content_block_delta", index=index, delta=delta)
        yield _event("content_block_stop", index=index)
    ends = {"stop_reason": whole["stop_reason"], "stop_sequence": None}
    yield _event("message_delta", delta=ends, usage={"output_tokens": 10})
    yield _event("message_stop")


def _event(kind: str, **said: Any) -> bytes:
    return f"event: {kind}\ndata: {json.dumps({'type': kind, **said})}\n\n".encode()
