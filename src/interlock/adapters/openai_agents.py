"""The OpenAI Agents SDK: tools as `FunctionTool`, the model as `Model`, pauses as `RunState`.

Not a policy: it translates. Law: the run is bound by closure, never by a context; an approval given to a `RunState`
means only that the gateway is asked again; `Stop` is an `AgentsException`, because whatever else a tool raises is
wrapped, or told to the model, and the run goes on.
"""

from __future__ import annotations

import asyncio
import dataclasses
import itertools
from collections.abc import AsyncIterator, Callable, Collection, Iterable, Iterator, Mapping
from functools import cached_property, partial
from typing import Any

from agents import Agent, AgentsException, FunctionTool, ModelResponse, ModelSettings, RunConfig, Runner, RunState
from agents.models import get_default_model
from agents.models.interface import Model, ModelProvider
from agents.models.multi_provider import MultiProvider

from interlock.codecs.openai_agents import speaking, turn_of
from interlock.core.outcome import Outcome, Pending
from interlock.core.turn import Turn
from interlock.errors import ConfigError
from interlock.governed import Ended, Governed, Result, arguments_of, driven
from interlock.runs import Run

__all__ = ["Gate", "Metered", "Stop", "bind", "drive", "speaking", "turn_of"]


class Stop(AgentsException):
    """Ends a run of the SDK; it keeps its type, and gets `run_data`."""

    def __init__(self, reason: str, detail: str = "") -> None:
        super().__init__(f"the run has stopped: {reason} ({detail})")
        self.reason, self.detail = reason, detail


class Metered(Model):
    """A model whose turns are steps of the run. One that is given by its name is looked up when it is first asked."""

    def __init__(self, governed: Governed, given: Model | str | None) -> None:
        self.governed, self._given = governed, given
        self.name = str(getattr(given, "model", "")) if isinstance(given, Model) else given or get_default_model()
        self.gates = {said: Gate(governed, said) for said in governed.offers}
        self.strays: dict[str, str] = {}  #: what to say of calls that the SDK has no tool for
        self.provider: ModelProvider = MultiProvider()

    @cached_property
    def inner(self) -> Model:
        """The model itself."""
        return self._given if isinstance(self._given, Model) else self.provider.get_model(self._given)

    async def get_response(
        self, system_instructions: Any, input: Any, model_settings: Any, tools: Any, output_schema: Any,  # noqa: A002
        handoffs: Any, tracing: Any, **more: Any,
    ) -> ModelResponse:
        """See `Model`."""
        settings = self._limited(model_settings, tools, handoffs)
        asked = (system_instructions, input, settings, tools, output_schema, handoffs, tracing)
        with self.governed.turn(self.name, settings.max_tokens) as told:
            response = await self.inner.get_response(*asked, **more)
            turn = turn_of(response.output, response.usage, self.name, response.response_id)
            told(turn)
        await self._refuse_strays(turn, tools, handoffs)
        return response

    async def stream_response(
        self, system_instructions: Any, input: Any, model_settings: Any, tools: Any, output_schema: Any,  # noqa: A002
        handoffs: Any, tracing: Any, **more: Any,
    ) -> AsyncIterator[Any]:
        """See `Model`."""
        settings = self._limited(model_settings, tools, handoffs)
        asked = (system_instructions, input, settings, tools, output_schema, handoffs, tracing)
        with self.governed.turn(self.name, settings.max_tokens) as told:
            async for event in self.inner.stream_response(*asked, **more):
                if event.type in ("response.completed", "response.incomplete"):
                    turn = turn_of(event.response.output, event.response.usage, self.name, event.response.id)
                    told(turn)
                    await self._refuse_strays(turn, tools, handoffs)
                yield event

    def _limited(self, settings: ModelSettings, tools: Iterable[Any], handoffs: Iterable[Any]) -> ModelSettings:
        """What the model is asked with; no question that offers it a way around the gateway."""
        self.governed.showing((), _leaks(tools, handoffs, self.governed))
        return dataclasses.replace(settings, max_tokens=self.governed.most(settings.max_tokens))

    async def _refuse_strays(self, turn: Turn, tools: Iterable[Any], handoffs: Iterable[Any]) -> None:
        """The SDK keeps calls of tools that it has not to itself: they are sent to the gateway from here."""
        known = {tool.name for tool in tools} | {handoff.tool_name for handoff in handoffs}
        self.strays |= await self.governed.strays(turn, known)

    async def close(self) -> None:
        """See `Model`."""
        if "inner" in self.__dict__:
            await self.inner.close()

    def get_retry_advice(self, request: Any) -> Any:
        """See `Model`."""
        return self.inner.get_retry_advice(request)

    async def _cleanup_on_run_end(self, owner: object) -> None:
        await self.inner._cleanup_on_run_end(owner)


class Gate:
    """One tool, as the SDK invokes it: a call is sent when the SDK asks whether somebody has to approve of it."""

    def __init__(self, governed: Governed, said: str) -> None:
        self.governed, self.said = governed, said
        self.sent: dict[str, Outcome] = {}

    async def send(self, call_id: str, args: Any) -> Outcome:
        """Ask the gateway, and keep what it says for when the SDK wants the result."""
        self.sent[call_id] = outcome = await self.governed.call(self.said, args, call_id)
        return outcome

    async def waits(self, _context: Any, args: dict[str, Any], call_id: str) -> bool:
        """`needs_approval`."""
        return isinstance(await self.send(call_id, args), Pending)

    async def __call__(self, context: Any, text: str) -> str:
        """`on_invoke_tool`."""
        outcome = self.sent.pop(context.tool_call_id, None)
        if outcome is None or isinstance(outcome, Pending):
            outcome = await self.send(context.tool_call_id, arguments_of(text))
        return outcome.text


def bind(
    run: Run, agent: Agent[Any], *, tools: Collection[str] | None = None, max_output_tokens: int | None = None
) -> Agent[Any]:
    """The agent with a metered model and the gateway's tools (`tools`: only these). Raises ConfigError for whatever
    else it could reach the world by: let it pass by the name that the error gives, in the config."""
    if isinstance(agent.model, Metered):
        raise ConfigError(f"agent {agent.name!r} is bound already; bind the one that it was made from")
    governed = Governed(run, "openai_agents", Stop, tools=tools, max_output_tokens=max_output_tokens)
    governed.showing((), [*_others(agent), *_leaks(agent.tools, agent.handoffs, governed)])
    model, settings = Metered(governed, agent.model), agent.model_settings
    ours = [
        FunctionTool(
            offer.said, offer.description, offer.schema, gate, strict_json_schema=False, needs_approval=gate.waits
        )
        for offer, gate in zip(governed.offers.values(), model.gates.values(), strict=True)
    ]
    usage = True if settings.include_usage is None else settings.include_usage  # else a stream of chat tells none
    return agent.clone(
        tools=[*agent.tools, *ours], model=model,
        model_settings=dataclasses.replace(settings, include_usage=usage),
    )


async def drive(
    run: Run, agent: Agent[Any], request: Any = "", *, saved: str | None = None,
    save: Callable[[str], None] | None = None, on_event: Callable[[Any], object] | None = None,
    run_config: RunConfig | None = None, **options: Any,
) -> Result:
    """Run the agent, bound or not, until it is done, is stopped, or waits for people. `saved` goes before `request`.

    `save` is handed what to go on from at a pause. With `on_event` the agent is streamed, and each event of the SDK is
    handed over. `options` go to `Runner.run`. Raises ConfigError.
    """
    bound = agent if isinstance(agent.model, Metered) and agent.model.governed.run is run else bind(run, agent)
    model, config = bound.model, run_config or RunConfig()
    if not isinstance(model, Metered) or config.model is not None:
        raise ConfigError("RunConfig.model would go around the gateway: give the model to the agent, and bind that")
    if "max_turns" in options:
        raise ConfigError("max_turns would count beside the ledger: give the run a budget, max_steps")
    models = _metered(bound, [])
    for each in models:
        each.provider = config.model_provider
    gates = {said: gate for each in models for said, gate in each.gates.items()}
    config = dataclasses.replace(
        config, tool_not_found_behavior="return_error_to_model",
        tool_error_formatter=lambda told: next(filter(None, (each.strays.get(told.call_id) for each in models)), None),
    )

    async def go() -> Ended:
        given = request
        if saved is not None:
            given = await model.governed.saved(saved, partial(RunState.from_json, bound))
        while True:
            if isinstance(given, RunState) and not await _moves(given, model.governed, gates):
                return Ended(saved=model.governed.saving(save, given.to_json()))
            if on_event is None:
                result: Any = await Runner.run(bound, given, max_turns=None, run_config=config, **options)
            else:
                result = Runner.run_streamed(bound, given, max_turns=None, run_config=config, **options)
                async for event in result.stream_events():
                    on_event(event)
            if not result.interruptions:
                return Ended(result.final_output)
            given = result.to_state()

    return await driven(model.governed, go())


async def _moves(state: RunState[Any], governed: Governed, gates: Mapping[str, Gate]) -> bool:
    """Send the calls that wait once more, and approve those of them in the SDK that need not wait. False: all do."""
    items = state.get_interruptions()
    governed.asking(item.name or "" for item in items if item.name not in gates)
    sent = [gates[item.name or ""].send(item.call_id or "", arguments_of(item.arguments or "")) for item in items]
    ready = [not isinstance(outcome, Pending) for outcome in await asyncio.gather(*sent)]
    for item in itertools.compress(items, ready):
        state.approve(item)
    return any(ready)


def _others(agent: Agent[Any]) -> Iterator[str]:
    """By what else than its tools and handoffs an agent could reach the world around the gateway."""
    if type(agent) is not Agent:
        yield type(agent).__name__
    yield from (server.name for server in agent.mcp_servers)
    if agent.prompt is not None:  # it may bring tools of its own
        yield "prompt"


def _leaks(tools: Iterable[Any], handoffs: Iterable[Any], governed: Governed) -> Iterator[str]:
    """What would go around the gateway, of what a model is shown: one's own tools and handoffs, however they came."""
    for tool in tools:
        server = getattr(getattr(tool, "_tool_origin", None), "mcp_server_name", None)
        gate = getattr(tool, "on_invoke_tool", None)
        if getattr(gate, "governed", None) is not governed and server not in governed.ungoverned:
            yield server or tool.name
    for each in handoffs:
        model = getattr(_target(each), "model", None)
        if not isinstance(model, Metered) or model.governed.run is not governed.run:
            yield f"handoff to {each.name if isinstance(each, Agent) else each.agent_name}"


def _target(handoff: Any) -> Any:
    """The agent that is handed over to, where that is known beforehand."""
    return handoff if isinstance(handoff, Agent) else handoff._agent_ref and handoff._agent_ref()


def _metered(agent: Any, found: list[Metered]) -> list[Metered]:
    """The models of the agent, and of all that it could hand over to."""
    if isinstance(agent, Agent) and isinstance(agent.model, Metered) and agent.model not in found:
        found.append(agent.model)
        for each in agent.handoffs:
            _metered(_target(each), found)
    return found
