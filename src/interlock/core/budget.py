"""Accounts: what is held before an effect and spent after it.

Not limits, which are policy. Law: held + spent never exceeds the limit at the moment of a hold; what was held for a
call leaves the account exactly once. Amounts are integers: USD in micro-dollars.
"""

from __future__ import annotations

from datetime import UTC, datetime
from enum import StrEnum
from functools import lru_cache
from typing import NamedTuple

from msgspec import Struct

from interlock.core.call import MICROS

UNITS = ("steps", "tool_calls", "usd", "tokens")


class Window(StrEnum):
    """How long an account runs. Fixed, and in UTC: minute, hour and day by the clock, month by the calendar."""

    RUN = "run"  #: as long as the run
    MINUTE = "minute"
    HOUR = "hour"
    DAY = "day"
    MONTH = "month"

    def start(self, now: int) -> int:
        """When the window that holds `now` began; 0 for a run. Microseconds."""
        if self is Window.RUN:
            return 0
        if self is Window.MONTH:
            return _month_of(now // _LENGTHS[Window.DAY])
        return now - now % _LENGTHS[self]

    def end(self, now: int) -> int:
        """When the window that holds `now` ends. Microseconds."""
        start = self.start(now)
        return self.start(start + 32 * _LENGTHS[Window.DAY]) if self is Window.MONTH else start + _LENGTHS[self]


@lru_cache(64)
def _month_of(day: int) -> int:
    """When the month of a day (counted from 1970) began. Microseconds."""
    date = datetime.fromtimestamp(day * 86400, UTC)
    return int(datetime(date.year, date.month, 1, tzinfo=UTC).timestamp()) * MICROS


_LENGTHS = {Window.MINUTE: 60 * MICROS, Window.HOUR: 3600 * MICROS, Window.DAY: 86400 * MICROS}


class Amounts(Struct, frozen=True, gc=False, omit_defaults=True):
    """So much of each unit."""

    steps: int = 0
    tool_calls: int = 0
    usd: int = 0
    tokens: int = 0

    def plus(self, other: Amounts) -> Amounts:
        """The sum."""
        return Amounts(
            self.steps + other.steps, self.tool_calls + other.tool_calls,
            self.usd + other.usd, self.tokens + other.tokens,
        )

    def minus(self, other: Amounts) -> Amounts:
        """The difference."""
        return Amounts(
            self.steps - other.steps, self.tool_calls - other.tool_calls,
            self.usd - other.usd, self.tokens - other.tokens,
        )


NOTHING = Amounts()


class Limits(Struct, frozen=True, gc=False, omit_defaults=True):
    """The most of each unit; None where there is no limit."""

    steps: int | None = None
    tool_calls: int | None = None
    usd: int | None = None
    tokens: int | None = None

    def raised(self, by: Amounts) -> Limits:
        """These limits after a top-up. What has no limit keeps none."""
        limited = {unit: limit for unit in UNITS if (limit := getattr(self, unit)) is not None}
        return Limits(**{unit: limit + getattr(by, unit) for unit, limit in limited.items()})


class AccountKey(NamedTuple):
    """Which account: `subject` is the run id, the agent, the tool, or the tenant itself."""

    tenant: str
    scope: str  #: run, agent, tenant or tool
    subject: str
    window: Window
    start: int
    kind: str = "account"


class Account(Struct, frozen=True, gc=False, omit_defaults=True):
    """What is held and spent in one window, and by how much a person has raised its limits."""

    held: Amounts = NOTHING
    spent: Amounts = NOTHING
    extra: Amounts = NOTHING

    def left(self, limits: Limits) -> Limits:
        """What may still be held, by unit."""
        used = self.held.plus(self.spent).minus(self.extra)
        return limits.raised(NOTHING.minus(used))

    def short_of(self, amounts: Amounts, limits: Limits) -> str | None:
        """The first unit of which too little is left for a hold, or None."""
        for unit in UNITS:
            wanted = getattr(amounts, unit)
            if wanted and (limit := getattr(limits, unit)) is not None:
                used = getattr(self.held, unit) + getattr(self.spent, unit)
                if used + wanted > limit + getattr(self.extra, unit):
                    return unit
        return None

    def hold(self, amounts: Amounts) -> Account:
        """Set aside before the effect."""
        return Account(self.held.plus(amounts), self.spent, self.extra)

    def settle(self, held: Amounts, spent: Amounts) -> Account:
        """Let go of what was held, and book what it came to."""
        return Account(self.held.minus(held), self.spent.plus(spent), self.extra)

    def top_up(self, more: Amounts) -> Account:
        """Raise the limits of this window."""
        return Account(self.held, self.spent, self.extra.plus(more))


class Hold(Struct, frozen=True, gc=False):
    """What a call or a step has set aside, on all its accounts alike."""

    amounts: Amounts
    accounts: tuple[AccountKey, ...]


class Line(Struct, frozen=True, gc=False):
    """One account as a fact: where it is, what its limits are, how it stands."""

    key: AccountKey
    limits: Limits
    account: Account
