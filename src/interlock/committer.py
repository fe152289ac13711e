"""Group commit: whatever is waiting lands in one transaction.

Not a store, and no rule. Law: a caller hears of its unit only after the commit; if one unit of a batch raises, the
batch is rolled back and its units are run again one by one, so that only the guilty one fails.

A sync caller who finds nothing waiting commits on its own thread, without a hop. Everybody else queues for one writer
thread, which takes all that has gathered while it was committing, and wakes each event loop once for each batch.
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
from interlock.ports import Store
from interlock.unit import Unit

T = TypeVar("T")

BATCH = 512  #: units in one transaction, at most


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


class Committer:
    """One for each store in a process."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._queue: deque[tuple[Unit[Any], _Waiter | Promise]] = deque()
        self._transacting = threading.Lock()
        self._signal = threading.Lock()  # unlocked: there may be something in the queue
        self._signal.acquire()
        self._closed = False
        self._thread: threading.Thread | None = None
        self._starting = threading.Lock()
        self.landed: Callable[[int, float], None] | None = None  #: told of each batch: its units, its seconds

    def run(self, unit: Unit[T]) -> T:
        """Commit a unit and give its value. Raises what the unit raised, or LedgerUnavailable."""
        if not self._queue and self._transacting.acquire(blocking=False):
            try:
                self._refuse_if_closed()
                value: T = self._transact((unit,))[0]
                return value
            finally:
                self._transacting.release()
        waiter = _Waiter()
        self._enqueue(unit, waiter)
        result: T = waiter.wait()
        return result

    def submit(self, unit: Unit[Any], loop: asyncio.AbstractEventLoop) -> Promise:
        """The same for an async caller of that event loop: `await promise.outcome()`."""
        promise = Promise(loop)
        self._enqueue(unit, promise)
        return promise

    def close(self) -> None:
        """Commit what is waiting, and take nothing more."""
        with self._starting:
            self._closed = True
            thread = self._thread
        if thread is not None:
            self._wake()
            thread.join()

    def _refuse_if_closed(self) -> None:
        if self._closed:
            raise LedgerUnavailable("the gateway is closed; open it again")

    def _enqueue(self, unit: Unit[Any], caller: _Waiter | Promise) -> None:
        if self._thread is None:
            self._start()
        self._refuse_if_closed()
        self._queue.append((unit, caller))
        self._wake()
        if self._closed and self._thread is not None:  # closed in between: the thread may have gone already
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
            batch: list[tuple[Unit[Any], _Waiter | Promise]] = []
            with self._transacting:
                while self._queue and len(batch) < BATCH:
                    batch.append(self._queue.popleft())
                if batch:
                    self._commit(batch)
            _announce([caller for _, caller in batch])

    def _transact(self, units: Sequence[Unit[Any]]) -> list[Any]:
        if self.landed is None:
            return self._store.transact(units)
        began = time.perf_counter()
        values = self._store.transact(units)
        self.landed(len(units), time.perf_counter() - began)
        return values

    def _commit(self, batch: Sequence[tuple[Unit[Any], _Waiter | Promise]]) -> None:
        try:
            values = self._transact([unit for unit, _ in batch])
        except BaseException as error:  # every caller must hear, whatever it was
            if len(batch) == 1 or isinstance(error, LedgerUnavailable):
                for _, caller in batch:
                    caller.error = error
                return
            for each in batch:
                self._commit((each,))
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
