"""The doors beside /v1, for every role and for another tenant's runs: MCP and the model proxy. The console has its own
test, `tests/faces/console/test_roles.py`."""

from __future__ import annotations

from typing import Any

import httpx2
import pytest

from interlock.core.principal import Principal, Role
from interlock.faces import console
from tests.faces.http.conftest import Open
from tests.faces.http.house import House, opened
from tests.faces.mcp.conftest import ENVELOPE

pytestmark = pytest.mark.anyio

URL = "http://gateway"
CHAT = {"model": "m", "messages": [{"role": "user", "content": "hi"}], "max_completion_tokens": 5}
MODELS: dict[tuple[str, str], dict[str, Any] | None] = {
    ("POST", "/openai/v1/chat/completions"): CHAT,
    ("POST", "/openai/v1/responses"): {"model": "m", "input": "hi", "max_output_tokens": 5},
    ("POST", "/anthropic/v1/messages"): {"model": "m", "messages": CHAT["messages"], "max_tokens": 5},
    ("POST", "/anthropic/v1/messages/count_tokens"): {"model": "m", "messages": CHAT["messages"]},
    ("GET", "/openai/v1/models"): None,
    ("GET", "/openai/v1/models/m"): None,
    ("GET", "/anthropic/v1/models"): None,
    ("GET", "/anthropic/v1/models/m"): None,
    ("GET", "/openai/v1/files"): None,  # what is not passed on
    ("POST", "/anthropic/v1/messages/batches"): {},
}
TOOLS = [("POST", "/mcp"), ("GET", "/mcp"), ("DELETE", "/mcp")]
DOORS = [*MODELS, *TOOLS]
PEOPLE = [role for role in Role if role is not Role.AGENT]
STEPS = [door for door in MODELS if door[0] == "POST" and not door[1].endswith(("count_tokens", "batches"))]


@pytest.fixture
def house(open_house: Open) -> House:
    provider = {"url": "http://127.0.0.1:9/v1", "credential": "provider"}
    serve = {"url": URL, "models": {"openai": provider, "anthropic": provider}}
    return open_house({"credentials": {"provider": "env:NOWHERE"}, "serve": serve})


def calling(run_id: str = "") -> dict[str, Any]:
    """A call over MCP, of a named run."""
    meta = {**ENVELOPE, **({"interlock/run_id": run_id} if run_id else {})}
    params = {"name": "add", "arguments": {"a": 1, "b": 2}, "_meta": meta}
    return {"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": params}


async def knock(client: httpx2.AsyncClient, door: tuple[str, str], body: Any = None, **headers: str) -> Any:
    """One request at a door, as its clients send it."""
    method, path = door
    if path == "/mcp":
        headers |= {
            "accept": "application/json, text/event-stream", "mcp-protocol-version": "2026-07-28",
            "mcp-method": "tools/call", "mcp-name": "add",
        }
        body = body or calling()
    body = body or MODELS.get(door)
    return await client.request(method, path, json=body if method == "POST" else None, headers=headers)


async def test_every_door_is_in_the_table_of_this_test(house: House) -> None:
    of_the_console = {route.path for route in console.routes(house.app.service)}
    others = {route.path for route in house.app._mounted.routes} - of_the_console  # type: ignore[attr-defined]
    open_to_all = {path for path in others if path.startswith("/.well-known/")}
    assert len(open_to_all) == 2
    kinds = {"/models/m": "/models/{model:path}", "/v1/files": "/{rest:path}", "/v1/messages/batches": "/{rest:path}"}
    told = {path for _, path in DOORS}
    for end, kind in kinds.items():
        told = {path.removesuffix(end) + kind if path.endswith(end) else path for path in told}
    assert others - open_to_all == told


@pytest.mark.parametrize("role", PEOPLE)
@pytest.mark.parametrize("door", DOORS, ids=" ".join)
async def test_nobody_but_an_agent_passes_a_door_for_agents(house: House, door: tuple[str, str], role: Role) -> None:
    async with house.client(house.key(role)) as person:
        answer = await knock(person, door)
    assert answer.status_code == 403, answer.text
    assert [entry.by for entry in house.turned_away()] == [str(role)]


@pytest.mark.parametrize("door", DOORS, ids=" ".join)
async def test_without_a_credential_every_door_is_401(house: House, door: tuple[str, str]) -> None:
    async with house.client() as nobody, house.client("ilk_0000000000000000_" + "x" * 43) as wrong:
        answers = [await knock(nobody, door), await knock(wrong, door)]
    assert [answer.status_code for answer in answers] == [401, 401]
    assert house.all_turned_away() == 0


WAYS = {
    "header": lambda run_id: {"interlock-run-id": run_id},
    "baggage": lambda run_id: {"baggage": f"interlock.run_id={run_id}"},
}
OTHERS = {
    "tenant": {"tenant": "other"}, "agent": {"agent": "another"}, "env": {"env": "dev"},
}


@pytest.mark.parametrize("whose", OTHERS)
@pytest.mark.parametrize("way", ["key", *WAYS])
@pytest.mark.parametrize("door", STEPS, ids=" ".join)
async def test_no_turn_is_begun_in_a_run_of_somebody_else(
    house: House, door: tuple[str, str], way: str, whose: str
) -> None:
    who = {"name": "stranger", "roles": (Role.AGENT,), "tenant": "acme", "agent": "bot", "env": "prod"}
    stranger = house.give(Principal(**{**who, **OTHERS[whose]}))  # type: ignore[arg-type]
    async with house.agent() as agent, opened(agent, run_id="theirs") as run_id:
        before = list(house.gateway.audit.entries("acme"))
        token = f"{stranger}~{run_id}" if way == "key" else stranger
        async with house.client(token) as client:
            answer = await knock(client, door, **(WAYS[way](run_id) if way in WAYS else {}))
        report = (await agent.get(f"/v1/runs/{run_id}/report")).json()
    assert answer.status_code == 403, answer.text  # 404 would mean to its client that there is no such model
    assert report["steps"]["used"] == report["steps"]["held"] == 0
    tenant = "other" if whose == "tenant" else "acme"
    assert [entry.by for entry in house.turned_away(tenant)] == ["stranger"]
    if tenant == "other":
        assert list(house.gateway.audit.entries("acme")) == before


@pytest.mark.parametrize("whose", OTHERS)
@pytest.mark.parametrize("way", ["meta", *WAYS])
async def test_no_tool_is_called_in_a_run_of_somebody_else(house: House, way: str, whose: str) -> None:
    who = {"name": "stranger", "roles": (Role.AGENT,), "tenant": "acme", "agent": "bot", "env": "prod"}
    stranger = house.give(Principal(**{**who, **OTHERS[whose]}))  # type: ignore[arg-type]
    async with house.agent() as agent, opened(agent, run_id="theirs") as run_id, house.client(stranger) as client:
        before = list(house.gateway.audit.entries("acme"))
        body = calling(run_id if way == "meta" else "")
        answer = await knock(client, ("POST", "/mcp"), body, **(WAYS[way](run_id) if way in WAYS else {}))
        report = (await agent.get(f"/v1/runs/{run_id}/report")).json()
    result = answer.json()["result"]
    assert (result["isError"], result["_meta"]["interlock/problem"]) == (True, "not_found")
    assert report["calls"] == {}
    tenant = "other" if whose == "tenant" else "acme"
    assert [entry.by for entry in house.turned_away(tenant)] == ["stranger"]
    if tenant == "other":
        assert list(house.gateway.audit.entries("acme")) == before
