"""A run as an adapter holds it: its tools under names that every model takes, its two planes, and how a drive ends.

Not an adapter, and no opinion: what becomes of a call is the gateway's, how that is told to a runtime is the adapter's.
Law: a stop is a latch. Whatever a runtime makes of the exception that tells it of a stop, the next call and the next
model turn hear of it again, and how the drive ended is read off the run.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable, Collection, Iterable, Mapping
from contextlib import suppress
from types import TracebackType
from typing import TYPE_CHECKING, Any, TypeVar

from msgspec import Struct
from msgspec.structs import replace

from interlock.core.names import MAX_PLAIN, digest_of, spelled
from interlock.core.outcome import Denied, Outcome
from interlock.core.turn import Call, Turn, Usage
from interlock.core.verdict import Decision, Reason, StopReason, Verdict
from interlock.errors import ConfigError, InterlockError, KeyReused, LedgerUnavailable, RunStopped
from interlock.reports import Report
from interlock.results import error_text

if TYPE_CHECKING:
    from interlock.runs import Run

T = TypeVar("T")

FORMAT = 1  #: of what is saved
NOTHING = Usage(input_tokens=0, output_tokens=0)


class Result(Struct, frozen=True, kw_only=True):
    """How a drive ended."""

    report: Report | None  #: None where the ledger could not be read or written
    output: Any = None  #: what the agent gave at its end, where it came to one: a text, or what the runtime makes of it
    saved: str | None = None  #: text to go on from, where the run has not stopped
    trouble: str = ""  #: what the ledger said, where there is no report
    error: Exception | None = None  #: what the runtime raised, where that ended the run

    @property
    def status(self) -> str:
        """completed, paused, stopped or failed."""
        return self.report.status if self.report else "failed"

    @property
    def stop_reason(self) -> StopReason | None:
        """Why the run has stopped. Without its ledger it has not, but nothing more could be done."""
        return self.report.stop_reason if self.report else StopReason.LEDGER_UNAVAILABLE


class Offer(Struct, frozen=True):
    """A tool as a model is shown it."""

    said: str  #: what the model calls it: letters, digits, _ and - alone
    name: str  #: the tool's own name
    description: str
    schema: dict[str, Any]  #: JSON Schema of the arguments


class Governed:
    """One run in one runtime. `stop` makes the exception that really ends a run there."""

    def __init__(
        self, run: Run, runtime: str, stop: Callable[[str, str], BaseException] = RunStopped, *,
        tools: Collection[str] | None = None, max_output_tokens: int | None = None,
    ) -> None:
        self.run, self.runtime = run, runtime
        self.ungoverned = frozenset(run._gateway.config.architecture.ungoverned)  #: what may pass around the gateway
        self._names = _names(run._gateway.tools)
        self.offers = {offer.said: offer for offer in _offers(run, self._names, tools)}
        self.max_output_tokens = max_output_tokens
        self.trouble: LedgerUnavailable | None = None
        self.mistake: Exception | None = None  #: the program's own: its `save` raised, or a model was offered too much
        self._stop = stop
        self._flights: set[asyncio.Future[None]] = set()

    async def call(self, said: str, args: Any, call_id: str | None) -> Outcome:
        """Send one call to the gateway, under the name and the id that the model gave it; anything may stand for
        arguments, which the gateway then refuses. Raises the runtime's stop where the run is over."""
        landed = asyncio.get_running_loop().create_future()
        self._flights.add(landed)
        try:
            outcome = await self.run.acall(self.named(said), args, call_id=call_id or None)
        except (KeyReused, LedgerUnavailable) as error:
            return self._instead(error, call_id)
        finally:
            self._flights.discard(landed)
            landed.set_result(None)
        if outcome.stop_reason is not None:
            while self._flights:  # runtimes cancel what runs beside a stop, and a write that is cut short is in doubt
                await asyncio.wait(self._flights)
            raise self._stop(outcome.stop_reason, outcome.text)
        return outcome

    def call_here(self, said: str, args: Any, call_id: str | None) -> Outcome:
        """The same for a runtime that calls tools in threads."""
        try:
            outcome = self.run.call(self.named(said), args, call_id=call_id or None)
        except (KeyReused, LedgerUnavailable) as error:
            return self._instead(error, call_id)
        if outcome.stop_reason is not None:
            raise self._stop(outcome.stop_reason, outcome.text)
        return outcome

    async def strays(self, turn: Turn, known: Collection[str]) -> dict[str, str]:
        """Send the calls of tools that the runtime does not know, where it would keep them to itself: so they are
        refused, and counted. Gives what the model may be told of each, by its id."""
        strays = [each for each in turn.calls if each.name not in known]
        return {each.id: (await self.call(each.name, each.raw or each.args, each.id)).text for each in strays}

    def named(self, said: str) -> str:
        """A tool's own name, shown to the model or not; what the model said, where there is none."""
        return self._names.get(said, said)

    def showing(self, functions: Iterable[str], others: Iterable[str] = ()) -> None:
        """Before a model is asked. `functions`: what it would be shown that comes back to this process as a call;
        `others`: what does not. Raises ConfigError for what is not the gateway's and was not let pass."""
        beside = {*others, *(name for name in functions if name not in self.offers)} - self.ungoverned
        if beside:
            names = sorted(beside)
            self.mistake = ConfigError(
                f"this would go around the gateway: {', '.join(names)}; give it to the gateway as a tool and leave it"
                f" away here, or let it pass in the config: architecture: {{ungoverned: {json.dumps(names)}}}"
            )
            raise self.mistake

    def asking(self, names: Iterable[str]) -> None:
        """Before a pause. Raises ConfigError where it would be for one of these, which ask people by themselves."""
        others = sorted({*names})
        if others:
            raise ConfigError(
                f"{', '.join(others)} was let pass, and waits for an approval of {self.runtime}'s own, which drive()"
                " does not give: have policy ask in its place, or run the agent by hand"
            )

    def most(self, own: int | None) -> int | None:
        """What a turn may put out: the less of what the agent says of itself and what was said when it was bound."""
        return min((each for each in (own, self.max_output_tokens) if each is not None), default=None)

    def turn(self, model: str = "", max_output_tokens: int | None = None) -> Turning:
        """One question to the model: `with governed.turn("gpt-5-mini") as told: …; told(turn)`. Entering it raises the
        runtime's stop where there shall be no more. `max_output_tokens`: what the model is told that it may put out."""
        return Turning(self, model, max_output_tokens)

    def stopped(self, error: RunStopped) -> BaseException:
        """The runtime's own stop."""
        return self._stop(error.reason, error.detail)

    def saving(self, save: Callable[[str], None] | None, state: Any) -> str:
        """What to go on from, as a text, which the program is handed. `state`: the runtime's own, as JSON has it."""
        saved = json.dumps({**self._whose, "state": state})
        if save is not None:
            try:
                save(saved)
            except Exception as error:
                self.mistake = error
                raise
        return saved

    async def saved(self, text: str, read: Callable[[Any], Awaitable[T] | T]) -> T:
        """What was saved, as the runtime reads it. Raises ConfigError where that is none, or of another run."""
        try:
            said = json.loads(text)
            state = said.pop("state")
        except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
            raise ConfigError(f"saved= is nothing that drive() has saved: {error!r}") from None
        if said != self._whose:
            raise ConfigError(f"saved= is of {said}, and this is {self._whose}")
        try:
            found = read(state)
            return await found if isinstance(found, Awaitable) else found
        except Exception as error:  # whatever a runtime makes of it
            raise ConfigError(f"saved= cannot be read by {self.runtime}: {error_text(error)}") from error

    def forget(self) -> None:
        """What went wrong in a drive before is over."""
        self.mistake = self.trouble = None

    @property
    def _whose(self) -> dict[str, Any]:
        return {"interlock": FORMAT, "runtime": self.runtime, "tenant": self.run.tenant, "run_id": self.run.run_id}

    def _instead(self, error: KeyReused | LedgerUnavailable, call_id: str | None) -> Outcome:
        if isinstance(error, LedgerUnavailable):
            raise self._gone(error) from error
        decision = Decision(Verdict.DENY, (Reason("known", Verdict.DENY, str(error)),), "")
        return Denied(call_id=call_id or "", decision=decision, text=f"NOT DONE: {error}")  # the model's mistake

    def _gone(self, error: LedgerUnavailable) -> BaseException:
        self.trouble = error
        return self._stop(StopReason.LEDGER_UNAVAILABLE, str(error))


class Turning:
    """One model turn, from before it is asked to when it was heard."""

    __slots__ = ("_ended", "_governed", "_model", "_most", "_step")

    def __init__(self, governed: Governed, model: str, most: int | None) -> None:
        self._governed, self._model, self._most = governed, model, most
        self._ended = False

    def __call__(self, turn: Turn) -> None:
        """It has answered this, with the names that it calls the tools: the step is over. Raises the runtime's stop
        where the ledger is gone."""
        named = self._governed.named
        turn = replace(turn, calls=tuple([replace(each, name=named(each.name)) for each in turn.calls]))
        self._end(turn=turn)

    def refused(self) -> None:
        """The provider has answered with an error: nothing was put out, and nothing is charged."""
        self._end(usage=NOTHING, lost=True)

    def __enter__(self) -> Turning:
        try:
            self._step = self._governed.run.begin_step(self._model, max_output_tokens=self._most)
        except RunStopped as error:
            raise self._governed.stopped(error) from None
        except LedgerUnavailable as error:
            raise self._governed._gone(error) from error
        except ConfigError as error:  # a limit of no tokens, say
            self._governed.mistake = error
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._ended:
            return
        if _refused(error):
            self.refused()
        else:
            self._end(lost=True)  # it broke off, and nobody knows what it used

    def _end(self, **how: Any) -> None:
        self._ended = True
        try:
            self._governed.run.end_step(self._step, **how)
        except LedgerUnavailable as error:
            raise self._governed._gone(error) from error


class Ended(Struct, frozen=True):
    """How a runtime came to its end: with an output, or with what to go on from."""

    output: Any = None
    saved: str | None = None


async def driven(governed: Governed, go: Awaitable[Ended]) -> Result:
    """What a drive comes to, whatever the runtime did. An agent that came to its end finishes its run, unless people
    are still asked; what a runtime raises stops it, unless it has stopped before; being cancelled cancels it. Raises
    ConfigError, and what the program's own `save` raised, even if the runtime has made an answer of it."""
    run, ended, raised = governed.run, Ended(), None
    governed.forget()
    try:
        ended = await go
        if governed.mistake is None and ended.saved is None and not run.report().pending:
            run.finish()
    except ConfigError:
        raise
    except LedgerUnavailable as error:
        governed.trouble = error
    except Exception as error:
        if governed.mistake is None:
            raised = _given_up(governed, error)
    except BaseException as error:
        with suppress(InterlockError):
            run.stop(StopReason.CANCELLED, f"left by {type(error).__name__}")
        raise
    if governed.mistake is not None:
        raise governed.mistake
    return _result(governed, ended, raised)


def _given_up(governed: Governed, error: Exception) -> Exception | None:
    """The runtime came out with an exception: that of a stop, whatever it has made of it; or one of its own."""
    try:
        if governed.trouble is not None or governed.run.stop_reason is not None:
            return None
        governed.run.stop(StopReason.MODEL_ERROR, error_text(error))
    except LedgerUnavailable as gone:
        governed.trouble = gone
    return error


def _result(governed: Governed, ended: Ended, raised: Exception | None) -> Result:
    try:
        report = None if governed.trouble is not None else governed.run.report()
    except LedgerUnavailable as error:
        governed.trouble, report = error, None
    if report is None:
        return Result(report=None, saved=ended.saved, trouble=str(governed.trouble), error=raised)
    return Result(
        report=report, error=raised,
        output=ended.output if report.stop_reason is StopReason.COMPLETED else None,
        saved=ended.saved if report.stop_reason is None else None,
    )


def arguments_of(text: str) -> Any:
    """The arguments that a model wrote: an object; or the text itself, where it is none, for the gateway to refuse."""
    try:
        read = json.loads(text or "{}")
    except (ValueError, RecursionError):
        return text
    return read if isinstance(read, dict) else text


def said_by(name: str, args: Any, call_id: str) -> Call:
    """A call as a model asked for it. `args`: an object, or the text that should be one."""
    read = arguments_of(args) if isinstance(args, str) else args
    if isinstance(read, dict):
        return Call(name, read, call_id)
    return Call(name, {}, call_id, read if isinstance(read, str) else json.dumps(read))


def _names(tools: Iterable[str]) -> dict[str, str]:
    """The name of each tool by what a model calls it. Who is spelled like another's own name gives way."""
    found: dict[str, str] = {}
    for name in sorted(tools, key=lambda name: (spelled(name, plain=True) != name, name)):
        said = spelled(name, plain=True)
        found[f"{said[: MAX_PLAIN - 9]}-{digest_of(name)}" if said in found else said] = name
    return found


def _offers(run: Run, names: Mapping[str, str], wanted: Collection[str] | None) -> list[Offer]:
    shown = {tool.name: tool for tool in run.tools()}
    missing = sorted(set(wanted or ()) - set(shown))
    if missing:
        raise ConfigError(
            f"no tool {missing[0]!r} can be shown to this run: none is registered, or policy denies it;"
            f" tools= may name {', '.join(shown) or 'none'}"
        )
    return [
        Offer(said, name, shown[name].description or name, {**shown[name].schema, "type": "object"})
        for said, name in names.items() if name in shown and (wanted is None or name in wanted)
    ]


def _refused(error: BaseException | None) -> bool:
    """True where the provider has answered with an error: nothing was put out, and nothing is charged."""
    status = getattr(error, "status_code", None)
    return isinstance(status, int) and status >= 400
