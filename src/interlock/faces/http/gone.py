"""Whether a client is still there, for those who wait long.

Not the waiting. Law: whoever waits learns when its client has gone or the server closes, at the cost of one task, and
only once it asks.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

from interlock.faces.http.receive import Receive


class Gone:
    """One for each app."""

    def __init__(self) -> None:
        self._closing = False
        self._waiting: set[asyncio.Task[None]] = set()

    def of(self, receive: Receive) -> Callable[[], Awaitable[None]]:
        """Something to call by whoever waits; what it gives returns when there is nobody left to wait for."""

        async def gone() -> None:
            if self._closing:
                return
            task = asyncio.ensure_future(_disconnected(receive))
            self._waiting.add(task)
            try:
                await asyncio.wait({task})
            finally:
                self._waiting.discard(task)
                task.cancel()

        return gone

    @property
    def closing(self) -> bool:
        """True once the server closes: for what has to look, because it sends and does not wait."""
        return self._closing

    def all(self) -> None:
        """The server closes: nobody waits any longer."""
        self._closing = True
        for task in self._waiting:
            task.cancel()


async def _disconnected(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass
