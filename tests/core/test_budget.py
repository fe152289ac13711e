"""Accounts: what is held and spent never exceeds the limit, and leaves the account once."""

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from interlock.core.budget import NOTHING, UNITS, Account, Amounts, Limits, Window
from interlock.core.call import MICROS, Cost, Tool, price_of

AMOUNTS = st.builds(Amounts, *(st.integers(0, 50) for _ in UNITS))
LIMITS = st.builds(Limits, *(st.none() | st.integers(0, 100) for _ in UNITS))
MOMENTS = st.datetimes(datetime(1971, 1, 1), datetime(2100, 1, 1), timezones=st.just(UTC))  # noqa: DTZ001  wants them naive
LENGTHS = {"minute": timedelta(minutes=1), "hour": timedelta(hours=1), "day": timedelta(days=1)}


def micros(moment: datetime) -> int:
    return (moment - datetime(1970, 1, 1, tzinfo=UTC)) // timedelta(microseconds=1)


@given(LIMITS, st.lists(st.tuples(AMOUNTS, st.fractions(0, 1)), max_size=20))
def test_what_is_held_only_where_there_is_room_never_exceeds_the_limit(limits, wishes):
    account = Account()
    for amounts, share in wishes:
        if account.short_of(amounts, limits) is not None:
            continue
        account = account.hold(amounts)
        within(account, limits)
        spent = Amounts(*(int(getattr(amounts, unit) * share) for unit in UNITS))
        account = account.settle(amounts, spent)
        within(account, limits)
    assert account.held == NOTHING


def within(account, limits):
    for unit in UNITS:
        limit = getattr(limits, unit)
        assert limit is None or getattr(account.held, unit) + getattr(account.spent, unit) <= limit
        assert getattr(account.held, unit) >= 0


@given(LIMITS, AMOUNTS, AMOUNTS)
def test_what_is_left_is_what_may_be_held(limits, spent, wish):
    account = Account(spent=spent)
    left = account.left(limits)
    fits = all(
        getattr(left, unit) is None or getattr(wish, unit) <= getattr(left, unit)
        for unit in UNITS
        if getattr(wish, unit)
    )
    assert (account.short_of(wish, limits) is None) == fits


def test_the_unit_that_is_short_is_named():
    account = Account(spent=Amounts(tool_calls=3))
    assert account.short_of(Amounts(tool_calls=1), Limits(tool_calls=3)) == "tool_calls"
    assert account.short_of(Amounts(usd=1), Limits(tool_calls=3)) is None
    assert account.short_of(NOTHING, Limits(tool_calls=0)) is None
    assert account.top_up(Amounts(tool_calls=1)).short_of(Amounts(tool_calls=1), Limits(tool_calls=3)) is None


def test_an_amount_that_fits_exactly_fits():
    assert Account().short_of(Amounts(usd=5), Limits(usd=5)) is None
    assert Account().short_of(Amounts(usd=6), Limits(usd=5)) == "usd"


@pytest.mark.parametrize("window", LENGTHS)
@given(moment=MOMENTS)
def test_a_window_by_the_clock_holds_its_moment_and_ends_where_the_next_begins(window, moment):
    now, kind = micros(moment), Window(window)
    start, end = kind.start(now), kind.end(now)
    assert start <= now < end
    assert end - start == LENGTHS[window] // timedelta(microseconds=1)
    assert kind.start(end) == end
    assert kind.start(start) == kind.start(end - 1) == start


@given(moment=MOMENTS)
def test_a_month_is_the_calendars(moment):
    now = micros(moment)
    first = datetime(moment.year, moment.month, 1, tzinfo=UTC)
    following = (first + timedelta(days=32)).replace(day=1)
    assert (Window.MONTH.start(now), Window.MONTH.end(now)) == (micros(first), micros(following))


def test_a_run_has_one_window():
    assert Window.RUN.start(5 * MICROS) == 0


@pytest.mark.parametrize(
    ("price", "held"), [(0, 0), (1, 1_000_000), (0.1, 100_000), (1e-7, 1), (0.0000011, 2), (12.5, 12_500_000)]
)
def test_a_price_in_an_argument_is_rounded_up(price, held):
    assert price_of(Tool(name="t", cost=Cost(argument="price")), {"price": price}) == held


@pytest.mark.parametrize("price", [-1, float("nan"), float("inf"), "1", None, True])
def test_what_is_no_price_is_refused(price):
    with pytest.raises(ValueError, match="price"):
        price_of(Tool(name="t", cost=Cost(argument="price")), {"price": price})
