"""Anthropic's Messages.

Not a client of them. Law: as in `dialect.py`. What this protocol calls input leaves out what was read from and written
into the cache; here input is all of it.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, Literal

import msgspec

from interlock.config.serve import Models
from interlock.core.run import Asking, Wanted
from interlock.core.turn import Usage
from interlock.faces.http.problems import Problem
from interlock.faces.http.proxy.asked import Asked, Check, counts, part, priced, refuse
from interlock.faces.http.proxy.chat import decoded
from interlock.faces.http.proxy.errors import anthropic_error
from interlock.faces.http.proxy.recording import Pieces, Redact, kept, objects, since_its_last, text_of, word
from interlock.faces.http.proxy.sse import Event, event

FIELDS = frozenset({
    "model", "messages", "system", "max_tokens", "stream", "temperature", "top_p", "top_k", "stop_sequences", "tools",
    "tool_choice", "thinking", "metadata", "service_tier", "cache_control", "output_config", "output_format",
    "context_management", "diagnostics", "speed",
})
HOSTED = {"mcp_servers": "mcp_servers", "container": "container"}
#: known to the model by its type, and run by the client
CLIENT_TOOL = re.compile(r"custom|(bash|text_editor|computer|memory)_\d{8}", re.ASCII)


class Messages:
    """POST …/messages."""

    provider: Literal["openai", "anthropic"] = "anthropic"
    path = "/v1/messages"

    def asked(self, body: dict[str, Any], settings: Models) -> Asked:
        """A request that may be sent on."""
        check = Check(body, settings)
        check.fields(FIELDS, HOSTED)
        check.tier()
        check.same("speed", "standard")  # the other has another price
        model, streamed, output = check.model(), check.flag("stream"), check.count("max_tokens")
        for tool in check.items("tools"):
            kind = tool.get("type") or "custom"
            if not isinstance(kind, str):
                refuse("the type of a tool must be text")
            if not CLIENT_TOOL.fullmatch(kind):
                check.hosted(kind)
        check.items("messages")
        cached = b'"cache_control"' in msgspec.json.encode(body)
        return Asked(
            body=body, model=model, output=output or None, streamed=streamed,
            input=check.input_tokens(times=2 if cached else 1),  # what goes into the cache costs up to twice as much
        )

    def capped(self, asked: Asked, output: int) -> dict[str, Any]:
        """The body with this limit on what is put out."""
        return {**asked.body, "max_tokens": output}

    def usage(self, answer: Mapping[str, Any]) -> Usage | None:
        """What an answer says that it used."""
        said = answer.get("usage")
        return usage_of(said) if isinstance(said, dict) else None

    def heard(self, asked: Asked, answer: Mapping[str, Any], redact: Redact) -> Asking:
        """What was asked and said."""
        content = list(objects(answer.get("content")))
        calls = [
            Wanted(word(block, "id"), word(block, "name"), msgspec.json.encode(block.get("input")).decode())
            for block in content
            if block.get("type") == "tool_use"
        ]
        return self.recorded(asked, text_of(content), calls, answer, redact)

    def recorded(
        self, asked: Asked, text: str, calls: list[Wanted], answer: Mapping[str, Any], redact: Redact
    ) -> Asking:
        """The same of an answer that was put together."""
        own = since_its_last(
            asked.body.get("messages"), lambda item: item.get("role") == "assistant", asked.body.get("system")
        )
        return kept(own, text, calls, answer, redact)

    def failed(self, answer: Mapping[str, Any]) -> bool:
        """Never with status 200."""
        return answer.get("type") == "error"

    def reader(self, asked: Asked) -> MessagesReader:
        """For one stream."""
        return MessagesReader(self, asked)

    def error(self, problem: Problem) -> dict[str, Any]:
        """A refusal."""
        return anthropic_error(problem)

    def last_word(self, problem: Problem) -> bytes:
        """A refusal in the middle of a stream."""
        return event(msgspec.json.encode(self.error(problem)), "error")


def usage_of(said: Mapping[str, Any]) -> Usage | None:
    """Theirs as ours; None where it holds no numbers, or was charged otherwise."""
    if "input_tokens" not in said or "output_tokens" not in said:
        return None
    if not priced(said.get("service_tier")) or said.get("speed") not in (None, "standard"):
        return None
    rounds = said.get("iterations")  # what it took to shorten the context is told here alone
    each = [_tokens(one) for one in rounds] if isinstance(rounds, list) else []
    whole, searches = _tokens(said), counts(part(said, "server_tool_use"), "web_search_requests")
    if whole is None or None in each or searches is None:
        return None
    sums = [sum(column) for column in zip(*(one for one in each if one is not None), strict=True)] or whole
    fresh, put_out, read, written, kept = map(max, whole, sums)
    return Usage(
        input_tokens=fresh + read + written, output_tokens=put_out, cached_input_tokens=read,
        cache_write_tokens=written, cache_write_1h_tokens=kept, web_searches=searches[0],
    )


def _tokens(said: Any) -> list[int] | None:
    """Input, output, read from the cache, written into it, and that for an hour."""
    if not isinstance(said, dict):
        return None
    some = counts(said, "input_tokens", "output_tokens", "cache_read_input_tokens", "cache_creation_input_tokens")
    hour = counts(part(said, "cache_creation"), "ephemeral_1h_input_tokens")
    return None if some is None or hour is None else [*some, *hour]


class MessagesReader:
    """A stream whose first event tells the input, and whose last but one the output."""

    def __init__(self, messages: Messages, asked: Asked) -> None:
        self._messages = messages
        self._asked = asked
        self._said: dict[str, Any] = {}
        self._pieces = Pieces()
        self._calls: list[Any] = []
        self.usage: Usage | None = None
        self.ended = self.failed = self.began = False

    def read(self, event: Event) -> bool:
        """Take in one event; the client sees them all."""
        if event.data is None:
            return True
        said = decoded(event.data)
        kind = said.get("type") or event.kind
        self._gather(kind, said)
        if kind == "message_start":
            self._said = dict(part(part(said, "message"), "usage"))
        elif kind == "message_delta":
            told = {name: value for name, value in part(said, "usage").items() if value is not None}
            if told:
                self._said |= told
                self.usage = usage_of(self._said)
        elif kind == "message_stop":
            self.ended = True
        elif kind == "error":
            self.failed = True
        elif kind == "content_block_start":
            self.began = True
        return True

    def _gather(self, kind: Any, said: Mapping[str, Any]) -> None:
        place = said.get("index")
        if kind == "message_start":
            self._pieces.head = {name: part(said, "message").get(name) for name in ("id", "model")}
        elif kind == "content_block_start":
            block = part(said, "content_block")
            if block.get("type") == "tool_use":
                self._calls.append(place)
                self._pieces.call(place, call_id=word(block, "id"), tool=word(block, "name"))
        elif kind == "content_block_delta":
            delta = part(said, "delta")
            if "partial_json" in delta and place in self._calls:  # and not of a tool of the provider's
                self._pieces.call(place, args=word(delta, "partial_json"))
            elif "text" in delta:
                self._pieces.text(place, word(delta, "text"))

    def heard(self, redact: Redact) -> Asking | None:
        """What was asked and said."""
        pieces, messages = self._pieces, self._messages
        return messages.recorded(self._asked, pieces.said, pieces.calls, pieces.head, redact) if self.ended else None
