"""What waits, told to every page that is open: server-sent events.

Not the page, which asks for the cards itself. Law: one look at the ledger a second serves all who watch, and none is
taken while nobody does; a session that has ended hears nothing more.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator

import msgspec
from starlette.responses import Response, StreamingResponse

from interlock.core.approval import Approval
from interlock.errors import LedgerUnavailable
from interlock.faces.console.approvals import MOST, waiting_for
from interlock.faces.console.desk import HEADERS, Desk, Visit
from interlock.faces.console.standing import stands
from interlock.faces.http.problems import Problem

LOOK = 1.0  #: seconds between looks
QUIET = 15  #: looks without news before a sign of life
LONGEST = 600  #: looks that one stream lasts; the browser asks again
STREAMS = 200  #: at once, in one process


class Arrivals:
    """What waits, looked at once for all."""

    def __init__(self, desk: Desk) -> None:
        self._desk = desk
        self._lock = asyncio.Lock()
        self._seen: list[Approval] = []
        self._seen_at = float("-inf")
        self._open = 0

    async def stream(self, visit: Visit) -> Response:
        """The stream of one page."""
        if self._open >= STREAMS:
            raise Problem(503, "internal", "too many pages are being kept up to date", headers={"retry-after": "30"})
        tenant = await visit.tenant()
        headers = {**HEADERS, "x-accel-buffering": "no"}
        return StreamingResponse(self._events(visit, tenant), headers=headers, media_type="text/event-stream")

    async def _events(self, visit: Visit, tenant: str) -> AsyncIterator[bytes]:
        self._open += 1
        try:
            yield b"retry: 3000\n\n"
            told, quiet = b"", 0
            gone = visit.request.scope.get("interlock.gone")
            for _ in range(LONGEST):
                if gone is not None and gone.closing:
                    return
                known = await self._desk.sessions.read(visit.request.cookies.get(self._desk.cookie, ""))
                if known is None:
                    yield b"event: ended\ndata: {}\n\n"
                    return
                news = await self._news(visit, tenant)
                quiet += 1
                if news is not None and news != told:
                    told, quiet = news, 0
                    yield b"event: waiting\ndata: " + news + b"\n\n"
                elif quiet >= QUIET:
                    quiet = 0
                    yield b": still here\n\n"
                await asyncio.sleep(LOOK)
        finally:
            self._open -= 1

    async def _news(self, visit: Visit, tenant: str) -> bytes | None:
        gateway = visit.gateway

        def told() -> bytes:
            switches = gateway.board.history()
            found = [
                stands(gateway, each, visit.principal, switches)
                for each in self._seen
                if visit.principal.sees(each.tenant) and (not tenant or each.tenant == tenant)
            ]
            waits = [(each.approval.approval_id, each.mark) for each in found if each.waits]
            return msgspec.json.encode({"total": len(waits), "waiting": waits[:MOST]})

        try:
            await self._look()
            return await visit.blocking(told)
        except LedgerUnavailable:
            return None  # the next look may be luckier

    async def _look(self) -> None:
        async with self._lock:
            if time.monotonic() - self._seen_at >= LOOK / 2:
                self._seen = list(await self._desk.service.blocking(waiting_for, self._desk.service.gateway, ""))
                self._seen_at = time.monotonic()
