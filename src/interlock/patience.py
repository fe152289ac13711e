"""Waiting for a program that may never come back.

Not a budget, which the gateway holds a run to, and no tool's timeout. Law: whoever waits here goes on in time, or at
once when interrupted; a job that does not end when it is asked to is left behind, on a thread that keeps nobody.
"""

from __future__ import annotations

import inspect
import threading
from collections.abc import Callable
from contextlib import suppress
from contextvars import copy_context
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import asyncio

GRACE = 2.0  #: seconds that a job is given to end, once nobody waits for it any more
NAME = "interlock-job"


def left_behind() -> bool:
    """True where a job of this process has not ended: threads that it has started may keep the process from its end."""
    return any(thread.name == NAME for thread in threading.enumerate())


class Job:
    """A function on a thread of its own. What it awaits, it awaits on one event loop, by `awaited`."""

    def __init__(self, work: Callable[[Job], None]) -> None:
        self._work = work
        self._over = threading.Event()
        self._error: BaseException | None = None
        self._runner: asyncio.Runner | None = None

    def ended(self, seconds: float | None, give_up: Callable[[], None]) -> bool:
        """True once it has come to its end; what it raised is raised here. False after so many seconds (None: however
        long it takes): `give_up` has been called then, and what it awaited was cancelled. Both are done, too, where
        whoever waits is interrupted."""
        thread = threading.Thread(target=copy_context().run, args=(self._run,), name=NAME, daemon=True)
        thread.start()
        try:
            in_time = self._over.wait(seconds)
        except BaseException:
            self._abandon(give_up)
            raise
        if not in_time:
            self._abandon(give_up)
        elif self._error is not None:
            raise self._error
        return in_time

    def awaited(self, value: Any) -> Any:
        """The value; or, where that has to be awaited, what comes of it. For the job's own thread."""
        if not inspect.isawaitable(value):
            return value
        if self._runner is None:
            from asyncio import Runner  # loads much

            self._runner = Runner()
        return self._runner.run(_coroutine(value))

    def _run(self) -> None:
        try:
            self._work(self)
        except BaseException as error:  # whoever waits raises it
            self._error = error
        finally:
            if self._runner is not None:
                with suppress(Exception):  # what an agent has left on the loop is not what is asked for
                    self._runner.close()
            self._over.set()

    def _abandon(self, give_up: Callable[[], None]) -> None:
        give_up()
        if self._runner is not None:
            with suppress(RuntimeError):  # its loop has been closed in the meantime
                loop = self._runner.get_loop()
                loop.call_soon_threadsafe(_cancel_all, loop)
        self._over.wait(GRACE)


def _cancel_all(loop: asyncio.AbstractEventLoop) -> None:
    from asyncio import all_tasks

    for task in all_tasks(loop):
        task.cancel()


async def _coroutine(value: Any) -> Any:
    return await value
