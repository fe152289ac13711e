"""Which call of one run is which of another.

Not whether that is good (`parity.py`). Law: pure; equal calls are paired first, by tool, canonical arguments and
occurrence, the nearest where one run has more of them; of what is left, those of one tool that are the most alike; a
call that stands elsewhere between steps is marked, and as few are marked as can be.
"""

from __future__ import annotations

from bisect import bisect_right
from collections import deque
from collections.abc import Iterable, Mapping, Sequence

from msgspec import Struct
from msgspec.structs import replace

from interlock.core.canonical import canonical
from interlock.core.names import spelled
from interlock.core.replay import alike
from interlock.core.trace import Trace, TracedCall

MANY = 10_000  #: pairs that might be; of more, calls are paired as they come
_FAR = 1 << 62

_Alone = tuple[int, TracedCall, bytes]


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
    partner = _equal(left, right, steps, other_steps)
    partner |= _alike(left.calls, right.calls, partner)
    pairs = [
        Pair(left=call, step=steps[place])
        if place not in partner
        else Pair(
            left=call, step=steps[place], right=right.calls[partner[place]], other_step=other_steps[partner[place]]
        )
        for place, call in enumerate(left.calls)
    ]
    alone = sorted(set(range(len(right.calls))) - set(partner.values()))
    return _merged(_marked(pairs), [Pair(right=right.calls[place], other_step=other_steps[place]) for place in alone])


def _equal(left: Trace, right: Trace, steps: Sequence[int], other_steps: Sequence[int]) -> dict[int, int]:
    """The first of two equal calls with the first, the second with the second. Where one run has more of them, those
    stay alone without which the others are nearest to their steps."""
    found: dict[int, int] = {}
    in_other = _places(right)
    for call, ours in _places(left).items():
        theirs = in_other.get(call, [])
        paired_ours = ours if len(ours) <= len(theirs) else _nearest(theirs, ours, other_steps, steps)
        paired_theirs = theirs if len(theirs) <= len(ours) else _nearest(ours, theirs, steps, other_steps)
        found |= zip(paired_ours, paired_theirs, strict=True)
    return found


def _places(trace: Trace) -> dict[tuple[str, bytes], list[int]]:
    found: dict[tuple[str, bytes], list[int]] = {}
    for place, call in enumerate(trace.calls):
        found.setdefault((call.tool, canonical(call.args)), []).append(place)
    return found


def _nearest(fewer: Sequence[int], more: Sequence[int], steps: Sequence[int], their_steps: Sequence[int]) -> list[int]:
    """As many of `more` as there are in `fewer`, in order, each as near to its own as can be; of more than may be tried
    the first."""
    if len(fewer) * len(more) > MANY:
        return list(more[: len(fewer)])
    rows = [[0] * (len(more) + 1)]  # by how many steps the first so many are apart from their partners, at least
    for one in fewer:
        row = [_FAR]
        for at, other in enumerate(more):
            row.append(min(row[at], rows[-1][at] + abs(steps[one] - their_steps[other])))
        rows.append(row)
    chosen, end = [], len(more)
    for row in reversed(rows[1:]):
        while row[end] == row[end - 1]:
            end -= 1
        end -= 1
        chosen.append(more[end])
    return chosen[::-1]


def _alike(
    calls: Sequence[TracedCall], others: Sequence[TracedCall], partner: Mapping[int, int]
) -> dict[int, int]:
    """Of those that have no partner yet: pairs of the same tool, the most alike first."""
    taken = set(partner.values())
    alone = [(place, call, canonical(call.args)) for place, call in enumerate(calls) if place not in partner]
    left_over = [(place, call, canonical(call.args)) for place, call in enumerate(others) if place not in taken]
    if len(alone) * len(left_over) > MANY:
        return _as_they_come(alone, left_over)
    scored = sorted(
        (-alike(args, other_args), abs(one - other), one, other)
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


def _as_they_come(alone: Iterable[_Alone], left_over: Iterable[_Alone]) -> dict[int, int]:
    waiting: dict[str, deque[int]] = {}
    for other, call, _ in left_over:
        waiting.setdefault(call.tool, deque()).append(other)
    return {one: queue.popleft() for one, call, _ in alone if (queue := waiting.get(call.tool))}


def _same_tool(one: TracedCall, other: TracedCall) -> bool:
    """A tool that a gateway does not have keeps the spelling that its runtime lets a model use."""
    if one.tool == other.tool:
        return True
    both_known = one.schema_digest and other.schema_digest
    return not both_known and spelled(one.tool, plain=True) == spelled(other.tool, plain=True)


def _merged(pairs: Sequence[Pair], extra: Iterable[Pair]) -> list[Pair]:
    """Each of the second run alone stands behind the last pair whose call came there no later."""
    earliest: list[int] = []  # from each pair on, the earliest step of the second run
    for pair in reversed(pairs):
        before = earliest[-1] if earliest else _FAR
        earliest.append(before if pair.other_step is None else min(before, pair.other_step))
    earliest.reverse()
    behind: dict[int, list[Pair]] = {}
    for each in sorted(extra, key=lambda pair: pair.other_step or 0):
        behind.setdefault(bisect_right(earliest, each.other_step or 0), []).append(each)
    merged = list(behind.get(0, ()))
    for at, pair in enumerate(pairs, 1):
        merged += (pair, *behind.get(at, ()))
    return merged


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
