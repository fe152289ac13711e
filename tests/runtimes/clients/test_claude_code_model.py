"""Claude Code with both of its planes behind the gateway: its tools over MCP, its model by the model proxy."""

from __future__ import annotations

import pytest

from tests.runtimes.clients.conftest import BY_MODULE, Client
from tests.runtimes.clients.office import SECRETS, Office
from tests.runtimes.clients.script import Call


@pytest.fixture
def claude() -> Client:
    return Client(BY_MODULE["claude_agent"])


def test_its_turns_are_steps_of_the_run_that_its_calls_belong_to(claude: Client, office: Office) -> None:
    assert claude.run(office, Call("ticket.create", {"title": "fire"}, "c1"), "fine").said == "fine"
    report = office.gateway.run(run_id="r1", tenant="acme", agent="bot", env="prod").report()
    assert (report.steps.used, report.tool_calls.used) == (2, 1)
    assert report.tokens.used == 2 * 110


def test_the_provider_is_shown_the_gateways_key_and_never_the_agents(claude: Client, office: Office) -> None:
    claude.run(office, "fine")
    assert office.provider.headers
    for headers in office.provider.headers:
        assert headers["x-api-key"] == SECRETS["MODEL_KEY"]
        assert office.key not in str(headers)


def test_a_run_that_is_not_its_own_asks_no_model_and_the_program_says_why(claude: Client, office: Office) -> None:
    ran = claude.run(office, "never said", run_id="nobodys")
    assert "403 there is no run 'nobodys'" in str(ran.error)
    assert office.provider.headers == []
