"""`tools/call` to a server of the newest revision without the SDK: the same answers, at a twentieth of its cost.

Not the protocol's reference (the SDK's client is, and the tests hold this to it), and not its way (`http1.py`). Law: it
carries a call only where it understands all of the request; an answer that is unusual is read by the SDK's own models;
a request is sent once.
"""

from __future__ import annotations

import asyncio
import itertools
import re
import threading
from collections.abc import Callable, Mapping
from contextlib import suppress
from functools import partial
from typing import Any, Literal
from weakref import WeakKeyDictionary

import mcp_types as types
import msgspec
from mcp.client.session import DEFAULT_CLIENT_INFO
from mcp.client.streamable_http import DEFAULT_MAX_SSE_EVENT_SIZE
from mcp.shared.exceptions import MCPError
from mcp_types import methods
from mcp_types.version import MODERN_PROTOCOL_VERSIONS
from msgspec import UNSET, Raw, Struct, UnsetType, field
from opentelemetry.context import get_current
from opentelemetry.propagate import inject
from pydantic import ValidationError

from interlock.tools.mcp.http1 import Origin, Pool, origin_of
from interlock.tools.mcp.line import Cut, Reply, TooMuch, Unsent
from interlock.tools.mcp.reply import REPLY, UNSENT, Plain
from interlock.tools.mcp.transport import MAX_REPLY

_SENDABLE = re.compile(r"[!-~]*")  # of a credential, in a header
_REDIRECTS = frozenset({301, 302, 303, 307, 308})
_numbers = itertools.count(1)


class _Text(Struct, frozen=True, forbid_unknown_fields=True, tag_field="type", tag="text"):
    text: str


class _Result(Struct, frozen=True, forbid_unknown_fields=True, rename="camel"):
    result_type: Literal["complete"]
    content: list[_Text]
    structured_content: Any = None
    is_error: bool = False
    meta: dict[str, Any] | UnsetType = field(name="_meta", default=UNSET)


class _Answer(Struct, frozen=True, forbid_unknown_fields=True):
    jsonrpc: Literal["2.0"]
    id: int
    result: _Result


class _Event(Struct, frozen=True):
    method: Raw | UnsetType = UNSET


class _Told(Struct, frozen=True, rename="camel"):
    progress_token: int
    progress: float
    total: float | None = None
    message: str | None = None


class _Notice(Struct, frozen=True):
    method: Literal["notifications/progress"]
    params: _Told


_encode = msgspec.json.Encoder().encode
_usual = msgspec.json.Decoder(_Answer)
_event = msgspec.json.Decoder(_Event)
_notice = msgspec.json.Decoder(_Notice)

Heard = Callable[[float, float | None, str], None]


class Unusual(Exception):
    """This request is for the SDK. Nothing was sent."""


def wire_to(url: str, secret: str, version: str) -> Wire | None:
    """The short way to this server; None where its calls are for the SDK. Blocks: it may read certificates."""
    if version not in MODERN_PROTOCOL_VERSIONS or _SENDABLE.fullmatch(secret) is None:
        return None
    origin = origin_of(url)
    return None if origin is None else Wire(origin, secret, version)


class Wire:
    """The short way over one connection: pools of kept HTTP connections, one pool for each event loop that calls."""

    def __init__(self, origin: Origin, secret: str, version: str) -> None:
        self.secret = secret
        self._origin = origin
        self._pools: WeakKeyDictionary[asyncio.AbstractEventLoop, Pool] = WeakKeyDictionary()
        self._lock = threading.Lock()
        self._closed = False
        self.bent = False  #: it has sent a call elsewhere, which only the SDK follows
        lent = b"authorization: Bearer %b\r\n" % secret.encode() if secret else b""
        self._head = (
            b"POST %b HTTP/1.1\r\nhost: %b\r\nuser-agent: interlock\r\naccept: application/json, text/event-stream\r\n"
            b"accept-encoding: identity\r\ncontent-type: application/json\r\n%bmcp-protocol-version: %b\r\n"
            b"mcp-method: tools/call\r\nmcp-name: %%b\r\ncontent-length: %%d\r\n\r\n"
        ) % (_escaped(origin.target), _escaped(origin.authority), _escaped(lent), version.encode())
        self._version = version
        self._envelope = {
            types.PROTOCOL_VERSION_META_KEY: version,
            types.CLIENT_INFO_META_KEY: DEFAULT_CLIENT_INFO.model_dump(by_alias=True, mode="json", exclude_none=True),
            types.CLIENT_CAPABILITIES_META_KEY: {},
        }

    async def ready(self) -> None:
        """See that an HTTP connection of this event loop is open. Raises MCPError."""
        try:
            await self._pool().ready()
        except Unsent as error:
            raise _unreachable(error) from None

    async def call(
        self, name: str, args: Mapping[str, Any], meta: Mapping[str, Any], seconds: float, heard: Heard | None = None
    ) -> Plain | types.CallToolResult | types.InputRequiredResult:
        """One call. `heard`: told how far it has come. Raises Unusual, MCPError as the SDK's client does, and
        ValidationError for what is not MCP."""
        number = next(_numbers)
        if heard is not None:
            meta = {**meta, "progressToken": number}
        request = self._request(number, name, args, meta)
        try:
            reply = await self._pool().send(request, partial(_is_answer, number, heard), seconds)
        except Unsent as error:
            raise _unreachable(error) from None
        except Cut as error:
            raise MCPError(types.CONNECTION_CLOSED, str(error)) from None
        except TimeoutError as error:
            raise MCPError(types.REQUEST_TIMEOUT, str(error)) from None
        except TooMuch:
            raise MCPError(types.INTERNAL_ERROR, f"it answered with more than {MAX_REPLY} bytes") from None
        return self._understood(number, reply)

    def close(self, *, now: bool = False) -> None:
        """Keep no connection any more; `now`: end those too that wait for an answer. From any thread."""
        with self._lock:
            self._closed = True
            pools = list(self._pools.items())
        for loop, pool in pools:
            with suppress(RuntimeError):  # that loop has ended, and took its connections with it
                loop.call_soon_threadsafe(partial(pool.close, now=now))

    def _pool(self) -> Pool:
        loop = asyncio.get_running_loop()
        pool = self._pools.get(loop)
        if pool is None:
            pool = Pool(self._origin, most=MAX_REPLY, most_event=DEFAULT_MAX_SSE_EVENT_SIZE)
            with self._lock:
                self._pools[loop] = pool
                if self._closed:
                    pool.close()
        return pool

    def _request(self, number: int, name: str, args: Mapping[str, Any], meta: Mapping[str, Any]) -> bytes:
        said: dict[str, Any] = {**meta, **self._envelope}
        if get_current():  # the trace that this call belongs to, as the SDK does
            inject(said)
        params = {"name": name, "arguments": args, "_meta": said}
        try:
            body = _encode({"jsonrpc": "2.0", "id": number, "method": "tools/call", "params": params})
        except (TypeError, ValueError, OverflowError, RecursionError) as error:
            raise Unusual(str(error)) from None
        return self._head % (name.encode(), len(body)) + body

    # --- the answer, as the SDK's client reads it ---

    def _understood(self, number: int, reply: Reply) -> Plain | types.CallToolResult | types.InputRequiredResult:
        kind = reply.content_type.lower()
        if not reply.streamed:
            if reply.status in (401, 403):
                raise MCPError(UNSENT, f"it refused the credential (HTTP {reply.status})")
            if reply.encoded:
                raise MCPError(types.INTERNAL_ERROR, "it sent a compressed answer")
        if reply.status in _REDIRECTS:
            self.bent = True
            raise MCPError(types.INVALID_REQUEST, "Redirect not followed")
        if reply.status == 202:
            raise MCPError(types.INVALID_REQUEST, "server answered a request with 202 Accepted")
        if reply.status >= 400:
            raise _refusal(reply.status, reply.body if kind.startswith("application/json") else b"")
        if not reply.streamed and not kind.startswith("application/json"):
            raise MCPError(types.INVALID_REQUEST, f"Unexpected content type: {kind}")
        try:
            said = _usual.decode(reply.body)
        except (msgspec.MsgspecError, RecursionError, UnicodeError):
            return self._unusual(number, reply)
        if said.id != number:
            raise _stray()
        text = "\n".join([block.text for block in said.result.content])
        return Plain(text, said.result.structured_content, said.result.is_error)

    def _unusual(self, number: int, reply: Reply) -> types.CallToolResult | types.InputRequiredResult:
        """By the SDK's own models."""
        try:
            message = types.jsonrpc_message_adapter.validate_json(reply.body, by_name=False)
        except ValidationError as error:
            what = "SSE message" if reply.streamed else "JSON response"
            raise MCPError(types.PARSE_ERROR, f"Failed to parse {what}: {error}") from None
        if not isinstance(message, types.JSONRPCResponse | types.JSONRPCError) or str(message.id) != str(number):
            raise _stray()
        if isinstance(message, types.JSONRPCError):
            raise MCPError(message.error.code, message.error.message)
        methods.validate_server_result("tools/call", self._version, message.result)
        return REPLY.validate_python(message.result, by_name=False)


def _escaped(raw: bytes) -> bytes:
    return raw.replace(b"%", b"%%")


def _is_answer(number: int, heard: Heard | None, event: bytes) -> bool:
    """Not a notification beside it, nor a question of the server, which this revision does not have."""
    try:
        if _event.decode(event).method is UNSET:
            return True
    except (msgspec.MsgspecError, RecursionError, UnicodeError):
        return True  # it is told what is wrong with it
    if heard is not None:
        with suppress(msgspec.MsgspecError, RecursionError, UnicodeError):  # another notice, or none
            told = _notice.decode(event).params
            if told.progress_token == number:
                heard(told.progress, told.total, told.message or "")
    return False


def _unreachable(error: Unsent) -> MCPError:
    return MCPError(UNSENT, f"it cannot be reached: {error}")


def _stray() -> MCPError:
    return MCPError(types.CONNECTION_CLOSED, "what came is not the answer to this request")


def _refusal(status: int, body: bytes) -> MCPError:
    with suppress(ValidationError):
        said = types.jsonrpc_message_adapter.validate_json(body, by_name=False)
        if isinstance(said, types.JSONRPCError):
            return MCPError(said.error.code, said.error.message)
    if status == 404:
        return MCPError(types.METHOD_NOT_FOUND, "Not Found")
    return MCPError(types.INTERNAL_ERROR, "Server returned an error response")
