"""Calls that people have edited: what is performed in their place, and which calls that answers for.

Not the edit itself (`control.py`). Law: a call that was performed as people have edited it answers for two wishes, for
the one that was asked about and for the one that was performed: neither is performed again in its run.
"""

from __future__ import annotations

from msgspec.structs import replace

from interlock import bookings
from interlock.core.approval import Approval
from interlock.core.call import ToolCall, fingerprint
from interlock.core.canonical import canonical
from interlock.core.lifecycle import State
from interlock.core.record import Record
from interlock.core.run import Run
from interlock.ports import CallKey
from interlock.unit import Tx
from interlock.wish import Wish

_ANSWERING = frozenset({State.LEASED, State.DONE, State.UNKNOWN})


def as_edited(wish: Wish, prior: Record | None, approval: Approval | None) -> tuple[ToolCall, str]:
    """The call as it would be performed, with what a person has edited, and what an approval of it is bound to."""
    edited = prior.edited if prior is not None else None
    if edited is None and approval is not None and approval.asked_digest == wish.fingerprint:
        edited = approval.edited
    if edited is None:
        return wish.call, wish.fingerprint
    call = replace(wish.call, args=edited)
    return call, _bound(wish, call)


def performed_alike(tx: Tx, wish: Wish, run: Run, bound: str, now: int) -> tuple[Record, ...]:
    """What of the run was performed as this call would be, where people have edited the one or the other. `bound`: the
    fingerprint of what would be performed."""
    if wish.tool is None or not wish.fingerprint or not (run.edited or bound != wish.fingerprint):
        return ()
    call = wish.call
    found = list(tx.same(call.tenant, call.run_id, bound)) if bound != wish.fingerprint else []
    for key in run.edited:
        record = tx.get(CallKey(call.tenant, call.run_id, key))
        if record is None or record.edited is None or record.call.tool != call.tool:
            continue
        if _bound(wish, replace(call, args=record.edited)) == bound:
            found.append(record)
    others = [record for record in found if record.call.key != call.key and record.state in _ANSWERING]
    return tuple(_lapsed(tx, record, now) for record in others)


def _bound(wish: Wish, call: ToolCall) -> str:
    return fingerprint(call, wish.tool.schema_digest if wish.tool else "", canonical(call.args))


def _lapsed(tx: Tx, record: Record, now: int) -> Record:
    """As it stands at this moment: its lease may have run out."""
    if record.state is State.LEASED and record.lease is not None and record.lease.until <= now:
        return bookings.lapse(tx, record, now, writes=record.writes)
    return record
