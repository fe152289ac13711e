"""How a run stands, or ended: one picture of what the ledger has.

Not the run itself, and nothing that changes it. Law: a report is read, never kept.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from msgspec import Struct

from interlock import bookings
from interlock.core import run as core
from interlock.core.approval import Standing
from interlock.core.budget import Account, Limits
from interlock.core.call import MICROS
from interlock.core.run import STOP_TEXTS, StopText
from interlock.core.verdict import StopReason
from interlock.ports import ApprovalKey

if TYPE_CHECKING:
    from interlock.gateway import Gateway


class Used(Struct, frozen=True):
    """One unit of a run's budget. Seconds and dollars as floats, the rest as integers; None: no limit."""

    used: float
    held: float
    left: float | None
    limit: float | None


class Report(Struct, frozen=True, kw_only=True):
    """How a run stands, or ended."""

    run_id: str
    tenant: str
    agent: str
    env: str
    status: str  #: running, paused, completed, stopped or failed
    stop_reason: StopReason | None
    detail: str  #: for operators
    texts: StopText | None  #: what to say of the stop: `.model`, `.user`, `.operator`
    steps: Used
    tool_calls: Used
    seconds: Used
    usd: Used
    tokens: Used
    denials: int
    calls: Mapping[str, int]  #: state → how many calls of the run are in it
    pending: tuple[str, ...]  #: ids of the approvals that it waits for


def report_of(gateway: Gateway, run: core.Run) -> Report:
    """The report of any run in the ledger."""
    account = gateway.store.load(bookings.run_account(run.tenant, run.run_id)) or Account()
    calls: dict[str, int] = {}
    pending = []
    for record in gateway.store.calls_of(run.tenant, run.run_id):
        calls[record.state] = calls.get(record.state, 0) + 1
        if record.state == "waiting" and record.approval_id and record.approval_id not in pending:
            approval = gateway.store.load(ApprovalKey(run.tenant, record.approval_id))
            if approval is not None and approval.standing is Standing.WAITING:
                pending.append(record.approval_id)
    end = run.stopped_at or run.paused_at or gateway.clock.now()
    left = max(0, run.deadline - end)
    return Report(
        run_id=run.run_id, tenant=run.tenant, agent=run.agent, env=run.env, status=run.status,
        stop_reason=run.stop_reason, detail=run.stop_detail,
        texts=STOP_TEXTS[run.stop_reason] if run.stop_reason else None,
        steps=_used(account, run.limits, "steps"), tool_calls=_used(account, run.limits, "tool_calls"),
        seconds=Used((run.max_seconds - left) / MICROS, 0, left / MICROS, run.max_seconds / MICROS),
        usd=_used(account, run.limits, "usd", MICROS), tokens=_used(account, run.limits, "tokens"), denials=run.denials,
        calls=calls, pending=tuple(pending),
    )


def _used(account: Account, limits: Limits, unit: str, scale: int = 1) -> Used:
    spent, held, extra = (getattr(amounts, unit) for amounts in (account.spent, account.held, account.extra))
    limit = getattr(limits, unit)
    limit = None if limit is None else limit + extra
    left = None if limit is None else max(0, limit - spent - held)
    if scale == 1:
        return Used(spent, held, left, limit)
    return Used(spent / scale, held / scale, left and left / scale, limit and limit / scale)
