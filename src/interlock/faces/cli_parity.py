"""How a comparison of runs is told: for people on a terminal, and as one JSON document.

Not the page (`parity_page.py`). Law: every divergence stands with its step and its field; what a run said is shown with
every invisible character spelled out.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from interlock.faces.cli_print import say, show, table, text

if TYPE_CHECKING:
    from rich.text import Text

    from interlock.core.judgement import Judgement
    from interlock.core.parity import Comparison, Delta, Divergence
    from interlock.core.thresholds import Thresholds

WORDS = {
    "missing": "missing call", "extra": "extra call", "arguments": "other arguments", "order": "other order",
    "verdict": "other verdict", "outcome": "other outcome", "stop_reason": "other stop reason",
    "answer": "other answer", "steps": "more steps", "usd": "dearer",
}


def report(made: Sequence[Comparison], judgement: Judgement) -> None:
    """For people."""
    for each in made:
        show(_head(each))
        if each.divergences:
            listed = table("", "step", "what", "where", "recorded", "now")
            for divergence in each.divergences:
                listed.add_row("  ", *_cells(divergence, grave=divergence.kind in each.exceeded))
            show(listed)
        changed = [delta for delta in each.deltas if delta.before != delta.after]
        if changed:
            say("  " + ", ".join(_delta(delta) for delta in changed), "dim")
        for note in each.notes:
            say(f"  note: {note}", "yellow")
    for words in judgement.words:
        say(words, "" if judgement.passed else "red")
    say("PASS" if judgement.passed else "FAIL", "bold green" if judgement.passed else "bold red")


def as_document(made: Sequence[Comparison], judgement: Judgement, thresholds: Thresholds) -> dict[str, Any]:
    """For programs."""
    from interlock.core.judgement import rates

    return {
        "passed": judgement.passed,
        "baseline_failed": judgement.baseline_failed,
        "failed": judgement.failed,
        "live": judgement.live,
        "live_divergences": rates(made, thresholds),
        "words": judgement.words,
        "thresholds": thresholds,
        "comparisons": [_comparison(each) for each in made],
    }


def _comparison(each: Comparison) -> dict[str, Any]:
    info = each.right.replay
    return {
        "left": each.left.name, "right": each.right.name, "baseline": info is not None and info.baseline,
        "runtime": info.runtime if info else each.right.run.runtime, "model": info.model if info else None,
        "passed": each.passed, "exceeded": each.exceeded, "divergences": each.divergences, "deltas": each.deltas,
        "notes": each.notes, "stop_reasons": [each.left.ended, each.right.ended],
    }


def role(each: Comparison) -> str:
    """What a comparison is there for."""
    info = each.right.replay
    return "baseline" if info is not None and info.baseline else "replay" if info is not None else "run"


def _head(each: Comparison) -> Text:
    word, style = ("same", "green") if each.passed and not each.divergences else ("within limits", "yellow")
    if not each.passed:
        word, style = "differs", "bold red"
    return text(f"{role(each)}: ", "dim").append_text(text(each.right.name)).append("  ").append_text(text(word, style))


def _cells(divergence: Divergence, *, grave: bool) -> list[Text]:
    return [
        text(place(divergence)), text(WORDS[divergence.kind], "red" if grave else "yellow"),
        text(f"{divergence.tool} {divergence.field}".strip()), text(divergence.before or "-"),
        text(divergence.after or "-"),
    ]


def place(divergence: Divergence) -> str:
    """The step of the first run, and that of the second where it is another."""
    steps = [step for step in (divergence.step, divergence.other_step) if step is not None]
    return " → ".join(dict.fromkeys(map(str, steps)))


def _delta(delta: Delta) -> str:
    from interlock.core.parity import amount

    return f"{delta.name.replace('_', ' ')} {amount(delta.name, delta.before)} → {amount(delta.name, delta.after)}"
