"""Group commit: whatever is waiting lands in one transaction.

Not a store, and no rule. Law: a caller hears of its unit only after the commit; if one unit of a batch raises, the
batch is rolled back and its units are run again one by one, so that only the guilty one fails.

Nobody changes threads for a commit that is quick. A sync caller who finds nothing waiting commits on its own thread.
What the callers of an event loop ask for in one turn of it is one batch, and is committed at the end of that turn, in
the loop's own thread; where several callers have come together lately, once a turn has brought no more. Whatever would
have to wait (for another thread, for another process, for a network, for a disk that was slow the last time) goes to
one writer thread, which takes all that has gathered while it was committing, and wakes each event loop once for each
batch.
"""

from __future__ import annotations

import asyncio
import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import Any, TypeVar

from interlock.errors import LedgerUnavailable
from interlock.ports import Busy, Store
from interlock.unit import Unit

T = TypeVar("T")

BATCH = 512  #: units in one transaction, at most
LOOP_WAITS = 0.002  #: seconds that an event loop may stand still for the disk; twice more, and a thread waits for it
CROWDED = 8  #: batches for which more callers are expected after several came together
SLOW_TURNS = 64  #: turns of event loops that a thread waits for, before one is tried on its loop again


class _Waiter:
    """A sync caller, asleep until its unit has landed."""

    __slots__ = ("_done", "error", "value")

    def __init__(self) -> None:
        self._done = threading.Lock()
        self._done.acquire()
        self.value: Any = None
        self.error: BaseException | None = None

    def wake(self) -> None:
        self._done.release()

    def wait(self) -> Any:
        self._done.acquire()
        if self.error is not None:
            raise self.error
        return self.value


class Promise:
    """An async caller: a future of its own event loop, set once with all the others of the batch."""

    __slots__ = ("_future", "_settled", "cancelled", "error", "loop", "value")

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self.loop = loop
        self.value: Any = None
        self.error: BaseException | None = None
        self.cancelled = False  #: the caller was cancelled while it waited
        self._future: asyncio.Future[None] = loop.create_future()
        self._settled = False

    async def outcome(self) -> Any:
        """The unit's value, once it has landed. A caller who is cancelled meanwhile still waits: a unit cannot be taken
        back, and what it did must be known. Raises what the unit raised."""
        while not self._settled:
            try:
                await self._future
            except asyncio.CancelledError:
                self.cancelled = True
                self._future = self.loop.create_future()
        if self.error is not None:
            raise self.error
        return self.value

    def settle(self) -> None:
        """In its own loop: the unit has landed, or failed."""
        self._settled = True
        if not self._future.done():
            self._future.set_result(None)


_Asked = tuple[Unit[Any], _Waiter | Promise]


class Committer:
    """One for each store in a process."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._queue: deque[_Asked] = deque()
        self._transacting = threading.Lock()
        self._signal = threading.Lock()  # unlocked: there may be something in the queue
        self._signal.acquire()
        self._closed = False
        self._thread: threading.Thread | None = None
        self._starting = threading.Lock()
        self._gathered: dict[asyncio.AbstractEventLoop, list[tuple[Unit[Any], Promise]]] = {}  # in this turn of each
        self._slow_turns = 0  # of event loops: how many more the thread commits
        self._was_slow = False
        self._crowded = 0  # batches, since one had several units in it
        self.landed: Callable[[int, float], None] | None = None  #: told of each batch: its units, its seconds

    def run(self, unit: Unit[T]) -> T:
        """Commit a unit and give its value. Raises what the unit raised, or LedgerUnavailable."""
        if not self._queue and self._transacting.acquire(blocking=False):
            try:
                self._refuse_if_closed()
                value: T = self._transact((unit,), wait=True)[0]
                return value
            finally:
                self._transacting.release()
        self._refuse_if_closed()
        waiter = _Waiter()
        self._hand_over(((unit, waiter),))
        result: T = waiter.wait()
        return result

    def submit(self, unit: Unit[Any], loop: asyncio.AbstractEventLoop) -> Promise:
        """The same for an async caller, in its event loop: `await promise.outcome()`."""
        self._refuse_if_closed()
        promise = Promise(loop)
        gathered = self._gathered.get(loop)
        if gathered is None:
            self._gathered[loop] = gathered = []
            loop.call_soon(self._turn, loop)
        gathered.append((unit, promise))
        return promise

    def close(self) -> None:
        """Commit what is waiting, and take nothing more."""
        with self._starting:
            self._closed = True
        for loop in list(self._gathered):
            self._queue.extend(self._gathered.pop(loop, ()))
        self._hand_over(())

    def _refuse_if_closed(self) -> None:
        if self._closed:
            raise LedgerUnavailable("the gateway is closed; open it again")

    # --- on the loop of those who ask --------------------------------------------------------------------------------

    def _turn(self, loop: asyncio.AbstractEventLoop, seen: int = 0) -> None:
        """The end of a turn of an event loop: commit what its callers have asked for in it; where there are several,
        once a turn has brought no more."""
        so_far = len(self._gathered.get(loop, ()))
        if self._crowded and seen < so_far < BATCH:
            loop.call_soon(self._turn, loop, so_far)
            return
        batch = self._gathered.pop(loop, ())
        if not batch:  # closed meanwhile
            return
        self._crowded = CROWDED if len(batch) > 1 else max(0, self._crowded - 1)
        if self._slow_turns:
            self._slow_turns -= 1
        elif self._is_quick(len(batch)) and self._transacting.acquire(blocking=False):
            try:
                self._commit_here(batch)
            except Busy:
                self._slow_turns = SLOW_TURNS
            else:
                _settle_all([promise for _, promise in batch])
                return
            finally:
                self._transacting.release()
        self._hand_over(batch)

    def _is_quick(self, units: int) -> bool:
        return self._store.quick and units <= BATCH and not self._queue

    def _commit_here(self, batch: Sequence[tuple[Unit[Any], Promise]]) -> None:
        """Raises Busy, and nothing has begun, where it would have to wait for another process."""
        began, worked = time.perf_counter(), time.thread_time()
        self._commit(batch, wait=False)
        stood_still = time.perf_counter() - began - (time.thread_time() - worked)
        slow = stood_still > LOOP_WAITS
        if slow and self._was_slow:  # once may be a checkpoint of the database
            self._slow_turns = SLOW_TURNS
        self._was_slow = slow

    # --- on the thread -----------------------------------------------------------------------------------------------

    def _hand_over(self, batch: Sequence[_Asked]) -> None:
        self._queue.extend(batch)
        if self._thread is None and self._queue:
            self._start()
        self._wake()
        if self._closed:  # perhaps in between: the thread may have gone already
            if self._thread is not None:
                self._thread.join()
            self._drain()

    def _start(self) -> None:
        with self._starting:
            if self._thread is None and not self._closed:
                self._thread = threading.Thread(target=self._work, name="interlock-committer", daemon=True)
                self._thread.start()

    def _wake(self) -> None:
        try:
            self._signal.release()
        except RuntimeError:  # unlocked already: the thread has been told
            pass

    def _work(self) -> None:
        while True:
            self._signal.acquire()
            self._drain()
            if self._closed:
                return

    def _drain(self) -> None:
        while self._queue:
            batch: list[_Asked] = []
            with self._transacting:
                while self._queue and len(batch) < BATCH:
                    batch.append(self._queue.popleft())
                if batch:
                    self._commit(batch, wait=True)
            _announce([caller for _, caller in batch])

    # --- anywhere ----------------------------------------------------------------------------------------------------

    def _transact(self, units: Sequence[Unit[Any]], *, wait: bool) -> list[Any]:
        if self.landed is None:
            return self._store.transact(units, wait=wait)
        began = time.perf_counter()
        values = self._store.transact(units, wait=wait)
        self.landed(len(units), time.perf_counter() - began)
        return values

    def _commit(self, batch: Sequence[_Asked], *, wait: bool) -> None:
        try:
            values = self._transact([unit for unit, _ in batch], wait=wait)
        except Busy:
            raise
        except BaseException as error:  # every caller must hear, whatever it was
            if len(batch) == 1 or isinstance(error, LedgerUnavailable):
                for _, caller in batch:
                    caller.error = error
                return
            for each in batch:
                self._commit((each,), wait=True)
        else:
            for (_, caller), value in zip(batch, values, strict=True):
                caller.value = value


def _announce(callers: Sequence[_Waiter | Promise]) -> None:
    """Wake each sleeping thread, and each event loop once."""
    loops: dict[asyncio.AbstractEventLoop, list[Promise]] = {}
    for caller in callers:
        if isinstance(caller, _Waiter):
            caller.wake()
        else:
            loops.setdefault(caller.loop, []).append(caller)
    for loop, promises in loops.items():
        with suppress(RuntimeError):  # the loop is closed: nobody is waiting there any more
            loop.call_soon_threadsafe(_settle_all, promises)


def _settle_all(promises: Sequence[Promise]) -> None:
    for promise in promises:
        promise.settle()
