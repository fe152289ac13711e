"""A run out of the ledger as a trace, and traces out of files.

Not what a trace is (`core/trace.py`). Law: of one run of one tenant, and of nothing else; what the ledger does not
have, or has no more, is said in `gaps` and not made up.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from fnmatch import fnmatchcase
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec
from msgspec import Raw
from msgspec.structs import replace

from interlock import bookings
from interlock.core.audit import SYSTEM, Entry, Kind
from interlock.core.budget import Account
from interlock.core.lifecycle import State
from interlock.core.record import NO_RESULT, Record
from interlock.core.run import Run, Step
from interlock.core.switch import Scope, Switch
from interlock.core.trace import (
    VERSION,
    Trace,
    TracedApproval,
    TracedCall,
    TracedPolicy,
    TracedReason,
    TracedStep,
    TracedTool,
    decode,
    run_of,
)
from interlock.core.turn import Turn
from interlock.core.verdict import Reason
from interlock.definitions import POLICY
from interlock.errors import ConfigError, Refused
from interlock.ports import ApprovalKey, DefinitionKey, RunKey
from interlock.retention import FORGOTTEN

if TYPE_CHECKING:
    from interlock.gateway import Gateway

_KNOWN = ("replay", "wait")  #: verdicts on a call that the ledger has already


def read(path: Path) -> Trace:
    """A trace from its file. Raises ConfigError."""
    try:
        body = path.read_bytes()
    except OSError as error:
        raise ConfigError(f"{path} cannot be read: {error.strerror}") from None
    return decode(body, str(path))


def export(gateway: Gateway, tenant: str, run_id: str) -> Trace:
    """All that the ledger has of a run. Reads the tenant's audit from its beginning. Raises Refused where there is no
    such run."""
    run: Run | None = gateway.store.load(RunKey(tenant, run_id))
    if run is None:
        raise Refused(f"there is no run {run_id!r} of tenant {tenant!r}")
    entries = list(gateway.audit.entries(run.tenant, run.run_id))
    steps = _steps(gateway.store.steps_of(run.tenant, run.run_id), entries)
    records = {record.call.key: record for record in gateway.store.calls_of(run.tenant, run.run_id)}
    calls = tuple(_calls(gateway, run, entries, records, steps))
    account = gateway.store.load(bookings.run_account(run.tenant, run.run_id)) or Account()
    tools = {call.tool: call.schema_digest for call in calls if call.schema_digest}
    return Trace(
        interlock_trace=VERSION, exported_at=gateway.clock.now(), run=run_of(run, run.limits.raised(account.extra)),
        policy=_policy(gateway, run), tools={name: _tool(gateway, name, tools[name]) for name in sorted(tools)},
        steps=steps, calls=calls, switches=tuple(_switches(gateway, run)), gaps=tuple(_gaps(run, steps, calls)),
    )


# --- steps -----------------------------------------------------------------------------------------------------------


def _steps(found: Iterable[Step], entries: Iterable[Entry]) -> tuple[TracedStep, ...]:
    began = {entry.step_id: entry.seq for entry in entries if entry.kind is Kind.STEP_BEGAN}
    return tuple([_step(step) for step in sorted(found, key=lambda each: began.get(each.step_id, 0))])


def _step(step: Step) -> TracedStep:
    asking = step.asking
    return TracedStep(
        step_id=step.step_id, began_at=step.began_at, ended_at=step.ended_at, model=step.model,
        max_output_tokens=step.max_output_tokens, announced_input_tokens=step.announced_input_tokens,
        usage=step.usage, usd=step.usd, lost=step.lost, cut=asking is not None and asking.cut,
        forgotten=step.forgotten, turn=None if asking is None else asking.turn,
    )


# --- calls -----------------------------------------------------------------------------------------------------------


def _calls(
    gateway: Gateway, run: Run, entries: Sequence[Entry], records: dict[str, Record], steps: Sequence[TracedStep]
) -> Iterable[TracedCall]:
    """In the order in which they were first weighed."""
    spent: dict[str, int] = {}
    first: dict[str, Entry] = {}
    for entry in entries:
        if entry.kind in (Kind.SETTLED, Kind.RECONCILED):
            spent[entry.key] = spent.get(entry.key, 0) + entry.usd
        elif entry.kind is Kind.DECIDED and (entry.verdict not in _KNOWN or entry.key not in first):
            first.setdefault(entry.key, entry)
    wished = {call.id: call.args for step in steps if step.turn is not None for call in step.turn.calls}
    for key, entry in first.items():
        record = records.get(key)
        base = TracedCall(
            call_id=entry.call_id, key=key, tool=entry.tool, step_id=entry.step_id, asked_at=entry.at,
            verdict=entry.verdict, reasons=tuple([_reason(each) for each in entry.reasons]),
            policy_version=entry.policy_version, schema_digest=entry.schema_digest, state=str(State.DENIED),
            usd=spent.get(key, 0),
        )
        if record is None:  # its arguments could not be taken
            yield replace(base, unread=True, args=wished.get(entry.call_id, {}))
        else:
            yield _call(gateway, run, base, record)


def _call(gateway: Gateway, run: Run, base: TracedCall, record: Record) -> TracedCall:
    redact = gateway.redactor.redact
    result = NO_RESULT
    if bytes(record.result):
        clean = redact(plain := msgspec.json.decode(record.result))
        result = record.result if clean is plain else Raw(msgspec.json.encode(clean))
    return replace(
        base, args=redact(dict(record.call.args)), settled_at=record.settled_at, state=str(record.state),
        admitted=record.attempts > 0, result=result, error=record.error, told=record.told,
        approval=_approval(gateway, run, record),
    )


def _approval(gateway: Gateway, run: Run, record: Record) -> TracedApproval | None:
    if not record.approval_id:
        return None
    found = gateway.store.load(ApprovalKey(run.tenant, record.approval_id))
    if found is None:
        return None
    edited = found.edited if record.edited is None else record.edited
    return TracedApproval(
        approval_id=found.approval_id, standing=str(found.standing), asked_at=found.asked_at,
        expires_at=found.expires_at, quorum=found.quorum, answers=found.answers,
        edited=None if edited is None else gateway.redactor.redact(dict(edited)),
    )


def _reason(reason: Reason) -> TracedReason:
    return TracedReason(
        guard=reason.guard, verdict=reason.verdict.word, text=reason.text, rule=reason.rule, stop=reason.stop
    )


# --- what it stood on ------------------------------------------------------------------------------------------------


def _policy(gateway: Gateway, run: Run) -> TracedPolicy:
    """The policy that the run was opened under, as far as it speaks of the run's tenant."""
    found = gateway.store.load(DefinitionKey(SYSTEM, POLICY, run.policy_version))
    if found is None:
        return TracedPolicy(version=run.policy_version)
    rules = msgspec.json.decode(found.policy)["rules"]
    ours = [rule for rule in rules if _among(run.tenant, rule.get("tenants", ()))]
    return TracedPolicy(version=run.policy_version, rules=Raw(msgspec.json.encode(ours)))


def _among(tenant: str, globs: Sequence[str]) -> bool:
    return not globs or any(fnmatchcase(tenant, glob) for glob in globs)


def _tool(gateway: Gateway, name: str, digest: str) -> TracedTool:
    found = gateway.store.load(DefinitionKey(SYSTEM, name, digest))
    if found is None:
        return TracedTool(digest=digest)
    return TracedTool(digest=digest, definition=found.tool, said=found.said)


def _switches(gateway: Gateway, run: Run) -> Iterable[Switch]:
    """Those that held at some time between the run's opening and its end, whatever tool they are about."""
    end = run.stopped_at or gateway.clock.now()
    for switch in gateway.board.history():
        scope = Scope(tenant=switch.scope.tenant, agent=switch.scope.agent, run=switch.scope.run)
        ours = scope.matches(tenant=run.tenant, agent=run.agent, run=run.run_id, tool=None)
        if ours and switch.at <= end and (switch.released_at is None or switch.released_at > run.opened_at):
            yield switch


def _gaps(run: Run, steps: Sequence[TracedStep], calls: Sequence[TracedCall]) -> Iterable[str]:
    if run.stop_reason is None:
        yield f"the run is {run.status}, and may go on"
    silent = [step for step in steps if step.turn is None and step.ended_at is not None and not step.lost]
    for gone, why in ((True, "is not kept any more"), (False, "was not recorded")):
        count = sum(step.forgotten is gone for step in silent)
        if count:
            yield f"what the model said in {count} of {len(steps)} steps {why}"
    for step in steps:
        if step.cut:
            yield f"what the model said in step {step.step_id} was too long to be kept whole"
    lost = sum(bytes(call.result) == FORGOTTEN for call in calls)
    if lost:
        yield f"what {lost} of {len(calls)} calls returned is not kept any more"


def speech(trace: Trace) -> list[Turn]:
    """What the model said, turn by turn, with what each used. Raises ConfigError where a turn is missing."""
    said = []
    for number, step in enumerate(trace.steps, 1):
        if step.lost or (step.turn is None and number == len(trace.steps) and step.ended_at is None):
            continue  # the model was not heard
        if step.turn is None or step.cut:
            what = "was cut" if step.cut else "is not kept any more" if step.forgotten else "was not recorded"
            another = "another run" if step.cut else "another run, with end_step(turn=…) and recording: turns: true"
            raise ConfigError(
                f"run {trace.run.run_id!r} cannot be replayed: what the model said in step {step.step_id} {what}; "
                f"record {another}"
            )
        said.append(replace(step.turn, usage=step.usage))
    return said
