"""Calls as they go over the wire: those that the gateway performs, and those of the agent's own process.

Not the road (`gateway.py`). Law: `text` is all that a model may see; a call that is read is redacted.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, Literal

from msgspec import Meta, Struct

from interlock.core.verdict import Decision, Reason, StopReason
from interlock.faces.http.bodies.shared import Args, Body, Dollars, Name, Words


class PerformCall(Body, frozen=True, kw_only=True):
    """One wish to use one tool. `call_id`: the same call is performed once; left out, it is the `Idempotency-Key`."""

    tool: Name
    args: Args = {}
    call_id: Name = ""
    step_id: Name = ""


class ReasonView(Struct, frozen=True, kw_only=True):
    """One guard's answer."""

    guard: str
    verdict: str
    text: str
    rule: str
    stop: StopReason | None


class DecisionView(Struct, frozen=True, kw_only=True):
    """Verdict: allow, ask, deny, stop; or replay, wait for a call that the ledger knew."""

    verdict: str
    rule: str
    reasons: list[ReasonView]
    policy_version: str


class OutcomeView(Struct, frozen=True, kw_only=True):
    """What became of a call. `text` is all that a model may see."""

    kind: Literal["done", "failed", "unknown", "denied", "pending", "stopped"]
    run_id: str
    call_id: str
    text: str
    value: Any
    replayed: bool
    approval_id: str | None
    stop_reason: StopReason | None
    decision: DecisionView


class CallView(Struct, frozen=True, kw_only=True):
    """A call as it is recorded, redacted. `args` are those performed, where a person has `edited` them."""

    call_id: str
    key: str
    run_id: str
    step_id: str
    tool: str
    state: str
    args: Mapping[str, Any]
    edited: bool
    decision: DecisionView
    approval_id: str | None
    result: Any
    error: str
    of: str
    attempts: int
    asked_at: int
    settled_at: int | None


class Calls(Struct, frozen=True):
    """The calls of a run, oldest first."""

    calls: list[CallView]


def decision_view(decision: Decision) -> DecisionView:
    """A decision with its verdicts as words."""
    return DecisionView(
        verdict=decision.verdict.word, rule=decision.rule, policy_version=decision.policy_version,
        reasons=[reason_view(each) for each in decision.reasons],
    )


def reason_view(reason: Reason) -> ReasonView:
    """A reason with its verdict as a word."""
    return ReasonView(
        guard=reason.guard, verdict=reason.verdict.word, text=reason.text, rule=reason.rule, stop=reason.stop
    )


class AdmitCall(PerformCall, frozen=True, kw_only=True):
    """`owner`: a random text of the client's own. Whoever asks again with the same one, because the answer was lost,
    gets the same ticket."""

    owner: Annotated[str, Meta(min_length=16, max_length=200)] = ""


class TicketView(Struct, frozen=True, kw_only=True):
    """The right to perform one call once. `args` are what to perform: a person may have edited them."""

    lease_id: str
    lease_until: int  #: renew before; after it the call counts as lost
    lease_seconds: float  #: from now until then, for a client whose clock is another
    deadline: int  #: the effect must be over by then
    seconds: float  #: from now until then
    tool: str
    args: Mapping[str, Any]
    key: str  #: pass it on to whatever dedupes
    attempt: int


class Admitted(Struct, frozen=True, kw_only=True):
    """Either a ticket, or the outcome: then there is nothing to perform."""

    call_id: str
    ticket: TicketView | None
    outcome: OutcomeView | None


class RenewCall(Body, frozen=True, kw_only=True):
    """The heartbeat of whoever holds the ticket."""

    lease_id: Name


class Renewed(Struct, frozen=True, kw_only=True):
    """`go` False: end it now, or do not begin it, for this reason. Then settle."""

    go: bool
    lease_until: int
    lease_seconds: float
    reason: str


class SettleCall(Body, frozen=True, kw_only=True):
    """How it ended. failed: nothing happened; unknown: nobody can tell; not_begun: it was never tried."""

    lease_id: Name
    outcome: Literal["done", "failed", "unknown", "not_begun"]
    value: Any = None
    error: Words = ""
    usd: Dollars | None = None
