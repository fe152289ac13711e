"""Scripted models for the tests of agents: what a model would say, written down.

Not a mock of a provider. Law: a script has no memory of its own. Which line comes next is read off the conversation, so
that a run which was paused or killed can be taken up again with the same script in another process.
"""

from __future__ import annotations

from collections.abc import Sequence

from interlock.adapters.plain import Call, Message, Model, Turn
from interlock.core.turn import Usage


def script(*lines: Turn | str | Call | Sequence[Call] | BaseException, usage: Usage | None = None) -> Model:
    """A model for `adapters.plain` that says these lines in turn: a text, a call, several calls, a whole `Turn`, or an
    exception to raise. Raises AssertionError when it is asked for more. `usage` is reported where a line has none."""

    def model(messages: Sequence[Message]) -> Turn:
        place = sum(1 for message in messages if message.role == "assistant")
        if place >= len(lines):
            raise AssertionError(f"the script has {len(lines)} lines, and was asked for one more")
        line = lines[place]
        if isinstance(line, BaseException):
            raise line
        if isinstance(line, Turn):
            return line
        if isinstance(line, str):
            return Turn(line, usage=usage)
        return Turn(calls=(line,) if isinstance(line, Call) else tuple(line), usage=usage)

    return model
