"""Verdict, reason, decision: what weighing a call gives.

Not the weighing, which is `decide.py`. Law: the strongest verdict wins, and every reason is kept.
"""

from __future__ import annotations

from enum import IntEnum, StrEnum

from msgspec import Struct


class Verdict(IntEnum):
    """ALLOW < ASK < DENY < STOP; or, for a call that the ledger already knows, REPLAY or WAIT."""

    ALLOW = 0  #: perform it
    ASK = 1  #: a person is needed
    DENY = 2  #: no; the run goes on
    STOP = 3  #: no; the run is over
    REPLAY = 10  #: answered from the record
    WAIT = 11  #: the same call is running; its outcome will be the answer

    @property
    def word(self) -> str:
        """The verdict as people read it."""
        return self.name.lower()


class StopReason(StrEnum):
    """Why a run ended. Each has three texts in `core/run.py`: for the model, for the end user, for the operator."""

    COMPLETED = "completed"  #: the agent finished
    MAX_STEPS = "max_steps"  #: no model turn left
    MAX_TOOL_CALLS = "max_tool_calls"  #: no tool call left
    MAX_SECONDS = "max_seconds"  #: the deadline has passed
    MAX_USD = "max_usd"  #: no money left
    MAX_TOKENS = "max_tokens"  #: no tokens left
    MAX_DENIALS = "max_denials"  #: refused too often
    LOOP_DETECTED = "loop_detected"  #: the same call again and again
    POLICY_STOP = "policy_stop"  #: a rule says stop, or a rule in force cannot be evaluated and says stop
    KILLED = "killed"  #: a person threw a kill switch
    APPROVAL_REJECTED = "approval_rejected"  #: a person said no, and the config says that this ends the run
    APPROVAL_EXPIRED = "approval_expired"  #: nobody answered, and the config says that this ends the run
    UNPRICED = "unpriced"  #: a budget in dollars is in force, and a model turn has no price or no usage
    TOOL_ERROR = "tool_error"  #: the loop gave up over a tool
    MODEL_ERROR = "model_error"  #: the loop gave up over the model
    CANCELLED = "cancelled"  #: the caller ended it
    LEDGER_UNAVAILABLE = "ledger_unavailable"  #: the ledger could not commit


class Reason(Struct, frozen=True, gc=False, omit_defaults=True):
    """One guard's answer."""

    guard: str
    verdict: Verdict
    text: str
    rule: str = ""  #: id of the rule of the policy, where one spoke
    stop: StopReason | None = None  #: with verdict STOP: why


class Decision(Struct, frozen=True, gc=False, omit_defaults=True):
    """A verdict, every reason for it, and the version of the policy that was in force."""

    verdict: Verdict
    reasons: tuple[Reason, ...]
    policy_version: str

    @property
    def leading(self) -> tuple[Reason, ...]:
        """The reasons that carry the verdict, in the order of the guards."""
        return tuple(reason for reason in self.reasons if reason.verdict == self.verdict)

    @property
    def stop(self) -> StopReason | None:
        """The reason of the stop, where the verdict is one."""
        return next((reason.stop for reason in self.leading if reason.stop), None)

    @property
    def rule(self) -> str:
        """The first rule that carries the verdict, or ''."""
        return next((reason.rule for reason in self.leading if reason.rule), "")

    @property
    def text(self) -> str:
        """The leading reasons as one sentence for people and models."""
        return "; ".join(reason.text for reason in self.leading)
