"""Decisions and records as outcomes, with the words that a model may see.

Not a decision. Law: every text says what happened to the world and what the model may do now; what only operators may
know (who threw a switch, and why; where a credential was looked for) is not in it.
"""

from __future__ import annotations

import msgspec

from interlock.core.lifecycle import State
from interlock.core.outcome import Denied, Done, Failed, Outcome, Pending, Stopped, Unknown
from interlock.core.record import Record
from interlock.core.run import STOP_TEXTS, Run
from interlock.core.verdict import Decision, StopReason, Verdict

_STOPPED_BY_ANSWER = frozenset({StopReason.APPROVAL_REJECTED, StopReason.APPROVAL_EXPIRED})


def denied(call_id: str, tool: str, decision: Decision, stop: StopReason | None = None) -> Denied:
    """The call was refused. The run goes on, unless this refusal was one too many."""
    why = "; ".join(_for_model(reason.guard, reason.text) for reason in decision.leading)
    text = f"NOT DONE: {tool} was refused: {why}. Do not send the same call again; "
    text += "do something else, or say what you could not do."
    if stop is not None:
        text += f" The run has stopped ({stop}). {STOP_TEXTS[stop].model}"
    return Denied(call_id=call_id, decision=decision, text=text, stop_reason=stop)


def pending(call_id: str, tool: str, decision: Decision, approval_id: str) -> Pending:
    """A person is asked."""
    text = f"NOT DONE YET: {tool} waits for a person's approval ({approval_id}). Do not send it again in other words."
    return Pending(call_id=call_id, decision=decision, text=text, approval_id=approval_id)


def stopped(call_id: str, decision: Decision, reason: StopReason) -> Stopped:
    """The run is over."""
    text = f"NOT DONE: the run has stopped ({reason}). {STOP_TEXTS[reason].model}"
    return Stopped(call_id=call_id, decision=decision, text=text, stop_reason=reason)


def recorded(record: Record, run: Run, call_id: str, *, replayed: bool, decision: Decision | None = None) -> Outcome:
    """What the ledger has of a call that came to an end, or to not knowing it."""
    tool, decision = record.call.tool, decision or record.decision
    if record.state is State.DONE:
        value = msgspec.json.decode(record.result)
        text = value if isinstance(value, str) else bytes(record.result).decode()
        return Done(
            call_id=call_id, decision=decision, text=text, value=value, replayed=replayed,
            approval_id=record.approval_id,
        )
    if record.state is State.FAILED:
        text = f"FAILED: {tool} did not do it: {record.told or record.error}. You may try again if that can help."
        return Failed(call_id=call_id, decision=decision, text=text, replayed=replayed, approval_id=record.approval_id)
    if record.state is State.LEASED:  # somebody else is performing it anew, with the same key
        text = f"UNKNOWN: {tool} is being performed by another process. Do not try again; ask later."
        return Unknown(call_id=call_id, decision=decision, text=text, replayed=replayed, approval_id=record.approval_id)
    if record.state is State.UNKNOWN:
        text = (
            f"UNKNOWN: it is not known whether {tool} did it: {record.error}. Do not try again: it may have happened."
            " A person will find out."
        )
        return Unknown(call_id=call_id, decision=decision, text=text, replayed=replayed, approval_id=record.approval_id)
    if record.state is State.REJECTED:
        if run.stop_reason in _STOPPED_BY_ANSWER:
            return stopped(call_id, decision, run.stop_reason)
        text = f"NOT DONE: a person refused {tool}: {record.error}. Do not ask for it again."
        return Denied(call_id=call_id, decision=decision, text=text, replayed=replayed, approval_id=record.approval_id)
    return denied(call_id, tool, decision)  # caught before its effect began


def refused(call_id: str, tool: str, decision: Decision) -> Outcome:
    """DENY or STOP, as the verdict says."""
    if decision.verdict is Verdict.STOP:
        return stopped(call_id, decision, decision.stop or StopReason.POLICY_STOP)
    return denied(call_id, tool, decision)


def _for_model(guard: str, text: str) -> str:
    return "an operator has switched it off" if guard == "killed" else text
