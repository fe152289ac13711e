"""What people and programs say is kept as it is, or refused: a ledger that took more could not be read again."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

import interlock
from tests.gateway.conftest import House

START = Callable[..., interlock.Run]
CANARY = "canary-5e1f-77aa"
NOT_WORDS = [None, 5, b"x", ["x"], "\ud800"]


def _open(house: House) -> interlock.Gateway:
    gw = house.open({"approvals": {"required_for": ["ask"]}, "budgets": {"max_tokens": 10_000}})
    gw.tool("ask", effect="write")(lambda: "done")
    gw.tool("lose", effect="write")(_lose)
    gw.tool("look", effect="read")(lambda: "seen")
    return gw


def _lose() -> str:
    raise TimeoutError


def _acts(gw: interlock.Gateway, **said: Any) -> dict[str, Callable[[], object]]:
    """Every act of a person, with these words."""
    note = {("reason" if key == "note" else key): value for key, value in said.items()}
    (asked,) = gw.control.approvals(tenant="acme")
    return {
        "approve": lambda: gw.control.approve(asked.approval_id, **said),
        "reject": lambda: gw.control.reject(asked.approval_id, **said),
        "kill": lambda: gw.control.kill(tenant="beta", **{"reason": "incident", **note}),
        "release": lambda: gw.control.release(tenant="gamma", **note),
        "reconcile": lambda: gw.control.reconcile(tenant="acme", run_id="r", call_id="lost", happened=True, **said),
        "top_up": lambda: gw.control.top_up(tenant="acme", run_id="r", steps=1, **said),
    }


@pytest.mark.parametrize("said", [{"by": "ann", "note": word} for word in NOT_WORDS] + [{"by": 5}, {"by": "a\nb"}])
def test_words_that_cannot_be_kept_are_refused_and_the_ledger_stays_readable(
    house: House, start: START, said: dict[str, Any]
) -> None:
    gw = _open(house)
    run = start(gw, run_id="r")
    assert run.call("ask", {}, call_id="asked").kind == "pending"
    assert run.call("lose", {}, call_id="lost").kind == "unknown"
    gw.control.kill(tenant="gamma", reason="incident", by="ann")
    for name, act in _acts(gw, **said).items():
        with pytest.raises(interlock.Refused):
            pytest.fail(f"{name} took {said}: {act()}")
    house.close()
    gw = _open(house)  # a gateway that starts anew reads all of it
    assert [str(each.scope) for each in gw.control.switches(active=False)] == ["tenant gamma"]
    assert [each.standing for each in gw.control.approvals(tenant="acme")] == ["waiting"]
    assert gw.audit.verify(tenant="acme").ok


@pytest.mark.parametrize("name", [None, 5, " acme", "acme\n"])
@pytest.mark.parametrize("what", ["tenant", "agent", "tool", "run"])
def test_a_kill_of_what_has_no_name_is_refused_and_holds_for_nobody(house: House, what: str, name: Any) -> None:
    gw = _open(house)
    with pytest.raises(interlock.Refused, match="to kill everything, name nothing"):
        gw.control.kill(**{what: name}, reason="incident", by="ann")
    assert gw.control.switches(active=False) == ()


@pytest.mark.parametrize("happened", [None, "no", 0])
def test_what_was_found_is_said_as_true_or_false(house: House, start: START, happened: Any) -> None:
    gw = _open(house)
    run = start(gw, run_id="r")
    run.call("lose", {}, call_id="lost")
    with pytest.raises(interlock.Refused, match="happened="):
        gw.control.reconcile(tenant="acme", run_id="r", call_id="lost", happened=happened, by="ann")
    assert run.report().calls == {"unknown": 1}


@pytest.mark.parametrize(
    "wrong",
    [
        {"tenant": None}, {"agent": None}, {"env": None}, {"run_id": ""}, {"runtime": 5}, {"requested_by": 5},
        {"request": None}, {"request": 5}, {"request": "\ud800"}, {"labels": {"a": 5}}, {"labels": {"a": object()}},
    ],
)
def test_a_run_of_nobody_or_with_words_that_cannot_be_kept_is_not_opened(
    house: House, start: START, wrong: dict[str, Any]
) -> None:
    gw = _open(house)
    with pytest.raises(interlock.ConfigError):
        start(gw, **wrong)
    assert list(gw.store.runs(None)) == []


@pytest.mark.parametrize("tokens", [-1, 1.5, "5", True])
def test_tokens_are_counted_in_whole_numbers_from_nothing(house: House, start: START, tokens: Any) -> None:
    gw = _open(house)
    run = start(gw)
    for wrong in ({"input_tokens": tokens}, {"max_output_tokens": tokens}):
        with pytest.raises(interlock.ConfigError, match="must be a whole number from 0"):
            run.begin_step("gpt-5-mini", **wrong)
    with pytest.raises(ValueError, match="input_tokens must be a whole number"):
        interlock.Usage(input_tokens=tokens, output_tokens=1)
    assert run.report().tokens.held == 0


def test_a_run_that_stopped_says_why_once_whatever_the_step_would_have_cost(house: House, start: START) -> None:
    gw = _open(house)
    run = start(gw, budgets={"max_usd": 1})
    run.stop("cancelled", "the user left")
    for unpriced in ("", "no-such-model"):
        with pytest.raises(interlock.RunStopped) as stopped:
            run.begin_step(unpriced)
        assert (stopped.value.reason, str(stopped.value)) == (
            "cancelled", "the run has stopped: cancelled (the user left)",
        )


def test_a_kill_is_why_a_step_does_not_begin_though_it_has_no_price_either(house: House, start: START) -> None:
    gw = _open(house)
    run = start(gw, budgets={"max_usd": 1})
    gw.control.kill(tenant="acme", reason="incident", by="ann")
    with pytest.raises(interlock.RunStopped):
        run.begin_step()
    assert run.stop_reason == "killed"


def test_a_lent_value_that_a_model_uses_as_a_name_is_written_down_nowhere(
    one_house: House, start: START, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setenv("CRM", CANARY)
    gw = one_house.open({"credentials": {"crm": "env:CRM"}})

    @gw.tool("look", effect="read", credential="crm")
    def look(secret: interlock.Credential) -> str:
        return "seen"

    run = start(gw)
    assert run.call("look", {}).kind == "done"
    with caplog.at_level("DEBUG"):
        refused = run.call(f"crm.{CANARY}", {})
    assert "no tool 'crm.[redacted]'" in refused.text
    assert "[redacted]" in run.call(f"crm.{CANARY}\n", {}).text
    assert "must not hold a credential" in run.call("look", {}, call_id=CANARY).text
    with pytest.raises(interlock.ConfigError, match="must not hold a credential"):
        run.call("look", {}, idempotency_key=f"k-{CANARY}")
    one_house.close()
    kept = b"".join(path.read_bytes() for path in one_house.folder.iterdir() if path.is_file())
    assert b"crm.[redacted]" in kept
    assert CANARY.encode() not in kept
    assert CANARY not in caplog.text


@pytest.mark.parametrize("name", [None, 5, "", " mail", "mail\n", "x" * 201, "mail.*", "mail?", "[mail]"])
def test_a_tool_under_a_name_that_no_call_could_bear_is_not_registered(house: House, name: Any) -> None:
    gw = house.open()
    with pytest.raises(interlock.ToolError, match="the name of a tool must"):
        gw.tool(name, effect="read")
    assert gw.tools == {}


def test_a_tool_without_a_name_is_told_how_it_is_registered(house: House) -> None:
    gw = house.open()
    with pytest.raises(interlock.ToolError, match=r'@gw.tool\("ticket.create"\)'):

        @gw.tool  # type: ignore[arg-type]
        def look() -> str:
            return "seen"


def test_the_first_run_warns_once_of_names_that_no_tool_bears_and_of_arguments_that_none_has(
    house: House, start: START, caplog: pytest.LogCaptureFixture
) -> None:
    big = {"id": "big", "tools": ["pay"], "when": "args.amont > 100.0", "then": "ask"}
    gw = house.open({"policy": {"allow": ["pay", "tickt.read"], "rules": [big]}})
    gw.tool("pay", effect="write")(lambda amount: f"paid {amount}")
    gw.tool("ticket.read", effect="read")(lambda: "seen")
    start(gw)
    told = [record.getMessage() for record in caplog.records]
    assert [("tickt.read" in line, "args.amont" in line) for line in told] == [(True, False), (False, True)]
    assert "did you mean 'ticket.read'?" in told[0]
    assert "did you mean 'amount'?" in told[1]
    start(gw)
    assert len(caplog.records) == len(told)


def test_a_run_that_opens_before_any_tool_is_there_warns_of_none(
    house: House, start: START, caplog: pytest.LogCaptureFixture
) -> None:
    start(house.open())
    assert caplog.records == []


@pytest.mark.parametrize("used", [False, True])
def test_whoever_asked_cannot_take_back_what_others_have_answered(house: House, start: START, used: bool) -> None:
    gw = house.open({"approvals": {"required_for": ["ask"], "on_reject": "stop"}})
    gw.tool("ask", effect="write")(lambda: "done")
    run = start(gw, requested_by="erin")
    asked = run.call("ask", {}, call_id="c1").approval_id or ""
    gw.control.approve(asked, by="ann")
    if used:
        assert run.call("ask", {}, call_id="c1").kind == "done"
    for by in ("erin", "bot"):
        with pytest.raises(interlock.Refused, match="already"):
            gw.control.reject(asked, by=by)
    assert run.stop_reason is None
    assert run.call("ask", {}, call_id="c1").kind == "done"


def test_whoever_has_said_yes_may_still_say_no_while_others_are_asked(house: House, start: START) -> None:
    gw = house.open({"approvals": {"required_for": ["ask"], "quorum": 2}})
    gw.tool("ask", effect="write")(lambda: "done")
    run = start(gw)
    asked = run.call("ask", {}, call_id="c1").approval_id or ""
    gw.control.approve(asked, by="ann")
    assert gw.control.reject(asked, by="ann", note="on second thoughts").standing == "rejected"
    assert run.call("ask", {}, call_id="c1").kind == "denied"


def test_nobody_is_asked_for_what_a_stopped_run_has_wanted_and_whoever_answers_is_told_why(
    house: House, start: START
) -> None:
    gw = house.open({"approvals": {"required_for": ["ask"]}})
    gw.tool("ask", effect="write")(lambda of: f"done {of}")
    run, other = start(gw), start(gw)
    asked = [run.call("ask", {"of": of}).approval_id or "" for of in ("one", "two")]
    of_another = other.call("ask", {"of": "one"}).approval_id
    run.stop("cancelled")
    assert [each.approval_id for each in gw.control.approvals(tenant="acme")] == [of_another]
    standing = {each.approval_id: each.standing for each in gw.control.approvals(waiting=False)}
    assert [standing[each] for each in asked] == ["withdrawn", "withdrawn"]
    for answer in (gw.control.approve, gw.control.reject):
        with pytest.raises(interlock.Refused, match=r"has stopped \(cancelled\)"):
            answer(asked[0], by="ann")
    assert run.call("ask", {"of": "one"}).kind == "stopped"


def test_a_no_that_stops_the_run_takes_back_its_other_questions(house: House, start: START) -> None:
    gw = house.open({"approvals": {"required_for": ["ask"], "on_reject": "stop"}})
    gw.tool("ask", effect="write")(lambda of: f"done {of}")
    run = start(gw)
    first, second = (run.call("ask", {"of": of}).approval_id or "" for of in ("one", "two"))
    gw.control.reject(first, by="ann")
    standing = {each.approval_id: each.standing for each in gw.control.approvals(waiting=False)}
    assert standing == {first: "rejected", second: "withdrawn"}
