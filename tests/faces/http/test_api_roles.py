"""Every route × every role × another tenant's ids: refused, and the audit has it."""

from __future__ import annotations

from typing import Any

import pytest
from msgspec.structs import fields

from interlock.core.audit import SYSTEM
from interlock.core.principal import Role
from interlock.faces.http.routes import ROUTES
from interlock.faces.http.routing import Route
from tests.faces.http.conftest import Open
from tests.faces.http.house import House, opened

pytestmark = pytest.mark.anyio

GUARDED = [route for route in ROUTES if route.may]
#: A body that would be taken, for routes that need one.
BODIES: dict[str, dict[str, Any]] = {
    "perform_call": {"tool": "add", "args": {"a": 1, "b": 1}},
    "admit_call": {"tool": "note"},
    "renew_call": {"lease_id": "x"},
    "settle_call": {"lease_id": "x", "outcome": "done"},
    "kill": {"reason": "because"},
    "reconcile": {"happened": True},
    "top_up": {"window": "day", "tool_calls": 1},
    "check_policy": {"tool": "add", "agent": "bot", "env": "prod"},
}


def names_a_tenant(route: Route, kind: str) -> bool:
    """True where the query, or the body, can say a tenant."""
    said = getattr(route, kind)
    return said is not None and any(field.name == "tenant" for field in fields(said))


def concerns_something(route: Route) -> bool:
    """True where the route names a thing, or a tenant, that can be another's."""
    named = names_a_tenant(route, "query") or names_a_tenant(route, "body")
    return named or "{" in route.path or route.path == "/metrics"


@pytest.fixture
def house(open_house: Open) -> House:
    return open_house({"approvals": {"required_for": ["asked"]}})


async def things_of_acme(house: House) -> dict[str, str]:
    """A run of theirs with a call, a turn and a question to people."""

    @house.gateway.tool("asked", effect="write")
    def asked() -> None: ...

    async with house.agent() as agent, opened(agent, run_id="theirs") as run_id:
        await agent.post(f"/v1/runs/{run_id}/calls", json={**BODIES["perform_call"], "call_id": "c1"})
        step = (await agent.post(f"/v1/runs/{run_id}/steps")).json()["step_id"]
        asked_for = (await agent.post(f"/v1/runs/{run_id}/calls", json={"tool": "asked", "call_id": "c2"})).json()
    return {
        "run_id": run_id, "call_id": "c1", "step_id": step, "approval_id": asked_for["approval_id"], "tool": "add"
    }


async def send(house: House, route: Route, token: str, things: dict[str, str], tenant: str) -> Any:
    path = route.path.format(**things)
    query = {"tenant": tenant} if tenant and names_a_tenant(route, "query") else {}
    body = None
    if route.body is not None:
        said = {"tenant": tenant} if tenant and names_a_tenant(route, "body") else {}
        body = {**BODIES.get(route.name, {}), **said}
    async with house.client(token) as client:
        return await client.request(route.method, path, params=query, json=body)


@pytest.mark.parametrize("role", Role)
@pytest.mark.parametrize("route", GUARDED, ids=lambda route: route.name)
async def test_what_belongs_to_another_tenant_is_refused_and_audited(house: House, route: Route, role: Role) -> None:
    things = await things_of_acme(house)
    token = house.key(role, tenant="other")
    before = list(house.gateway.audit.entries("acme"))
    allowed = role in route.may or (role is Role.ADMIN and route.may != (Role.AGENT,))
    if allowed and not concerns_something(route):
        return  # it tells of the credential's own tenant alone: nobody can ask it for another
    answer = await send(house, route, token, things, "acme")
    assert answer.status_code in (403, 404), answer.text
    assert answer.json()["code"] in ("forbidden", "not_found")
    refused = house.turned_away("other")
    assert len(refused) == 1
    assert refused[0].by in ("bot key", str(role))
    assert list(house.gateway.audit.entries("acme")) == before


@pytest.mark.parametrize("role", Role)
@pytest.mark.parametrize("route", GUARDED, ids=lambda route: route.name)
async def test_a_role_that_a_route_does_not_name_is_refused_and_audited(house: House, route: Route, role: Role) -> None:
    things = await things_of_acme(house)
    if role in route.may or (role is Role.ADMIN and route.may != (Role.AGENT,)):
        return
    answer = await send(house, route, house.key(role), things, "")
    assert (answer.status_code, answer.json()["code"]) == (403, "forbidden")
    assert len(house.turned_away()) == 1


@pytest.mark.parametrize("route", GUARDED, ids=lambda route: route.name)
async def test_without_a_credential_every_route_is_401(house: House, route: Route) -> None:
    things = {"run_id": "r", "call_id": "c", "step_id": "s", "approval_id": "a", "tool": "t"}
    answer = await send(house, route, "", things, "acme")
    assert (answer.status_code, answer.json()["code"]) == (401, "unauthenticated")


async def test_a_person_who_serves_every_tenant_says_which(house: House) -> None:
    things = await things_of_acme(house)
    async with house.client(house.key(Role.OPERATOR, tenant="")) as olga:
        nobody_said = await olga.get("/v1/runs")
        theirs = await olga.get("/v1/runs?tenant=acme")
        report = await olga.get(f"/v1/runs/{things['run_id']}/report?tenant=acme")
        system = await olga.get("/v1/audit/entries", params={"tenant": SYSTEM})
        all_of_them = await olga.get("/v1/approvals")
    assert (nobody_said.status_code, nobody_said.json()["remedy"]) == (422, "say tenant=")
    assert [run["run_id"] for run in theirs.json()["runs"]] == ["theirs"]
    assert report.json()["run_id"] == "theirs"
    assert system.status_code == 200
    assert [each["approval_id"] for each in all_of_them.json()["approvals"]] == [things["approval_id"]]
