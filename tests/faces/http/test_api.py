"""Runs, calls and model turns over HTTP, and what every request has to put up with."""

from __future__ import annotations

import asyncio
from collections import defaultdict
from typing import Any

import pytest

from interlock.core.principal import Principal, Role
from interlock.faces.http.routes import ROUTES
from interlock.faces.http.routing import EVENTS
from tests.faces.http.conftest import Open
from tests.faces.http.house import House, opened

pytestmark = pytest.mark.anyio


async def test_a_call_is_performed_and_its_outcome_answered(house: House) -> None:
    async with house.agent() as agent, opened(agent) as run_id:
        answer = await agent.post(f"/v1/runs/{run_id}/calls", json={"tool": "add", "args": {"a": 1, "b": 2}})
    said = answer.json()
    assert (answer.status_code, said["kind"], said["value"], said["text"]) == (200, "done", 3, "3")
    assert (said["decision"]["verdict"], said["decision"]["rule"]) == ("allow", "policy.allow[*]")


async def test_the_same_idempotency_key_performs_once_and_is_answered_from_the_record(house: House) -> None:
    sent: list[str] = []

    @house.gateway.tool("send", effect="write")
    async def send(to: str) -> str:
        sent.append(to)
        return f"sent {len(sent)}"

    async with house.agent() as agent, opened(agent) as run_id:
        asked: dict[str, Any] = {"json": {"tool": "send", "args": {"to": "x"}}, "headers": {"Idempotency-Key": "k-1"}}
        first, second = [(await agent.post(f"/v1/runs/{run_id}/calls", **asked)).json() for _ in range(2)]
        asked["json"] = {"tool": "send", "args": {"to": "another"}}
        other = await agent.post(f"/v1/runs/{run_id}/calls", **asked)
    assert (first["call_id"], first["replayed"], second["replayed"]) == ("k-1", False, True)
    assert first["value"] == second["value"] == "sent 1"
    assert sent == ["x"]
    assert (other.status_code, other.json()["code"], other.json()["run_id"]) == (409, "key_reused", run_id)


async def test_a_client_that_vanishes_after_the_effect_learns_of_it_when_it_asks_again(house: House) -> None:
    begun, go = asyncio.Event(), asyncio.Event()

    @house.gateway.tool("slow", effect="write")
    async def slow() -> str:
        begun.set()
        await go.wait()
        return "it happened"

    async with house.agent() as agent, opened(agent) as run_id:
        url, body = f"/v1/runs/{run_id}/calls", {"tool": "slow", "call_id": "c1"}
        lost = asyncio.create_task(agent.post(url, json=body))
        await begun.wait()
        lost.cancel()
        go.set()
        with pytest.raises(asyncio.CancelledError):
            await lost
        again = (await agent.post(url, json=body)).json()
    assert again["kind"] in ("done", "unknown")  # whichever it is, it is the recorded one
    assert again["replayed"]


async def test_a_refused_call_is_an_answer_and_no_problem(open_house: Open) -> None:
    house = open_house({"policy": {"allow": ["nothing.*"]}})
    async with house.agent() as agent, opened(agent) as run_id:
        answer = await agent.post(f"/v1/runs/{run_id}/calls", json={"tool": "add", "args": {"a": 1, "b": 2}})
    assert (answer.status_code, answer.json()["kind"]) == (200, "denied")


async def test_opening_with_an_idempotency_key_opens_one_run_for_each_agent(house: House) -> None:
    other = Principal(name="other", roles=(Role.AGENT,), tenant="acme", agent="other", env="prod")
    async with house.agent() as agent, house.client(house.give(other)) as another:
        key = {"Idempotency-Key": "job 7"}
        runs = [(await each.post("/v1/runs", headers=key, json={"request": "x"})).json() for each in (agent, agent)]
        theirs = (await another.post("/v1/runs", headers=key, json={"request": "x"})).json()
        reused = await agent.post("/v1/runs", headers=key, json={"request": "something else"})
    assert runs[0] == runs[1]
    assert theirs["run_id"] != runs[0]["run_id"]
    assert (reused.status_code, reused.json()["code"]) == (409, "key_reused")


async def test_an_agent_sees_its_own_runs_and_no_others(house: House) -> None:
    other = Principal(name="other", roles=(Role.AGENT,), tenant="acme", agent="other", env="prod")
    async with house.agent() as agent, house.client(house.give(other)) as another, opened(another) as theirs:
        async with opened(agent) as own:
            listed = (await agent.get("/v1/runs")).json()["runs"]
        paths = ("", "/report", "/calls", "/calls/c1")
        answers = [(await agent.get(f"/v1/runs/{theirs}{path}")).status_code for path in paths]
        answers.append((await agent.post(f"/v1/runs/{theirs}/calls", json={"tool": "add"})).status_code)
    assert [run["run_id"] for run in listed] == [own]
    assert answers == [404] * 5
    assert len(house.turned_away()) == 5


async def test_runs_are_listed_page_by_page_and_by_what_is_asked_for(house: House, clock: Any) -> None:
    async with house.agent() as agent, house.person(Role.AUDITOR) as auditor:
        for number in range(5):
            clock.advance(1)
            await agent.post("/v1/runs", json={"run_id": f"r{number}"})
        await agent.post("/v1/runs/r3/finish")
        first = (await auditor.get("/v1/runs?limit=2&status=running")).json()
        second = (await auditor.get(f"/v1/runs?limit=2&status=running&before={first['next']}")).json()
        nobody = (await auditor.get("/v1/runs?agent=nobody")).json()
    assert [run["run_id"] for run in first["runs"] + second["runs"]] == ["r4", "r2", "r1", "r0"]
    assert nobody == {"runs": [], "next": None}


async def test_a_turn_that_is_begun_twice_with_one_key_is_one_turn(house: House) -> None:
    async with house.agent() as agent, opened(agent) as run_id:
        steps = f"/v1/runs/{run_id}/steps"
        key = {"Idempotency-Key": "turn 1"}
        first, second = [(await agent.post(steps, headers=key, json={"model": "m"})).json() for _ in range(2)]
        usage = {"usage": {"input_tokens": 5, "output_tokens": 2}}
        ended = [(await agent.post(f"{steps}/{first['step_id']}/end", json=usage)).json() for _ in range(2)]
        report = (await agent.get(f"/v1/runs/{run_id}/report")).json()
    assert first == second
    assert ended[0] == ended[1]
    assert (report["steps"]["used"], report["tokens"]["used"]) == (1, 7)


async def test_what_the_model_said_is_kept_with_the_turn(house: House) -> None:
    said = {
        "text": "I look.", "calls": [{"name": "add", "args": {"a": 1}, "id": "c1"}, {"name": "x", "raw": "{"}],
        "model": "m-1", "response_id": "resp_1",
    }
    async with house.agent() as agent, opened(agent) as run_id:
        step = (await agent.post(f"/v1/runs/{run_id}/steps", json={"model": "m"})).json()
        path = f"/v1/runs/{run_id}/steps/{step['step_id']}/end"
        wrong = await agent.post(path, json={"turn": {**said, "tekst": "x"}})
        ended = await agent.post(path, json={"usage": {"input_tokens": 5, "output_tokens": 2}, "turn": said})
    (kept,) = house.gateway.store.steps_of("acme", run_id)
    assert (wrong.status_code, ended.status_code) == (422, 200)
    assert (kept.asking.text, kept.asking.model, kept.asking.answer_id) == ("I look.", "m-1", "resp_1")
    assert [(call.tool, call.args, call.call_id) for call in kept.asking.calls] == [
        ("add", '{"a":1}', "c1"), ("x", "{", ""),
    ]


async def test_a_run_that_has_stopped_begins_no_turn_and_says_why(house: House) -> None:
    async with house.agent() as agent, house.person(Role.OPERATOR, name="olga") as operator, opened(agent) as run_id:
        why = {"reason": "cancelled", "detail": "late"}
        stopped = (await operator.post(f"/v1/runs/{run_id}/stop", json=why)).json()
        turn = await agent.post(f"/v1/runs/{run_id}/steps")
        call = (await agent.post(f"/v1/runs/{run_id}/calls", json={"tool": "add", "args": {"a": 1, "b": 1}})).json()
    assert (stopped["status"], stopped["stop_reason"]) == ("stopped", "cancelled")
    assert (turn.status_code, turn.json()["code"], turn.json()["run_id"]) == (409, "run_stopped", run_id)
    assert (call["kind"], call["stop_reason"]) == ("stopped", "cancelled")


async def test_a_call_is_read_as_it_is_recorded_and_without_what_was_lent(open_house: Open) -> None:
    house = open_house()
    house.gateway.redactor.remember("canary-secret-value")

    @house.gateway.tool("leak", effect="read")
    def leak() -> dict[str, str]:
        return {"token": "canary-secret-value"}

    async with house.agent() as agent, opened(agent) as run_id:
        outcome = await agent.post(f"/v1/runs/{run_id}/calls", json={"tool": "leak", "call_id": "c 1/ä"})
        read = await agent.get(f"/v1/runs/{run_id}/calls/c%201%2F%C3%A4")
        listed = await agent.get(f"/v1/runs/{run_id}/calls")
    assert read.json()["result"] == {"token": "[redacted]"}
    assert read.json()["state"] == "done"
    assert listed.json()["calls"] == [read.json()]
    assert "canary" not in outcome.text + read.text + listed.text


# --- what every request has to put up with ---------------------------------------------------------------------------


async def test_without_a_valid_key_there_is_nothing_to_see(house: House) -> None:
    async with house.client() as nobody, house.client("ilk_0000000000000000_" + "x" * 43) as wrong:
        for path in ("/v1/runs", "/v1/nothing", "/v1/runs/r1/calls"):
            for client in (nobody, wrong):
                answer = await client.get(path)
                assert (answer.status_code, answer.json()["code"]) == (401, "unauthenticated")
                assert answer.headers["www-authenticate"].startswith("Bearer")
        assert (await nobody.get("/healthz")).json()["ready"] is True
        assert (await nobody.get("/readyz")).json() == {"ready": True, "troubles": []}
        assert (await nobody.get("/openapi.json")).json()["openapi"] == "3.1.0"


@pytest.mark.parametrize("said", [{"tenant": "other"}, {"agent": "other"}, {"env": "dev"}])
async def test_a_body_that_says_another_tenant_agent_or_env_is_refused(house: House, said: dict[str, str]) -> None:
    async with house.agent() as agent:
        answer = await agent.post("/v1/runs", json=said)
    assert (answer.status_code, answer.json()["code"]) == (403, "forbidden")
    assert len(house.turned_away()) == 1


@pytest.mark.parametrize(
    ("body", "status"),
    [
        (b"{", 400),
        (b'{"tool": 1}', 422),
        (b'{"tool": "add", "tenant": "acme"}', 422),
        (b'{"tool": "add", "args": ' + b'{"a":' * 70 + b"1" + b"}" * 71, 422),
        (b'{"tool": "add", "args": {"a": ' + b"[" * 50_000 + b"]" * 50_000 + b"}}", 422),
        (b'{"tool": "add", "args": {"a": "\\ud800"}}', 400),
        (b"\xff\xfe", 400),
        (b"", 400),
        (b'{"tool": "add", "pad": "' + b"x" * 1_100_000 + b'"}', 413),
    ],
)
async def test_a_body_that_cannot_be_taken_is_refused_and_not_an_error(
    house: House, body: bytes, status: int
) -> None:
    async with house.agent() as agent, opened(agent) as run_id:
        answer = await agent.post(f"/v1/runs/{run_id}/calls", content=body)
    assert answer.status_code == status, answer.text


async def test_a_body_that_comes_too_slowly_is_not_waited_for(open_house: Open) -> None:
    house = open_house({"serve": {"body_seconds": "50ms"}})

    async def slowly() -> Any:
        yield b'{"run_id": '
        await asyncio.sleep(30)

    async with house.agent() as agent:
        answer = await agent.post("/v1/runs", content=slowly())
    assert (answer.status_code, answer.json()["code"]) == (408, "too_slow")


async def test_a_wrong_method_names_the_right_ones(house: House) -> None:
    async with house.agent() as agent, house.client() as nobody:
        answers = [await agent.delete(path) for path in ("/v1/runs", "/v1/runs/r1", "/v1/approvals/a/approve")]
        stranger = await nobody.delete("/v1/runs/r1")
    assert [answer.status_code for answer in answers] == [405, 405, 405]
    assert [answer.headers["allow"] for answer in answers] == ["GET, POST", "GET", "POST"]
    assert [answer.json()["remedy"] for answer in answers] == ["use GET or POST", "use GET", "use POST"]
    assert stranger.status_code == 401


async def test_every_method_of_every_path_is_answered_as_foreseen(house: House) -> None:
    async with house.person(Role.ADMIN) as admin:
        for path in {route.path for route in ROUTES if route.media != EVENTS}:
            for method in ("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "BREW"):
                answer = await admin.request(method, path.format_map(defaultdict(lambda: "x")))
                assert answer.status_code < 500, (method, path, answer.text)


async def test_a_monitor_may_ask_with_head(house: House) -> None:
    async with house.client() as nobody, house.person(Role.AUDITOR) as auditor:
        answers = [await nobody.head("/healthz"), await nobody.head("/readyz")]
        streams = [await auditor.head(path) for path in ("/v1/approvals/events", "/v1/audit/export")]
    assert [answer.status_code for answer in answers + streams] == [200] * 4
    assert [answer.content for answer in streams] == [b"", b""]


async def test_what_nobody_foresaw_says_nothing_of_its_cause(house: House, caplog: pytest.LogCaptureFixture) -> None:
    secret = "canary-secret-value"
    house.gateway.redactor.remember(secret)

    async def broken(*_: Any) -> None:
        raise RuntimeError(secret)

    house.app.service.opened = broken  # type: ignore[assignment,method-assign]
    async with house.agent() as agent:
        answer = await agent.post("/v1/runs/r1/calls", json={"tool": "add"}, headers={"x-request-id": "req-7"})
    assert (answer.status_code, answer.json()["code"]) == (500, "internal")
    assert answer.headers["x-request-id"] == "req-7"
    assert "RuntimeError" not in answer.text
    assert "canary" not in answer.text + caplog.text
    assert "req-7" in caplog.text


async def test_every_answer_is_guarded_and_has_an_id(house: House) -> None:
    async with house.agent() as agent:
        for answer in (await agent.get("/healthz"), await agent.get("/v1/runs"), await agent.get("/nowhere")):
            assert answer.headers["x-content-type-options"] == "nosniff"
            assert answer.headers["cache-control"] == "no-store"
            assert answer.headers["content-security-policy"].startswith("default-src 'none'")
            assert answer.headers["x-request-id"]


async def test_a_ledger_that_cannot_be_written_is_not_ready(house: House, clock: Any) -> None:
    async with house.client() as anybody:
        assert (await anybody.get("/readyz")).status_code == 200
        house.gateway.committer.close()
        clock.advance(5)
        answer = await anybody.get("/readyz")
    assert (answer.status_code, answer.json()["ready"]) == (503, False)
    assert answer.json()["troubles"] == ["the ledger cannot be written"]
