"""The smallest honest agent loop: a model function in, a report out, both planes governed.

Not a framework: no prompts, no streaming, no retries. Law: every call goes through `run.call` under the id that the
conversation has for it, and the conversation is saved before its calls are made. So a loop that has paused, or died,
is taken up again by driving the same run with what was saved: the same calls are sent, and what was done stays done.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import Any, Literal, TypeVar

import msgspec
from msgspec import Struct
from msgspec.structs import replace

from interlock.core.outcome import Outcome, Pending
from interlock.core.turn import Call, Turn
from interlock.core.verdict import StopReason
from interlock.driving import Script
from interlock.errors import ConfigError, InterlockError, KeyReused, LedgerUnavailable, RunStopped
from interlock.governed import Result
from interlock.results import error_text
from interlock.runs import Run

T = TypeVar("T")

__all__ = ["Agent", "Call", "Message", "Model", "Result", "Turn", "drive", "speaking"]

FORMAT = 1
INTERRUPTED = "interrupted from the keyboard"


class Message(Struct, frozen=True, omit_defaults=True):
    """One line of the conversation, as the model is shown it."""

    role: Literal["user", "assistant", "tool"]
    content: str
    calls: tuple[Call, ...] = ()  #: of an assistant
    call_id: str = ""  #: of a tool: which call it answers
    name: str = ""  #: of a tool


class _Saved(Struct, frozen=True):
    interlock_plain: int
    tenant: str
    run_id: str
    messages: list[Message]


Model = Callable[[Sequence[Message]], Turn]


class Agent(Struct, frozen=True):
    """A model with the name and the limit under which its steps are begun."""

    model: Model
    name: str = ""
    max_output_tokens: int | None = None


def speaking(agent: Agent | Model | None, script: Script) -> Agent:  # noqa: ARG001  there is nothing else to an agent
    """See `driving.Runtime`."""

    def model(messages: Sequence[Message]) -> Turn:
        script.hear({message.call_id: message.content for message in messages if message.role == "tool"})
        return script.say()

    return Agent(model, script.model, script.max_output_tokens)


def drive(
    run: Run, model: Model | Agent, request: str = "", *, saved: str | None = None,
    save: Callable[[str], None] | None = None, model_name: str = "", max_output_tokens: int | None = None,
) -> Result:
    """Let a model work on a request until it is done, is stopped, or waits for people. `saved` goes before `request`.

    `save` is handed the conversation after every model turn, before its calls are made; what it was handed last is what
    to go on from after a crash. What the model raises stops the run (`model_error`); Ctrl-C stops it (`cancelled`) and
    is passed on, and so is whatever `save` raises. Raises ConfigError for a conversation of another run.
    """
    agent = model if isinstance(model, Agent) else Agent(model, model_name, max_output_tokens)
    messages = [Message("user", request)] if saved is None else _read(run, saved)
    try:
        with suppress(RunStopped):
            while _answered(run, messages):
                if messages[-1].role == "assistant":
                    run.finish()
                    return Result(report=run.report(), output=messages[-1].content)
                if not _asked(run, agent, messages):
                    break
                if save is not None:
                    save(_text(run, messages))
        report = run.report()
        going = _text(run, messages) if report.stop_reason is None else None
        if save is not None and going is not None:
            save(going)
        return Result(report=report, saved=going)
    except LedgerUnavailable as error:
        return Result(report=None, saved=_text(run, messages), trouble=str(error))
    except KeyboardInterrupt:
        with suppress(InterlockError):
            run.stop(StopReason.CANCELLED, INTERRUPTED)
        raise


def _asked(run: Run, agent: Agent, messages: list[Message]) -> bool:
    """One step: the model's turn, at the end of the messages. False where the model failed."""
    step, turn = run.begin_step(agent.name, max_output_tokens=agent.max_output_tokens), None
    try:
        said = _parsed(_json(agent.model(tuple(messages))), Turn)  # from the start as it will be saved
        turn = replace(said, calls=_named(said.calls, messages))
        messages.append(Message("assistant", turn.text or "", turn.calls))
        return True
    except Exception as error:
        run.stop(StopReason.MODEL_ERROR, error_text(error))
        return False
    except KeyboardInterrupt:
        run.stop(StopReason.CANCELLED, INTERRUPTED)  # before the step is ended: without usage, it may stop as unpriced
        raise
    finally:
        run.end_step(step, turn=turn)


def _answered(run: Run, messages: list[Message]) -> bool:
    """Make the calls of the last turn that have no answer yet. False where the loop has to be left with them."""
    place = max((at for at, message in enumerate(messages) if message.role == "assistant"), default=len(messages) - 1)
    calls, told = messages[place].calls, {message.call_id: message for message in messages[place + 1 :]}
    owed = [call for call in calls if call.id not in told]
    try:
        while owed:
            waiting = []
            for call in owed:
                outcome = _sent(run, call)
                if isinstance(outcome, Pending):
                    waiting.append(call)
                    continue
                text = outcome if isinstance(outcome, str) else outcome.text
                told[call.id] = Message("tool", text, call_id=call.id, name=call.name)
                if isinstance(outcome, Outcome) and outcome.stop_reason is not None:
                    return False
            if len(waiting) == len(owed):
                return False
            owed = waiting  # sent once more, so that what the ledger heard last is that the run waits
        return True
    finally:
        messages[place + 1 :] = [told[call.id] for call in calls if call.id in told]


def _sent(run: Run, call: Call) -> Outcome | str:
    args: Any = call.raw or call.args  # what is no object is refused
    try:
        return run.call(call.name, args, call_id=call.id)
    except KeyReused as error:  # the model's mistake, so it is told
        return f"NOT DONE: {error}"


def _named(calls: Sequence[Call], messages: Sequence[Message]) -> tuple[Call, ...]:
    """The calls, each under an id that no other of the conversation has: some models number every turn anew."""
    taken, named = {call.id for message in messages for call in message.calls}, []
    for call in calls:
        own = call.id
        while not own or own in taken:
            own = f"{own or 'call'}~{len(taken) + 1}"
        taken.add(own)
        named.append(replace(call, id=own))
    return tuple(named)


def _text(run: Run, messages: list[Message]) -> str:
    return _json(_Saved(FORMAT, run.tenant, run.run_id, messages))


def _read(run: Run, saved: str) -> list[Message]:
    try:
        found = _parsed(saved, _Saved)
    except (ValueError, TypeError, RecursionError) as error:
        raise ConfigError(f"saved= is no conversation that drive() has saved: {error}") from None
    if (found.interlock_plain, found.tenant, found.run_id) != (FORMAT, run.tenant, run.run_id) or not found.messages:
        raise ConfigError(f"saved= is of run {found.run_id!r} of tenant {found.tenant!r}, not of {run!r}")
    return found.messages


def _json(value: Any) -> str:
    return json.dumps(msgspec.to_builtins(value))  # not msgspec's: it makes null of NaN, and has no lone surrogates


def _parsed(text: str, kind: type[T]) -> T:
    return msgspec.convert(json.loads(text), kind)
