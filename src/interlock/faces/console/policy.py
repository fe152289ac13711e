"""The policy in force, and trying a call against it: nothing is performed, nothing is written.

Not the policy (`core/policy.py`). Law: a call that is tried is weighed by the `decide` that weighs real calls, in a run
of its own that nobody has opened; rules for other tenants are not shown.
"""

from __future__ import annotations

from fnmatch import fnmatchcase
from typing import TYPE_CHECKING, Any

import msgspec
from starlette.responses import Response

from interlock.check import named_tools
from interlock.core.budget import NOTHING
from interlock.core.call import Tool, ToolCall
from interlock.core.canonical import problem_of
from interlock.core.decide import Facts, decide
from interlock.core.names import problem_of_name
from interlock.core.policy import Rule
from interlock.core.run import Run
from interlock.core.verdict import Decision
from interlock.errors import ConfigError
from interlock.faces.console.desk import Visit

if TYPE_CHECKING:
    from interlock.gateway import Gateway

FIELDS = ("tenant", "agent", "env", "tool", "args", "request")


async def shown(visit: Visit) -> Response:
    """What is in force."""
    said = {"tool": visit.asked("tool"), "args": visit.asked("args", "{}"), "env": "prod", "agent": "", "request": ""}
    return await _page(visit, {**said, "tenant": visit.principal.tenant or visit.asked("tenant")})


async def tried(visit: Visit) -> Response:
    """What one call would get."""
    said = {field: visit.form.get(field, "").strip() for field in FIELDS}
    said["tenant"] = said["tenant"] or visit.principal.tenant
    if said["tenant"]:
        await visit.service.see(visit.principal, said["tenant"], f"tenant {said['tenant']!r:.80}")
    args, problem = _arguments(said["args"])
    problem = problem or next((found for what in FIELDS[:4] if (found := problem_of_name(said[what], what))), "")
    if problem:
        return await _page(visit, said, problem=problem, status=422)
    try:
        decision = await visit.blocking(_weighed, visit.gateway, said, args)
    except ConfigError as error:
        return await _page(visit, said, problem=str(error), status=422)
    return await _page(visit, said, decision=decision)


async def _page(
    visit: Visit, said: dict[str, str], *, decision: Decision | None = None, problem: str = "", status: int = 200
) -> Response:
    config = visit.gateway.config
    rules = [rule for rule in config.policy.rules if _speaks_of(rule, visit.principal.tenant)]
    tools = sorted({*visit.gateway.tools, *named_tools(config)})
    return visit.page(
        "policy.html", status, config=config, rules=rules, said=said, decision=decision, problem=problem, tools=tools,
        tenants=await visit.tenants(), agents=sorted(config.agents),
    )


def _speaks_of(rule: Rule, tenant: str) -> bool:
    return not tenant or not rule.tenants or any(fnmatchcase(tenant, glob) for glob in rule.tenants)


def _arguments(text: str) -> tuple[dict[str, Any], str]:
    try:
        args = msgspec.json.decode(text or "{}")
    except (msgspec.DecodeError, ValueError, RecursionError) as error:
        return {}, f"The arguments are not JSON: {error}."
    if not isinstance(args, dict):
        return {}, "The arguments must be a JSON object."
    problem = problem_of(args)
    return ({}, f"The arguments {problem}.") if problem else (args, "")


def _weighed(gateway: Gateway, said: dict[str, str], args: dict[str, Any]) -> Decision:
    """One call in a run that was never opened, under the kill switches that hold now."""
    config, now = gateway.config, gateway.clock.now()
    tenant, agent, env, name = (said[field] for field in FIELDS[:4])
    budget = config.run_budget(tenant, agent)
    run = Run(
        tenant=tenant, run_id="tried", agent=agent, env=env, opened_at=now, deadline=now + budget.max_seconds,
        max_seconds=budget.max_seconds, limits=budget.limits, max_denials=budget.max_denials,
        max_repeats=budget.max_repeats, policy_version=config.policy.version, request=said["request"],
    )
    registered = gateway.tools.get(name)
    tool, problem = config.declared(Tool(name=name), said=()), ""
    if registered is not None:
        tool = registered.tool
        problem = registered.problem or registered.performer.problem(args) or ""
    call = ToolCall(
        tenant=tenant, agent=agent, env=env, run_id="tried", tool=name, args=args, call_id="tried", key="tried"
    )
    facts = Facts(
        now=now, policy=config.policy, run=run, tool=tool, problem=problem, switches=gateway.board.active(),
        cost=NOTHING,
    )
    return decide(call, facts)
