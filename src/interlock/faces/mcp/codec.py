"""`tools/call` and `tools/list` without the SDK: the same answers, at a tenth of its cost.

Not the protocol's reference (`sdk.py` is, and the tests hold this to it). Law: it takes a request only where it
understands all of it; whatever is unusual, wrong, or needs more than one answer goes to the SDK untouched.
"""

from __future__ import annotations

import asyncio
import math
from collections import OrderedDict
from collections.abc import Callable, Mapping, MutableMapping
from contextlib import suppress
from contextvars import Context
from typing import Any, Literal, NamedTuple

import mcp_types as types
import msgspec
from mcp_types.version import HANDSHAKE_PROTOCOL_VERSIONS, MODERN_PROTOCOL_VERSIONS
from msgspec import UNSET, Raw, Struct, UnsetType, field
from pydantic import ValidationError

from interlock.faces.http.receive import Receive, Send
from interlock.faces.mcp.front import NAME, TTL_MS, Front
from interlock.faces.mcp.sdk import Caller
from interlock.ports import LISTENER, Progress

Headers = Mapping[bytes, bytes]
Message = MutableMapping[str, Any]

PING_SECONDS = 15.0  #: of silence, before a proxy could think that a call is dead
CLIENTS = 256  #: kinds of clients (what they say of themselves) that are known to be well spoken

_MODERN = frozenset(version.encode() for version in MODERN_PROTOCOL_VERSIONS)
_HANDSHAKE = frozenset(version.encode() for version in HANDSHAKE_PROTOCOL_VERSIONS)
_PING = b": ping\r\n\r\n"
_EVENT_STREAM = [
    (b"content-type", b"text/event-stream"), (b"cache-control", b"no-cache, no-transform"),
    (b"x-accel-buffering", b"no"),
]  # fmt: skip
MOST_WAITING = 100  #: reports of progress that wait for a slow client; more are dropped


class _Request(Struct, frozen=True, gc=False, forbid_unknown_fields=True):
    jsonrpc: Literal["2.0"]
    id: int | str
    method: Literal["tools/call", "tools/list"]
    params: Raw | UnsetType = UNSET


class _Call(Struct, frozen=True, forbid_unknown_fields=True):
    name: str
    arguments: dict[str, Any] | UnsetType = UNSET
    meta: dict[str, Any] | UnsetType = field(name="_meta", default=UNSET)


class _List(Struct, frozen=True, forbid_unknown_fields=True):
    meta: dict[str, Any] | UnsetType = field(name="_meta", default=UNSET)


_request = msgspec.json.Decoder(_Request)
_call = msgspec.json.Decoder(_Call)
_list = msgspec.json.Decoder(_List)
_encode = msgspec.json.Encoder().encode


class Hot(NamedTuple):
    """A request that was understood."""

    request: _Request
    params: _Call | _List
    modern: bool


class Codec:
    """Reads and answers the hot methods."""

    def __init__(self, front: Front) -> None:
        self._front = front
        self._server = {"io.modelcontextprotocol/serverInfo": {"name": NAME, "version": front.version}}
        self._clients: OrderedDict[bytes, bool] = OrderedDict()  # what it says of itself → can its person be asked
        self._calls: dict[tuple[str, int | str], asyncio.Task[Any]] = {}  # of sessions: by session and request id

    def understand(self, headers: Headers, body: bytes, session: str, *, person: bool) -> Hot | None:
        """The request, or None where it is the SDK's. `person`: the session's client can ask somebody."""
        version = headers.get(b"mcp-protocol-version")
        modern = version in _MODERN
        if not (modern or version in _HANDSHAKE) or not _plain(headers):
            return None
        try:
            request = _request.decode(body)
            raw = b"{}" if request.params is UNSET else request.params
            params: _Call | _List = (_call if request.method == "tools/call" else _list).decode(raw)
        except (msgspec.MsgspecError, RecursionError, UnicodeError):
            return None
        meta = {} if params.meta is UNSET else params.meta
        if type(meta.get("progressToken", "")) not in (str, int) or (session, request.id) in self._calls:
            return None
        if modern:
            known = self._well_spoken(meta)
            if known is None or not _routed(headers, request, params, meta):
                return None
            person = known
        elif "io.modelcontextprotocol/protocolVersion" in meta:
            return None
        if isinstance(params, _Call):
            if person and self._front.asks:
                return None
            offer = self._front.catalog.offer(self._front.catalog.name_of(params.name))
            if modern and offer is not None and offer.routed:
                return None
        return Hot(request, params, modern)

    async def answer(self, hot: Hot, caller: Caller, session: str, receive: Receive, send: Send) -> None:
        """Answer it. A caller that goes away in the newest revision has cancelled; in an older one it has not."""
        request, params = hot.request, hot.params
        if isinstance(params, _List):
            tools = (await self._front.tools(caller.who, plain=caller.plain)).raw
            result: dict[str, Any] = {"tools": tools}
            if hot.modern:
                result |= {"ttlMs": TTL_MS, "cacheScope": "private", "resultType": "complete", "_meta": self._server}
            await _answer(send, {"jsonrpc": "2.0", "id": request.id, "result": result})
            return
        await self._answer_call(hot, params, caller, session, receive, send)

    async def _answer_call(
        self, hot: Hot, params: _Call, caller: Caller, session: str, receive: Receive, send: Send
    ) -> None:
        task, key = asyncio.current_task(), (session, hot.request.id)
        if task is None:
            raise RuntimeError("a request is answered in a task")
        line = _Line(task, receive, send, hangs_up=hot.modern)
        if not hot.modern:
            self._calls[key] = task
        line.open()
        token = None if params.meta is UNSET else params.meta.get("progressToken")
        listening = LISTENER.set(None if token is None else self._teller(line, token))
        try:
            answer = await self._front.call(
                caller.who, params.name, {} if params.arguments is UNSET else params.arguments,
                {} if params.meta is UNSET else params.meta, caller.headers, caller.connection,
            )
            result = answer.result
            if hot.modern:
                result = {**result, "resultType": "complete", "_meta": {**result["_meta"], **self._server}}
            reply: dict[str, Any] | None = {"jsonrpc": "2.0", "id": hot.request.id, "result": result}
        except asyncio.CancelledError:
            if line.gone:
                task.uncancel()
                return
            if self._calls.get(key) is task:  # the server ends
                raise
            task.uncancel()
            reply = None  # the client has said that it no longer wants one
        finally:
            LISTENER.reset(listening)
            if self._calls.get(key) is task:
                del self._calls[key]
            await line.close()
        if reply is not None and not line.streams:
            await _answer(send, reply)
            return
        if not line.streams:
            await send({"type": "http.response.start", "status": 200, "headers": _EVENT_STREAM})
        event = b"" if reply is None else b"event: message\r\ndata: " + _encode(reply) + b"\r\n\r\n"
        await send({"type": "http.response.body", "body": event})

    def _teller(self, line: _Line, token: int | str) -> Progress:
        """Tells the client how far its call has come. From any thread."""
        loop, redact = asyncio.get_running_loop(), self._front.service.gateway.redactor.redact_text

        def tell(progress: float, total: float | None, message: str) -> None:
            if not math.isfinite(progress) or not (total is None or math.isfinite(total)):
                return
            said: dict[str, Any] = {"progressToken": token, "progress": progress}
            said |= {} if total is None else {"total": total}
            said |= {"message": redact(message)} if message else {}
            notice = {"jsonrpc": "2.0", "method": "notifications/progress", "params": said}
            loop.call_soon_threadsafe(line.say, b"event: message\r\ndata: " + _encode(notice) + b"\r\n\r\n")

        return tell

    def cancel(self, session: str, body: bytes) -> None:
        """Hear a `notifications/cancelled` of a session: if it is about a call that is answered here, end it."""
        try:
            notification = msgspec.json.decode(body)
            task = self._calls.pop((session, notification["params"]["requestId"]), None)
        except (msgspec.MsgspecError, RecursionError, KeyError, TypeError):
            return
        if task is not None:
            task.cancel()

    def _well_spoken(self, meta: Mapping[str, Any]) -> bool | None:
        """Can this client ask a person? None where what it says of itself is for the SDK to judge."""
        said = [meta.get("io.modelcontextprotocol/clientInfo", {}), meta.get(types.CLIENT_CAPABILITIES_META_KEY)]
        key = _encode(said)
        known = self._clients.get(key)
        if known is None:
            try:
                if said[0]:
                    types.Implementation.model_validate(said[0], by_name=False)
                known = types.ClientCapabilities.model_validate(said[1], by_name=False).elicitation is not None
            except ValidationError:
                return None
            self._clients[key] = known
            if len(self._clients) > CLIENTS:
                self._clients.popitem(last=False)
        return known


class _Line:
    """The connection, while a call is on its way: it may be silent for long, there may be progress to tell, and it may
    break."""

    def __init__(self, task: asyncio.Task[Any], receive: Receive, send: Send, *, hangs_up: bool) -> None:
        self._task, self._receive, self._send, self._hangs_up = task, receive, send, hangs_up
        self._speaking: asyncio.Task[None] | None = None
        self._events: asyncio.Queue[bytes | None] = asyncio.Queue()
        self._over = False
        self.gone = False

    @property
    def streams(self) -> bool:
        """The answer has begun, as a stream of events."""
        return self._speaking is not None

    def open(self) -> None:
        """Listen, from now until `close`."""
        self._listening = _Listening(self._receive, self._hung_up) if self._hangs_up else None
        self._timer = asyncio.get_running_loop().call_later(PING_SECONDS, self.say, _PING)

    def say(self, event: bytes) -> None:
        """Send an event before the answer. One too many, or too late, is dropped."""
        if self._over or self._events.qsize() >= MOST_WAITING:
            return
        self._events.put_nowait(event)
        if self._speaking is None:
            self._timer.cancel()
            self._speaking = asyncio.get_running_loop().create_task(self._speak(), context=Context())

    async def close(self) -> None:
        """Whoever holds the answer speaks from now on."""
        self._over = True
        self._timer.cancel()
        if self._listening is not None:
            self._listening.close()
        if self._speaking is not None:  # it ends by itself: cut off, it could leave half of what it says
            self._events.put_nowait(None)
            with suppress(TimeoutError, OSError):
                await self._speaking

    def _hung_up(self) -> None:
        self.gone = True
        self._task.cancel()

    async def _speak(self) -> None:
        await self._send({"type": "http.response.start", "status": 200, "headers": _EVENT_STREAM})
        while True:
            try:
                async with asyncio.timeout(PING_SECONDS):
                    event = await self._events.get()
            except TimeoutError:
                event = _PING
            if event is None:
                return
            await self._send({"type": "http.response.body", "body": event, "more_body": True})


class _Listening:
    """Waits, without a task, until a client whose request is whole says something more: that it has gone."""

    def __init__(self, receive: Receive, heard: Callable[[], None]) -> None:
        self._coroutine, self._heard = receive(), heard
        self._closed = False
        self._step()

    def _step(self, _: object = None) -> None:
        if self._closed:
            return
        try:
            waits_for = self._coroutine.send(None)
        except StopIteration:
            self._heard()
        else:
            waits_for.add_done_callback(self._step)

    def close(self) -> None:
        """Listen no more."""
        self._closed = True
        self._coroutine.close()


def _plain(headers: Headers) -> bool:
    accept = headers.get(b"accept", b"")
    return (
        b"application/json" in accept and b"text/event-stream" in accept
        and headers.get(b"content-type", b"").partition(b";")[0].strip() == b"application/json"
    )  # fmt: skip


def _routed(headers: Headers, request: _Request, params: _Call | _List, meta: Mapping[str, Any]) -> bool:
    """True where the headers repeat what the body says, as the newest revision wants it, in plain letters."""
    version = meta.get(types.PROTOCOL_VERSION_META_KEY)
    if not isinstance(version, str) or headers.get(b"mcp-protocol-version") != version.encode():
        return False
    if headers.get(b"mcp-method") != request.method.encode():
        return False
    if isinstance(params, _List):
        return True
    name = headers.get(b"mcp-name", b"=?")
    return name == params.name.encode("utf-8", "replace") and name.isascii() and not name.startswith(b"=?")


async def _answer(send: Send, reply: dict[str, Any]) -> None:
    body = _encode(reply)
    headers = [(b"content-type", b"application/json"), (b"content-length", str(len(body)).encode())]
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    await send({"type": "http.response.body", "body": body})

