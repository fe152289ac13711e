"""Kill switches: whom a scope holds for, and how long a question was frozen."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from interlock.core.call import Effect
from interlock.core.decide import killed_by
from interlock.core.switch import Mode, Scope, Switch, frozen_time
from interlock.core.verdict import StopReason, Verdict

CALL = {"tenant": "acme", "agent": "bot", "run": "r1", "tool": "mail.send"}


def switch(at=0, released=None, mode=Mode.ALL, **scope) -> Switch:
    return Switch(f"sw{at}", Scope(**scope), mode, "ann", "x", at, released)


@pytest.mark.parametrize(
    ("scope", "holds"),
    [
        ({}, True),
        ({"tenant": "acme"}, True),
        ({"tenant": "acm"}, False),
        ({"tool": "mail.*"}, True),
        ({"tool": "mail"}, False),
        ({"tenant": "acme", "run": "r1"}, True),
        ({"tenant": "acme", "run": "r2"}, False),
        ({"tenant": "*"}, False),
        ({"agent": "bot", "tool": "mail.send"}, True),
        ({"agent": "other", "tool": "mail.send"}, False),
    ],
    ids=str,
)
def test_a_scope_holds_where_all_that_it_names_is_so(scope, holds):
    assert Scope(**scope).matches(**CALL) is holds


def test_a_model_turn_is_held_by_no_tools_switch():
    assert not Scope(tool="*").matches(**{**CALL, "tool": None})
    assert Scope(agent="bot").matches(**{**CALL, "tool": None})


@pytest.mark.parametrize("effect", Effect)
@pytest.mark.parametrize("mode", Mode)
@pytest.mark.parametrize("scope", [{}, {"tool": "mail.*"}])
def test_a_switch_stops_a_run_that_it_leaves_nothing_to_do_and_denies_otherwise(effect, mode, scope):
    reason = killed_by((switch(mode=mode, **scope),), **CALL, effect=effect)
    if mode is Mode.WRITES and effect is Effect.READ:
        assert reason is None
    elif mode is Mode.ALL and not scope:
        assert (reason.verdict, reason.stop) == (Verdict.STOP, StopReason.KILLED)
    else:
        assert (reason.verdict, reason.stop) == (Verdict.DENY, None)


def test_the_strongest_switch_answers_whatever_their_order():
    weak, strong = switch(mode=Mode.WRITES), switch(at=1, tenant="acme")
    for order in ((weak, strong), (strong, weak)):
        assert killed_by(order, **CALL, effect=Effect.WRITE).verdict is Verdict.STOP


SPANS = st.lists(st.tuples(st.integers(0, 60), st.none() | st.integers(0, 40)), max_size=6)


@given(SPANS, st.integers(0, 50), st.integers(0, 50))
def test_frozen_time_is_the_union_of_the_switches_within_the_waiting(spans, since, waited):
    now = since + waited
    switches = [switch(at, None if length is None else at + length) for at, length in spans]
    expected = sum(
        any(each.at <= tick < (now if each.released_at is None else each.released_at) for each in switches)
        for tick in range(since, now)
    )
    assert frozen_time(switches, since=since, now=now, **CALL) == expected


def test_other_peoples_switches_freeze_nothing():
    assert frozen_time([switch(0, 50, tenant="other")], since=0, now=60, **CALL) == 0
