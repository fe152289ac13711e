"""The OpenAPI document says what the code does: checked in, whole, and true under whatever Schemathesis sends."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path
from typing import Any

import pytest
import schemathesis
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from schemathesis import GenerationMode
from schemathesis.checks import not_a_server_error
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    response_schema_conformance,
    status_code_conformance,
)

from interlock.core.principal import Role
from interlock.faces.http.openapi import STATUSES, document, text
from interlock.faces.http.problems import REMEDIES, TITLES
from interlock.faces.http.routes import ROUTES
from interlock.faces.http.routing import EVENTS, Route
from tests.faces.http.conftest import Open
from tests.faces.http.house import House, opened

CHECKED_IN = Path(__file__).resolve().parents[3] / "docs" / "openapi.json"
#: A stream of events has no end; `test_api_people.py` reads one.
ENDING = [route for route in ROUTES if route.media != EVENTS]
SCHEMA = schemathesis.openapi.from_dict(document("http://gateway"))


def test_the_document_that_is_checked_in_is_what_the_code_gives() -> None:
    assert CHECKED_IN.read_text("utf-8") == text(), "run: make docs"


def test_every_code_of_a_problem_has_its_title_its_statuses_and_its_remedy() -> None:
    assert set(STATUSES) == set(TITLES) == set(REMEDIES)
    assert {code for route in ROUTES for code in route.problems} <= set(TITLES)


def test_every_route_stands_in_the_document_once() -> None:
    paths: Any = document()["paths"]
    named = [operation["operationId"] for path in paths.values() for operation in path.values()]
    assert sorted(named) == sorted(route.name for route in ROUTES)


@pytest.fixture
def house(open_house: Open) -> House:
    return open_house({"approvals": {"required_for": ["asked"]}})


class Known:
    """What there is to be asked for, beside what Schemathesis makes up."""

    def __init__(self, house: House) -> None:
        self.tokens = {"agent": house.key(Role.AGENT), "person": house.key(Role.ADMIN, tenant="")}
        self.values = asyncio.run(self._made(house))

    async def _made(self, house: House) -> dict[str, str]:
        house.gateway.tool("asked", effect="write")(lambda: None)
        async with house.client(self.tokens["agent"]) as agent, opened(agent, run_id="r1") as run_id:
            url = f"/v1/runs/{run_id}/calls"
            await agent.post(url, json={"tool": "add", "args": {"a": 1, "b": 1}, "call_id": "c1"})
            asked = (await agent.post(url, json={"tool": "asked", "call_id": "c2"})).json()
            await agent.post(f"/v1/runs/{run_id}/steps")
        return {
            "run_id": "r1", "call_id": "c1", "step_id": "s1", "approval_id": asked["approval_id"], "tool": "add",
            "tenant": "acme",
        }


@pytest.mark.parametrize(
    ("route", "mode"),
    [(route, GenerationMode.POSITIVE) for route in ENDING]
    + [(route, GenerationMode.NEGATIVE) for route in ENDING if route.may],  # the others take nothing to be wrong
    ids=lambda each: each.name if isinstance(each, Route) else each.value,
)
def test_schemathesis_finds_no_5xx_and_no_undeclared_answer(house: House, route: Route, mode: GenerationMode) -> None:
    known = Known(house)
    operation = SCHEMA[route.path][route.method]
    token = known.tokens["agent" if Role.AGENT in route.may and len(route.may) == 1 else "person"]

    @settings(
        max_examples=15, derandomize=True, database=None, deadline=None, phases=[Phase.generate],
        suppress_health_check=list(HealthCheck),
    )
    @given(case=operation.as_strategy(generation_mode=mode), real=st.booleans())
    def send(case: schemathesis.Case, real: bool) -> None:
        if real:
            for said in (case.path_parameters, case.query):
                for name in set(said or ()) & set(known.values):
                    said[name] = known.values[name]
        if case.query and "wait" in case.query:
            case.query["wait"] = 0.01
        case.headers["Authorization"] = f"Bearer {token}"
        response = case.call(app=house.app)
        case.validate_response(
            response,
            checks=[
                not_a_server_error, status_code_conformance, content_type_conformance, response_schema_conformance
            ],
        )

    send()


def test_the_document_is_valid_json_with_nothing_of_this_machine() -> None:
    said = json.loads(text())
    assert said["openapi"] == "3.1.0"
    assert said["servers"] == [{"url": "/"}]
