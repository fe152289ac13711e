"""May this call be performed? One pure function, and the guards that it asks.

Not the admission, which reads the facts and writes the answer (`gateway.py`). Law: guards have no order; each gives a
reason or nothing; the strongest verdict wins; a guard that raises denies; every reason is kept. The clock is a fact.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from typing import Any

from msgspec import Struct

from interlock.core.approval import Approval, Standing
from interlock.core.budget import NOTHING, Amounts, Line, Window
from interlock.core.call import MICROS, Effect, Tool, ToolCall
from interlock.core.lifecycle import State
from interlock.core.policy import Policy
from interlock.core.record import Record
from interlock.core.run import Run
from interlock.core.switch import Mode, Switch
from interlock.core.verdict import Decision, Reason, StopReason, Verdict


class Facts(Struct, frozen=True, gc=False, kw_only=True):
    """All that a decision may depend on, read in one transaction."""

    now: int
    policy: Policy
    run: Run
    tool: Tool | None  #: None: nobody has registered it
    problem: str = ""  #: why the arguments, or the tool's definition, cannot be taken
    prior: Record | None = None  #: what the ledger has under this key
    same: tuple[Record, ...] = ()  #: other calls with this fingerprint, in this run or where dedupe reaches
    approval: Approval | None = None
    digest: str = ""  #: what an approval must be bound to
    switches: tuple[Switch, ...] = ()  #: those in force
    cost: Amounts = NOTHING  #: what a hold would have to set aside
    lines: tuple[Line, ...] = ()  #: the accounts that it would be set aside on
    provenance: Mapping[str, str] = {}  #: argument → where its value came from


Guard = Callable[[ToolCall, Facts], Reason | None]

_REPLAYED = frozenset({State.DONE, State.FAILED, State.UNKNOWN, State.REJECTED, State.REPEATED})
_DUPLICATED = frozenset({State.DONE, State.UNKNOWN})


def decide(call: ToolCall, facts: Facts) -> Decision:
    """Weigh one call. What the ledger already knows is answered from there, before anything else is weighed."""
    known = recall(call, facts)
    if known is not None:
        return Decision(known.verdict, (known,), facts.policy.version)
    reasons: list[Reason] = []
    for guard in GUARDS:
        try:
            reason = guard(call, facts)
        except Exception as error:  # a guard that raises denies
            name = guard.__name__
            reason = Reason(name, Verdict.DENY, f"{name} could not be weighed ({error}), so it denies")
        if reason is not None:
            reasons.append(reason)
    if facts.tool is not None:
        _weigh_rules(facts.tool, call, facts, reasons)
    verdict = max((reason.verdict for reason in reasons), default=Verdict.DENY)
    if verdict is Verdict.ASK and facts.approval is not None and approves(facts.approval, facts.digest):
        by = " and ".join(facts.approval.approvers)
        reasons.append(Reason("approval", Verdict.ALLOW, f"approved by {by} ({facts.approval.approval_id})"))
        verdict = Verdict.ALLOW
    return Decision(verdict, tuple(reasons), facts.policy.version)


def decide_step(facts: Facts) -> Decision:
    """May this run begin another model turn? The guards that do not ask about a tool; any reason stops the run."""
    run = facts.run
    call = ToolCall(
        tenant=run.tenant, agent=run.agent, env=run.env, run_id=run.run_id, tool="", args={}, call_id="", key=""
    )
    switched_off = killed_by(
        facts.switches, tenant=run.tenant, agent=run.agent, run=run.run_id, tool=None, effect=Effect.READ
    )
    found = (latched(call, facts), switched_off, in_time(call, facts), affordable(call, facts))
    reasons = tuple(reason for reason in found if reason is not None)
    verdict = Verdict.STOP if reasons else Verdict.ALLOW
    return Decision(verdict, reasons, facts.policy.version)


def approves(approval: Approval, digest: str) -> bool:
    """True where people said yes to just this, and the yes has not been used."""
    return approval.standing is Standing.APPROVED and approval.digest == digest


def recall(call: ToolCall, facts: Facts) -> Reason | None:
    """REPLAY or WAIT for a call that the ledger already knows, by its key or by its fingerprint."""
    prior = facts.prior
    if prior is not None and prior.state not in (State.NEW, State.DENIED):
        if prior.state is State.LEASED:
            return Reason("known", Verdict.WAIT, "the same call is running")
        if prior.state is State.UNKNOWN and facts.tool is not None and facts.tool.idempotent:
            return None
        if prior.state in _REPLAYED:
            return Reason("known", Verdict.REPLAY, f"this call is {prior.state} already")
        if prior.state is State.LAPSED:
            return None
    if facts.tool is None or facts.problem or facts.tool.deduping.scope == "off":
        return None
    if not_looping(call, facts) is not None:  # the record could go on answering for ever
        return None
    for other in facts.same:
        if other.state is State.LEASED:
            return Reason("known", Verdict.WAIT, f"the same call is running as {other.call.call_id}")
        if other.state in _DUPLICATED:
            return Reason("known", Verdict.REPLAY, f"the same call is {other.state} already, as {other.call.call_id}")
    return None


def names_for(call: ToolCall, facts: Facts) -> dict[str, Any]:
    """What a condition may read."""
    run = facts.run
    return {
        "args": call.args,
        "tool": call.tool,
        "tenant": call.tenant,
        "agent": call.agent,
        "env": call.env,
        "now": datetime.fromtimestamp(facts.now / MICROS, UTC),
        "run": {
            "id": run.run_id,
            "runtime": run.runtime,
            "request": run.request,
            "labels": run.labels,
            "steps": run.steps,
            "denials": run.denials,
        },
        "provenance": facts.provenance,
    }


def _weigh_rules(tool: Tool, call: ToolCall, facts: Facts, reasons: list[Reason]) -> None:
    """A rule is a guard too. Nothing that allows is a denial."""
    names: dict[str, Any] | None = None
    granted = False
    for rule in facts.policy.rules_for(tool):
        if not rule.applies(call):
            continue
        if names is None and rule.condition is not None:
            if facts.problem:  # arguments that are not what the schema says are not fit to be read
                continue
            names = names_for(call, facts)
        reason = rule.reason if rule.condition is None else rule.weigh(names or {})
        if reason is not None:
            reasons.append(reason)
            granted = granted or reason.verdict is Verdict.ALLOW
    if not granted:
        reasons.append(Reason("default_deny", Verdict.DENY, f"nothing in the policy allows {call.tool}"))


# --- guards: each answers one question -------------------------------------------------------------------------------


def latched(call: ToolCall, facts: Facts) -> Reason | None:  # noqa: ARG001
    """Has the run stopped?"""
    stop = facts.run.stop_reason
    return None if stop is None else Reason("latched", Verdict.STOP, f"the run has stopped: {stop}", stop=stop)


def killed(call: ToolCall, facts: Facts) -> Reason | None:
    """Does a kill switch hold? One that leaves the run something to do denies; one that leaves it nothing stops it."""
    if not facts.switches:
        return None
    effect = Effect.IRREVERSIBLE if facts.tool is None else facts.tool.effect
    return killed_by(
        facts.switches, tenant=call.tenant, agent=call.agent, run=call.run_id, tool=call.tool, effect=effect
    )


def killed_by(
    switches: tuple[Switch, ...], *, tenant: str, agent: str, run: str, tool: str | None, effect: Effect
) -> Reason | None:
    """The strongest answer of the switches to one call (or, with `tool=None`, one model turn)."""
    found: Reason | None = None
    for switch in switches:
        if not switch.scope.matches(tenant=tenant, agent=agent, run=run, tool=tool):
            continue
        if switch.mode is Mode.WRITES and effect is Effect.READ:
            continue
        text = f"kill switch for {switch.scope} ({switch.mode}) by {switch.by}: {switch.reason}"
        if switch.mode is Mode.ALL and not switch.scope.tool:
            return Reason("killed", Verdict.STOP, text, stop=StopReason.KILLED)
        found = Reason("killed", Verdict.DENY, text)
    return found


def in_time(call: ToolCall, facts: Facts) -> Reason | None:  # noqa: ARG001
    """Is the deadline of the run still ahead?"""
    if facts.now < facts.run.deadline:
        return None
    return Reason("in_time", Verdict.STOP, "the run is past its deadline", stop=StopReason.MAX_SECONDS)


def well_formed(call: ToolCall, facts: Facts) -> Reason | None:
    """Is there such a tool, is its definition the accepted one, do the arguments fit its schema?"""
    if facts.tool is None:
        return Reason("well_formed", Verdict.DENY, facts.problem or f"there is no tool {call.tool!r}")
    return Reason("well_formed", Verdict.DENY, facts.problem) if facts.problem else None


def affordable(call: ToolCall, facts: Facts) -> Reason | None:  # noqa: ARG001
    """Is there enough left on every account? Short on the run's own ends the run; short on a window passes."""
    found: Reason | None = None
    for line in facts.lines:
        unit = line.account.short_of(facts.cost, line.limits)
        if unit is None:
            continue
        if line.key.window is Window.RUN:
            stop = _STOP_OF[unit]
            return Reason("affordable", Verdict.STOP, f"not enough {unit} left in the run", stop=stop)
        wait = (line.key.window.end(facts.now) - facts.now + MICROS - 1) // MICROS
        text = f"{line.key.scope} {line.key.subject} has used its {unit} per {line.key.window}; next in {wait} s"
        found = Reason("affordable", Verdict.DENY, text)
    return found


def not_looping(call: ToolCall, facts: Facts) -> Reason | None:
    """Has the run made this same call too often?"""
    if not facts.same or facts.prior is not None:
        return None
    times = sum(1 for other in facts.same if other.call.run_id == call.run_id)
    if times < facts.run.max_repeats:
        return None
    text = f"{call.tool} was called {times} times with the same arguments"
    return Reason("not_looping", Verdict.STOP, text, stop=StopReason.LOOP_DETECTED)


def not_rejected_before(call: ToolCall, facts: Facts) -> Reason | None:
    """Has a person said no to this same call in this run, under another key?"""
    for other in facts.same:
        if other.state is State.REJECTED and other.call.run_id == call.run_id:
            text = f"the same call was refused already, as {other.call.call_id}"
            return Reason("not_rejected_before", Verdict.DENY, text)
    return None


GUARDS: tuple[Guard, ...] = (
    latched,
    killed,
    in_time,
    well_formed,
    affordable,
    not_looping,
    not_rejected_before,
)

_STOP_OF = {
    "steps": StopReason.MAX_STEPS,
    "tool_calls": StopReason.MAX_TOOL_CALLS,
    "usd": StopReason.MAX_USD,
    "tokens": StopReason.MAX_TOKENS,
}
