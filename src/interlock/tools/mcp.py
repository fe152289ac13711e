"""Tools that live in MCP servers: one client that stays open, and one task that owns it, for each upstream.

Not the governing of them: effects are declared by their owner, definitions are pinned by `pins.py`. What a server says
is hostile text. Law: a call is sent only over a connection whose newest listing shows the tool exactly as the gateway
knows it; NotDone is raised only where it is proven that nothing was sent, or that the server refused before acting.
Imports `mcp`, which takes most of a second: import this module only where an upstream is configured.
"""

from __future__ import annotations

import asyncio
import logging
import math
import os
import random
import re
import signal
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from concurrent.futures import Future
from contextlib import asynccontextmanager, suppress
from enum import StrEnum
from typing import Any, Protocol, TypeVar

import anyio
import anyio.to_thread
import httpx2
import mcp_types as types
from anyio.abc import Process
from anyio.streams.memory import MemoryObjectReceiveStream, MemoryObjectSendStream
from mcp import Client
from mcp.client.streamable_http import streamable_http_client
from mcp.client.subscriptions import ListenNotSupportedError, SubscriptionLost
from mcp.shared.exceptions import MCPError
from mcp.shared.message import SessionMessage
from msgspec import Struct
from msgspec.structs import replace
from pydantic import TypeAdapter, ValidationError

from interlock import pins
from interlock.core.call import MICROS, Effect, Tool
from interlock.core.canonical import problem_of
from interlock.errors import NotDone, ToolError
from interlock.loops import LoopThread
from interlock.ports import Clock, Invocation, Lost, Vault
from interlock.tools.schema import ArgumentSchema

log = logging.getLogger("interlock.upstream")

CONNECT_SECONDS = 60.0  #: to start, negotiate and list; a server that a package runner first downloads takes long
WAIT_SECONDS = 5.0  #: how long a call waits for a connection that is not ready
REFRESH_SECONDS = 60.0  #: how often definitions are listed where nothing tells that they have changed
LIST_SECONDS = 15.0
CLOSE_SECONDS = 2.0  #: for a child to end by itself after its standard input is closed, and again after SIGTERM
MAX_CONNECTIONS = 32  #: of one upstream: one for each tenant and env, where it has a credential
MAX_REPLY = 16 * 1024 * 1024
MAX_TOOLS = 2_000
PLACEHOLDER = "{credential}"  #: in `env:` of an upstream with a command: here goes its credential

Scope = tuple[str, str]
SHARED: Scope = ("*", "*")  #: tenant and env of the connection that belongs to nobody in particular

_UNSENT = 17_001  #: our own code, inside the process: the request did not leave, or was refused at the door
_REFUSED_BEFORE_ACTING = {
    _UNSENT: "nothing was sent",
    types.METHOD_NOT_FOUND: "it has no such method",
    types.INVALID_PARAMS: "it does not take these arguments, or has no such tool",
    types.HEADER_MISMATCH: "the definition it goes by is not the one that it listed",
    types.MISSING_REQUIRED_CLIENT_CAPABILITY: "it needs something of the client that this gateway does not offer",
    types.UNSUPPORTED_PROTOCOL_VERSION: "it no longer speaks the protocol version that was agreed on",
    types.URL_ELICITATION_REQUIRED: "it wants a person to visit a page first, which this gateway does not offer",
}
# A Python server spells every pydantic error so, one that was raised after the effect too: it proves nothing.
_AMBIGUOUS = "Invalid request parameters"
_SESSION_GONE = "Session terminated"  # how the SDK spells HTTP 404 where a session was open
_REPLY = TypeAdapter[types.CallToolResult | types.InputRequiredResult](types.CallToolResult | types.InputRequiredResult)
_INHERITED = ("HOME", "LANG", "LC_ALL", "LOGNAME", "PATH", "SHELL", "TERM", "TMPDIR", "TZ", "USER")
_NAME = re.compile(r"[A-Za-z0-9_./-]{1,128}")


class UpstreamSettings(Protocol):
    """One line of `upstreams:`, as `config.py` hands it over."""

    @property
    def name(self) -> str: ...
    @property
    def command(self) -> tuple[str, ...] | None: ...
    @property
    def url(self) -> str | None: ...
    @property
    def env(self) -> Mapping[str, str]: ...
    @property
    def cwd(self) -> str | None: ...
    @property
    def timeout(self) -> int: ...  # microseconds: of one request, where its tool declares none
    @property
    def credential(self) -> str | None: ...


class UpstreamError(Exception):
    """The server answered that the tool failed. `text` is scrubbed; it proves nothing about the effect."""

    def __init__(self, text: str) -> None:
        super().__init__(text)
        self.text = text


class ReplyLost(Lost, ConnectionError):
    """The request went out and no answer came: a write is in doubt, whatever the tool says of its errors."""


class State(StrEnum):
    """How a connection stands."""

    CONNECTING = "connecting"  #: not ready yet, for the first time
    READY = "ready"  #: open, and its tools are listed
    DOWN = "down"  #: it failed, and is tried again


class Health(Struct, frozen=True):
    """How an upstream stands, since when (microseconds), and what went wrong last (scrubbed)."""

    state: State
    since: int
    error: str = ""


# --- what a server says, made harmless --------------------------------------------------------------------------------

_INVISIBLE = re.compile(
    "[\x00-\x09\x0b-\x1f\x7f-\x9f\xad\u061c\u180e\u200b-\u200f\u2028-\u202e\u2060-\u206f\ufeff\ufff9-\ufffb\U000e0000-\U000e007f\ud800-\udfff]"
)
# Every repetition has an end or a clear stop: the text is hostile, and some of it is long.
_TRACE = re.compile(r'(?m)^(?:Traceback \(most recent call last\):| *File "[^"\n]*", line \d+.*(?:\n +.*)?| +at .+)\n?')
_SECRET = re.compile(
    r"(?i)\b(bearer|basic)\s+[\w.~+/=-]{8,}"
    r"|\b([\w-]{0,40}(?:api[_-]?key|token|secret|passw(?:or)?d|authorization))\b[\"']?\s{0,3}[:=]\s{0,3}"
    r"[\"']?(?:(?:bearer|basic)\s+)?[^\s\"',;]+"
    r"|\b(?:sk|pk|rk|ghp|gho|ghs|github_pat|xox[abprs]|glpat)[-_][\w-]{8,}|\bAKIA[0-9A-Z]{16}\b|\beyJ[\w-]{8,}[\w.-]*"
    r"|(?<=://)[^\s/@:]+:[^\s/@]+(?=@)"
)
_PATH = re.compile(r"(?<![\w:/.])(?:~|\.{1,2}|[A-Za-z]:)?[/\\](?:[^\s/\\'\":]+[/\\])+")


def clean(text: str, limit: int) -> str:
    """Text without control and invisible characters, at most so long."""
    text = _INVISIBLE.sub("", text.replace("\t", " ").replace("\r\n", "\n"))
    return text if len(text) <= limit else f"{text[: limit - 1]}…"


def scrub(text: str, secret: str = "", limit: int = 500) -> str:
    """An error's text without what its server should not have told: secrets, stack traces, folders. One line."""
    text = clean(text.replace(secret, "[redacted]") if secret else text, 4_000)
    text = _SECRET.sub(lambda found: f"{found[1] or found[2] or ''} [redacted]".strip(), _TRACE.sub("", text))
    return clean(" ".join(_PATH.sub("", text).split()), limit)


def _without(value: Any, secret: str) -> Any:
    """A result in which the connection's own credential does not stand."""
    if isinstance(value, str):
        return value.replace(secret, "[redacted]")
    if isinstance(value, dict):
        return {_without(key, secret): _without(child, secret) for key, child in value.items()}
    return [_without(child, secret) for child in value] if isinstance(value, list) else value


def _cleaned(schema: Any) -> Any:
    """A schema whose prose is harmless; what it demands stays as it is."""
    if isinstance(schema, list):
        return [_cleaned(child) for child in schema]
    if not isinstance(schema, dict):
        return schema
    return {
        key: clean(child, 2_000)
        if key in ("description", "title", "$comment") and isinstance(child, str)
        else child
        if key in ("enum", "const", "default", "examples")
        else _cleaned(child)
        for key, child in schema.items()
    }


def value_of(result: types.CallToolResult) -> Any:
    """What a tool gave: its structured content, else its text, with a summary of blocks that are not text.

    Structured content that only wraps that same text (`{"content": text}`, `{"result": text}`) is the text.
    """
    texts, others = [], []
    for block in result.content:
        inner = block.resource if isinstance(block, types.EmbeddedResource) else block
        if isinstance(inner, (types.TextContent, types.TextResourceContents)):
            texts.append(inner.text)
        else:
            others.append(_summary(block.type, inner))
    text = "\n".join(texts)
    structured = result.structured_content
    if structured is not None and (others or list(structured.values()) != [text]):
        return structured
    return {"text": text, "blocks": others} if others else text


def _summary(kind: str, block: Any) -> dict[str, Any]:
    encoded = getattr(block, "data", None) or getattr(block, "blob", None) or ""
    size = len(encoded) * 3 // 4 - encoded[-2:].count("=")
    said = {"type": kind, "mimeType": block.mime_type, "bytes": size if encoded else getattr(block, "size", None)}
    return said | ({"uri": str(block.uri)} if getattr(block, "uri", None) else {})


def tightened(tool: Tool, annotations: Mapping[str, Any]) -> Tool:
    """The tool as its owner declares it, or stricter where its server itself says so. Never milder."""
    effect = tool.effect
    if annotations.get("readOnlyHint") is False and not effect.writes:
        effect = Effect.WRITE
    if annotations.get("destructiveHint") is True:
        effect = Effect.IRREVERSIBLE
    return tool if effect is tool.effect else replace(tool, effect=effect)


def _leaves(error: BaseException) -> list[BaseException]:
    """The exceptions in a group of groups: a client that dies raises them so."""
    if not isinstance(error, BaseExceptionGroup):
        return [error]
    return [leaf for each in error.exceptions for leaf in _leaves(each)]


# --- the ways to a server ---------------------------------------------------------------------------------------------

P = TypeVar("P")
Streams = tuple[MemoryObjectReceiveStream[SessionMessage | Exception], MemoryObjectSendStream[SessionMessage]]


class _Door(httpx2.AsyncHTTPTransport):
    """HTTP that answers where it fails: raised inside the SDK, one failure would end every request of the client."""

    async def handle_async_request(self, request: httpx2.Request) -> httpx2.Response:
        try:
            return await self._answer(request)
        except (httpx2.ConnectError, httpx2.ConnectTimeout, httpx2.PoolTimeout) as error:
            return _error_reply(_UNSENT, f"it cannot be reached: {str(error) or type(error).__name__}")
        except httpx2.TransportError as error:
            return _error_reply(types.CONNECTION_CLOSED, f"{type(error).__name__}: {error}")

    async def _answer(self, request: httpx2.Request) -> httpx2.Response:
        response = await super().handle_async_request(request)
        encoded = response.headers.get("content-encoding", "identity") != "identity"
        if response.headers.get("content-type", "").startswith("text/event-stream") and not encoded:
            return response  # the SDK reads it, event by event, with a limit for each
        try:
            if response.status_code in (401, 403):
                return _error_reply(_UNSENT, f"it refused the credential (HTTP {response.status_code})")
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
async def _over_http(url: str, secret: str) -> AsyncIterator[Streams]:
    headers = {"accept-encoding": "identity"} | ({"authorization": f"Bearer {secret}"} if secret else {})
    # A connection that the server is about to drop for idleness would cost a reply; so ours are dropped sooner.
    door = _Door(trust_env=False, limits=httpx2.Limits(max_connections=None, keepalive_expiry=2.0))
    timeout = httpx2.Timeout(10.0, read=None)  # how long a reply may take is said by request
    # trust_env: a proxy or a .netrc of the environment would see, or replace, the credential
    async with (
        httpx2.AsyncClient(headers=headers, timeout=timeout, transport=door, trust_env=False) as client,
        streamable_http_client(url, http_client=client) as streams,
    ):
        yield streams  # type: ignore[misc]  # the SDK's streams wrap anyio's


@asynccontextmanager
async def _over_stdio(
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


# --- a connection, and the task that owns it --------------------------------------------------------------------------


class _Connection:
    """One client, opened, kept and closed by one task. All of it happens on the loop thread."""

    def __init__(self, upstream: McpUpstream, scope: Scope) -> None:
        self.upstream = upstream
        self.scope = scope
        self.secret = ""
        self.calls = 0
        self.tools: dict[str, McpTool] = {}
        self.health = Health(State.CONNECTING, upstream.clock.now())
        self.client: Client | None = None
        self._why = ""  # what ended the child, in better words than "Connection closed"
        self._look = asyncio.Event()
        self._ready = asyncio.Event()
        self._tried = asyncio.Event()
        self._stop = anyio.CancelScope()
        self._owner = asyncio.get_running_loop().create_task(self._run(), name=f"upstream {upstream.settings.name}")

    async def ready(self, seconds: float) -> Client:
        """The open client, once the newest definitions are known. Raises NotDone after so many seconds."""
        with anyio.move_on_after(seconds):
            await self._ready.wait()
        if self.client is None or not self._ready.is_set():
            name, state = self.upstream.settings.name, self.health.state
            raise NotDone(f"upstream {name} is {state}: {self.health.error or 'no answer yet'}; nothing was sent")
        return self.client

    async def tried(self) -> None:
        """Return when the first attempt to connect has ended, either way."""
        await self._tried.wait()

    def look(self) -> None:
        """List again now: something happened, or may have."""
        self._look.set()

    async def close(self) -> None:
        """Close the client in the task that opened it, and see its child end."""
        self._stop.cancel()
        await asyncio.wait([self._owner], timeout=5 * CLOSE_SECONDS)
        if not self._owner.done():
            self._owner.cancel()  # for a transport that hangs; the child is killed on the way out

    async def _run(self) -> None:
        failures = 0
        with self._stop:
            while True:
                self._why = ""
                since = anyio.current_time()
                try:
                    await self._live()
                except Exception as error:  # whatever ended it, it is opened anew
                    self._lost(error)
                failures = 0 if anyio.current_time() - since > REFRESH_SECONDS else failures + 1
                await anyio.sleep(min(30.0, 0.1 * 2 ** min(failures, 10)) * random.uniform(0.5, 1.0))

    async def _live(self) -> None:
        """From opening to the end of one connection."""
        upstream = self.upstream
        with anyio.CancelScope(deadline=anyio.current_time() + CONNECT_SECONDS) as opening:
            self.secret = await anyio.to_thread.run_sync(upstream.lend, self.scope)
            async with (
                Client(
                    upstream.way(self.secret, self._ended),
                    read_timeout_seconds=CONNECT_SECONDS,
                    message_handler=self._hear,
                    cache=None,
                ) as client,
                anyio.create_task_group() as group,
            ):
                await self._list(client)
                self._must_live()
                opening.deadline = math.inf
                self.client, self.health = client, Health(State.READY, upstream.clock.now())
                self._ready.set()
                self._tried.set()
                group.start_soon(self._listen, client)
                try:
                    await self._keep(client)
                finally:
                    group.cancel_scope.cancel()
        if opening.cancelled_caught:
            raise TimeoutError(f"it did not answer within {CONNECT_SECONDS:.0f} seconds")

    async def _keep(self, client: Client) -> None:
        """List again when told to, and now and then. Returns never; raises when the server no longer answers."""
        failures = 0
        while True:
            with anyio.move_on_after(REFRESH_SECONDS):
                await self._look.wait()
            self._look.clear()
            self._must_live()
            try:
                with anyio.fail_after(LIST_SECONDS):
                    await self._list(client)
                failures = 0
            except Exception:
                failures += 1
                if failures > 1 and not self.calls:
                    raise
                self.look()  # once is a hiccup; and a server that is busy with a call may be unable to answer
                await anyio.sleep(1)
            await anyio.sleep(1)  # a server that cries "changed" without end is heard once a second

    async def _listen(self, client: Client) -> None:
        """Hear of changes where the server tells of them; elsewhere the refresh finds them."""
        while True:
            try:
                async with client.listen(tools_list_changed=True) as events:
                    async for _ in events:
                        self.look()
            except SubscriptionLost:
                pass
            except MCPError as error:
                if error.code not in (types.CONNECTION_CLOSED, _UNSENT):
                    return
            except (ListenNotSupportedError, TimeoutError):
                return
            self.look()  # what changed while nobody listened is seen by looking
            await anyio.sleep(1)

    async def _hear(self, message: Any) -> None:
        if isinstance(message, types.ToolListChangedNotification):
            self.look()

    async def _list(self, client: Client) -> None:
        shown, cursor = list[types.Tool](), None
        while True:
            page = await client.session.list_tools(params=types.PaginatedRequestParams(cursor=cursor))
            shown += page.tools
            cursor = page.next_cursor
            if cursor is None:
                break
            if len(shown) > MAX_TOOLS or not page.tools:
                raise ValueError(f"it lists more than {MAX_TOOLS} tools, or pages without end")
        tools = self.upstream.understood(shown)
        if not self._ready.is_set() or tools != self.tools:  # equal tools are identical: `understood` keeps them
            self.tools = {}  # until the ledger has seen the new ones, no call goes by any
            await self.upstream.tell(list(tools.values()))
        self.tools = tools

    def _must_live(self) -> None:
        if self._why:
            raise ConnectionError(self._why)

    def _ended(self, why: str) -> None:
        """The child is gone. Said before the calls that are out hear of it, so that a new one waits for the next."""
        self._why, self.client = why, None
        self._ready.clear()
        self.look()

    def _lost(self, error: BaseException) -> None:
        self.client = None
        self._ready.clear()
        self._tried.set()
        text = self._why or "; ".join(scrub(str(leaf) or type(leaf).__name__, self.secret) for leaf in _leaves(error))
        if self.health.state is not State.DOWN or self.health.error != text:
            log.warning("upstream %s is down: %s", self.upstream.settings.name, text)
        since = self.health.since if self.health.state is State.DOWN else self.upstream.clock.now()
        self.health = Health(State.DOWN, since, text)


# --- what the gateway sees --------------------------------------------------------------------------------------------


class McpTool:
    """One tool of an upstream: a `ports.Performer`. A definition that changes makes another object."""

    __slots__ = ("_schema", "_upstream", "definition", "digest", "remote_name", "tool")

    def __init__(self, upstream: McpUpstream, tool: Tool, definition: pins.Definition, digest: str) -> None:
        self._upstream = upstream
        self._schema = ArgumentSchema(tool.schema, tool=tool.name)
        self.tool = tool
        self.definition = definition  #: raw, for `pins.observe`
        self.digest = digest  #: for `pins.problem`
        self.remote_name: str = definition["name"]

    @property
    def is_async(self) -> bool:
        """Always: `perform` gives an awaitable, for any event loop."""
        return True

    def problem(self, args: Mapping[str, Any]) -> str | None:
        """Why these arguments do not fit the tool's JSON Schema, or None."""
        return self._schema.problem(args)

    def ready(self, invocation: Invocation) -> Awaitable[None]:
        """Wait for the connection, without sending. Await this before the last look at the kill switches, so that
        `perform` has nothing left to wait for behind it. Raises NotDone."""
        return self._upstream.ready(invocation)

    def perform(self, invocation: Invocation) -> Awaitable[Any]:
        """Send it; where the connection is not ready, wait for it first. Raises NotDone, UpstreamError or ReplyLost.

        Cancelling the task that awaits it cancels the request upstream.
        """
        return self._upstream.call(self, invocation)


class McpUpstream:
    """One MCP server, as configured. One connection for all; with a credential, one for each tenant and env."""

    def __init__(
        self,
        settings: UpstreamSettings,
        loop: LoopThread,
        vault: Vault | None,
        clock: Clock,
        *,
        declare: Callable[[Tool], Tool] = lambda tool: tool,
        on_definitions: Callable[[McpUpstream, Sequence[McpTool]], None] | None = None,
        wait_seconds: float = WAIT_SECONDS,
    ) -> None:
        self.settings = settings
        self.clock = clock
        self.refused: dict[str, str] = {}  #: tools that cannot be taken, and why
        self._loop, self._vault = loop, vault
        self._declare, self._on_definitions, self._wait = declare, on_definitions, wait_seconds
        self._connections: dict[Scope, _Connection] = {}  # the least recently used first
        self._known: dict[str, McpTool] = {}
        self._closed = False
        if bool(settings.command) == bool(settings.url):
            raise ToolError(f"upstream {settings.name}: say either command: or url:")
        if settings.credential and vault is None:
            raise ToolError(f"upstream {settings.name}: there is no vault to lend {settings.credential!r}")
        if settings.credential and settings.command and not any(PLACEHOLDER in v for v in settings.env.values()):
            raise ToolError(
                f"upstream {settings.name}: say in which variable its credential goes, "
                f"for example env: {{API_KEY: '{PLACEHOLDER}'}}"
            )

    def start(self, tenant: str = SHARED[0], env: str = SHARED[1]) -> Future[list[McpTool]]:
        """Connect if need be, and list. The future raises ToolError where that fails; it is tried again anyway."""
        return self._loop.submit(self._tools((tenant, env)))

    async def tools(self, tenant: str = SHARED[0], env: str = SHARED[1]) -> list[McpTool]:
        """`start`, awaited. From any event loop."""
        return await asyncio.wrap_future(self.start(tenant, env))

    async def ready(self, invocation: Invocation) -> None:
        """Wait for the connection that this call would go over. From any event loop."""
        await asyncio.wrap_future(self._loop.submit(self._open(invocation)))

    async def call(self, tool: McpTool, invocation: Invocation) -> Any:
        """Perform one call. From any event loop."""
        return await asyncio.wrap_future(self._loop.submit(self._call(tool, invocation)))

    def health(self) -> dict[Scope, Health]:
        """How each connection stands."""
        return {scope: connection.health for scope, connection in list(self._connections.items())}

    def close(self) -> None:
        """End every connection, and every child. Blocks: not for the loop thread itself. Before `LoopThread.close`."""
        self._closed = True
        with suppress(RuntimeError):  # the loop is closed, and took the connections with it
            self._loop.submit(self._close()).result()

    # --- on the loop thread ---

    async def _close(self) -> None:
        open_, self._connections = list(self._connections.values()), {}
        await asyncio.gather(*(connection.close() for connection in open_))

    async def _tools(self, scope: Scope) -> list[McpTool]:
        connection = self._connection(scope)
        try:
            await connection.tried()
            await connection.ready(self._wait)
        except NotDone as error:
            raise ToolError(str(error)) from None
        return list(connection.tools.values())

    async def _call(self, tool: McpTool, invocation: Invocation) -> Any:
        connection, client = await self._open(invocation)
        if self.clock.now() >= invocation.info.deadline:
            raise NotDone(f"upstream {self.settings.name} was not ready in time; nothing was sent")
        shown = connection.tools.get(tool.remote_name)
        if shown is None or shown.digest != tool.digest:
            change = "no longer has this tool" if shown is None else "now shows another definition of this tool"
            raise NotDone(f"upstream {self.settings.name} {change}; nothing was sent")
        request = _request(tool, invocation)
        seconds = (tool.tool.timeout or self.settings.timeout) / MICROS
        connection.calls += 1
        try:
            reply = await client.session.send_request(request, _REPLY, request_read_timeout_seconds=seconds)
        except (MCPError, TimeoutError) as error:
            connection.look()
            raise self._meaning(error, connection.secret) from None
        except ValidationError:
            raise UpstreamError(f"upstream {self.settings.name} sent an answer that is not MCP") from None
        finally:
            connection.calls -= 1
        return self._value(reply, connection.secret)

    async def _open(self, invocation: Invocation) -> tuple[_Connection, Client]:
        connection = self._connection((invocation.info.tenant, invocation.info.env))
        return connection, await connection.ready(self._wait)

    def _meaning(self, error: Exception, secret: str) -> Exception:
        """What an error of the protocol proves."""
        name, text = self.settings.name, scrub(str(error), secret)
        code = error.code if isinstance(error, MCPError) else types.REQUEST_TIMEOUT
        if code in (types.CONNECTION_CLOSED, types.REQUEST_TIMEOUT):
            return ReplyLost(f"upstream {name}: the reply was lost ({text})")
        proof = _REFUSED_BEFORE_ACTING.get(code)
        if (proof and text != _AMBIGUOUS) or (code == types.INVALID_REQUEST and text == _SESSION_GONE):
            return NotDone(f"upstream {name} did not do it: {proof or 'its session had ended'} ({text})")
        return UpstreamError(f"upstream {name}: {text}")

    def _value(self, reply: types.CallToolResult | types.InputRequiredResult, secret: str) -> Any:
        if isinstance(reply, types.InputRequiredResult):
            raise NotDone(f"upstream {self.settings.name} asks a person for input, which this gateway does not offer")
        if reply.is_error:
            texts = [block.text for block in reply.content if isinstance(block, types.TextContent)]
            raise UpstreamError(scrub("\n".join(texts), secret) or "the tool failed and did not say why")
        value = value_of(reply)
        return _without(value, secret) if secret else value

    def _connection(self, scope: Scope) -> _Connection:
        if self._closed:
            raise NotDone(f"upstream {self.settings.name} is closed; nothing was sent")
        scope = scope if self.settings.credential else SHARED
        connection = self._connections.pop(scope, None)
        if connection is None:
            self._make_room()
            connection = _Connection(self, scope)
        self._connections[scope] = connection
        return connection

    def _make_room(self) -> None:
        if len(self._connections) < MAX_CONNECTIONS:
            return
        idle = next((scope for scope, each in self._connections.items() if not each.calls), None)
        if idle is None:
            raise NotDone(f"upstream {self.settings.name} has {MAX_CONNECTIONS} busy connections; nothing was sent")
        self._closing = asyncio.ensure_future(self._connections.pop(idle).close())  # kept: a task needs a reference

    def lend(self, scope: Scope) -> str:
        """The credential for one connection, fresh at each opening."""
        if not self.settings.credential or self._vault is None:
            return ""
        return self._vault.lend(self.settings.credential, tenant=scope[0], env=scope[1])

    def way(self, secret: str, ended: Callable[[str], None]) -> Any:
        """The transport of one connection."""
        if self.settings.url:
            return _over_http(self.settings.url, secret)
        return _over_stdio(self.settings, secret, ended)

    async def tell(self, tools: list[McpTool]) -> None:
        """Hand over the definitions before any call can go by them. On a thread: whoever hears it writes the ledger."""
        if self._on_definitions is not None:
            await anyio.to_thread.run_sync(self._on_definitions, self, tools)

    def understood(self, shown: Sequence[types.Tool]) -> dict[str, McpTool]:
        """The tools that can be taken; the others go to `refused`. What has not changed stays the same object."""
        tools: dict[str, McpTool] = {}
        refused: dict[str, str] = {}
        for each in shown:
            try:
                if each.name in tools:
                    raise ToolError("it is listed twice")
                tools[each.name] = self._understood(each)
            except (ToolError, ValueError, TypeError) as error:
                name, why = clean(each.name, 60), scrub(str(error))
                if self.refused.get(name) != why:
                    log.warning("upstream %s: its tool %r cannot be taken: %s", self.settings.name, name, why)
                refused[name] = why
        self.refused = refused
        if len(self._known) > 2 * MAX_TOOLS:  # a server that changes its mind without end fills no memory
            kept = [tools, *(connection.tools for connection in self._connections.values())]
            self._known = {tool.digest: tool for each_kept in kept for tool in each_kept.values()}
        return tools

    def _understood(self, shown: types.Tool) -> McpTool:
        if not _NAME.fullmatch(shown.name):
            raise ToolError("a tool's name has letters, digits and _ - . / only, 128 at most")
        said = shown.model_dump(by_alias=True, mode="json", exclude_none=True)
        annotations = said.get("annotations", {})
        definition = pins.definition(
            name=shown.name,
            title=shown.title or "",
            description=shown.description or "",
            input_schema=shown.input_schema,
            output_schema=shown.output_schema,
            annotations=annotations,
        )
        wrong = problem_of(definition, max_depth=64, max_bytes=1_048_576)
        if wrong is not None:
            raise ToolError(f"its definition {wrong}")
        digest = pins.definition_digest(definition)
        known = self._known.get(digest)
        if known is None:
            tool = Tool(
                name=f"{self.settings.name}.{shown.name}",
                schema=_cleaned(shown.input_schema),
                description=clean(shown.description or shown.title or "", 2_000),
                timeout=self.settings.timeout,
                credential=self.settings.credential or "",
            )
            tool = tightened(self._declare(tool), annotations)
            known = self._known[digest] = McpTool(self, tool, definition, digest)
        return known


def _request(tool: McpTool, invocation: Invocation) -> types.CallToolRequest:
    info = invocation.info
    meta: Any = {
        "interlock/run_id": info.run_id,
        "interlock/call_id": info.call_id,
        "interlock/idempotency_key": info.key,
    }
    params = types.CallToolRequestParams(name=tool.remote_name, arguments=dict(invocation.args), _meta=meta)
    return types.CallToolRequest(params=params)
