"""Promises about what happens around a run: the runtime's own retries, failures, crashes, other runs; and the record.

Law: see `adapter_contract`.
"""

# ruff: noqa: S101  assertions are what this module is made of

from __future__ import annotations

import asyncio
from dataclasses import replace

from interlock.core.turn import Call
from interlock.testing.adapter_contract.lines import look, note
from interlock.testing.adapter_contract.play import MODEL, USAGE, Fault, Play


def a_question_to_the_model_that_is_tried_again_is_a_step_again(play: Play) -> None:
    """The runtime's own retries of its model are counted, and what the provider refused costs nothing."""
    play.lines, play.retries = (Fault(1), [look(1)], "done"), 2
    play.config = {"budgets": {"max_usd": 0.01}}
    play.drive()
    play.expect(
        ended=["completed"], effects=["look 1"],
        audit="""
            step 0
            step 150
              desk.look {"at": 1}: allow done
            step 150
            stopped completed
        """,
        used={"steps": 3, "tool_calls": 1, "tokens": 300}, held={"steps": 0, "usd": 0},
    )


def a_model_that_fails_for_good_ends_the_run(play: Play) -> None:
    """What the runtime gives up over is the run's stop reason."""
    play.lines = ([note("a")], Fault(99), "done")
    play.drive()
    play.expect(
        ended=["failed"], stop="model_error", output=None, effects=["note a"],
        audit="""
            step 150
              desk.note {"text": "a"}: allow done
            step 0
            stopped model_error
        """,
    )


def two_runs_side_by_side_are_kept_apart(play: Play) -> None:
    """A run is bound to its agent, not to a thread, a task or a module."""
    other = replace(play, run_id="r2", lines=([note("b"), look(2)], "two"))
    other._gateway, play.lines = play.gateway, ([note("a"), look(1)], "one")

    async def both() -> None:
        mine, theirs = await asyncio.gather(play.driven(), other.driven())
        assert (mine.output, theirs.output) == ("one", "two")
        play.results.append(mine)

    asyncio.run(both())
    assert other.audit[1:3] == ['  desk.look {"at": 2}: allow done', '  desk.note {"text": "b"}: allow done']
    play.expect(
        audit="""
            step 150
              desk.look {"at": 1}: allow done
              desk.note {"text": "a"}: allow done
            step 150
            stopped completed
        """,
    )


def a_process_that_dies_in_a_call_leaves_it_in_doubt_and_nothing_twice(play: Play) -> None:
    """Taken up after a crash, from what was saved or from the start: what was done stays done, what was cut short is
    unknown and is not tried again."""
    play.lines = ([note("a")], [Call("desk.die", {"text": "x"}, "die")], [look(1)], "done")
    play.config = {"budgets": {"max_seconds": 9000}}
    assert play.drive_elsewhere() is None
    play.clock.advance(3600)
    play.drive(play.kept)
    play.expect(
        ended=["completed"], output="done", effects=["die x", "look 1", "note a"],
        used={"steps": 4, "tool_calls": 2, "tokens": 600},
    )


def what_the_model_said_is_recorded(play: Play) -> None:
    """Every turn is in the ledger, with the tools' own names, fit to be said again in another runtime."""
    play.lines = ([look(1), note("a")], "done")
    play.drive()
    said = [step.asking.turn for step in play.gateway.store.steps_of("acme", play.run_id) if step.asking is not None]
    assert [(turn.text or None, turn.calls) for turn in said] == [(None, (look(1), note("a"))), ("done", ())]
    assert {(turn.model) for turn in said} == {MODEL}
    play.expect(used={"steps": 2, "tool_calls": 2, "tokens": 2 * USAGE.tokens})
