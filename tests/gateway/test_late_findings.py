"""What readers of the whole found last: each with the promise that it broke."""

from __future__ import annotations

import threading
from typing import Any

import pytest

import interlock
from interlock.core.lifecycle import Event, State, move
from interlock.core.switch import Mode, Scope, Switch

OPEN = {"ledger": "memory:", "policy": {"allow": ["*"]}}
HOME = {"agent": "bot", "tenant": "acme", "env": "prod"}


def test_a_model_whose_window_nobody_knows_holds_all_that_is_left() -> None:
    with interlock.open({**OPEN, "prices": {"own": {"input": 1, "output": 1}}}) as gw:
        run = gw.run(**HOME, budgets={"max_usd": 1})
        step = run.begin_step("own", max_output_tokens=1000)
        assert run.report().usd.left == 0
        with pytest.raises(interlock.RunStopped):
            run.begin_step("own", max_output_tokens=1000)
        run.end_step(step, interlock.Usage(input_tokens=1000, output_tokens=10))
        assert run.report().usd.used == 0.001010


def test_a_release_lets_go_of_all_switches_of_its_scope() -> None:
    with interlock.open(OPEN) as gw:
        for name in ("sw_one", "sw_two"):  # two processes that killed at once
            gw.board.put(Switch(name, Scope(tenant="acme"), Mode.ALL, "ann", "incident", 1, recorded=1))
        gw.control.release(tenant="acme", by="ann", reason="over")
        assert gw.control.switches() == ()


def test_killing_again_for_writes_alone_does_not_loosen_a_kill_of_everything() -> None:
    with interlock.open(OPEN) as gw:
        gw.control.kill(tenant="acme", reason="incident", by="ann")
        assert gw.control.kill(tenant="acme", reason="still", by="bob", mode="writes").mode is Mode.ALL


def test_an_act_that_the_audit_missed_is_recorded_later() -> None:
    from interlock.watch import Watch

    with interlock.open(OPEN) as gw:
        gw.board.put(Switch("sw_lost", Scope(tenant="acme"), Mode.ALL, "ann", "incident", 1))  # died before its entry
        Watch(gw).sweep()
        Watch(gw).sweep()
        told = [(entry.kind, entry.by, entry.note) for entry in gw.audit.entries("acme")]
        assert told == [("killed", "ann", "incident")]


def test_closing_waits_for_a_call_in_flight() -> None:
    gw = interlock.open(OPEN)
    begun, ended, outcome = threading.Event(), threading.Event(), []

    @gw.tool("slow", effect="write")
    def slow() -> str:
        begun.set()
        ended.wait(10)
        return "done"

    run = gw.run(**HOME)
    caller = threading.Thread(target=lambda: outcome.append(run.call("slow", {}, call_id="c1")))
    caller.start()
    assert begun.wait(10)
    threading.Timer(0.05, ended.set).start()
    gw.close()
    caller.join(10)
    assert outcome[0].kind == "done"


def test_an_owner_that_slept_before_its_effect_leaves_no_doubt() -> None:
    assert move(State.UNKNOWN, Event.CATCH) is State.FAILED
    assert move(State.LAPSED, Event.CATCH) is State.DENIED


def test_an_upstream_whose_credential_is_a_tenants_is_connected_when_that_tenant_opens_a_run(monkeypatch: Any) -> None:
    config = {
        **OPEN,
        "credentials": {"crm": "env:CRM_{TENANT}"},
        "upstreams": {"crm": {"mcp": {"url": "http://127.0.0.1:9/mcp"}, "credential": "crm"}},
    }
    monkeypatch.setenv("CRM_ACME", "token-of-acme")
    with interlock.open(config) as gw:  # nothing to connect with yet, and no error
        assert len(gw.opening) == 3  # what starts it, what keeps definitions, and what warns of odd names
        run = gw.run(**HOME)  # nobody listens there: told in the log, tried again, denied meanwhile
        assert run.call("crm.find", {}).kind == "denied"


def test_what_a_tool_reports_beyond_its_price_is_told_in_the_audit() -> None:
    config = {**OPEN, "tools": {"find": {"effect": "read", "cost": {"usd": 0.01, "reported": True}}}}
    with interlock.open(config) as gw:

        @gw.tool("find", effect="read")
        def find(info: interlock.CallInfo) -> None:
            info.report_cost(5.0)

        run = gw.run(**HOME)
        run.call("find", {}, call_id="c1")
        assert run.report().usd.used == 0.01
        assert "more than the 10000" in [entry.note for entry in gw.audit.entries("acme")][-1]
