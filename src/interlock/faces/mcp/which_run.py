"""The run of a call: the one that it names, or one for its connection or its key's day.

Not the opening of runs by a program (`/v1/runs`). Law: a run that is another's is refused as one that does not exist;
that a run is this agent's was read from the ledger, and never changes, so that it is looked up once.
"""

from __future__ import annotations

import secrets
from collections import OrderedDict
from typing import TYPE_CHECKING

from interlock.core.call import MICROS
from interlock.core.canonical import digest
from interlock.core.principal import Principal
from interlock.core.run import Run
from interlock.faces.http.service import run_of_day
from interlock.faces.mcp.catalog import RUNTIME

if TYPE_CHECKING:
    from interlock.faces.http.service import Service

KNOWN = 10_000  #: runs that are kept in mind
DAY = 86_400 * MICROS


class WhichRun:
    """Finds and opens runs for this front."""

    def __init__(self, service: Service) -> None:
        self._service = service
        self._known: OrderedDict[tuple[str, str], Run] = OrderedDict()
        self._days: dict[tuple[str, ...], tuple[int, str]] = {}  # by caller: the day, and its run
        self._by_connection = service.gateway.config.serve.mcp.run_per == "connection"
        self._born = secrets.token_hex(8)  # a connection of another process, or after a restart, is another connection

    async def of(self, who: Principal, run_id: str, connection: str) -> Run:
        """The run that was named, or the one that stands for who calls. Raises Problem 404, LedgerUnavailable."""
        named = bool(run_id)
        run_id = run_id or self._own(who, connection)
        known = self._known.get((who.tenant, run_id))
        if known is not None and (known.agent, known.env) == (who.agent, who.env):
            return known
        if named:
            found = await self._service.run_of(who, run_id)
        else:
            found = await self._service.default_run(who, runtime=RUNTIME, run_id=run_id)
        self._known[who.tenant, run_id] = found
        if len(self._known) > KNOWN:
            self._known.popitem(last=False)
        return found

    def _own(self, who: Principal, connection: str) -> str:
        said = (who.tenant, who.agent, who.env, who.name, who.key_id)
        if self._by_connection and connection:
            return f"mcp_c_{digest(*said, self._born, connection)[-20:]}"
        now = self._service.gateway.clock.now()
        known = self._days.get(said)
        if known is None or known[0] != now // DAY:
            if len(self._days) > KNOWN:
                self._days.clear()
            known = self._days[said] = (now // DAY, run_of_day(who, now, RUNTIME))
        return known[1]
