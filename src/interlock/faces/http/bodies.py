"""What goes over the wire of /v1: bodies, queries and answers.

Not what the ledger keeps: a field of a record is here only where a client may see it. Law: strict, an unknown field is
refused; times are microseconds since 1970 in UTC, money is micro-dollars where a field says so and dollars in `usd`
of a request; a value that may be anything is JSON of limited depth.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, Literal

from msgspec import Meta, Struct, convert, json, structs

from interlock.core.approval import Approval, Standing
from interlock.core.audit import Entry, Kind
from interlock.core.budget import Amounts, Limits
from interlock.core.switch import Mode, Switch
from interlock.core.verdict import Decision, Reason, StopReason

Name = Annotated[str, Meta(max_length=200)]
Words = Annotated[str, Meta(max_length=10_000)]
Count = Annotated[int, Meta(ge=0, le=2**53)]
Dollars = Annotated[float, Meta(ge=0, le=1e9)]
Limit = Annotated[int, Meta(ge=1, le=1000)]
Moment = Annotated[int, Meta(ge=0, le=2**62)]
Args = dict[str, Any]


class Body(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What every body and query keeps to."""


class OfTenant(Body, frozen=True, kw_only=True):
    """`tenant`: of a person who serves several; another than the credential's is refused."""

    tenant: Name = ""


# --- runs ------------------------------------------------------------------------------------------------------------


class OpenRun(Body, frozen=True, kw_only=True):
    """`request`: the user's own words. `budgets`: as in the config; the stricter counts. tenant, agent and env are the
    credential's: said here, they have to be the same."""

    run_id: Name = ""
    request: Annotated[str, Meta(max_length=100_000)] = ""
    budgets: Mapping[str, int | float | str] = {}
    labels: Mapping[str, str] = {}
    runtime: Name = ""
    requested_by: Name = ""
    tenant: Name = ""
    agent: Name = ""
    env: Name = ""


class RunView(Struct, frozen=True, kw_only=True):
    """A run as the ledger has it."""

    run_id: str
    tenant: str
    agent: str
    env: str
    status: str
    stop_reason: StopReason | None
    detail: str
    opened_at: int
    stopped_at: int | None
    deadline: int
    runtime: str
    request: str
    requested_by: str
    labels: Mapping[str, str]
    steps: int
    denials: int
    policy_version: str


class ListRuns(OfTenant, frozen=True, kw_only=True):
    """`before`: the `next` of the page before this one."""

    agent: Name = ""
    env: Name = ""
    status: Literal["", "running", "paused", "completed", "stopped", "failed"] = ""
    limit: Limit = 100
    before: Moment | None = None


class Runs(Struct, frozen=True):
    """The newest first. `next` is None at the end."""

    runs: list[RunView]
    next: int | None


class StopRun(OfTenant, frozen=True, kw_only=True):
    """Why it is stopped."""

    reason: StopReason = StopReason.CANCELLED
    detail: Words = ""


# --- steps -----------------------------------------------------------------------------------------------------------


class BeginStep(Body, frozen=True, kw_only=True):
    """A model turn that is about to begin."""

    model: Name = ""
    max_output_tokens: Count | None = None
    input_tokens: Count | None = None


class UsageBody(Body, frozen=True, kw_only=True):
    """What a model turn used: all of its input and output, and what of it was which."""

    input_tokens: Count
    output_tokens: Count
    cached_input_tokens: Count = 0
    cache_write_tokens: Count = 0
    cache_write_1h_tokens: Count = 0
    reasoning_tokens: Count = 0


class EndStep(Body, frozen=True, kw_only=True):
    """A model turn that is over; without `usage`, nobody knows what it used."""

    usage: UsageBody | None = None


class StepView(Struct, frozen=True, kw_only=True):
    """A model turn."""

    step_id: str
    run_id: str
    model: str
    began_at: int
    ended_at: int | None
    held: Amounts
    usd: int | None
    input_tokens: int
    output_tokens: int


# --- calls -----------------------------------------------------------------------------------------------------------


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


# --- tools in the agent's own process --------------------------------------------------------------------------------


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


# --- approvals -------------------------------------------------------------------------------------------------------


class ListApprovals(OfTenant, frozen=True, kw_only=True):
    """`waiting=false`: all that was ever asked."""

    waiting: bool = True
    run_id: Name = ""
    limit: Limit = 100


class AnswerView(Struct, frozen=True, kw_only=True):
    """One person's answer."""

    by: str
    at: int
    yes: bool
    note: str


class CardView(Struct, frozen=True, kw_only=True):
    """What a person is shown, redacted. `suspicious`: argument → where its value came from."""

    tool: str
    rule: str
    reason: str
    arguments: Mapping[str, Any]
    effect: str
    risk: str
    description: str
    suspicious: Mapping[str, str]
    request: str
    cost_usd: int


class ApprovalView(Struct, frozen=True, kw_only=True):
    """One question to people, and their answers."""

    approval_id: str
    tenant: str
    agent: str
    env: str
    run_id: str
    call_id: str
    tool: str
    digest: str
    policy_version: str
    card: CardView
    asked_at: int
    expires_at: int
    quorum: int
    requested_by: list[str]
    standing: Standing
    answers: list[AnswerView]
    edited: Mapping[str, Any] | None


def approval_view(approval: Approval) -> ApprovalView:
    """An approval for the wire."""
    return convert(approval, ApprovalView, from_attributes=True)


class Approvals(Struct, frozen=True):
    """The newest first."""

    approvals: list[ApprovalView]


class WaitApproval(Body, frozen=True, kw_only=True):
    """`wait`: seconds to wait for an answer, where there is none yet."""

    wait: Annotated[float, Meta(ge=0, le=60)] = 0.0


class Approve(Body, frozen=True, kw_only=True):
    """`args`: approve these arguments instead."""

    note: Words = ""
    args: Args | None = None


class Reject(Body, frozen=True, kw_only=True):
    """Why not."""

    note: Words = ""


# --- control ---------------------------------------------------------------------------------------------------------


class ListSwitches(Body, frozen=True, kw_only=True):
    """`active=false`: all that ever were."""

    active: bool = True


class ScopeView(Struct, frozen=True, kw_only=True):
    """What a switch holds for. "" holds for all; all "" is everything."""

    tenant: str
    agent: str
    tool: str
    run: str


class SwitchView(Struct, frozen=True, kw_only=True):
    """One kill, with its release once it has come."""

    switch_id: str
    scope: ScopeView
    mode: Mode
    by: str
    reason: str
    at: int
    released_at: int | None
    released_by: str
    release_reason: str


def switch_view(switch: Switch) -> SwitchView:
    """A switch for the wire."""
    return convert(switch, SwitchView, from_attributes=True)


class Switches(Struct, frozen=True):
    """Oldest first."""

    switches: list[SwitchView]


class Kill(OfTenant, frozen=True, kw_only=True):
    """A scope that names several things holds where all of them do; naming nothing is everything."""

    reason: Annotated[str, Meta(min_length=1, max_length=10_000)]
    agent: Name = ""
    tool: Name = ""
    run: Name = ""
    mode: Literal["all", "writes"] = "all"


class Release(OfTenant, frozen=True, kw_only=True):
    """Just this scope; every other switch stays."""

    reason: Words = ""
    agent: Name = ""
    tool: Name = ""
    run: Name = ""


class Reconcile(OfTenant, frozen=True, kw_only=True):
    """A person has looked: it happened, with this value, or it did not."""

    happened: bool
    value: Any = None
    note: Words = ""


class ListAccounts(OfTenant, frozen=True, kw_only=True):
    """`run_id`: of one run; left out, of the windows that run now."""

    run_id: Name = ""


class AccountView(Struct, frozen=True, kw_only=True):
    """What is held and spent in one window. USD in micro-dollars. `limits` are of the config and what was topped up."""

    scope: str
    subject: str
    window: str
    start: int
    held: Amounts
    spent: Amounts
    extra: Amounts
    limits: Limits


class Accounts(Struct, frozen=True):
    """Sorted by scope, subject and window."""

    accounts: list[AccountView]


class TopUp(OfTenant, frozen=True, kw_only=True):
    """Name a run, or a window of an agent, a tool or the tenant itself."""

    run_id: Name = ""
    agent: Name = ""
    tool: Name = ""
    window: Literal["run", "minute", "hour", "day", "month"] = "run"
    steps: Count = 0
    tool_calls: Count = 0
    usd: Dollars = 0.0
    tokens: Count = 0
    note: Words = ""


# --- audit -----------------------------------------------------------------------------------------------------------


class ListEntries(OfTenant, frozen=True, kw_only=True):
    """`after`: the number of the entry before the first."""

    run_id: Name | None = None
    after: Count = 0
    limit: Limit = 100


class EntryView(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One line of the audit; what does not concern it is left out. The bytes that its hash covers are in the export."""

    tenant: str
    seq: int
    at: int
    kind: Kind
    prev: str
    v: int
    by: str = ""
    note: str = ""
    run_id: str = ""
    step_id: str = ""
    call_id: str = ""
    key: str = ""
    agent: str = ""
    env: str = ""
    runtime: str = ""
    tool: str = ""
    verdict: str = ""
    reasons: list[ReasonView] = []
    policy_version: str = ""
    outcome: str = ""
    args: Mapping[str, Any] = {}
    args_digest: str = ""
    result_digest: str = ""
    schema_digest: str = ""
    error: str = ""
    approval_id: str = ""
    attempt: int = 0
    usd: int = 0
    tokens: int = 0
    detail: Mapping[str, Any] = {}


def entry_view(entry: Entry) -> EntryView:
    """An entry for the wire."""
    told = structs.asdict(entry)
    told |= {"args": json.decode(entry.args), "reasons": [reason_view(each) for each in entry.reasons]}
    return EntryView(**told)


class Entries(Struct, frozen=True):
    """In order. `next` is what to ask `after`; None where the end was reached."""

    entries: list[EntryView]
    next: int | None


class Verified(Struct, frozen=True, kw_only=True):
    """What the verifier found. `first_bad`: the number of the first entry that cannot be believed."""

    ok: bool
    tenant: str
    entries: int
    head: str
    text: str  #: all of it in one line
    first_bad: int | None
    remarks: list[str]


class ListCheckpoints(OfTenant, frozen=True, kw_only=True):
    """How many, at most."""

    limit: Limit = 100


class Checkpoints(Struct, frozen=True):
    """The texts of signed notes, the newest first."""

    notes: list[str]


class Checkpoint(Struct, frozen=True):
    """The text of a signed note: keep it where the ledger is not."""

    note: str


# --- tools and policy ------------------------------------------------------------------------------------------------


class ToolView(Struct, frozen=True, kw_only=True):
    """A tool. `grade` gateway: the gateway holds the credential and performs; cooperative: the agent's process does."""

    name: str
    description: str
    effect: str
    risk: str
    grade: Literal["gateway", "cooperative"]
    schema: Mapping[str, Any]
    problem: str  #: why it may not be used now, or ""
    offered_digest: str  #: of a changed definition that waits to be accepted, or ""


class Tools(Struct, frozen=True):
    """By name."""

    tools: list[ToolView]


class AcceptTool(Body, frozen=True, kw_only=True):
    """`offered`: the digest of the definition that was looked at."""

    offered: Name = ""
    note: Words = ""


class Accepted(Struct, frozen=True, kw_only=True):
    """The definition in force."""

    tool: str
    digest: str
    accepted_by: str
    accepted_at: int


class PolicyView(Struct, frozen=True, kw_only=True):
    """What is in force."""

    version: str
    rules: list[RuleView]


class RuleView(Struct, frozen=True, kw_only=True):
    """One line of the policy."""

    id: str
    then: str
    tools: list[str]
    tenants: list[str]
    agents: list[str]
    envs: list[str]
    when: str
    reason: str


class CheckCall(OfTenant, frozen=True, kw_only=True):
    """What would this call get? Nothing is performed, nothing is written."""

    tool: Name
    args: Args = {}
    agent: Name
    env: Name
    request: Words = ""


class Health(Struct, frozen=True):
    """`ready` False: see `troubles`."""

    ready: bool
    troubles: list[str]
