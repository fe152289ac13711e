"""The comparison of runs as one page: a file that can be mailed, kept, or hung into a build.

Not a page of the console: nobody serves it. Law: it stands by itself and loads nothing, which it says itself, in its
content security policy; it runs no script; whatever a run said is escaped, and every invisible character spelled out;
colour is never the only sign.
"""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec
from msgspec import Struct

from interlock.core.canonical import canonical
from interlock.core.parity import amount
from interlock.faces.cli_parity import WORDS, place, role
from interlock.faces.cli_print import clock, safe, span

if TYPE_CHECKING:
    from interlock.core.judgement import Judgement
    from interlock.core.pairing import Pair
    from interlock.core.parity import Comparison
    from interlock.core.trace import Trace, TracedCall, TracedStep

HERE = Path(__file__).parent
LONG = 4_000  #: characters of one value that are shown
LEAST = 0.5  #: per cent that a bar is wide at least

SIGNS = {
    "missing": ("−", "only in the record"), "extra": ("+", "only in the replay"), "arguments": ("≠", "other arguments"),
    "order": ("⇅", "other order"), "verdict": ("≠", "other verdict"), "outcome": ("≠", "other outcome"),
}


class Bar(Struct, frozen=True):
    """A stretch of time, in per cent of the picture's width."""

    left: float
    width: float
    look: str
    title: str


class Cell(Struct, frozen=True):
    """A call on one side."""

    call: TracedCall
    at: str
    took: str
    args: str
    result: str


class Row(Struct, frozen=True, kw_only=True):
    """A step, or a pair of calls."""

    step: int | None = None  #: of a step: its number
    steps: tuple[TracedStep | None, TracedStep | None] = (None, None)
    left: Cell | None = None
    right: Cell | None = None
    sign: str = ""
    word: str = ""


class Part(Struct, frozen=True, kw_only=True):
    """One comparison."""

    each: Comparison
    role: str
    rows: tuple[Row, ...]
    lanes: tuple[tuple[Bar, ...], tuple[Bar, ...]]
    length: str


def page(made: Sequence[Comparison], judgement: Judgement) -> str:
    """The whole page, as HTML."""
    from jinja2 import Environment, FileSystemLoader, StrictUndefined

    sheet = (HERE / "page.css").read_text("utf-8")
    made_with = Environment(
        loader=FileSystemLoader(HERE), autoescape=True, undefined=StrictUndefined, finalize=_shown,
        trim_blocks=True, lstrip_blocks=True,
    )
    made_with.globals |= {"amount": amount, "place": place, "clock": clock, "WORDS": WORDS}
    return made_with.get_template("page.html").render(
        parts=[_part(each) for each in made], judgement=judgement, sheet=sheet, sheet_hash=_hash(sheet),
    )


def _hash(sheet: str) -> str:
    return "sha256-" + base64.b64encode(hashlib.sha256(sheet.encode()).digest()).decode()


def _shown(value: Any) -> Any:
    """Applied to every expression: text is made visible, nothing is marked as safe."""
    if type(value) is str:
        return safe(value, lines=True)
    return "" if value is None else value


def _part(each: Comparison) -> Part:
    length = max(1, *(_length(trace) for trace in (each.left, each.right)))
    lanes = (tuple(_bars(each.left, length)), tuple(_bars(each.right, length)))
    return Part(
        each=each, role=role(each), rows=tuple(_rows(each)), lanes=lanes, length=span(length, fine=True),
    )


# --- the rows --------------------------------------------------------------------------------------------------------


def _rows(each: Comparison) -> Iterable[Row]:
    """Step by step, the calls of each below it."""
    numbered: dict[int, list[Pair]] = {}
    for pair in each.pairs:
        numbered.setdefault(_number(pair), []).append(pair)
    last = max([len(each.left.steps), len(each.right.steps), *numbered])
    for number in range(last + 1):
        steps = (_nth(each.left.steps, number), _nth(each.right.steps, number))
        pairs = numbered.get(number, [])
        if number and (any(steps) or pairs):
            yield Row(step=number, steps=steps)
        for pair in pairs:
            sign, word = SIGNS[_mark(pair)] if _mark(pair) else ("=", "the same")
            yield Row(left=_cell(each.left, pair.left), right=_cell(each.right, pair.right), sign=sign, word=word)


def _number(pair: Pair) -> int:
    return (pair.other_step if pair.step is None else pair.step) or 0


def _nth(steps: Sequence[TracedStep], number: int) -> TracedStep | None:
    return steps[number - 1] if 0 < number <= len(steps) else None


def _mark(pair: Pair) -> str:
    """The gravest difference of a pair, or ""."""
    left, right = pair.left, pair.right
    if left is None or right is None:
        return "extra" if left is None else "missing"
    if canonical(left.args) != canonical(right.args):
        return "arguments"
    if left.verdict != right.verdict:
        return "verdict"
    if left.state != right.state:
        return "outcome"
    return "order" if pair.moved else ""


def _cell(trace: Trace, call: TracedCall | None) -> Cell | None:
    if call is None:
        return None
    took = span(max(0, (call.settled_at or call.asked_at) - call.asked_at), fine=True)
    result = msgspec.json.format(bytes(call.result), indent=2).decode() if bytes(call.result) else ""
    return Cell(
        call=call, at=span(max(0, call.asked_at - trace.run.opened_at), fine=True), took=took,
        args=_cut(msgspec.json.format(msgspec.json.encode(call.args), indent=2).decode()), result=_cut(result),
    )


def _cut(text: str) -> str:
    return text if len(text) <= LONG else f"{text[:LONG]}… ({len(text) - LONG} characters more)"


# --- the picture -----------------------------------------------------------------------------------------------------


def _length(trace: Trace) -> int:
    ends = [step.ended_at or step.began_at for step in trace.steps]
    ends += [call.settled_at or call.asked_at for call in trace.calls]
    return max([trace.run.stopped_at or trace.run.opened_at, *ends]) - trace.run.opened_at


def _bars(trace: Trace, length: int) -> Iterable[Bar]:
    for number, step in enumerate(trace.steps, 1):
        end = step.ended_at or step.began_at
        yield _bar(trace, length, (step.began_at, end), "step", f"step {number}: {step.model or 'model not named'}")
    for call in trace.calls:
        end = call.settled_at or call.asked_at
        yield _bar(trace, length, (call.asked_at, end), call.state, f"{call.tool}: {call.verdict}, {call.state}")


def _bar(trace: Trace, length: int, when: tuple[int, int], look: str, title: str) -> Bar:
    left = min(100 - LEAST, max(0.0, 100 * (when[0] - trace.run.opened_at) / length))
    width = min(100 - left, max(LEAST, 100 * (when[1] - when[0]) / length))
    return Bar(round(left, 3), round(width, 3), look, title)
