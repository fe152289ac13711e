"""Kill switches: what is in force, and the large buttons.

Not the switch (`core/switch.py`). Law: before anything is killed, its reach is shown and a reason is asked for;
somebody of one tenant reaches that tenant alone, and sees of the others' switches only those that hold for theirs.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from msgspec import Struct
from starlette.responses import Response

from interlock.core.principal import Principal
from interlock.core.record import Record
from interlock.core.run import Run
from interlock.core.switch import Mode, Scope, Switch
from interlock.errors import InterlockError, LedgerUnavailable
from interlock.faces.console.desk import Visit

if TYPE_CHECKING:
    from interlock.gateway import Gateway

SCANNED = 2_000  #: of the newest runs, and of calls in flight, that are counted
EVER = 1 << 62  #: later than any lease runs
KINDS = ("everything", "tenant", "agent", "tool", "run")


class Reach(Struct, frozen=True):
    """What a switch would stop now."""

    runs: int
    calls: int
    more: bool  #: there are more than were counted


class Living(Struct, frozen=True):
    """What is open now."""

    runs: Sequence[Run]
    calls: Sequence[Record]
    more: bool

    def within(self, scope: Scope) -> Reach:
        """How much of it a scope holds. A tool's switch stops no run."""
        runs = 0 if scope.tool else sum(
            scope.matches(tenant=run.tenant, agent=run.agent, run=run.run_id, tool=None) for run in self.runs
        )
        calls = sum(
            scope.matches(tenant=call.tenant, agent=call.agent, run=call.run_id, tool=call.tool)
            for call in (record.call for record in self.calls)
        )
        return Reach(runs, calls, self.more)


async def listed(visit: Visit) -> Response:
    """What is in force, and what could be stopped."""
    return await _page(visit)


async def _page(visit: Visit, problem: str = "", status: int = 200) -> Response:
    tenants = await visit.tenants()

    def look() -> dict[str, Any]:
        living = _living(visit.gateway, visit.principal.tenant)
        seen = [each for each in visit.gateway.board.history() if visible(visit.principal, each)]
        return {
            "active": [(each, living.within(each.scope)) for each in seen if each.active],
            "past": [each for each in reversed(seen) if not each.active][:20],
            "whole": living.within(Scope(tenant=visit.principal.tenant)),
            "by_tenant": [(each, living.within(Scope(tenant=each))) for each in tenants[:50]],
            "agents": _counted((run.tenant, run.agent) for run in living.runs),
            "tools": sorted(visit.gateway.tools),
        }

    names = await visit.blocking(look)
    return visit.page("switches.html", status, problem=problem, **names)


async def ask(visit: Visit) -> Response:
    """One scope: what it would stop, and why that shall be."""
    return await _asked(visit, await _scope(visit, visit.request.query_params), visit.asked("kind") or "everything")


async def kill(visit: Visit) -> Response:
    """Stop it now."""
    form = visit.form
    scope, kind = await _scope(visit, form), form.get("kind", "everything")
    named = {"everything": True, "tenant": scope.tenant, "agent": scope.agent, "tool": scope.tool, "run": scope.run}
    if not named.get(kind):  # a field left empty must not widen the scope to everything
        return await _asked(visit, scope, kind, f"Say which {kind}: left empty, it would be everything.", 422)
    if not form.get("reason", "").strip():
        return await _asked(visit, scope, kind, "Say why: the reason is what everybody else will read.", 422)
    try:
        await visit.blocking(
            visit.gateway.control.kill, reason=form["reason"].strip(), by=visit.principal.name, tenant=scope.tenant,
            agent=scope.agent, tool=scope.tool, run=scope.run, mode=form.get("mode", "all"),
        )
    except LedgerUnavailable as error:  # it holds all the same: that is what counts here
        return await _page(visit, str(error), 200)
    except InterlockError as error:
        return await _asked(visit, scope, kind, str(error), 409)
    return visit.go("/switches", done="killed")


async def release(visit: Visit) -> Response:
    """Let go of one scope."""
    form = visit.form
    scope = Scope(
        tenant=form.get("tenant", ""), agent=form.get("agent", ""), tool=form.get("tool", ""), run=form.get("run", "")
    )
    await visit.service.see(visit.principal, scope.tenant or "*", f"kill switch for {scope}")
    try:
        await visit.blocking(
            visit.gateway.control.release, by=visit.principal.name, reason=form.get("reason", "").strip(),
            tenant=scope.tenant, agent=scope.agent, tool=scope.tool, run=scope.run,
        )
    except InterlockError as error:
        return await _page(visit, str(error), 409)
    return visit.go("/switches", done="released")


async def _scope(visit: Visit, said: Any) -> Scope:
    """What was named; of somebody of one tenant never more than that tenant."""
    tenant = (said.get("tenant") or "").strip()
    if tenant:
        await visit.service.see(visit.principal, tenant, f"tenant {tenant!r:.80}")
    return Scope(
        tenant=tenant or visit.principal.tenant, agent=(said.get("agent") or "").strip(),
        tool=(said.get("tool") or "").strip(), run=(said.get("run") or "").strip(),
    )


async def _asked(visit: Visit, scope: Scope, kind: str, problem: str = "", status: int = 200) -> Response:
    living = await visit.blocking(_living, visit.gateway, visit.principal.tenant)
    known = {
        "tenant": await visit.tenants(),
        "agent": sorted({run.agent for run in living.runs} | set(visit.gateway.config.agents)),
        "tool": sorted(visit.gateway.tools),
        "run": [run.run_id for run in living.runs[:200]],
    }
    return visit.page(
        "kill.html", status, scope=scope, kind=kind if kind in KINDS else "everything", reach=living.within(scope),
        known=known, problem=problem, reason=visit.form.get("reason", ""), mode=visit.form.get("mode", Mode.ALL),
    )


def _living(gateway: Gateway, tenant: str) -> Living:
    runs, now = gateway.store.runs(tenant or None, limit=SCANNED), gateway.clock.now()
    going = [run for run in runs if run.stop_reason is None and (run.paused_at is not None or run.deadline > now)]
    leased = gateway.store.lapsed(EVER, SCANNED)
    calls = [record for record in leased if not tenant or record.call.tenant == tenant]
    return Living(going, calls, len(runs) == SCANNED or len(leased) == SCANNED)


def visible(principal: Principal, switch: Switch) -> bool:
    """Theirs, or one that holds for every tenant. One of a run alone may be anybody's."""
    scope = switch.scope
    return principal.sees(scope.tenant) or (not scope.tenant and not scope.run)


def _counted(pairs: Any) -> list[tuple[tuple[str, str], int]]:
    return sorted(Counter(pairs).items(), key=lambda each: (-each[1], each[0]))[:30]
