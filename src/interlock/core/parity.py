"""Two runs side by side: what one did otherwise, and whether that is too much.

Not how a run is run again. Law: pure; calls are matched by tool, canonical arguments and occurrence, never by ids;
inside a step order does not count, between steps it does; every divergence names its step and its field.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from enum import StrEnum

from msgspec import Struct

from interlock.core.answers import Comparer, comparer_of
from interlock.core.canonical import canonical
from interlock.core.changes import changes
from interlock.core.lifecycle import State
from interlock.core.pairing import Pair, paired
from interlock.core.thresholds import Thresholds
from interlock.core.trace import Trace, TracedCall


class Kind(StrEnum):
    """How two runs can differ."""

    MISSING = "missing"  #: a call that the first made, and the second did not
    EXTRA = "extra"  #: a call that only the second made
    ARGUMENTS = "arguments"  #: the same tool, with other arguments
    ORDER = "order"  #: made in another order between steps
    VERDICT = "verdict"  #: weighed otherwise
    OUTCOME = "outcome"  #: ended otherwise, after the same verdict
    STOP_REASON = "stop_reason"  #: the run ended otherwise
    ANSWER = "answer"  #: the model said something else in the end
    STEPS = "steps"  #: more model turns
    USD = "usd"  #: dearer


class Divergence(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One difference. `step` is that of the first run, `other_step` of the second; None where there is none."""

    kind: Kind
    step: int | None = None
    other_step: int | None = None
    tool: str = ""
    field: str = ""  #: what differs: `args.amount`, `verdict`, `stop_reason`…
    before: str = ""
    after: str = ""

    @property
    def text(self) -> str:
        """For people."""
        where = f"step {self.step}" if self.step is not None else ""
        if self.other_step is not None and self.other_step != self.step:
            where += f"{' → ' if where else ''}step {self.other_step}"
        what = f"{self.tool} {self.field}".strip()
        head = f"{where}: {what}" if where else what
        return f"{head}: {self.before or '-'} → {self.after or '-'}"


class Delta(Struct, frozen=True):
    """One number of both runs."""

    name: str
    before: int
    after: int


class Comparison(Struct, frozen=True, kw_only=True):
    """All that differs between two runs, and whether it is too much."""

    left: Trace
    right: Trace
    pairs: tuple[Pair, ...]
    divergences: tuple[Divergence, ...]
    deltas: tuple[Delta, ...]
    exceeded: tuple[Kind, ...]  #: the kinds of which there are more than the thresholds allow
    notes: tuple[str, ...]  #: what a reader must know: other policy, other definitions, answers that were missing

    @property
    def passed(self) -> bool:
        """True where nothing differs more than it may."""
        return not self.exceeded


def compare(
    left: Trace, right: Trace, thresholds: Thresholds | None = None, comparer: Comparer | None = None
) -> Comparison:
    """Compare two runs. `comparer` goes before the one that the thresholds name. Raises ConfigError for a name that no
    comparer has."""
    thresholds = thresholds or Thresholds()
    pairs = paired(left, right)
    found = [each for pair in pairs for each in _of_pair(pair)]
    found += _of_runs(left, right, comparer or comparer_of(thresholds.compare))
    deltas = _deltas(left, right)
    found += _of_deltas(deltas, thresholds)
    counted = Counter(each.kind for each in found)
    exceeded = {kind for kind in Kind if counted[kind] > _allowed(kind, thresholds)}
    if left.given_up or right.given_up:  # whatever may differ: how it would have ended, nobody knows
        exceeded.add(Kind.STOP_REASON)
    return Comparison(
        left=left, right=right, pairs=tuple(pairs), divergences=tuple(found), deltas=deltas,
        exceeded=tuple(kind for kind in Kind if kind in exceeded),
        notes=_notes(left, right),
    )


def _allowed(kind: Kind, thresholds: Thresholds) -> int:
    """A delta becomes a divergence only where it is larger than it may be."""
    return 0 if kind in (Kind.STEPS, Kind.USD) else int(getattr(thresholds, kind))


# --- what differs ----------------------------------------------------------------------------------------------------


def _of_pair(pair: Pair) -> Iterable[Divergence]:
    left, right = pair.left, pair.right

    def told(kind: Kind, tool: str, field: str, before: str = "", after: str = "") -> Divergence:
        return Divergence(
            kind=kind, step=pair.step, other_step=pair.other_step, tool=tool, field=field, before=before, after=after
        )

    if right is None and left is not None:
        yield told(Kind.MISSING, left.tool, "call", before=_shown(left))
    elif left is None and right is not None:
        yield told(Kind.EXTRA, right.tool, "call", after=_shown(right))
    elif left is not None and right is not None:
        for change in changes(left.args, right.args, "args"):
            yield told(Kind.ARGUMENTS, left.tool, change.path, change.before, change.after)
        if pair.moved:
            yield told(Kind.ORDER, left.tool, "order", f"step {pair.step}", f"step {pair.other_step}")
        if left.verdict != right.verdict:
            before, after = (f"{each.verdict} by {each.rule}" for each in (left, right))
            yield told(Kind.VERDICT, left.tool, "verdict", before, after)
        elif left.state != right.state:
            yield told(Kind.OUTCOME, left.tool, "outcome", left.state, right.state)


def _of_runs(left: Trace, right: Trace, same: Comparer) -> Iterable[Divergence]:
    last, other_last = len(left.steps) or None, len(right.steps) or None
    if left.ended != right.ended:
        yield Divergence(
            kind=Kind.STOP_REASON, step=last, other_step=other_last, field="stop_reason",
            before=left.ended, after=right.ended,
        )
    one, other = left.answer, right.answer
    if one is None and other is None:
        return
    if one is None or other is None or not same(one, other):
        told = changes({} if one is None else {"answer": one}, {} if other is None else {"answer": other}, "")
        before, after = (told[0].before, told[0].after) if told else (one or "", other or "")
        yield Divergence(
            kind=Kind.ANSWER, step=last, other_step=other_last, field="answer", before=before, after=after
        )


def _deltas(left: Trace, right: Trace) -> tuple[Delta, ...]:
    one, other = (_numbers(trace) for trace in (left, right))
    return tuple(Delta(name, one[name], other[name]) for name in one)


def _numbers(trace: Trace) -> dict[str, int]:
    used = [step.usage for step in trace.steps if step.usage is not None]
    return {
        "steps": len(trace.steps),
        "tool_calls": sum(call.admitted and call.state != State.DENIED for call in trace.calls),
        "denials": trace.run.denials,
        "tokens": sum(usage.tokens for usage in used),
        "usd": sum(step.usd or 0 for step in trace.steps) + sum(call.usd for call in trace.calls),
    }


def _of_deltas(deltas: Iterable[Delta], thresholds: Thresholds) -> Iterable[Divergence]:
    for delta in deltas:
        most = {"steps": delta.before + thresholds.steps, "usd": delta.before * (1 + thresholds.usd)}.get(delta.name)
        if most is not None and delta.after > most:
            yield Divergence(
                kind=Kind(delta.name), field=delta.name, before=amount(delta.name, delta.before),
                after=amount(delta.name, delta.after),
            )


def amount(name: str, value: int) -> str:
    """A number of a run, for people."""
    return f"${value / 1e6:.6f}" if name == "usd" else str(value)


def _notes(left: Trace, right: Trace) -> tuple[str, ...]:
    notes = []
    if left.policy.version != right.policy.version:
        versions = (each.policy.version.removeprefix("sha256:")[:12] for each in (left, right))
        notes.append(f"the policies differ: {' and '.join(versions)}")
    notes += [
        f"the definitions of {tool} differ"
        for tool in sorted(left.tools.keys() & right.tools.keys())
        if left.tools[tool].digest != right.tools[tool].digest
    ]
    for trace in (left, right):
        if left.ended != right.ended and trace.run.stop_detail and not trace.given_up:
            notes.append(f"{trace.name}: {trace.ended}: {trace.run.stop_detail}")
        notes += [f"{trace.name}: {gap}" for gap in trace.gaps]
        misses = Counter(trace.replay.misses if trace.replay else ())
        notes += [f"{trace.name}: {miss}{f' ({count} times)' if count > 1 else ''}" for miss, count in misses.items()]
        if trace.replay is not None and trace.replay.given_up is not None:
            notes.append(f"{trace.name}: given up after {trace.replay.given_up:g} s: its agent had not come to an end")
    return tuple(notes)


def _shown(call: TracedCall) -> str:
    text = canonical(call.args).decode()
    return text if len(text) <= 200 else f"{text[:199]}…"
