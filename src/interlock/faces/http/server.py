"""Uvicorn, with what it leaves open: headers have a size and a time, whoever waits is let go at the end.

Not the application. Law: a client that sends slowly, or never ends its headers, holds a socket for a limited time and
nothing else; calls in flight are settled before the process goes.
"""

from __future__ import annotations

import asyncio
import gc
import logging
import resource
import socket
from collections.abc import AsyncIterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from typing import Any

import uvicorn
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol, RequestResponseCycle

from interlock.errors import ConfigError
from interlock.faces.http.receive import HEADER_BYTES

THREADS = 32  #: for whatever waits for the ledger, beside the committer
PATIENCE = 30  #: seconds that the end of the process waits for answers
IDLE = 75  #: seconds that a connection may be silent between requests
HEADER_SECONDS = 10.0

_HEAD = b"HTTP/1.1 "
_log = logging.getLogger("interlock.http")
_SLOW = b"HTTP/1.1 408 Request Timeout\r\ncontent-length: 0\r\nconnection: close\r\n\r\n"
_LARGE = b"HTTP/1.1 431 Request Header Fields Too Large\r\ncontent-length: 0\r\nconnection: close\r\n\r\n"


class Corked:
    """A transport that holds the head of an answer back until its body comes, in the same turn of the loop: whoever
    asked is woken once."""

    def __init__(self, transport: asyncio.Transport, loop: asyncio.AbstractEventLoop) -> None:
        self._transport, self._loop = transport, loop
        self._head = b""
        self.is_closing, self.get_extra_info = transport.is_closing, transport.get_extra_info
        self.pause_reading, self.resume_reading = transport.pause_reading, transport.resume_reading

    def __getattr__(self, name: str) -> Any:
        return getattr(self._transport, name)

    def write(self, data: bytes) -> None:
        """See asyncio."""
        if self._head:
            data, self._head = self._head + data, b""
        elif data.startswith(_HEAD):
            self._head = data
            self._loop.call_soon(self._uncork)
            return
        self._transport.write(data)

    def close(self) -> None:
        """See asyncio."""
        self._uncork()
        self._transport.close()

    def _uncork(self) -> None:
        if self._head:
            self.write(b"")


class Guarded(HttpToolsProtocol):
    """One connection. Until its headers are whole, both their bytes and their seconds are counted."""

    _coming = 0  #: bytes of headers that are not whole yet; -1: they are, and the body comes
    _late: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """See asyncio."""
        super().connection_made(Corked(transport, self.loop))  # type: ignore[arg-type]
        self._await_headers()

    def connection_lost(self, exc: Exception | None) -> None:
        """See asyncio."""
        self._headers_are_whole()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """See asyncio."""
        if self._coming >= 0:
            self._coming += len(data)
        super().data_received(data)
        if self._coming > HEADER_BYTES and not self.transport.is_closing():
            self._refuse(_LARGE)
        elif self._coming > 0 and self._late is None:  # a part of another request's
            self._await_headers()

    def on_headers_complete(self) -> None:
        """See httptools."""
        self._headers_are_whole()
        self._coming = -1  # the body is the application's to limit
        super().on_headers_complete()

    def on_message_complete(self) -> None:
        """See httptools."""
        self._coming = 0
        super().on_message_complete()

    def shutdown(self) -> None:
        """The server closes: whoever only waits is answered now, so that the calls in flight have the time."""
        self.app.gone.all()
        super().shutdown()

    @property
    def busy(self) -> bool:
        """True while a request before this one has no whole answer."""
        cycle: RequestResponseCycle | None = self.cycle
        return cycle is not None and not cycle.response_complete

    def _await_headers(self) -> None:
        self._late = self.loop.call_later(HEADER_SECONDS, self._refuse, _SLOW)

    def _headers_are_whole(self) -> None:
        if self._late is not None:
            self._late.cancel()
            self._late = None

    def _refuse(self, answer: bytes) -> None:
        if self.transport.is_closing():
            return
        if not self.busy:
            self.transport.write(answer)
        self.transport.close()


@asynccontextmanager
async def settled_in() -> AsyncIterator[None]:
    """Around the life of a process that serves: threads for whatever waits, and what lives from the beginning is not
    looked through by the garbage collector again and again."""
    pool = ThreadPoolExecutor(THREADS, "interlock-face")
    asyncio.get_running_loop().set_default_executor(pool)
    gc.collect()
    gc.freeze()
    try:
        yield
    finally:
        gc.unfreeze()


def settings_for(app: Any, *, workers: int = 1, factory: bool = False) -> uvicorn.Config:
    """How uvicorn is run."""
    return uvicorn.Config(
        app, loop="uvloop", http=Guarded, ws="none", lifespan="on", interface="asgi3", log_config=None,
        log_level="warning", access_log=False, proxy_headers=False, server_header=False, workers=workers,
        factory=factory, timeout_keep_alive=IDLE, timeout_graceful_shutdown=PATIENCE, backlog=2048,
    )


def listen(host: str, port: int) -> socket.socket:
    """A socket that others can reach. Raises ConfigError."""
    try:
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)[0]
        bound = socket.create_server(found[4][:2], family=found[0], backlog=2048)
    except OSError as error:
        raise ConfigError(f"cannot listen on {host} port {port}: {error.strerror or error}") from None
    bound.set_inheritable(True)
    return bound


def allow_many_connections() -> None:
    """As many open sockets as the system lets this user have."""
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    try:
        resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
    except (ValueError, OSError) as error:
        _log.warning("the number of open files stays as it is: %s", error)
