"""Run again with recorded answers; decide again over recorded facts.

Not a run, and no second decision: a replayed agent goes the gateway's one road with another tool source, and what is
decided again is decided by `decide`. Law: pure; an answer is found by tool, canonical arguments and occurrence, because
ids of calls are made up anew by every runtime; a fact that is gone is not guessed: its guard keeps what it said then.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Mapping
from functools import lru_cache
from typing import Any

from msgspec.structs import replace

from interlock.core.call import ToolCall
from interlock.core.canonical import canonical
from interlock.core.decide import GUARDS, Facts, decide
from interlock.core.trace import TracedCall
from interlock.core.verdict import Decision, Verdict

APPROVAL = "approval"  #: the reason that turns an ASK into an ALLOW
ALIKE = 4_000  #: bytes of arguments that are compared to find the closest
PIECE = 3  #: bytes


class Tape:
    """The recorded answers of a run. Each is given once: the first of two equal calls gets the first answer."""

    def __init__(self, calls: Iterable[TracedCall]) -> None:
        self._left: dict[tuple[str, bytes], deque[TracedCall]] = {}
        self._of_tool: dict[str, list[TracedCall]] = {}
        self.remaining = 0  #: answers that were not given yet
        for call in calls:
            if call.answered:
                self._left.setdefault((call.tool, performed_args(call)), deque()).append(call)
                self._of_tool.setdefault(call.tool, []).append(call)
                self.remaining += 1

    def take(self, tool: str, args: Mapping[str, Any]) -> TracedCall | None:
        """The next recorded answer to this call; None where there is none, or no more."""
        left = self._left.get((tool, canonical(args)))
        try:
            found = left.popleft() if left is not None else None  # two threads never get the same one
        except IndexError:
            return None
        self.remaining -= found is not None
        return found

    def closest(self, tool: str, args: Mapping[str, Any]) -> TracedCall | None:
        """The recorded answer of that tool whose arguments are the most like these, given before or not."""
        wanted = canonical(args)
        return max(self._of_tool.get(tool, ()), key=lambda each: alike(performed_args(each), wanted), default=None)


def performed_args(call: TracedCall) -> bytes:
    """The arguments that a recorded call was performed with, canonical: a person may have edited them."""
    edited = call.approval.edited if call.approval is not None else None
    return canonical(call.args if edited is None else edited)


def alike(one: bytes, other: bytes) -> float:
    """How much two arguments have in common, from 0 to 1: the share of their pieces that both have (Dice, Sørensen).
    Its time grows with their length alone, whatever is in them: what a model writes is compared, with everything."""
    if one == other:
        return 1.0
    a, b = _pieces(one[:ALIKE]), _pieces(other[:ALIKE])
    return 2 * len(a & b) / (len(a) + len(b))


@lru_cache(maxsize=256)  # one is compared with many
def _pieces(args: bytes) -> frozenset[bytes]:
    return frozenset([args[at : at + PIECE] for at in range(max(1, len(args) - PIECE + 1))])


# --- decide again ----------------------------------------------------------------------------------------------------

#: their facts (budgets, switches, other calls, the clock of the run) were of that moment, and are not recorded
CARRIED = frozenset(guard.__name__ for guard in GUARDS)


def as_first_weighed(decision: Decision) -> Decision | None:
    """A recorded decision as it was before any person had answered. None for a call that another record answered."""
    if decision.verdict in (Verdict.REPLAY, Verdict.WAIT):
        return None
    reasons = tuple([reason for reason in decision.reasons if reason.guard != APPROVAL])
    if len(reasons) == len(decision.reasons):
        return decision
    return Decision(_strongest(reasons), reasons, decision.policy_version)


def again(call: ToolCall, facts: Facts, recorded: Decision) -> Decision:
    """What the policy in `facts` says of a recorded call. Rules are weighed afresh; a guard whose facts are gone keeps
    what it said then."""
    fresh = decide(call, facts)
    carried = tuple([reason for reason in recorded.reasons if reason.guard in CARRIED])
    if not carried:
        return fresh
    reasons = (*carried, *(reason for reason in fresh.reasons if reason.guard not in CARRIED))
    return replace(fresh, verdict=_strongest(reasons), reasons=reasons)


def _strongest(reasons: Iterable[Any]) -> Verdict:
    return max((reason.verdict for reason in reasons), default=Verdict.DENY)
