"""The tool runner of the Anthropic SDK: a middleware of its client is the model plane, the calls of a turn are answered
by the gateway, a pause is the conversation.

Not a policy: it translates. Law: the SDK is given definitions of tools, and nothing of ours that it could run; each of
its attempts at the API is a step; a runner whose calls wait for people ends like one that is done: look at `waits`.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Collection, Iterator, Mapping, Sequence
from contextlib import ExitStack
from typing import Any

from anthropic import APIRequest, AsyncAPIResponse
from anthropic.lib.tools import ToolError

from interlock.codecs.anthropic import Agent, speaking
from interlock.codecs.messages import Gathered, turn_of
from interlock.core.outcome import Done, Pending
from interlock.core.turn import Call, Turn
from interlock.errors import ConfigError, RunStopped
from interlock.governed import Ended, Governed, Result, driven
from interlock.runs import Run

__all__ = ["Agent", "Bound", "Stop", "bind", "drive", "speaking", "turn_of"]

Stop = RunStopped  #: what ends a run here: any exception that no tool raises
OURS = ("max_iterations", "run_tools_eagerly")  #: a limit beside the ledger; calls before their turn is whole


class Bound:
    """An agent in one run of the gateway. It has one runner at a time."""

    def __init__(self, agent: Agent, governed: Governed) -> None:
        self.agent, self.governed = agent, governed
        self._given = list(agent.settings.get("tools") or ())
        self._own = {tool.name: tool for tool in self._given if hasattr(tool, "call")}
        self.turn = Turn()  #: what the model said last
        self.told: dict[str, Any] = {}  #: what its calls came to so far, as the model is told it
        self.messages: list[Any] = []  #: the conversation up to there
        self.waits = False  #: its calls wait for people

    def runner(self, messages: Sequence[Any], *, stream: bool = False) -> Any:
        """The SDK's own runner over a conversation: `async for message in bound.runner([…])`."""
        ours = [
            {"name": offer.said, "description": offer.description, "input_schema": offer.schema}
            for offer in self.governed.offers.values()
        ]
        settings = {name: value for name, value in self.agent.settings.items() if name not in OURS}
        client = self.agent.client.copy(middleware=[self._metered, *self.agent.client.middleware])
        make: Any = client.beta.messages.tool_runner
        runner = make(messages=list(messages), stream=stream, **{**settings, "tools": [*self._given, *ours]})
        runner.generate_tool_call_response = self.answer  # the SDK's own would run tools
        self.messages, self.waits = list(messages), False
        return runner

    async def _metered(self, request: APIRequest, call_next: Callable[[APIRequest], Awaitable[Any]]) -> Any:
        """One attempt at the API."""
        body: Any = request.json
        self.governed.showing(_functions(body), _leaks(body))
        most = self.governed.most(body["max_tokens"])
        with ExitStack() as step:
            told = step.enter_context(self.governed.turn(body["model"], most))

            def hear(message: Mapping[str, Any]) -> None:
                self.turn, self.told = turn_of(message), {}
                told(self.turn)

            if most != body["max_tokens"]:
                request = request.copy(body={**body, "max_tokens": most})
            response = await call_next(request)
            if isinstance(response, AsyncAPIResponse) and response.status_code >= 400:
                told.refused()
                return response
            answer = await response.parse() if isinstance(response, AsyncAPIResponse) else response
            if body.get("stream"):
                return Heard(answer, hear, step.pop_all())
            hear(answer.to_dict(warnings=False))
            return response

    async def answer(self) -> dict[str, Any] | None:
        """The message that answers the calls of the last turn. None where it has none, or all that are left wait."""
        owed = [call for call in self.turn.calls if call.id not in self.told]
        while owed:
            answers = await asyncio.gather(*(self._answered(call) for call in owed))
            self.told |= {answer["tool_use_id"]: answer for answer in answers if answer is not None}
            waiting = [call for call in owed if call.id not in self.told]
            if len(waiting) == len(owed):
                self.waits = True
                return None
            owed = waiting  # sent once more, so that what the ledger heard last is that the run waits
        if not self.turn.calls:
            return None
        self.messages.append({"role": "user", "content": [self.told[call.id] for call in self.turn.calls]})
        return self.messages[-1]  # type: ignore[no-any-return]

    async def _answered(self, call: Call) -> dict[str, Any] | None:
        """What one call came to; None where it waits."""
        own = self._own.get(call.name)
        content: Any
        if own is None:
            outcome = await self.governed.call(call.name, call.raw or call.args, call.id)
            if isinstance(outcome, Pending):
                return None
            content, failed = outcome.text, not isinstance(outcome, Done)
        else:
            try:
                content, failed = await own.call(dict(call.args)), False
            except Exception as error:  # told as the SDK tells it
                content, failed = error.content if isinstance(error, ToolError) else repr(error), True
        return {"type": "tool_result", "tool_use_id": call.id, "content": content, "is_error": failed}


class Heard:
    """The events of a streamed answer, on their way to the SDK. Its step ends with them, or when it is left."""

    def __init__(self, stream: Any, hear: Callable[[Mapping[str, Any]], None], step: ExitStack) -> None:
        self._stream, self._hear, self._step = stream, hear, step
        self.response = stream.response

    async def __aiter__(self) -> AsyncIterator[Any]:
        gathered = Gathered()
        with self._step:
            async for event in self._stream:
                gathered.take(event.to_dict(warnings=False))
                if gathered.whole:
                    self._hear(gathered.message)
                yield event

    async def close(self) -> None:
        """See `AsyncStream`."""
        with self._step:
            await self._stream.close()


def bind(
    run: Run, agent: Agent, *, tools: Collection[str] | None = None, max_output_tokens: int | None = None
) -> Bound:
    """The agent with a metered client and the gateway's tools (`tools`: only these). Raises ConfigError for whatever
    else it could reach the world by: let it pass by the name that the error gives, in the config."""
    given = [tool.to_dict() if hasattr(tool, "to_dict") else tool for tool in agent.settings.get("tools") or ()]
    governed = Governed(run, "anthropic", Stop, tools=tools, max_output_tokens=max_output_tokens)
    asked = {**agent.settings, "tools": given}
    governed.showing((), [*_functions(asked), *_leaks(asked)])
    return Bound(agent, governed)


async def drive(
    run: Run, agent: Agent | Bound, request: Any = "", *, saved: str | None = None,
    save: Callable[[str], None] | None = None, on_event: Callable[[Any], object] | None = None,
) -> Result:
    """Run the agent, bound or not, until it is done, is stopped, or waits for people. `saved` goes before `request`,
    which is a text or a list of messages.

    `save` is handed the conversation after every model turn, before its calls are made, and at a pause. With `on_event`
    answers are streamed, and each event of the SDK is handed over. Raises ConfigError.
    """
    bound = Bound(agent.agent, agent.governed) if isinstance(agent, Bound) else bind(run, agent)  # its own runner
    if bound.governed.run is not run:
        raise ConfigError(f"the agent is bound to {bound.governed.run!r} already; bind the one that it was made from")

    async def go() -> Ended:
        messages = [{"role": "user", "content": request}] if isinstance(request, str) else request
        if saved is not None:
            messages, told = await bound.governed.saved(saved, _read)
            bound.messages, bound.turn, bound.told = messages, turn_of(messages[-1]), told
            if await bound.answer() is None:
                return Ended(saved=bound.governed.saving(save, _state(bound)))
        runner = bound.runner(messages, stream=on_event is not None)
        message: Any = None
        try:
            async for said in runner:
                if on_event is not None:
                    async for event in said:
                        on_event(event)
                message = said if on_event is None else await said.get_final_message()
                bound.messages.append({"role": "assistant", "content": [_kept(block) for block in message.content]})
                if save is not None and bound.turn.calls:
                    bound.governed.saving(save, _state(bound))
        finally:
            await runner.close()
        if bound.waits:
            return Ended(saved=bound.governed.saving(save, _state(bound)))
        return Ended(message.parsed_output if "output_format" in bound.agent.settings else bound.turn.text)

    return await driven(bound.governed, go())


def _functions(asked: Mapping[str, Any]) -> list[str]:
    """The tools of a request that come back as calls."""
    return [str(tool["name"]) for tool in asked.get("tools") or () if "input_schema" in tool]


def _leaks(asked: Mapping[str, Any]) -> Iterator[str]:
    """By what else a request could reach the world: what runs at the provider, or is added on the way."""
    theirs = [tool for tool in asked.get("tools") or () if "input_schema" not in tool]
    yield from (str(tool.get("name") or tool.get("mcp_server_name") or tool["type"]) for tool in theirs)
    yield from (str(server["name"]) for server in asked.get("mcp_servers") or ())
    if asked.get("container"):
        yield "container"
    for message in asked.get("messages") or ():  # tools may be added on the way
        blocks = message["content"] if message["role"] == "system" and not isinstance(message["content"], str) else ()
        for tool in (block["tool"] for block in blocks if block["type"] == "tool_addition"):
            yield str(tool.get("name") or tool.get("definition", {}).get("name") or tool["type"])


def _kept(block: Any) -> dict[str, Any]:
    """A part of an answer, as it may be sent back."""
    parts: dict[str, Any] = block.to_dict(mode="json", warnings=False)
    return {name: part for name, part in parts.items() if name != "parsed_output"}


def _state(bound: Bound) -> dict[str, Any]:
    return {"messages": bound.messages, "told": bound.told}


def _read(state: Any) -> tuple[list[Any], dict[str, Any]]:
    turn_of(state["messages"][-1])
    return state["messages"], {**state["told"]}
