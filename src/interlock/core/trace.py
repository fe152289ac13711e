"""A run as one file: what was asked, said, decided, answered. With it the run can be run again, and decided again.

Not the audit: nothing attests a trace, and whoever has the file can write another. Law: pure; the shape carries its
version; what an older version wrote stays readable (`tests/corpus`), and what a newer one wrote is refused.

    1  as below
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import msgspec
from msgspec import Raw, Struct

from interlock.core.approval import Answer
from interlock.core.budget import Limits
from interlock.core.call import Tool
from interlock.core.canonical import canonical, digest
from interlock.core.lifecycle import State
from interlock.core.record import NO_RESULT
from interlock.core.run import Run
from interlock.core.switch import Switch
from interlock.core.turn import Turn, Usage
from interlock.core.verdict import StopReason
from interlock.errors import ConfigError

VERSION = 1
DEEPEST = 200  #: levels; what is recorded has less than half of them
_ENDS = frozenset({State.DONE, State.FAILED, State.UNKNOWN, State.DENIED})  #: denied: caught right before its effect


class TracedReason(Struct, frozen=True, omit_defaults=True):
    """One guard's answer, with its verdict as a word."""

    guard: str
    verdict: str
    text: str
    rule: str = ""
    stop: StopReason | None = None


class TracedApproval(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What people were asked about a call, and what they answered."""

    approval_id: str
    standing: str
    asked_at: int
    expires_at: int
    quorum: int = 1
    answers: tuple[Answer, ...] = ()
    edited: Mapping[str, Any] | None = None  #: the arguments that they said yes to instead


class TracedStep(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One model turn. `turn` None: what the model said was not recorded, or is not kept any more."""

    step_id: str
    began_at: int
    ended_at: int | None = None
    model: str = ""  #: as it was announced; that of `turn` is as the answer names it
    max_output_tokens: int | None = None
    announced_input_tokens: int | None = None
    usage: Usage | None = None
    usd: int | None = None  #: micro-dollars; None: unpriced
    lost: bool = False  #: it broke off
    cut: bool = False  #: the model said more than is kept
    forgotten: bool = False  #: `turn` was recorded, and is not kept any more
    turn: Turn | None = None


class TracedCall(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One call. `verdict` is how it was weighed when it first came, before any person had answered."""

    call_id: str
    key: str
    tool: str
    args: Mapping[str, Any] = {}  #: as they were wished
    step_id: str = ""
    asked_at: int
    settled_at: int | None = None
    verdict: str  #: allow, ask, deny or stop; replay where the record of another call answered
    reasons: tuple[TracedReason, ...] = ()
    policy_version: str = ""
    schema_digest: str = ""
    state: str  #: as in the lifecycle
    admitted: bool = False  #: it was let through, so there is an answer to give again
    result: Raw = NO_RESULT  #: what the tool returned
    error: str = ""
    told: str = ""  #: what a model was told instead of the error
    usd: int = 0  #: micro-dollars that it cost
    approval: TracedApproval | None = None
    unread: bool = False  #: its arguments could not be taken, so nobody kept them: `args` are those of the turn, if any

    @property
    def answered(self) -> bool:
        """True where it is known how it ended."""
        return self.admitted and self.state in _ENDS

    @property
    def rule(self) -> str:
        """The rule, or the guard, that carries the verdict."""
        leading = (reason for reason in self.reasons if reason.verdict == self.verdict)
        return next((reason.rule or reason.guard for reason in leading), "")


class TracedRun(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """The run itself, as it stood when it was exported. Times in microseconds."""

    tenant: str
    run_id: str
    agent: str
    env: str
    runtime: str = ""
    request: str = ""
    requested_by: str = ""
    labels: Mapping[str, str] = {}
    opened_at: int
    stopped_at: int | None = None
    status: str
    stop_reason: StopReason | None = None
    stop_detail: str = ""
    limits: Limits  #: with what people have topped up
    max_seconds: int
    max_denials: int
    max_repeats: int
    denials: int = 0
    policy_version: str


class TracedPolicy(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """The policy by its digest; `rules`: those of it that speak of the run's tenant, where the ledger has them."""

    version: str
    rules: Raw = NO_RESULT


class TracedTool(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """A tool by the digest of its schema; `definition`: what its code said of it, where the ledger has that."""

    digest: str
    definition: Tool | None = None
    said: tuple[str, ...] | None = None  #: the fields that its code really gave; None: effect and risk


class Replayed(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """Of a trace that is a replay: of what, how, and what there was no answer for."""

    of_tenant: str
    of_run: str
    runtime: str
    model: str  #: recorded or live
    turn: int = 1  #: of how often it was repeated
    on_miss: str = "fail"
    baseline: bool = False  #: nothing was changed: the recorded turns, on the recorded runtime where that is here
    misses: tuple[str, ...] = ()
    given_up: float | None = None  #: it had not come to an end after so many seconds, and was stopped


class Trace(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One run. Calls and steps stand in the order in which they came."""

    interlock_trace: int
    exported_at: int
    run: TracedRun
    policy: TracedPolicy
    tools: Mapping[str, TracedTool] = {}
    steps: tuple[TracedStep, ...] = ()
    calls: tuple[TracedCall, ...] = ()
    switches: tuple[Switch, ...] = ()  #: that held for it at some time
    replay: Replayed | None = None
    gaps: tuple[str, ...] = ()  #: what is missing, in words

    @property
    def name(self) -> str:
        """As people call it."""
        if self.replay is None:
            return self.run.run_id
        which = f" #{self.replay.turn}" if self.replay.model == "live" else ""
        return f"{self.run.run_id} on {self.replay.runtime}, {self.replay.model} model{which}"

    @property
    def given_up(self) -> bool:
        """True of a replay that did not end by itself."""
        return self.replay is not None and self.replay.given_up is not None

    @property
    def answer(self) -> str | None:
        """What the model said last, where it came to an end. None where it did not, or nobody recorded it."""
        last = self.steps[-1].turn if self.steps else None
        return None if last is None or last.calls else last.text or ""

    @property
    def ended(self) -> str:
        """The stop reason; the status where it has not stopped."""
        if self.given_up:
            return "given up"
        return str(self.run.stop_reason or self.run.status)

    def places(self) -> tuple[int, ...]:
        """For each call the number of its step, from 1. 0: it came before the first one. In a run without steps each
        call is a step of its own."""
        if not self.steps:
            return tuple(range(1, len(self.calls) + 1))
        numbers = {step.step_id: number for number, step in enumerate(self.steps, 1)}
        return tuple([numbers.get(call.step_id, 0) or self._begun_before(call.asked_at) for call in self.calls])

    def _begun_before(self, moment: int) -> int:
        return sum(1 for step in self.steps if step.began_at <= moment)


class _Version(Struct):
    interlock_trace: int


def encode(trace: Trace) -> bytes:
    """A trace as the file has it: JSON, indented, with a line break at its end."""
    return msgspec.json.format(msgspec.json.encode(trace), indent=1) + b"\n"


def decode(body: bytes, name: str = "the file") -> Trace:
    """A trace from its file. Raises ConfigError for what is none, and for one that a newer Interlock has written."""
    try:
        version = msgspec.json.decode(body, type=_Version).interlock_trace
    except (msgspec.MsgspecError, ValueError, RecursionError):
        version = 0
    if version < 1:
        raise ConfigError(f"{name} is no trace: `interlock run export RUN > {name}` writes one")
    if version > VERSION:
        raise ConfigError(
            f"{name} is a trace of version {version}, and this Interlock reads up to {VERSION}: upgrade Interlock, "
            "or export the run with the one that is here"
        )
    try:
        trace = msgspec.json.decode(body, type=Trace)
        if not (problem := _problem_of(trace, msgspec.json.decode(body))):
            return trace
    except (msgspec.MsgspecError, ValueError, RecursionError) as error:
        problem = str(error)
    raise ConfigError(f"{name} is a damaged trace ({problem}): export the run again")


def _problem_of(trace: Trace, plain: Any) -> str:
    """What nobody has exported so, though its shape is that of a trace. `plain`: the same, as JSON alone."""
    for name, tool in trace.tools.items():
        own = tool.definition
        if own is not None and (own.name, digest(canonical(own.schema))) != (name, tool.digest):
            return f"the definition of tool {name!r:.80} is not the one of its digest"
    level = [plain]
    for _ in range(DEEPEST):
        level = [child for each in level for child in _inside(each)]
    return f"nested deeper than {DEEPEST} levels" if level else ""


def _inside(node: Any) -> Iterable[Any]:
    children = node.values() if isinstance(node, dict) else node if isinstance(node, list) else ()
    return [child for child in children if isinstance(child, (dict, list))]


def run_of(run: Run, limits: Limits) -> TracedRun:
    """A run of the ledger, for a trace."""
    same = (name for name in TracedRun.__struct_fields__ if name not in ("status", "limits"))
    return TracedRun(**{name: getattr(run, name) for name in same}, status=run.status, limits=limits)
