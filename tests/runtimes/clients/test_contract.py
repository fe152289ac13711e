"""One contract, every client: what holds whichever runtime calls. Where clients differ, `expectations.py` says how."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from tests.runtimes.clients.conftest import Client, OpenOffice
from tests.runtimes.clients.office import SECRETS, Office
from tests.runtimes.clients.script import Call, Turn

SHOWN = {"ticket.read", "ticket.create", "ticket.close", "refund.pay", "crm.note"}


def after(act: Callable[[], Any], turn: Turn | Call) -> Callable[[], Turn]:
    """The turn of a model, before which something happens in the world."""

    def take() -> Turn:
        act()
        return [turn] if isinstance(turn, Call) else turn

    return take


def entries(office: Office, kind: str) -> list[Any]:
    return [entry for entry in office.gateway.audit.entries(tenant="acme") if entry.kind == kind]


# --- listing and calling ---------------------------------------------------------------------------------------------


def test_a_client_is_shown_what_its_key_may_use(client: Client, office: Office) -> None:
    office.open_run("g1", tenant="globex")
    assert client.run(office, "nothing to do").offered == SHOWN
    theirs = client.run(office, "nothing to do", key=office.key_of("globex"), run_id="g1")
    assert theirs.offered == SHOWN - {"crm.note"}


def test_an_allowed_call_is_done_once_and_the_model_is_told(client: Client, office: Office) -> None:
    calls = [Call("ticket.create", {"title": "fire"}, "c1"), Call("crm.note", {"text": "n"}, "c2")]
    ran = client.run(office, *calls, "fine")
    assert (ran.said, ran.told) == ("fine", ["ticket about fire", "noted: n"])
    assert (office.done, office.crm.notes) == ([("create", "fire")], ["n"])


def test_the_calls_of_one_turn_are_all_answered(client: Client, office: Office) -> None:
    titles = ["a", "b", "c"]
    ran = client.run(office, [Call("ticket.create", {"title": each}, f"c-{each}") for each in titles], "fine")
    assert ran.told == [f"ticket about {each}" for each in titles]
    assert sorted(office.done) == [("create", each) for each in titles]


def test_a_refusal_is_told_to_the_model_and_the_run_goes_on(client: Client, office: Office) -> None:
    refused = [Call("refund.pay", {"amount": amount}, f"c{amount}") for amount in (500, 600, 700)]
    ran = client.run(office, *refused, Call("refund.pay", {"amount": 7}, "c7"), "paid the small one")
    assert ran.said == "paid the small one"
    assert all("NOT DONE: refund.pay was refused: refunds above 100 are not given" in said for said in ran.told[:3])
    assert ran.told[3] == "paid 7"
    assert office.done == [("pay", 7)]


@pytest.mark.parametrize("tool", ["ticket.delete", "no.such"])
def test_a_tool_that_was_not_shown_is_not_done(client: Client, office: Office, tool: str) -> None:
    ran = client.run(office, Call(tool, {"number": 1}, "c1"), "so be it")
    assert ran.ends == client.expects.unshown
    assert ran.said == ("" if ran.ends else "so be it")
    assert (office.done, office.door.asked) == ([], [])


def test_arguments_that_do_not_fit_do_nothing_and_the_model_is_told(client: Client, office: Office) -> None:
    ran = client.run(office, Call("ticket.close", {"number": "seven"}, "c1"), "so be it")
    assert ran.said == "so be it"
    assert len(office.door.asked) == (0 if client.expects.checks else 1)
    assert client.expects.checks or "'number' must be an integer" in ran.told[0]
    assert office.done == []


# --- approvals -------------------------------------------------------------------------------------------------------


def test_a_call_that_needs_a_person_is_done_once_when_it_is_approved_and_sent_again(
    client: Client, office: Office
) -> None:
    sends = [Call("ticket.close", {"number": 7}, f"c{turn}") for turn in range(4)]
    before: list[Any] = []

    def approve() -> None:
        before.extend(office.done)
        office.answer(yes=True)

    ran = client.run(office, sends[0], sends[1], after(approve, sends[2]), sends[3], "closed")
    assert ran.said == "closed"
    assert all("APPROVAL_REQUIRED ap_" in said and "Not executed" in said for said in ran.told[:2])
    assert ran.told[2:] == ["closed 7", "closed 7"]
    assert (before, office.done) == ([], [("close", 7)])


def test_an_approved_call_is_done_once_by_the_conversations_that_come_later(client: Client, office: Office) -> None:
    assert "APPROVAL_REQUIRED" in client.run(office, Call("ticket.close", {"number": 7}, "c1"), "later").told[0]
    office.answer(yes=True)
    for call_id in ("c1", "c2"):
        assert client.run(office, Call("ticket.close", {"number": 7}, call_id), "now").told == ["closed 7"]
    assert office.done == [("close", 7)]


def test_a_rejected_call_is_not_done(client: Client, office: Office) -> None:
    first, second = (Call("ticket.close", {"number": 7}, call_id) for call_id in ("c1", "c2"))
    ran = client.run(office, first, after(lambda: office.answer(yes=False), second), "so be it")
    assert ran.said == "so be it"
    assert "NOT DONE" in ran.told[1]
    assert office.done == []


@pytest.fixture
def asking(open_office: OpenOffice) -> Office:
    """An office that puts approvals to the person at the client, where the client says that there is one."""
    return open_office(serve={"mcp": {"ask_in_client": True}, "url": "https://gateway.example"})


def test_a_person_at_the_client_is_sent_to_the_page_and_the_call_goes_on(client: Client, asking: Office) -> None:
    asked: list[int] = []

    def person() -> str:
        asked.append(len(asking.done))
        asking.answer(yes=True)
        return "accept"

    can = client.expects.person in ("handler", "interrupt")
    ran = client.run(asking, Call("ticket.close", {"number": 7}, "c1"), "fine", person=person if can else None)
    assert ran.said == "fine"
    assert asked == ([0] if can else [])
    assert ran.told[0].startswith("closed 7") if can else "APPROVAL_REQUIRED ap_" in ran.told[0]
    assert asking.done == ([("close", 7)] if can else [])


@pytest.mark.parametrize("action", ["decline", "cancel"])
def test_what_is_said_at_the_client_is_no_answer(client: Client, asking: Office, action: str) -> None:
    can = client.expects.person in ("handler", "interrupt")
    call = Call("ticket.close", {"number": 7}, "c1")
    ran = client.run(asking, call, "later", person=(lambda: action) if can else None)
    assert ran.said == "later"
    assert "APPROVAL_REQUIRED ap_" in ran.told[0]
    assert asking.done == []
    asking.answer(yes=True)
    assert client.run(asking, call, "now").told == ["closed 7"]
    assert asking.done == [("close", 7)]


# --- once ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("how", ["cut", "bad_gateway"])
def test_an_answer_that_is_lost_doubles_nothing(client: Client, office: Office, how: Any) -> None:
    lost = client.expects.cut if how == "cut" else client.expects.bad_gateway
    office.door.loses = how
    ran = client.run(office, Call("ticket.create", {"title": "fire"}, "c1"), "so be it")
    assert ran.ends == lost.ends
    assert len(office.door.asked) == lost.sends
    assert (ran.told == ["ticket about fire"]) == (lost.sends > 1)
    again = client.run(office, Call("ticket.create", {"title": "fire"}, "c2"), "fine")
    assert again.told == ["ticket about fire"]
    assert office.done == [("create", "fire")]


# --- stops -----------------------------------------------------------------------------------------------------------


def test_nothing_is_done_after_a_kill(client: Client, office: Office) -> None:
    def kill() -> None:
        office.gateway.control.kill(tenant="acme", reason="incident 7", by="ops")

    calls = [Call("ticket.create", {"title": title}, f"c-{title}") for title in ("before", "after", "later")]
    ran = client.run(office, calls[0], after(kill, calls[1]), calls[2], "so be it")
    assert ran.ends == client.expects.stopped
    assert "killed" in (str(ran.error) if ran.ends else ran.told[1])
    assert office.done == [("create", "before")]


def test_a_budget_that_is_used_up_stops_the_run(client: Client, open_office: OpenOffice) -> None:
    office = open_office(budgets={"max_tool_calls": 1})
    calls = [Call("ticket.create", {"title": title}, f"c-{title}") for title in ("one", "two", "three")]
    ran = client.run(office, *calls, "so be it")
    assert ran.ends == client.expects.stopped
    assert "max_tool_calls" in (str(ran.error) if ran.ends else ran.told[1])
    assert office.done == [("create", "one")]


# --- names and secrets -----------------------------------------------------------------------------------------------


def test_the_audit_knows_run_and_call_by_the_names_that_the_program_gave(client: Client, office: Office) -> None:
    client.run(office, Call("ticket.create", {"title": "fire"}, "toolu_17"), "fine")
    (asked,) = office.door.asked
    expects = client.expects
    assert asked.headers["mcp-protocol-version"] == expects.protocol
    said = {"_meta": asked.meta.get("interlock/run_id"), "header": asked.headers.get("interlock-run-id")}
    assert said[expects.run_by] == "r1"
    names = {
        "_meta": asked.meta.get("interlock/call_id"), "baggage": asked.meta.get("baggage", "").partition("=")[2],
        "claudecode/toolUseId": asked.meta.get("claudecode/toolUseId"),
    }
    assert names.get(expects.call_by, "toolu_17") == "toolu_17"
    for kind in ("decided", "settled"):
        ((run_id, call_id),) = [(entry.run_id, entry.call_id) for entry in entries(office, kind)]
        assert run_id == "r1"
        assert (call_id == "toolu_17") == (expects.call_by != "")


def test_the_key_of_the_caller_ends_at_the_gateway(client: Client, office: Office) -> None:
    ran = client.run(office, Call("crm.note", {"text": "n"}, "c1"), "fine")
    assert ran.told == ["noted: n"]
    secret = office.key.encode()
    heard = b"\n".join(office.crm.heard)
    assert secret not in heard
    assert secret.rpartition(b"_")[2] not in heard
    assert b"Bearer " + SECRETS["CRM_TOKEN"].encode() in heard
    assert SECRETS["CRM_TOKEN"] not in str(ran.told)
