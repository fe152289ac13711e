"""Tools that live in the agent's own process: admitted here, performed there, settled here."""

from __future__ import annotations

from typing import Any

import httpx2
import pytest

from interlock.core.call import Effect, Tool
from interlock.core.principal import Principal, Role
from interlock.stores.memory import MemoryStore, MemorySwitchBoard
from interlock.testing import ManualClock
from interlock.tools.cooperative import RemoteTool
from tests.faces.http.conftest import Open
from tests.faces.http.house import House, opened

pytestmark = pytest.mark.anyio

SCHEMA = {"type": "object", "properties": {"text": {"type": "string"}}, "required": ["text"]}
OWNER = "a random text of mine"


def with_tools(house: House) -> House:
    """`note` writes and `look` reads, both in the agent's process."""
    for name, effect in (("note", Effect.WRITE), ("look", Effect.READ)):
        house.gateway.register(RemoteTool(Tool(name=name, effect=effect, schema=SCHEMA)))
    return house


@pytest.fixture
def house(open_house: Open) -> House:
    return with_tools(open_house())


async def admit(agent: httpx2.AsyncClient, run_id: str, tool: str = "note", **said: Any) -> dict[str, Any]:
    body = {"tool": tool, "args": {"text": "hello"}, "call_id": "c1", **said}
    answer = await agent.post(f"/v1/runs/{run_id}/calls/admit", json=body)
    assert answer.status_code == 200, answer.text
    admitted: dict[str, Any] = answer.json()
    return admitted


async def settle(agent: httpx2.AsyncClient, run_id: str, lease_id: str, **said: Any) -> httpx2.Response:
    return await agent.post(f"/v1/runs/{run_id}/calls/c1/settle", json={"lease_id": lease_id, **said})


async def test_a_ticket_is_given_performed_elsewhere_and_settled(house: House) -> None:
    async with house.agent() as agent, opened(agent) as run_id:
        ticket = (await admit(agent, run_id))["ticket"]
        ended = await settle(agent, run_id, ticket["lease_id"], outcome="done", value={"id": 7})
        again = await settle(agent, run_id, ticket["lease_id"], outcome="failed", error="no")
        known = await admit(agent, run_id)
        read = (await agent.get(f"/v1/runs/{run_id}/calls/c1")).json()
    assert (ticket["args"], ticket["key"], ticket["attempt"]) == ({"text": "hello"}, "c1", 1)
    assert 0 < ticket["lease_seconds"] <= 40
    assert ticket["seconds"] == 300
    assert (ended.json()["kind"], ended.json()["value"]) == ("done", {"id": 7})
    assert (again.json()["kind"], again.json()["replayed"]) == ("done", True)
    assert (known["ticket"], known["outcome"]["kind"], known["outcome"]["replayed"]) == (None, "done", True)
    assert read["state"] == "done"
    assert ticket["lease_id"] not in str(read)


async def test_a_refused_call_gets_no_ticket(open_house: Open) -> None:
    house = with_tools(open_house({"policy": {"allow": ["look"]}}))
    async with house.agent() as agent, opened(agent) as run_id:
        admitted = await admit(agent, run_id)
        unfit = await admit(agent, run_id, "look", args={"text": 1}, call_id="c2")
    assert (admitted["ticket"], admitted["outcome"]["kind"]) == (None, "denied")
    assert (unfit["ticket"], unfit["outcome"]["kind"]) == (None, "denied")


async def test_whoever_lost_the_answer_gets_the_same_ticket_and_nobody_else(house: House) -> None:
    async with house.agent() as agent, opened(agent) as run_id:
        first = await admit(agent, run_id, owner=OWNER)
        second = await admit(agent, run_id, owner=OWNER)
    assert first["ticket"]["lease_id"] == second["ticket"]["lease_id"]
    assert len(house.gateway.flights) == 0


async def test_a_gateway_that_restarts_takes_the_ticket_back(open_house: Open) -> None:
    ledger = {"store": MemoryStore(), "board": MemorySwitchBoard()}
    before = with_tools(open_house(**ledger))
    async with before.agent() as agent, opened(agent) as run_id:
        ticket = (await admit(agent, run_id))["ticket"]
    after = with_tools(open_house(**ledger))
    async with after.agent() as agent:
        beat = await agent.post(f"/v1/runs/{run_id}/calls/c1/renew", json={"lease_id": ticket["lease_id"]})
        ended = await settle(agent, run_id, ticket["lease_id"], outcome="done", value="ok")
    assert beat.json()["go"] is True
    assert ended.json()["kind"] == "done"


async def test_a_lease_that_is_renewed_lasts_and_one_that_is_not_leaves_an_unknown(
    house: House, clock: ManualClock
) -> None:
    async with house.agent() as agent, opened(agent) as run_id:
        ticket = (await admit(agent, run_id))["ticket"]
        lease = {"lease_id": ticket["lease_id"]}
        clock.advance(25)
        beat = (await agent.post(f"/v1/runs/{run_id}/calls/c1/renew", json=lease)).json()
        clock.advance(25)
        still = (await agent.get(f"/v1/runs/{run_id}/calls/c1")).json()["state"]
        clock.advance(60)
        lost = await admit(agent, run_id)
        late = await settle(agent, run_id, ticket["lease_id"], outcome="done", value="late")
    assert (beat["go"], still) == (True, "leased")
    assert beat["lease_until"] > ticket["lease_until"]
    assert lost["outcome"]["kind"] == "unknown"
    assert late.json()["kind"] == "done"  # its owner had only slept, and settles its own call, once


async def test_a_kill_switch_is_told_with_the_heartbeat(house: House) -> None:
    async with house.agent() as agent, opened(agent) as run_id:
        ticket = (await admit(agent, run_id))["ticket"]
        house.gateway.control.kill(tenant="acme", reason="incident", by="olga")
        beat = (await agent.post(f"/v1/runs/{run_id}/calls/c1/renew", json={"lease_id": ticket["lease_id"]})).json()
        ended = (await settle(agent, run_id, ticket["lease_id"], outcome="not_begun")).json()
        report = (await agent.get(f"/v1/runs/{run_id}/report")).json()
    assert beat["go"] is False
    assert "incident" in beat["reason"]
    assert (ended["kind"], ended["stop_reason"]) == ("stopped", "killed")
    assert (report["tool_calls"]["used"], report["tool_calls"]["held"]) == (0, 0)


@pytest.mark.parametrize(
    ("tool", "said", "kind"),
    [
        ("note", {"outcome": "failed", "error": "refused there"}, "failed"),
        ("note", {"outcome": "unknown", "error": "no reply"}, "unknown"),
        ("look", {"outcome": "unknown", "error": "no reply"}, "failed"),
        ("note", {"outcome": "not_begun"}, "denied"),
    ],
)
async def test_what_the_owner_says_becomes_the_outcome(
    house: House, tool: str, said: dict[str, str], kind: str
) -> None:
    async with house.agent() as agent, opened(agent) as run_id:
        ticket = (await admit(agent, run_id, tool))["ticket"]
        ended = await settle(agent, run_id, ticket["lease_id"], **said)
    assert ended.json()["kind"] == kind


async def test_a_ticket_that_is_not_the_callers_settles_nothing(house: House) -> None:
    other = Principal(name="other", roles=(Role.AGENT,), tenant="acme", agent="other", env="prod")
    async with house.agent() as agent, house.client(house.give(other)) as another, opened(agent) as run_id:
        ticket = (await admit(agent, run_id))["ticket"]
        forged = await settle(agent, run_id, "away-0-1-7fffffffffffffff", outcome="done")
        foreign = await settle(another, run_id, ticket["lease_id"], outcome="done")
        await agent.post(f"/v1/runs/{run_id}/calls", json={"tool": "add", "args": {"a": 1, "b": 1}, "call_id": "c2"})
        ours = await agent.post(
            f"/v1/runs/{run_id}/calls/c2/settle", json={"lease_id": "anything", "outcome": "done", "value": 9}
        )
    assert (forged.status_code, forged.json()["code"]) == (409, "refused")
    assert foreign.status_code == 404
    assert (ours.status_code, ours.json()["code"]) == (409, "refused")


async def test_each_side_performs_its_own_tools_alone(house: House) -> None:
    async with house.agent() as agent, opened(agent) as run_id:
        here = await agent.post(f"/v1/runs/{run_id}/calls", json={"tool": "note", "args": {"text": "x"}})
        there = await agent.post(f"/v1/runs/{run_id}/calls/admit", json={"tool": "add", "args": {"a": 1, "b": 1}})
    assert (here.status_code, here.json()["code"]) == (409, "cooperative")
    assert (there.status_code, there.json()["code"]) == (409, "refused")


async def test_an_approved_call_gets_its_ticket_with_the_edited_arguments(open_house: Open) -> None:
    house = with_tools(open_house({"policy": {"allow": ["*"]}, "approvals": {"required_for": ["note"]}}))
    async with house.agent() as agent, opened(agent) as run_id:
        asked = (await admit(agent, run_id))["outcome"]
        house.gateway.control.approve(asked["approval_id"], by="ann", args={"text": "kinder"})
        ticket = (await admit(agent, run_id))["ticket"]
    assert asked["kind"] == "pending"
    assert ticket["args"] == {"text": "kinder"}


async def test_a_tool_is_declared_in_the_config_and_listed_with_its_grade(open_house: Open) -> None:
    said = {"serve": {"cooperative": {"note": {"description": "Keep a note", "input_schema": SCHEMA}}}}
    house = open_house({**said, "tools": {"note": {"effect": "write"}}})
    async with house.agent() as agent, opened(agent) as run_id:
        tools = {tool["name"]: tool for tool in (await agent.get("/v1/tools")).json()["tools"]}
        ticket = (await admit(agent, run_id))["ticket"]
    assert (tools["note"]["grade"], tools["note"]["effect"]) == ("cooperative", "write")
    assert tools["note"]["schema"] == SCHEMA
    assert tools["add"]["grade"] == "gateway"
    assert ticket["args"] == {"text": "hello"}
