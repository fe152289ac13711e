"""The Responses API.

Not a client of it. Law: as in `dialect.py`. What would go on without this connection (`background`), or bring along
what nobody here sees (`prompt`), is refused.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal

import msgspec

from interlock.config.serve import Models
from interlock.core.run import Asking, Wanted
from interlock.core.turn import Usage
from interlock.faces.http.problems import Problem
from interlock.faces.http.proxy.asked import Asked, Check, any_of, counts, part, priced
from interlock.faces.http.proxy.chat import decoded
from interlock.faces.http.proxy.errors import openai_error
from interlock.faces.http.proxy.recording import Redact, kept, objects, since_its_last, text_of, word
from interlock.faces.http.proxy.sse import Event, event

FIELDS = frozenset({
    "model", "input", "instructions", "stream", "stream_options", "max_output_tokens", "max_tool_calls", "temperature",
    "top_p", "top_logprobs", "text", "tools", "tool_choice", "parallel_tool_calls", "previous_response_id",
    "conversation", "reasoning", "include", "metadata", "user", "safety_identifier", "prompt_cache_key",
    "prompt_cache_retention", "prompt_cache_options", "service_tier", "store", "truncation", "context_management",
    "background",
})
HOSTED = {"prompt": "prompt"}  # a stored prompt brings its own tools
CLIENT_TOOLS = frozenset({"function", "custom", "local_shell", "apply_patch", "computer", "computer_use_preview"})
#: what the input goes on from, and nobody here can count
CARRIED = ("previous_response_id", "conversation", "prompt")
OVER = frozenset({"response.completed", "response.incomplete", "response.failed", "response.cancelled"})


class Responses:
    """POST …/responses."""

    provider: Literal["openai", "anthropic"] = "openai"
    path = "/responses"

    def asked(self, body: dict[str, Any], settings: Models) -> Asked:
        """A request that may be sent on."""
        check = Check(body, settings)
        check.fields(FIELDS, HOSTED)
        check.tier()
        check.same("background", False)
        model, streamed = check.model(), check.flag("stream")
        offered = check.items("tools")
        given = check.items("input") if isinstance(body.get("input"), list) else []
        for item in given:
            if item.get("type") != "mcp_list_tools":  # a record of what a hosted tool said; the rest bring tools
                offered = [*offered, *check.items("tools", item)]
        for kind in any_of((tool.get("type") for tool in offered), CLIENT_TOOLS):
            check.hosted(kind)
        unseen = any(body.get(name) is not None for name in CARRIED)
        return Asked(
            body=body, model=model, output=check.count("max_output_tokens") or None,
            input=None if unseen else check.input_tokens(), streamed=streamed,
        )

    def capped(self, asked: Asked, output: int) -> dict[str, Any]:
        """The body with this limit on what is put out."""
        return {**asked.body, "max_output_tokens": output}

    def usage(self, answer: Mapping[str, Any]) -> Usage | None:
        """What an answer says that it used."""
        said = answer.get("usage")
        if not isinstance(said, dict) or not priced(answer.get("service_tier")):
            return None
        whole = counts(said, "input_tokens", "output_tokens", "total_tokens")
        before = counts(part(said, "input_tokens_details"), "cached_tokens", "cache_write_tokens")
        after = counts(part(said, "output_tokens_details"), "reasoning_tokens")
        if whole is None or before is None or after is None:
            return None
        if "input_tokens" not in said or "output_tokens" not in said:
            return None
        given, put_out, total = whole
        output = answer.get("output")
        items = output if isinstance(output, list) else []
        return Usage(
            input_tokens=given, output_tokens=max(put_out, total - given), cached_input_tokens=before[0],
            cache_write_tokens=before[1], reasoning_tokens=after[0],
            web_searches=sum(isinstance(each, dict) and each.get("type") == "web_search_call" for each in items),
        )

    def heard(self, asked: Asked, answer: Mapping[str, Any], redact: Redact) -> Asking:
        """What was asked and said."""
        output = list(objects(answer.get("output")))
        text = "".join(text_of(item.get("content")) for item in output if item.get("type") == "message")
        calls = [
            Wanted(word(item, "call_id"), word(item, "name"), word(item, "arguments") or word(item, "input"))
            for item in output
            if item.get("type") in ("function_call", "custom_tool_call")
        ]
        told = since_its_last(asked.body.get("input"), _own, asked.body.get("instructions"))
        return kept(told, text, calls, answer, redact)

    def failed(self, answer: Mapping[str, Any]) -> bool:
        """An answer that went wrong has status 200 all the same."""
        return answer.get("status") in ("failed", "cancelled") or (bool(answer.get("error")) and "usage" not in answer)

    def reader(self, asked: Asked) -> ResponsesReader:
        """For one stream."""
        return ResponsesReader(self, asked)

    def error(self, problem: Problem) -> dict[str, Any]:
        """A refusal."""
        return openai_error(problem)

    def last_word(self, problem: Problem) -> bytes:
        """A refusal in the middle of a stream."""
        return event(msgspec.json.encode({"type": "error", **self.error(problem)["error"]}), "error")


def _own(item: Mapping[str, Any]) -> bool:
    """True for what the model itself has said."""
    return item.get("role") == "assistant" or item.get("type") in ("function_call", "custom_tool_call", "reasoning")


class ResponsesReader:
    """A stream whose last event holds the whole response."""

    def __init__(self, responses: Responses, asked: Asked) -> None:
        self._responses = responses
        self._asked = asked
        self._answer: Mapping[str, Any] = {}
        self.usage: Usage | None = None
        self.ended = self.failed = self.began = False

    def read(self, event: Event) -> bool:
        """Take in one event; the client sees them all."""
        if event.data is None or event.data.strip() == "[DONE]":
            return True
        said = decoded(event.data)
        kind = said.get("type") or event.kind
        if kind in OVER:
            answer = self._answer = part(said, "response")
            self.ended, self.usage = True, self._responses.usage(answer)
            self.failed = kind in ("response.failed", "response.cancelled")
        elif kind == "error":
            self.failed = True
        elif isinstance(kind, str) and not kind.startswith(("response.created", "response.in_progress", "response.q")):
            self.began = True
        return True

    def heard(self, redact: Redact) -> Asking | None:
        """What was asked and said."""
        return self._responses.heard(self._asked, self._answer, redact) if self.ended else None
