"""Chat completions, as OpenAI and many others speak them.

Not a client of any. Law: as in `dialect.py`. A stream tells its usage only when it is asked to: we ask, and where the
client has not, the chunk that holds nothing else is taken out again.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal

import msgspec

from interlock.config.serve import Models
from interlock.core.run import Asking, Wanted
from interlock.core.turn import Usage
from interlock.faces.http.problems import Problem
from interlock.faces.http.proxy.asked import Asked, Check, any_of, counts, part, priced, refuse
from interlock.faces.http.proxy.dialect import Malformed
from interlock.faces.http.proxy.errors import openai_error
from interlock.faces.http.proxy.recording import Pieces, Redact, kept, named, objects, since_its_last, text_of
from interlock.faces.http.proxy.sse import Event, event

FIELDS = frozenset({
    "model", "messages", "stream", "stream_options", "max_tokens", "max_completion_tokens", "temperature", "top_p",
    "top_k", "min_p", "n", "stop", "seed", "frequency_penalty", "presence_penalty", "repetition_penalty", "logit_bias",
    "logprobs", "top_logprobs", "response_format", "tools", "tool_choice", "parallel_tool_calls", "functions",
    "function_call", "user", "safety_identifier", "metadata", "prompt_cache_key", "prompt_cache_retention",
    "prompt_cache_options", "service_tier", "store", "reasoning", "reasoning_effort", "verbosity",
    "modalities", "thinking", "enable_thinking", "thinking_budget",
})
HOSTED = {"web_search_options": "web_search"}
CLIENT_TOOLS = frozenset({"function", "custom"})


class Chat:
    """POST …/chat/completions."""

    provider: Literal["openai", "anthropic"] = "openai"
    path = "/chat/completions"

    def asked(self, body: dict[str, Any], settings: Models) -> Asked:
        """A request that may be sent on."""
        check = Check(body, settings)
        check.fields(FIELDS, HOSTED)
        check.tier()
        check.same("modalities", ["text"])
        model, streamed = check.model(), check.flag("stream")
        if "-search-" in model or model.endswith(":online"):
            check.hosted("web_search")
        for kind in any_of((tool.get("type") for tool in check.items("tools")), CLIENT_TOOLS):
            check.hosted(kind)
        check.items("messages")
        newer, older = check.count("max_completion_tokens"), check.count("max_tokens")
        answers = check.count("n")
        wanted = True
        if streamed:
            options = body.get("stream_options")
            if not isinstance(options, dict | None):
                refuse("stream_options must be an object")
            wanted = (options or {}).get("include_usage") is True
            body = {**body, "stream_options": {**(options or {}), "include_usage": True}}
        return Asked(
            body=body, model=model, output=max(newer or 0, older or 0) if newer or older else None,
            input=check.input_tokens(), streamed=streamed, answers=max(1, answers or 1), usage_wanted=wanted,
        )

    def capped(self, asked: Asked, output: int) -> dict[str, Any]:
        """The body with this limit on what is put out."""
        return {**asked.body, "max_completion_tokens": output}

    def usage(self, answer: Mapping[str, Any]) -> Usage | None:
        """What an answer, or a chunk, says that it used."""
        said = answer.get("usage")
        if not isinstance(said, dict) or not priced(answer.get("service_tier")):
            return None
        before, after = part(said, "prompt_tokens_details"), part(said, "completion_tokens_details")
        whole = counts(said, "prompt_tokens", "completion_tokens", "total_tokens")
        parts = counts(before, "cached_tokens", "cache_write_tokens", "audio_tokens")
        reasoned = counts(after, "reasoning_tokens", "audio_tokens")
        if whole is None or parts is None or reasoned is None or parts[2] or reasoned[1]:
            return None  # no numbers, or sound, which has a price of its own
        if "prompt_tokens" not in said or "completion_tokens" not in said:
            return None
        given, put_out, total = whole
        return Usage(
            input_tokens=given,
            output_tokens=max(put_out, total - given),  # some leave their reasoning out of the completion
            cached_input_tokens=parts[0], cache_write_tokens=parts[1], reasoning_tokens=reasoned[0],
        )

    def heard(self, asked: Asked, answer: Mapping[str, Any], redact: Redact) -> Asking:
        """What was asked and said, in the first of the answers."""
        message = part(next(objects(answer.get("choices")), {}), "message")
        calls = [named(call) for call in objects(message.get("tool_calls"))]
        return self.recorded(asked, text_of(message.get("content")), calls, answer, redact)

    def recorded(
        self, asked: Asked, text: str, calls: list[Wanted], answer: Mapping[str, Any], redact: Redact
    ) -> Asking:
        """The same of an answer that was put together."""
        told = since_its_last(asked.body.get("messages"), lambda item: item.get("role") == "assistant")
        return kept(told, text, calls, answer, redact)

    def failed(self, answer: Mapping[str, Any]) -> bool:
        """Some answer an error with status 200."""
        return bool(answer.get("error")) and "choices" not in answer

    def reader(self, asked: Asked) -> ChatReader:
        """For one stream."""
        return ChatReader(self, asked)

    def error(self, problem: Problem) -> dict[str, Any]:
        """A refusal."""
        return openai_error(problem)

    def last_word(self, problem: Problem) -> bytes:
        """A refusal in the middle of a stream."""
        return event(msgspec.json.encode(self.error(problem)))


class ChatReader:
    """A stream of chunks that ends with `[DONE]`."""

    def __init__(self, chat: Chat, asked: Asked) -> None:
        self._chat = chat
        self._asked = asked
        self._pieces = Pieces()
        self._latest: Usage | None = None
        self.usage: Usage | None = None
        self.ended = self.failed = self.began = False

    def read(self, event: Event) -> bool:
        """Take in one event; True where the client is to see it."""
        if event.data is None:
            return True
        if event.data.strip() == "[DONE]":
            self.ended, self.usage = True, self._latest
            return True
        chunk = decoded(event.data)
        choices = chunk.get("choices")
        self.failed = self.failed or bool(chunk.get("error"))
        self.began = self.began or bool(choices)
        self._gather(chunk)
        if not isinstance(chunk.get("usage"), dict):
            return True
        self._latest = self._chat.usage(chunk)
        if choices:  # some count along, and some put it into the last chunk of text
            return True
        self.usage = self._latest
        return self._asked.usage_wanted

    def _gather(self, chunk: Mapping[str, Any]) -> None:
        self._pieces.head |= {name: chunk[name] for name in ("id", "model") if name in chunk}
        for choice in objects(chunk.get("choices")):
            delta = part(choice, "delta")
            if choice.get("index") in (0, None):
                self._pieces.text(0, text_of(delta.get("content")))
                for call in objects(delta.get("tool_calls")):
                    more = named(call)
                    self._pieces.call(call.get("index"), call_id=more.call_id, tool=more.tool, args=more.args)

    def heard(self, redact: Redact) -> Asking | None:
        """What was asked and said."""
        pieces = self._pieces
        return self._chat.recorded(self._asked, pieces.said, pieces.calls, pieces.head, redact) if self.ended else None


def decoded(data: str) -> dict[str, Any]:
    """The object in an event. Raises Malformed."""
    try:
        value = msgspec.json.decode(data)
    except (msgspec.MsgspecError, ValueError, RecursionError):
        raise Malformed("an event that is not JSON") from None
    if not isinstance(value, dict):
        raise Malformed("an event that is no object")
    return value
