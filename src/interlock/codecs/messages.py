"""Turns of Anthropic's Messages API, as the wire has them.

Not a client of it, and of no SDK: two runtimes speak it. Law: see `interlock.codecs`.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from interlock.core.names import spelled
from interlock.core.turn import Turn, Usage
from interlock.governed import said_by


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

    def take(self, event: Mapping[str, Any]) -> None:
        """The next event, as the API has it."""
        kind, place, delta = event["type"], event.get("index", 0), event.get("delta", {})
        if kind == "message_start":
            self.message = {**event["message"], "content": []}
        elif kind == "content_block_start":
            self.message["content"].append(dict(event["content_block"]))
        elif kind == "content_block_delta" and delta["type"] == "text_delta":
            self.message["content"][place]["text"] += delta["text"]
        elif kind == "content_block_delta" and delta["type"] == "input_json_delta":
            self._written[place] = self._written.get(place, "") + delta["partial_json"]
        elif kind == "message_delta":
            used = {name: value for name, value in event["usage"].items() if value is not None}
            self.message |= {**delta, "usage": {**self.message["usage"], **used}}
        elif kind == "message_stop":
            self.whole = True
            for place, written in self._written.items():
                self.message["content"][place]["input"] = _read(written)


def streamed(text: str) -> Mapping[str, Any]:
    """The message that a stream comes to. Raises ValueError where it breaks off."""
    gathered = Gathered()
    for line in text.splitlines():
        event = json.loads(line.removeprefix("data:")) if line.startswith("data:") else {"type": ""}
        if event["type"] == "error":
            raise ValueError(f"the provider has broken off: {event['error']}")
        gathered.take(event)
    if not gathered.whole:
        raise ValueError("the provider has broken off in the middle of an answer")
    return gathered.message


def _read(written: str) -> Any:
    try:
        return json.loads(written or "{}")
    except ValueError:  # cut off
        return written


# --- and back ---------------------------------------------------------------------------------------------------------


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


def sse(event: Mapping[str, Any]) -> bytes:
    """An event as a stream has it."""
    return f"event: {event['type']}\ndata: {json.dumps(event)}\n\n".encode()


def failure(text: str) -> dict[str, Any]:
    """An error as the API has it."""
    return {"type": "error", "error": {"type": "api_error", "message": text}}
