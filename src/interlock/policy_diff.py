"""`interlock policy diff`: what would be decided otherwise by another config, and whether that is looser or stricter.

Not a replay of what was decided: nobody has called. Law: what is not surely stricter is never called so.
Conditions are taken as independent of each other, so that two that say the same in other words are `unclear`; policy
cases tell those apart, because they are weighed by the `decide` that weighs real calls.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from enum import StrEnum
from itertools import product
from pathlib import Path
from typing import Any

from msgspec import Struct

from interlock.cases import run_cases
from interlock.check import EVERYONE, Line, example_of, line_of, named_tools, weighed
from interlock.config import Config
from interlock.config.stricter import dedupe_rank
from interlock.config.values import Limited
from interlock.core.budget import UNITS
from interlock.core.call import MICROS, Dedupe, Tool
from interlock.core.policy import Rule
from interlock.core.verdict import Verdict

MOST = 12  #: conditions of one tool that are tried in every combination


class Way(StrEnum):
    """Where a change leads."""

    LOOSER = "looser"  #: something is allowed, or left unlimited, that was not before
    STRICTER = "stricter"  #: something is refused, asked or limited that was not before
    UNCLEAR = "unclear"  #: both, or it depends on what cannot be compared


class Change(Struct, frozen=True):
    """One thing that the other config decides otherwise."""

    kind: str  #: tool, declaration, budget, approvals, case
    what: str
    tenant: str  #: `*`: everyone
    old: str
    new: str
    way: Way


class Diff(Struct, frozen=True):
    """All of them. `ok`: none is looser, and none unclear."""

    ok: bool
    old_version: str
    new_version: str
    changes: tuple[Change, ...]


def diff(old: Config, new: Config, cases: Iterable[str | Path] = ()) -> Diff:
    """Compare two configs: what tools get, what is declared of them, budgets, approvals, and these cases. Tools are
    those that either config names; a glob stands for all that it matches and nobody names. Raises ConfigError for cases
    that cannot be read."""
    found = [*_tools(old, new), *_declarations(old, new), *_budgets(old, new), *_approvals(old, new)]
    files = list(cases)
    if files:
        found += _cases(old, new, files)
    ok = all(each.way is Way.STRICTER for each in found)
    return Diff(ok, old.policy.version, new.policy.version, tuple(found))


# --- tools -----------------------------------------------------------------------------------------------------------


def _tools(old: Config, new: Config) -> Iterator[Change]:
    for name in _names(old, new):
        tools = [config.declared(Tool(name=name), said=()) for config in (old, new)]
        told = None
        for tenant in (None, *sorted({*old.tenants, *new.tenants})):
            both = list(zip((old, new), tools, strict=True))
            way = _way_of(*(weighed(config, tool, tenant) for config, tool in both))
            before, after = (_words(line_of(config, tool, tenant)) for config, tool in both)
            if way is not None and (before, after) != told:
                yield Change("tool", name, tenant or EVERYONE, before, after, way)
            if tenant is None:
                told = before, after  # whoever is decided as everyone is gets no line of their own


def _names(old: Config, new: Config) -> list[str]:
    """What either config names; and for each glob a name that it matches, spelled as the glob is."""
    globs = {glob for config in (old, new) for rule in config.policy.rules for glob in rule.tools}
    globs |= {glob for config in (old, new) for glob in config.tools}
    return sorted({*named_tools(old), *named_tools(new), *map(example_of, globs)})


Weighed = tuple[list[Rule], list[tuple[Rule, str]]]


def _way_of(old: Weighed, new: Weighed) -> Way | None:
    """Over every combination of conditions that may hold; None where the verdict is the same in all of them."""
    conditions = sorted({when for _, depending in (old, new) for _, when in depending})
    if len(conditions) > MOST:
        return Way.UNCLEAR
    looser = stricter = False
    for truths in product((False, True), repeat=len(conditions)):
        holds = dict(zip(conditions, truths, strict=True))
        before, after = _verdict(old, holds), _verdict(new, holds)
        looser, stricter = looser or after < before, stricter or after > before
    if looser and stricter:
        return Way.UNCLEAR
    return Way.LOOSER if looser else Way.STRICTER if stricter else None


def _verdict(rules: Weighed, holds: dict[str, bool]) -> Verdict:
    fixed, depending = rules
    said = [rule.then for rule in fixed] + [rule.then for rule, when in depending if holds[when]]
    return max(said) if Verdict.ALLOW in said else max([Verdict.DENY, *said])


def _words(line: Line) -> str:
    return "; ".join([line.otherwise, *sorted({f"{each.verdict} when {each.when}" for each in line.clauses})])


# --- what is declared ------------------------------------------------------------------------------------------------

_RANKS: dict[str, Callable[[Any], Any]] = {  #: field of a Tool → the higher, the stricter
    "effect": lambda effect: effect.rank,
    "risk": lambda risk: risk.rank,
    "timeout": lambda timeout: -timeout if timeout is not None else float("-inf"),
    "deduping": dedupe_rank,
    "idempotent": lambda idempotent: not idempotent,
    "errors_mean_failed": lambda failed: not failed,
    "trusted": lambda trusted: not trusted,
}


def _declarations(old: Config, new: Config) -> Iterator[Change]:
    for name in _names(old, new):
        before, after = (config.declared(Tool(name=name), said=()) for config in (old, new))
        for field, rank in _RANKS.items():
            yield from _change("declaration", f"{name}: {field}", EVERYONE, *_both(before, after, field), rank)
        for field in ("cost", "credential", "arguments"):
            one, other = _both(before, after, field)
            if one != other:
                yield Change("declaration", f"{name}: {field}", EVERYONE, _shown(one), _shown(other), Way.UNCLEAR)


# --- limits ----------------------------------------------------------------------------------------------------------


def _budgets(old: Config, new: Config) -> Iterator[Change]:
    tenants, agents = sorted({*old.tenants, *new.tenants}), sorted({*old.agents, *new.agents})
    for_everyone = [_limits_of(config, "", "") for config in (old, new)]
    for tenant, agent in [("", ""), *((each, "") for each in tenants), *(("", each) for each in agents)]:
        before, after = (_limits_of(config, tenant, agent) for config in (old, new))
        for what in sorted({*before, *after}):
            both = before.get(what), after.get(what)
            if (tenant or agent) and both == tuple(each.get(what) for each in for_everyone):
                continue  # as for everyone
            yield from _change("budget", f"agent {agent}: {what}" if agent else what, tenant or EVERYONE, *both, _low)
    for tool in _names(old, new):
        before, after = (_windows(config, "tool", tool) for config in (old, new))
        for what in sorted({*before, *after}):
            yield from _change("budget", f"{tool}: {what}", EVERYONE, before.get(what), after.get(what), _low)


def _limits_of(config: Config, tenant: str, agent: str) -> dict[str, int | None]:
    """Everything that limits a run of theirs, and their windows of time."""
    run = config.run_budget(tenant, agent)
    found: dict[str, int | None] = {f"max_{unit}": getattr(run.limits, unit) for unit in UNITS}
    found |= {"max_seconds": run.max_seconds, "max_denials": run.max_denials, "max_repeats": run.max_repeats}
    return found | (_windows(config, "agent", agent) if agent else _windows(config, "tenant", tenant))


def _windows(config: Config, scope: Limited, subject: str) -> dict[str, int | None]:
    return {
        f"{unit}_per_{window}": getattr(limits, unit)
        for window, limits in config.windows(scope, subject).items() for unit in UNITS
    }


def _low(limit: int | None) -> float:
    return float("-inf") if limit is None else -limit


def _approvals(old: Config, new: Config) -> Iterator[Change]:
    one, other = old.approvals, new.approvals
    yield from _change("approvals", "quorum", EVERYONE, one.quorum, other.quorum, lambda quorum: quorum)
    yield from _change("approvals", "expires", EVERYONE, one.expires, other.expires, _low)
    yield from _change("approvals", "on_reject", EVERYONE, one.on_reject, other.on_reject, lambda word: word == "stop")


# --- cases -----------------------------------------------------------------------------------------------------------


def _cases(old: Config, new: Config, files: list[str | Path]) -> Iterator[Change]:
    rank = {each.word: each for each in Verdict}
    for before, after in zip(run_cases(old, files), run_cases(new, files), strict=True):
        what = f"{before.file}:{before.line} {before.sentence}"
        yield from _change("case", what, EVERYONE, before.actual, after.actual, rank.__getitem__)


# --- one change ------------------------------------------------------------------------------------------------------


def _change(
    kind: str, what: str, tenant: str, old: Any, new: Any, strict: Callable[[Any], Any]
) -> Iterator[Change]:
    """`strict`: the higher, the stricter."""
    if old != new:
        way = Way.STRICTER if strict(new) > strict(old) else Way.LOOSER
        yield Change(kind, what, tenant, _shown(old, what), _shown(new, what), way)


def _both(one: Any, other: Any, field: str) -> tuple[Any, Any]:
    return getattr(one, field), getattr(other, field)


def _shown(value: Any, what: str = "") -> str:
    if value is None:
        return "no limit"
    if isinstance(value, Dedupe):
        return f"{value.window / MICROS:g} s" if value.window else value.scope
    if what.endswith(("seconds", "timeout", "expires")):
        return f"{value / MICROS:g} s"
    if "usd" in what:
        return f"${value / MICROS:g}"
    return str(value)
