"""The ways to a server: HTTP, and a child process.

Not the protocol: the SDK speaks it over the streams that are made here. Law: a failure of the way is told apart by
whether the request left; nothing is read without a limit; a child gets none of our environment and never outlives us.
"""

from __future__ import annotations

import logging
import os
import signal
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from typing import TypeVar

import anyio
import httpx2
import mcp_types as types
from anyio.abc import Process
from anyio.streams.memory import MemoryObjectReceiveStream, MemoryObjectSendStream
from mcp.client.streamable_http import streamable_http_client
from mcp.shared.message import SessionMessage

from interlock.tools.mcp.reply import UNSENT
from interlock.tools.mcp.settings import PLACEHOLDER, UpstreamSettings
from interlock.tools.text import scrub

log = logging.getLogger("interlock.upstream")

CLOSE_SECONDS = 2.0  #: for a child to end by itself after its standard input is closed, and again after SIGTERM
MAX_REPLY = 16 * 1024 * 1024

P = TypeVar("P")
Streams = tuple[MemoryObjectReceiveStream[SessionMessage | Exception], MemoryObjectSendStream[SessionMessage]]

_INHERITED = ("HOME", "LANG", "LC_ALL", "LOGNAME", "PATH", "SHELL", "TERM", "TMPDIR", "TZ", "USER")


class _Door(httpx2.AsyncHTTPTransport):
    """HTTP that answers where it fails: raised inside the SDK, one failure would end every request of the client."""

    bends: Callable[[], None]

    async def handle_async_request(self, request: httpx2.Request) -> httpx2.Response:
        try:
            return await self._answer(request)
        except (httpx2.ConnectError, httpx2.ConnectTimeout, httpx2.PoolTimeout) as error:
            return _error_reply(UNSENT, f"it cannot be reached: {str(error) or type(error).__name__}")
        except httpx2.TransportError as error:
            return _error_reply(types.CONNECTION_CLOSED, f"{type(error).__name__}: {error}")

    async def _answer(self, request: httpx2.Request) -> httpx2.Response:
        response = await super().handle_async_request(request)
        if response.has_redirect_location:
            self.bends()
        encoded = response.headers.get("content-encoding", "identity") != "identity"
        if response.headers.get("content-type", "").startswith("text/event-stream") and not encoded:
            return response  # the SDK reads it, event by event, with a limit for each
        try:
            if response.status_code in (401, 403):
                return _error_reply(UNSENT, f"it refused the credential (HTTP {response.status_code})")
            if encoded:  # nobody asked for it, and a few bytes could unfold without end
                return _error_reply(types.INTERNAL_ERROR, "it sent a compressed answer")
            return await _held(response)
        finally:
            await response.aclose()


async def _held(response: httpx2.Response) -> httpx2.Response:
    """The response with its body read, so that a connection that breaks in the middle of it is seen here."""
    body = bytearray()
    async for chunk in response.aiter_raw():
        body += chunk
        if len(body) > MAX_REPLY:
            return _error_reply(types.INTERNAL_ERROR, f"it answered with more than {MAX_REPLY} bytes")
    headers = [(key, value) for key, value in response.headers.items() if key != "transfer-encoding"]
    return httpx2.Response(response.status_code, headers=headers, stream=httpx2.ByteStream(bytes(body)))


def _error_reply(code: int, text: str) -> httpx2.Response:
    return httpx2.Response(502, json={"jsonrpc": "2.0", "id": None, "error": {"code": code, "message": text}})


@asynccontextmanager
async def over_http(url: str, secret: str, bends: Callable[[], None]) -> AsyncIterator[Streams]:
    """`bends`: told when the server sends a request elsewhere."""
    headers = {"accept-encoding": "identity"} | ({"authorization": f"Bearer {secret}"} if secret else {})
    # A connection that the server is about to drop for idleness would cost a reply; so ours are dropped sooner.
    door = _Door(trust_env=False, limits=httpx2.Limits(max_connections=None, keepalive_expiry=2.0))
    door.bends = bends
    timeout = httpx2.Timeout(10.0, read=None)  # how long a reply may take is said by request
    # trust_env: a proxy or a .netrc of the environment would see, or replace, the credential
    async with (
        httpx2.AsyncClient(headers=headers, timeout=timeout, transport=door, trust_env=False) as client,
        streamable_http_client(url, http_client=client) as streams,
    ):
        yield streams  # type: ignore[misc]  # the SDK's streams wrap anyio's


@asynccontextmanager
async def over_stdio(
    settings: UpstreamSettings, secret: str, ended: Callable[[str], None]
) -> AsyncIterator[Streams]:
    """A child process of its own session: nothing of our environment but what any program needs, and never left alive.

    The SDK's own way hides the process, lends it our stderr, reads lines of any length, and leaves grandchildren.
    """
    env = {key: os.environ[key] for key in _INHERITED if key in os.environ}
    env |= {key: value.replace(PLACEHOLDER, secret) for key, value in settings.env.items()}
    command = settings.command or ()
    with anyio.CancelScope(shield=True):  # cancelled half way, it could leave a process that nobody knows
        process = await anyio.open_process(command, env=env, cwd=settings.cwd, start_new_session=True)
    inbound, inbox = anyio.create_memory_object_stream[SessionMessage | Exception](0)
    outbox, outbound = anyio.create_memory_object_stream[SessionMessage](0)
    try:
        async with anyio.create_task_group() as group, inbox, outbox:
            group.start_soon(_receive, process, inbound, ended)
            group.start_soon(_send, process, outbound)
            group.start_soon(_overhear, process, settings.name, secret)
            try:
                yield inbox, outbox
            finally:
                group.cancel_scope.cancel()
    finally:
        await _end(process)


async def _receive(
    process: Process, inbound: MemoryObjectSendStream[SessionMessage | Exception], ended: Callable[[str], None]
) -> None:
    """Lines of the child's output to messages, until there are no more; then the client sees its connection end."""
    rest, size = list[bytes](), 0
    with inbound, suppress(anyio.BrokenResourceError, anyio.ClosedResourceError):
        async for chunk in _piped(process.stdout):
            *lines, tail = chunk.split(b"\n")
            for line in lines:
                whole = b"".join([*rest, line])
                rest, size = [], 0
                await inbound.send(_message(whole))
            rest.append(tail)
            size += len(tail)
            if size > MAX_REPLY:
                ended(f"its server sent a line of more than {MAX_REPLY} bytes")
                return
        await _exited(process, 1.0)
        code = process.returncode
        ended("its server closed its output" if code is None else f"its server ended with exit code {code}")


def _piped(stream: P | None) -> P:
    if stream is None:
        raise RuntimeError("a child was started without pipes")
    return stream


def _message(line: bytes) -> SessionMessage | Exception:
    try:
        return SessionMessage(types.jsonrpc_message_adapter.validate_json(line, by_name=False))
    except ValueError as error:
        return error


async def _send(process: Process, outbound: MemoryObjectReceiveStream[SessionMessage]) -> None:
    stdin = _piped(process.stdin)
    with outbound, suppress(anyio.BrokenResourceError, anyio.ClosedResourceError, OSError):
        async for item in outbound:
            await stdin.send(item.message.model_dump_json(by_alias=True, exclude_unset=True).encode() + b"\n")


async def _overhear(process: Process, name: str, secret: str) -> None:
    """The child's stderr, into our log: read always, since a full pipe would stop the child."""
    with suppress(anyio.BrokenResourceError, anyio.ClosedResourceError):
        async for chunk in _piped(process.stderr):
            if log.isEnabledFor(logging.DEBUG):
                for line in chunk.decode(errors="replace").splitlines()[:50]:
                    log.debug("%s: %s", name, scrub(line, secret))


async def _end(process: Process) -> None:
    """Close its input, wait, ask, kill; whatever interrupts this, the kill comes."""
    try:
        with anyio.CancelScope(shield=True):
            with suppress(OSError, anyio.BrokenResourceError, anyio.ClosedResourceError):
                await _piped(process.stdin).aclose()
            if not await _exited(process):
                _signal(process, signal.SIGTERM)
                await _exited(process)
    finally:
        _signal(process, signal.SIGKILL)  # its whole session: what it started goes with it
    with anyio.CancelScope(shield=True):
        await _exited(process)
    # Closing the process itself would wait for every holder of its pipes; nothing public closes just our ends.
    transport = getattr(getattr(process, "_process", None), "_transport", None)
    if transport is not None:
        transport.close()


async def _exited(process: Process, seconds: float = CLOSE_SECONDS) -> bool:
    """True where it ended in time."""
    until = anyio.current_time() + seconds
    while process.returncode is None and anyio.current_time() < until:  # noqa: ASYNC110  wait() waits for its pipes too
        await anyio.sleep(0.01)
    return process.returncode is not None


def _signal(process: Process, number: signal.Signals) -> None:
    with suppress(ProcessLookupError, PermissionError):
        os.killpg(process.pid, number)  # the leader's pid names the group, after its death too
