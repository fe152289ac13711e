"""Accounts as pictures: bars over windows of time, spent and held, with the limit as a line.

Not the accounts (`core/budget.py`). Law: pure; the newest window is the last bar; a bar never leaves its picture.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime

from msgspec import Struct

from interlock.core.budget import UNITS, Account, AccountKey, Limits, Window
from interlock.core.call import MICROS

LENGTH = {Window.MINUTE: 30, Window.HOUR: 24, Window.DAY: 14, Window.MONTH: 12}
NO_LIMIT = Limits()
NAMES = {"steps": "steps", "tool_calls": "tool calls", "usd": "USD", "tokens": "tokens"}


class Column(Struct, frozen=True):
    """One window. Left and width in per cent, heights in per cent of the picture."""

    left: float
    width: float
    spent: float
    held: float
    title: str


class Plot(Struct, frozen=True, kw_only=True):
    """One unit of one account, over time."""

    scope: str
    subject: str
    window: str
    unit: str
    name: str
    columns: tuple[Column, ...]
    ceiling: float | None  #: height of the limit's line
    first: str
    last: str
    used: float
    held: float
    left: float | None
    limit: float | None
    total: float  #: of all the windows that are shown


def plots(
    found: Iterable[tuple[AccountKey, Account]], limits: Mapping[tuple[str, str, Window], Limits], now: int,
    units: Sequence[str] = UNITS,
) -> list[Plot]:
    """A plot for each unit that is limited, of each account, the tenant's own first; of an account without limits for
    each of `units` that was used."""
    series: dict[tuple[str, str, Window], dict[int, Account]] = {key: {} for key in limits}
    for key, account in found:
        if key.window is not Window.RUN:
            series.setdefault((key.scope, key.subject, Window(key.window)), {})[key.start] = account
    order = {"tenant": 0, "agent": 1, "tool": 2}
    windows = list(Window)
    made = []
    for which in sorted(series, key=lambda each: (order.get(each[0], 3), each[1], windows.index(each[2]))):
        limit = limits.get(which, NO_LIMIT)
        made += [
            _plot(which, unit, series[which], getattr(limit, unit), now)
            for unit in units
            if getattr(limit, unit) is not None
            or (limit == NO_LIMIT and any(_of(each, unit) != (0, 0) for each in series[which].values()))
        ]
    return made


def since(now: int) -> int:
    """When the oldest window began that any plot shows."""
    return starts(Window.MONTH, now)[0]


def starts(window: Window, now: int) -> list[int]:
    """When each of the windows began that a plot shows, the oldest first."""
    found = [window.start(now)]
    while len(found) < LENGTH[window] and found[-1] > 0:
        found.append(window.start(found[-1] - 1))
    return found[::-1]


def _plot(
    which: tuple[str, str, Window], unit: str, accounts: Mapping[int, Account], limit: int | None, now: int
) -> Plot:
    scope, subject, window = which
    begun = starts(window, now)
    current = accounts.get(begun[-1], Account())
    extra = getattr(current.extra, unit)
    most = None if limit is None else limit + extra
    top = max([1, most or 0, *(sum(_of(accounts.get(start, Account()), unit)) for start in begun)])
    width = 100 / len(begun)
    columns = []
    for place, start in enumerate(begun):
        spent, held = _of(accounts.get(start, Account()), unit)
        title = f"{_name(window, start)}: {_amount(spent, unit)} used"
        title += f", {_amount(held, unit)} held" if held else ""
        columns.append(
            Column(
                round(place * width + width * 0.1, 3), round(width * 0.8, 3), round(92 * spent / top, 3),
                round(92 * held / top, 3), title,
            )
        )
    spent, held = _of(current, unit)
    scale = MICROS if unit == "usd" else 1
    return Plot(
        scope=scope, subject=subject, window=window, unit=unit, name=NAMES[unit], columns=tuple(columns),
        ceiling=None if most is None else round(92 * most / top, 3), first=_name(window, begun[0]),
        last=_name(window, begun[-1]), used=spent / scale, held=held / scale,
        left=None if most is None else max(0, most - spent - held) / scale,
        limit=None if most is None else most / scale,
        total=sum(_of(accounts.get(start, Account()), unit)[0] for start in begun) / scale,
    )


def _of(account: Account, unit: str) -> tuple[int, int]:
    return getattr(account.spent, unit), getattr(account.held, unit)


def _amount(number: int, unit: str) -> str:
    return f"${number / MICROS:,.2f}" if unit == "usd" else f"{number:,} {NAMES[unit]}"


def _name(window: Window, start: int) -> str:
    form = {Window.MINUTE: "%H:%M", Window.HOUR: "%d %b %H:00", Window.DAY: "%d %b", Window.MONTH: "%b %Y"}[window]
    return f"{datetime.fromtimestamp(start // MICROS, UTC):{form}}"
