"""The effect itself, between the two transactions: four ways to wait for it, one way to tell how it ended.

Not a decision. Law: right before an effect the kill switches are read again, uncached, and the lease is looked at; what
is caught there was not performed. An exception of a read is a failure; an exception, a time-out or a cancellation of a
write leaves it unknown, unless the tool says that nothing happened.
"""

from __future__ import annotations

import asyncio
import concurrent.futures
import contextvars
import threading
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

from interlock.core.call import MICROS, Tool
from interlock.core.canonical import snapshot
from interlock.core.decide import killed_by
from interlock.core.lifecycle import Event
from interlock.core.switch import Switch
from interlock.core.verdict import Reason, Verdict
from interlock.errors import CredentialError, NotDone
from interlock.loops import LoopThread
from interlock.ports import LISTENER, CallInfo, Clock, Invocation, Lost, NotBegun, Performer, SwitchBoard, Vault
from interlock.redaction import Redactor
from interlock.results import encode_result
from interlock.settlement import Performed
from interlock.wish import MARGIN, Ticket

WORKERS = 64  #: threads for sync tools that cannot run on their caller's own
_NOT_LENT = "the gateway could not lend it the credential that it needs, which only an operator can put right"
_NO_TIME = Reason("in_time", Verdict.DENY, "too little was left of its time to begin it")
_LEFT = Reason("in_time", Verdict.DENY, "its caller was cancelled before it began")
_ITSELF = Reason("in_time", Verdict.DENY, "an async tool would wait for itself; it must use `await run.acall(…)`")
GRACE = 1.0  #: seconds that a cancelled async tool has to end
CLIP = 500  #: characters of an error's words that are told


class Ended(Exception):
    """The tool tried to end the program (`sys.exit()`), or its own task."""


class Flight:
    """One call between its two transactions."""

    __slots__ = (
        "begun", "cancel", "gone", "interrupt", "killed", "lease_until", "performer", "reported", "ticket", "tool",
    )

    def __init__(self, ticket: Ticket, performer: Performer, tool: Tool) -> None:
        self.ticket = ticket
        self.performer = performer
        self.tool = tool
        self.lease_until = ticket.lease.until
        self.cancel: Callable[[], object] | None = None  #: None: a thread, which cannot be cancelled
        self.killed: Reason | None = None
        self.reported: int | None = None
        self.begun = False  #: the last look has let it pass
        self.gone = False  #: its caller waits no more: what has not begun, begins no more
        self.interrupt: KeyboardInterrupt | None = None  #: sent to its sync caller meanwhile; it comes out once settled

    def kill(self, reason: Reason) -> None:
        """Mark it, and cancel what can be cancelled."""
        if self.killed is None:
            self.killed = reason
            if self.cancel is not None:
                self.cancel()

    def cancellable(self, cancel: Callable[[], object]) -> None:
        """It can be cancelled from now on; at once where it was killed before that could be."""
        self.cancel = cancel
        if self.killed is not None:
            cancel()

    def report_cost(self, usd: float) -> None:
        """What the tool says that it cost, in dollars; where its owner has not said that it tells, it is not heard."""
        reported = max(0, round(usd * MICROS))
        if self.tool.cost.reported:
            self.reported = reported


class Flights:
    """All calls of this process that are between their two transactions."""

    def __init__(self) -> None:
        self._flights: dict[str, Flight] = {}
        self._lock = threading.Lock()

    def __iter__(self) -> Iterator[Flight]:
        with self._lock:
            return iter(list(self._flights.values()))

    def __len__(self) -> int:
        return len(self._flights)

    def add(self, flight: Flight) -> None:
        """It has been admitted."""
        with self._lock:
            self._flights[flight.ticket.lease.lease_id] = flight

    def remove(self, flight: Flight) -> None:
        """It has been settled."""
        with self._lock:
            self._flights.pop(flight.ticket.lease.lease_id, None)

    def kill(self, switches: tuple[Switch, ...]) -> None:
        """Cancel whatever these switches forbid."""
        for flight in self:
            reason = _caught(flight, switches)
            if reason is not None:
                flight.kill(reason)


class Stage:
    """Where effects happen. One for each gateway."""

    def __init__(
        self,
        board: SwitchBoard,
        clock: Clock,
        vault: Vault,
        redactor: Redactor,
        loop: LoopThread,
        *,
        limit: int,
        late: Callable[[Flight, Performed], None],
    ) -> None:
        self._late = late  #: told how a thread ended that nobody waits for any more
        self._board = board
        self._clock = clock
        self._vault = vault
        self._redactor = redactor
        self._loop = loop
        self._limit = limit
        self._pool: concurrent.futures.ThreadPoolExecutor | None = None
        self._starting = threading.Lock()

    def perform(self, flight: Flight) -> Performed:
        """Perform on behalf of a sync caller; waits for it."""
        try:
            invocation, seconds = self._invocation(flight), self._seconds_left(flight)
            if flight.performer.is_async:
                if self._loop.is_here():
                    raise NotBegun(_ITSELF)
                future = self._loop.submit(self._awaited(flight, invocation))
                return self._heard(flight, self._wait(flight, future, seconds, cancels=True))
            if flight.tool.timeout is None:
                self._last_look(flight)
                return self._heard(flight, flight.performer.perform(invocation))
            return self._heard(flight, self._wait(flight, self._threaded(flight, invocation), seconds, cancels=False))
        except KeyboardInterrupt as interrupt:
            flight.interrupt = interrupt
            return self._trouble(flight, Lost("interrupted"))
        except BaseException as error:  # whatever a tool raises is told, not passed on
            return self._trouble(flight, error)

    async def aperform(self, flight: Flight, *, cancelled: bool) -> tuple[Performed, bool]:
        """Perform on behalf of an async caller. Gives with it whether the caller was cancelled meanwhile."""
        if cancelled:
            return self._trouble(flight, NotBegun(_LEFT)), False
        try:
            invocation, seconds = await self._ainvocation(flight), self._seconds_left(flight)
            future, thread = self._launched(flight, invocation)
        except asyncio.CancelledError:
            return self._trouble(flight, NotBegun(_LEFT)), True
        except Exception as error:
            return self._trouble(flight, error), False
        try:
            done, _ = await asyncio.wait({future}, timeout=seconds)
        except asyncio.CancelledError:
            done, cancelled = set(), True
        ours = not done  # whether it is we who end it
        if not done and thread is None:  # end it, and wait a moment for it to say how
            future.cancel()
            try:
                done, _ = await asyncio.wait({future}, timeout=GRACE)
            except asyncio.CancelledError:
                cancelled = True
        why = "killed" if flight.killed else "cancelled by its caller" if cancelled else _timed_out(flight.tool)
        try:
            if not done:
                future.add_done_callback(_unheard)
                if thread is not None:
                    future.cancel()
                self._abandon(flight, thread)
                raise Lost(why)
            return self._heard(flight, future.result()), cancelled
        except asyncio.CancelledError as error:
            if thread is None and not flight.begun:
                return self._trouble(flight, NotBegun(flight.killed or Reason("in_time", Verdict.DENY, why))), cancelled
            return self._trouble(flight, Lost(why) if ours or flight.killed else error), cancelled
        except BaseException as error:
            return self._trouble(flight, error), cancelled

    def close(self) -> None:
        """Begin nothing more. Threads that run are left to end."""
        if self._pool is not None:
            self._pool.shutdown(wait=False, cancel_futures=True)

    # --- before ------------------------------------------------------------------------------------------------------

    def _invocation(self, flight: Flight) -> Invocation:
        ticket, call = flight.ticket, flight.ticket.wish.call
        info = CallInfo(
            tenant=call.tenant, agent=call.agent, env=call.env,
            run_id=call.run_id, step_id=call.step_id, call_id=call.call_id, key=call.key,
            deadline=ticket.deadline, attempt=ticket.record.attempts, report_cost=flight.report_cost,
            listener=LISTENER.get(),
        )
        credential = None
        if flight.tool.credential:
            credential = self._lent(flight.tool.credential, tenant=call.tenant, env=call.env)
            self._redactor.remember(credential)
        return Invocation(args=snapshot(ticket.record.args), info=info, credential=credential)

    async def _ainvocation(self, flight: Flight) -> Invocation:
        """The same, without keeping the event loop waiting for a vault that waits for somebody else."""
        waits = getattr(self._vault, "waits", None) if flight.tool.credential else None
        if waits is not None and waits(flight.tool.credential):
            return await asyncio.to_thread(self._invocation, flight)
        return self._invocation(flight)

    def _lent(self, name: str, *, tenant: str, env: str) -> str:
        """Whatever a vault runs into, nothing has begun."""
        try:
            return self._vault.lend(name, tenant=tenant, env=env)
        except CredentialError:
            raise
        except Exception as error:
            raise CredentialError(f"the vault could not lend {name!r}: {type(error).__name__}") from error

    def _last_look(self, flight: Flight) -> None:
        """The second look at the kill switches, and at the lease. What is caught here was not performed."""
        try:
            switches = self._board.active()
        except Exception as error:
            unread = Reason("last_look", Verdict.DENY, "the kill switches could not be read, so it was not begun")
            raise NotBegun(unread, f"{unread.text}: {error}") from error
        if switches:
            reason = _caught(flight, switches)
            if reason is not None:
                raise NotBegun(reason)
        if self._clock.now() >= min(flight.ticket.deadline, flight.lease_until - MARGIN):
            raise NotBegun(_NO_TIME)
        flight.begun = True
        if flight.gone:  # whoever gives up sets this before it reads `begun`: one of the two sees the other
            raise NotBegun(_NO_TIME)

    def _seconds_left(self, flight: Flight) -> float:
        return max(0.0, (flight.ticket.deadline - self._clock.now()) / MICROS)

    # --- during ------------------------------------------------------------------------------------------------------

    async def _awaited(self, flight: Flight, invocation: Invocation) -> Any:
        ready = getattr(flight.performer, "ready", None)
        if ready is not None:
            await ready(invocation)
        self._last_look(flight)
        try:
            return await flight.performer.perform(invocation)
        except (SystemExit, KeyboardInterrupt, GeneratorExit) as error:  # these would end the loop, not the task
            raise Ended(f"{type(error).__name__} {error}".strip()) from error

    def _launched(
        self, flight: Flight, invocation: Invocation
    ) -> tuple[asyncio.Future[Any], concurrent.futures.Future[Any] | None]:
        """What an async caller waits for, and the thread behind it, where there is one."""
        if flight.performer.is_async:
            loop = asyncio.get_running_loop()
            task = loop.create_task(self._awaited(flight, invocation))
            flight.cancellable(partial(loop.call_soon_threadsafe, task.cancel))
            return task, None
        thread = self._threaded(flight, invocation)
        return asyncio.wrap_future(thread), thread

    def _threaded(self, flight: Flight, invocation: Invocation) -> concurrent.futures.Future[Any]:
        context = contextvars.copy_context()

        def begin() -> Any:
            self._last_look(flight)
            try:
                return context.run(flight.performer.perform, invocation)
            except (SystemExit, GeneratorExit, StopIteration) as error:  # these mean something else to a future
                raise Ended(f"{type(error).__name__} {error}".strip()) from error

        with self._starting:
            if self._pool is None:
                self._pool = concurrent.futures.ThreadPoolExecutor(WORKERS, "interlock-tool")
        return self._pool.submit(begin)

    def _wait(self, flight: Flight, future: concurrent.futures.Future[Any], seconds: float, *, cancels: bool) -> Any:
        if cancels:
            flight.cancellable(future.cancel)
        try:
            return future.result(timeout=seconds)
        except concurrent.futures.TimeoutError:
            if future.done():  # the tool's own TimeoutError
                raise
            if not cancels:
                self._abandon(flight, future)
            elif self._called_off(flight, future):
                raise NotBegun(_NO_TIME) from None
            raise Lost(_timed_out(flight.tool)) from None
        except concurrent.futures.CancelledError:
            if cancels and self._called_off(flight, future):
                raise NotBegun(flight.killed or _NO_TIME) from None
            raise Lost("killed" if flight.killed else "its task was cancelled") from None

    def _called_off(self, flight: Flight, future: concurrent.futures.Future[Any]) -> bool:
        """End a task of the loop's thread. True where it had not begun, and now never will."""
        flight.gone = True
        future.cancel()
        return not flight.begun

    def _abandon(self, flight: Flight, thread: concurrent.futures.Future[Any] | None) -> None:
        """Nobody waits for this thread any more. If it had begun, it still tells the ledger how it ended."""
        if thread is None:
            return
        if thread.cancel():
            raise NotBegun(Reason("in_time", Verdict.DENY, "no thread was free to begin it in time"))
        flight.gone = True
        if not flight.begun:
            raise NotBegun(_NO_TIME)

        def tell(ended: concurrent.futures.Future[Any]) -> None:
            error = ended.exception()
            self._late(flight, self._heard(flight, ended.result()) if error is None else self._trouble(flight, error))

        thread.add_done_callback(tell)

    # --- after -------------------------------------------------------------------------------------------------------

    def _heard(self, flight: Flight, value: Any) -> Performed:
        result = encode_result(value, self._limit, self._redactor.redact)
        return Performed(event=Event.SUCCEED, result=result, usd=flight.reported, caught=flight.killed)

    def _trouble(self, flight: Flight, error: BaseException) -> Performed:
        text = self._told(error)
        if isinstance(error, NotBegun):
            return Performed(event=Event.CATCH, error=text, caught=error.reason)
        if isinstance(error, NotDone | CredentialError):
            told = _NOT_LENT if isinstance(error, CredentialError) else ""
            return Performed(event=Event.FAIL, error=text, told=told, free=True, caught=flight.killed)
        if not flight.begun and not isinstance(error, Lost):  # the gateway itself was in the way
            return Performed(event=Event.CATCH, error=text, caught=Reason("last_look", Verdict.DENY, text))
        if flight.tool.effect.writes and not (flight.tool.errors_mean_failed and not isinstance(error, Lost)):
            return Performed(event=Event.LOSE, error=text, caught=flight.killed)
        return Performed(event=Event.FAIL, error=text, usd=flight.reported, caught=flight.killed)

    def _told(self, error: BaseException) -> str:
        """What is told of an exception: its kind and its words, redacted, then clipped; no trace."""
        try:
            words = str(getattr(error, "text", "") or error)
        except Exception:  # a foreign error's own __str__
            words = "its message cannot be read"
        if not isinstance(error, Lost | NotBegun | Ended | NotDone | CredentialError):
            words = f"{type(error).__name__}: {words}" if words else type(error).__name__
        words = self._redactor.redact_text(words.encode("utf-8", "backslashreplace").decode())
        return words if len(words) <= CLIP else f"{words[: CLIP - 1]}…"


def _unheard(future: asyncio.Future[Any]) -> None:
    """Nobody waits for it any more, and asyncio shall not log what it raises: that may hold what was lent."""
    if not future.cancelled():
        future.exception()


def _caught(flight: Flight, switches: tuple[Switch, ...]) -> Reason | None:
    call = flight.ticket.wish.call
    return killed_by(
        switches, tenant=call.tenant, agent=call.agent, run=call.run_id, tool=call.tool, effect=flight.tool.effect
    )


def _timed_out(tool: Tool) -> str:
    return "it ran out of time" if tool.timeout is None else f"it took longer than {tool.timeout / MICROS:g} s"
