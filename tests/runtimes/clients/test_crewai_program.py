"""The program that docs/runtimes.md shows for CrewAI: what it does, what it refuses by name, what can be made of it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from tests.runtimes.clients.conftest import Client
from tests.runtimes.clients.office import Office
from tests.runtimes.clients.script import Call
from tests.runtimes.clients.with_crewai import end, shown

FIRE = {"title": "fire"}
ELSEWHERE = "LLM(model='openai/gpt-5-mini', api_key='k')"
PROGRAM = """
def work(url, key, run_id):
    crew = desk(url, key, run_id, "go")
    {}
"""


def as_shown(then: str = "") -> Callable[[Any], None]:
    """The whole program of docs/runtimes.md. `then`: what somebody does with its crew instead."""

    def change(order: dict[str, Any]) -> None:
        order["texts"].append(shown("docs/runtimes.md"))
        if then:
            order["texts"].append(PROGRAM.format(then))

    return change


def test_the_program_of_the_docs_does_its_work(crewai: Client, office: Office) -> None:
    ran = crewai.run(office, Call("ticket.create", FIRE, "c1"), "fine", adjust=as_shown())
    assert (ran.said, ran.told) == ("fine", ["ticket about fire"])
    seen = office.report()
    assert (seen.status, seen.stop_reason, seen.steps.used) == ("completed", "completed", 2)


def test_what_waits_for_people_is_done_once_when_it_is_begun_anew_after_their_answer(
    crewai: Client, office: Office
) -> None:
    call = Call("ticket.close", {"number": 7}, "c1")
    for _ in range(2):
        assert crewai.run(office, call, "a person is asked", adjust=as_shown()).said == "waits for people"
    office.answer(yes=True)
    ran = crewai.run(office, call, "closed it", adjust=as_shown())
    assert (ran.said, ran.told, office.done) == ("closed it", ["closed 7"], [("close", 7)])
    assert office.report().stop_reason == "completed"


@pytest.mark.parametrize(
    ("then", "leak"),
    [
        ("crew.memory = True", "memory"),
        ("crew.planning = True", "planning"),
        ("crew.manager_llm = 'openai/x'", "manager_llm"),
        ("crew.agents[0].allow_delegation = True", "allow_delegation"),
        ("crew.agents[0].allow_code_execution = True", "allow_code_execution"),
        ("crew.agents[0].knowledge_sources = []", "knowledge_sources"),
        ("crew.agents[0].mcps = ['https://elsewhere.example/mcp']", "mcps"),
        ("crew.agents[0].apps = ['gmail']", "apps"),
        (f"crew.agents[0].llm = {ELSEWHERE}", "llm"),
        ("crew.agents[0].llm.base_url = url + '.elsewhere.example/openai/v1'", "llm"),
        (f"crew.tasks[0].agent = Agent(role='r', goal='g', backstory='b', llm={ELSEWHERE})", "llm"),
        ("crew.tasks[0].output_file = 'out.md'", "output_file"),
        ("crew.tasks[0].guardrail = 'be kind'", "guardrail"),
        ("crew.tasks[0].tools = [MCPNativeTool(connect, 'shell', {}, 'other')]", "tool other_shell"),
    ],
    ids=lambda value: value if " " not in value else "",
)
def test_what_would_go_around_the_gateway_is_refused_by_name(
    crewai: Client, office: Office, then: str, leak: str
) -> None:
    ran = crewai.run(office, adjust=as_shown(f"{then}; alone(crew, url)"))
    assert (ran.ends, str(ran.error)) == ("ValueError", f"around the gateway: {leak}")


def test_what_is_known_to_stay_behind_the_gateway_is_let_pass(crewai: Client, office: Office) -> None:
    then = "crew.tasks[0].context = []; alone(crew, url); return 'let pass'"
    assert crewai.run(office, adjust=as_shown(then)).said == "let pass"


@pytest.mark.parametrize(
    "then",
    [
        "crew.agents[0].llm.stream = True; return crew.kickoff().raw",
        "return asyncio.run(crew.kickoff_async()).raw",
        "return asyncio.run(crew.akickoff()).raw",
        "return crew.agents[0].kickoff('go').raw",
    ],
)
def test_streamed_awaited_or_without_a_crew_it_is_the_same(crewai: Client, office: Office, then: str) -> None:
    calls = [Call("ticket.create", {"title": title}, title) for title in ("one", "two")]
    ran = crewai.run(office, calls, "fine", adjust=as_shown(then))
    assert (ran.said, ran.told) == ("fine", ["ticket about one", "ticket about two"])
    seen = office.report()
    assert (seen.steps.used, seen.tool_calls.used, seen.tokens.used) == (2, 2, 2 * 110)


def test_two_agents_of_one_crew_are_one_run(crewai: Client, office: Office) -> None:
    then = (
        "other = desk(url, key, run_id, 'go on');"
        "both = Crew(agents=crew.agents + other.agents, tasks=crew.tasks + other.tasks);"
        "alone(both, url); return both.kickoff().raw"
    )
    calls = [Call("ticket.create", {"title": title}, title) for title in ("one", "two")]
    ran = crewai.run(office, calls[0], "over to you", calls[1], "fine", adjust=as_shown(then))
    assert (ran.said, ran.told) == ("fine", ["ticket about two"])
    assert (office.report().steps.used, office.report().tool_calls.used) == (4, 2)


def test_a_hook_of_its_own_that_raises_lets_the_tool_run(crewai: Client, office: Office) -> None:
    then = (
        "from crewai.hooks import register_before_tool_call_hook as add, unregister_before_tool_call_hook as remove;"
        "hook = lambda context: 1 / 0; add(hook); said = crew.kickoff().raw; remove(hook); return said"
    )
    crewai.run(office, Call("ticket.create", FIRE, "c1"), "fine", adjust=as_shown(then))
    assert office.done == [("create", "fire")]


def test_a_program_that_dies_in_a_call_is_begun_anew_and_nothing_is_done_twice(crewai: Client, office: Office) -> None:
    @office.gateway.tool("ticket.send", effect="write")
    def send(number: int) -> str:
        """Send a ticket to somebody."""
        office.done.append(("send", number))
        end()
        return "sent"

    call = Call("ticket.send", {"number": 7}, "c1")
    with pytest.raises(AssertionError, match="CrewAI is gone"):
        crewai.run(office, call, "fine", adjust=as_shown())
    ran = crewai.run(office, call, "fine", adjust=as_shown())
    assert (ran.said, office.done) == ("fine", [("send", 7)])
    assert ran.told == ["sent"] or ran.told[0].startswith("UNKNOWN")  # it may have been told to stop with its program
