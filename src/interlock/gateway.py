"""The one road for a call: admit → perform → settle.

Not a rule (`core/decide.py`), not the ledger's moves (`admission.py`, `settlement.py`), not what people do
(`control.py`). Law: every call of every agent comes through `_road`; a call that is approved, retried, replayed or
resumed is the same call on the same road, with other facts.
"""

from __future__ import annotations

import asyncio
import secrets
import time
from collections.abc import Callable, Collection, Generator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, TypeVar

import msgspec
from msgspec import Struct

from interlock import away
from interlock.admission import Admission
from interlock.committer import Committer
from interlock.config import Config, tool_fields
from interlock.core import names
from interlock.core.call import Tool, ToolCall
from interlock.core.canonical import snapshot
from interlock.core.outcome import Outcome
from interlock.errors import LedgerUnavailable, ToolError
from interlock.loops import LoopThread
from interlock.meter import Meter
from interlock.perform import Flight, Flights, Stage
from interlock.ports import Clock, Performer, Store, SwitchBoard, Vault
from interlock.redaction import Redactor
from interlock.settlement import Performed, settle
from interlock.telemetry import Telemetry
from interlock.unit import Unit
from interlock.wish import Running, Ticket, Wish, wish_of

if TYPE_CHECKING:
    from interlock.audit_log import AuditLog
    from interlock.control import Control
    from interlock.notify import Undelivered
    from interlock.runs import Run

F = TypeVar("F", bound=Callable[..., Any])

POLL = (0.002, 0.1)  #: seconds between looks at a call that somebody else is performing: first, and at most
AWAY_PATIENCE = 10.0  #: seconds that a client is kept waiting for a call which another one is performing
PATIENCE = 5.0  #: seconds that closing waits for calls in flight
SETTLE_TRIES = 5  #: an effect that happened is worth more than one try to write it down


class Pause(Struct, frozen=True):
    """Wait, then ask again."""

    seconds: float
    owed: bool = False  #: an effect has yet to be written down: a caller who is cancelled goes on with that


Ask = Unit[Any] | Flight | Pause
"""What the road asks of its driver: commit this, perform this, wait."""

Road = Generator[Ask, Any, Any]
"""One call on its way. A driver sends it the answers; whatever happens to the driver, the road is closed."""


class Registered(Struct):
    """A tool as the gateway knows it: what its owner and the config say of it, and where it lives."""

    tool: Tool
    performer: Performer
    problem: str = ""  #: why it may not be used at all, for example a definition that has changed
    said: tuple[str, ...] | None = None  #: the fields that its owner really gave; None: effect and risk


class Gateway:
    """What a team embeds: tools are registered with it, runs are opened on it. Made by `interlock.open()`."""

    def __init__(
        self, config: Config, store: Store, board: SwitchBoard, clock: Clock, vault: Vault, telemetry: Telemetry
    ) -> None:
        self.config = config
        self.store = store
        self.board = board
        self.clock = clock
        self.redactor = Redactor()
        self.telemetry = telemetry
        self.vault = vault
        self.committer = Committer(store)
        self.flights = Flights()
        self.loop = LoopThread()
        self.tools: dict[str, Registered] = {}
        self.shown = 0  #: moves on whenever the tools have changed, or whether one may be used
        self.opening: list[Callable[[str, str], None]] = []  #: told of the tenant and env of each run, before it opens
        self._closed = False
        self.closing: list[Callable[[], None]] = []  #: what else ends with the gateway, last in, first out
        self.meter = Meter(config.prices)
        self.noticed: Callable[[str], None] = lambda _: None  #: told of a tenant whose audit has moved
        self.undelivered: Callable[[], Sequence[Undelivered]] = tuple  #: approvals that nobody could be told of yet
        self._admission = Admission(config, board, clock, self.redactor)
        self._stage = Stage(
            board, clock, vault, self.redactor, self.loop, limit=config.limits.result_bytes, late=self._settle_late
        )

    control: Control
    audit: AuditLog

    # --- tools -------------------------------------------------------------------------------------------------------

    def tool(self, name: str, **said: Any) -> Callable[[F], F]:
        """Register a Python function, sync or async, as a tool.

        Its JSON Schema comes from the type hints. Keywords: effect, risk, description, timeout (seconds or "10s"),
        dedupe, idempotent, errors, cost, credential, arguments, returns: as under `tools:` in the config; where both
        say something, the stricter counts. Raises ToolError.
        """
        from interlock.tools.python import PythonTool

        fields = tool_fields(name, said)

        def register(function: F) -> F:
            self.register(PythonTool(function, name=name, **fields), said=fields)
            return function

        return register

    def register(
        self, performer: Performer, *, said: Collection[str] | None = None, problem: str = "", replace: bool = False
    ) -> None:
        """Add a tool, wherever it lives. Registering grants nothing: the policy does. Raises ToolError.

        `said`: the fields that its owner really gave (None: effect and risk); `problem`: why it may not be used yet.
        """
        tool = self.config.declared(performer.tool, said)
        if tool.name in self.tools and not replace:
            raise ToolError(f"a tool named {tool.name!r} is registered already; give this one another name")
        self.tools[tool.name] = Registered(tool, performer, problem, None if said is None else tuple(said))
        self.shown += 1

    def judged(self, name: str, problem: str) -> None:
        """Why a tool may not be used, as it is known now; "" where it may: its changed definition was accepted."""
        registered = self.tools.get(name)
        if registered is not None and registered.problem != problem:
            registered.problem = problem
            self.shown += 1

    # --- runs --------------------------------------------------------------------------------------------------------

    def run(
        self,
        *,
        agent: str,
        tenant: str,
        env: str,
        request: str = "",
        run_id: str | None = None,
        budgets: Mapping[str, Any] | None = None,
        labels: Mapping[str, str] | None = None,
        runtime: str = "",
        requested_by: str = "",
    ) -> Run:
        """Open a run, or take an existing one up again by its `run_id`.

        `request`: the user's own words. `budgets`: as in the config; the stricter counts. `requested_by`: the person on
        whose behalf, who then cannot approve its calls. Raises Refused where the run is another agent's, ConfigError
        for names or budgets that cannot be, LedgerUnavailable.
        """
        from interlock.runs import open_run

        return open_run(
            self, agent=agent, tenant=tenant, env=env, request=request, run_id=run_id, budgets=budgets or {},
            labels=labels or {}, runtime=runtime, requested_by=requested_by,
        )

    # --- the road ----------------------------------------------------------------------------------------------------

    def call(self, call: ToolCall, span: Any = None) -> Outcome:
        """Perform one call, or say why not. Waits. Raises KeyReused and LedgerUnavailable, nothing else."""
        road = self._road(call, span)
        try:
            return self._drive(road)
        finally:
            road.close()

    def _drive(self, road: Road) -> Outcome:
        answer: Any = None
        error: Exception | None = None
        interrupt: KeyboardInterrupt | None = None
        while True:
            try:
                ask = road.send(answer) if error is None else road.throw(error)
            except StopIteration as end:
                if interrupt is not None:
                    raise interrupt from None
                outcome: Outcome = end.value
                return outcome
            answer = error = None
            try:
                if isinstance(ask, Unit):
                    answer = self.committer.run(ask)
                elif isinstance(ask, Flight):
                    answer = self._stage.perform(ask)
                    interrupt = ask.interrupt
                else:
                    time.sleep(ask.seconds)
            except Exception as raised:  # the road decides what it means
                error = raised

    async def acall(self, call: ToolCall, span: Any = None) -> Outcome:
        """The same for async callers. A caller that is cancelled is told so after its call was settled."""
        road = self._road(call, span)
        try:
            return await self._adrive(road)
        finally:
            road.close()

    async def _adrive(self, road: Road) -> Outcome:
        loop = asyncio.get_running_loop()
        answer: Any = None
        error: Exception | None = None
        cancelled = False
        while True:
            try:
                ask = road.send(answer) if error is None else road.throw(error)
            except StopIteration as end:
                if cancelled:
                    raise asyncio.CancelledError from None
                outcome: Outcome = end.value
                return outcome
            answer = error = None
            try:
                if isinstance(ask, Unit):
                    promise = self.committer.submit(ask, loop)
                    answer = await promise.outcome()
                    cancelled = cancelled or promise.cancelled
                elif isinstance(ask, Flight):
                    answer, gone = await self._stage.aperform(ask, cancelled=cancelled)
                    cancelled = cancelled or gone
                else:
                    await asyncio.sleep(ask.seconds)
            except asyncio.CancelledError:
                if isinstance(ask, Pause) and not ask.owed:
                    raise
                cancelled = True
            except Exception as raised:  # the road decides what it means
                error = raised

    async def aadmit(self, call: ToolCall, *, owner: str = "") -> Outcome | Ticket | Running:
        """The road as far as its first commit, for a tool that the agent's own process performs.

        A ticket is to be given back to `asettle`; the same `owner` is given the same one again. Running: somebody else
        is performing the call, and had not ended after a while.
        """
        admitted: Outcome | Ticket | Running = await self._adriven(self._admitting(call, owner))
        return admitted

    async def asettle(self, ticket: Ticket, performed: Performed) -> Outcome:
        """The rest of that road: how it ended, as its owner says."""
        outcome: Outcome = await self._adriven(self._settling(ticket, performed))
        return outcome

    async def _adriven(self, road: Road) -> Any:
        try:
            return await self._adrive(road)
        finally:
            road.close()

    def _admitting(self, call: ToolCall, owner: str) -> Road:
        wish = away.owned(self._wish(call), owner)
        with self.telemetry.tool(wish.call, None) as told:
            admitted = yield from self._admitted(wish)
            if isinstance(admitted, Outcome):
                told.ended(admitted)
            self.noticed(call.tenant)
            return admitted

    def _settling(self, ticket: Ticket, performed: Performed) -> Road:
        with self.telemetry.tool(ticket.record.call, None) as told:
            outcome = yield from self._settled(ticket, performed)
            told.ended(outcome)
            self.noticed(ticket.record.call.tenant)
            return outcome

    def _admitted(self, wish: Wish) -> Generator[Ask, Any, Any]:
        """Ask until nobody else is performing the same call; or, for an owner away from here, for a while."""
        seconds, waited = POLL[0], 0.0
        while isinstance(admitted := (yield self._admission.unit(wish)), Running):
            if wish.owner is not None:
                own = yield away.held(admitted.key, wish)
                if own is not None or waited > AWAY_PATIENCE:
                    return own or admitted
            yield Pause(seconds)
            waited += seconds
            seconds = min(2 * seconds, POLL[1])
        return admitted

    def _road(self, call: ToolCall, span: Any) -> Road:
        wish = self._wish(call)
        with self.telemetry.tool(wish.call, span) as told:
            admitted = yield from self._admitted(wish)
            outcome = (yield from self._fly(admitted)) if isinstance(admitted, Ticket) else admitted
            told.ended(outcome)
            self.noticed(call.tenant)
            return outcome

    def _fly(self, ticket: Ticket) -> Road:
        registered = self.tools[ticket.wish.call.tool]
        flight = Flight(ticket, registered.performer, registered.tool)
        self.flights.add(flight)
        try:
            performed: Performed = yield flight
            if performed.told:  # the caller and the model hear less
                self.telemetry.odd(f"{ticket.wish.call.tool} was not performed: {performed.error}")
            return (yield from self._settled(ticket, performed))
        finally:
            self.flights.remove(flight)

    def _settled(self, ticket: Ticket, performed: Performed) -> Road:
        trouble: LedgerUnavailable | None = None
        for attempt in range(SETTLE_TRIES):
            try:
                return (yield settle(ticket, performed, self.clock))
            except LedgerUnavailable as error:
                trouble = error
            if self._closed:
                break
            if attempt + 1 < SETTLE_TRIES:
                yield Pause(0.05 * 4**attempt, owed=True)
        raise LedgerUnavailable(
            f"{ticket.wish.call.tool} ended with {performed.event}, but that could not be written ({trouble});"
            " the call becomes unknown when its lease runs out: reconcile it then"
        )

    def _wish(self, call: ToolCall) -> Wish:
        """The call with all that can be said against it before the ledger is asked."""
        call, problem = self._sayable(call)
        registered = self.tools.get(call.tool)
        if registered is None:
            return wish_of(call, None, problem or f"there is no tool {call.tool!r:.80}")
        if problem:
            return wish_of(call, registered.tool, problem)
        problem = registered.problem or registered.performer.problem(call.args) or ""
        if self.redactor.holds_secret(call.args):  # whatever else is wrong with them, that may name it
            problem = "the arguments hold a credential; the gateway lends credentials, they never pass through a model"
        if not problem:  # whoever calls may change its arguments later; the gateway performs its own copy
            call = msgspec.structs.replace(call, args=snapshot(call.args))
        return wish_of(call, registered.tool, problem)

    def _sayable(self, call: ToolCall) -> tuple[ToolCall, str]:
        """The call with a tool and an id that can be told and written down, and what was wrong with those it had:
        models make them up."""
        problem = self.redactor.problem_of_id(call.call_id, "call_id") or ""
        if problem:
            fresh = f"call_{secrets.token_hex(8)}"
            key = fresh if call.key is call.call_id else call.key
            call = msgspec.structs.replace(call, call_id=fresh, key=key)
        wrong = names.problem_of_name(call.tool, "the name of a tool")
        if wrong is None and call.tool in self.tools:
            return call, problem
        tool = self.redactor.redact_text(call.tool if wrong is None else names.shown(call.tool))
        return msgspec.structs.replace(call, tool=tool), wrong or problem

    def _settle_late(self, flight: Flight, performed: Performed) -> None:
        """A thread that nobody waited for has ended after all."""
        try:
            self.committer.run(settle(flight.ticket, performed, self.clock))
        except LedgerUnavailable as error:
            self.telemetry.trouble("a late outcome could not be written", error)

    # --- the end -----------------------------------------------------------------------------------------------------

    def close(self) -> None:
        """Wait a moment for calls in flight, finish what is being committed, then let go of everything.

        A call that has not ended by then is not waited for: it is unknown when its lease runs out.
        """
        give_up = time.monotonic() + PATIENCE
        while len(self.flights) and time.monotonic() < give_up:
            time.sleep(POLL[0])
        self._closed = True
        while self.closing:
            self.closing.pop()()
        self._stage.close()
        self.loop.close()
        self.committer.close()
        self.store.close()
        self.board.close()

    def __enter__(self) -> Gateway:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def fresh_id(prefix: str, now: int) -> str:
    """An identifier that sorts by time, so that the rows of new runs lie together, and that nobody can guess."""
    return f"{prefix}_{now // 1000:011x}{secrets.token_hex(8)}"
