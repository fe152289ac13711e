"""What the runtimes that Interlock has adapters for honestly do otherwise than the contract says, and why.

Not an excuse: each is held to be exactly so by the tests, and stands in docs/runtimes.md. Law: nothing here lets an
effect happen that a promise forbids; what differs is what is counted, when, or in whose words.
"""

from __future__ import annotations

from collections.abc import Mapping

from interlock.testing.adapter_contract.play import Otherwise

PLAIN: Mapping[str, Otherwise] = {
    "a_question_to_the_model_that_is_tried_again_is_a_step_again": Otherwise(
        "The loop tries nothing again: what the model raises stops the run.",
        {
            "ended": ["failed"], "effects": [], "audit": ["step 0", "stopped model_error"],
            "used": {"steps": 1, "tool_calls": 0, "tokens": 0},
        },
    ),
}

CRASH = "a_process_that_dies_in_a_call_leaves_it_in_doubt_and_nothing_twice"

OPENAI_AGENTS: Mapping[str, Otherwise] = {
    CRASH: Otherwise(
        "The SDK keeps nothing between two pauses: after a crash the run begins anew, under the same `run_id`. Its"
        " model turns are made and counted again; what its calls did is answered from the record.",
        {"used": {"steps": 6, "tool_calls": 2, "tokens": 900}},
    ),
}

STRAY = "a_tool_that_does_not_exist_is_refused"

PYDANTIC_AI: Mapping[str, Otherwise] = {
    STRAY: Otherwise(
        "It is refused and counted as everywhere, but the model is told in the runtime's own words.",
        {"told": {"look-1": "seen 1", "erase": "Unknown tool name: 'erase_all'"}},
    ),
}

EXCEPTIONS: Mapping[str, Mapping[str, Otherwise]] = {
    "plain": PLAIN,
    "openai_agents": OPENAI_AGENTS,
    "pydantic_ai": PYDANTIC_AI,
}
