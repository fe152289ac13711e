"""The lifecycle of a call: one table, and no other way to move.

Not the decision which event happens. Law: a pair of state and event that is not in `MOVES` raises `IllegalMove`.
`docs/lifecycle.md` is drawn from this table.
"""

from __future__ import annotations

from enum import StrEnum


class State(StrEnum):
    """Where a call stands in the ledger."""

    NEW = "new"  #: not in the ledger yet
    DENIED = "denied"  #: known not to have been performed; weighed afresh when it comes again
    WAITING = "waiting"  #: a person is asked
    APPROVED = "approved"  #: a person said yes; weighed afresh when it comes again
    REJECTED = "rejected"  #: a person said no, or nobody answered in time
    LEASED = "leased"  #: may be running now
    LAPSED = "lapsed"  #: a read whose owner vanished; may be performed again
    DONE = "done"  #: performed
    FAILED = "failed"  #: known not to have happened
    UNKNOWN = "unknown"  #: nobody knows whether it happened
    REPEATED = "repeated"  #: the same wish under another key; answered by the first one's record


class Event(StrEnum):
    """What moves a call."""

    ALLOW = "allow"  #: decided: perform it
    ASK = "ask"  #: decided: a person is needed
    DENY = "deny"  #: decided: no
    REPEAT = "repeat"  #: decided: known under another key
    APPROVE = "approve"  #: enough people said yes
    REJECT = "reject"  #: a person said no
    EXPIRE = "expire"  #: nobody answered in time
    CATCH = "catch"  #: caught between admission and effect (kill switch, deadline): not performed
    SUCCEED = "succeed"  #: the tool returned
    FAIL = "fail"  #: the tool is known to have done nothing
    LOSE = "lose"  #: the reply was lost, or the write raised
    LAPSE_READ = "lapse_read"  #: the lease of a read ran out
    LAPSE_WRITE = "lapse_write"  #: the lease of a write ran out
    HAPPENED = "happened"  #: a person, or the tool's status, says that it happened
    DID_NOT_HAPPEN = "did_not_happen"  #: a person, or the tool's status, says that it did not


class IllegalMove(Exception):
    """A call was to be moved in a way that its lifecycle does not have: a mistake in Interlock itself."""


_WEIGHED = {Event.ALLOW: State.LEASED, Event.ASK: State.WAITING, Event.DENY: State.DENIED}

MOVES: dict[State, dict[Event, State]] = {
    State.NEW: {**_WEIGHED, Event.REPEAT: State.REPEATED},
    State.DENIED: {**_WEIGHED, Event.REPEAT: State.REPEATED},
    State.WAITING: {
        Event.ALLOW: State.LEASED,  # the policy has changed and asks no longer
        Event.ASK: State.WAITING,
        Event.DENY: State.WAITING,  # refused now, for a reason that may pass; the question stands
        Event.APPROVE: State.APPROVED,
        Event.REJECT: State.REJECTED,
        Event.EXPIRE: State.REJECTED,
        Event.REPEAT: State.REPEATED,  # the same wish was performed under another key meanwhile
    },
    State.APPROVED: {
        Event.ALLOW: State.LEASED,
        Event.ASK: State.WAITING,  # what was approved is not what would run now: asked anew
        Event.DENY: State.APPROVED,  # refused now, for a reason that may pass; the answer is not used up
        Event.EXPIRE: State.REJECTED,
        Event.REPEAT: State.REPEATED,
    },
    State.REJECTED: {},
    State.LEASED: {
        Event.CATCH: State.DENIED,
        Event.SUCCEED: State.DONE,
        Event.FAIL: State.FAILED,
        Event.LOSE: State.UNKNOWN,
        Event.LAPSE_READ: State.LAPSED,
        Event.LAPSE_WRITE: State.UNKNOWN,
    },
    State.LAPSED: {
        Event.ALLOW: State.LEASED,
        Event.ASK: State.WAITING,
        Event.DENY: State.LAPSED,
        Event.SUCCEED: State.DONE,  # the owner had only paused
        Event.FAIL: State.FAILED,
        Event.CATCH: State.DENIED,
    },
    State.UNKNOWN: {
        Event.ALLOW: State.LEASED,  # only a tool that dedupes on our key: with the same key, under the same hold
        Event.ASK: State.UNKNOWN,
        Event.DENY: State.UNKNOWN,
        Event.SUCCEED: State.DONE,  # the owner had only paused, and settles its own call, once
        Event.FAIL: State.FAILED,
        Event.LOSE: State.UNKNOWN,
        Event.CATCH: State.FAILED,  # the owner slept before its effect, and knows that it did not begin
        Event.HAPPENED: State.DONE,
        Event.DID_NOT_HAPPEN: State.FAILED,
    },
    State.DONE: {},
    State.FAILED: {},
    State.REPEATED: {},
}


def move(state: State, event: Event) -> State:
    """The state after an event. Raises IllegalMove for a pair that the table does not have."""
    try:
        return MOVES[state][event]
    except KeyError:
        raise IllegalMove(f"a call that is {state} cannot {event}") from None
