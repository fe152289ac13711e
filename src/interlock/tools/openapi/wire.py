"""The client: one for each upstream and event loop, kept open.

Not what is sent (`request.py`) nor what it means (`reply.py`). aiohttp, because it costs a call a fraction of what
httpx does. Law: a request is sent once, and never again by itself; right before its first byte leaves somebody may
still say no; no proxy, cookie or `.netrc` of anybody's is used; nothing is read without a limit.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from contextlib import suppress
from contextvars import Context, ContextVar
from functools import partial
from typing import Any
from urllib.parse import urljoin
from weakref import WeakKeyDictionary

import aiohttp
from yarl import URL

from interlock.errors import NotDone
from interlock.tools.openapi.addresses import opened
from interlock.tools.openapi.reply import ApiError, Reply, ReplyLost
from interlock.tools.openapi.request import Request
from interlock.tools.text import scrub

CONNECT_SECONDS = 10.0
IDLE_SECONDS = 2.0  #: a connection that the server is about to drop would cost a reply; so ours are dropped sooner
ERROR_BYTES = 16_384
MAX_REDIRECTS = 3
MAX_OPEN = 100


class Sending:
    """One request on its way out."""

    __slots__ = ("begun", "left", "look")

    def __init__(self, look: Callable[[], None]) -> None:
        self.look = look  #: raises NotDone where it must not be sent after all
        self.begun = False
        self.left = 1  #: how often it may go out


_sending: ContextVar[Sending] = ContextVar("interlock_sending")


class _Once(aiohttp.ClientRequest):
    """A request that goes out once: aiohttp itself would send a PUT or a DELETE again over another connection."""

    async def send(self, conn: Any) -> Any:
        sending = _sending.get()
        if not sending.left:
            raise ReplyLost("the connection was lost")
        sending.look()
        sending.left -= 1
        sending.begun = True
        return await super().send(conn)


class Wire:
    """An open client of one upstream. Made and used on one event loop."""

    def __init__(self, name: str, *, allow_private: bool, most: int) -> None:
        self._name, self._most = name, most
        connector = aiohttp.TCPConnector(
            limit=MAX_OPEN,
            keepalive_timeout=IDLE_SECONDS,
            socket_factory=partial(opened, allow_private=allow_private),
        )
        self._session = aiohttp.ClientSession(
            connector=connector,
            cookie_jar=aiohttp.DummyCookieJar(),
            request_class=_Once,
            auto_decompress=False,
            trust_env=False,
            headers={"User-Agent": "interlock"},
        )

    async def close(self) -> None:
        """Close every connection."""
        await self._session.close()

    async def send(
        self,
        request: Request,
        seconds: float,
        *,
        follow: bool,
        look: Callable[[], None] = lambda: None,
        secret: str = "",
    ) -> Reply:
        """One request, and the whole of its answer. `follow`: redirects, as long as they stay with its origin.

        Raises NotDone where nothing was sent, ReplyLost where something was and no answer came, ApiError.
        """
        sending = Sending(look)
        _sending.set(sending)
        patience = aiohttp.ClientTimeout(total=None, connect=min(CONNECT_SECONDS, seconds))
        try:
            async with asyncio.timeout(seconds):
                return await self._answered(request, patience, sending, follow)
        except (TimeoutError, aiohttp.ClientError, OSError, ValueError) as error:
            why = scrub(_leaf(error), secret, 200)
            if not sending.begun:
                raise NotDone(f"upstream {self._name} cannot be reached: {why}; nothing was sent") from None
            raise ReplyLost(f"upstream {self._name}: the reply was lost ({why})") from None

    async def _answered(
        self, request: Request, patience: aiohttp.ClientTimeout, sending: Sending, follow: bool
    ) -> Reply:
        url, here = request.url, URL(request.url, encoded=True).origin()
        for _ in range(MAX_REDIRECTS + 1):
            sending.left = 1
            async with self._session.request(
                request.method,
                URL(_joined(url, request.lent), encoded=True),
                headers=request.headers,
                data=request.body,
                allow_redirects=False,
                timeout=patience,
            ) as response:
                where = response.headers.get("Location", "")
                if not (follow and where and response.status in (301, 302, 303, 307, 308)):
                    return await self._read(response)
            there = URL(urljoin(url, where)).with_fragment(None)
            if there.origin() != here or there.user is not None or there.password is not None:
                raise ApiError(f"upstream {self._name} sent the call to another host, which is not followed")
            url = str(there)
        raise ApiError(f"upstream {self._name} sends the call elsewhere without end")

    async def _read(self, response: aiohttp.ClientResponse) -> Reply:
        most = self._most if response.status < 300 else min(ERROR_BYTES, self._most)
        body = bytearray()
        headers = {key.lower(): value for key, value in response.headers.items()}
        async for chunk in response.content.iter_any():
            body += chunk
            if len(body) > most:
                response.close()
                return Reply(response.status, headers, bytes(body[:most]), whole=False)
        return Reply(response.status, headers, bytes(body))


class Wires:
    """The clients of one upstream: one for each event loop that calls. From any thread."""

    def __init__(self, make: Callable[[], Wire]) -> None:
        self._make = make
        self._wires: WeakKeyDictionary[asyncio.AbstractEventLoop, _Kept] = WeakKeyDictionary()
        self._lock = threading.Lock()

    def here(self) -> Wire:
        """That of the running loop. It ends with the loop, as all its tasks do."""
        loop = asyncio.get_running_loop()
        kept = self._wires.get(loop)
        if kept is None:
            kept = _Kept(self._make(), loop)
            with self._lock:
                self._wires[loop] = kept
        return kept.wire

    def close(self) -> None:
        """Close them all, each on its own loop; waits for none."""
        with self._lock:
            kept = list(self._wires.items())
        for loop, each in kept:
            with suppress(RuntimeError):  # that loop has ended, and took its client with it
                loop.call_soon_threadsafe(each.over.set)


class _Kept:
    """A client, and the task that closes it: when it is told to, or when its loop cancels all that is left."""

    def __init__(self, wire: Wire, loop: asyncio.AbstractEventLoop) -> None:
        self.wire, self.over = wire, asyncio.Event()
        self._task = loop.create_task(self._keep(), name="interlock-upstream-client", context=Context())

    async def _keep(self) -> None:
        try:
            await self.over.wait()
        finally:
            await self.wire.close()


def _joined(url: str, lent: str) -> str:
    """The URL with the credential in its query, where that is its place."""
    if not lent:
        return url
    return f"{url}{'&' if '?' in url else '?'}{lent}"


def _leaf(error: BaseException) -> str:
    """What went wrong, in the words of the innermost: aiohttp's own may repeat the URL, and the credential in it."""
    inner = getattr(error, "os_error", None) or error
    if isinstance(error, TimeoutError):
        return "it took too long"
    if isinstance(error, aiohttp.ServerDisconnectedError | aiohttp.ClientPayloadError):
        return "the connection ended early"
    if isinstance(inner, OSError):
        return inner.strerror or str(inner) or type(inner).__name__
    return type(error).__name__
