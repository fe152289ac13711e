"""Tools, and the policy in force.

Not what a call gets (`gateway.py`). Law: an agent is shown no tool that policy surely denies it, and a person nothing
that is said of another tenant; trying a call performs nothing and writes nothing.
"""

from __future__ import annotations

from fnmatch import fnmatchcase

from interlock.check import surely_denied
from interlock.core.audit import SYSTEM
from interlock.core.call import ToolCall
from interlock.core.canonical import problem_of
from interlock.core.names import problem_of_name
from interlock.core.principal import Principal
from interlock.core.verdict import Verdict
from interlock.faces.http.bodies.calls import DecisionView, decision_view
from interlock.faces.http.bodies.tools import Accepted, PolicyView, RuleView, Tools, ToolView
from interlock.faces.http.problems import Problem
from interlock.faces.http.routing import Request
from interlock.gateway import Registered
from interlock.ports import Pin
from interlock.tools.cooperative import is_cooperative
from interlock.trial import tried


async def list_tools(request: Request) -> Tools:
    """By name; to an agent, those that it may use."""
    service, who = request.service, request.principal
    policy, found = service.gateway.config.policy, service.gateway.tools
    pins: dict[str, Pin] = {}
    if who.is_agent:
        found = {name: each for name, each in found.items() if not surely_denied(policy, each.tool, _any_call(who))}
    else:
        pins = {pin.tool: pin for pin in await service.blocking(service.gateway.control.pins)}
    return Tools([_view(found[name], pins.get(name)) for name in sorted(found)])


def _any_call(who: Principal) -> ToolCall:
    return ToolCall(
        tenant=who.tenant, agent=who.agent, env=who.env, run_id="", tool="", args={}, call_id="", key=""
    )


def _view(registered: Registered, pin: Pin | None) -> ToolView:
    tool = registered.tool
    return ToolView(
        name=tool.name, description=tool.description, effect=tool.effect, risk=tool.risk, schema=tool.schema,
        grade="cooperative" if is_cooperative(registered.performer) else "gateway", problem=registered.problem,
        offered_digest=pin.offered_digest if pin is not None else "",
    )


async def accept_tool(request: Request) -> Accepted:
    """Accept the changed definition of an upstream's tool, for all tenants. What is accepted already stays so."""
    service, who, name = request.service, request.principal, request.path["tool"]
    if not who.sees(SYSTEM):
        await service.refuse(who, f"accept_tool {name!r:.80}: concerns every tenant")
        raise Problem(403, "forbidden", "a definition concerns every tenant", remedy="use a credential of no tenant")
    pin = await service.blocking(_pin, request, name)
    if pin is None:
        raise Problem(404, "not_found", f"there is no pinned tool {name!r:.80}")
    said = request.body
    if not pin.offered_digest and said.offered in ("", pin.digest) and pin.accepted_by == who.name:
        return _accepted(pin)
    return _accepted(
        await service.blocking(
            service.gateway.control.accept, name, by=who.name, note=said.note, offered=said.offered
        )
    )


def _pin(request: Request, name: str) -> Pin | None:
    return next((pin for pin in request.service.gateway.control.pins() if pin.tool == name), None)


def _accepted(pin: Pin) -> Accepted:
    return Accepted(tool=pin.tool, digest=pin.digest, accepted_by=pin.accepted_by, accepted_at=pin.accepted_at)


# --- the policy ------------------------------------------------------------------------------------------------------


async def read_policy(request: Request) -> PolicyView:
    """The version and the rules in force, without those for other tenants."""
    policy, tenant = request.service.gateway.config.policy, request.principal.tenant
    rules = [
        RuleView(
            id=rule.id, then=Verdict(rule.then).word, tools=list(rule.tools),
            tenants=[glob for glob in rule.tenants if not tenant or fnmatchcase(tenant, glob)],
            agents=list(rule.agents), envs=list(rule.envs), when=rule.when, reason=rule.reason,
        )
        for rule in policy.rules
        if not tenant or not rule.tenants or any(fnmatchcase(tenant, glob) for glob in rule.tenants)
    ]
    return PolicyView(version=policy.version, rules=rules)


async def check_policy(request: Request) -> DecisionView:
    """What would this call get, in a run that has just begun, under the kill switches that hold now?"""
    said, tenant = request.body, request.tenant
    for what, name in (("tool", said.tool), ("agent", said.agent), ("env", said.env)):
        problem = problem_of_name(name, what)
        if problem is not None:
            raise Problem(422, "bad_request", problem)
    problem = problem_of(said.args)
    if problem is not None:
        raise Problem(422, "bad_request", f"args: {problem}")
    decision = await request.service.blocking(
        tried, request.service.gateway, tenant=tenant, agent=said.agent, env=said.env, tool=said.tool, args=said.args,
        request=said.request,
    )
    return decision_view(decision)
