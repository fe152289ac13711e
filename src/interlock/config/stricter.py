"""The stricter of two: what counts where several places of a config, or config and code, say something of one thing.

Not the places. Law: none of these depends on the order of its arguments, except `cost` and `either`, where the config
has the word.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from interlock.config.values import DEFAULTS, Recording, RunBudget, ToolDeclaration
from interlock.core.budget import UNITS, Limits, Window
from interlock.core.call import Cost, Dedupe, Role


def least(values: Iterable[int | None]) -> int | None:
    """The lowest of the limits that are there."""
    return min((value for value in values if value is not None), default=None)


def run_budget_of(places: Iterable[Mapping[str, int]]) -> RunBudget:
    """Of each key the lowest limit that any place names; the default where no place names one."""
    named = list(places)
    lowest = {key: least(place.get(key) for place in named) for key in DEFAULTS}
    lowest = {key: DEFAULTS[key] if limit is None else limit for key, limit in lowest.items()}
    return RunBudget(
        limits=Limits(lowest["max_steps"], lowest["max_tool_calls"], lowest["max_usd"], lowest["max_tokens"]),
        max_seconds=lowest["max_seconds"] or 0,
        max_denials=lowest["max_denials"] or 0,
        max_repeats=lowest["max_repeats"] or 0,
    )


def stricter_recording(one: Recording, other: Recording) -> Recording:
    """The one that keeps less."""
    return Recording(turns=one.turns and other.turns, keep=min(one.keep, other.keep))


def stricter_windows(places: Iterable[Mapping[Window, Limits]]) -> dict[Window, Limits]:
    """Of each window and unit, the lowest limit."""
    merged: dict[Window, Limits] = {}
    for place in places:
        for window, limits in place.items():
            both = (merged.get(window, Limits()), limits)
            merged[window] = Limits(**{unit: least(getattr(each, unit) for each in both) for unit in UNITS})
    return merged


def stricter_declaration(one: ToolDeclaration, other: ToolDeclaration) -> ToolDeclaration:
    """Of two globs that match the same tool: neither is more to the point, so the order in the file must not matter."""
    return ToolDeclaration(
        effect=higher(one.effect, other.effect),
        risk=higher(one.risk, other.risk),
        timeout=least((one.timeout, other.timeout)),
        dedupe=max((each for each in (one.dedupe, other.dedupe) if each), key=dedupe_rank, default=None),
        idempotent=both(one.idempotent, other.idempotent),
        errors_mean_failed=both(one.errors_mean_failed, other.errors_mean_failed),
        cost=max((each for each in (one.cost, other.cost) if each), key=_cost_rank, default=None),
        credential=max(one.credential or "", other.credential or "") or None,
        arguments=_stricter_roles(one.arguments, other.arguments),
        trusted=both(one.trusted, other.trusted),
    )


def higher(one: Any, other: Any) -> Any:
    """Of two effects or two risks."""
    if one is None or other is None:
        return other if one is None else one
    return one if one.at_least(other) else other


def both(one: bool | None, other: bool | None) -> bool | None:
    """Of two words that loosen: true only where nobody says false."""
    if one is None or other is None:
        return other if one is None else one
    return one and other


def either(config: bool | None, code: bool) -> bool:
    """The config's word, or the code's where the config is silent."""
    return code if config is None else config


def cost(config: Cost | None, code: Cost) -> Cost:
    """The config's; of two fixed prices, the higher."""
    if config is None:
        return code
    fixed = not (config.argument or config.reported or code.argument or code.reported)
    return max(config, code, key=_cost_rank) if fixed else config


def dedupe_rank(dedupe: Dedupe) -> tuple[int, int]:
    """The further it reaches, the stricter."""
    return ("off", "run", "tenant").index(dedupe.scope), dedupe.window


def _cost_rank(cost: Cost) -> tuple[int, bool, str]:
    return cost.usd, cost.reported, cost.argument


def _stricter_roles(one: Mapping[str, Role], other: Mapping[str, Role]) -> dict[str, Role]:
    order = list(Role)  # declared from what is watched most to what is watched least
    merged = dict(one)
    for name, role in other.items():
        merged[name] = min(role, merged.get(name, role), key=order.index)
    return merged
