"""The protocol as the SDK speaks it: everything that is rare, and the measure of what is not.

Not the hot methods (`codec.py` answers those the same way, faster). Law: nothing is decided here; who calls was settled
at the door, and what a call comes to is the front's answer.
"""

from __future__ import annotations

import asyncio
import math
from collections.abc import Mapping
from contextvars import ContextVar
from typing import Any

import anyio
import mcp_types as types
from mcp.server import Server
from mcp.server.context import ServerRequestContext
from mcp.shared.exceptions import MCPError
from mcp_types.version import MODERN_PROTOCOL_VERSIONS
from msgspec import Struct

from interlock.core.principal import Principal
from interlock.faces.mcp import asking
from interlock.faces.mcp.front import NAME, TTL_MS, Answer, Front
from interlock.faces.mcp.sealed import Forged, Round
from interlock.ports import LISTENER

INSTRUCTIONS = (
    "Every call here is weighed by a gateway. NOT DONE and FAILED say that nothing happened, UNKNOWN that it may have:"
    " do not send that again. APPROVAL_REQUIRED means that a person is asked: go on with something else, and send the"
    " very same call again once it is approved."
)
MOST_WAITING = 100  #: reports of progress that wait for a slow client; more are dropped

Context = ServerRequestContext[Any, Any]


class Caller(Struct, frozen=True):
    """Who calls, as the door has found."""

    who: Principal
    headers: Mapping[str, str]  #: those that name runs
    connection: str
    plain: bool = False  #: names of tools without dots


CALLER: ContextVar[Caller] = ContextVar("interlock_mcp_caller")
SCOPE_KEY = "interlock.mcp.caller"


class Protocol:
    """The SDK's server over a front. `fixed`: who calls where there is no HTTP."""

    def __init__(self, front: Front, fixed: Caller | None = None) -> None:
        self._front = front
        self._fixed = fixed
        self.server: Server[Any] = Server(
            NAME, version=front.version, instructions=INSTRUCTIONS, on_list_tools=self._list, on_call_tool=self._call,
            get_tool_input_schema=self._routed,
        )

    async def _list(self, context: Context, params: types.PaginatedRequestParams | None) -> types.ListToolsResult:
        if params is not None and params.cursor is not None:
            raise MCPError(code=types.INVALID_PARAMS, message="there is no such page: the list has one")
        caller = self._caller(context)
        tools = (await self._front.tools(caller.who, plain=caller.plain)).tools
        return types.ListToolsResult.model_validate(
            {"tools": tools, "ttlMs": TTL_MS, "cacheScope": "private"}, by_name=False
        )

    async def _call(
        self, context: Context, params: types.CallToolRequestParams
    ) -> types.CallToolResult | types.InputRequiredResult:
        front, caller, args = self._front, self._caller(context), params.arguments or {}
        earlier: Round | None = None
        if params.request_state is not None:
            try:
                found = front.again(caller.who, params.name, args, params.request_state)
            except Forged:
                raise MCPError(code=types.INVALID_PARAMS, message="the request state is none of this call") from None
            if isinstance(found, Answer):
                return _result(found)
            earlier = found
            if asking.accepted(params.input_responses):
                await asking.answered(front.service, caller.who.tenant, earlier.approval_id)
        answer = await self._performed(context, caller, params.name, args, earlier)
        mode = asking.mode_of(context) if answer.approval_id and front.asks and earlier is None else ""
        if not mode:
            return _result(answer)
        if context.protocol_version in MODERN_PROTOCOL_VERSIONS:
            state = front.seal.close(
                caller.who, front.wish(params.name, args),
                run_id=answer.run_id, call_id=answer.call_id, approval_id=answer.approval_id,
            )
            question = asking.request_of(mode, params.name, answer.approval_id, front.page)
            return types.InputRequiredResult(input_requests={asking.QUESTION: question}, request_state=state)
        if await asking.ask(context, mode, params.name, answer.approval_id, front.page):
            await asking.answered(front.service, caller.who.tenant, answer.approval_id)
            first = Round(answer.run_id, answer.call_id, answer.approval_id, 0, "")
            answer = await self._performed(context, caller, params.name, args, first)
        return _result(answer)

    async def _performed(
        self, context: Context, caller: Caller, name: str, args: Mapping[str, Any], earlier: Round | None
    ) -> Answer:
        """One call in a task of its own: the SDK's cancellation knocks again and again, and the gateway, which has to
        settle, is told once."""
        meta: Mapping[str, Any] = dict(context.meta or {})
        reports: asyncio.Queue[tuple[float, float | None, str] | None] = asyncio.Queue(MOST_WAITING)
        loop, redact = asyncio.get_running_loop(), self._front.service.gateway.redactor.redact_text

        def take(report: tuple[float, float | None, str] | None) -> None:
            if report is None or not reports.full():
                reports.put_nowait(report)

        def heard(progress: float, total: float | None, message: str) -> None:
            if math.isfinite(progress) and (total is None or math.isfinite(total)):
                loop.call_soon_threadsafe(take, (progress, total, redact(message)))

        async def tell() -> None:
            while (report := await reports.get()) is not None:
                await context.session.report_progress(report[0], report[1], report[2] or None)

        wanted = "progressToken" in meta or "progress_token" in meta
        token = LISTENER.set(heard if wanted else None)
        try:
            call = loop.create_task(
                self._front.call(caller.who, name, args, meta, caller.headers, caller.connection, earlier)
            )
        finally:
            LISTENER.reset(token)
        telling = loop.create_task(tell()) if wanted else None
        try:
            answer = await _once(call)
            if telling is not None:
                await reports.put(None)
                await asyncio.wait({telling}, timeout=1.0)
            return answer
        finally:
            if telling is not None:
                telling.cancel()

    def _caller(self, context: Context) -> Caller:
        if self._fixed is not None:
            return self._fixed
        caller: Caller = context.request.scope[SCOPE_KEY]  # type: ignore[union-attr]
        return caller

    def _routed(self, name: str) -> Mapping[str, Any] | None:
        """The schema of a tool that wants arguments repeated in headers, where this caller is shown it."""
        caller = self._fixed or CALLER.get(None)
        offer = self._front.catalog.offer(self._front.catalog.name_of(name))
        if caller is None or offer is None or not offer.routed:
            return None
        shown = self._front.catalog.shown_to(caller.who, plain=caller.plain)
        return next((tool["inputSchema"] for tool in shown.tools if tool["name"] == name), None)


async def _once(call: asyncio.Task[Answer]) -> Answer:
    """Await a task; a cancellation is passed on once, and waits until the task has ended."""
    try:
        return await asyncio.shield(call)
    except asyncio.CancelledError:
        call.cancel()
        with anyio.CancelScope(shield=True):
            await asyncio.wait({call})
        raise


def _result(answer: Answer) -> types.CallToolResult:
    return types.CallToolResult.model_validate(answer.result, by_name=False)
