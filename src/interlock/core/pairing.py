"""Which call of one run is which of another.

Not whether that is good (`parity.py`). Law: pure; equal calls are paired first, by tool, canonical arguments and
occurrence; of what is left, those of one tool that are the most alike; a call that stands elsewhere between steps is
marked, and as few are marked as can be.
"""

from __future__ import annotations

from bisect import bisect_right
from collections import deque
from collections.abc import Mapping, Sequence

from msgspec import Struct
from msgspec.structs import replace

from interlock.core.canonical import canonical
from interlock.core.names import spelled
from interlock.core.replay import alike
from interlock.core.trace import Trace, TracedCall

MANY = 10_000  #: pairs that might be; of more, calls are paired as they come


class Pair(Struct, frozen=True, kw_only=True):
    """A call of one run beside the call of the other that it is paired with. Steps are numbered from 1."""

    left: TracedCall | None = None
    right: TracedCall | None = None
    step: int | None = None
    other_step: int | None = None
    moved: bool = False  #: it stands elsewhere between the steps


def paired(left: Trace, right: Trace) -> list[Pair]:
    """The pairs, in the order of the first run; a call of the second alone stands behind what came before it."""
    steps, other_steps = left.places(), right.places()
    partner = _equal(left.calls, right.calls)
    partner |= _alike(left.calls, right.calls, partner)
    pairs = [
        Pair(left=call, step=steps[place])
        if place not in partner
        else Pair(
            left=call, step=steps[place], right=right.calls[partner[place]], other_step=other_steps[partner[place]]
        )
        for place, call in enumerate(left.calls)
    ]
    pairs = _marked(pairs)
    for place in sorted(set(range(len(right.calls))) - set(partner.values())):
        _put(pairs, Pair(right=right.calls[place], other_step=other_steps[place]))
    return pairs


def _equal(calls: Sequence[TracedCall], others: Sequence[TracedCall]) -> dict[int, int]:
    """The first of two equal calls with the first, the second with the second."""
    waiting: dict[tuple[str, bytes], deque[int]] = {}
    for place, call in enumerate(others):
        waiting.setdefault((call.tool, canonical(call.args)), deque()).append(place)
    found = {}
    for place, call in enumerate(calls):
        equal = waiting.get((call.tool, canonical(call.args)))
        if equal:
            found[place] = equal.popleft()
    return found


def _alike(
    calls: Sequence[TracedCall], others: Sequence[TracedCall], partner: Mapping[int, int]
) -> dict[int, int]:
    """Of those that have no partner yet: pairs of the same tool, the most alike first."""
    taken = set(partner.values())
    alone = [(place, call, canonical(call.args)) for place, call in enumerate(calls) if place not in partner]
    left_over = [(place, call, canonical(call.args)) for place, call in enumerate(others) if place not in taken]
    as_they_come = len(alone) * len(left_over) > MANY
    scored = sorted(
        (0.0 if as_they_come else -alike(args, other_args), abs(one - other), one, other)
        for one, call, args in alone
        for other, other_call, other_args in left_over
        if _same_tool(call, other_call)
    )
    found: dict[int, int] = {}
    for _, _, one, other in scored:
        if one not in found and other not in taken:
            found[one] = other
            taken.add(other)
    return found


def _same_tool(one: TracedCall, other: TracedCall) -> bool:
    """A tool that a gateway does not have keeps the spelling that its runtime lets a model use."""
    if one.tool == other.tool:
        return True
    both_known = one.schema_digest and other.schema_digest
    return not both_known and spelled(one.tool, plain=True) == spelled(other.tool, plain=True)


def _put(pairs: list[Pair], extra: Pair) -> None:
    behind = 0
    for at, pair in enumerate(pairs, 1):
        if pair.other_step is not None and pair.other_step <= (extra.other_step or 0):
            behind = at
    pairs.insert(behind, extra)


def _marked(pairs: Sequence[Pair]) -> list[Pair]:
    both = [(pair.step or 0, pair.other_step or 0, at) for at, pair in enumerate(pairs) if pair.right is not None]
    line = sorted(both)
    kept = _longest([(other, -step) for step, other, _ in line])  # what shares a step here need not share one there
    moved = {at for place, (_, _, at) in enumerate(line) if place not in kept}
    return [replace(pair, moved=True) if at in moved else pair for at, pair in enumerate(pairs)]


def _longest(values: Sequence[tuple[int, int]]) -> set[int]:
    """The places of a longest subsequence that never falls."""
    tails: list[tuple[int, int]] = []
    ends: list[int] = []
    before: list[int] = []
    for place, value in enumerate(values):
        at = bisect_right(tails, value)
        tails[at : at + 1] = [value]
        ends[at : at + 1] = [place]
        before.append(ends[at - 1] if at else -1)
    found: set[int] = set()
    place = ends[-1] if ends else -1
    while place >= 0:
        found.add(place)
        place = before[place]
    return found
