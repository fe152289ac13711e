"""Budgets over time: what each account of a tenant has used, holds, and has left.

Not the accounts. Law: where no window is limited nothing is booked on one, so what the runs themselves have booked is
shown beside it, by agent and day.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from starlette.responses import Response

from interlock.bookings import run_account
from interlock.core.budget import NOTHING, Account, AccountKey, Limits, Window
from interlock.faces.console.desk import Visit
from interlock.faces.console.plots import Plot, plots, since

if TYPE_CHECKING:
    from interlock.gateway import Gateway

RUNS = 300  #: the newest ones, whose own accounts are added up
PLOTS = 120


async def shown(visit: Visit) -> Response:
    """The budgets of one tenant."""
    tenants = await visit.tenants()
    tenant = await visit.tenant() or (tenants[0] if tenants else "")
    names: dict[str, Any] = {"windows": [], "agents": [], "left_out": 0}
    if tenant:
        names = await visit.blocking(_budgets, visit.gateway, tenant)
    return visit.page("budgets.html", tenant=tenant, tenants=tenants, **names)


def _budgets(gateway: Gateway, tenant: str) -> dict[str, Any]:
    now = gateway.clock.now()
    accounts = list(gateway.store.accounts(tenant, since(now)))
    agents = {key.subject for key, _ in accounts if key.scope == "agent"} | set(gateway.config.agents)
    tools = {key.subject for key, _ in accounts if key.scope == "tool"}
    limits: dict[tuple[str, str, Window], Limits] = {}
    for agent in sorted(agents) or [""]:
        for tool in ("", *sorted(tools | set(gateway.tools))):
            for quota in gateway.config.quotas(tenant, agent, tool):
                if quota.subject:
                    limits[quota.scope, quota.subject, quota.window] = quota.limits
    windows = plots(accounts, limits, now)
    return {
        "windows": windows[:PLOTS], "left_out": max(0, len(windows) - PLOTS), "agents": _by_agent(gateway, tenant, now)
    }


def _by_agent(gateway: Gateway, tenant: str, now: int) -> list[Plot]:
    """What the newest runs have booked on their own accounts, by agent and the day on which they were opened."""
    added: dict[AccountKey, Account] = {}
    for run in gateway.store.runs(tenant, limit=RUNS):
        account = gateway.store.load(run_account(tenant, run.run_id)) or Account()
        key = AccountKey(tenant, "agent", run.agent, Window.DAY, Window.DAY.start(run.opened_at))
        known = added.get(key, Account())
        added[key] = Account(known.held.plus(account.held), known.spent.plus(account.spent), NOTHING)
    return plots(added.items(), {}, now, ("usd", "tool_calls"))[:PLOTS]
