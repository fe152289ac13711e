"""Turns of Pydantic AI, and what its outputs are made by.

Not an adapter. Law: see `interlock.codecs`.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager
from typing import Any, get_origin

from pydantic_ai import Agent, NativeOutput, PromptedOutput, TextOutput, ToolOutput
from pydantic_ai.agent import AbstractAgent, WrapperAgent
from pydantic_ai.messages import ModelMessage, ModelResponse, TextPart, ToolCallPart
from pydantic_ai.models import CompletedStreamedResponse, Model, ModelRequestParameters
from pydantic_ai.settings import ModelSettings
from pydantic_ai.usage import RequestUsage

from interlock.core.names import spelled
from interlock.core.turn import Turn, Usage
from interlock.driving import Script
from interlock.governed import said_by


def turn_of(response: ModelResponse) -> Turn:
    """What a response says."""
    texts = [part.content for part in response.parts if isinstance(part, TextPart)]
    calls = [
        said_by(part.tool_name, {} if part.args is None else part.args, part.tool_call_id)
        for part in response.parts if isinstance(part, ToolCallPart)
    ]
    used = response.usage
    usage = Usage(
        input_tokens=used.input_tokens, output_tokens=used.output_tokens, cached_input_tokens=used.cache_read_tokens,
        cache_write_tokens=used.cache_write_tokens,
    ) if used.input_tokens or used.output_tokens else None
    return Turn(
        "".join(texts) or None, tuple(calls), usage, response.model_name or "", response.provider_response_id or ""
    )


def native(turn: Turn, model: str) -> ModelResponse:
    """The response that says it."""
    parts: list[Any] = [] if turn.text is None else [TextPart(turn.text)]
    parts += [
        ToolCallPart(spelled(each.name, plain=True), each.raw or dict(each.args), each.id) for each in turn.calls
    ]
    used = turn.usage or Usage(input_tokens=0, output_tokens=0)
    usage = RequestUsage(
        input_tokens=used.input_tokens, output_tokens=used.output_tokens, cache_read_tokens=used.cached_input_tokens,
        cache_write_tokens=used.cache_write_tokens,
    )
    return ModelResponse(parts, usage=usage, model_name=model, provider_response_id=turn.response_id or None)


def told(messages: Sequence[ModelMessage]) -> Mapping[str, str]:
    """What each call was answered so far."""
    parts: list[Any] = [part for message in messages for part in message.parts]
    answers = [part for part in parts if getattr(part, "tool_call_id", None) and not isinstance(part, ToolCallPart)]
    return {
        part.tool_call_id: part.content if isinstance(part.content, str) else part.model_response_str()
        for part in answers
    }


def made_by(output_type: Any) -> Iterator[Any]:
    """The types and functions that an output may be made by, out of whatever they are given in."""
    if isinstance(output_type, (list, tuple)):
        for each in output_type:
            yield from made_by(each)
    elif isinstance(output_type, ToolOutput):
        yield from made_by(output_type.output)
    elif isinstance(output_type, TextOutput):
        yield from made_by(output_type.output_function)
    elif isinstance(output_type, (NativeOutput, PromptedOutput)):
        yield from made_by(output_type.outputs)
    else:
        yield output_type


def functions_of(output_type: Any) -> list[str]:
    """Output functions: tools that nobody governs."""
    found = [each for each in made_by(output_type) if callable(each) and not isinstance(each, type)]
    names = [getattr(each, "__name__", None) or type(each).__name__ for each in found if get_origin(each) is None]
    return [f"output function {name}" for name in names]


class Scripted(Model):
    """A model that says what a script has."""

    def __init__(self, script: Script) -> None:
        super().__init__()
        self._script = script

    @property
    def model_name(self) -> str:
        """See `Model`."""
        return self._script.model

    @property
    def system(self) -> str:
        """See `Model`."""
        return "script"

    async def request(
        self, messages: list[ModelMessage], _settings: ModelSettings | None, _asked: ModelRequestParameters
    ) -> ModelResponse:
        """See `Model`."""
        self._script.hear(told(messages))
        return native(self._script.say(), self._script.model)

    @asynccontextmanager
    async def request_stream(
        self, messages: list[ModelMessage], settings: ModelSettings | None, asked: ModelRequestParameters,
        _context: Any = None,
    ) -> AsyncIterator[CompletedStreamedResponse]:
        """See `Model`."""
        said = await self.request(messages, settings, asked)
        yield CompletedStreamedResponse(said, model_request_parameters=asked, replay_events=True)


class Speaking(WrapperAgent[Any, Any]):
    """An agent with another model."""

    def __init__(self, wrapped: AbstractAgent[Any, Any], script: Script) -> None:
        super().__init__(wrapped)
        self._script, self._model = script, Scripted(script)

    @property
    def model(self) -> Model:
        """The script."""
        return self._model

    def iter(self, *args: Any, **more: Any) -> Any:
        """See `WrapperAgent`."""
        settings = ModelSettings() if self._script.max_output_tokens is None else ModelSettings(
            max_tokens=self._script.max_output_tokens
        )
        return super().iter(*args, **{**more, "model": self._model, "model_settings": settings})


def speaking(agent: AbstractAgent[Any, Any] | None, script: Script) -> Speaking:
    """See `driving.Runtime`."""
    return Speaking(agent or Agent(), script)
