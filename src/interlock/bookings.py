"""Moves in the ledger that more than one road makes: holds, stops, leases that lapse, approvals that expire.

Not a decision: each is told what has been decided. Law: every move goes through the lifecycle table and into the
tenant's audit, in the transaction that it is handed.
"""

from __future__ import annotations

from msgspec.structs import replace

from interlock.core.approval import Approval, Standing
from interlock.core.audit import Entry, Kind
from interlock.core.budget import NOTHING, Account, AccountKey, Amounts, Hold, Window
from interlock.core.lifecycle import Event, State, move
from interlock.core.record import Record
from interlock.core.run import Run
from interlock.core.switch import frozen_time
from interlock.core.verdict import StopReason
from interlock.ports import ApprovalKey, CallKey, RunKey, StepKey, SwitchBoard
from interlock.unit import Tx

EMPTY = Account()


def run_account(tenant: str, run_id: str) -> AccountKey:
    """The account of a run's own budget."""
    return AccountKey(tenant, "run", run_id, Window.RUN, 0)


def call_key(record: Record) -> CallKey:
    """Where a record stands."""
    return CallKey(record.call.tenant, record.call.run_id, record.call.key)


def take(tx: Tx, hold: Hold) -> None:
    """Set aside on all accounts. That there is enough was decided in this same transaction."""
    for key in hold.accounts:
        tx.put(key, (tx.get(key) or EMPTY).hold(hold.amounts))


def let_go(tx: Tx, hold: Hold | None, spent: Amounts, *, held: bool = True) -> None:
    """Give back what was held on all accounts (`held=False`: it was given back before), and book what it came to."""
    if hold is not None:
        for key in hold.accounts:
            tx.put(key, (tx.get(key) or EMPTY).settle(hold.amounts if held else NOTHING, spent))


def entry_of(record: Record, kind: Kind, now: int, **told: object) -> Entry:
    """An audit entry about a call."""
    call = record.call
    return Entry(
        tenant=call.tenant, at=now, kind=kind,
        run_id=call.run_id, step_id=call.step_id, call_id=call.call_id, key=call.key,
        agent=call.agent, env=call.env, runtime=call.runtime, tool=call.tool, attempt=record.attempts,
        approval_id=record.approval_id or "", **told,  # type: ignore[arg-type]
    )


def stop(tx: Tx, run: Run, reason: StopReason, detail: str, now: int, by: str = "") -> Run:
    """Throw the latch of a run. What its unfinished steps held is spent: the model was probably asked. Nobody is asked
    any more for what it will not do."""
    if run.stop_reason is not None:
        return run
    for step_id in run.open_steps:
        step = tx.get(StepKey(run.tenant, run.run_id, step_id))
        if step is not None and step.ended_at is None:
            let_go(tx, step.hold, step.hold.amounts)
            tx.put(StepKey(run.tenant, run.run_id, step_id), replace(step, ended_at=now, forfeited=True))
    for approval_id in run.asking:
        key = ApprovalKey(run.tenant, approval_id)
        asked = tx.get(key)
        if asked is not None and asked.run_id == run.run_id and asked.standing is Standing.WAITING:
            tx.put(key, replace(asked, standing=Standing.WITHDRAWN))
    stopped = replace(run.stopped(reason, detail, now), open_steps=())
    tx.put(RunKey(run.tenant, run.run_id), stopped)
    tx.append(
        Entry(
            tenant=run.tenant, at=now, kind=Kind.RUN_STOPPED, run_id=run.run_id, agent=run.agent, env=run.env,
            runtime=run.runtime, outcome=reason, note=detail, by=by,
        )
    )
    return stopped


def lapse(tx: Tx, record: Record, now: int, *, writes: bool) -> Record:
    """The lease of a call ran out, and its owner was not heard of. A write is unknown from now on.

    A read may be performed again; what it held is spent, because it was probably made.
    """
    event = Event.LAPSE_WRITE if writes else Event.LAPSE_READ
    error = "" if not writes else "whoever performed it was not heard of before its lease ran out"
    lapsed = replace(record, state=move(record.state, event), error=error, settled_at=now)
    if not writes:
        let_go(tx, record.hold, record.hold.amounts if record.hold else NOTHING)
        lapsed = replace(lapsed, hold=None)
    tx.put(call_key(record), lapsed)
    tx.append(entry_of(lapsed, Kind.SETTLED, now, outcome=lapsed.state, error=error))
    return lapsed


def expire(tx: Tx, approval: Approval, now: int, *, stops: bool) -> Approval:
    """Silence is no: the approval is over, and so is the call that waits for it."""
    expired = replace(approval, standing=Standing.EXPIRED)
    tx.put(ApprovalKey(approval.tenant, approval.approval_id), expired)
    close_question(tx, expired, now)
    if stops:
        run = tx.get(RunKey(approval.tenant, approval.run_id))
        if run is not None:
            stop(tx, run, StopReason.APPROVAL_EXPIRED, f"{approval.tool} ({approval.approval_id})", now)
    return expired


def is_over(approval: Approval, board: SwitchBoard, now: int) -> bool:
    """True where the time of an approval is up; its clock stood still while a kill switch held for it."""
    if approval.standing not in (Standing.WAITING, Standing.APPROVED) or not approval.expired(now, 0):
        return False
    since = approval.asked_at if approval.standing is Standing.WAITING else approval.answers[-1].at
    frozen = frozen_time(
        board.history(), since=since, now=now, tenant=approval.tenant, agent=approval.agent,
        run=approval.run_id, tool=approval.tool,
    )
    return approval.expired(now, frozen)


def close_question(tx: Tx, approval: Approval, now: int) -> None:
    """An approval ended in a no: its run waits for it no more, and the call that asked is over."""
    run = tx.get(RunKey(approval.tenant, approval.run_id))
    if run is not None and approval.approval_id in run.asking:
        tx.put(RunKey(run.tenant, run.run_id), run.asks_no_more(approval.approval_id))
    answered_no(tx, approval, CallKey(approval.tenant, approval.run_id, approval.key), now)


def answered_no(tx: Tx, approval: Approval, key: CallKey, now: int) -> Record | None:
    """A call that waited for this approval, once that has ended in a no; as it is where it has not."""
    record = tx.get(key)
    if record is None or record.state not in (State.WAITING, State.APPROVED) or approval.standing not in _NO:
        return record
    last = approval.answers[-1] if approval.answers else None
    event, why = Event.EXPIRE, "nobody answered in time"
    if approval.standing is Standing.REJECTED and last is not None:
        event, why = Event.REJECT, f"rejected by {last.by}{f': {last.note}' if last.note else ''}"
    elif record.state is State.APPROVED:
        why = "it was approved, and not sent again in time"
    record = replace(record, state=move(record.state, event), error=why, settled_at=now)
    tx.put(key, record)
    if event is Event.EXPIRE:
        tx.append(entry_of(record, Kind.EXPIRED, now, note=why))
    return record


_NO = frozenset({Standing.REJECTED, Standing.EXPIRED})
