"""Many comparisons, one answer: PASS or FAIL.

Not the comparing (`parity.py`). Law: pure; the unchanged replay comes first, and where it does not reproduce the
record, nothing that was changed is judged by it; a live model is judged by what its repeats prove, not by their share.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from msgspec import Struct

from interlock.core.bounds import Share, tries_needed, wilson
from interlock.core.parity import Comparison
from interlock.core.thresholds import Thresholds


class Judgement(Struct, frozen=True, kw_only=True):
    """What all comparisons come to."""

    passed: bool
    baseline_failed: tuple[str, ...]  #: traces whose unchanged replay does not reproduce them
    failed: tuple[str, ...]  #: replays of recorded turns, and pairs of runs, that differ too much
    live: Share | None  #: of the repeats on a live model; None where there were none
    words: tuple[str, ...]  #: why, for people


def judge(comparisons: Sequence[Comparison], thresholds: Thresholds) -> Judgement:
    """One answer for all of them. Of nothing there is no parity."""
    broken = {_of(each) for each in comparisons if _is_baseline(each) and not each.passed}
    sound = [each for each in comparisons if _of(each) not in broken and not _is_baseline(each)]
    failed = tuple(each.right.name for each in sound if not _is_live(each) and not each.passed)
    repeats = [each for each in sound if _is_live(each)]
    live = wilson(sum(each.passed for each in repeats), len(repeats), thresholds.confidence) if repeats else None
    words = [f"baseline: {name} is not reproduced by its unchanged replay" for name in sorted(broken)]
    words += [f"{name} differs" for name in failed]
    sure = live is None or live.low >= thresholds.at_least
    if live is not None:
        words.append(f"live model: {live}{'' if sure else _more(live, thresholds)}")
    return Judgement(
        passed=bool(comparisons) and not broken and not failed and sure, baseline_failed=tuple(sorted(broken)),
        failed=failed, live=live, words=tuple(words),
    )


def rates(comparisons: Iterable[Comparison], thresholds: Thresholds) -> dict[str, Share]:
    """For each kind of divergence, in how many of the repeats on a live model it was seen."""
    repeats = [each for each in comparisons if _is_live(each)]
    seen: dict[str, int] = {}
    for each in repeats:
        for kind in {divergence.kind for divergence in each.divergences}:
            seen[kind] = seen.get(kind, 0) + 1
    return {kind: wilson(count, len(repeats), thresholds.confidence) for kind, count in sorted(seen.items())}


def _more(live: Share, thresholds: Thresholds) -> str:
    asked = f"; {thresholds.at_least:.0%} is asked for"
    if live.passed < live.tries or thresholds.at_least >= 1:
        return asked
    return f"{asked}: repeat it {tries_needed(thresholds.at_least, thresholds.confidence)} times"


def _of(comparison: Comparison) -> str:
    return f"{comparison.left.run.tenant}/{comparison.left.run.run_id}"


def _is_baseline(comparison: Comparison) -> bool:
    return comparison.right.replay is not None and comparison.right.replay.baseline


def _is_live(comparison: Comparison) -> bool:
    return comparison.right.replay is not None and comparison.right.replay.model == "live"
