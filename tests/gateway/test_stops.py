"""Stop reasons: a closed set with its texts; a stop is a latch; the report of a run."""

import asyncio

import pytest

import interlock
from interlock import StopReason
from interlock.core.run import STOP_TEXTS


def tools(gw):
    did = []

    @gw.tool("kb.read", effect="read")
    def read(n: int = 0) -> int:
        did.append(n)
        return n

    return did


def test_the_stop_reasons_are_a_closed_set():
    assert list(StopReason) == [
        "completed",
        "max_steps",
        "max_tool_calls",
        "max_seconds",
        "max_usd",
        "max_tokens",
        "max_denials",
        "loop_detected",
        "policy_stop",
        "killed",
        "approval_rejected",
        "approval_expired",
        "unpriced",
        "tool_error",
        "model_error",
        "cancelled",
        "ledger_unavailable",
    ]


@pytest.mark.parametrize("reason", StopReason)
def test_each_has_a_text_for_the_model_the_user_and_the_operator(reason):
    texts = STOP_TEXTS[reason]
    assert all(len(text) > 15 for text in (texts.model, texts.user, texts.operator))
    assert len({texts.model, texts.user, texts.operator}) == 3
    for secret in ("max_", "policy", "kill", "audit", "budget in"):
        assert secret not in texts.user  # a safe sentence


@pytest.mark.parametrize("reason", StopReason)
def test_a_stop_is_a_latch(gw, start, reason):
    did, run = tools(gw), start(gw)
    run.stop(reason, "why")
    run.stop("cancelled", "later")
    assert (run.stop_reason, run.report().detail) == (reason, "why")
    for _ in range(2):
        out = run.call("kb.read", {})
        assert (out.kind, out.stop_reason) == ("stopped", reason)
        assert STOP_TEXTS[reason].model in out.text
        assert asyncio.run(run.acall("kb.read", {})).kind == "stopped"
        with pytest.raises(interlock.RunStopped) as stopped:
            run.begin_step()
        assert stopped.value.reason == reason
    assert did == []
    again = start(gw, run_id=run.run_id)
    assert (again.call("kb.read", {}).kind, again.stop_reason) == ("stopped", reason)
    stops = [entry for entry in gw.audit.entries(tenant="acme") if entry.kind == "run_stopped"]
    assert [(entry.outcome, entry.note) for entry in stops] == [(reason, "why")]


@pytest.mark.parametrize(
    ("reason", "status"),
    [
        ("completed", "completed"),
        ("tool_error", "failed"),
        ("model_error", "failed"),
        ("ledger_unavailable", "failed"),
        ("cancelled", "stopped"),
        ("killed", "stopped"),
    ],
)
def test_a_report_tells_the_status_apart_from_the_reason(gw, start, reason, status):
    run = start(gw)
    assert (run.report().status, run.report().stop_reason, run.report().texts) == ("running", None, None)
    run.stop(reason)
    report = run.report()
    assert (report.status, report.stop_reason, report.texts) == (status, reason, STOP_TEXTS[StopReason(reason)])


def test_a_reason_that_is_none_is_a_mistake_of_the_program(gw, start):
    run = start(gw)
    with pytest.raises(interlock.ConfigError, match="cancelled"):
        run.stop("tired")
    assert run.stop_reason is None


def test_too_many_refusals_stop_the_run(gw, start):
    did, run = tools(gw), start(gw, budgets={"max_denials": 3})
    outs = [run.call("no.such", {}) for _ in range(3)]
    assert [out.kind for out in outs] == ["denied"] * 3
    assert [out.stop_reason for out in outs] == [None, None, "max_denials"]
    assert STOP_TEXTS[StopReason.MAX_DENIALS].model in outs[2].text
    assert run.call("kb.read", {}).stop_reason == "max_denials"
    assert (run.report().denials, did) == (3, [])


def test_a_rule_may_stop_the_run(house, start):
    rule = {"id": "trap", "tools": ["kb.read"], "when": "args.n == 7", "then": "stop", "reason": "a canary was touched"}
    gw = house.open({"policy": {"allow": ["*"], "rules": [rule]}})
    did, run = tools(gw), start(gw)
    assert run.call("kb.read", {"n": 1}).kind == "done"
    out = run.call("kb.read", {"n": 7})
    assert (out.kind, run.stop_reason, out.decision.rule, did) == ("stopped", "policy_stop", "trap", [1])


def test_a_report_counts_what_was_used_and_left(gw, start, clock):
    tools(gw)
    run = start(gw, budgets={"max_tool_calls": 5, "max_steps": 3, "max_seconds": 60, "max_usd": 1})
    gw.tool("ads.buy", effect="read", cost={"usd": 0.25})(lambda: None)
    run.call("kb.read", {})
    run.call("ads.buy", {})
    run.call("no.such", {})
    clock.advance(15)
    report = run.report()
    assert (report.run_id, report.tenant, report.agent, report.env) == (run.run_id, "acme", "bot", "prod")
    assert (report.tool_calls.used, report.tool_calls.left, report.tool_calls.limit) == (2, 3, 5)
    assert (report.usd.used, report.usd.left, report.usd.limit) == (0.25, 0.75, 1.0)
    assert (report.seconds.used, report.seconds.left, report.seconds.limit) == (15, 45, 60)
    assert (report.steps.used, report.tokens.limit, report.denials) == (0, None, 1)
    assert report.calls == {"done": 2}  # what cannot be taken is not kept
    clock.advance(100)
    run.finish()
    assert run.report().seconds.left == 0


def test_leaving_a_run_finishes_it(gw, start):
    with start(gw) as run:
        pass
    assert (run.stop_reason, run.status) == ("completed", "completed")

    async def main():
        async with start(gw) as run:
            pass
        return run

    assert asyncio.run(main()).stop_reason == "completed"


def test_leaving_a_run_by_an_error_cancels_it_and_the_error_comes_out(gw, start):
    with pytest.raises(KeyError), start(gw) as run:
        raise KeyError("x")
    assert (run.stop_reason, run.report().detail) == ("cancelled", "left by KeyError")
    with pytest.raises(interlock.RunStopped), start(gw, budgets={"max_steps": 0}) as run:
        run.begin_step()
    assert run.stop_reason == "max_steps"


def test_a_run_is_taken_up_again_with_what_it_has_used(house, start):
    gw = house.open()
    tools(gw)
    start(gw, run_id="r1", budgets={"max_tool_calls": 2}).call("kb.read", {"n": 1})
    house.close()
    gw = house.open()
    tools(gw)
    run = start(gw, run_id="r1", budgets={"max_tool_calls": 99})
    assert run.call("kb.read", {"n": 2}).kind == "done"
    assert run.call("kb.read", {"n": 3}).stop_reason == "max_tool_calls"


def test_a_run_is_not_another_agents_to_take_up(gw, start):
    start(gw, run_id="r1")
    for other in ({"agent": "x"}, {"env": "staging"}):
        with pytest.raises(interlock.Refused, match="r1"):
            start(gw, run_id="r1", **other)


@pytest.mark.parametrize(
    "wrong",
    [
        {"tenant": ""},
        {"tenant": "*"},
        {"agent": "a\nb"},
        {"env": " "},
        {"run_id": ""},
        {"run_id": "x" * 300},
        {"budgets": {"max_step": 1}},
        {"budgets": {"max_usd": -1}},
    ],
)
def test_a_run_that_cannot_be_is_a_mistake_of_the_program(gw, start, wrong):
    with pytest.raises(interlock.ConfigError):
        start(gw, **wrong)
    assert gw.store.runs() == []
