"""One HTTP API, as configured: its document, its tools, and the calls that go to it.

Not the governing of the tools: effects are their owner's to declare, definitions are pinned by `pins.py`. Law: a call
changes no event loop, so each loop that calls has a client of its own, which ends with it; a document is read when the
gateway opens, and once: it is the definition that is pinned, and no call goes by another.
"""

from __future__ import annotations

import asyncio
import logging
import random
from collections.abc import Callable, Coroutine, Mapping, Sequence
from concurrent.futures import Future
from contextlib import suppress
from pathlib import Path
from typing import Any

from interlock.core.call import MICROS, Tool
from interlock.core.decide import killed_by
from interlock.errors import NotDone, ToolError
from interlock.loops import LoopThread
from interlock.ports import Clock, Invocation, SwitchBoard
from interlock.tools.openapi import source
from interlock.tools.openapi.document import Operation
from interlock.tools.openapi.offer import OpenApiSettings, is_url, offered
from interlock.tools.openapi.reply import ApiError, ReplyLost, answer
from interlock.tools.openapi.request import Request, problem_of_places, request_of
from interlock.tools.openapi.wire import Wire, Wires
from interlock.tools.schema import ArgumentSchema
from interlock.tools.text import scrub

log = logging.getLogger("interlock.upstream")

FETCH_SECONDS = 20.0
RETRY_SECONDS = (1.0, 60.0)  #: between attempts to fetch a document: first, and at most


class OpenApiTool:
    """One operation: a `ports.Performer`."""

    __slots__ = ("_schema", "_upstream", "definition", "digest", "operation", "server", "tool")

    def __init__(self, upstream: OpenApiUpstream, tool: Tool, operation: Operation, server: str) -> None:
        self._upstream = upstream
        self._schema = ArgumentSchema(tool.schema, tool=tool.name)
        self.tool = tool
        self.operation = operation
        self.server = server
        self.definition = operation.definition  #: raw, for `pins.observe`
        self.digest = operation.digest  #: for `pins.problem`

    @property
    def is_async(self) -> bool:
        """Always: `perform` gives an awaitable, for any event loop."""
        return True

    def problem(self, args: Mapping[str, Any]) -> str | None:
        """Why these arguments do not fit the tool's JSON Schema, or their places in a request; None where they do."""
        wrong = self._schema.problem(args)
        if wrong is not None:
            return wrong
        misplaced = problem_of_places(self.operation, args)
        return f"{self.tool.name}: {misplaced}" if misplaced else None

    def perform(self, invocation: Invocation) -> Coroutine[Any, Any, Any]:
        """Send it. Raises NotDone, ApiError or ReplyLost. Cancelling the task that awaits it closes the connection."""
        return self._upstream.call(self, invocation)


class OpenApiUpstream:
    """One API. Its clients are shared by all tenants: a credential belongs to a call, not to a connection."""

    def __init__(
        self,
        settings: OpenApiSettings,
        loop: LoopThread,
        clock: Clock,
        board: SwitchBoard,
        *,
        declare: Callable[[Tool], Tool] = lambda tool: tool,
        on_definitions: Callable[[Sequence[OpenApiTool]], None] | None = None,
    ) -> None:
        self.settings = settings
        self.refused: Mapping[str, str] = {}  #: operations that are left out, and why
        self._loop, self._clock, self._board = loop, clock, board
        self._declare, self._on_definitions = declare, on_definitions
        self._wires = Wires(lambda: self._client(settings.response_bytes))
        self._retrying: asyncio.Task[None] | None = None
        self._closed = False

    def start(self) -> Future[list[OpenApiTool]]:
        """Read the document. The future raises ToolError where that fails; one behind a URL is then tried again."""
        return self._loop.submit(self._start())

    async def call(self, tool: OpenApiTool, invocation: Invocation) -> Any:
        """Perform one call. From any event loop."""
        name, info = self.settings.name, invocation.info
        if self._closed:
            raise NotDone(f"upstream {name} is closed; nothing was sent")
        effect, secret = tool.tool.effect, invocation.credential or ""
        request = request_of(tool.server, tool.operation, invocation.args, info, secret)
        seconds = (tool.tool.timeout or self.settings.timeout) / MICROS

        def look() -> None:
            """The connection may have taken its time: once more, may it be sent?"""
            if self._clock.now() >= info.deadline:
                raise NotDone(f"upstream {name} was not ready in time; nothing was sent")
            caught = killed_by(
                self._board.active(), tenant=info.tenant, agent=info.agent, run=info.run_id, tool=tool.tool.name,
                effect=effect,
            )
            if caught is not None:
                raise NotDone(f"{caught.text}; nothing was sent")

        follow = tool.operation.method in ("GET", "HEAD") and not effect.writes
        reply = await self._wires.here().send(request, seconds, look=look, follow=follow, secret=secret)
        return answer(name, tool.operation.method, effect, info.attempt, reply, secret)

    def close(self) -> None:
        """Close the clients. Blocks: not for the loop thread itself. Before `LoopThread.close`."""
        self._closed = True
        self._wires.close()
        with suppress(RuntimeError):  # the loop is closed, and took the connections with it
            self._loop.submit(self._close()).result()

    # --- on the loop thread ---

    async def _start(self) -> list[OpenApiTool]:
        try:
            return await self._tools()
        except ToolError:
            if is_url(self.settings.openapi) and not self._closed:
                self._retrying = asyncio.get_running_loop().create_task(self._retry())
            raise

    async def _retry(self) -> None:
        pause = RETRY_SECONDS[0]
        while True:
            await asyncio.sleep(pause * random.uniform(0.5, 1.0))
            try:
                await self._tools()
                return
            except ToolError as error:
                pause = min(2 * pause, RETRY_SECONDS[1])
                log.debug("upstream %s: %s", self.settings.name, error)
            except Exception as error:  # the ledger, for example: whatever it is, it is tried again
                pause = RETRY_SECONDS[1]
                log.warning("upstream %s: its tools could not be registered: %r", self.settings.name, error)

    async def _close(self) -> None:
        if self._retrying is not None:
            self._retrying.cancel()
            await asyncio.wait([self._retrying])

    async def _tools(self) -> list[OpenApiTool]:
        settings = self.settings
        where = settings.openapi or ""
        home = where if is_url(where) else None
        raw = await self._fetched(where) if home else None
        tools, self.refused = await asyncio.to_thread(self._read, where, raw, home)
        for name, why in self.refused.items():
            log.warning("upstream %s: its operation %r cannot be a tool: %s", settings.name, name, why)
        if self._on_definitions is not None:
            await asyncio.to_thread(self._on_definitions, tools)
        return tools

    def _read(self, where: str, raw: bytes | None, home: str | None) -> tuple[list[OpenApiTool], dict[str, str]]:
        root = source.read(Path(where)) if raw is None else source.parse(raw, where)
        offer = offered(self.settings, root, home=home, declare=self._declare)
        tools, refused = list[OpenApiTool](), dict(offer.refused)
        for operation, tool in offer.tools:
            try:
                tools.append(OpenApiTool(self, tool, operation, offer.server))
            except ToolError as error:
                refused[operation.name] = scrub(str(error))
        return tools, refused

    async def _fetched(self, url: str) -> bytes:
        wire = self._client(source.MAX_BYTES)
        headers = {"Accept": "application/json, application/yaml, */*;q=0.5", "Accept-Encoding": "identity"}
        try:
            reply = await wire.send(Request("GET", url, headers), FETCH_SECONDS, follow=True)
        except (NotDone, ReplyLost, ApiError) as error:
            raise ToolError(f"its document cannot be fetched: {error}") from None
        finally:
            await wire.close()
        if reply.status != 200 or not reply.whole:
            why = f"HTTP {reply.status}" if reply.whole else f"it is larger than {source.MAX_BYTES} bytes"
            raise ToolError(f"its document cannot be fetched: {why}")
        return reply.body

    def _client(self, most: int) -> Wire:
        return Wire(self.settings.name, allow_private=self.settings.allow_private, most=most)
