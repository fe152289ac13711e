"""T2: what became of the effect, in one transaction.

Not the effect. Law: a call is settled once, by the owner of its lease or by a person; what was held is let go in the
same transaction in which the outcome is written, and stays as long as the outcome is unknown.
"""

from __future__ import annotations

from collections.abc import Sequence

from msgspec import Raw, Struct
from msgspec.structs import replace

from interlock import answers, bookings
from interlock.core.audit import Kind
from interlock.core.budget import NOTHING, Amounts
from interlock.core.canonical import digest
from interlock.core.lifecycle import MOVES, Event, State, move
from interlock.core.outcome import Outcome
from interlock.core.record import NO_RESULT, Lease, Record
from interlock.core.run import Run
from interlock.core.verdict import Decision, Reason, StopReason
from interlock.ports import Clock, HeadKey, Key, RunKey
from interlock.unit import Tx, Unit
from interlock.wish import Ticket

_OUTCOME = {Event.CATCH: "not_performed"}


class Performed(Struct, frozen=True, gc=False, kw_only=True):
    """What is known after an effect was tried."""

    event: Event
    result: bytes | None = None  #: JSON, redacted
    error: str = ""  #: redacted
    told: str = ""  #: what a model is told instead, where that is not for it
    usd: int | None = None  #: micro-dollars that the tool reported; None: as held
    free: bool = False  #: it failed without costing anything
    #: What caught it on the way: a kill switch (over for the run, where it leaves it nothing), or the time.
    caught: Reason | None = None


def settle(ticket: Ticket, performed: Performed, clock: Clock) -> Unit[Outcome]:
    """The transaction that settles one call. Its value is the outcome for the caller."""
    key = bookings.call_key(ticket.record)
    keys: list[Key] = [HeadKey(key.tenant), key, RunKey(key.tenant, key.run_id)]
    if ticket.record.hold is not None:
        keys += ticket.record.hold.accounts
    return Unit(keys, lambda tx: _settle(tx, ticket, performed, clock.now()))


def renew(ticket: Ticket, until: int) -> Unit[bool]:
    """The transaction that makes a lease last longer. False where it is not ours any more."""
    key = bookings.call_key(ticket.record)

    def extend(tx: Tx) -> bool:
        record = tx.get(key)
        if record is None or record.state is not State.LEASED or not _owns(record, ticket):
            return False
        tx.put(key, replace(record, lease=Lease(ticket.lease.lease_id, until)))
        return True

    return Unit((HeadKey(key.tenant), key), extend)


def _settle(tx: Tx, ticket: Ticket, performed: Performed, now: int) -> Outcome:
    call, key = ticket.wish.call, bookings.call_key(ticket.record)
    record, run = tx.get(key) or ticket.record, tx.get(RunKey(key.tenant, key.run_id)) or ticket.run
    if not _owns(record, ticket) or performed.event not in MOVES[record.state]:
        return _too_late(tx, record, run, performed, now, call.call_id)
    settled = replace(
        record, state=move(record.state, performed.event), error=performed.error, told=performed.told, settled_at=now,
        result=Raw(performed.result) if performed.result is not None else NO_RESULT,
    )
    spent = NOTHING
    if settled.state is not State.UNKNOWN:  # what is unknown stays held
        spent = _spent(record, performed)
        bookings.let_go(tx, record.hold, spent)
        settled = replace(settled, hold=None)
    tx.put(key, settled)
    tx.append(
        bookings.entry_of(
            settled, Kind.SETTLED, now, outcome=_OUTCOME.get(performed.event, settled.state), error=performed.error,
            usd=spent.usd, result_digest=digest(performed.result) if performed.result is not None else "",
            reasons=(performed.caught,) if performed.caught else (), note=_overcharge(record, performed),
        )
    )
    if run.asking and run.paused_at is None:
        run = run.idle(now)
        tx.put(RunKey(key.tenant, key.run_id), run)
    if performed.caught is not None and performed.caught.stop is not None:
        run = bookings.stop(tx, run, StopReason.KILLED, performed.caught.text, now)
    return _outcome(settled, run, performed, call.call_id)


def _outcome(record: Record, run: Run, performed: Performed, call_id: str) -> Outcome:
    decision = record.decision
    if performed.event is Event.CATCH:
        reasons: Sequence[Reason] = (performed.caught,) if performed.caught else decision.reasons
        verdict = performed.caught.verdict if performed.caught else decision.verdict
        decision = Decision(verdict, tuple(reasons), decision.policy_version)
        if run.stop_reason is not None:
            return answers.stopped(call_id, decision, run.stop_reason)
        return answers.denied(call_id, record.call.tool, decision)
    return answers.recorded(record, run, call_id, replayed=False)


def _too_late(tx: Tx, record: Record, run: Run, performed: Performed, now: int, call_id: str) -> Outcome:
    """Somebody has settled it since, or it was performed anew: what the ledger has stays, and the audit tells."""
    told = f"its owner came back with {performed.event} after it was {record.state}"
    tx.append(bookings.entry_of(record, Kind.SETTLED, now, outcome=record.state, error=performed.error, note=told))
    if record.state in (State.LEASED, State.LAPSED):  # a read, performed anew: its owner is told what it saw
        ended = move(State.LEASED, performed.event)
        seen = replace(
            record, state=ended, error=performed.error, told=performed.told, result=Raw(performed.result or b"null")
        )
        return _outcome(seen, run, performed, call_id)
    return answers.recorded(record, run, call_id, replayed=True)


def _owns(record: Record, ticket: Ticket) -> bool:
    return record.lease is not None and record.lease.lease_id == ticket.lease.lease_id


def _overcharge(record: Record, performed: Performed) -> str:
    held = record.hold.amounts.usd if record.hold is not None else 0
    if performed.usd is None or performed.usd <= held:
        return ""
    return f"the tool reported {performed.usd} micro-dollars, more than the {held} that it may cost; {held} are booked"


def _spent(record: Record, performed: Performed) -> Amounts:
    held = record.hold.amounts if record.hold is not None else NOTHING
    if performed.event is Event.CATCH:
        return NOTHING
    if performed.free:
        return replace(held, usd=0)
    return held if performed.usd is None else replace(held, usd=min(performed.usd, held.usd))
