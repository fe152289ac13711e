"""How sure a share is that was seen in a few tries."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from interlock.config import load
from interlock.core.bounds import tries_needed, wilson
from interlock.errors import ConfigError

tries = st.integers(1, 2_000).flatmap(lambda n: st.tuples(st.integers(0, n), st.just(n)))


@pytest.mark.parametrize(
    ("passed", "of", "low", "high"),
    [  # as published for Wilson's interval at 95 %: Newcombe, Statistics in Medicine 17 (1998) 857-872, table I
        (81, 263, 0.2553, 0.3662),
        (15, 148, 0.0624, 0.1605),
        (0, 20, 0.0, 0.1611),
        (1, 29, 0.0061, 0.1718),
    ],
)
def test_the_bounds_are_those_that_were_published(passed, of, low, high):
    share = wilson(passed, of)
    assert (share.low, share.high) == (pytest.approx(low, abs=6e-5), pytest.approx(high, abs=6e-5))


@given(tries)
def test_the_share_lies_between_its_bounds_and_they_between_0_and_1(seen):
    share = wilson(*seen)
    assert 0 <= share.low <= seen[0] / seen[1] + 1e-12
    assert seen[0] / seen[1] - 1e-12 <= share.high <= 1


@given(tries)
def test_more_tries_with_the_same_share_are_surer(seen):
    few, many = wilson(*seen), wilson(10 * seen[0], 10 * seen[1])
    assert many.high - many.low < few.high - few.low


@given(tries)
def test_to_count_what_failed_turns_the_bounds_around(seen):
    passed, of = seen
    one, other = wilson(passed, of), wilson(of - passed, of)
    assert one.low == pytest.approx(1 - other.high)


def test_without_a_try_nothing_is_known():
    assert (wilson(0, 0).low, wilson(0, 0).high) == (0, 1)


def test_a_few_tries_that_all_passed_are_no_certainty():
    assert wilson(5, 5).low == pytest.approx(0.5655, abs=1e-4)


@given(st.floats(0.01, 0.99), st.sampled_from([0.8, 0.9, 0.95, 0.99]))
def test_so_many_tries_are_needed_and_one_less_is_too_few(at_least, confidence):
    needed = tries_needed(at_least, confidence)
    assert wilson(needed, needed, confidence).low >= at_least - 1e-9
    if needed > 1:
        assert wilson(needed - 1, needed - 1, confidence).low < at_least + 1e-9


def test_a_level_that_no_bounds_can_be_given_for_is_refused_and_the_highest_that_is_taken_has_some():
    with pytest.raises(ConfigError, match=r"parity\.confidence: must be at most 0\.999999"):
        load({"parity": {"confidence": 1 - 1e-16}})
    assert 0 < wilson(3, 3, load({"parity": {"confidence": 0.999999}}).parity.confidence).low < 0.2


def test_a_share_is_told_with_its_bounds():
    assert str(wilson(9, 10)) == "9 of 10; at 95% confidence 60% to 98%"
