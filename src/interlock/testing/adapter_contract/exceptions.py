"""What the runtimes that Interlock has adapters for honestly do otherwise than the contract says, and why.

Not an excuse: each is held to be exactly so by the tests, and stands in docs/runtimes.md. Law: nothing here lets an
effect happen that a promise forbids; what differs is what is counted, when, or in whose words.
"""

from __future__ import annotations

from collections.abc import Mapping

from interlock.testing.adapter_contract.play import Otherwise

RETRY = "a_question_to_the_model_that_is_tried_again_is_a_step_again"
CRASH = "a_process_that_dies_in_a_call_leaves_it_in_doubt_and_nothing_twice"
WRITTEN = "arguments_that_are_no_json_are_refused"
STRAY = "a_tool_that_does_not_exist_is_refused"
NOT_SHOWN = "a_tool_that_the_policy_denies_is_refused_by_its_own_name"


def no_retries() -> Otherwise:
    return Otherwise(
        "Nothing is tried again: what the model raises stops the run. (The client of a provider may try again by"
        " itself, below all that can be counted here.)",
        {
            "ended": ["failed"], "effects": [], "audit": ["step 0", "stopped model_error"],
            "used": {"steps": 1, "tool_calls": 0, "tokens": 0},
        },
    )


def begins_anew() -> Otherwise:
    return Otherwise(
        "Nothing is kept between two pauses: after a crash the run begins anew, under the same `run_id`. Its model"
        " turns are made and counted again; what its calls did is answered from the record.",
        {"used": {"steps": 6, "tool_calls": 2, "tokens": 900}},
    )


def told_otherwise(told: Mapping[str, str]) -> Otherwise:
    return Otherwise(
        "It is refused and counted as everywhere, but the model is told in the runtime's own words.",
        {"told": {"look-1": "seen 1", **told}},
    )


def only_objects() -> Otherwise:
    return Otherwise(
        "Arguments are objects before anybody here sees them: the provider, or its client, repairs what it can, and"
        " raises over the rest, which ends the run.",
        {"ended": ["failed"], "effects": [], "audit": ["step 0 lost", "stopped model_error"]},
    )


PLAIN: Mapping[str, Otherwise] = {RETRY: no_retries()}
OPENAI_AGENTS: Mapping[str, Otherwise] = {CRASH: begins_anew()}
AGENT_FRAMEWORK: Mapping[str, Otherwise] = {RETRY: no_retries(), CRASH: begins_anew()}
GOOGLE_ADK: Mapping[str, Otherwise] = {RETRY: no_retries(), CRASH: begins_anew(), WRITTEN: only_objects()}

NO_SUCH_TOOL = "<tool_use_error>Error: No such tool available: {}</tool_use_error>"
CLAUDE_AGENT: Mapping[str, Otherwise] = {
    STRAY: told_otherwise({"erase": NO_SUCH_TOOL.format("erase_all")}),
    NOT_SHOWN: told_otherwise({"note-a": NO_SUCH_TOOL.format("desk_note")}),
}

EXCEPTIONS: Mapping[str, Mapping[str, Otherwise]] = {
    "plain": PLAIN,
    "openai_agents": OPENAI_AGENTS,
    "pydantic_ai": {},
    "langchain": {},
    "agent_framework": AGENT_FRAMEWORK,
    "google_adk": GOOGLE_ADK,
    "anthropic": {},
    "claude_agent": CLAUDE_AGENT,
}
