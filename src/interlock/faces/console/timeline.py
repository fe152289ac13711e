"""A run as a picture: bars over time, one row for each step and each call.

Not the run, and nothing that proves anything: the audit does. Law: pure; positions are percentages, so that the picture
needs no style of its own; colour is never the only sign.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from msgspec import Struct

from interlock.core.approval import Approval
from interlock.core.lifecycle import State
from interlock.core.record import Record
from interlock.core.run import Run, Step
from interlock.faces.cli_print import span

LEAST = 0.6  #: per cent that a bar is wide at least, so that it can be seen

#: state → how its bar is drawn, its sign, and its word
LOOKS: dict[str, tuple[str, str, str]] = {
    State.DONE: ("done", "✓", "done"),
    State.FAILED: ("failed", "✕", "failed"),
    State.UNKNOWN: ("unknown", "?", "unknown"),
    State.DENIED: ("denied", "⊘", "denied"),
    State.REJECTED: ("denied", "⊘", "rejected"),
    State.WAITING: ("waiting", "…", "waits for a person"),
    State.APPROVED: ("waiting", "…", "approved, not sent again yet"),
    State.LEASED: ("running", "▸", "running"),
    State.LAPSED: ("failed", "✕", "lapsed"),
    State.REPEATED: ("done", "↻", "answered from the record"),
}


class Bar(Struct, frozen=True):
    """A stretch of time. Per cent of the picture's width."""

    left: float
    width: float
    look: str  #: a CSS class and a pattern
    title: str


class Row(Struct, frozen=True, kw_only=True):
    """One line of the picture."""

    anchor: str
    label: str
    is_step: bool
    sign: str
    word: str
    look: str
    took: str
    bars: tuple[Bar, ...]


class Tick(Struct, frozen=True):
    """A mark on the axis."""

    left: float
    label: str


class Picture(Struct, frozen=True):
    """All of it."""

    rows: tuple[Row, ...]
    ticks: tuple[Tick, ...]
    total: str


def picture(
    run: Run, steps: Sequence[Step], calls: Sequence[Record], approvals: Mapping[str, Approval], now: int
) -> Picture:
    """The timeline of a run, in the order in which things began."""
    end = max([run.opened_at + 1, *_moments(run, steps, calls, approvals.values(), now)])
    scale = _Scale(run.opened_at, end)
    rows = [(step.began_at, 0, _step(scale, step, run.stopped_at or now)) for step in steps]
    for place, record in enumerate(calls):
        rows.append((record.asked_at, 1, _call(scale, record, approvals.get(record.approval_id or ""), now, place)))
    rows.sort(key=lambda each: each[:2])
    length = end - run.opened_at
    ticks = tuple(Tick(25.0 * quarter, span(length * quarter // 4, fine=True)) for quarter in range(5))
    return Picture(tuple(row for _, _, row in rows), ticks, span(length, fine=True))


class _Scale:
    def __init__(self, start: int, end: int) -> None:
        self.start, self._length = start, end - start

    def bar(self, begin: int, end: int, look: str, title: str) -> Bar:
        left = min(100 - LEAST, max(0.0, 100 * (begin - self.start) / self._length))
        width = max(LEAST, 100 * (max(begin, end) - begin) / self._length)
        return Bar(round(left, 3), round(min(width, 100 - left), 3), look, title)


def _moments(
    run: Run, steps: Iterable[Step], calls: Iterable[Record], approvals: Iterable[Approval], now: int
) -> Iterable[int]:
    yield run.stopped_at or (max(now, run.opened_at) if run.stop_reason is None else run.opened_at)
    for step in steps:
        yield step.ended_at or step.began_at
    for record in calls:
        yield record.settled_at or record.asked_at
    for approval in approvals:
        yield approval.answers[-1].at if approval.answers else approval.asked_at


def _step(scale: _Scale, step: Step, until: int) -> Row:
    end = step.ended_at if step.ended_at is not None else max(until, step.began_at)
    took = span(end - step.began_at, fine=True)
    word = "open" if step.ended_at is None else "unpriced" if step.usd is None and step.model else "ended"
    title = f"model turn {step.step_id}, {step.model or 'model not named'}: {word}, {took}"
    return Row(
        anchor=f"step-{step.step_id}", label=f"{step.step_id} {step.model}".strip(), is_step=True, sign="◇", word=word,
        look="step", took=took, bars=(scale.bar(step.began_at, end, "step", title),),
    )


def _call(scale: _Scale, record: Record, approval: Approval | None, now: int, place: int) -> Row:
    look, sign, word = LOOKS.get(record.state, ("denied", "·", str(record.state)))
    begin, bars = record.asked_at, []
    if approval is not None:
        answered = approval.answers[-1].at if approval.answers else None
        until = answered or record.settled_at or (now if record.state is State.WAITING else approval.asked_at)
        bars.append(scale.bar(approval.asked_at, until, "waiting", f"waited for a person, {_took(approval, until)}"))
        begin = max(begin, until)
    end = record.settled_at or (now if record.state is State.LEASED else begin)
    took = span(max(0, end - record.asked_at), fine=True)
    if record.state not in (State.WAITING, State.APPROVED) or not bars:
        bars.append(scale.bar(begin, end, look, f"{record.call.tool}: {word}"))
    return Row(
        anchor=f"call-{place}", label=record.call.tool, is_step=False, sign=sign, word=word, look=look, took=took,
        bars=tuple(bars),
    )


def _took(approval: Approval, until: int) -> str:
    return span(max(0, until - approval.asked_at), fine=True)
