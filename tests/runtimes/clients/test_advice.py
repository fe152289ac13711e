"""What docs/mcp-clients.md warns of: what comes of it where its advice is not followed; and what it says of baggage."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any

import pytest
from opentelemetry import baggage, context

from tests.runtimes.clients.conftest import BY_MODULE, Client
from tests.runtimes.clients.office import Office
from tests.runtimes.clients.script import Call, Turn

REFUSED = [Call("refund.pay", {"amount": amount}, f"c{amount}") for amount in (500, 600, 700, 800)]


def of(module: str) -> Client:
    return Client(BY_MODULE[module])


def setting(**said: Any) -> Callable[[Any], None]:
    """Attributes of what the docs have set."""

    def change(thing: Any) -> None:
        for name, value in said.items():
            setattr(thing, name, value)

    return change


def test_pydantic_ai_as_it_comes_ends_the_run_at_the_second_refusal_in_a_row(office: Office) -> None:
    ran = of("pydantic_ai").run(office, *REFUSED, "so be it", adjust=setting(tool_error_behavior="retry"))
    assert ran.ends == "UnexpectedModelBehavior"
    assert len(office.door.asked) == 2


def test_agent_framework_as_it_comes_hides_from_its_model_what_was_refused(office: Office) -> None:
    def plain(chat: Any) -> None:
        chat.function_invocation_configuration["include_detailed_errors"] = False

    ran = of("agent_framework").run(office, REFUSED[0], "so be it", adjust=plain)
    assert ran.told == ["Error: Function failed."]


def test_agent_framework_as_it_comes_ends_its_turn_after_three_refusals(office: Office) -> None:
    def few(chat: Any) -> None:
        chat.function_invocation_configuration["max_consecutive_errors_per_request"] = 3

    assert of("agent_framework").run(office, *REFUSED, "so be it", adjust=few).said != "so be it"
    assert of("agent_framework").run(office, *REFUSED, "so be it").said == "so be it"


def test_openai_agents_lists_over_the_connection_that_broke_unless_it_keeps_the_list(office: Office) -> None:
    office.door.loses = "cut"
    ran = of("openai_agents").run(
        office, Call("ticket.create", {"title": "fire"}, "c1"), "fine", adjust=setting(cache_tools_list=False)
    )
    assert ran.ends == "MCPError"
    assert office.done == [("create", "fire")]


def test_openai_agents_that_loses_patience_cancels_and_what_had_begun_is_unknown(office: Office) -> None:
    begun, over = threading.Event(), threading.Event()

    @office.gateway.tool("ticket.print", effect="write")
    def print_(number: int) -> str:
        """Print a ticket, slowly."""
        begun.set()
        over.wait(60)
        office.done.append(("print", number))
        return "printed"

    had_begun: list[bool] = []

    def later() -> Turn:
        had_begun.append(begun.is_set())  # on a slow machine it may not have
        over.set()
        return "so be it"

    call = Call("ticket.print", {"number": 7}, "c1")
    ran = of("openai_agents").run(office, call, later, adjust=setting(client_session_timeout_seconds=1.0))
    assert ran.said == "so be it"
    assert had_begun == [False] or ran.told[0].startswith("UNKNOWN: it is not known whether ticket.print did it")
    office.gateway.close()
    assert office.done in ([("print", 7)], [])


@pytest.mark.parametrize("module", [each for each, expected in BY_MODULE.items() if expected.baggage])
def test_a_run_that_is_named_in_the_baggage_of_opentelemetry_arrives(office: Office, module: str) -> None:
    token = context.attach(baggage.set_baggage("interlock.run_id", "r1"))
    try:
        ran = of(module).run(office, Call("ticket.create", {"title": "fire"}, "c1"), "fine", run_id="")
    finally:
        context.detach(token)
    assert ran.said == "fine"
    calls = [entry for entry in office.gateway.audit.entries(tenant="acme") if entry.kind == "settled"]
    assert [entry.run_id for entry in calls] == ["r1"]
