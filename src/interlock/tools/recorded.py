"""Tools that answer from a recorded run, and have no effect.

Not a mock: what they say, a real tool has said. Law: an answer is given once, to the call with the same tool and the
same arguments; where there is none, nothing is made up: the call fails, unless whoever replays has asked for the answer
to the closest call, or for a tool that only reads to be really read.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Literal

import msgspec
from msgspec import Struct

from interlock.core.call import Effect, Tool
from interlock.core.lifecycle import State
from interlock.core.replay import Tape
from interlock.core.trace import TracedCall
from interlock.core.verdict import Reason, Verdict
from interlock.errors import CredentialError, NotDone
from interlock.ports import Invocation, Lost, NotBegun, Performer

OnMiss = Literal["fail", "closest", "live-read"]


class Heard(Struct):
    """What the recorded tools of one replay share."""

    tape: Tape
    on_miss: OnMiss
    came: Callable[[TracedCall, int], None]  #: told of each answer, and by when it has to have come
    misses: list[str]  #: in words

    def answer(self, tool: str, args: Mapping[str, Any]) -> TracedCall | None:
        """The recorded answer, or the closest where that is asked for."""
        found = self.tape.take(tool, args)
        if found is not None:
            return found
        if self.on_miss == "closest":
            found = self.tape.closest(tool, args)
            if found is not None:
                self.misses.append(f"{tool}: answered as the closest recorded call {found.call_id}")
        return found


class RecordedTool:
    """A `ports.Performer` in the place of another."""

    def __init__(self, declared: Tool, performer: Performer, heard: Heard) -> None:
        self._performer = performer
        self._heard = heard
        self._reads = heard.on_miss == "live-read" and declared.effect is Effect.READ

    @property
    def tool(self) -> Tool:
        """What the replaced one says of itself."""
        return self._performer.tool

    @property
    def is_async(self) -> bool:
        """Only where the replaced one may really be read."""
        return self._reads and self._performer.is_async

    def problem(self, args: Mapping[str, Any]) -> str | None:
        """As the replaced one has it."""
        return self._performer.problem(args)

    def perform(self, invocation: Invocation) -> Any:
        """Answer as recorded, or (a read, where that is asked for) as the replaced one answers now."""
        if self.is_async:
            return self._awaited(invocation)
        found = self._found(invocation)
        return self._performer.perform(invocation) if found is None else self._said(found, invocation)

    async def _awaited(self, invocation: Invocation) -> Any:
        found = self._found(invocation)
        if found is not None:
            return self._said(found, invocation)
        ready = getattr(self._performer, "ready", None)
        if ready is not None:
            await ready(invocation)
        return await self._performer.perform(invocation)

    def _found(self, invocation: Invocation) -> TracedCall | None:
        """None: read it now. Raises NotDone where it can neither be answered nor read."""
        name = self._performer.tool.name
        found = self._heard.answer(name, invocation.args)
        if found is None:
            what = "read now" if self._reads else "no answer was recorded for these arguments"
            self._heard.misses.append(f"{name}: {what}")
            if not self._reads:
                raise NotDone(f"{what}, so the replay does not know one")
        return found

    def _said(self, found: TracedCall, invocation: Invocation) -> Any:
        self._heard.came(found, invocation.info.deadline)
        return said(found, self._performer.tool)


def said(found: TracedCall, tool: Tool) -> Any:
    """What the tool returned; or raises what makes the gateway record the same again."""
    if found.state == State.DONE:
        return msgspec.json.decode(found.result)
    if found.told:
        raise CredentialError(found.error)
    if found.state == State.DENIED:  # caught before its effect began
        raise NotBegun(Reason("last_look", Verdict.DENY, found.error), found.error)
    if found.state == State.UNKNOWN:
        raise Lost(found.error)
    if found.usd and not tool.effect.writes:
        raise _as_it_was(found.error)
    raise NotDone(found.error)


def _as_it_was(error: str) -> Exception:
    """An exception that is told in these words: `KindOfError: what it said`."""
    name, colon, words = error.partition(": ")
    if not colon or not name.isidentifier():
        return NotDone(error)
    return type(name, (Exception,), {})(words)  # type: ignore[no-any-return]
