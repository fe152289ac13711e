"""What was recorded is forgotten in time: out of the ledger, but not out of the audit."""

import time

from interlock import Turn, Usage
from interlock.core.turn import Call
from interlock.retention import FORGOTTEN, Retention
from interlock.traces import export

USAGE = Usage(input_tokens=100, output_tokens=7)
WEEK = {"recording": {"keep": "7d"}}
DAY = 86_400


def work(gw, start, *, tenant="acme", run_id="r1", finish=True):
    """A run with a turn, a read and a write."""
    if "look" not in gw.tools:
        gw.tool("look", effect="read")(lambda: {"private": "dana@example.org"})
        gw.tool("note", effect="write")(lambda text: text)
    run = start(gw, tenant=tenant, run_id=run_id)
    run.end_step(run.begin_step("m"), USAGE, turn=Turn("I look.", (Call("look", {}, "c1"),)))
    run.call("look", {}, call_id="c1")
    run.call("note", {"text": "private words"}, call_id="c2")
    if finish:
        run.finish()
    return run


def go_through(gw, retention=None, pages=1):
    """So many pages. The gateway's own watch does the same beside this: what counts is how the ledger looks then."""
    retention = retention or Retention(gw)
    for _ in range(pages):
        retention.page()


def gone(gw, tenant="acme"):
    """How many turns, and how many results, are not kept any more."""
    runs = gw.store.runs(tenant, limit=1000)
    turns = sum(step.forgotten for run in runs for step in gw.store.steps_of(tenant, run.run_id))
    return turns, sum(bytes(each.result) == FORGOTTEN for run in runs for each in gw.store.calls_of(tenant, run.run_id))


def test_before_its_time_everything_is_kept(house, start, clock):
    gw = house.open(WEEK)
    work(gw, start)
    clock.advance(7 * DAY - 1)
    go_through(gw)
    assert gone(gw) == (0, 0)


def test_after_its_time_turns_and_results_are_out_of_the_ledger(house, start, clock):
    gw = house.open(WEEK)
    run = work(gw, start)
    clock.advance(7 * DAY + 1)
    go_through(gw)
    assert gone(gw) == (1, 2)
    (step,) = gw.store.steps_of("acme", "r1")
    assert (step.asking, step.forgotten, step.usage) == (None, True, USAGE)
    assert {bytes(record.result) for record in gw.store.calls_of("acme", "r1")} == {FORGOTTEN}
    for name in ("I look.", "dana@example.org"):
        assert name not in str(gw.store.steps_of("acme", "r1")) + str(gw.store.calls_of("acme", "r1"))
    assert run.report().tool_calls.used == 2


def test_the_audit_stays_verifies_and_says_that_something_was_forgotten(house, start, clock):
    gw = house.open(WEEK)
    work(gw, start)
    before = list(gw.audit.entries("acme"))
    clock.advance(8 * DAY)
    go_through(gw)
    after = list(gw.audit.entries("acme"))
    assert after[:-1] == before
    assert (after[-1].kind, after[-1].run_id, after[-1].detail) == ("forgotten", "r1", {"turns": 1, "results": 2})
    assert all(entry.result_digest for entry in before if entry.kind == "settled")
    assert gw.audit.verify("acme").ok


def test_what_was_done_stays_done_and_says_that_its_answer_is_not_kept(house, start, clock):
    gw = house.open(WEEK)
    work(gw, start)
    clock.advance(8 * DAY)
    go_through(gw)
    again = start(gw, run_id="r1").call("note", {"text": "private words"}, call_id="c2")
    assert (again.kind, again.replayed, again.value) == ("done", True, {"interlock": "forgotten"})


def test_each_tenant_has_its_own_time(house, start, clock):
    gw = house.open({**WEEK, "tenants": {"globex": {"recording": {"keep": "1d"}}}})
    for tenant in ("acme", "globex"):
        work(gw, start, tenant=tenant)
    clock.advance(2 * DAY)
    go_through(gw)
    assert (gone(gw, "globex"), gone(gw, "acme")) == ((1, 2), (0, 0))


def test_of_a_run_that_goes_on_only_what_is_old_is_forgotten(house, start, clock):
    gw = house.open({**WEEK, "budgets": {"max_seconds": "3000d"}})
    run = work(gw, start, finish=False)
    clock.advance(6 * DAY)
    run.end_step(run.begin_step("m"), USAGE, turn=Turn("and again"))
    clock.advance(2 * DAY)
    retention = Retention(gw)
    go_through(gw, retention)
    assert gone(gw) == (1, 2)
    assert [step.asking and step.asking.text for step in gw.store.steps_of("acme", "r1")] == [None, "and again"]
    clock.advance(6 * DAY)
    go_through(gw, retention)
    assert [step.asking for step in gw.store.steps_of("acme", "r1")] == [None, None]


def test_a_second_round_finds_nothing_more(house, start, clock):
    gw = house.open(WEEK)
    work(gw, start)
    clock.advance(8 * DAY)
    go_through(gw, pages=3)
    assert gw.store.runs("acme")[0].forgotten
    assert sum(entry.kind == "forgotten" for entry in gw.audit.entries("acme")) == 1


def test_two_gateways_forget_each_thing_once(house, start, clock):
    one, other = house.open(WEEK), house.open(WEEK)
    work(one, start)
    clock.advance(8 * DAY)
    for each in (one, other):
        go_through(each)
    entries = [entry for entry in one.audit.entries("acme") if entry.kind == "forgotten"]
    assert [entry.detail for entry in entries] == [{"turns": 1, "results": 2}]


def test_many_runs_are_gone_through_page_by_page_from_the_newest(house, start, clock):
    gw = house.open(WEEK)
    for number in range(450):
        run = start(gw, run_id=f"r{number:03}")
        run.end_step(run.begin_step("m"), turn=Turn("x"))
        run.finish()
        clock.advance(1)
    clock.advance(8 * DAY)
    retention = Retention(gw)
    for pages, taken in ((1, 200), (2, 400), (3, 450)):
        assert retention.page() <= 200
        assert gone(gw)[0] >= taken, pages
    assert retention._before is None  # from the start again


def test_a_write_that_is_unknown_or_still_running_is_left_alone(house, start, clock):
    gw = house.open(WEEK)

    @gw.tool("pay", effect="write")
    def pay() -> None:
        raise OSError("the line went dead")

    run = start(gw, run_id="r1")
    assert run.call("pay", {}, call_id="c1").kind == "unknown"
    clock.advance(8 * DAY)
    go_through(gw)
    gw.control.reconcile(tenant="acme", run_id="r1", call_id="c1", happened=True, value={"paid": 1}, by="maria")
    assert start(gw, run_id="r1").call("pay", {}, call_id="c1").value == {"paid": 1}


def test_a_gateway_that_is_open_does_it_by_itself(house, start, clock):
    work(house.open(WEEK), start)
    clock.advance(8 * DAY)
    other = house.open(WEEK)  # it begins at once, and goes on every few seconds
    give_up = time.monotonic() + 60
    while not other.store.steps_of("acme", "r1")[0].forgotten:
        assert time.monotonic() < give_up
        time.sleep(0.02)


def test_a_trace_says_what_is_not_kept_any_more(house, start, clock):
    gw = house.open(WEEK)
    work(gw, start)
    clock.advance(8 * DAY)
    go_through(gw)
    assert export(gw, "acme", "r1").gaps == (
        "what the model said in 1 of 1 steps is not kept any more", "what 2 of 2 calls returned is not kept any more",
    )


def test_a_step_that_nobody_recorded_is_none_of_its_business(house, start, clock):
    gw = house.open(WEEK)
    run = start(gw)
    run.end_step(run.begin_step("m"), USAGE)
    clock.advance(8 * DAY)
    go_through(gw)
    assert not gw.store.steps_of("acme", run.run_id)[0].forgotten
