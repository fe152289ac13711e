"""What would this call get? Nothing is performed, and nothing is written.

Not an admission. Law: a call that is tried is weighed by the `decide` that weighs real calls, as in a run that nobody
has opened, under the kill switches that hold now; budgets of windows, and what the ledger knows, are not looked at.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from interlock.core.budget import NOTHING
from interlock.core.call import Tool, ToolCall
from interlock.core.decide import Facts, decide
from interlock.core.run import Run
from interlock.core.verdict import Decision

if TYPE_CHECKING:
    from interlock.gateway import Gateway

RUN = "tried"


def tried(
    gateway: Gateway, *, tenant: str, agent: str, env: str, tool: str, args: Mapping[str, Any], request: str = ""
) -> Decision:
    """The decision about one call. The names have been looked at by whoever asks."""
    config, now = gateway.config, gateway.clock.now()
    budget = config.run_budget(tenant, agent)
    run = Run(
        tenant=tenant, run_id=RUN, agent=agent, env=env, opened_at=now, deadline=now + budget.max_seconds,
        max_seconds=budget.max_seconds, limits=budget.limits, max_denials=budget.max_denials,
        max_repeats=budget.max_repeats, policy_version=config.policy.version, request=request,
    )
    known, problem = config.declared(Tool(name=tool), said=()), ""
    registered = gateway.tools.get(tool)
    if registered is not None:
        known, problem = registered.tool, registered.problem or registered.performer.problem(args) or ""
    call = ToolCall(tenant=tenant, agent=agent, env=env, run_id=RUN, tool=tool, args=args, call_id=RUN, key=RUN)
    facts = Facts(
        now=now, policy=config.policy, run=run, tool=known, problem=problem, switches=gateway.board.active(),
        cost=NOTHING,
    )
    return decide(call, facts)
