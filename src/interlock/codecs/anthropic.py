"""Turns of Anthropic's Messages API, and what its tool runner is made of.

Not an adapter. Law: see `interlock.codecs`.
"""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Iterable, Iterator, Mapping
from typing import Any

import httpx2
from anthropic import AnthropicError, AsyncAnthropic

from interlock.core.names import spelled
from interlock.core.turn import Turn, Usage
from interlock.driving import Script
from interlock.governed import said_by

MOST = 4096  #: what a script without a limit may put out: the API wants one


class Agent:
    """What a tool runner is made of: a client, and what `client.beta.messages.tool_runner` takes beside messages."""

    def __init__(self, client: AsyncAnthropic, **settings: Any) -> None:
        self.client, self.settings = client, settings


def turn_of(message: Mapping[str, Any]) -> Turn:
    """What a message of the API says, as the API has it: `message.to_dict()`."""
    blocks = message["content"]
    texts = [block["text"] for block in blocks if block["type"] == "text"]
    calls = [
        said_by(block["name"], block["input"], block["id"]) for block in blocks if block["type"] == "tool_use"
    ]
    usage = _usage(message.get("usage") or {})
    return Turn("".join(texts) or None, tuple(calls), usage, message.get("model") or "", message.get("id") or "")


def _usage(said: Mapping[str, Any]) -> Usage | None:
    """None where nothing came back, or where it was charged at a price that is not the model's own."""
    dearer = said.get("service_tier") == "priority" or said.get("speed") not in (None, "standard")
    if dearer or not (said.get("input_tokens") or said.get("output_tokens")):
        return None
    whole, each = _tokens(said), [_tokens(one) for one in said.get("iterations") or ()]
    sums = [sum(column) for column in zip(*each, strict=True)] or whole  # shortening the context is told there alone
    fresh, put_out, read, written, kept = map(max, whole, sums)
    return Usage(
        input_tokens=fresh + read + written, output_tokens=put_out, cached_input_tokens=read,
        cache_write_tokens=written, cache_write_1h_tokens=kept,
        reasoning_tokens=(said.get("output_tokens_details") or {}).get("thinking_tokens") or 0,
        web_searches=(said.get("server_tool_use") or {}).get("web_search_requests") or 0,
    )


def _tokens(said: Mapping[str, Any]) -> list[int]:
    names = ("input_tokens", "output_tokens", "cache_read_input_tokens", "cache_creation_input_tokens")
    hour = (said.get("cache_creation") or {}).get("ephemeral_1h_input_tokens")
    return [*(said.get(name) or 0 for name in names), hour or 0]


class Gathered:
    """A message put together out of the events of a stream: so much of it as a turn needs."""

    def __init__(self) -> None:
        self.message: dict[str, Any] = {}
        self.whole = False  #: it has come to its end
        self._written: dict[int, str] = {}

    def take(self, event: Any) -> None:
        """The next event."""
        if event.type == "message_start":
            self.message = {**event.message.to_dict(), "content": []}
        elif event.type == "content_block_start":
            self.message["content"].append(event.content_block.to_dict())
        elif event.type == "content_block_delta" and event.delta.type == "text_delta":
            self.message["content"][event.index]["text"] += event.delta.text
        elif event.type == "content_block_delta" and event.delta.type == "input_json_delta":
            self._written[event.index] = self._written.get(event.index, "") + event.delta.partial_json
        elif event.type == "message_delta":
            used = {name: value for name, value in event.usage.to_dict().items() if value is not None}
            self.message["usage"] = {**self.message["usage"], **used}
        elif event.type == "message_stop":
            self.whole = True
            for place, written in self._written.items():
                self.message["content"][place]["input"] = _read(written)


def _read(written: str) -> Any:
    try:
        return json.loads(written or "{}")
    except ValueError:  # cut off
        return written


# --- scripts ---------------------------------------------------------------------------------------------------------


class Unsaid(AnthropicError):
    """The script has raised: the SDK passes on what is an error of its own, and tries the rest again."""


def speaking(agent: Agent | None, script: Script) -> Agent:
    """See `driving.Runtime`."""
    web = httpx2.AsyncClient(transport=Scripted(script))
    settings = {} if agent is None else agent.settings
    most = script.max_output_tokens or settings.get("max_tokens") or MOST
    return Agent(
        AsyncAnthropic(api_key="-", http_client=web) if agent is None else agent.client.copy(http_client=web),
        **{**settings, "model": script.model or "script", "max_tokens": most, "thread": False},
    )


class Scripted(httpx2.AsyncBaseTransport):
    """An API that answers what a script has."""

    def __init__(self, script: Script) -> None:
        self._script = script

    async def handle_async_request(self, request: httpx2.Request) -> httpx2.Response:
        """See `AsyncBaseTransport`."""
        asked = json.loads(await request.aread())
        self._script.hear(told(asked["messages"]))
        try:
            message = native(self._script.say(), self._script.model)
        except Exception as error:
            status = getattr(error, "status_code", None)
            if not isinstance(status, int):
                raise Unsaid(f"{type(error).__name__}: {error}") from error
            return httpx2.Response(status, headers={"retry-after-ms": "1"}, json=_error(str(error)))
        if not asked.get("stream"):
            return httpx2.Response(200, json=message)
        lines = (f"event: {event['type']}\ndata: {json.dumps(event)}\n\n".encode() for event in events(message))
        return httpx2.Response(200, headers={"content-type": "text/event-stream"}, content=_slowly(lines))


async def _slowly(lines: Iterable[bytes]) -> AsyncIterator[bytes]:
    for line in lines:
        yield line


def _error(text: str) -> dict[str, Any]:
    return {"type": "error", "error": {"type": "api_error", "message": text}}


def told(messages: Iterable[Mapping[str, Any]]) -> Mapping[str, str]:
    """What each call was answered so far."""
    blocks = [block for message in messages if not isinstance(message["content"], str) for block in message["content"]]
    return {block["tool_use_id"]: block["content"] for block in blocks if block["type"] == "tool_result"}


def native(turn: Turn, model: str) -> dict[str, Any]:
    """The message of the API that says it."""
    content: list[dict[str, Any]] = [] if turn.text is None else [{"type": "text", "text": turn.text}]
    for each in turn.calls:
        asked = each.raw or dict(each.args)
        content.append({"type": "tool_use", "id": each.id, "name": spelled(each.name, plain=True), "input": asked})
    used = turn.usage or Usage(input_tokens=0, output_tokens=0)
    usage = {
        "input_tokens": used.input_tokens - used.cached_input_tokens - used.cache_write_tokens,
        "output_tokens": used.output_tokens, "cache_read_input_tokens": used.cached_input_tokens,
        "cache_creation_input_tokens": used.cache_write_tokens,
    }
    return {
        "id": turn.response_id, "type": "message", "role": "assistant", "model": model, "content": content,
        "stop_reason": "tool_use" if turn.calls else "end_turn", "stop_sequence": None, "usage": usage,
    }


def events(message: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    """The same as a stream."""
    yield {"type": "message_start", "message": {**message, "content": [], "stop_reason": None}}
    for index, block in enumerate(message["content"]):
        if block["type"] == "text":
            empty, delta = {**block, "text": ""}, {"type": "text_delta", "text": block["text"]}
        else:
            written = json.dumps(block["input"])
            empty, delta = {**block, "input": {}}, {"type": "input_json_delta", "partial_json": written}
        yield {"type": "content_block_start", "index": index, "content_block": empty}
        yield {"type": "content_block_delta", "index": index, "delta": delta}
        yield {"type": "content_block_stop", "index": index}
    yield {"type": "message_delta", "delta": {"stop_reason": message["stop_reason"]}, "usage": message["usage"]}
    yield {"type": "message_stop"}
