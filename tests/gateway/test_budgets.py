"""Budgets: exact whatever the concurrency; held before the effect, spent or returned after it; everything adds up."""

import asyncio
import math
import threading
from concurrent.futures import ThreadPoolExecutor

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import interlock
from interlock.bookings import run_account
from interlock.core.budget import Account, Amounts

PRICES = {"prices": {"m": {"input": 1.0, "output": 10.0}}}  # dollars for a million tokens


def counted(gw, name="mail.send", **said):
    did, lock = [], threading.Lock()

    @gw.tool(name, **{"effect": "read", **said})
    def perform(n: int = 0) -> int:
        with lock:
            did.append(n)
        return n

    return did


def many(run, count, tool="mail.send", callers="threads"):
    """So many different calls at once."""
    if callers == "threads":
        with ThreadPoolExecutor(count) as pool:
            return list(pool.map(lambda n: run.call(tool, {"n": n}), range(count)))

    async def main():
        return await asyncio.gather(*(run.acall(tool, {"n": n}) for n in range(count)))

    return asyncio.run(main())


def kinds(outs):
    found = [out.kind for out in outs]
    return {kind: found.count(kind) for kind in set(found)}


# --- the run's own ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("callers", ["threads", "tasks"])
def test_forty_calls_at_once_against_a_limit_of_twelve_perform_twelve(gw, start, callers):
    did = counted(gw)
    run = start(gw, budgets={"max_tool_calls": 12})
    outs = many(run, 40, callers=callers)
    assert (kinds(outs), len(did)) == ({"done": 12, "stopped": 28}, 12)
    assert {out.stop_reason for out in outs if out.kind == "stopped"} == {"max_tool_calls"}
    used = run.report().tool_calls
    assert (used.used, used.held, used.left, used.limit) == (12, 0, 0, 12)


def test_calls_at_once_never_cost_more_than_the_dollars_there_are(gw, start):
    did = counted(gw, cost={"usd": 0.3})
    run = start(gw, budgets={"max_usd": 1, "max_tool_calls": 100})
    assert kinds(many(run, 20)) == {"done": 3, "stopped": 17}
    assert (len(did), run.stop_reason) == (3, "max_usd")
    assert run.report().usd == interlock.reports.Used(0.9, 0.0, 0.1, 1.0)


def test_model_turns_are_counted_and_end_the_run(gw, start):
    run = start(gw, budgets={"max_steps": 2})
    for _ in range(2):
        run.end_step(run.begin_step())
    with pytest.raises(interlock.RunStopped) as stopped:
        run.begin_step()
    assert (stopped.value.reason, run.stop_reason) == ("max_steps", "max_steps")
    assert run.call("mail.send", {}).kind == "stopped"


def test_tokens_are_counted_and_end_the_run(gw, start):
    run = start(gw, budgets={"max_tokens": 1000})
    step = run.begin_step(input_tokens=300, max_output_tokens=300)
    assert run.report().tokens.held == 600
    run.end_step(step, interlock.Usage(input_tokens=300, output_tokens=100))
    assert (run.report().tokens.used, run.report().tokens.held) == (400, 0)
    with pytest.raises(interlock.RunStopped) as stopped:
        run.begin_step(input_tokens=500, max_output_tokens=200)
    assert stopped.value.reason == run.stop_reason == "max_tokens"


def test_the_run_ends_at_its_deadline(gw, start, clock):
    did = counted(gw)
    run = start(gw, budgets={"max_seconds": 10})
    clock.advance(9.999)
    assert run.call("mail.send", {}).kind == "done"
    clock.advance(0.001)
    out = run.call("mail.send", {"n": 1})
    assert (out.kind, out.stop_reason, len(did)) == ("stopped", "max_seconds", 1)
    seconds = run.report().seconds
    assert (seconds.used, seconds.left, seconds.limit) == (10, 0, 10)
    with pytest.raises(interlock.RunStopped):
        start(gw, run_id=run.run_id).begin_step()


def test_refusals_and_questions_cost_nothing(house, start):
    gw = house.open({"policy": {"allow": ["mail.*"]}, "approvals": {"required_for": ["mail.ask"]}})
    counted(gw, "mail.ask", cost={"usd": 0.5})
    counted(gw, "bank.pay", cost={"usd": 0.5})
    run = start(gw, budgets={"max_usd": 1, "max_denials": 100})
    for n in range(5):
        assert run.call("mail.ask", {"n": n}).kind == "pending"
        assert run.call("bank.pay", {"n": n}).kind == "denied"
        assert run.call("mail.ask", {"nope": n}).kind == "denied"
    report = run.report()
    assert report.usd.used == report.usd.held == report.tool_calls.used == report.tool_calls.held == 0


def test_a_replay_costs_nothing(gw, start):
    counted(gw, cost={"usd": 0.5}, effect="write")
    run = start(gw, budgets={"max_usd": 1})
    for call_id in ("c1", "c1", "c2"):
        assert run.call("mail.send", {}, call_id=call_id).kind == "done"
    assert (run.report().usd.used, run.report().tool_calls.used) == (0.5, 1)


# --- windows ---------------------------------------------------------------------------------------------------------

SPANS = {"minute": 60, "hour": 3600, "day": 86400, "month": 31 * 86400}  # the clock begins in January


@pytest.mark.parametrize("window", SPANS)
@pytest.mark.parametrize("scope", ["tenant", "agent", "tool", "top"])
def test_a_window_that_is_used_up_denies_until_it_rolls_over(house, start, clock, scope, window):
    limit = {f"tool_calls_per_{window}": 2}
    where = {
        "tenant": {"tenants": {"acme": {"budgets": limit}}},
        "agent": {"agents": {"bot": {"budgets": limit}}},
        "tool": {"tools": {"mail.*": {"budgets": limit}}},
        "top": {"budgets": limit},
    }
    gw = house.open(where[scope])
    did = counted(gw)
    counted(gw, "mail.list")
    assert start(gw).call("mail.send", {}).kind == "done"
    clock.advance(SPANS[window] - 1)
    assert start(gw).call("mail.send", {}).kind == "done"
    run = start(gw)
    out = run.call("mail.send", {}, call_id="c1")
    assert (out.kind, run.stop_reason) == ("denied", None)
    assert f"tool_calls per {window}; next in 1 s" in out.text
    assert start(gw).call("mail.list", {}).kind == ("done" if scope == "tool" else "denied")
    assert start(gw, agent="other").call("mail.send", {}).kind == ("done" if scope == "agent" else "denied")
    assert start(gw, tenant="other").call("mail.send", {}).kind == "done"
    clock.advance(1)
    assert run.call("mail.send", {}, call_id="c1").kind == "done"
    assert len(did) == 4 + (scope == "agent")


def test_forty_calls_of_many_runs_at_once_never_exceed_a_window(house, start):
    gw = house.open({"tenants": {"acme": {"budgets": {"tool_calls_per_day": 12}}}})
    did = counted(gw)
    runs = [start(gw, budgets={"max_denials": 100}) for _ in range(8)]
    with ThreadPoolExecutor(40) as pool:
        outs = list(pool.map(lambda n: runs[n % 8].call("mail.send", {"n": n}), range(40)))
    assert (kinds(outs), len(did)) == ({"done": 12, "denied": 28}, 12)


def test_a_call_holds_on_all_its_accounts_or_on_none(house, start):
    quotas = {
        "tenants": {"acme": {"budgets": {"usd_per_day": 1}}},
        "agents": {"bot": {"budgets": {"usd_per_hour": 10}}},
    }
    gw = house.open(quotas)
    counted(gw, cost={"usd": 0.6})
    run = start(gw, budgets={"max_usd": 100})
    assert run.call("mail.send", {"n": 1}).kind == "done"
    assert run.call("mail.send", {"n": 2}).kind == "denied"
    spent = {key.scope: account.spent.usd for key, account in gw.store.accounts("acme")}
    held = {key.scope: account.held for key, account in gw.store.accounts("acme")}
    assert spent == {"run": 600_000, "tenant": 600_000, "agent": 600_000}
    assert set(held.values()) == {Amounts()}


def test_what_was_held_in_a_window_is_settled_in_that_window(house, start, clock):
    gw = house.open({"budgets": {"usd_per_minute": 1}})

    @gw.tool("mail.send", effect="write", cost={"usd": 0.6})
    def send() -> None:
        clock.advance(61)

    run = start(gw)
    run.call("mail.send", {})
    accounts = {
        (key.window, key.start): account for key, account in gw.store.accounts("acme") if key.window == "minute"
    }
    assert [account.spent.usd for account in accounts.values()] == [600_000]
    assert [account.held.usd for account in accounts.values()] == [0]


def test_steps_count_in_windows_too(house, start, clock):
    gw = house.open({"budgets": {"steps_per_minute": 2}})
    run = start(gw)
    for _ in range(2):
        run.end_step(run.begin_step())
    with pytest.raises(interlock.RunStopped):
        run.begin_step()
    clock.advance(60)
    start(gw).begin_step()


# --- what a call costs -----------------------------------------------------------------------------------------------


def test_a_price_in_an_argument_is_held_and_spent(gw, start):
    @gw.tool("ads.buy", effect="irreversible", cost={"usd": "args.price"})
    def buy(price: float) -> None:
        held.append(run.report().usd.held)

    held = []
    run = start(gw, budgets={"max_usd": 1})
    assert run.call("ads.buy", {"price": 0.25}).kind == "done"
    assert (held, run.report().usd.used) == ([0.25], 0.25)
    assert run.call("ads.buy", {"price": 0.76}).stop_reason == "max_usd"


@pytest.mark.parametrize("price", [-1, -0.01, math.nan, math.inf, -math.inf, "1", "free", None, True, [1]], ids=repr)
def test_an_argument_that_is_no_price_is_denied(gw, start, price):
    did = []

    @gw.tool("ads.buy", effect="irreversible", cost={"usd": "args.price"})
    def buy(price: object = None) -> None:
        did.append(price)

    run = start(gw, budgets={"max_usd": 1})
    out = run.call("ads.buy", {"price": price})
    assert (out.kind, did) == ("denied", [])
    assert "price" in out.text or "is not a JSON number" in out.text
    assert run.call("ads.buy", {}).kind == "denied"


def test_a_price_is_rounded_up_and_never_to_nothing(gw, start):
    gw.tool("ads.buy", effect="read", cost={"usd": "args.price"})(buy)
    run = start(gw, budgets={"max_usd": 1})
    run.call("ads.buy", {"price": 1e-9})
    assert run.report().usd.used == 1e-6


def buy(price: float) -> None:
    pass


@pytest.mark.parametrize(("reported", "spent"), [(0.1, 0.1), (0, 0), (None, 0.5), (9.0, 0.5), (-1.0, 0)])
def test_what_a_tool_reports_is_spent_up_to_what_was_held(gw, start, reported, spent):
    @gw.tool("llm.ask", effect="read", cost={"usd": 0.5, "reported": True})
    def ask(info: interlock.CallInfo) -> None:
        if reported is not None:
            info.report_cost(reported)

    run = start(gw, budgets={"max_usd": 1})
    assert run.call("llm.ask", {}).kind == "done"
    assert (run.report().usd.used, run.report().usd.held) == (spent, 0)


@pytest.mark.parametrize("junk", [math.nan, math.inf, "much", None])
def test_a_report_that_is_no_cost_spends_all_that_was_held(gw, start, junk):
    @gw.tool("llm.ask", effect="write", cost={"usd": 0.5, "reported": True})
    def ask(info: interlock.CallInfo) -> str:
        try:
            info.report_cost(junk)
        except (TypeError, ValueError, OverflowError):
            return "told that it was no cost"
        return "taken"

    run = start(gw, budgets={"max_usd": 1})
    assert run.call("llm.ask", {}).kind == "done"
    assert run.report().usd.used == 0.5


def test_a_tool_that_does_not_report_by_its_declaration_cannot_make_itself_cheaper(gw, start):
    @gw.tool("llm.ask", effect="read", cost={"usd": 0.5})
    def ask(info: interlock.CallInfo) -> None:
        info.report_cost(0)

    run = start(gw, budgets={"max_usd": 1})
    run.call("llm.ask", {})
    assert run.report().usd.used == 0.5


@pytest.mark.parametrize(
    ("error", "effect", "used", "held"),
    [
        (interlock.NotDone("no"), "write", 0, 0),
        (ValueError("no"), "read", 0.5, 0),
        (ValueError("no"), "write", 0, 0.5),
    ],
    ids=["not done", "failed read", "unknown"],
)
def test_what_failed_costs_nothing_where_nothing_happened_and_an_unknown_keeps_its_hold(
    gw, start, error, effect, used, held
):
    @gw.tool("mail.send", effect=effect, cost={"usd": 0.5})
    def send() -> None:
        raise error

    run = start(gw, budgets={"max_usd": 1})
    run.call("mail.send", {}, call_id="c1")
    assert (run.report().usd.used, run.report().usd.held) == (used, held)


@pytest.mark.parametrize(("happened", "used"), [(True, 0.5), (False, 0)])
def test_reconciling_spends_or_returns_the_hold(gw, start, happened, used):
    @gw.tool("mail.send", effect="write", cost={"usd": 0.5})
    def send() -> None:
        raise ConnectionError

    run = start(gw, budgets={"max_usd": 1})
    run.call("mail.send", {}, call_id="c1")
    gw.control.reconcile(tenant="acme", run_id=run.run_id, call_id="c1", happened=happened, by="oncall")
    assert (run.report().usd.used, run.report().usd.held) == (used, 0)


# --- topping up ------------------------------------------------------------------------------------------------------


def test_a_top_up_lets_a_window_go_on_and_is_in_the_audit(house, start):
    gw = house.open({"budgets": {"tool_calls_per_day": 1}})
    counted(gw)
    run = start(gw)
    run.call("mail.send", {"n": 1})
    assert run.call("mail.send", {"n": 2}).kind == "denied"
    gw.control.top_up(tenant="acme", window="day", tool_calls=1, by="boss", note="launch")
    assert run.call("mail.send", {"n": 3}).kind == "done"
    assert run.call("mail.send", {"n": 4}).kind == "denied"
    entry = next(entry for entry in gw.audit.entries(tenant="acme") if entry.kind == "topped_up")
    assert (entry.by, entry.note, entry.detail["tool_calls"]) == ("boss", "launch", 1)


def test_a_top_up_raises_the_budget_of_a_run_but_does_not_revive_it(gw, start):
    counted(gw)
    run = start(gw, budgets={"max_tool_calls": 1, "max_usd": 0.5})
    run.call("mail.send", {"n": 1})
    gw.control.top_up(tenant="acme", run_id=run.run_id, tool_calls=1, usd=0.25, by="boss")
    assert run.call("mail.send", {"n": 2}).kind == "done"
    assert (run.report().tool_calls.limit, run.report().usd.limit) == (2, 0.75)
    assert run.call("mail.send", {"n": 3}).kind == "stopped"
    gw.control.top_up(tenant="acme", run_id=run.run_id, tool_calls=10, by="boss")
    assert run.call("mail.send", {"n": 4}).kind == "stopped"


@pytest.mark.parametrize(
    "wrong",
    [
        {},
        {"tool_calls": 0},
        {"tool_calls": -1},
        {"usd": -1.0},
        {"tool_calls": 1, "usd": -1.0},
        {"usd": math.nan},
        {"usd": math.inf},
        {"tool_calls": 1, "by": ""},
        {"tool_calls": 1, "window": "week"},
        {"tool_calls": 1, "window": "run"},
        {"tool_calls": 1, "run_id": "nope", "window": "run"},
        {"tool_calls": 1, "agent": "a", "tool": "b"},
        {"tool_calls": 1, "run_id": "r1", "window": "day"},
        {"tool_calls": 1.5},
        {"tool_calls": True},
        {"usd": "1"},
    ],
    ids=repr,
)
def test_a_top_up_that_is_none_is_refused(gw, start, wrong):
    start(gw, run_id="r1")
    with pytest.raises(interlock.Refused):
        gw.control.top_up(**{"tenant": "acme", "window": "day", "by": "boss", **wrong})
    assert [entry.kind for entry in gw.audit.entries(tenant="acme")] == ["run_opened"]


LIMITED = {
    "budgets": {"tool_calls_per_day": 1},
    "agents": {"bot": {"budgets": {"usd_per_month": 5}}},
    "tools": {"mail.*": {"budgets": {"tool_calls_per_hour": 3}}},
}


@pytest.mark.parametrize(
    "useless",
    [
        {"agent": "nosuch", "window": "month", "usd": 1},
        {"agent": "bot", "window": "day", "usd": 1},
        {"agent": "bot", "window": "month", "tool_calls": 1},
        {"tool": "kb.read", "window": "hour", "tool_calls": 1},
        {"tool": "mail.*", "window": "hour", "tool_calls": 1},
        {"window": "day", "usd": 1},
        {"window": "month", "tool_calls": 1},
    ],
    ids=repr,
)
def test_a_top_up_of_what_nothing_limits_is_refused_and_told_what_is_limited(house, useless):
    gw = house.open(LIMITED)
    with pytest.raises(interlock.Refused, match="nothing to raise") as refused:
        gw.control.top_up(tenant="acme", by="boss", **useless)
    limited = "tool_calls per day of tenant acme; usd per month of agent bot; tool_calls per hour of tool mail.*"
    assert limited in str(refused.value)
    assert list(gw.audit.entries(tenant="acme")) == []


def test_a_top_up_of_what_is_limited_is_taken(house):
    gw = house.open(LIMITED)
    for useful in (
        {"agent": "bot", "window": "month", "usd": 1},
        {"tool": "mail.send", "window": "hour", "tool_calls": 1},
        {"window": "day", "tool_calls": 1, "usd": 1},
    ):
        gw.control.top_up(tenant="acme", by="boss", **useful)


# --- model turns in dollars ------------------------------------------------------------------------------------------


def test_a_turn_holds_its_worst_case_and_returns_the_rest(house, start):
    gw = house.open(PRICES)
    run = start(gw, budgets={"max_usd": 1})
    step = run.begin_step(model="m", input_tokens=1000, max_output_tokens=2000)
    assert run.report().usd.held == pytest.approx(0.021)
    run.end_step(step, usage=interlock.Usage(input_tokens=900, output_tokens=120))
    usd = run.report().usd
    assert (usd.used, usd.held) == (pytest.approx(0.0021), 0)
    run.end_step(step, usage=interlock.Usage(input_tokens=900, output_tokens=120))
    assert run.report().usd.used == pytest.approx(0.0021)


def test_a_turn_whose_worst_case_is_not_affordable_ends_the_run(house, start):
    gw = house.open(PRICES)
    run = start(gw, budgets={"max_usd": 0.02})
    with pytest.raises(interlock.RunStopped) as stopped:
        run.begin_step(model="m", input_tokens=1000, max_output_tokens=2000)
    assert stopped.value.reason == run.stop_reason == "max_usd"


@pytest.mark.parametrize(
    "said", [{}, {"model": "m"}, {"max_output_tokens": 5}, {"model": "who", "max_output_tokens": 5}]
)
def test_a_turn_that_cannot_be_priced_ends_the_run_where_dollars_count(house, start, said):
    gw = house.open(PRICES)
    with pytest.raises(interlock.RunStopped) as stopped:
        start(gw, budgets={"max_usd": 1}).begin_step(**said)
    assert stopped.value.reason == "unpriced"
    assert start(gw).begin_step(**said) is not None  # no dollars in force


def test_usage_that_did_not_come_back_ends_the_run_and_spends_what_was_held(house, start):
    gw = house.open(PRICES)
    run = start(gw, budgets={"max_usd": 1})
    run.end_step(run.begin_step(model="m", input_tokens=1000, max_output_tokens=2000))
    assert (run.stop_reason, run.report().usd.used, run.report().usd.held) == ("unpriced", pytest.approx(0.021), 0)


def test_a_fallback_price_counts_where_the_model_is_not_known(house, start):
    gw = house.open({"prices": {"default": {"input": 1.0, "output": 10.0}}})
    run = start(gw, budgets={"max_usd": 1})
    run.end_step(
        run.begin_step(model="who", input_tokens=10, max_output_tokens=10),
        interlock.Usage(input_tokens=10, output_tokens=10),
    )
    assert run.report().usd.used == pytest.approx(0.00011)


def test_a_turn_that_used_more_than_was_held_is_booked_and_ends_the_run_where_nothing_is_left(house, start):
    gw = house.open(PRICES)
    run = start(gw, budgets={"max_usd": 0.01})
    step = run.begin_step(model="m", input_tokens=10, max_output_tokens=10)
    run.end_step(step, interlock.Usage(input_tokens=10, output_tokens=10_000))
    assert (run.stop_reason, run.report().usd.used > 0.01) == ("max_usd", True)


def test_a_run_that_stops_in_a_turn_spends_what_the_turn_held_until_its_usage_comes(house, start):
    gw = house.open(PRICES)
    run = start(gw, budgets={"max_usd": 1})
    step = run.begin_step(model="m", input_tokens=1000, max_output_tokens=2000)
    run.stop("cancelled")
    assert (run.report().usd.used, run.report().usd.held) == (pytest.approx(0.021), 0)
    used = interlock.Usage(input_tokens=1000, output_tokens=100)
    run.end_step(step, used)
    run.end_step(step, used)
    assert (run.report().usd.used, run.report().usd.held) == (pytest.approx(0.002), 0)


def test_turns_at_once_never_cost_more_than_the_dollars_there_are(house, start):
    gw = house.open(PRICES)
    run = start(gw, budgets={"max_usd": 0.05, "max_steps": 100})

    def turn(_):
        try:
            step = run.begin_step(model="m", input_tokens=0, max_output_tokens=1000)
        except interlock.RunStopped:
            return 0
        run.end_step(step, interlock.Usage(input_tokens=0, output_tokens=1000))
        return 1

    with ThreadPoolExecutor(20) as pool:
        done = sum(pool.map(turn, range(20)))
    assert done <= 5
    assert run.report().usd.used <= 0.05


# --- everything adds up ----------------------------------------------------------------------------------------------

ACTS = st.lists(
    st.tuples(
        st.sampled_from(["done", "failed", "not done", "lost", "step", "open step", "reconcile", "top up", "repeat"]),
        st.integers(0, 5),
    ),
    max_size=30,
)


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(acts=ACTS, limit=st.integers(1, 12), usd=st.integers(1, 30))
def test_held_and_spent_never_exceed_the_limit_and_always_add_up(acts, limit, usd, clock):
    from interlock.stores.memory import MemoryStore, MemorySwitchBoard

    config = {**PRICES, "ledger": "memory:", "policy": {"allow": ["*"]}}
    config["tenants"] = {"acme": {"budgets": {"usd_per_day": usd / 10}}}
    with interlock.open(config, store=MemoryStore(), board=MemorySwitchBoard(), clock=clock) as gw:

        @gw.tool("tool.use", effect="write", cost={"usd": 0.1}, dedupe="off")
        def use(how: str, n: int) -> None:
            if how != "done":
                raise {"failed": ValueError, "not done": interlock.NotDone, "lost": ConnectionError}[how](how)

        run = gw.run(
            agent="bot",
            tenant="acme",
            env="prod",
            budgets={
                "max_tool_calls": limit,
                "max_usd": usd / 10,
                "max_steps": 5,
                "max_repeats": 99,
                "max_denials": 99,
            },
        )
        extra, unknown, opened = 0, [], None
        for place, (act, n) in enumerate(acts):
            if act in ("done", "failed", "not done", "lost"):
                out = run.call("tool.use", {"how": act, "n": n}, call_id=f"c{place}")
                if out.kind == "unknown":
                    unknown.append(out.call_id)
            elif act == "repeat":
                try:
                    run.call("tool.use", {"how": "done", "n": n}, call_id=f"again{n}")
                except interlock.KeyReused:
                    pass
            elif act == "reconcile" and unknown:
                gw.control.reconcile(
                    tenant="acme", run_id=run.run_id, call_id=unknown.pop(), happened=bool(n % 2), by="oncall"
                )
            elif act == "top up":
                extra += n + 1
                gw.control.top_up(tenant="acme", run_id=run.run_id, tool_calls=n + 1, by="boss")
            elif act in ("step", "open step"):
                try:
                    opened = run.begin_step("m", input_tokens=1000, max_output_tokens=1000)
                except interlock.RunStopped:
                    continue
                if act == "step":
                    run.end_step(opened, interlock.Usage(input_tokens=500, output_tokens=n))
            account = gw.store.load(run_account("acme", run.run_id)) or Account()
            assert account.held.tool_calls + account.spent.tool_calls <= limit + extra
            assert account.held.usd + account.spent.usd <= usd * 100_000
            assert min(account.held.tool_calls, account.held.usd, account.held.steps, account.spent.usd) >= 0
            for key, each in gw.store.accounts("acme"):
                if key.scope == "tenant":
                    assert each.held.usd + each.spent.usd <= usd * 100_000
        run.stop("cancelled")
        account = gw.store.load(run_account("acme", run.run_id)) or Account()
        assert account.held.steps == 0
        states = run.report().calls
        assert account.held.tool_calls == states.get("unknown", 0)
        assert gw.audit.verify(tenant="acme").ok
