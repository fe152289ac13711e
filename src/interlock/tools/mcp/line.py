"""One connection of HTTP/1.1: one request at a time, and its one answer.

Not the choice of a connection: see `http1.py`. Law: a request is written once; what comes unasked ends the connection;
nothing is read without a limit; whoever is cancelled or out of time closes it.
"""

from __future__ import annotations

import asyncio
import select
from collections.abc import Callable
from enum import Enum, auto
from typing import TYPE_CHECKING, NamedTuple

import httptools

from interlock.tools.mcp.events import Events, TooLong

if TYPE_CHECKING:  # they hold each other
    from interlock.tools.mcp.http1 import Pool

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


class State(Enum):
    """What a connection is about."""

    IDLE = auto()  #: nothing is to be heard from it
    ASKED = auto()  #: the request left
    DRAINING = auto()  #: the answer came in a stream that has not ended yet
    ENDED = auto()


class Line(asyncio.Protocol):
    """One connection, one request at a time."""

    def __init__(self, pool: Pool) -> None:
        self._pool = pool
        self._loop = asyncio.get_running_loop()
        self._state = State.IDLE
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
        return self._state is State.ASKED

    def fresh(self, idle: float) -> bool:
        """True where it is open, and nothing has come, not even its end, since its last answer."""
        if self._state is not State.IDLE or self._transport is None or self._transport.is_closing():
            return False
        if self._loop.time() - self.since > idle:
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
        self._state, self._answer = State.ASKED, answer
        late = self._loop.call_later(seconds, self._late, seconds)
        try:
            self._transport.write(request)
            return await answer
        finally:
            late.cancel()
            if self._answer is answer:  # else somebody has asked it already since it answered
                self._answer = None
                if self._state is State.ASKED:  # cancelled
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
        if self._state is State.IDLE:
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
        if self._state is State.ASKED and exc is None and self._headed and not self._framed and not self._streams:
            self._give(bytes(self._body))  # an answer of the old kind: it ends where the connection does
        self._lost(f"the connection ended early ({type(exc).__name__})" if exc else "the connection ended early")

    # --- the parser's calls: what they raise is lost, so they raise nothing ---

    def on_message_begin(self) -> None:
        if self._state is State.ASKED:
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
        if self._state is State.DRAINING:
            self._rest_bytes += len(chunk)
            if self._rest_bytes > MAX_REST:
                self._unasked = True
        elif self._state is State.ASKED and self._streams and self._status < 400:
            self._hear(chunk)
        elif self._state is State.ASKED:
            self._body += chunk
            if len(self._body) > self._pool.most:
                self._fail(TooMuch())

    def on_message_complete(self) -> None:
        if self._unasked or 100 <= self._status < 200:  # the latter is not yet the answer
            return
        if self._state is State.ASKED:
            if self._streams and self._status < 400:
                self._fail(Cut("the stream ended without an answer"))
                return
            self._give(bytes(self._body))
        if self._state is State.ENDED:
            return
        if self._parser.should_keep_alive() and self._transport and not self._transport.get_write_buffer_size():
            self._state = State.IDLE
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
        self._state, self.since = State.DRAINING, self._loop.time()
        if self._answer is not None and not self._answer.done():
            self._answer.set_result(Reply(self._status, self._content_type, self._encoded, self._streams, body))

    def _late(self, seconds: float) -> None:
        self._fail(TimeoutError(f"timed out after {seconds:g} s"))

    def _fail(self, error: Exception) -> None:
        if self._answer is not None and not self._answer.done():
            self._answer.set_exception(error)
        self.end()

    def _lost(self, why: str) -> None:
        self._state = State.ENDED
        self._pool.forget(self)
        if self._answer is not None and not self._answer.done():
            self._answer.set_exception(Cut(why))
