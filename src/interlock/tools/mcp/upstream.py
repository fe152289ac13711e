"""One MCP server, as configured: its connections, its tools, and the calls that go to it.

Not the governing of the tools: effects are declared by their owner, definitions are pinned by `pins.py`. Law: a call is
sent only over a connection whose newest listing shows the tool exactly as the gateway knows it.
"""

from __future__ import annotations

import asyncio
import logging
import re
import time
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from contextlib import suppress
from typing import Any

import anyio.to_thread
import mcp_types as types
from mcp import Client
from mcp.shared.dispatcher import ProgressFnT
from mcp.shared.exceptions import MCPError
from pydantic import ValidationError

from interlock import pins
from interlock.core.call import MICROS, Tool
from interlock.core.canonical import problem_of
from interlock.errors import NotDone, ToolError
from interlock.loops import LoopThread
from interlock.ports import Clock, Invocation, Vault
from interlock.tools.mcp.connection import MAX_TOOLS, Connection
from interlock.tools.mcp.health import Health
from interlock.tools.mcp.reply import REPLY, UpstreamError, answer, meaning
from interlock.tools.mcp.settings import PLACEHOLDER, SHARED, Scope, UpstreamSettings
from interlock.tools.mcp.tool import McpTool, meta_for, request_for, tightened
from interlock.tools.mcp.transport import over_http, over_stdio
from interlock.tools.mcp.wire import Heard, Unusual, Wire
from interlock.tools.text import clean, cleaned, scrub

log = logging.getLogger("interlock.upstream")

WAIT_SECONDS = 5.0  #: how long a call waits for a connection that is not ready
MAX_CONNECTIONS = 32  #: of one upstream: one for each tenant and env, where it has a credential
_NAME = re.compile(r"[A-Za-z0-9_./-]{1,128}")


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
        tells: Callable[[Any], bool] = lambda _: False,
        wait_seconds: float = WAIT_SECONDS,
        short: bool = True,
    ) -> None:
        """`short=False`: every call by the SDK's client, which is the measure of those that go without it."""
        self.settings = settings
        self.clock = clock
        self.refused: dict[str, str] = {}  #: tools that cannot be taken, and why
        self._loop, self._vault = loop, vault
        self._declare, self._on_definitions, self._wait = declare, on_definitions, wait_seconds
        self._tells = tells  #: whether something holds a credential that was lent
        self._connections: dict[Scope, Connection] = {}
        self._known: dict[str, McpTool] = {}
        self.closed = False
        self._goes_short = short
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
        short = self._short(invocation)
        if short is None:
            await asyncio.wrap_future(self._loop.submit(self._open(invocation)))
            return
        try:
            await short[1].ready()
        except MCPError as error:
            raise self._trouble(*short, error) from None

    async def call(self, tool: McpTool, invocation: Invocation) -> Any:
        """Perform one call. From any event loop."""
        short = None if tool.routed else self._short(invocation)
        if short is not None:
            try:
                return await self._over_wire(*short, tool, invocation)
            except Unusual:
                pass
        return await asyncio.wrap_future(self._loop.submit(self._call(tool, invocation)))

    def health(self) -> dict[Scope, Health]:
        """How each connection stands."""
        return {scope: connection.health for scope, connection in list(self._connections.items())}

    def close(self) -> None:
        """End every connection, and every child. Blocks: not for the loop thread itself. Before `LoopThread.close`."""
        self.closed = True
        with suppress(RuntimeError):  # the loop is closed, and took the connections with it
            self._loop.submit(self._close()).result()

    # --- on the loop of whoever calls: no thread is changed where a server needs nothing but one POST ---

    def _short(self, invocation: Invocation) -> tuple[Connection, Wire] | None:
        """The connection of this call and its wire, where it is up and has one; None where the way is the client's."""
        info = invocation.info
        if self.closed or not self._goes_short:
            return None
        connection = self._connections.get((info.tenant, info.env) if self.settings.credential else SHARED)
        wire = None if connection is None else connection.wire
        if connection is None or wire is None or wire.bent:
            return None
        connection.used = time.monotonic()
        return connection, wire

    async def _over_wire(self, connection: Connection, wire: Wire, tool: McpTool, invocation: Invocation) -> Any:
        self._must_be_shown(connection, tool, invocation)
        name = self.settings.name
        with connection.counting:
            connection.calls += 1
        try:
            reply = await wire.call(
                tool.remote_name, invocation.args, meta_for(invocation), self._seconds(tool),
                _heard(invocation, wire.secret),
            )
        except MCPError as error:
            raise self._trouble(connection, wire, error) from None
        except ValidationError:
            raise UpstreamError(f"upstream {name} sent an answer that is not MCP") from None
        finally:
            with connection.counting:
                connection.calls -= 1
        return answer(name, reply, wire.secret)

    def _trouble(self, connection: Connection, wire: Wire, error: MCPError) -> Exception:
        """What it proves; and the connection has a look at what became of its server."""
        with suppress(RuntimeError):  # the loop is closed: nobody looks any more
            self._loop.submit(_look(connection))
        return meaning(self.settings.name, error, wire.secret)

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
        self._must_be_shown(connection, tool, invocation)
        request = request_for(tool, invocation)
        seconds = self._seconds(tool)
        with connection.counting:
            connection.calls += 1
        try:
            reply = await client.session.send_request(
                request, REPLY, request_read_timeout_seconds=seconds,
                progress_callback=_relay(invocation, connection.secret),
            )
        except (MCPError, TimeoutError) as error:
            connection.look()
            raise meaning(self.settings.name, error, connection.secret) from None
        except ValidationError:
            raise UpstreamError(f"upstream {self.settings.name} sent an answer that is not MCP") from None
        finally:
            with connection.counting:
                connection.calls -= 1
        return answer(self.settings.name, reply, connection.secret)

    def _must_be_shown(self, connection: Connection, tool: McpTool, invocation: Invocation) -> None:
        """Raises NotDone where it is too late, or the server's newest listing has it otherwise."""
        if self.clock.now() >= invocation.info.deadline:
            raise NotDone(f"upstream {self.settings.name} was not ready in time; nothing was sent")
        shown = connection.tools.get(tool.remote_name)
        if shown is None or shown.digest != tool.digest:
            change = "no longer has this tool" if shown is None else "now shows another definition of this tool"
            raise NotDone(f"upstream {self.settings.name} {change}; nothing was sent")

    def _seconds(self, tool: McpTool) -> float:
        return (tool.tool.timeout or self.settings.timeout) / MICROS

    async def _open(self, invocation: Invocation) -> tuple[Connection, Client]:
        connection = self._connection((invocation.info.tenant, invocation.info.env))
        return connection, await connection.ready(self._wait)

    def _connection(self, scope: Scope) -> Connection:
        if self.closed:
            raise NotDone(f"upstream {self.settings.name} is closed; nothing was sent")
        scope = scope if self.settings.credential else SHARED
        connection = self._connections.get(scope)
        if connection is None:
            self._make_room()
            connection = self._connections[scope] = Connection(self, scope)
        connection.used = time.monotonic()
        return connection

    def _make_room(self) -> None:
        if len(self._connections) < MAX_CONNECTIONS:
            return
        idle = [each for each in self._connections.values() if not each.calls]
        if not idle:
            raise NotDone(f"upstream {self.settings.name} has {MAX_CONNECTIONS} busy connections; nothing was sent")
        oldest = min(idle, key=lambda each: each.used).scope
        self._closing = asyncio.ensure_future(self._connections.pop(oldest).close())  # kept: a task needs a reference

    def lend(self, scope: Scope) -> str:
        """The credential for one connection, fresh at each opening."""
        if not self.settings.credential or self._vault is None:
            return ""
        return self._vault.lend(self.settings.credential, tenant=scope[0], env=scope[1])

    def way(self, secret: str, ended: Callable[[str], None], bends: Callable[[], None]) -> Any:
        """The transport of one connection. `bends`: told when its server sends a request elsewhere."""
        if self.settings.url:
            return over_http(self.settings.url, secret, bends)
        return over_stdio(self.settings, secret, ended)

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
                name, why = "a tool" if self._tells(each.name) else clean(each.name, 60), scrub(str(error))
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
        if self._tells(definition):
            raise ToolError("its definition holds the credential that its server was lent")
        digest = pins.definition_digest(definition)
        known = self._known.get(digest)
        if known is None:
            tool = Tool(
                name=f"{self.settings.name}.{shown.name}",
                schema=cleaned(shown.input_schema),
                description=clean(shown.description or shown.title or "", 2_000),
                timeout=self.settings.timeout,
                credential=self.settings.credential or "",
            )
            tool = tightened(self._declare(tool), annotations)
            known = self._known[digest] = McpTool(self, tool, definition, digest)
        return known


async def _look(connection: Connection) -> None:
    connection.look()


def _heard(invocation: Invocation, secret: str) -> Heard | None:
    """What tells the caller how far its call has come, where anybody listens. What the server says is scrubbed."""
    if invocation.info.listener is None:
        return None
    return lambda progress, total, message: invocation.info.report_progress(progress, total, scrub(message, secret))


def _relay(invocation: Invocation, secret: str) -> ProgressFnT | None:
    """The same for the SDK's client."""
    heard = _heard(invocation, secret)
    if heard is None:
        return None

    async def tell(progress: float, total: float | None, message: str | None) -> None:
        heard(progress, total, message or "")

    return tell
