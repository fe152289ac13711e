"""The promises of an adapter, as functions that anybody's adapter can be held to.

Not a test framework: each function takes a fresh `Play` and fails by an AssertionError. Law: what a promise expects is
the same for every runtime; what one honestly does otherwise stands in `driver.exceptions`, by the promise's name, with
the reason, and is held to be exactly so.

    @pytest.mark.parametrize("promise", ADAPTER_CONTRACT, ids=lambda promise: promise.__name__)
    @pytest.mark.parametrize("stream", [False, True])
    def test_my_adapter(promise, stream, tmp_path):
        keep(promise, Play(MyDriver(), tmp_path, stream))

docs/runtimes.md shows one whole: an adapter, its driver and this test.
"""

from __future__ import annotations

from collections.abc import Callable

from interlock.testing.adapter_contract import approvals, decisions, mechanics, stops
from interlock.testing.adapter_contract.play import Driver, Otherwise, Play

__all__ = ["ADAPTER_CONTRACT", "Driver", "Otherwise", "Play", "Promise", "keep"]

Promise = Callable[[Play], None]

ADAPTER_CONTRACT: tuple[Promise, ...] = (
    decisions.every_call_of_a_batch_gets_a_verdict_of_its_own,
    decisions.the_model_is_told_what_every_call_came_to,
    decisions.arguments_that_are_no_json_are_refused,
    decisions.a_tool_that_does_not_exist_is_refused,
    decisions.a_tool_that_the_policy_denies_is_refused_by_its_own_name,
    decisions.a_tool_that_raises_does_not_end_the_run,
    approvals.a_call_that_a_person_refuses_is_told_so,
    approvals.a_question_that_nobody_answers_is_a_no,
    approvals.a_refusal_may_end_the_run,
    approvals.what_the_runtime_is_told_opens_nothing,
    approvals.two_questions_may_be_answered_one_by_one,
    approvals.a_run_that_waits_is_taken_up_in_another_process,
    approvals.what_was_saved_may_be_taken_up_twice,
    approvals.what_was_not_saved_of_this_run_is_refused,
    stops.steps_are_limited,
    stops.tool_calls_are_limited,
    stops.forty_calls_at_once_against_a_budget_of_twelve_perform_twelve,
    stops.dollars_are_limited,
    stops.tokens_are_limited,
    stops.seconds_are_limited,
    stops.refusals_are_limited,
    stops.repetitions_are_limited,
    stops.no_limit_of_the_runtimes_own_counts,
    stops.a_turn_without_usage_is_a_stop_where_dollars_count,
    stops.a_kill_switch_ends_a_call_that_is_running,
    mechanics.a_question_to_the_model_that_is_tried_again_is_a_step_again,
    mechanics.a_model_that_fails_for_good_ends_the_run,
    mechanics.two_runs_side_by_side_are_kept_apart,
    mechanics.a_process_that_dies_in_a_call_leaves_it_in_doubt_and_nothing_twice,
    mechanics.what_the_model_said_is_recorded,
)


def keep(promise: Promise, play: Play) -> None:
    """Hold an adapter to one promise. Raises AssertionError."""
    play.promise = promise.__name__
    try:
        promise(play)
    finally:
        play.close()
