"""What each point of the checklist answers, from facts alone."""

import pytest
from msgspec.structs import replace

from interlock.core.checklist import POINTS, answered
from interlock.core.seen import Baseline, Configured, Ledger, Limited, Seen, State, Went, Writing
from interlock.core.switch import Mode, Scope, Switch

DAY = 86_400_000_000
NOW = 1_000 * DAY
DRILL = Switch("w1", Scope(tool="drill.nothing"), Mode.ALL, "ann", "drill", NOW - DAY, released_at=NOW - DAY + 1)
CONFIG = Configured(
    name="interlock.yaml", grants=3, grants_everything=(), provider_tools=(), ungoverned=(), client_tools=(),
    limits=Limited(steps=25, tool_calls=12, usd=1_000_000, seconds=300_000_000),
    writing=(Writing("mail.send", "*", "write", unasked=False, excepted=False),), logs_calls=True, logs_stops=True,
    canary="plain", share=0.05,
)
LEDGER = Ledger(
    where="sqlite:///interlock.db", tenants=1, runs=2, more=False, calls=7, steps=4, policies=1,
    stops={"completed": 1, "max_usd": 1}, switches=(DRILL,),
    runtimes={"openai_agents": Went(100, 98, 95), "plain": Went(6, 5, 5)},
)
BASELINE = Baseline(folder="traces", traces=3, newest=NOW - 2 * DAY)
SEEN = Seen(now=NOW, days=30, config=CONFIG, ledger=LEDGER, baseline=BASELINE)


def configured(**more) -> Seen:
    return replace(SEEN, config=replace(CONFIG, **more))


def kept(**more) -> Seen:
    return replace(SEEN, ledger=replace(LEDGER, **more))


def went(**runtimes: tuple[int, int, int]) -> Seen:
    return kept(runtimes={name: Went(*each) for name, each in runtimes.items()})


def based(**more) -> Seen:
    return replace(SEEN, baseline=replace(BASELINE, **more))


def check(name: str, seen: Seen):
    return next(each for each in answered(seen) if each.name == name)


def worst(name: str, seen: Seen) -> tuple[State, str, str]:
    """The state of a point, and of what carries it the fact and the remedy."""
    found = check(name, seen)
    carrying = next(each for each in found.found if each.state is found.state)
    return found.state, carrying.fact, carrying.to_do


def test_where_all_is_well_every_point_is_ok_and_nothing_is_to_be_done():
    found = {each.name: each for each in answered(SEEN)}
    assert list(found) == [point.__name__ for point in POINTS]
    assert {name for name, each in found.items() if each.state is not State.OK} == set()
    assert [each.to_do for point in found.values() for each in point.found if each.to_do] == []


def test_a_point_is_as_good_as_the_worst_that_was_seen_of_it():
    seen = kept(unknown=("acme/r/c1",), unended=("acme/r/s1",))
    assert check("traces", seen).state is State.FAIL
    assert {each.state for each in check("traces", seen).found} == {State.OK, State.WARN, State.FAIL}


def test_a_ledger_that_cannot_be_read_fails_with_its_own_words_and_what_hangs_on_it_fails_too():
    seen = replace(SEEN, ledger=None, trouble="ledger x.db: the file is damaged; restore it from a backup")
    assert worst("ledger", seen)[:2] == (State.FAIL, seen.trouble)
    for name in ("stop_reasons", "traces", "kill_switch", "canary"):
        assert worst(name, seen)[:2] == (State.FAIL, "the ledger was not read")
    for name in ("default_deny", "budgets", "approvals"):  # the config tells
        assert check(name, seen).state is State.OK


@pytest.mark.parametrize(
    ("name", "seen", "state", "fact", "to_do"),
    [
        ("gateway_owned", kept(calls=0), "warn", "0 tool calls came through it in the last 30 days", "embedding"),
        ("gateway_owned", configured(ungoverned=("web_search",)), "warn", "beside it: web_search", "ungoverned:"),
        ("gateway_owned", configured(provider_tools=("web_*",)), "warn", "past the gateway: web_*", "hosted_tools"),
        ("default_deny", configured(grants_everything=("x:2: '*'",)), "fail", "x:2: '*'", "name the tools"),
        (
            "budgets", configured(limits=Limited(steps=25, tool_calls=12, usd=None, seconds=1)), "fail",
            "no limit in dollars", "budgets: {max_usd: 1.00}",
        ),
        (
            "budgets", configured(limits=Limited(steps=None, tool_calls=12, usd=1, seconds=1)), "fail",
            "no max_steps", "budgets: {max_steps: 25}",
        ),
        ("budgets", kept(stepless=("acme/r1", "b/r2")), "warn", "2 runs made calls", "run.begin_step()"),
        ("stop_reasons", configured(logs_stops=False), "fail", "stops are not logged", "{stop_reasons: true}"),
        ("stop_reasons", kept(silent=("acme/r1",)), "warn", "1 run past the deadline", "run.finish()"),
        ("stop_reasons", kept(reasonless=("acme/r1",)), "fail", "without a reason: acme/r1", "run show"),
        ("traces", configured(logs_calls=False), "warn", "calls are not logged", "{tool_calls: true}"),
        ("traces", kept(unsettled=("acme/r/c1",)), "fail", "1 call admitted", "interlock unknowns"),
        ("traces", kept(unended=("acme/r/s1",)), "fail", "1 step begun and never ended", "run.end_step()"),
        ("traces", kept(unknown=("acme/r/c1",)), "warn", "1 call unknown: acme/r/c1", "interlock reconcile"),
        ("traces", kept(runs=0, calls=0), "warn", "no run in the last 30 days", ""),
        ("traces", kept(unrecorded=("acme/r/s1",)), "fail", "1 step whose turn was not recorded", "turn=…"),
        ("canary", configured(canary="", share=0.0), "warn", "no share of the runs", "architecture: {canary:"),
        ("canary", configured(share=0.0), "warn", "no share of the runs", "architecture: {canary:"),
        ("canary", went(openai_agents=(100, 98, 95)), "fail", "on plain: 0 of the 100 runs", "architecture.chosen"),
        ("canary", went(openai_agents=(20, 20, 20)), "warn", "on plain: 0 of the 20 runs", "wait for more"),
        ("canary", went(openai_agents=(100, 98, 95), plain=(9, 9, 3)), "fail", "on plain 3 of 9", "share: 0"),
        ("replay_baseline", replace(SEEN, baseline=None), "fail", "no folder of traces", "interlock run export"),
        ("replay_baseline", based(traces=0), "fail", "traces holds no traces", "interlock run export"),
        ("replay_baseline", based(differing=("r.json comes out otherwise: x",)), "fail", "r.json", "interlock replay"),
        ("replay_baseline", based(broken=("r.json: is no trace",)), "fail", "r.json: is no trace", "run export"),
        ("replay_baseline", based(newest=NOW - 91 * DAY), "warn", "a run 91 days ago", "interlock run export"),
    ],
)
def test_what_is_not_so_is_named_with_its_numbers_and_a_remedy(name, seen, state, fact, to_do):
    came, told, remedy = worst(name, seen)
    assert came == state
    assert fact in told
    assert to_do in remedy


def test_a_window_of_dollars_for_every_tenant_is_a_limit_in_dollars():
    limits = Limited(steps=25, tool_calls=12, usd=None, seconds=1, usd_windows={"usd_per_day": 20_000_000})
    assert check("budgets", configured(limits=limits)).state is State.OK
    assert "usd_per_day $20.00" in check("budgets", configured(limits=limits)).found[0].fact


def test_a_tool_that_writes_unasked_fails_until_the_config_says_that_it_is_meant():
    free = Writing("ticket.create", "*", "write", unasked=True, excepted=False)
    state, fact, to_do = worst("approvals", configured(writing=(*CONFIG.writing, free)))
    assert (state, fact) == (State.FAIL, "performed without asking anybody: ticket.create (write)")
    assert 'approvals: {required_for: ["ticket.create"]}' in to_do
    assert 'doctor: {unasked: ["ticket.create"]}' in to_do
    found = check("approvals", configured(writing=(*CONFIG.writing, replace(free, excepted=True))))
    assert found.state is State.OK
    assert any("doctor: unasked: says: ticket.create" in each.fact for each in found.found)


def test_a_glob_that_grants_tools_which_nobody_here_knows_is_a_warning():
    glob = Writing("kb.*", "acme", "irreversible", unasked=True, excepted=False, pattern=True)
    state, fact, to_do = worst("approvals", configured(writing=(glob,)))
    assert state is State.WARN
    assert "kb.* (irreversible, for acme)" in fact
    assert 'tools: {"kb.*": {effect: read}}' in to_do


@pytest.mark.parametrize(
    ("switches", "state", "fact"),
    [
        ((), "fail", "0 kills on record, none of them released"),
        ((replace(DRILL, released_at=None),), "fail", "1 kill on record, none of them released"),
        ((replace(DRILL, at=NOW - 91 * DAY),), "fail", "91 days ago, for tool drill.nothing by ann: longer ago"),
        ((replace(DRILL, at=NOW - 90 * DAY),), "ok", "90 days ago"),
        ((DRILL, Switch("w2", Scope(agent="bot"), Mode.WRITES, "mia", "odd", NOW)), "warn", "in force: agent bot"),
    ],
)
def test_a_kill_switch_counts_as_tried_once_it_was_pulled_and_let_go_of_in_90_days(switches, state, fact):
    came, told, to_do = worst("kill_switch", kept(switches=switches))
    assert came == state
    assert fact in told
    assert ("interlock" in to_do) is (state != "ok")


def test_of_many_names_a_few_are_told_and_how_many_more():
    _, fact, _ = worst("traces", kept(unended=tuple(f"acme/r/s{n}" for n in range(1200))))
    assert fact.startswith("1,200 steps begun")
    assert fact.endswith("acme/r/s0, acme/r/s1, acme/r/s2 and 1,197 more")
