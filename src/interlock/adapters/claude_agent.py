"""Claude Code, by claude-agent-sdk: its tools are an MCP server of ours, its model is asked through a door of ours, a
pause is what its model has said.

Not a policy: it translates. Law: the calls of a turn are sent when the turn is heard, and the program is only told what
they came to; taken up again, it is started anew, hears the same turns, and nothing is done or charged twice. It is
another process: it has no key of the provider's, no tools of its own, and nobody's settings.
"""

from __future__ import annotations

import asyncio
import os
import tempfile
from collections.abc import AsyncGenerator, Callable, Collection, Iterator, Mapping
from contextlib import aclosing
from typing import Any

from claude_agent_sdk import ClaudeAgentOptions
from msgspec.structs import replace

from interlock.codecs.claude_agent import OURS, Agent, api, lived, served, speaking, started
from interlock.codecs.door import Door
from interlock.codecs.messages import streamed, turn_of
from interlock.core.outcome import Done, Pending
from interlock.core.turn import Call, Turn
from interlock.errors import ConfigError, RunStopped
from interlock.governed import Ended, Governed, Result, driven
from interlock.runs import Run

__all__ = ["Agent", "Bound", "Stop", "bind", "drive", "speaking", "turn_of"]

Stop = RunStopped  #: what the door says by a 402; the program is ended beside that
PASSED_ON = ("anthropic-version", "anthropic-beta", "user-agent")


class Bound:
    """An agent in one run of the gateway."""

    def __init__(self, agent: Agent, governed: Governed) -> None:
        self.agent, self.governed = agent, governed
        self.provider = agent.provider or api({**os.environ, **agent.options.env})


class Waits(Exception):
    """All calls of a turn that have no answer wait for people."""


class Session:
    """One life of the program: the door to its model, and the MCP server that it has its tools from."""

    def __init__(self, bound: Bound, request: str, turns: list[str], told: dict[str, Any], save: Any) -> None:
        self.bound, self.governed = bound, bound.governed
        self.request, self.turns, self.told, self._save = request, turns, told, save
        self._again = iter(tuple(turns))  #: said before, to be said again
        self.door = Door(self._said, self._fail)
        self._tasks: set[asyncio.Task[None]] = set()
        self._sent = set(told)
        self._hearing = asyncio.Lock()  #: one turn at a time, and no call before its turn is whole
        loop = asyncio.get_running_loop()
        self.over: asyncio.Future[None] = loop.create_future()  #: fails with what ends the program before it ends
        self._answers: dict[str, asyncio.Future[Any]] = {}
        for call_id, answer in told.items():
            self._answer(call_id).set_result(answer)

    def _answer(self, call_id: str) -> asyncio.Future[Any]:
        return self._answers.setdefault(call_id, asyncio.get_running_loop().create_future())

    @property
    def state(self) -> dict[str, Any]:
        """What to go on from."""
        return {"request": self.request, "turns": self.turns, "told": self.told}

    # --- the model plane ---------------------------------------------------------------------------------------------

    async def _said(self, body: dict[str, Any], headers: Mapping[str, str]) -> AsyncGenerator[bytes, None]:
        """One attempt at the model; or what was said before, once more."""
        known = {str(tool.get("name") or tool["type"]) for tool in body.get("tools") or ()}
        ours = {each for each in known if each.startswith(OURS)}
        self.governed.showing([each.removeprefix(OURS) for each in ours], known - ours)
        async with self._hearing:
            again = next(self._again, None) if known else None
            if again is not None:
                yield again.encode()
                self._perform(turn_of(streamed(again)), known)
                return
            async with aclosing(self._asked_anew(body, headers, known)) as parts:
                async for part in parts:
                    yield part

    async def _asked_anew(
        self, body: dict[str, Any], headers: Mapping[str, str], known: Collection[str]
    ) -> AsyncGenerator[bytes, None]:
        most, parts = self.governed.most(body["max_tokens"]), []
        with self.governed.turn(body["model"], most) as told:
            passed = {name: headers[name] for name in PASSED_ON if name in headers}
            async for part in self.bound.provider({**body, "max_tokens": most}, passed):
                parts.append(part)
                yield part
            text = b"".join(parts).decode()
            message = streamed(text)
            turn = turn_of(message)
            ours = [replace(call, name=call.name.removeprefix(OURS)) for call in turn.calls]
            told(replace(turn, calls=tuple(ours)))
        if known:
            self.turns.append(text)
        if message.get("stop_reason") == "tool_use":
            for call in turn.calls:  # a model may number the calls of every turn anew
                self.told.pop(call.id, None)
                self._answers.pop(call.id, None)
            self.governed.saving(self._save, self.state)
            self._perform(turn, known)

    # --- the tool plane ----------------------------------------------------------------------------------------------

    def _perform(self, turn: Turn, known: Collection[str] = ()) -> None:
        self._sent |= {call.id for call in turn.calls}
        task = asyncio.create_task(self._performed(turn, known))
        self._tasks.add(task)
        task.add_done_callback(lambda done: self._fail(None if done.cancelled() else done.exception()))

    async def _performed(self, turn: Turn, known: Collection[str]) -> None:
        """Send the calls of a turn, but for those that the program's own tools answer."""
        owed = [call for call in turn.calls if call.name.startswith(OURS) or call.name not in known]
        owed = [call for call in owed if call.id and call.id not in self.told]  # without an id the program makes none
        while owed:
            sends = [self.governed.call(call.name.removeprefix(OURS), call.raw or call.args, call.id) for call in owed]
            outcomes = await asyncio.gather(*sends)
            for call, outcome in zip(owed, outcomes, strict=True):
                if not isinstance(outcome, Pending) and call.id not in self.told:
                    self.told[call.id] = [outcome.text, isinstance(outcome, Done)]
                    self._answer(call.id).set_result(self.told[call.id])
            waiting = [call for call in owed if call.id not in self.told]
            if len(waiting) == len(owed):
                raise Waits
            owed = waiting  # sent once more, so that what the ledger heard last is that the run waits

    def _fail(self, error: BaseException | None) -> None:
        if error is not None and not self.over.done():
            self.door.shut = True
            self.over.set_exception(error)

    async def ended(self) -> None:
        """Nothing is asked or sent any more."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def called(self, name: str, args: dict[str, Any], call_id: str) -> tuple[str, bool]:
        """What a call came to that the program makes, and whether it was done."""
        async with self._hearing:
            if call_id not in self._sent:  # of a turn that was cut short, and is gone on with nevertheless
                self._perform(Turn(calls=(Call(name, args, call_id),)))
        text, done = await self._answer(call_id)
        return text, done


def bind(
    run: Run, agent: Agent, *, tools: Collection[str] | None = None, max_output_tokens: int | None = None
) -> Bound:
    """The agent with the gateway's tools (`tools`: only these). Raises ConfigError for whatever else it could reach the
    world by: let it pass by the name that the error gives, in the config. Raises it, too, for whoever would
    be asked too late: a call was sent before the program asks whether it may."""
    options = agent.options
    governed = Governed(run, "claude_agent", Stop, tools=tools, max_output_tokens=max_output_tokens)
    governed.showing((), _leaks(options))
    late = [name for name in ("can_use_tool", "permission_prompt_tool_name") if getattr(options, name)]
    late += [f"hook {name}" for name in options.hooks or () if name in ("PreToolUse", "PermissionRequest")]
    if late:
        raise ConfigError(f"{', '.join(late)} would be asked when the gateway has performed already: make it a policy")
    if options.resume or options.continue_conversation:
        raise ConfigError("resume and continue_conversation know nothing of the run: go on with drive(…, saved=…)")
    return Bound(agent, governed)


async def drive(
    run: Run, agent: Agent | Bound, request: str = "", *, saved: str | None = None,
    save: Callable[[str], None] | None = None, on_event: Callable[[Any], object] | None = None,
) -> Result:
    """Run the agent, bound or not, until it is done, is stopped, or waits for people. `saved` goes before `request`.

    `save` is handed what to go on from after every model turn, before its calls are made, and at a pause. `on_event` is
    handed each message of the SDK, parts of answers among them. Raises ConfigError.
    """
    bound = agent if isinstance(agent, Bound) else bind(run, agent)
    if bound.governed.run is not run:
        raise ConfigError(f"the agent is bound to {bound.governed.run!r} already; bind the one that it was made from")

    async def go() -> Ended:
        said: dict[str, Any] = {"request": request, "turns": [], "told": {}}
        if saved is not None:
            said = await bound.governed.saved(saved, _read)
        session = Session(bound, save=save, **said)
        with tempfile.TemporaryDirectory(prefix="interlock-") as home:
            async with session.door.open() as url:
                server = served(bound.governed.offers.values(), session.called)
                options = started(bound.agent.options, server, url, session.door.key, home)
                lives = asyncio.create_task(lived(options, session.request, on_event))
                try:
                    await asyncio.wait({lives, session.over}, return_when=asyncio.FIRST_COMPLETED)
                finally:
                    session.door.shut = True
                    lives.cancel()
                    await asyncio.gather(lives, return_exceptions=True)
                    await session.ended()
        try:
            return Ended(session.over.result() if session.over.done() else lives.result())
        except Waits:
            return Ended(saved=bound.governed.saving(save, session.state))

    return await driven(bound.governed, go())


def _leaks(options: ClaudeAgentOptions) -> Iterator[str]:
    """By what else than the gateway the program could reach the world."""
    yield from options.tools if isinstance(options.tools, list) else ["tools"] if options.tools else []
    yield from options.mcp_servers if isinstance(options.mcp_servers, dict) else [str(options.mcp_servers)]
    yield from (f"agent {name}" for name in options.agents or ())
    yield from (f"plugin {plugin['path']}" for plugin in options.plugins)
    yield from (f"--{name}" for name in options.extra_args)
    yield from (name for name in options.env if name.startswith("CLAUDE_CODE_USE_"))
    yield from (name for name in ("settings", "setting_sources", "skills", "fallback_model") if getattr(options, name))


def _read(state: Any) -> dict[str, Any]:
    for text in state["turns"]:
        turn_of(streamed(text))
    return {"request": str(state["request"]), "turns": [*state["turns"]], "told": {**state["told"]}}
