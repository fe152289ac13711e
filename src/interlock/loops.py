"""One event loop on a thread of its own, for what must await where nobody else does.

Not a scheduler, and no pool: async tools that are called from sync code run here, and so do the clients of upstreams.
Law: nothing here waits for a caller, and no caller is left waiting: a coroutine is run, cancelled, or refused.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Coroutine
from concurrent.futures import Future
from typing import Any, TypeVar

T = TypeVar("T")


class LoopThread:
    """A daemon thread with an event loop. Starts when it is first used; a forked child starts its own."""

    def __init__(self, name: str = "interlock-loop") -> None:
        self._name = name
        self._lock = threading.Lock()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._thread: threading.Thread | None = None
        self._closed = False

    def submit(self, coroutine: Coroutine[Any, Any, T]) -> Future[T]:
        """Run a coroutine there, in the caller's context variables. Cancelling the future cancels the coroutine."""
        with self._lock:
            if self._closed:
                coroutine.close()
                raise RuntimeError("the event loop of this gateway is closed")
            return asyncio.run_coroutine_threadsafe(coroutine, self._running())

    def is_here(self) -> bool:
        """True on the loop's own thread: whoever waits there for a coroutine of it waits for ever."""
        return threading.current_thread() is self._thread

    def close(self, grace: float = 10.0) -> None:
        """Cancel what is left, end the thread, and wait so many seconds for that. Closing twice does nothing."""
        with self._lock:
            thread, loop, self._closed = self._thread, self._loop, True
        if thread is None or loop is None or not thread.is_alive():
            return
        try:
            loop.call_soon_threadsafe(loop.stop)
        except RuntimeError:  # it has ended by itself in the meantime
            return
        if thread is not threading.current_thread():  # a coroutine may close the gateway that runs it
            thread.join(grace)

    def _running(self) -> asyncio.AbstractEventLoop:
        if self._loop is None or self._thread is None or not self._thread.is_alive():
            started: Future[asyncio.AbstractEventLoop] = Future()
            self._thread = threading.Thread(target=_run, args=(started,), name=self._name, daemon=True)
            self._thread.start()
            self._loop = started.result()
        return self._loop


def _run(started: Future[asyncio.AbstractEventLoop]) -> None:
    with asyncio.Runner() as runner:  # leaving it cancels every task that is left, and waits for them
        loop = runner.get_loop()
        started.set_result(loop)
        loop.run_forever()
