"""Promises about calls: each gets its own verdict, and the model hears of it in the gateway's words.

Law: see `adapter_contract`.
"""

# ruff: noqa: S101  assertions are what this module is made of

from __future__ import annotations

from interlock.core.turn import Call
from interlock.testing.adapter_contract.lines import MIXED, break_, look, note
from interlock.testing.adapter_contract.play import Play


def every_call_of_a_batch_gets_a_verdict_of_its_own(play: Play) -> None:
    """Parallel calls are allowed, denied, refused for their arguments or asked, each for itself."""
    play.lines = MIXED
    paused = play.drive()
    assert (paused.status, paused.stop_reason) == ("paused", None)
    play.answer(yes=True)
    play.drive(paused.saved)
    play.expect(
        ended=["paused", "completed"], stop="completed", output="done",
        effects=["look 1", "look 2", "note a", "pay 2.5"],
        audit="""
            step 150
              desk.look {"at": 1}: allow done
              desk.look {}: deny
              desk.note {"text": "a"}: allow done
              desk.note {"text": "secret"}: deny
              desk.pay {"amount": 2.5}: ask approved allow done
            step 150
              desk.look {"at": 2}: allow done
            step 150
            stopped completed
        """,
        used={"steps": 3, "tool_calls": 4, "tokens": 450}, held={"steps": 0, "usd": 0},
    )


def the_model_is_told_what_every_call_came_to(play: Play) -> None:
    """The model sees the gateway's own words for each call."""
    play.lines = ([look(1), note("secret"), look("one"), note("a"), break_("hard"), break_("softly")], "done")
    play.drive()
    play.expect(
        output="done",
        told={
            "look-1": "seen 1",
            "look-one": """NOT DONE: desk.look was refused: desk.look: 'at' must be an integer, not "one\"""",
            "note-a": '{"noted":"a"}',
            "note-secret": "NOT DONE: desk.note was refused: no-secrets denies it",
            "break-hard": "UNKNOWN: it is not known whether desk.break did it: OSError: the line went dead",
            "break-softly": "FAILED: desk.break did not do it: the line was busy",
        },
    )


def arguments_that_are_no_json_are_refused(play: Play) -> None:
    """What a model writes instead of arguments reaches the gateway, and no tool."""
    play.lines = ([Call("desk.look", {}, "bad", "at = 1"), note("b")], "done")
    play.drive()
    play.expect(
        ended=["completed"], effects=["note b"],
        audit="""
            step 150
              desk.look {}: deny
              desk.note {"text": "b"}: allow done
            step 150
            stopped completed
        """,
    )


def a_tool_that_does_not_exist_is_refused(play: Play) -> None:
    """A call of a tool that nobody has is denied, counted, and told to the model."""
    play.lines = ([Call("erase_all", {"now": True}, "erase"), look(1)], "done")
    play.drive()
    play.expect(
        ended=["completed"], effects=["look 1"],
        audit="""
            step 150
              desk.look {"at": 1}: allow done
              erase_all {}: deny
            step 150
            stopped completed
        """,
        told={"look-1": "seen 1", "erase": "NOT DONE: erase_all was refused: there is no tool 'erase_all'"},
    )


def a_tool_that_the_policy_denies_is_refused_by_its_own_name(play: Play) -> None:
    """A call of a tool that the model was not even shown is denied and written down as what it is, arguments and all.
    """
    play.config = {"policy": {"allow": ["desk.look"]}}
    play.lines = ([note("a"), look(1)], "done")
    play.drive()
    play.expect(
        ended=["completed"], effects=["look 1"],
        audit="""
            step 150
              desk.look {"at": 1}: allow done
              desk.note {"text": "a"}: deny
            step 150
            stopped completed
        """,
        told={"look-1": "seen 1", "note-a": "NOT DONE: desk.note was refused: nothing in the policy allows desk.note"},
    )


def a_tool_that_raises_does_not_end_the_run(play: Play) -> None:
    """A tool's exception is an outcome, and no retry of the runtime's makes its effect happen again."""
    play.lines, play.retries = ([break_("hard"), break_("softly"), look(1)], "done"), 2
    play.drive()
    play.expect(
        ended=["completed"], effects=["break hard", "break softly", "look 1"],
        audit="""
            step 150
              desk.break {"how": "hard"}: allow unknown
              desk.break {"how": "softly"}: allow failed
              desk.look {"at": 1}: allow done
            step 150
            stopped completed
        """,
    )
