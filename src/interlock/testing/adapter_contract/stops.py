"""Promises about budgets, kill switches and every other end that is not the agent's own.

Law: see `adapter_contract`.
"""

# ruff: noqa: S101  assertions are what this module is made of

from __future__ import annotations

from interlock.core.turn import Call, Turn
from interlock.testing.adapter_contract.lines import look, note
from interlock.testing.adapter_contract.normal import counted
from interlock.testing.adapter_contract.play import MODEL, Late, Line, Play

LOOKS: tuple[Line, ...] = tuple([look(at)] for at in range(6))


def _stops(play: Play, reason: str, done: int, **used: object) -> None:
    result = play.drive()
    assert result.saved is None
    play.expect(ended=["stopped"], stop=reason, output=None, done=done, held={"steps": 0, "usd": 0}, **used)


def steps_are_limited(play: Play) -> None:
    """`max_steps`: no model turn more."""
    play.lines, play.config = LOOKS, {"budgets": {"max_steps": 2}}
    _stops(play, "max_steps", 2, used={"steps": 2, "tool_calls": 2, "tokens": 300})


def tool_calls_are_limited(play: Play) -> None:
    """`max_tool_calls`: no effect more."""
    play.lines, play.config = LOOKS, {"budgets": {"max_tool_calls": 2}}
    _stops(play, "max_tool_calls", 2, used={"steps": 3, "tool_calls": 2, "tokens": 450})


def forty_calls_at_once_against_a_budget_of_twelve_perform_twelve(play: Play) -> None:
    """A limit is hard however many calls a batch has."""
    play.lines, play.config = ([look(at) for at in range(40)], "done"), {"budgets": {"max_tool_calls": 12}}
    _stops(play, "max_tool_calls", 12)
    assert counted(play.audit) == {"desk.look: allow done": 12}


def dollars_are_limited(play: Play) -> None:
    """`max_usd`: no turn more that may cost more than is left."""
    play.lines, play.config = LOOKS, {"budgets": {"max_usd": 0.00035}}
    _stops(play, "max_usd", 2, used={"steps": 2, "tool_calls": 2, "tokens": 300})


def tokens_are_limited(play: Play) -> None:
    """`max_tokens`: likewise."""
    play.lines, play.config = LOOKS, {"budgets": {"max_tokens": 290}}
    _stops(play, "max_tokens", 2)


def seconds_are_limited(play: Play) -> None:
    """`max_seconds`: after the deadline nothing begins."""
    play.lines = ([look(0)], Late([look(1)], 400), "done")
    _stops(play, "max_seconds", 1, used={"steps": 2, "tool_calls": 1, "tokens": 300})


def refusals_are_limited(play: Play) -> None:
    """`max_denials`: a model that keeps on asking for what it may not have is stopped."""
    play.lines = tuple([note("secret", f"n{at}")] for at in range(9))
    play.config = {"budgets": {"max_denials": 3}}
    _stops(play, "max_denials", 0, used={"steps": 3, "tool_calls": 0, "tokens": 450})


def repetitions_are_limited(play: Play) -> None:
    """`max_repeats`: a model that goes round in circles is stopped."""
    play.lines = tuple([look(1, f"c{at}")] for at in range(9))
    play.config = {"budgets": {"max_repeats": 3}}
    _stops(play, "loop_detected", 3)


def no_limit_of_the_runtimes_own_counts(play: Play) -> None:
    """A run is as long as its budgets let it be, with calls of tools that do not exist in it."""
    turns = [[call] for at in range(30) for call in (look(at), Call("erase_all", {"at": at}, f"erase-{at}"))]
    play.lines = (*turns, "done")
    play.config = {"budgets": {"max_steps": 100, "max_tool_calls": 100, "max_denials": 100}}
    play.drive()
    play.expect(ended=["completed"], output="done", done=30, used={"steps": 61, "tool_calls": 30, "tokens": 61 * 150})


def a_turn_without_usage_is_a_stop_where_dollars_count(play: Play) -> None:
    """`unpriced`: what cannot be priced is not gone on with."""
    play.lines = (Turn(calls=(look(1),), model=MODEL), "done")
    play.config = {"budgets": {"max_usd": 1.0}}
    _stops(play, "unpriced", 0)


def a_kill_switch_ends_a_call_that_is_running(play: Play) -> None:
    """A kill in the middle of a call: its outcome is unknown, and no turn follows."""
    play.lines = ([Call("desk.kill", {"text": "x"}, "kill")], [look(1)], "done")
    play.drive()
    play.expect(
        ended=["stopped"], stop="killed", output=None, effects=["kill x"],
        audit="""
            step 150
              desk.kill {"text": "x"}: allow unknown
            stopped killed
        """,
    )
