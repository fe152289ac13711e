"""Pydantic AI: one capability is both planes, pauses are `DeferredToolRequests`.

Not a policy: it translates. Law: the run is bound by closure; the arguments that go to the gateway are those that the
model wrote, whatever was made of them; an approval among `DeferredToolResults` means only that the gateway is asked
again.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Collection, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from typing import Any

from pydantic_ai import Agent, DeferredToolRequests, DeferredToolResults, ToolDefinition, ToolDenied, UsageLimits
from pydantic_ai.agent import AbstractAgent, WrapperAgent
from pydantic_ai.capabilities import AbstractCapability
from pydantic_ai.exceptions import ApprovalRequired, ToolFailed
from pydantic_ai.messages import (
    ModelMessage,
    ModelMessagesTypeAdapter,
    ModelRequest,
    ModelResponse,
    ToolReturnPart,
)
from pydantic_ai.models import Model, ModelRequestParameters, StreamedResponse
from pydantic_ai.models.wrapper import WrapperModel
from pydantic_ai.settings import ModelSettings
from pydantic_ai.toolsets import AbstractToolset, ExternalToolset, ToolsetTool, WrapperToolset
from pydantic_core import SchemaValidator, core_schema

from interlock.codecs.pydantic_ai import functions_of, made_by, speaking, told, turn_of
from interlock.core.outcome import Done, Pending
from interlock.core.turn import Turn
from interlock.errors import ConfigError, RunStopped
from interlock.governed import Ended, Governed, Result, arguments_of, driven
from interlock.runs import Run

__all__ = ["Bound", "Governing", "Metered", "Stop", "bind", "drive", "speaking", "turn_of"]

Stop = RunStopped  #: what ends a run here: any exception does
NEVER = 1_000_000  #: retries of unknown tools, which our own budget of denials ends long before


class Metered(WrapperModel):
    """A model whose turns are steps of the run, every attempt one of its own."""

    def __init__(self, governed: Governed, strays: dict[str, str], wrapped: Model) -> None:
        super().__init__(wrapped)
        self._governed, self._strays = governed, strays

    async def request(
        self, messages: list[ModelMessage], settings: ModelSettings | None, asked: ModelRequestParameters
    ) -> ModelResponse:
        """See `Model`."""
        settings = self._limited(settings, asked)
        with self._governed.turn(self.wrapped.model_name, settings.get("max_tokens")) as told:
            response = await self.wrapped.request(self._told(messages), settings, asked)
            turn = turn_of(response)
            told(turn)
        await self._refuse_strays(turn, asked)
        return response

    @asynccontextmanager
    async def request_stream(
        self, messages: list[ModelMessage], settings: ModelSettings | None, asked: ModelRequestParameters,
        context: Any = None,
    ) -> AsyncIterator[StreamedResponse]:
        """See `Model`."""
        settings = self._limited(settings, asked)
        with self._governed.turn(self.wrapped.model_name, settings.get("max_tokens")) as told:
            async with self.wrapped.request_stream(self._told(messages), settings, asked, context) as stream:
                yield stream
                response = stream.get()
            turn = turn_of(response)
            if response.state == "complete":
                told(turn)
        await self._refuse_strays(turn, asked)

    def _limited(self, settings: ModelSettings | None, asked: ModelRequestParameters) -> ModelSettings:
        """The settings that the model is asked with; with no question that offers it a way around the gateway."""
        self._governed.showing([each.name for each in asked.function_tools], [each.kind for each in asked.native_tools])
        settings = settings or ModelSettings()
        most = self._governed.most(settings.get("max_tokens"))
        return settings if most is None else {**settings, "max_tokens": most}

    async def _refuse_strays(self, turn: Turn, asked: ModelRequestParameters) -> None:
        known = {tool.name for tool in (*asked.function_tools, *asked.output_tools)}
        self._strays |= await self._governed.strays(turn, known)

    def _told(self, messages: list[ModelMessage]) -> list[ModelMessage]:
        """What the gateway said of calls that the agent has no tool for, in place of what Pydantic AI says of them."""

        def said(part: Any) -> Any:
            stray = isinstance(part, ToolReturnPart) and self._strays.get(part.tool_call_id)
            return replace(part, content=stray) if stray else part

        if not self._strays:
            return messages
        return [
            replace(each, parts=[said(part) for part in each.parts]) if isinstance(each, ModelRequest) else each
            for each in messages
        ]


@dataclass
class Beside(WrapperToolset[Any]):
    """A toolset of the agent, and the gateway's tools, each of which is answered before it is called. Not a toolset of
    its own: Pydantic AI starts a task for each of several, in every turn."""

    ours: Mapping[str, ToolsetTool[Any]]

    async def get_tools(self, ctx: Any) -> dict[str, ToolsetTool[Any]]:
        """See `AbstractToolset`."""
        own = await self.wrapped.get_tools(ctx)
        if both := sorted(own.keys() & self.ours.keys()):
            raise ConfigError(f"the agent has a tool {both[0]!r}, and so has the gateway: leave its own away")
        return {**own, **self.ours}


class Governing(AbstractCapability[Any]):
    """The capability: the model is metered, and the gateway's tools are answered by the gateway."""

    def __init__(self, governed: Governed) -> None:
        super().__init__()
        self._governed = governed
        self._strays: dict[str, str] = {}  #: what to say of calls that the agent has no tool for
        nobody, anything = ExternalToolset[Any]([]), SchemaValidator(core_schema.any_schema())
        self._ours: dict[str, ToolsetTool[Any]] = {}
        for said, each in governed.offers.items():
            shown = ToolDefinition(name=said, parameters_json_schema=each.schema, description=each.description)
            self._ours[said] = ToolsetTool(toolset=nobody, tool_def=shown, max_retries=NEVER, args_validator=anything)

    def get_wrapper_toolset(self, toolset: AbstractToolset[Any]) -> AbstractToolset[Any]:
        """See `AbstractCapability`. The first of its leaves is the agent's own tools."""
        places = [self._ours]

        def place(leaf: AbstractToolset[Any]) -> AbstractToolset[Any]:
            return Beside(leaf, places.pop()) if places else leaf

        return toolset.visit_and_replace(place)

    def get_wrapper_model(self, model: Model) -> Model:
        """See `AbstractCapability`."""
        return Metered(self._governed, self._strays, model)

    async def wrap_tool_validate(self, ctx: Any, *, call: Any, tool_def: Any, args: Any, handler: Any) -> Any:  # noqa: ARG002
        """The gateway validates."""
        return {} if call.tool_name in self._governed.offers else await handler(args)

    async def wrap_tool_execute(self, ctx: Any, *, call: Any, tool_def: Any, args: Any, handler: Any) -> Any:  # noqa: ARG002
        """The gateway performs."""
        if call.tool_name not in self._governed.offers:
            return await handler(args)
        written = arguments_of(call.args) if isinstance(call.args, str) else call.args or {}
        outcome = await self._governed.call(call.tool_name, written, call.tool_call_id)
        if isinstance(outcome, Pending):
            raise ApprovalRequired(metadata={"approval_id": outcome.approval_id})
        if not isinstance(outcome, Done):
            raise ToolFailed(outcome.text)
        return outcome.text


class Bound(WrapperAgent[Any, Any]):
    """An agent in one run of the gateway."""

    def __init__(self, wrapped: AbstractAgent[Any, Any], governed: Governed) -> None:
        super().__init__(wrapped)
        self.governed, self._governing = governed, Governing(governed)

    def iter(self, *args: Any, output_type: Any = None, **more: Any) -> Any:
        """See `AbstractAgent`."""
        wanted = self.wrapped.output_type if output_type is None else output_type
        self.governed.showing((), functions_of(wanted))
        if not any(each is DeferredToolRequests for each in made_by(wanted)):
            output_type = [wanted, DeferredToolRequests]
        bound: dict[str, Any] = {
            "capabilities": [*(more.pop("capabilities", None) or ()), self._governing],
            "usage_limits": more.pop("usage_limits", None) or UsageLimits(request_limit=None),
            "retries": more.pop("retries", None) or {"tools": NEVER},
        }
        wrapped: Any = super().iter
        return wrapped(*args, output_type=output_type, **bound, **more)


def bind(
    run: Run, agent: AbstractAgent[Any, Any], *, tools: Collection[str] | None = None,
    max_output_tokens: int | None = None,
) -> Bound:
    """The agent with a metered model and the gateway's tools (`tools`: only these). Raises ConfigError for output
    functions; for other tools, those of the provider among them, when the model would be offered them. Let one pass by
    the name that the error gives, in the config."""
    if isinstance(agent, Bound):
        raise ConfigError(f"agent {agent.name!r} is bound already; bind the one that it was made from")
    governed = Governed(run, "pydantic_ai", tools=tools, max_output_tokens=max_output_tokens)
    governed.showing((), functions_of(agent.output_type))
    return Bound(agent, governed)


async def drive(
    run: Run, agent: AbstractAgent[Any, Any], request: Any = "", *, saved: str | None = None,
    save: Callable[[str], None] | None = None, on_event: Callable[[Any], object] | None = None, **options: Any,
) -> Result:
    """Run the agent, bound or not, until it is done, is stopped, or waits for people. `saved` goes before `request`.

    `save` is handed the message history after every model turn, before its calls are made, and at a pause. With
    `on_event` the agent is streamed, and each event is handed over. `options` go to `agent.iter`. Raises ConfigError.
    """
    bound = agent if isinstance(agent, Bound) and agent.governed.run is run else bind(run, agent)

    async def go() -> Ended:
        given: dict[str, Any] = {"user_prompt": request}
        if saved is not None:
            history = await bound.governed.saved(saved, _read)
            given = {"message_history": history, "deferred_tool_results": _once_more(history, bound.governed)}
        async with bound.iter(**given, **options) as running:
            async for node in running:
                if save is not None and Agent.is_call_tools_node(node):
                    bound.governed.saving(save, _state(running.all_messages()))
                if on_event is not None and (Agent.is_call_tools_node(node) or Agent.is_model_request_node(node)):
                    streaming: Any = node.stream(running.ctx)
                    async with streaming as events:
                        async for event in events:
                            on_event(event)
        result: Any = running.result
        if not isinstance(result.output, DeferredToolRequests):
            return Ended(result.output)
        bound.governed.asking({each.tool_name for each in result.output.approvals} & bound.governed.ungoverned)
        return Ended(saved=bound.governed.saving(save, _state(result.all_messages())))

    return await driven(bound.governed, go())


def _state(messages: Sequence[ModelMessage]) -> Any:
    return ModelMessagesTypeAdapter.dump_python(list(messages), mode="json")


def _read(state: Any) -> list[ModelMessage]:
    history = ModelMessagesTypeAdapter.validate_python(state)
    if not any(isinstance(message, ModelResponse) for message in history):
        raise ValueError("no model has said anything in it")
    return history


def _once_more(history: Sequence[ModelMessage], governed: Governed) -> DeferredToolResults | None:
    """A yes to each call that has no answer yet, which sends it to the gateway once more; a no to those of tools that
    were let pass, because nobody knows whether they were made."""
    answered = told(history)
    last = next(message for message in reversed(history) if isinstance(message, ModelResponse))
    owed = [call for call in last.tool_calls if call.tool_call_id not in answered]
    no = ToolDenied("NOT DONE: the run was taken up again, and it is not known whether this was done before.")
    said: Any = {call.tool_call_id: no if call.tool_name in governed.ungoverned else True for call in owed}
    return DeferredToolResults(approvals=said) if owed else None
