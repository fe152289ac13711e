"""Approvals that are put to the person at the client: where it says that there is one, and the config says so too."""

from __future__ import annotations

import asyncio
from typing import Any

import mcp_types as types
import pytest

from interlock.core.principal import Principal, Role
from interlock.faces.mcp import STATE_KEY, asking
from interlock.faces.mcp.sealed import LIVES, Forged, Seal
from interlock.testing import ManualClock
from tests.faces.mcp.conftest import Open, Served, message_of, run

ERAS = pytest.mark.parametrize("mode", ["auto", "legacy"])
ASKS: dict[str, Any] = {"mcp": {"ask_in_client": True}, "url": "https://gateway.example"}
PERSON = {"io.modelcontextprotocol/clientCapabilities": {"elicitation": {"url": {}, "form": {}}}}


class Person:
    """Sits at a client, and answers what comes: at the client, and on the console's page."""

    def __init__(self, served: Served, action: str, *, approves: bool) -> None:
        self.served, self.action, self.approves = served, action, approves
        self.asked: list[Any] = []

    async def __call__(self, _: Any, params: Any) -> types.ElicitResult:
        self.asked.append(params)
        if self.approves:
            (waiting,) = self.served.gateway.control.approvals()
            self.served.gateway.control.approve(waiting.approval_id, by="anna")
        return types.ElicitResult(action=self.action)  # type: ignore[arg-type]


@pytest.fixture
def asks(serve: Open, monkeypatch: pytest.MonkeyPatch) -> Served:
    monkeypatch.setattr(asking, "ANSWER_SECONDS", 0.05)
    monkeypatch.setattr(asking, "LOOK_SECONDS", 0.01)
    return serve(serve=ASKS)


@ERAS
def test_the_person_is_sent_to_the_page_and_what_they_approve_there_is_done(
    asks: Served, sent: list[Any], mode: str
) -> None:
    person = Person(asks, "accept", approves=True)

    async def go() -> None:
        async with asks.client(mode=mode, elicitation_callback=person) as client:
            result = await client.call_tool("ticket.close", {"number": 7})
            assert not result.is_error, result
            again = await client.call_tool("ticket.close", {"number": 7})
            assert not again.is_error

    run(go())
    (asked,) = person.asked
    assert asked.url.startswith("https://gateway.example/approvals/ap_")
    assert sent == [7]


@ERAS
@pytest.mark.parametrize("action", ["accept", "cancel", "decline"])
def test_whatever_the_client_says_nothing_is_done_without_the_answer_on_the_page(
    asks: Served, sent: list[Any], mode: str, action: str
) -> None:
    person = Person(asks, action, approves=False)

    async def go() -> None:
        async with asks.client(mode=mode, elicitation_callback=person) as client:
            result = await client.call_tool("ticket.close", {"number": 7})
            assert result.is_error
            assert result.meta["interlock/outcome"] == "pending"
            assert result.content[0].text.startswith("APPROVAL_REQUIRED")

    run(go())
    assert sent == []
    assert len(asks.gateway.control.approvals()) == 1


@ERAS
def test_nobody_is_asked_where_the_client_declares_no_person(asks: Served, mode: str) -> None:
    async def go() -> None:
        async with asks.client(mode=mode) as client:
            result = await client.call_tool("ticket.close", {"number": 7})
            assert result.meta["interlock/outcome"] == "pending"

    run(go())


@ERAS
def test_nobody_is_asked_where_the_config_does_not_say_so(served: Served, mode: str) -> None:
    person = Person(served, "accept", approves=True)

    async def go() -> None:
        async with served.client(mode=mode, elicitation_callback=person) as client:
            result = await client.call_tool("ticket.close", {"number": 7})
            assert result.meta["interlock/outcome"] == "pending"

    run(go())
    assert person.asked == []


def test_a_state_belongs_to_one_caller_and_one_call_and_is_used_once(asks: Served, sent: list[Any]) -> None:
    mine, theirs = asks.token(), asks.token(agent="other")
    call = {"name": "ticket.close", "arguments": {"number": 7}}

    async def go() -> None:
        first = message_of(await asks.modern("tools/call", mine, PERSON, **call))["result"]
        assert first["resultType"] == "input_required"
        answered = {"inputResponses": {"approval": {"action": "accept"}}, "requestState": first["requestState"]}
        other = {"name": "ticket.close", "arguments": {"number": 8}}
        forged = {**answered, "requestState": first["requestState"][:-4] + "AAA="}
        for token, said in ((theirs, {**call, **answered}), (mine, {**other, **answered}), (mine, {**call, **forged})):
            response = await asks.modern("tools/call", token, PERSON, **said)
            assert message_of(response)["error"]["code"] == types.INVALID_PARAMS
        (waiting,) = asks.gateway.control.approvals()
        asks.gateway.control.approve(waiting.approval_id, by="anna")
        done = message_of(await asks.modern("tools/call", mine, PERSON, **call, **answered))["result"]
        assert done["content"][0]["text"] == "closed 7"
        again = message_of(await asks.modern("tools/call", mine, PERSON, **call, **answered))["result"]
        assert again["isError"]

    run(go())
    assert sent == [7]


def test_a_state_has_an_end_and_processes_that_share_a_key_share_states(monkeypatch: pytest.MonkeyPatch) -> None:
    who = Principal(name="bot", roles=(Role.AGENT,), tenant="acme", agent="bot", env="prod")
    clock = ManualClock()
    told = {"run_id": "r", "call_id": "c", "approval_id": "ap"}
    state = Seal(clock).close(who, "wish", **told)
    with pytest.raises(Forged):
        Seal(clock).open(who, "wish", state)
    monkeypatch.setenv(STATE_KEY, "ab" * 32)
    state = Seal(clock).close(who, "wish", **told)
    found = Seal(clock).open(who, "wish", state)
    assert found is not None
    assert found.call_id == "c"
    clock.advance(LIVES / 1e6)
    assert Seal(clock).open(who, "wish", state) is None


def test_a_person_who_takes_their_time_is_waited_for(
    serve: Open, sent: list[Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(asking, "LOOK_SECONDS", 0.01)
    served = serve(serve=ASKS)
    person = Person(served, "accept", approves=False)

    async def go() -> None:
        async with served.client(elicitation_callback=person) as client:
            call = asyncio.create_task(client.call_tool("ticket.close", {"number": 7}))
            while not person.asked:  # noqa: ASYNC110  it comes from the client's own task
                await asyncio.sleep(0.01)
            (waiting,) = served.gateway.control.approvals()
            served.gateway.control.approve(waiting.approval_id, by="anna")
            assert not (await call).is_error

    run(go())
    assert sent == [7]
