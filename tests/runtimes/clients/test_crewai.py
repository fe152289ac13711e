"""CrewAI with both of its planes behind the gateway: what counts, what ends it, and what its own habits come to."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any

import pytest

from tests.runtimes.clients.conftest import Client, OpenOffice
from tests.runtimes.clients.office import SECRETS, Office
from tests.runtimes.clients.script import Call, Turn
from tests.runtimes.clients.test_contract import after

FIRE = {"title": "fire"}


def of_agent(**said: Any) -> Callable[[Any], None]:
    """An agent that is told otherwise than the docs advise."""
    return lambda order: order["adjust"].update(said)


def looks(count: int) -> list[Call]:
    return [Call("ticket.read", {"number": number}, f"c{number}") for number in range(count)]


# --- one ledger counts -----------------------------------------------------------------------------------------------


def test_its_turns_are_steps_of_the_run_that_its_calls_belong_to(crewai: Client, office: Office) -> None:
    assert crewai.run(office, Call("ticket.create", FIRE, "c1"), "fine").said == "fine"
    seen = office.report()
    assert (seen.steps.used, seen.tool_calls.used, seen.tokens.used) == (2, 1, 2 * 110)


def test_the_provider_is_shown_the_gateways_key_and_never_the_agents(crewai: Client, office: Office) -> None:
    crewai.run(office, "fine")
    assert office.provider.headers
    for headers in office.provider.headers:
        assert headers["authorization"] == f"Bearer {SECRETS['MODEL_KEY']}"
        assert office.key not in str(headers)


def test_a_run_that_is_not_its_own_asks_no_model(crewai: Client, office: Office) -> None:
    ran = crewai.run(office, "never said", run_id="nobodys")
    assert ran.ends == "PermissionDeniedError"
    assert "there is no run 'nobodys'" in str(ran.error)
    assert office.provider.headers == []


@pytest.mark.parametrize("limit", [0, 2])
def test_a_run_whose_steps_are_used_up_ends_and_its_model_is_not_asked_again(
    crewai: Client, open_office: OpenOffice, limit: int
) -> None:
    office = open_office(budgets={"max_steps": 2})
    calls = [Call("ticket.create", {"title": title}, title) for title in ("one", "two", "three")]
    ran = crewai.run(office, *calls, "so be it", adjust=of_agent(max_retry_limit=limit))
    assert ran.ends == "APIStatusError"
    assert "the run has stopped: max_steps" in str(ran.error)
    assert len(office.provider.headers) == 2
    assert office.done == [("create", "one"), ("create", "two")]
    assert office.report().stop_reason == "max_steps"


def test_forty_calls_of_one_turn_against_a_budget_of_twelve_are_twelve(crewai: Client, open_office: OpenOffice) -> None:
    office = open_office(budgets={"max_tool_calls": 12})
    titles = [str(number) for number in range(40)]
    ran = crewai.run(office, [Call("ticket.create", {"title": title}, f"c{title}") for title in titles], "so be it")
    assert ran.ends == "APIStatusError"
    assert len(office.done) == 12


def test_eight_calls_of_one_turn_are_made_at_once(crewai: Client, office: Office) -> None:
    together = threading.Barrier(8)

    @office.gateway.tool("ticket.meet", effect="read")
    def meet(number: int) -> str:
        """Wait until all are here."""
        together.wait(30)
        return f"met {number}"

    ran = crewai.run(office, [Call("ticket.meet", {"number": number}, f"c{number}") for number in range(8)], "fine")
    assert ran.told == [f"met {number}" for number in range(8)]


# --- its own retries -------------------------------------------------------------------------------------------------


def test_a_provider_that_refuses_ends_the_run_as_the_docs_set_it_up(crewai: Client, office: Office) -> None:
    office.provider.refuses = 1
    assert crewai.run(office, "fine").ends == "InternalServerError"
    assert office.report().steps.used == 1


def test_as_it_comes_it_begins_anew_after_an_error_and_does_nothing_twice(crewai: Client, office: Office) -> None:
    def refuse() -> None:
        office.provider.refuses = 1

    call = Call("ticket.create", FIRE, "c1")
    ran = crewai.run(office, after(refuse, call), call, "fine", adjust=of_agent(max_retry_limit=2))
    assert (ran.said, ran.told) == ("fine", ["ticket about fire"])
    assert office.done == [("create", "fire")]
    assert office.report().steps.used == 4


def test_a_call_that_it_loses_patience_with_is_sent_again_and_done_once(crewai: Client, office: Office) -> None:
    over = threading.Event()

    @office.gateway.tool("ticket.print", effect="write")
    def print_(number: int) -> str:
        """Print a ticket, slowly."""
        over.wait(30)
        office.done.append(("print", number))
        return "printed"

    def impatient(order: dict[str, Any]) -> None:
        (text,) = order["texts"]
        order["texts"] = [text.replace("execution_timeout=600, max_retries=1", "execution_timeout=1")]

    def later() -> Turn:
        over.set()
        return "so be it"

    crewai.run(office, Call("ticket.print", {"number": 7}, "c1"), later, adjust=impatient)
    assert len(office.door.asked) in (2, 3)  # on a slow machine one may not have left
    office.gateway.close()
    assert office.done in ([("print", 7)], [])


# --- its own limits --------------------------------------------------------------------------------------------------


def test_as_it_comes_it_ends_by_its_own_count_of_turns_and_as_the_docs_set_it_up_by_the_gateways(
    crewai: Client, open_office: OpenOffice
) -> None:
    office = open_office(budgets={"max_steps": 40, "max_tool_calls": 40})
    assert crewai.run(office, *looks(2), "had to say something", adjust=of_agent(max_iter=2)).said
    assert crewai.run(office, *looks(26), "fine").said == "fine"  # it comes with 25
    assert office.report().steps.used == 3 + 27


def test_the_same_answer_to_the_same_call_for_the_fifth_time_ends_it_whatever_it_is_told(
    crewai: Client, open_office: OpenOffice
) -> None:
    same = Call("ticket.read", {"number": 7}, "c1")
    office = open_office(budgets={"max_repeats": 100})
    assert crewai.run(office, *[same] * 9, "fine").ends == "ToolExecutionFailedError"
    assert len(office.door.asked) == 5
    assert office.report().stop_reason is None


def test_the_gateways_own_limit_to_repetitions_comes_before(crewai: Client, office: Office) -> None:
    same = Call("ticket.read", {"number": 7}, "c1")
    assert crewai.run(office, *[same] * 9, "fine").ends == "APIStatusError"
    assert office.report().stop_reason == "loop_detected"


def test_as_it_comes_it_answers_a_call_that_was_done_from_a_cache_of_its_own(crewai: Client, office: Office) -> None:
    same = Call("ticket.read", {"number": 7}, "c1")
    crewai.run(office, same, same, "fine", adjust=of_agent(cache=True))
    assert len(office.door.asked) == 1
    office.open_run("r2")
    crewai.run(office, same, same, "fine", run_id="r2")
    assert len(office.door.asked) == 3


# --- what it makes of calls and answers ------------------------------------------------------------------------------


def test_it_leaves_out_of_the_arguments_what_is_empty(crewai: Client, office: Office) -> None:
    @office.gateway.tool("ticket.tag", effect="write")
    def tag(labels: list[str]) -> str:
        """Replace the tags of a ticket."""
        office.done.append(("tag", labels))
        return "tagged"

    ran = crewai.run(office, Call("ticket.tag", {"labels": []}, "c1"), "so be it")
    assert "labels" in ran.told[0]
    assert "NOT DONE" in ran.told[0]
    assert office.done == []


def test_arguments_that_are_no_object_are_never_sent(crewai: Client, office: Office) -> None:
    ran = crewai.run(office, Call("ticket.create", "fire", "c1"), "so be it")  # type: ignore[arg-type]
    assert ran.said == "so be it"
    assert office.door.asked == []


def test_by_mcps_of_an_agent_a_call_is_done_once_whatever_the_model_is_told(crewai: Client, office: Office) -> None:
    def plain(order: dict[str, Any]) -> None:
        headers = {"Authorization": f"Bearer {office.key}", "Interlock-Run-Id": "r1"}
        server = {"url": f"{office.url}/mcp", "headers": headers, "streamable": True}
        order["adjust"] |= {"tools": [], "mcps": [server]}

    ran = crewai.run(office, Call("ticket.create", FIRE, "c1"), "fine", adjust=plain)
    assert office.done == [("create", "fire")]
    assert ran.told[0] == "ticket about fire" or "no running event loop" in ran.told[0]  # the latter on Python 3.11
