"""Promises about approvals: who pauses, who may go on, and that nothing happens twice.

Law: see `adapter_contract`.
"""

# ruff: noqa: S101  assertions are what this module is made of

from __future__ import annotations

from interlock.errors import ConfigError
from interlock.testing.adapter_contract.lines import MIXED, look, pay
from interlock.testing.adapter_contract.play import Line, Play

ASKED: tuple[Line, ...] = ([pay(2.5), look(1)], "done")


def a_call_that_a_person_refuses_is_told_so(play: Play) -> None:
    """A rejected call does not happen; the model is told, and the run goes on."""
    play.lines = ASKED
    paused = play.drive()
    play.answer(yes=False)
    play.drive(paused.saved)
    play.expect(
        ended=["paused", "completed"], output="done", effects=["look 1"],
        audit="""
            step 150
              desk.look {"at": 1}: allow done
              desk.pay {"amount": 2.5}: ask rejected
            step 150
            stopped completed
        """,
        told={"look-1": "seen 1", "pay-2.5": "NOT DONE: a person refused desk.pay: rejected by joe: so"},
    )


def a_question_that_nobody_answers_is_a_no(play: Play) -> None:
    """An expired approval is a refusal."""
    play.lines = ASKED
    paused = play.drive()
    play.clock.advance(601)
    play.drive(paused.saved)
    play.expect(
        ended=["paused", "completed"], output="done", effects=["look 1"],
        audit="""
            step 150
              desk.look {"at": 1}: allow done
              desk.pay {"amount": 2.5}: ask expired
            step 150
            stopped completed
        """,
    )


def a_refusal_may_end_the_run(play: Play) -> None:
    """Where the config says so, a rejected call stops the run, and the runtime with it."""
    play.lines = ASKED
    play.config = {"approvals": {"required_for": ["desk.pay"], "on_reject": "stop"}}
    paused = play.drive()
    play.answer(yes=False)
    play.drive(paused.saved)
    play.expect(ended=["paused", "stopped"], stop="approval_rejected", output=None, effects=["look 1"])


def what_the_runtime_is_told_opens_nothing(play: Play) -> None:
    """Resumed before the answer, the run waits on: approving in the runtime means only to ask the gateway again."""
    play.lines = ASKED
    paused = play.drive()
    again = play.drive(paused.saved)
    play.answer(yes=True)
    play.drive(again.saved)
    play.expect(
        ended=["paused", "paused", "completed"], output="done", effects=["look 1", "pay 2.5"],
        audit="""
            step 150
              desk.look {"at": 1}: allow done
              desk.pay {"amount": 2.5}: ask approved allow done
            step 150
            stopped completed
        """,
    )


def two_questions_may_be_answered_one_by_one(play: Play) -> None:
    """What is approved happens, what is not waits on."""
    play.lines = ([pay(2.5), pay(7.5)], "done")
    paused = play.drive()
    asked = {approval.call_id: approval.approval_id for approval in play.gateway.control.approvals("acme")}
    play.gateway.control.approve(asked["pay-7.5"], by="joe")
    again = play.drive(paused.saved)
    play.answer(yes=True)
    play.drive(again.saved)
    play.expect(
        ended=["paused", "paused", "completed"], output="done", effects=["pay 2.5", "pay 7.5"],
        audit="""
            step 150
              desk.pay {"amount": 2.5}: ask approved allow done
              desk.pay {"amount": 7.5}: ask approved allow done
            step 150
            stopped completed
        """,
    )


def a_run_that_waits_is_taken_up_in_another_process(play: Play) -> None:
    """What was saved, as text, is all that another process needs beside the ledger."""
    play.lines = MIXED
    paused = play.drive()
    play.answer(yes=True)
    play.drive_elsewhere(paused.saved)
    play.expect(ended=["paused", "completed"], output="done", effects=["look 1", "look 2", "note a", "pay 2.5"])


def what_was_saved_may_be_taken_up_twice(play: Play) -> None:
    """The same saved state, resumed twice, does nothing twice."""
    play.lines = MIXED
    paused = play.drive()
    play.answer(yes=True)
    play.drive(paused.saved)
    play.drive(paused.saved)
    play.expect(
        ended=["paused", "completed", "completed"], effects=["look 1", "look 2", "note a", "pay 2.5"],
        used={"steps": 3, "tool_calls": 4, "tokens": 450},
    )


def what_was_not_saved_of_this_run_is_refused(play: Play) -> None:
    """Anything else than what was saved of this run is somebody's mistake, and nothing is done with it."""
    play.lines = ASKED
    paused = play.drive()
    for saved in ("", "{}", "[1]", "[" * 100_000, '{"state": 1}', (paused.saved or "").replace('"r1"', '"r2"')):
        said = ""
        try:
            play.drive(saved)
        except ConfigError as error:
            said = str(error)
        assert said.startswith("saved="), f"{saved!r:.80} was taken: {said}"
    play.expect(stop=None, effects=["look 1"], used={"steps": 1, "tool_calls": 1, "tokens": 150})
