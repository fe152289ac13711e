"""What people do over HTTP: approvals, kill switches, unknowns, budgets, audit, tools, policy."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable
from itertools import count
from pathlib import Path
from typing import Any

import pytest

from interlock.audit_log import verify_file
from interlock.core.principal import Role
from interlock.faces.http import api_audit
from interlock.testing import ManualClock
from tests.faces.http.conftest import Open
from tests.faces.http.house import House, opened

pytestmark = pytest.mark.anyio

ASKS = {"policy": {"allow": ["*"]}, "approvals": {"required_for": ["add"]}}
EVERYTHING = {"tenant": "", "agent": "", "tool": "", "run": ""}
ADD = {"tool": "add", "args": {"a": 1, "b": 2}, "call_id": "c1"}


@pytest.fixture
def asking(open_house: Open) -> House:
    return open_house(ASKS)


async def ask(client: Any, run_id: str, **said: Any) -> str:
    answer = (await client.post(f"/v1/runs/{run_id}/calls", json={**ADD, **said})).json()
    assert answer["kind"] == "pending", answer
    return str(answer["approval_id"])


async def until(true: Callable[[], object]) -> None:
    """Until something is so, or the test has taken too long."""
    async with asyncio.timeout(5):
        while not true():  # noqa: ASYNC110  what is waited for tells nobody
            await asyncio.sleep(0.001)


# --- approvals -------------------------------------------------------------------------------------------------------


async def test_a_call_runs_once_a_person_has_said_yes_under_their_own_name(asking: House) -> None:
    async with asking.agent() as agent, asking.person(Role.APPROVER, name="ann") as ann, opened(agent) as run_id:
        approval_id = await ask(agent, run_id)
        listed = (await ann.get("/v1/approvals")).json()["approvals"]
        yes = [(await ann.post(f"/v1/approvals/{approval_id}/approve", json={"note": "fine"})).json() for _ in range(2)]
        done = (await agent.post(f"/v1/runs/{run_id}/calls", json=ADD)).json()
    assert [each["approval_id"] for each in listed] == [approval_id]
    assert (yes[0]["standing"], yes[0]["answers"][0]["by"]) == ("approved", "ann")
    assert yes[1] == yes[0]
    assert (done["kind"], done["value"]) == ("done", 3)


async def test_whoever_asked_cannot_approve(asking: House) -> None:
    async with (
        asking.agent() as agent,
        asking.person(Role.APPROVER, name="ann") as ann,
        opened(agent, requested_by="ann") as run_id,
    ):
        approval_id = await ask(agent, run_id)
        answer = await ann.post(f"/v1/approvals/{approval_id}/approve")
        by_agent = await agent.post(f"/v1/approvals/{approval_id}/approve")
    assert (answer.status_code, answer.json()["code"]) == (409, "refused")
    assert by_agent.status_code == 403


async def test_edited_arguments_are_what_is_performed(asking: House) -> None:
    async with asking.agent() as agent, asking.person(Role.APPROVER) as ann, opened(agent) as run_id:
        approval_id = await ask(agent, run_id)
        unfit = await ann.post(f"/v1/approvals/{approval_id}/approve", json={"args": {"a": "x"}})
        await ann.post(f"/v1/approvals/{approval_id}/approve", json={"args": {"a": 40, "b": 2}})
        done = (await agent.post(f"/v1/runs/{run_id}/calls", json=ADD)).json()
    assert unfit.status_code == 409
    assert done["value"] == 42


async def test_a_long_poll_ends_when_a_person_answers(asking: House) -> None:
    async with asking.agent() as agent, asking.person(Role.APPROVER) as ann, opened(agent) as run_id:
        approval_id = await ask(agent, run_id)
        waiting = asyncio.ensure_future(agent.get(f"/v1/approvals/{approval_id}?wait=30"))
        await until(lambda: asking.app.service.waiting._waiters)
        await ann.post(f"/v1/approvals/{approval_id}/reject", json={"note": "no"})
        answer = (await asyncio.wait_for(waiting, 5)).json()
    assert answer["standing"] == "rejected"
    assert asking.app.service.waiting._watch is None  # nobody waits, nobody looks


async def test_a_long_poll_hears_of_an_answer_that_was_given_elsewhere(asking: House) -> None:
    async with asking.agent() as agent, opened(agent) as run_id:
        approval_id = await ask(agent, run_id)
        waiting = asyncio.ensure_future(agent.get(f"/v1/approvals/{approval_id}?wait=30"))
        await until(lambda: asking.app.service.waiting._waiters)
        await asyncio.to_thread(asking.gateway.control.approve, approval_id, by="ann")
        answer = (await asyncio.wait_for(waiting, 5)).json()
    assert answer["standing"] == "approved"


async def test_a_long_poll_without_an_answer_says_how_it_stands(asking: House) -> None:
    async with asking.agent() as agent, opened(agent) as run_id:
        approval_id = await ask(agent, run_id)
        answer = (await agent.get(f"/v1/approvals/{approval_id}?wait=0.05")).json()
        too_long = await agent.get(f"/v1/approvals/{approval_id}?wait=3600")
    assert answer["standing"] == "waiting"
    assert too_long.status_code == 422


async def test_whoever_waits_is_let_go_when_the_server_closes(asking: House) -> None:
    async with asking.agent() as agent, opened(agent) as run_id:
        approval_id = await ask(agent, run_id)
        waiting = asyncio.ensure_future(agent.get(f"/v1/approvals/{approval_id}?wait=60"))
        await until(lambda: asking.app.gone._waiting)
        asking.app.gone.all()
        answer = (await asyncio.wait_for(waiting, 5)).json()
    assert answer["standing"] == "waiting"


async def test_events_tell_what_waits_and_what_becomes_of_it(asking: House) -> None:
    found: list[tuple[str, str]] = []
    async with asking.agent() as agent, asking.person(Role.APPROVER) as ann, opened(agent) as run_id:
        first = await ask(agent, run_id)
        waiting, told = asking.app.service.waiting, asyncio.Event()
        gone = asyncio.Event()

        async def until_gone() -> None:
            await gone.wait()

        async def read() -> None:
            async for event in waiting.events("acme", until_gone):
                if event.startswith(b"event:"):
                    name, data = event.decode().split("\n")[:2]
                    found.append((name.removeprefix("event: "), json.loads(data.removeprefix("data: "))["approval_id"]))
                    told.set()

        reading = asyncio.ensure_future(read())
        await asyncio.wait_for(told.wait(), 5)
        second = await ask(agent, run_id, call_id="c2", args={"a": 5, "b": 5})
        await ann.post(f"/v1/approvals/{first}/approve")
        await until(lambda: len(found) >= 3)
        gone.set()
        await asyncio.wait_for(reading, 5)
    assert found[0] == ("waiting", first)
    assert sorted(found[1:]) == sorted([("waiting", second), ("approved", first)])


# --- kill switches and unknowns --------------------------------------------------------------------------------------


async def test_no_call_is_admitted_after_a_kill_was_answered(house: House) -> None:
    async with house.agent() as agent, house.person(Role.OPERATOR, name="olga") as olga, opened(agent) as run_id:
        killed = (await olga.post("/v1/switches/kill", json={"reason": "incident 7"})).json()
        call = (await agent.post(f"/v1/runs/{run_id}/calls", json=ADD)).json()
        listed = (await olga.get("/v1/switches")).json()["switches"]
        freed = [(await olga.post("/v1/switches/release", json={"reason": "over"})).json() for _ in range(2)]
    assert killed["scope"] == {**EVERYTHING, "tenant": "acme"}  # everything of theirs, and no more
    assert killed["by"] == "olga"
    assert (call["kind"], call["stop_reason"]) == ("stopped", "killed")
    assert [each["switch_id"] for each in listed] == [killed["switch_id"]]
    assert freed[0] == freed[1]
    assert freed[0]["released_by"] == "olga"


async def test_an_unknown_is_ended_by_a_person_once(house: House) -> None:
    @house.gateway.tool("pay", effect="irreversible")
    async def pay() -> str:
        raise OSError("the reply was lost")

    async with house.agent() as agent, house.person(Role.OPERATOR, name="olga") as olga, opened(agent) as run_id:
        call = (await agent.post(f"/v1/runs/{run_id}/calls", json={"tool": "pay", "call_id": "p1"})).json()
        url, found = f"/v1/runs/{run_id}/calls/p1/reconcile", {"happened": True, "value": "receipt 9"}
        ended = [(await olga.post(url, json=found)).json() for _ in range(2)]
        other = await olga.post(url, json={"happened": False})
        again = (await agent.post(f"/v1/runs/{run_id}/calls", json={"tool": "pay", "call_id": "p1"})).json()
    assert call["kind"] == "unknown"
    assert (ended[0]["state"], ended[0]["result"]) == ("done", "receipt 9")
    assert ended[0] == ended[1]
    assert other.status_code == 409
    assert (again["kind"], again["value"]) == ("done", "receipt 9")


# --- budgets ---------------------------------------------------------------------------------------------------------


async def test_a_top_up_with_a_key_is_booked_once(house: House) -> None:
    async with house.agent() as agent, house.person(Role.OPERATOR) as olga, opened(agent) as run_id:
        body, key = {"run_id": run_id, "tool_calls": 5}, {"Idempotency-Key": "top 1"}
        answers = [(await olga.post("/v1/budgets/top-up", json=body, headers=key)).json() for _ in range(2)]
        other = await olga.post("/v1/budgets/top-up", json={**body, "tool_calls": 6}, headers=key)
        read = (await olga.get(f"/v1/budgets?run_id={run_id}")).json()["accounts"]
    assert answers[0] == answers[1] == read[0]
    assert (read[0]["extra"]["tool_calls"], read[0]["limits"]["tool_calls"]) == (5, 17)
    assert (other.status_code, other.json()["code"]) == (409, "key_reused")


async def test_the_windows_of_a_tenant_are_read_with_their_limits(open_house: Open) -> None:
    house = open_house({"tenants": {"acme": {"budgets": {"tool_calls_per_day": 100}}}})
    async with house.agent() as agent, house.person(Role.AUDITOR) as auditor, opened(agent) as run_id:
        await agent.post(f"/v1/runs/{run_id}/calls", json=ADD)
        accounts = (await auditor.get("/v1/budgets")).json()["accounts"]
    assert [(each["scope"], each["window"], each["spent"], each["limits"]) for each in accounts] == [
        ("tenant", "day", {"tool_calls": 1}, {"tool_calls": 100})
    ]


# --- audit -----------------------------------------------------------------------------------------------------------


async def test_the_audit_is_read_page_by_page_and_verified(house: House) -> None:
    async with house.agent() as agent, house.person(Role.AUDITOR) as auditor, opened(agent) as run_id:
        await agent.post(f"/v1/runs/{run_id}/calls", json=ADD)
        first = (await auditor.get("/v1/audit/entries?limit=2")).json()
        rest = (await auditor.get(f"/v1/audit/entries?after={first['next']}")).json()
        of_run = (await auditor.get(f"/v1/audit/entries?run_id={run_id}")).json()["entries"]
        verified = (await auditor.post("/v1/audit/verify")).json()
    kinds = [entry["kind"] for entry in first["entries"] + rest["entries"]]
    assert kinds == ["key_given", "key_given", "run_opened", "decided", "settled"]
    assert [entry["kind"] for entry in of_run] == kinds[2:]
    assert of_run[1]["args"] == {"a": 1, "b": 2}
    assert rest["next"] is None
    assert (verified["ok"], verified["entries"], verified["first_bad"]) == (True, 5, None)


async def test_an_export_streams_what_the_offline_verifier_takes(house: House, tmp_path: Path) -> None:
    async with house.agent() as agent, house.person(Role.AUDITOR) as auditor, opened(agent) as run_id:
        await agent.post(f"/v1/runs/{run_id}/calls", json=ADD)
        answer = await auditor.get("/v1/audit/export")
    file = tmp_path / "export.jsonl"
    file.write_bytes(answer.content)
    assert answer.headers["content-type"] == "application/x-ndjson"
    assert answer.headers["content-disposition"] == 'attachment; filename="audit-acme.jsonl"'
    assert verify_file(file).ok


async def test_an_export_that_nobody_reads_any_more_ends(house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(api_audit, "PIECE", 1)

    async def gone() -> None:
        return

    for _ in range(3):
        house.key(Role.AUDITOR)
    pieces = [piece async for piece in api_audit._pieces(house.gateway.audit.export("acme"), gone)]
    assert len(pieces) < 5


async def test_a_checkpoint_is_signed_and_listed(open_house: Open, tmp_path: Path) -> None:
    paths = {"key": str(tmp_path / "a.key"), "checkpoints": str(tmp_path / "a.checkpoints")}
    house = open_house({"audit": paths})
    async with house.person(Role.AUDITOR) as auditor:
        signed = (await auditor.post("/v1/audit/checkpoints")).json()["note"]
        listed = (await auditor.get("/v1/audit/checkpoints")).json()["notes"]
    assert "acme" in signed
    assert listed


async def test_without_a_key_there_is_no_checkpoint(house: House) -> None:
    async with house.person(Role.AUDITOR) as auditor:
        answer = await auditor.post("/v1/audit/checkpoints")
    assert (answer.status_code, answer.json()["code"]) == (409, "refused")


# --- tools and policy ------------------------------------------------------------------------------------------------


async def test_an_agent_is_shown_the_tools_that_it_may_use(open_house: Open) -> None:
    house = open_house({"policy": {"allow": ["add"]}})
    house.gateway.tool("secret.drop", effect="irreversible")(lambda: None)
    async with house.agent() as agent, house.person(Role.AUDITOR) as auditor:
        shown = (await agent.get("/v1/tools")).json()["tools"]
        every = (await auditor.get("/v1/tools")).json()["tools"]
    assert [tool["name"] for tool in shown] == ["add"]
    assert (shown[0]["effect"], shown[0]["grade"]) == ("read", "gateway")
    assert shown[0]["schema"]["required"] == ["a", "b"]
    assert [tool["name"] for tool in every] == ["add", "secret.drop"]


async def test_a_call_is_tried_against_the_policy_and_nothing_is_written(open_house: Open) -> None:
    house = open_house({"policy": {"allow": ["add"], "rules": [{"id": "big", "when": "args.a > 10", "then": "ask"}]}})
    async with house.person(Role.OPERATOR) as olga:
        before = len(list(house.gateway.audit.entries("acme")))
        who = {"tool": "add", "agent": "bot", "env": "prod"}
        small = (await olga.post("/v1/policy/check", json={**who, "args": {"a": 1, "b": 1}})).json()
        large = (await olga.post("/v1/policy/check", json={**who, "args": {"a": 11, "b": 1}})).json()
        unfit = (await olga.post("/v1/policy/check", json={**who, "args": {"a": "x"}})).json()
        policy = (await olga.get("/v1/policy")).json()
    assert (small["verdict"], large["verdict"], large["rule"], unfit["verdict"]) == ("allow", "ask", "big", "deny")
    assert policy["version"] == small["policy_version"]
    assert [rule["id"] for rule in policy["rules"]] == ["policy.allow[add]", "big"]
    assert len(list(house.gateway.audit.entries("acme"))) == before


async def test_metrics_are_for_those_who_serve_every_tenant(house: House, clock: ManualClock) -> None:
    async with house.person(Role.AUDITOR, tenant="") as everybodys, house.person(Role.AUDITOR) as acmes:
        page = await everybodys.get("/metrics")
        refused = await acmes.get("/metrics")
    assert "interlock_calls" in page.text
    assert refused.status_code == 403


async def test_no_call_of_sixteen_clients_begins_after_a_kill_was_answered(open_house: Open) -> None:
    house = open_house({"budgets": {"max_tool_calls": 100_000}})
    answered = False
    late: list[str] = []

    @house.gateway.tool("hit", effect="write")
    async def hit(n: int) -> int:
        if answered:
            late.append(f"{n}")
        return n

    async with house.agent() as agent, house.person(Role.OPERATOR) as olga:
        ends: list[str] = []

        async def hammer(client: int) -> None:
            run_id = (await agent.post("/v1/runs", json={})).json()["run_id"]
            for number in count(client, 16):
                call = await agent.post(f"/v1/runs/{run_id}/calls", json={"tool": "hit", "args": {"n": number}})
                ends.append(call.json()["kind"])
                if ends[-1] != "done":
                    return

        clients = [asyncio.ensure_future(hammer(client)) for client in range(16)]
        await until(lambda: len(ends) > 50)
        assert (await olga.post("/v1/switches/kill", json={"reason": "incident"})).status_code == 200
        answered = True
        await asyncio.wait_for(asyncio.gather(*clients), 20)
    assert late == []
    assert ends.count("done") > 16
