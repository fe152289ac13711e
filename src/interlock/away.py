"""Calls that the agent's own process performs: the ticket goes out over a face, and comes back with how it ended.

Not a second road: admission, renewal and settlement are those of every call. Law: the lease in the ledger is all that
is remembered, so that a gateway that restarts, or another one, takes the ticket back; a lease names its owner and the
deadline of its effect, and whoever cannot show it settles nothing.
"""

from __future__ import annotations

from typing import Any

from msgspec.structs import replace

from interlock.core.call import MICROS, Effect, Tool
from interlock.core.decide import killed_by
from interlock.core.lifecycle import Event, State
from interlock.core.record import Record
from interlock.core.run import Run
from interlock.core.verdict import Reason, Verdict
from interlock.ports import CallKey, HeadKey, RunKey, SwitchBoard
from interlock.redaction import Redactor
from interlock.results import encode_result
from interlock.settlement import Performed
from interlock.unit import Tx, Unit
from interlock.wish import MARGIN, Ticket, Wish, deadline_of, is_owned_by

CLIP = 500  #: characters of an error's words that are kept
OPEN = frozenset({State.LEASED, State.LAPSED, State.UNKNOWN})  #: its owner may still say how it ended


def ticket_of(record: Record, run: Run, wish: Wish | None = None) -> Ticket | None:
    """The ticket behind a record; None where the call is not one that is performed away from here."""
    deadline = deadline_of(record.lease.lease_id) if record.lease is not None else None
    if record.lease is None or deadline is None:
        return None
    if wish is None:
        wish = Wish(call=record.call, tool=None, problem="", arguments=b"", fingerprint=record.fingerprint)
    return Ticket(wish=wish, record=record, run=run, lease=record.lease, deadline=deadline)


def held(key: CallKey, wish: Wish) -> Unit[Ticket | None]:
    """The ticket of a call that is running, for the owner who has it already and lost the answer; else None."""

    def look(tx: Tx) -> Ticket | None:
        record, run = tx.get(key), tx.get(RunKey(key.tenant, key.run_id))
        if record is None or run is None or record.state is not State.LEASED or record.lease is None:
            return None
        if record.call.key != wish.call.key or not is_owned_by(record.lease.lease_id, wish.owner or ""):
            return None
        return ticket_of(record, run, wish)

    return Unit((HeadKey(key.tenant), key, RunKey(key.tenant, key.run_id)), look)


def forbidden(ticket: Ticket, tool: Tool | None, board: SwitchBoard, now: int) -> Reason | None:
    """Why its effect must end, or not begin: a kill switch, or the time. Read uncached, as before any effect."""
    call = ticket.record.call
    effect = tool.effect if tool is not None else Effect.WRITE if ticket.record.writes else Effect.READ
    switches = board.active()
    reason = killed_by(
        switches, tenant=call.tenant, agent=call.agent, run=call.run_id, tool=call.tool, effect=effect
    )
    if reason is None and now >= ticket.deadline:
        reason = Reason("in_time", Verdict.DENY, "its time is up")
    return reason


def renewed_until(ticket: Ticket, now: int, length: int) -> int:
    """How long its lease lasts after a sign of life."""
    return min(ticket.deadline, now + length) + MARGIN


def performed(
    outcome: str, value: Any, error: str, usd: float | None, *,
    tool: Tool | None, writes: bool, limit: int, redactor: Redactor, caught: Reason | None,
) -> Performed:
    """What the owner says of its effect, in the words of a settlement."""
    words = redactor.redact_text(error)
    words = words if len(words) <= CLIP else f"{words[: CLIP - 1]}…"
    reported = round(usd * MICROS) if usd is not None and tool is not None and tool.cost.reported else None
    if outcome == "done":
        result = encode_result(value, limit, redactor.redact)
        return Performed(event=Event.SUCCEED, result=result, usd=reported, caught=caught)
    if outcome == "not_begun":
        reason = caught or Reason("last_look", Verdict.DENY, words or "its owner did not begin it")
        return Performed(event=Event.CATCH, error=words or reason.text, caught=reason)
    if outcome == "unknown" and writes:
        return Performed(event=Event.LOSE, error=words or "its owner cannot tell", caught=caught)
    return Performed(event=Event.FAIL, error=words or "it did not happen", usd=reported, free=True, caught=caught)


def owned(wish: Wish, owner: str) -> Wish:
    """The wish of somebody who will perform it."""
    return replace(wish, owner=owner)
