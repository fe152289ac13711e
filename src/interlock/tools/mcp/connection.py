"""A connection, and the task that owns it: opened, listed, kept, and opened anew when it ends.

Not the choice of a connection for a call: see `upstream.py`. Law: one task opens and closes the client, on the loop
thread; no tool stands here before the ledger has seen its definition.
"""

from __future__ import annotations

import asyncio
import logging
import math
import random
import threading
from typing import TYPE_CHECKING, Any

import anyio
import anyio.to_thread
import mcp_types as types
from mcp import Client
from mcp.client.subscriptions import ListenNotSupportedError, SubscriptionLost
from mcp.shared.exceptions import MCPError

from interlock.errors import NotDone
from interlock.tools.mcp.health import Health, State
from interlock.tools.mcp.reply import UNSENT
from interlock.tools.mcp.settings import Scope
from interlock.tools.mcp.transport import CLOSE_SECONDS
from interlock.tools.mcp.wire import Wire, wire_to
from interlock.tools.text import scrub

if TYPE_CHECKING:  # they hold each other
    from interlock.tools.mcp.tool import McpTool
    from interlock.tools.mcp.upstream import McpUpstream

log = logging.getLogger("interlock.upstream")

CONNECT_SECONDS = 60.0  #: to start, negotiate and list; a server that a package runner first downloads takes long
REFRESH_SECONDS = 60.0  #: how often definitions are listed where nothing tells that they have changed
LIST_SECONDS = 15.0
MAX_TOOLS = 2_000


class Connection:
    """One client, opened, kept and closed by one task. All of it happens on the loop thread."""

    def __init__(self, upstream: McpUpstream, scope: Scope) -> None:
        self.upstream = upstream
        self.scope = scope
        self.secret = ""
        self.calls = 0
        self.used = 0.0  #: when a call last went by it
        self.counting = threading.Lock()  # calls over the wire are counted on their callers' threads
        self.tools: dict[str, McpTool] = {}
        self.health = Health(State.CONNECTING, upstream.clock.now())
        self.client: Client | None = None
        self.wire: Wire | None = None  #: the short way to a server that is up, for calls from any event loop
        self._bent = False  # it sends requests elsewhere, which only the SDK follows
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
                self._why, self._bent = "", False
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
                    upstream.way(self.secret, self._ended, self._bends),
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
                if upstream.settings.url and not self._bent:
                    self.wire = await anyio.to_thread.run_sync(
                        wire_to, upstream.settings.url, self.secret, client.protocol_version
                    )
                self._ready.set()
                self._tried.set()
                group.start_soon(self._listen, client)
                try:
                    await self._keep(client)
                finally:
                    self._cut()
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
                    self.look()  # what changed since the last listing, before anybody listened
                    async for _ in events:
                        self.look()
            except SubscriptionLost:
                pass
            except MCPError as error:
                if error.code not in (types.CONNECTION_CLOSED, UNSENT):
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

    def _bends(self) -> None:
        self._bent = True

    def _cut(self) -> None:
        wire, self.wire = self.wire, None
        if wire is not None:
            wire.close(now=self.upstream.closed)

    def _lost(self, error: BaseException) -> None:
        self.client = None
        self._ready.clear()
        self._tried.set()
        text = self._why or "; ".join(scrub(str(leaf) or type(leaf).__name__, self.secret) for leaf in _leaves(error))
        if self.health.state is not State.DOWN or self.health.error != text:
            log.warning("upstream %s is down: %s", self.upstream.settings.name, text)
        since = self.health.since if self.health.state is State.DOWN else self.upstream.clock.now()
        self.health = Health(State.DOWN, since, text)


def _leaves(error: BaseException) -> list[BaseException]:
    """The exceptions in a group of groups: a client that dies raises them so."""
    if not isinstance(error, BaseExceptionGroup):
        return [error]
    return [leaf for each in error.exceptions for leaf in _leaves(each)]
