"""One job of an agent, its latch and its report.

Not its budgets, which are accounts. Law: a stop is a latch. Once a run has a stop reason it keeps it, and nothing of
the run is performed any more.
"""

from __future__ import annotations

from collections.abc import Mapping

import msgspec
from msgspec import Struct
from msgspec.structs import replace

from interlock.core.budget import Hold, Limits
from interlock.core.turn import Call, Turn, Usage
from interlock.core.verdict import StopReason


class Run(Struct, frozen=True, gc=False, kw_only=True, omit_defaults=True):
    """A run as the ledger has it. Times in microseconds."""

    tenant: str
    run_id: str
    agent: str
    env: str
    opened_at: int
    deadline: int  #: pushed out by the time that the run spends waiting for people
    max_seconds: int
    limits: Limits
    max_denials: int
    max_repeats: int
    policy_version: str
    runtime: str = ""
    request: str = ""  #: the user's own words
    labels: Mapping[str, str] = {}
    requested_by: str = ""  #: on whose behalf, where the program says so
    steps: int = 0  #: model turns begun
    open_steps: tuple[str, ...] = ()  #: begun, and not ended yet
    denials: int = 0
    stop_reason: StopReason | None = None
    stop_detail: str = ""
    stopped_at: int | None = None
    paused_at: int | None = None  #: since when it does nothing but wait for people
    asking: tuple[str, ...] = ()  #: approvals that it waits for, or has not made use of
    forgotten: bool = False  #: it is over, and nothing that was recorded of it is kept any more
    edited: tuple[str, ...] = ()  #: keys of its calls that were performed as people have edited them

    @property
    def status(self) -> str:
        """running, paused, completed, stopped or failed."""
        if self.stop_reason is None:
            return "running" if self.paused_at is None else "paused"
        if self.stop_reason is StopReason.COMPLETED:
            return "completed"
        return "failed" if self.stop_reason in FAILURES else "stopped"

    def stopped(self, reason: StopReason, detail: str, now: int) -> Run:
        """The run with its latch thrown. The first reason stays."""
        if self.stop_reason is not None:
            return self
        return replace(self, stop_reason=reason, stop_detail=detail, stopped_at=now, paused_at=None)

    def paused(self, now: int) -> Run:
        """The run while it waits for people; its clock stands still."""
        return self if self.paused_at is not None or self.stop_reason is not None else replace(self, paused_at=now)

    def asks(self, approval_id: str, now: int) -> Run:
        """The run with one more question to people, and its clock standing still."""
        asking = self.asking if approval_id in self.asking else (*self.asking, approval_id)
        return replace(self, asking=asking).paused(now)

    def asks_no_more(self, approval_id: str) -> Run:
        """The run without that question."""
        if approval_id not in self.asking:
            return self
        return replace(self, asking=tuple(each for each in self.asking if each != approval_id))

    def idle(self, now: int) -> Run:
        """The run when something of it has come to an end: it goes on waiting for people, where it does."""
        return self.paused(now) if self.asking else self

    def resumed(self, now: int) -> Run:
        """The run when it does something again: its deadline moves by the time that it waited."""
        if self.paused_at is None:
            return self
        return replace(self, deadline=self.deadline + max(0, now - self.paused_at), paused_at=None)


FAILURES = frozenset({StopReason.TOOL_ERROR, StopReason.MODEL_ERROR, StopReason.LEDGER_UNAVAILABLE})


class Wanted(Struct, frozen=True, gc=False, omit_defaults=True):
    """A call that a model asked for, in its own words: `args` is what it wrote, JSON or not."""

    call_id: str = ""
    tool: str = ""
    args: str = ""


    @property
    def call(self) -> Call:
        """The same with its arguments read."""
        try:
            args = msgspec.json.decode(self.args)
        except (msgspec.MsgspecError, ValueError, RecursionError):
            args = None
        if isinstance(args, dict):
            return Call(self.tool, args, self.call_id)
        return Call(self.tool, {}, self.call_id, self.args)


class Asking(Struct, frozen=True, gc=False, kw_only=True, omit_defaults=True):
    """What a model was asked and said, redacted: enough to say it again without the model."""

    asked: str = ""  #: what it was told since its last answer, as JSON in the provider's own form
    text: str = ""
    calls: tuple[Wanted, ...] = ()
    model: str = ""  #: as the answer names it
    answer_id: str = ""
    cut: bool = False  #: there was more than is kept

    @property
    def turn(self) -> Turn:
        """What it said."""
        calls = tuple([wanted.call for wanted in self.calls])
        text = None if calls and not self.text else self.text
        return Turn(text, calls, model=self.model, response_id=self.answer_id)


class Step(Struct, frozen=True, gc=False, kw_only=True, omit_defaults=True):
    """One model turn. `ended_at` None: begun, not heard of since; its hold stays until it ends or the run is over."""

    tenant: str
    run_id: str
    step_id: str
    began_at: int
    hold: Hold
    model: str = ""
    ended_at: int | None = None
    input_tokens: int = 0
    output_tokens: int = 0
    cached_input_tokens: int = 0  #: of `input_tokens`
    reasoning_tokens: int = 0  #: of `output_tokens`
    cache_write_tokens: int = 0
    cache_write_1h_tokens: int = 0  #: of `cache_write_tokens`
    web_searches: int = 0
    metered: bool = False  #: its usage came back
    max_output_tokens: int | None = None  #: as it was announced when it began
    announced_input_tokens: int | None = None  #: likewise
    usd: int | None = None  #: micro-dollars; None: unpriced
    lost: bool = False  #: it broke off: its `usd` is all that it held
    asking: Asking | None = None  #: where somebody recorded it
    forgotten: bool = False  #: it was recorded, and is not kept any more
    forfeited: bool = False  #: its run stopped before it ended: all that it held is booked, until its usage comes

    @property
    def place(self) -> tuple[int, int, str]:
        """What sorts the steps of a run."""
        return self.began_at, len(self.step_id), self.step_id

    @property
    def usage(self) -> Usage | None:
        """What it used, where that came back."""
        counted = {what: getattr(self, what) for what in Usage.__struct_fields__}
        return Usage(**counted) if self.metered or any(counted.values()) else None


class StopText(Struct, frozen=True, gc=False):
    """What to say of a stop, and to whom."""

    model: str
    user: str
    operator: str


STOP_TEXTS: dict[StopReason, StopText] = {
    StopReason.COMPLETED: StopText(
        "The run is complete. Do nothing more.",
        "The work is done.",
        "The agent finished and the run was closed.",
    ),
    StopReason.MAX_STEPS: StopText(
        "No steps are left. Give your final answer from what you have; call no more tools.",
        "The assistant stopped because it needed more steps than it is allowed. What it did so far is kept.",
        "The run used all its model turns (max_steps). Raise the budget, top up, or look for an agent that does not "
        "converge.",
    ),
    StopReason.MAX_TOOL_CALLS: StopText(
        "No tool calls are left. Give your final answer from what you have.",
        "The assistant stopped because it needed more actions than it is allowed. What it did so far is kept.",
        "The run used all its tool calls (max_tool_calls). Raise the budget, top up, or look at what it repeated.",
    ),
    StopReason.MAX_SECONDS: StopText(
        "The time is up. Call no more tools.",
        "The assistant stopped because it took too long. What it did so far is kept.",
        "The run passed its deadline (max_seconds). Time spent waiting for people is not counted.",
    ),
    StopReason.MAX_USD: StopText(
        "The money for this run is spent. Call no more tools.",
        "The assistant stopped because its budget is used up.",
        "A budget in USD is used up, or too little is left for the worst case of the next step (max_usd).",
    ),
    StopReason.MAX_TOKENS: StopText(
        "The tokens for this run are spent. Call no more tools.",
        "The assistant stopped because its budget is used up.",
        "A budget of tokens is used up (max_tokens).",
    ),
    StopReason.MAX_DENIALS: StopText(
        "Too many of your calls were refused. Call no more tools; say what you could not do.",
        "The assistant stopped because it kept asking for actions that it is not allowed to take.",
        "The run was denied max_denials times. The reasons are in the audit: a missing grant, or an agent led astray.",
    ),
    StopReason.LOOP_DETECTED: StopText(
        "You have made this same call too often. Call no more tools; answer from what you have.",
        "The assistant stopped because it was repeating itself.",
        "The same tool was called with the same arguments more than max_repeats times.",
    ),
    StopReason.POLICY_STOP: StopText(
        "This run was stopped by policy. Call no more tools.",
        "The assistant was stopped because it tried something that is not allowed.",
        "A rule of the policy says stop.",
    ),
    StopReason.KILLED: StopText(
        "This run was stopped by an operator. Call no more tools.",
        "The assistant was stopped by its operators.",
        "A kill switch holds, or held, for this run. Release does not revive a run that was stopped: open a new one.",
    ),
    StopReason.APPROVAL_REJECTED: StopText(
        "A person refused this action. Call no more tools.",
        "The assistant stopped because a person refused an action that it needed.",
        "An approval was rejected, and approvals.on_reject is stop.",
    ),
    StopReason.APPROVAL_EXPIRED: StopText(
        "Nobody approved this action in time. Call no more tools.",
        "The assistant stopped because an action that it needed was not approved in time.",
        "An approval expired, and approvals.on_reject is stop.",
    ),
    StopReason.UNPRICED: StopText(
        "The cost of this run cannot be told. Call no more tools.",
        "The assistant was stopped because its cost could not be determined.",
        "A budget in USD is in force, and a model turn has no known price or came without usage. "
        "Name the model's price under prices:, or switch usage reporting on.",
    ),
    StopReason.TOOL_ERROR: StopText(
        "A tool failed and the run was ended.",
        "The assistant stopped because of a technical problem.",
        "The loop gave up over a tool; see the failed or unknown calls of the run.",
    ),
    StopReason.MODEL_ERROR: StopText(
        "The model failed and the run was ended.",
        "The assistant stopped because of a technical problem.",
        "The loop gave up over the model; see the run's detail.",
    ),
    StopReason.CANCELLED: StopText(
        "The run was cancelled. Call no more tools.",
        "The assistant was cancelled.",
        "The program or a person cancelled the run.",
    ),
    StopReason.LEDGER_UNAVAILABLE: StopText(
        "The record of this run cannot be written, so nothing more is done. Call no more tools.",
        "The assistant stopped because of a technical problem.",
        "The ledger could not commit. Nothing is performed without it; see operations, 'the ledger is gone'.",
    ),
}
