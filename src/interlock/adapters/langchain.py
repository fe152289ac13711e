"""LangChain agents, on LangGraph: one middleware is both planes, pauses are interrupts.

Not a policy: it translates. Law: the run is bound by closure; resuming an interrupt means only that the gateway is
asked again; `Stop` is a `GraphBubbleUp`, because whatever else is raised is tried again, or made a message, by other
middleware. Ours stands last, nearest to the model and the tools, so that each attempt of theirs is seen.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Collection, Mapping
from functools import partial
from typing import Any, ParamSpec, TypeVar
from weakref import WeakKeyDictionary

from langchain.agents.middleware import AgentMiddleware
from langchain.agents.middleware.types import ModelRequest, ModelResponse
from langchain_core.messages import AIMessage, HumanMessage, ToolMessage
from langchain_core.tools import StructuredTool
from langgraph._internal._serde import build_serde_allowlist
from langgraph.errors import GraphBubbleUp
from langgraph.graph.state import CompiledStateGraph
from langgraph.types import Command, interrupt

from interlock.codecs.langchain import Portable, speaking, turn_of
from interlock.core.outcome import Done, Outcome, Pending
from interlock.core.turn import Turn
from interlock.errors import ConfigError
from interlock.governed import Ended, Governed, Result, driven
from interlock.runs import Run

__all__ = ["Governing", "Stop", "bind", "drive", "speaking", "turn_of"]

P = ParamSpec("P")
T = TypeVar("T")
NEVER = 1_000_000  #: steps of a graph, which our own budgets end long before
WRITTEN = "no JSON"  #: the argument that stands for what a model wrote instead of arguments


class Stop(GraphBubbleUp):
    """Ends a graph, through whatever tries again or handles errors."""

    def __init__(self, reason: str, detail: str = "") -> None:
        super().__init__(f"the run has stopped: {reason} ({detail})")
        self.reason, self.detail = reason, detail


def _plain(method: Callable[P, T]) -> Callable[P, T]:
    """A method that does not look like an `async def`. LangChain hands those to LangSmith's tracer, which looks at each
    call on a thread, before and after, traced or not: a millisecond a turn."""

    def plain(*args: P.args, **kwargs: P.kwargs) -> T:
        return method(*args, **kwargs)

    return plain


class Governing(AgentMiddleware[Any, Any]):
    """The middleware: the model is metered, and every call is the gateway's to answer."""

    def __init__(self, governed: Governed) -> None:
        super().__init__()
        self.governed = governed
        self.before_calls: Callable[[], Awaitable[object]] | None = None

    @_plain
    async def awrap_model_call(
        self, request: ModelRequest[Any], handler: Callable[[ModelRequest[Any]], Awaitable[ModelResponse[Any]]]
    ) -> ModelResponse[Any]:
        """See `AgentMiddleware`."""
        request = self._limited(request)
        with self.governed.turn(_name_of(request.model), request.model_settings.get("max_tokens")) as told:
            response = await handler(request)
            told(self._heard(response))
        return response

    def wrap_model_call(
        self, request: ModelRequest[Any], handler: Callable[[ModelRequest[Any]], ModelResponse[Any]]
    ) -> ModelResponse[Any]:
        """See `AgentMiddleware`."""
        request = self._limited(request)
        with self.governed.turn(_name_of(request.model), request.model_settings.get("max_tokens")) as told:
            response = handler(request)
            told(self._heard(response))
        return response

    def _limited(self, request: ModelRequest[Any]) -> ModelRequest[Any]:
        """What the model is asked; no question that offers it a way around the gateway."""
        bound = getattr(request.model, "kwargs", {}).get("tools") or ()  # by `model.bind(tools=[…])`
        theirs = [each for each in (*request.tools, *bound) if isinstance(each, dict)]
        ours = [_name_of(each) for each in request.tools if not isinstance(each, dict)]
        self.governed.showing(ours, map(_name_of, theirs))
        own = request.model_settings.get("max_tokens") or getattr(request.model, "max_tokens", None)
        most = self.governed.most(own)
        return request if most is None else request.override(
            model_settings={**request.model_settings, "max_tokens": most}
        )

    def _heard(self, response: ModelResponse[Any]) -> Turn:
        """What was said. Calls whose arguments are no JSON are calls too: LangChain would keep them to itself."""
        message = next(each for each in response.result if isinstance(each, AIMessage))
        turn = turn_of(message)
        wrong, message.invalid_tool_calls = message.invalid_tool_calls, []
        for each in wrong:
            args = {WRITTEN: each["args"] or ""}
            message.tool_calls.append({"name": each["name"] or "", "args": args, "id": each["id"], "type": "tool_call"})
        return turn

    @_plain
    async def awrap_tool_call(self, request: Any, handler: Callable[[Any], Awaitable[Any]]) -> Any:
        """See `AgentMiddleware`. After a pause it is entered again, from its beginning."""
        call = request.tool_call
        if call["name"] in self.governed.ungoverned:
            return await handler(request)
        if self.before_calls is not None:
            await self.before_calls()
        while isinstance(outcome := await self.governed.call(call["name"], _args(call), call["id"]), Pending):
            interrupt(_question(call, outcome))
        return _message(call, outcome)

    def wrap_tool_call(self, request: Any, handler: Callable[[Any], Any]) -> Any:
        """See `AgentMiddleware`."""
        call = request.tool_call
        if call["name"] in self.governed.ungoverned:
            return handler(request)
        while isinstance(outcome := self.governed.call_here(call["name"], _args(call), call["id"]), Pending):
            interrupt(_question(call, outcome))
        return _message(call, outcome)


def bind(
    run: Run, agent: Callable[..., Any], *, tools: Collection[str] | None = None, max_output_tokens: int | None = None
) -> CompiledStateGraph[Any, Any, Any, Any]:
    """The graph that `agent` makes, with a metered model and the gateway's tools (`tools`: only these). `agent` is
    `partial(create_agent, model=…, system_prompt=…, …)`, or a function of yours that takes `tools`, `middleware` and
    `checkpointer` and hands them to `create_agent`. Raises ConfigError for other tools; for those that middleware adds,
    when the model would be offered them. Let one pass by the name that the error gives, in the config."""
    if isinstance(agent, CompiledStateGraph):
        raise ConfigError("a graph that is made cannot be bound any more; give what makes it: partial(create_agent, …)")
    own = agent.keywords if isinstance(agent, partial) else {}
    governing = Governing(Governed(run, "langchain", Stop, tools=tools, max_output_tokens=max_output_tokens))
    governing.governed.showing((), map(_name_of, own.get("tools") or ()))
    ours = [
        StructuredTool(
            name=offer.said, description=offer.description, args_schema=offer.schema, func=_never, coroutine=_anever
        )
        for offer in governing.governed.offers.values()
    ]
    graph: CompiledStateGraph[Any, Any, Any, Any] = agent(
        tools=[*(own.get("tools") or ()), *ours], middleware=[*own.get("middleware", ()), governing],
        checkpointer=own.get("checkpointer") or Portable(),
    )
    if isinstance(graph.checkpointer, Portable):
        graph.checkpointer = graph.checkpointer.with_allowlist(build_serde_allowlist(channels=graph.channels))
    _BOUND[graph] = governing
    return graph


async def drive(
    run: Run, agent: Any, request: Any = "", *, saved: str | None = None, save: Callable[[str], None] | None = None,
    on_event: Callable[[Any], object] | None = None, **options: Any,
) -> Result:
    """Run the agent, bound or not, until it is done, is stopped, or waits for people. `saved` goes before `request`.

    With a checkpointer of yours, the run's thread is taken up where that has it, and `saved` is its name alone; without
    one, `saved` holds the checkpoint. `save` is handed it after every model turn, before its calls are made, and at a
    pause. With `on_event` the agent is streamed, and each chunk is handed over as `(mode, chunk)`. `options` go to
    `graph.astream`. Raises ConfigError.
    """
    graph = agent if agent in _BOUND and _BOUND[agent].governed.run is run else bind(run, agent)
    governing, saver = _BOUND[graph], graph.checkpointer
    own, thread = options.pop("config", None) or {}, {"thread_id": f"{run.tenant}/{run.run_id}"}
    config: Any = {"recursion_limit": NEVER, **own, "configurable": {**own.get("configurable", {}), **thread}}

    async def waits() -> str:
        state = await saver.state(config) if isinstance(saver, Portable) else {"configurable": thread}
        return governing.governed.saving(save, state)

    async def go() -> Ended:
        if saved is not None and isinstance(saver, Portable):
            await saver.restore(config, await governing.governed.saved(saved, saver.read))
        state = await graph.aget_state(config)
        governing.governed.asking(_theirs(state))
        given: Any = None if state.next else {"messages": [HumanMessage(request)]}
        if state.interrupts:
            given = Command(resume={each.id: True for each in state.interrupts})
        governing.before_calls = waits if save is not None else None
        modes = ["values"] if on_event is None else ["values", "updates", "messages"]
        stream: Any = graph.astream
        values = state.values
        async for mode, chunk in stream(given, config, stream_mode=modes, durability="sync", **options):
            if mode == "values":
                values = chunk
            elif on_event is not None:
                on_event((mode, chunk))
        state = await graph.aget_state(config)
        if state.interrupts:
            governing.governed.asking(_theirs(state))
            return Ended(saved=await waits())
        return Ended(values.get("structured_response") or values["messages"][-1].text)

    return await driven(governing.governed, go())


_BOUND: WeakKeyDictionary[Any, Governing] = WeakKeyDictionary()


def _name_of(thing: Any) -> str:
    """Of a tool: its name, or the type of one that runs at the provider. Of a model: what it is asked for as."""
    if isinstance(thing, dict):
        return str(thing.get("name") or thing.get("type"))
    said = [getattr(thing, each, None) for each in ("name", "model_name", "model", "__name__")]
    return next((each for each in said if isinstance(each, str)), "")


def _args(call: Mapping[str, Any]) -> Any:
    """What the model wrote: arguments, or the text that is none."""
    return call["args"].get(WRITTEN, call["args"])


def _question(call: Mapping[str, Any], outcome: Outcome) -> dict[str, Any]:
    return {"approval_id": outcome.approval_id, "tool": call["name"], "args": call["args"], "text": outcome.text}


def _theirs(state: Any) -> list[str]:
    """Questions that are not the gateway's."""
    values = [each.value for each in state.interrupts]
    return [f"interrupt {each!r:.80}" for each in values if not isinstance(each, dict) or "approval_id" not in each]


def _message(call: Mapping[str, Any], outcome: Outcome) -> ToolMessage:
    status = "success" if isinstance(outcome, Done) else "error"
    return ToolMessage(outcome.text, tool_call_id=call["id"], name=call["name"], status=status)


def _never(**_args: Any) -> None:
    raise AssertionError("a tool of the gateway was called around it")


async def _anever(**args: Any) -> None:
    _never(**args)
