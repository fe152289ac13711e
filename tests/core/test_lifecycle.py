"""The lifecycle of a call: every pair of state and event is in the table, or raises."""

import itertools

import pytest

from interlock.core.lifecycle import MOVES, Event, IllegalMove, State, move

FINAL = {State.DONE, State.FAILED, State.REJECTED, State.REPEATED}


def test_every_state_has_a_line_in_the_table():
    assert set(MOVES) == set(State)


@pytest.mark.parametrize(("state", "event"), list(itertools.product(State, Event)))
def test_a_pair_is_in_the_table_or_raises(state, event):
    if event in MOVES[state]:
        assert move(state, event) is MOVES[state][event]
        return
    with pytest.raises(IllegalMove, match=state):
        move(state, event)


def test_what_is_over_stays_over():
    assert {state for state in State if not MOVES[state]} == FINAL


def test_every_state_can_be_reached_and_every_event_moves_something():
    reached, new = set(), {State.NEW}
    while new:
        reached |= new
        new = {after for state in new for after in MOVES[state].values()} - reached
    assert reached == set(State)
    assert {event for moves in MOVES.values() for event in moves} == set(Event)


def test_only_an_admitted_call_is_performed_and_only_a_performed_one_has_an_outcome():
    to_leased = {
        (state, event) for state, moves in MOVES.items() for event, after in moves.items() if after is State.LEASED
    }
    assert {event for _, event in to_leased} == {Event.ALLOW}
    outcomes = {State.DONE, State.FAILED, State.UNKNOWN}
    before = {state for state, moves in MOVES.items() for after in moves.values() if after in outcomes}
    assert before == {State.LEASED, State.LAPSED, State.UNKNOWN}


def test_what_may_have_happened_is_never_denied():
    for event, after in MOVES[State.UNKNOWN].items():
        assert after in (State.UNKNOWN, State.LEASED, State.DONE, State.FAILED), event


def test_what_a_person_refused_is_never_performed():
    assert MOVES[State.REJECTED] == {}
