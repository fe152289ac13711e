"""Which call of one run is which of another.

Not whether that is good (`parity.py`). Law: pure; equal calls are paired first, by tool, canonical arguments and
occurrence; of what is left, those of one tool that are the most alike; a call that stands elsewhere between steps is
marked, and as few are marked as can be.
"""

from __future__ import annotations

from bisect import bisect_right
from collections import deque
from collections.abc import Sequence

from msgspec import Struct
from msgspec.structs import replace

from interlock.core.canonical import canonical
from interlock.core.names import spelled
from interlock.core.replay import alike
from interlock.core.trace import Trace, TracedCall

MANY = 10_000  #: pairs that might be; of more, calls are paired as they come

Wish = tuple[str, bytes]


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
    alone = [place for place in range(len(left.calls)) if place not in partner]
    taken = set(partner.values())
    partner |= _alike(left, right, alone, [place for place in range(len(right.calls)) if place not in taken])
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
    waiting: dict[Wish, deque[int]] = {}
    for place, call in enumerate(others):
        waiting.setdefault(_wish(call), deque()).append(place)
    found = {}
    for place, call in enumerate(calls):
        equal = waiting.get(_wish(call))
        if equal:
            found[place] = equal.popleft()
    return found


def _wish(call: TracedCall) -> Wish:
    """A tool that nobody has keeps the spelling that its runtime lets a model use."""
    return call.tool if call.schema_digest else spelled(call.tool, plain=True), canonical(call.args)


def _alike(left: Trace, right: Trace, alone: Sequence[int], others: Sequence[int]) -> dict[int, int]:
    """Pairs of the same tool, the most alike first."""
    one_by_one = len(alone) * len(others) > MANY
    wishes, other_wishes = ([_wish(call) for call in trace.calls] for trace in (left, right))
    scored = sorted(
        (0.0 if one_by_one else -alike(wishes[one][1], other_wishes[other][1]), abs(one - other), one, other)
        for one in alone
        for other in others
        if wishes[one][0] == other_wishes[other][0]
    )
    found: dict[int, int] = {}
    taken: set[int] = set()
    for _, _, one, other in scored:
        if one not in found and other not in taken:
            found[one] = other
            taken.add(other)
    return found


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
