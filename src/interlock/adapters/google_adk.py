"""Google's Agent Development Kit: the model as `BaseLlm`, tools behind a callback, pauses as its tool confirmations.

Not a policy: it translates. Law: the run is bound by closure; a confirmation means only that the gateway is asked
again. Any exception ends a run here, wrapped or not: that of a stop is told by the latch.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Callable, Collection, Iterator
from typing import Any

from google.adk.agents import BaseAgent, LlmAgent, LoopAgent, ParallelAgent, RunConfig, SequentialAgent
from google.adk.agents._streaming_mode import StreamingMode
from google.adk.apps import App
from google.adk.events.event import Event
from google.adk.models.base_llm import BaseLlm
from google.adk.models.llm_request import LlmRequest
from google.adk.models.llm_response import LlmResponse
from google.adk.plugins.base_plugin import BasePlugin
from google.adk.runners import Runner
from google.adk.sessions import BaseSessionService, InMemorySessionService
from google.adk.tools.base_tool import BaseTool
from google.genai import types

from interlock.codecs.google_adk import speaking, turn_of
from interlock.core.outcome import Done, Pending
from interlock.errors import ConfigError, RunStopped
from interlock.governed import Ended, Governed, Offer, Result, driven
from interlock.runs import Run

__all__ = ["Gate", "Metered", "Stop", "bind", "drive", "speaking", "turn_of"]

Stop = RunStopped  #: what ends a run here: any exception does
APP = "interlock"
CONFIRM = "adk_request_confirmation"  #: the kit's own name for its question
OWN = frozenset({"transfer_to_agent", "set_model_response"})  #: its own tools: among agents that are all bound; the end


class Metered(BaseLlm):
    """A model whose turns are steps of the run."""

    inner: Any
    governed: Any

    @property
    def capabilities(self) -> Any:
        """See `BaseLlm`."""
        return self.inner.capabilities

    async def generate_content_async(
        self, llm_request: LlmRequest, stream: bool = False
    ) -> AsyncGenerator[LlmResponse, None]:
        """See `BaseLlm`."""
        config = llm_request.config
        tools = [tool for tool in config.tools or () if isinstance(tool, types.Tool)]
        functions = {each.name or "" for tool in tools for each in tool.function_declarations or ()}
        self.governed.showing(functions - OWN, {kind for tool in tools for kind in _elsewhere(tool)})
        config.max_output_tokens = self.governed.most(config.max_output_tokens)
        with self.governed.turn(self.model, config.max_output_tokens) as told:
            whole = []  # a turn may come in several: the text, and then the calls
            async for response in self.inner.generate_content_async(llm_request, stream):
                if response.partial:
                    yield response
                else:
                    whole.append(response)
            if whole and not any(response.error_code for response in whole):
                told(turn_of(*whole))
            for response in whole:
                yield response


class Tool(BaseTool):
    """A tool of the gateway, as the kit declares it. It is answered before it is run."""

    def __init__(self, offer: Offer) -> None:
        super().__init__(name=offer.said, description=offer.description)
        self._schema = offer.schema

    def _get_declaration(self) -> types.FunctionDeclaration:
        return types.FunctionDeclaration(
            name=self.name, description=self.description, parameters_json_schema=self._schema
        )

    async def run_async(self, *, args: dict[str, Any], tool_context: Any) -> Any:  # noqa: ARG002
        """Never."""
        raise AssertionError("a tool of the gateway was called around it")


class Gate:
    """The callback that answers every call in the tools' stead, those of tools that do not exist among them."""

    def __init__(self, governed: Governed) -> None:
        self.governed = governed

    async def __call__(self, tool: BaseTool, args: dict[str, Any], tool_context: Any) -> dict[str, Any] | None:
        """`before_tool_callback`. After a pause it is asked again, from its beginning."""
        if tool.name in self.governed.ungoverned | OWN:
            return None
        outcome = await self.governed.call(tool.name, args, tool_context.function_call_id)
        if isinstance(outcome, Pending):
            tool_context.request_confirmation(hint=outcome.text, payload={"approval_id": outcome.approval_id})
            tool_context.actions.skip_summarization = True  # else the model is asked what to make of it
        return {"result" if isinstance(outcome, Done) else "error": outcome.text}


def bind(
    run: Run, agent: BaseAgent, *, tools: Collection[str] | None = None, max_output_tokens: int | None = None
) -> BaseAgent:
    """The agent, and those below it, with metered models and the gateway's tools (`tools`: only these). Raises
    ConfigError for other tools, code executors and agents of other kinds; for what plugins add, when the model would be
    offered it. Let one pass by the name that the error gives, in the config."""
    if any(isinstance(each, Metered) for each in _models(agent)):
        raise ConfigError(f"agent {agent.name!r} is bound already, or a part of it is; bind what it was made from")
    governed = Governed(run, "google_adk", tools=tools, max_output_tokens=max_output_tokens)
    governed.showing((), _leaks(agent))
    return _bound(agent, governed)


def _bound(agent: BaseAgent, governed: Governed) -> BaseAgent:
    below = [_bound(each, governed) for each in agent.sub_agents]
    if not isinstance(agent, LlmAgent):
        return agent.clone({"sub_agents": below}) if below else agent.clone()
    model, own = agent.canonical_model, agent.before_tool_callback or []
    return agent.clone({
        "sub_agents": below,
        "model": Metered(model=model.model, inner=model, governed=governed),
        "tools": [*agent.tools, *map(Tool, governed.offers.values())],
        "before_tool_callback": [*(own if isinstance(own, list) else [own]), Gate(governed)],
    })


async def drive(
    run: Run, agent: BaseAgent, request: Any = "", *, saved: str | None = None,
    save: Callable[[str], None] | None = None, on_event: Callable[[Event], object] | None = None,
    session_service: BaseSessionService | None = None, run_config: RunConfig | None = None,
    plugins: Collection[BasePlugin] = (), **options: Any,
) -> Result:
    """Run the agent, bound or not, until it is done, is stopped, or waits for people. `saved` goes before `request`.

    `save` is handed the session's events at a pause. With `on_event` the agent is streamed, and each event is handed
    over. `options` (`artifact_service`, …) go to `Runner`. Raises ConfigError.
    """
    models = _models(agent)
    whole = bool(models) and all(isinstance(each, Metered) and each.governed.run is run for each in models)
    bound = agent if whole else bind(run, agent)
    governed = next((each.governed for each in _models(bound)), None) or Governed(run, "google_adk")
    service = session_service or InMemorySessionService()
    config = run_config or RunConfig(streaming_mode=StreamingMode.SSE if on_event else StreamingMode.NONE)
    config = config.model_copy(update={"max_llm_calls": 0})

    async def go() -> Ended:
        who: Any = {"app_name": APP, "user_id": run.tenant, "session_id": run.run_id}
        session = await service.get_session(**who) or await service.create_session(**who)
        if saved is not None:
            for event in await governed.saved(saved, _read):
                if event.id not in {each.id for each in session.events}:
                    await service.append_event(session, event)
        asked, output = _asked(governed, session.events), None
        if not await _waiting(governed, asked):
            parts = [_yes(call) for call in asked] or [types.Part(text=str(request))]
            app = App(name=APP, root_agent=bound, plugins=list(plugins))
            runner: Any = Runner(app=app, session_service=service, **options)
            async for event in runner.run_async(
                user_id=run.tenant, session_id=run.run_id, run_config=config,
                new_message=types.Content(role="user", parts=parts),
            ):
                if on_event is not None:
                    on_event(event)
                if event.is_final_response() and event.content and not event.partial:
                    output = "".join(part.text or "" for part in event.content.parts or ())
            session = await service.get_session(**who) or session
            asked = _asked(governed, session.events)
        if not asked:
            return Ended(output)
        events = [event.model_dump(mode="json", exclude_none=True, by_alias=True) for event in session.events]
        return Ended(saved=governed.saving(save, events))

    return await driven(governed, go())


def _models(agent: BaseAgent) -> list[Any]:
    """What the agents ask, all of them."""
    own = [agent.model] if isinstance(agent, LlmAgent) else []
    return [*own, *(model for each in agent.sub_agents for model in _models(each))]


def _read(state: Any) -> list[Event]:
    if not state:
        raise ValueError("there is no event in it")
    return [Event.model_validate(each) for each in state]


def _asked(governed: Governed, events: list[Event]) -> list[types.FunctionCall]:
    """The kit's own questions that have no answer yet. Raises ConfigError where one is not of the gateway's."""
    answered = {each.id for event in events for each in event.get_function_responses()}
    calls = [each for event in events for each in event.get_function_calls() if each.name == CONFIRM]
    asked = [each for each in calls if each.id not in answered]
    governed.asking({_call(each)["name"] for each in asked} & governed.ungoverned)
    return asked


def _call(asked: types.FunctionCall) -> Any:
    """The call that a question is about."""
    return (asked.args or {})["originalFunctionCall"]


async def _waiting(governed: Governed, asked: list[types.FunctionCall]) -> bool:
    """Send the calls that wait once more. True where one of them waits on: answering a part of the questions would have
    the kit ask its model before the others are answered."""
    calls = [_call(each) for each in asked]
    sent = [governed.call(call["name"], call.get("args") or {}, call["id"]) for call in calls]
    return any(isinstance(outcome, Pending) for outcome in await asyncio.gather(*sent))


def _yes(call: types.FunctionCall) -> types.Part:
    return types.Part(
        function_response=types.FunctionResponse(id=call.id, name=CONFIRM, response={"confirmed": True})
    )


def _elsewhere(tool: types.Tool) -> list[str]:
    """The kinds of what runs at the provider."""
    return [kind for kind, value in tool if kind != "function_declarations" and value is not None]


def _leaks(agent: BaseAgent) -> Iterator[str]:
    """By what else than the gateway the agents could reach the world."""
    if isinstance(agent, LlmAgent):
        for tool in agent.tools:
            yield str(getattr(tool, "name", None) or getattr(tool, "__name__", type(tool).__name__))
        if agent.code_executor is not None:
            yield type(agent.code_executor).__name__
    elif type(agent) not in (SequentialAgent, LoopAgent, ParallelAgent):
        yield f"{type(agent).__name__} {agent.name}"
    for each in agent.sub_agents:
        yield from _leaks(each)
