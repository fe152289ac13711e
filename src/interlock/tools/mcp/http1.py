"""HTTP/1.1 to one server, over kept connections.

Not a connection (`line.py`), not the protocol (`wire.py`); no redirects, no proxies, no cookies. It costs a call a
twentieth of what httpx does, and it says what httpx does not: whether a byte of the request left. Law: a kept
connection is looked at before it is used again; what belongs to an event loop ends with it.
"""

from __future__ import annotations

import asyncio
import ssl
from functools import cache, partial
from typing import NamedTuple
from urllib.parse import urlsplit

import httpx2

from interlock.tools.mcp.line import Final, Line, Reply, Unsent

CONNECT_SECONDS = 10.0
IDLE_SECONDS = 2.0  #: a connection that the server is about to drop would cost a reply; so ours are dropped sooner


class Origin(NamedTuple):
    """Where requests go."""

    host: str
    port: int
    authority: bytes  #: as the Host header says it
    target: bytes  #: path and query
    tls: ssl.SSLContext | None


def origin_of(url: str) -> Origin | None:
    """Where this URL points, or None for one that holds a user or a password. Blocks: it may read certificates."""
    if urlsplit(url).username is not None:
        return None
    parsed = httpx2.URL(url)
    secure = parsed.scheme == "https"
    port = parsed.port or (443 if secure else 80)
    return Origin(
        parsed.raw_host.decode("ascii"), port, parsed.netloc, parsed.raw_path, _tls() if secure else None
    )


@cache
def _tls() -> ssl.SSLContext:
    """The SDK's own trust, read once: it takes tens of milliseconds."""
    context = httpx2.create_ssl_context(trust_env=False)
    context.set_alpn_protocols(["http/1.1"])
    return context


class Pool:
    """The connections to one origin that belong to one event loop. Used on that loop alone."""

    def __init__(self, origin: Origin, *, most: int, most_event: int) -> None:
        self.most, self.most_event = most, most_event
        self._origin = origin
        self._idle: list[Line] = []
        self._lines: set[Line] = set()
        self._keeper: asyncio.Task[None] | None = None
        self._closed = False

    async def ready(self) -> None:
        """See that a connection is open, so that the next `send` has nothing to wait for. Raises Unsent."""
        if not (self._idle and self._idle[-1].fresh(IDLE_SECONDS)):
            line = self._kept() or await self._opened(CONNECT_SECONDS)
            line.rest()

    async def send(self, request: bytes, final: Final, seconds: float) -> Reply:
        """One request, and its answer. Raises Unsent, Cut, TooMuch, and TimeoutError where no answer came in time."""
        line = self._kept() or await self._opened(min(CONNECT_SECONDS, seconds))
        return await line.ask(request, final, seconds)

    def close(self, *, now: bool = False) -> None:
        """Keep no connection any more; `now`: end those too that wait for an answer."""
        self._closed = True
        for line in list(self._lines):
            if now or not line.busy:
                line.end()

    # --- for its lines ---

    def keep(self, line: Line) -> None:
        """It has said all of its answer, and may be asked again."""
        if self._closed:
            line.end()
        else:
            self._idle.append(line)

    def forget(self, line: Line) -> None:
        """It has ended."""
        self._lines.discard(line)
        if line in self._idle:
            self._idle.remove(line)

    # ---

    def _kept(self) -> Line | None:
        while self._idle:
            line = self._idle.pop()
            if line.fresh(IDLE_SECONDS):
                return line
            line.end()
        return None

    async def _opened(self, seconds: float) -> Line:
        loop, origin = asyncio.get_running_loop(), self._origin
        name = None if origin.tls is None else origin.host
        try:
            async with asyncio.timeout(seconds):
                _, line = await loop.create_connection(
                    partial(Line, self), origin.host, origin.port, ssl=origin.tls, server_hostname=name
                )
        except TimeoutError:
            raise Unsent("no connection in time") from None
        except (OSError, ValueError) as error:  # ssl.SSLError is an OSError; a name that cannot be is a ValueError
            raise Unsent(getattr(error, "strerror", None) or str(error) or type(error).__name__) from None
        self._lines.add(line)
        if self._keeper is None and not self._closed:
            self._keeper = loop.create_task(self._keep_house(), name="interlock-upstream-connections")
        return line

    async def _keep_house(self) -> None:
        """Drop what has been idle for too long; and all of it when the loop ends, which cancels its tasks."""
        loop = asyncio.get_running_loop()
        try:
            while self._lines and not self._closed:
                await asyncio.sleep(IDLE_SECONDS / 2)
                for line in list(self._lines):
                    if not line.busy and loop.time() - line.since > IDLE_SECONDS:
                        line.end()
        finally:
            self._keeper = None
            for line in list(self._lines):
                if not line.busy:
                    line.end()
