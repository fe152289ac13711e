"""The policy in force, and trying a call against it: nothing is performed, nothing is written.

Not the policy (`core/policy.py`), and not the trial (`trial.py`). Law: rules for other tenants are not shown.
"""

from __future__ import annotations

from fnmatch import fnmatchcase
from typing import Any

import msgspec
from starlette.responses import Response

from interlock import trial
from interlock.check import named_tools
from interlock.core.canonical import problem_of
from interlock.core.names import problem_of_name
from interlock.core.policy import Rule
from interlock.core.verdict import Decision
from interlock.errors import ConfigError
from interlock.faces.console.desk import Visit

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
    named = {field: said[field] for field in ("tenant", "agent", "env", "tool", "request")}
    problem = problem or next((found for what in FIELDS[:4] if (found := problem_of_name(said[what], what))), "")
    if problem:
        return await _page(visit, said, problem=problem, status=422)
    try:
        decision = await visit.blocking(trial.tried, visit.gateway, args=args, **named)
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
