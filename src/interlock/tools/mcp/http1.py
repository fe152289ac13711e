"""HTTP/1.1 to one server, over kept connections: one request, its one answer.

Not the protocol (`wire.py`), no redirects, no proxies, no cookies. It costs a call a twentieth of what httpx does, and
it says what httpx does not: whether a byte of the request left. Law: a request is written once; a kept connection is
looked at first, and never one that said anything unasked; nothing is read without a limit; whoever is cancelled or out
of time closes its connection.
"""

from __future__ import annotations

import asyncio
import select
import ssl
from collections.abc import Callable
from enum import Enum, auto
from functools import cache, partial
from typing import NamedTuple
from urllib.parse import urlsplit

import httptools
import httpx2

from interlock.tools.mcp.events import Events, TooLong

CONNECT_SECONDS = 10.0
IDLE_SECONDS = 2.0  #: a connection that the server is about to drop would cost a reply; so ours are dropped sooner
MAX_HEAD = 64 * 1024
MAX_REST = 64 * 1024  #: what a stream may still say behind its answer

Final = Callable[[bytes], bool]
"""Whether this event of a stream is the answer."""


class Unsent(Exception):
    """No byte of the request left."""


class Cut(Exception):
    """The request left, at least in part, and no whole answer came."""


class TooMuch(Exception):
    """The answer is larger than what is read."""


class Reply(NamedTuple):
    """An answer: of a stream, the one event that is it."""

    status: int
    content_type: str
    encoded: bool  #: compressed, though nobody asked for it
    streamed: bool
    body: bytes


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
        self._idle: list[_Line] = []
        self._lines: set[_Line] = set()
        self._keeper: asyncio.Task[None] | None = None
        self._closed = False

    async def ready(self) -> None:
        """See that a connection is open, so that the next `send` has nothing to wait for. Raises Unsent."""
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

    def keep(self, line: _Line) -> None:
        """It has said all of its answer, and may be asked again."""
        if self._closed:
            line.end()
        else:
            self._idle.append(line)

    def forget(self, line: _Line) -> None:
        """It has ended."""
        self._lines.discard(line)
        if line in self._idle:
            self._idle.remove(line)

    # ---

    def _kept(self) -> _Line | None:
        while self._idle:
            line = self._idle.pop()
            if line.fresh():
                return line
            line.end()
        return None

    async def _opened(self, seconds: float) -> _Line:
        loop, origin = asyncio.get_running_loop(), self._origin
        name = None if origin.tls is None else origin.host
        try:
            async with asyncio.timeout(seconds):
                _, line = await loop.create_connection(
                    partial(_Line, self), origin.host, origin.port, ssl=origin.tls, server_hostname=name
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


class _State(Enum):
    IDLE = auto()  #: nothing is to be heard from it
    ASKED = auto()  #: the request left
    DRAINING = auto()  #: the answer came in a stream that has not ended yet
    ENDED = auto()


class _Line(asyncio.Protocol):
    """One connection, one request at a time."""

    def __init__(self, pool: Pool) -> None:
        self._pool = pool
        self._loop = asyncio.get_running_loop()
        self._state = _State.IDLE
        self._transport: asyncio.Transport | None = None
        self._parser = httptools.HttpResponseParser(self)
        self._poll: select.poll | None = None
        self._answer: asyncio.Future[Reply] | None = None
        self._unasked = False
        self.since = self._loop.time()
        self._begin()

    @property
    def busy(self) -> bool:
        """Somebody waits for its answer."""
        return self._state is _State.ASKED

    def fresh(self) -> bool:
        """True where it is open, and nothing has come, not even its end, since its last answer."""
        if self._state is not _State.IDLE or self._transport is None or self._transport.is_closing():
            return False
        if self._loop.time() - self.since > IDLE_SECONDS:
            return False
        return self._poll is None or not self._poll.poll(0)

    def rest(self) -> None:
        """Nobody asks it anything yet."""
        self.since = self._loop.time()
        self._pool.keep(self)

    def end(self) -> None:
        """Close it, now."""
        self._lost("the connection was closed here")
        if self._transport is not None:
            self._transport.abort()

    async def ask(self, request: bytes, final: Final, seconds: float) -> Reply:
        """The one answer to this request."""
        if self._transport is None or self._transport.is_closing():
            raise Unsent("the connection ended before it was used")
        self._begin()
        self._final = final
        answer: asyncio.Future[Reply] = self._loop.create_future()
        self._state, self._answer = _State.ASKED, answer
        late = self._loop.call_later(seconds, self._late, seconds)
        try:
            self._transport.write(request)
            return await answer
        finally:
            late.cancel()
            if self._answer is answer:  # else somebody has asked it already since it answered
                self._answer = None
                if self._state is _State.ASKED:  # cancelled
                    self.end()
            if not answer.cancelled():
                answer.exception()  # heard, even where a cancellation came between

    # --- the transport's calls ---

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = transport  # type: ignore[assignment]  # a stream's transport is one that writes
        socket = transport.get_extra_info("socket")
        if socket is not None and hasattr(select, "poll"):
            self._poll = select.poll()
            self._poll.register(socket.fileno(), select.POLLIN)

    def data_received(self, data: bytes) -> None:
        if self._state is _State.IDLE:
            self.end()
            return
        if not self._headed:
            self._head_bytes += len(data)
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserError as error:  # among them: a protocol that is not HTTP any more
            self._fail(Cut(f"it does not speak HTTP: {error}"))
            return
        if self._unasked:
            self.end()
        elif not self._headed and self._head_bytes > MAX_HEAD:
            self._fail(Cut(f"it sent more than {MAX_HEAD} bytes of headers"))

    def connection_lost(self, exc: Exception | None) -> None:
        if self._state is _State.ASKED and exc is None and self._headed and not self._framed and not self._streams:
            self._give(bytes(self._body))  # an answer of the old kind: it ends where the connection does
        self._lost(f"the connection ended early ({type(exc).__name__})" if exc else "the connection ended early")

    # --- the parser's calls: what they raise is lost, so they raise nothing ---

    def on_message_begin(self) -> None:
        if self._state is _State.ASKED:
            self._begin()
        else:
            self._unasked = True

    def on_header(self, name: bytes, value: bytes) -> None:
        if self._headed:  # a trailer
            return
        key, text = name.lower(), value.decode("latin-1").strip()
        if key == b"content-type":
            self._content_type = text
        elif key == b"content-encoding":
            self._encoded = text.lower() not in ("", "identity")
        elif key in (b"content-length", b"transfer-encoding"):
            self._framed = True

    def on_headers_complete(self) -> None:
        self._headed = True
        self._status = self._parser.get_status_code()
        self._streams = self._content_type.lower().startswith("text/event-stream") and not self._encoded
        self._events = Events(self._pool.most_event)

    def on_body(self, chunk: bytes) -> None:
        if self._state is _State.DRAINING:
            self._rest_bytes += len(chunk)
            if self._rest_bytes > MAX_REST:
                self._unasked = True
        elif self._state is _State.ASKED and self._streams and self._status < 400:
            self._hear(chunk)
        elif self._state is _State.ASKED:
            self._body += chunk
            if len(self._body) > self._pool.most:
                self._fail(TooMuch())

    def on_message_complete(self) -> None:
        if self._unasked or 100 <= self._status < 200:  # the latter is not yet the answer
            return
        if self._state is _State.ASKED:
            if self._streams and self._status < 400:
                self._fail(Cut("the stream ended without an answer"))
                return
            self._give(bytes(self._body))
        if self._state is _State.ENDED:
            return
        if self._parser.should_keep_alive() and self._transport and not self._transport.get_write_buffer_size():
            self._state = _State.IDLE
            self.rest()
        else:
            self.end()

    # ---

    def _begin(self) -> None:
        self._headed = self._framed = self._encoded = self._streams = False
        self._head_bytes = self._rest_bytes = self._status = 0
        self._content_type, self._body = "", bytearray()

    def _hear(self, chunk: bytes) -> None:
        try:
            for event in self._events.heard(chunk):
                if self._final(event):
                    self._give(event)
                    return
        except TooLong:
            self._fail(Cut(f"it sent an event of more than {self._pool.most_event} bytes"))

    def _give(self, body: bytes) -> None:
        self._state, self.since = _State.DRAINING, self._loop.time()
        if self._answer is not None and not self._answer.done():
            self._answer.set_result(Reply(self._status, self._content_type, self._encoded, self._streams, body))

    def _late(self, seconds: float) -> None:
        self._fail(TimeoutError(f"timed out after {seconds:g} s"))

    def _fail(self, error: Exception) -> None:
        if self._answer is not None and not self._answer.done():
            self._answer.set_exception(error)
        self.end()

    def _lost(self, why: str) -> None:
        self._state = _State.ENDED
        self._pool.forget(self)
        if self._answer is not None and not self._answer.done():
            self._answer.set_exception(Cut(why))
