"""Kill switches, unknowns and budgets: what operators do.

Not what it means (`control.py`). Law: everything is done under the name of the credential, and within its tenant; a
request that is sent again does nothing twice.
"""

from __future__ import annotations

from msgspec import structs

from interlock import bookings
from interlock.core.budget import UNITS, Account, AccountKey, Limits, Window
from interlock.core.lifecycle import State
from interlock.core.record import Record
from interlock.core.switch import Scope
from interlock.errors import Refused
from interlock.faces.http.api_calls import call_view, find_record
from interlock.faces.http.bodies.calls import CallView
from interlock.faces.http.bodies.control import Accounts, AccountView, Reconcile, Switches, SwitchView, switch_view
from interlock.faces.http.problems import Problem
from interlock.faces.http.routing import Request
from interlock.gateway import Gateway
from interlock.results import encode_result

SCOPES = ("run", "agent", "tenant", "tool")


# --- kill switches ---------------------------------------------------------------------------------------------------


async def list_switches(request: Request) -> Switches:
    """Those that concern the credential's tenant: its own, and those of no single tenant."""
    found = await request.service.blocking(
        request.service.gateway.control.switches, active=request.query.active
    )
    theirs = [each for each in found if not each.scope.tenant or request.principal.sees(each.scope.tenant)]
    return Switches([switch_view(each) for each in theirs])


async def kill(request: Request) -> SwitchView:
    """Returns when no effect in the scope can begin any more, in any process. Killing again renews the reason."""
    said = request.body
    switch = await request.service.blocking(
        request.service.gateway.control.kill, reason=said.reason, by=request.principal.name,
        tenant=request.principal.tenant or said.tenant, agent=said.agent, tool=said.tool, run=said.run, mode=said.mode,
    )
    return switch_view(switch)


async def release(request: Request) -> SwitchView:
    """Let go of just this scope. Whoever has released it before is told of that."""
    said, control = request.body, request.service.gateway.control
    scope = Scope(
        tenant=request.principal.tenant or said.tenant, agent=said.agent, tool=said.tool, run=said.run
    )
    try:
        released = await request.service.blocking(
            control.release, by=request.principal.name, reason=said.reason, **structs.asdict(scope)
        )
    except Refused:
        known = await request.service.blocking(control.switches, active=False)
        last = next((each for each in reversed(known) if each.scope == scope), None)
        if last is None or last.released_by != request.principal.name:
            raise
        released = last
    return switch_view(released)


# --- unknowns --------------------------------------------------------------------------------------------------------


async def reconcile(request: Request) -> CallView:
    """End an unknown. What stands already, as this request would have it, is answered as it stands."""
    service, said = request.service, request.body
    run = await service.run_of(request.principal, request.path["run_id"], said.tenant)
    call_id, gateway = request.path["call_id"], service.gateway
    try:
        record = await service.blocking(
            gateway.control.reconcile, tenant=run.tenant, run_id=run.run_id, call_id=call_id, happened=said.happened,
            value=said.value, note=said.note, by=request.principal.name,
        )
    except Refused:
        known = await service.blocking(find_record, service, run, call_id)
        if known is None:
            raise Problem(404, "not_found", f"this run has no call {call_id!r:.80}", run_id=run.run_id) from None
        if not _stands(gateway, known, said):
            raise
        record = known
    return call_view(record, gateway.redactor)


def _stands(gateway: Gateway, record: Record, said: Reconcile) -> bool:
    if not said.happened:
        return record.state is State.FAILED
    result = encode_result(said.value, gateway.config.limits.result_bytes, gateway.redactor.redact)
    return record.state is State.DONE and bytes(record.result) == result


# --- budgets ---------------------------------------------------------------------------------------------------------


async def list_accounts(request: Request) -> Accounts:
    """Of one run, or of the windows that run now."""
    service, gateway = request.service, request.service.gateway
    tenant = request.tenant
    if request.query.run_id:
        run = await service.run_of(request.principal, request.query.run_id, tenant)
        key = bookings.run_account(run.tenant, run.run_id)
        account = await service.blocking(gateway.store.load, key) or Account()
        return Accounts([_view(key, account, run.limits)])
    found = await service.blocking(_running, gateway, tenant)
    return Accounts([_view(key, account, _limits(gateway, key)) for key, account in found])


def _running(gateway: Gateway, tenant: str) -> list[tuple[AccountKey, Account]]:
    now = gateway.clock.now()
    found = gateway.store.accounts(tenant, Window.MONTH.start(now))
    now_running = [each for each in found if each[0].scope in SCOPES and each[0].window.start(now) == each[0].start]
    return sorted(now_running, key=lambda each: each[0])


def _limits(gateway: Gateway, key: AccountKey) -> Limits:
    """What the config says of one window: a turn and a call are limited apart."""
    agent = key.subject if key.scope == "agent" else ""
    tool = key.subject if key.scope == "tool" else "-"
    said: dict[str, int] = {}
    for quota in (*gateway.config.quotas(key.tenant, agent), *gateway.config.quotas(key.tenant, agent, tool)):
        if (quota.scope, quota.subject, quota.window) == (key.scope, key.subject, key.window):
            said |= {unit: limit for unit in UNITS if (limit := getattr(quota.limits, unit)) is not None}
    return Limits(**said)


def _view(key: AccountKey, account: Account, limits: Limits) -> AccountView:
    return AccountView(
        scope=key.scope, subject=key.subject, window=key.window, start=key.start, held=account.held,
        spent=account.spent, extra=account.extra, limits=limits.raised(account.extra),
    )


async def top_up(request: Request) -> AccountView:
    """Raise the limits of a run, or of the window that runs now. With an `Idempotency-Key`, once."""
    said, gateway = request.body, request.service.gateway
    tenant = request.tenant
    limits = Limits()
    if said.run_id:
        limits = (await request.service.run_of(request.principal, said.run_id, tenant)).limits
    account = await request.service.blocking(
        gateway.control.top_up, tenant=tenant, by=request.principal.name, note=said.note, run_id=said.run_id,
        agent=said.agent, tool=said.tool, window=said.window, steps=said.steps, tool_calls=said.tool_calls,
        usd=said.usd, tokens=said.tokens, once=request.key,
    )
    named = (("run", said.run_id), ("agent", said.agent), ("tool", said.tool), ("tenant", tenant))
    scope, subject = next((what, name) for what, name in named if name)
    window = Window(said.window)
    key = AccountKey(tenant, scope, subject, window, window.start(gateway.clock.now()))
    return _view(key, account, limits if said.run_id else _limits(gateway, key))
