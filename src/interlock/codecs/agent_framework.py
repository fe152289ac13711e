"""Turns of Microsoft's Agent Framework.

Not an adapter. Law: see `interlock.codecs`.
"""

from __future__ import annotations

import copy
import json
from collections.abc import AsyncIterator, Mapping, Sequence
from typing import Any

from agent_framework import (
    Agent,
    BaseChatClient,
    ChatMiddlewareLayer,
    ChatResponse,
    ChatResponseUpdate,
    Content,
    FunctionInvocationLayer,
    Message,
    UsageDetails,
)

from interlock.core.names import spelled
from interlock.core.turn import Turn, Usage
from interlock.driving import Script
from interlock.governed import said_by


def turn_of(response: ChatResponse[Any]) -> Turn:
    """What a response says."""
    calls = [
        said_by(each.name or "", {} if each.arguments is None else each.arguments, each.call_id or "")
        for each in calls_of(response)
    ]
    return Turn(
        response.text or None, tuple(calls), _usage(response.usage_details), response.model or "",
        response.response_id or "",
    )


def calls_of(response: ChatResponse[Any]) -> list[Content]:
    """The calls that it asks for."""
    return [each for message in response.messages for each in message.contents if each.type == "function_call"]


def _usage(said: Mapping[str, Any] | None) -> Usage | None:
    given, put_out = ((said or {}).get(f"{which}_token_count") or 0 for which in ("input", "output"))
    if said is None or not (given or put_out):
        return None
    return Usage(
        input_tokens=given, output_tokens=put_out,
        cached_input_tokens=said.get("cache_read_input_token_count") or 0,
        cache_write_tokens=said.get("cache_creation_input_token_count") or 0,
        reasoning_tokens=said.get("reasoning_output_token_count") or 0,
    )


def native(turn: Turn, model: str) -> ChatResponse[Any]:
    """The response that says it."""
    contents = [] if turn.text is None else [Content.from_text(turn.text)]
    contents += [
        Content.from_function_call(
            each.id, spelled(each.name, plain=True), arguments=each.raw or json.dumps(dict(each.args))
        )
        for each in turn.calls
    ]
    usage = None
    if turn.usage is not None:
        usage = UsageDetails(
            input_token_count=turn.usage.input_tokens, output_token_count=turn.usage.output_tokens,
            total_token_count=turn.usage.tokens, cache_read_input_token_count=turn.usage.cached_input_tokens,
            reasoning_output_token_count=turn.usage.reasoning_tokens,
        )
    return ChatResponse(
        messages=[Message("assistant", contents)], response_id=turn.response_id or None, model=model,
        usage_details=usage,
    )


class Scripted(FunctionInvocationLayer[Any], ChatMiddlewareLayer[Any], BaseChatClient[Any]):
    """A client whose model says what a script has."""

    def __init__(self, script: Script) -> None:
        super().__init__()
        self.model = script.model
        self._script = script

    def _inner_get_response(self, *, messages: Sequence[Message], stream: bool, **_more: Any) -> Any:
        return self._streamed(messages) if stream else self._said(messages)

    async def _said(self, messages: Sequence[Message]) -> ChatResponse[Any]:
        results = [each for message in messages for each in message.contents if each.type == "function_result"]
        self._script.hear({each.call_id or "": str(each.result) for each in results})
        return native(self._script.say(), self._script.model)

    def _streamed(self, messages: Sequence[Message]) -> Any:
        async def updates() -> AsyncIterator[ChatResponseUpdate]:
            said = await self._said(messages)
            contents = [each for message in said.messages for each in message.contents]
            if said.usage_details is not None:
                contents.append(Content.from_usage(said.usage_details))
            yield ChatResponseUpdate(
                contents=contents, role="assistant", model=said.model, response_id=said.response_id
            )

        return self._build_response_stream(updates())


def speaking(agent: Agent[Any] | None, script: Script) -> Agent[Any]:
    """See `driving.Runtime`."""
    speaks = Agent(client=Scripted(script)) if agent is None else copy.copy(agent)
    speaks.client = Scripted(script)
    speaks.default_options = {**speaks.default_options, "max_tokens": script.max_output_tokens}
    return speaks
