"""What the config limits in a window of time, for people who would raise it.

Not the weighing of a call (`core/decide.py`), nor what is left (`reports.py`). Law: what no call is booked on is named
as such, because whoever tops it up believes that it helps.
"""

from __future__ import annotations

from collections.abc import Mapping

from interlock.config import Config
from interlock.core.budget import UNITS, Amounts, Limits, Window


def unlimited(config: Config, amounts: Amounts, window: Window, *, tenant: str, agent: str, tool: str) -> str | None:
    """Why raising this window by that would change nothing, with what there is to raise; None where it would."""
    whose, windows = f"tenant {tenant!r}", config.windows("tenant", tenant)
    if agent:
        whose, windows = f"agent {agent!r}", config.windows("agent", agent)
    elif tool:  # each tool has accounts of its own: a pattern has none
        is_glob = any(mark in tool for mark in "*?[")
        whose, windows = f"tool {tool!r}", {} if is_glob else config.windows("tool", tool)
    wanted = [unit for unit in UNITS if getattr(amounts, unit)]
    if window in windows and set(wanted) & set(_units(windows[window])):
        return None
    return (
        f"no {' or '.join(wanted)} of {whose} is limited per {window}, so there is nothing to raise; "
        f"what is limited: {'; '.join(_limited(config, tenant)) or 'no window of time'}"
    )


def _limited(config: Config, tenant: str) -> list[str]:
    places: dict[str, Mapping[Window, Limits]] = {f"tenant {tenant}": config.windows("tenant", tenant)}
    places |= {f"agent {name}": caps.windows for name, caps in config.agents.items()}
    places |= {f"tool {name}": declared.windows for name, declared in config.tools.items()}
    return [
        f"{' and '.join(_units(limits))} per {window} of {whose}"
        for whose, windows in places.items()
        for window, limits in windows.items()
    ]


def _units(limits: Limits) -> list[str]:
    return [unit for unit in UNITS if getattr(limits, unit) is not None]
