"""Microsoft's Agent Framework: two middlewares, one for each plane; pauses are its own approval requests.

Not a policy: it translates. Law: the run is bound by closure; a native approval means only that the gateway is asked
again; `Stop` is a `MiddlewareFailure`, because whatever else a tool or a middleware raises becomes a result, and the
run goes on.
"""

from __future__ import annotations

import copy
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Collection, Mapping
from typing import Any

from agent_framework import (
    Agent,
    AgentSession,
    ChatContext,
    ChatMiddleware,
    ChatResponse,
    ChatResponseUpdate,
    Content,
    FunctionInvocationContext,
    FunctionMiddleware,
    FunctionTool,
    Message,
    MiddlewareFailure,
    ResponseStream,
)

from interlock.codecs.agent_framework import calls_of, speaking, turn_of
from interlock.core.outcome import Pending
from interlock.core.turn import Turn
from interlock.errors import ConfigError
from interlock.governed import Ended, Governed, Result, arguments_of, driven
from interlock.runs import Run

__all__ = ["Gate", "Metering", "Stop", "bind", "drive", "speaking", "turn_of"]

NEVER = 1_000_000  #: rounds and errors, which our own budgets end long before
LIMITS = {
    "max_iterations": NEVER, "max_consecutive_errors_per_request": NEVER, "max_function_calls": None,
    "max_duration_seconds": None, "terminate_on_unknown_calls": False,
}


class Stop(MiddlewareFailure):
    """Ends a run of the framework."""

    def __init__(self, reason: str, detail: str = "") -> None:
        super().__init__(f"the run has stopped: {reason} ({detail})")
        self.reason, self.detail = reason, detail


class Metering(ChatMiddleware):
    """The model is metered, and what it wrote is remembered for the gate."""

    def __init__(self, governed: Governed) -> None:
        self.governed = governed
        self.written: dict[str, Any] = {}  #: arguments as the model wrote them, by the call's id
        self.strays: dict[str, str] = {}  #: what to say of calls that the agent has no tool for

    async def process(self, context: ChatContext, call_next: Callable[[], Awaitable[None]]) -> None:
        """See `ChatMiddleware`."""
        options = dict(context.options or {})
        known = {_name_of(tool): tool for tool in options.get("tools") or ()}
        theirs = {name for name, tool in known.items() if isinstance(tool, Mapping)}  # run at the provider
        self.governed.showing(set(known) - theirs, theirs)
        most = self.governed.most(options.get("max_tokens"))
        context.options = options if most is None else {**options, "max_tokens": most}
        for content in (each for message in context.messages for each in message.contents):
            if content.type == "function_result" and content.call_id in self.strays:
                content.result = self.strays[content.call_id]
        model = str(options.get("model") or getattr(context.client, "model", None) or "")
        if context.stream:
            await call_next()
            inner: Any = context.result
            context.result = ResponseStream(
                self._streamed(inner, model, most, known), finalizer=lambda _updates: inner.get_final_response()
            )
            return
        with self.governed.turn(model, most) as told:
            await call_next()
            response: Any = context.result
            turn = turn_of(response)
            told(turn)
        await self._heard(response, turn, known)

    async def _streamed(
        self, inner: Any, model: str, most: int | None, known: Mapping[str, Any]
    ) -> AsyncIterator[ChatResponseUpdate]:
        with self.governed.turn(model, most) as told:
            async for update in inner:
                yield update
            response = await inner.get_final_response()
            turn = turn_of(response)
            told(turn)
        await self._heard(response, turn, known)

    async def _heard(self, response: ChatResponse[Any], turn: Turn, known: Mapping[str, Any]) -> None:
        calls = calls_of(response)
        once = Counter(each.call_id for each in calls)
        self.written |= {each.call_id: each.arguments for each in calls if each.call_id and once[each.call_id] == 1}
        self.strays |= await self.governed.strays(turn, known)


class Gate(FunctionMiddleware):
    """The gateway's tools are answered by the gateway."""

    def __init__(self, metering: Metering) -> None:
        self.governed, self.written = metering.governed, metering.written

    async def process(self, context: FunctionInvocationContext, call_next: Callable[[], Awaitable[None]]) -> None:
        """See `FunctionMiddleware`."""
        name, call_id = context.function.name, str(context.metadata["call_id"])
        if name in self.governed.ungoverned:
            await call_next()
            return
        approved = context.metadata.get("approval_response")
        written = self.written.get(call_id, context.arguments)  # where the model gave no id, as they were read
        written = written if approved is None else approved.function_call.arguments
        args = arguments_of(written) if isinstance(written, str) else dict(written or {})
        outcome = await self.governed.call(name, args, call_id)
        if isinstance(outcome, Pending):
            occurrence = str(context.metadata.get("function_call_occurrence_id") or call_id)
            call = Content.from_function_call(call_id, name, arguments=written, id=occurrence)
            context.result = Content.from_function_approval_request(occurrence, call)
        else:
            context.result = outcome.text


def bind(
    run: Run, agent: Agent[Any], *, tools: Collection[str] | None = None, max_output_tokens: int | None = None
) -> Agent[Any]:
    """The agent with a metered model and the gateway's tools (`tools`: only these). Raises ConfigError for other tools,
    MCP servers among them; for those that a context provider adds, when the model would be offered them. Let one pass
    by the name that the error gives, in the config."""
    if not isinstance(agent, Agent):
        raise ConfigError(f"{type(agent).__name__} cannot be bound: only what is an Agent of agent_framework can")
    if _metering(agent) is not None:
        raise ConfigError(f"agent {agent.name!r} is bound already; bind the one that it was made from")
    own = agent.default_options.get("tools") or []
    governed = Governed(run, "agent_framework", Stop, tools=tools, max_output_tokens=max_output_tokens)
    governed.showing((), [*map(_name_of, own), *(server.name for server in agent.mcp_tools)])
    metering = Metering(governed)
    ours = [
        FunctionTool(name=offer.said, description=offer.description, func=_never, input_model=offer.schema)
        for offer in governed.offers.values()
    ]
    bound, client = copy.copy(agent), copy.copy(agent.client)
    config = getattr(client, "function_invocation_configuration", None)
    if config is None:
        raise ConfigError(f"{type(client).__name__} invokes no functions; give the agent a client that does")
    client.function_invocation_configuration = {**config, **LIMITS}  # type: ignore[attr-defined]
    bound.client = client
    bound.default_options = {**agent.default_options, "tools": [*own, *ours]}
    bound.middleware = [*(agent.middleware or ()), metering, Gate(metering)]
    return bound


async def drive(
    run: Run, agent: Agent[Any], request: Any = "", *, saved: str | None = None,
    save: Callable[[str], None] | None = None, on_event: Callable[[Any], object] | None = None,
    session: AgentSession | None = None, **options: Any,
) -> Result:
    """Run the agent, bound or not, until it is done, is stopped, or waits for people. `saved` goes before `request`.

    `save` is handed the session and its approval requests at a pause. With `on_event` the agent is streamed, and each
    update is handed over. `options` go to `agent.run`. Raises ConfigError.
    """
    metering = _metering(agent)
    bound = agent if metering is not None and metering.governed.run is run else bind(run, agent)
    governed = next(each.governed for each in bound.middleware or () if isinstance(each, Metering))
    bound = copy.copy(bound)
    bound.middleware = [*(options.pop("middleware", None) or ()), *(bound.middleware or ())]  # ours is nearest

    async def go() -> Ended:
        place, given = session or bound.create_session(), request
        if saved is not None:
            place, given = await governed.saved(saved, _read)
        start: Any = bound.run
        result = start(given, session=place, stream=on_event is not None, **options)
        if on_event is not None:
            async for update in result:
                on_event(update)
            result = result.get_final_response()
        response = await result
        if not response.user_input_requests:
            return Ended(response.value if response.value is not None else response.text)
        governed.asking({each.function_call.name for each in response.user_input_requests} & governed.ungoverned)
        asked = [each.to_dict() for each in response.user_input_requests]
        return Ended(saved=governed.saving(save, {"session": place.to_dict(), "asked": asked}))

    return await driven(governed, go())


def _metering(agent: Agent[Any]) -> Metering | None:
    return next((each for each in agent.middleware or () if isinstance(each, Metering)), None)


def _read(state: Any) -> tuple[AgentSession, Message]:
    """The session, and a yes to all that was asked, which sends it to the gateway once more."""
    asked = [Content.from_dict(each) for each in state["asked"]]
    yes = Message("user", [each.to_function_approval_response(approved=True) for each in asked])
    return AgentSession.from_dict(state["session"]), yes


def _name_of(tool: Any) -> str:
    """The name of a tool, or the type of one that runs at the provider."""
    if isinstance(tool, Mapping):
        function = tool.get("function")
        return str(function["name"] if isinstance(function, Mapping) else tool.get("name") or tool.get("type"))
    return str(getattr(tool, "name", None) or getattr(tool, "__name__", None) or type(tool).__name__)


async def _never(**_args: Any) -> None:
    raise AssertionError("a tool of the gateway was called around it")
