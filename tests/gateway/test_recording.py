"""What the model said is kept with its step: redacted, cut to size, and not at all where the config says no."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

import interlock
from interlock import ConfigError, Turn, Usage
from interlock.core.turn import Call
from interlock.redaction import Redactor
from interlock.turns import KEPT, MOST_CALLS, kept

USAGE = Usage(input_tokens=100, output_tokens=7, cached_input_tokens=40, reasoning_tokens=2)
CALLS = (Call("look", {"at": 1, "why": "é"}, "c1"), Call("note", {}, "c2", raw='{"broken'))
TURN = Turn("I look.", CALLS, USAGE, "m-1", "resp_1")


def steps(gateway, run):
    return gateway.store.steps_of(run.tenant, run.run_id)


def test_a_turn_is_kept_whole_and_read_back_as_it_was(gw, start):
    run = start(gw)
    run.end_step(run.begin_step("m", max_output_tokens=50, input_tokens=200), usage=USAGE, turn=TURN)
    (step,) = steps(gw, run)
    assert (step.asking.turn, step.usage) == (Turn(TURN.text, TURN.calls, model="m-1", response_id="resp_1"), USAGE)
    assert (step.model, step.max_output_tokens, step.announced_input_tokens) == ("m", 50, 200)


def test_the_usage_of_a_turn_counts_where_none_is_said(gw, start):
    run = start(gw, budgets={"max_tokens": 10_000})
    run.end_step(run.begin_step("m", max_output_tokens=50, input_tokens=200), turn=TURN)
    assert run.report().tokens.used == 107
    assert run.stop_reason is None


def test_what_is_said_of_the_usage_goes_before_that_of_the_turn(gw, start):
    run = start(gw)
    run.end_step(run.begin_step("m"), Usage(input_tokens=1, output_tokens=1), turn=TURN)
    assert run.report().tokens.used == 2


def test_a_step_may_be_ended_as_before_and_then_nothing_is_kept(gw, start):
    run = start(gw)
    run.end_step(run.begin_step("m"), USAGE)
    run.end_step(run.begin_step("m"), usage=USAGE)
    assert [step.asking for step in steps(gw, run)] == [None, None]


def test_ending_a_step_again_changes_nothing_that_was_kept(gw, start):
    run = start(gw)
    step = run.begin_step("m")
    run.end_step(step, turn=TURN)
    run.end_step(step, turn=Turn("something else"))
    assert steps(gw, run)[0].asking.text == "I look."


def test_what_was_lent_is_taken_out(gw, start):
    gw.redactor.remember("canary-5f2c81d0")
    run = start(gw)
    secret = Turn("it is canary-5f2c81d0", (Call("look", {"canary-5f2c81d0": ["canary-5f2c81d0"]}, "canary-5f2c81d0"),))
    run.end_step(run.begin_step("m"), turn=secret)
    said = steps(gw, run)[0].asking
    assert "canary" not in str(said)
    assert said.turn.calls[0].args == {"[redacted]": ["[redacted]"]}


def test_a_digit_that_was_lent_leaves_arguments_that_can_be_read(gw, start):
    gw.redactor.remember("4711471147")
    run = start(gw)
    run.end_step(run.begin_step("m"), turn=Turn(calls=(Call("look", {"pin": 4711471147}, "c1"),)))
    assert steps(gw, run)[0].asking.turn.calls[0].args == {"pin": "[redacted]"}


# --- the off switch --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("config", "kept_of"),
    [
        ({}, {"acme": True, "globex": True}),
        ({"recording": {"turns": False}}, {"acme": False, "globex": False}),
        ({"tenants": {"acme": {"recording": {"turns": False}}}}, {"acme": False, "globex": True}),
        (
            {"recording": {"turns": False}, "tenants": {"acme": {"recording": {"turns": True}}}},
            {"acme": False, "globex": False},
        ),
    ],
)
def test_the_config_says_whose_turns_are_kept_and_the_stricter_counts(house, start, config, kept_of):
    gw = house.open(config)
    for tenant, keeps in kept_of.items():
        run = start(gw, tenant=tenant)
        run.end_step(run.begin_step("m"), turn=TURN)
        (step,) = steps(gw, run)
        assert ((step.asking is not None), step.usage) == (keeps, USAGE)  # what it used is booked all the same


@pytest.mark.parametrize(
    ("recording", "words"),
    [
        ({"turn": True}, "did you mean 'turns'"),
        ({"keep": "5m"}, "must be at least 1h: a call that comes again is answered with what its tool returned"),
        ({"keep": 0}, "longer than nothing"),
        ({"turns": "no"}, "recording.turns"),
    ],
)
def test_a_config_that_cannot_be_is_refused(recording, words):
    with pytest.raises(ConfigError, match=words):
        interlock.open({"ledger": "memory:", "recording": recording})


def test_of_two_times_the_shorter_counts(one_house):
    tenants = {"a": {"recording": {"keep": "30d"}}, "b": {"recording": {"keep": "1d"}}}
    config = one_house.open({"recording": {"keep": "7d"}, "tenants": tenants}).config
    day = 86_400_000_000
    assert [config.recording_of(tenant).keep // day for tenant in ("a", "b", "c")] == [7, 1, 7]


# --- whatever a runtime hands in -------------------------------------------------------------------------------------


def test_what_is_too_long_is_cut_and_that_is_said():
    redactor = Redactor()
    long = kept(Turn("x" * (KEPT + 5)), redactor)
    assert (len(long.text), long.cut) == (KEPT, True)
    many = kept(Turn(calls=tuple(Call("look", {"n": n}) for n in range(MOST_CALLS + 1))), redactor)
    assert (len(many.calls), many.cut) == (MOST_CALLS, True)
    assert not kept(Turn("x" * KEPT), redactor).cut


ODD = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(st.characters()) | st.binary(max_size=4),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=3),
    max_leaves=8,
)


@given(text=st.none() | st.text(st.characters()), args=st.dictionaries(st.text(max_size=3), ODD, max_size=3))
def test_nothing_that_a_runtime_hands_in_raises_or_is_lost_as_text(text, args):
    said = kept(Turn(text, (Call("look", args, "c1"),)), Redactor())
    assert said.turn.calls[0].name == "look"
    assert list(said.turn.calls[0].args) or not args
    said.text.encode()


@pytest.mark.parametrize("odd", [math.nan, "\ud800", object(), b"\xff", {1: 2}, 10**5_000], ids="abcdef")
def test_a_step_is_booked_whatever_its_turn_holds(gw, start, odd):
    run = start(gw)
    run.end_step(run.begin_step("m"), USAGE, turn=Turn("\ud800", (Call("look", {"x": odd}, "c1"),)))
    assert run.report().tokens.used == 107
    assert len(steps(gw, run)) == 1
