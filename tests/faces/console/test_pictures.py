"""The pictures as data: the timeline of a run, and budgets over time."""

from __future__ import annotations

from datetime import UTC, datetime

from interlock.core.budget import Account, AccountKey, Amounts, Limits, Window
from interlock.core.call import MICROS
from interlock.faces.console.plots import LENGTH, plots, starts
from interlock.faces.console.timeline import picture
from interlock.ports import ApprovalKey, StepKey

NOON = int(datetime(2026, 3, 31, 12, tzinfo=UTC).timestamp()) * MICROS


def pictured(world, run):
    store = world.gateway.store
    calls = store.calls_of("acme", run.run_id)
    loaded = run._load()
    steps = [store.load(StepKey("acme", run.run_id, f"s{each + 1}")) for each in range(loaded.steps)]
    ids = [each.approval_id for each in calls if each.approval_id]
    approvals = {each: store.load(ApprovalKey("acme", each)) for each in ids}
    return picture(loaded, steps, calls, approvals, world.clock.now())


def test_bars_stand_where_and_when_things_happened(world):
    run = world.run()
    world.pause(5)
    world.step(run, 5)
    asked = world.refund(run)
    world.pause(10)
    world.gateway.control.approve(asked.approval_id, by="jo")
    world.refund(run)
    run.finish()
    made = pictured(world, run)
    assert made.total == "20.00 s"
    step, call = made.rows
    assert [(bar.left, bar.width, bar.look) for bar in step.bars] == [(25.0, 25.0, "step")]
    waited = call.bars[0]
    assert (waited.left, waited.width, waited.look) == (50.0, 50.0, "waiting")
    assert (call.bars[1].look, call.word, call.sign) == ("done", "done", "✓")
    assert [tick.label for tick in made.ticks] == ["0.00 s", "5.00 s", "10.00 s", "15.00 s", "20.00 s"]


def test_no_bar_leaves_the_picture_and_none_is_too_thin_to_be_seen(world):
    for run in world.story().values():
        if run.tenant != "acme":
            continue
        for row in pictured(world, run).rows:
            for bar in row.bars:
                assert bar.left >= 0
                assert bar.width >= 0.5
                assert bar.left + bar.width <= 100.001


def test_a_run_in_which_no_time_has_passed_is_a_picture_too(world):
    run = world.run()
    run.call("ticket.read", {"number": 1}, call_id="c1")
    assert len(pictured(world, run).rows) == 1
    assert pictured(world, world.run()).rows == ()


def test_windows_follow_the_clock_and_the_calendar():
    for window, length in LENGTH.items():
        begun = starts(window, NOON)
        assert len(begun) == length
        assert begun == sorted(set(begun))
        assert begun[-1] == window.start(NOON)
    months = [datetime.fromtimestamp(each // MICROS, UTC) for each in starts(Window.MONTH, NOON)]
    assert [each.day for each in months] == [1] * 12


def test_a_plot_tells_used_held_left_and_limit_with_what_was_topped_up():
    today = AccountKey("acme", "tenant", "acme", Window.DAY, Window.DAY.start(NOON))
    account = Account(held=Amounts(tool_calls=10), spent=Amounts(tool_calls=30), extra=Amounts(tool_calls=20))
    limits = {("tenant", "acme", Window.DAY): Limits(tool_calls=60)}
    (plot,) = plots([(today, account)], limits, NOON)
    assert (plot.used, plot.held, plot.left, plot.limit) == (30, 10, 40, 80)
    newest = plot.columns[-1]
    assert (plot.ceiling, newest.spent, newest.held) == (92.0, 34.5, 11.5)
    assert newest.title == "31 Mar: 30 tool calls used, 10 tool calls held"
    assert (plot.first, plot.last) == ("18 Mar", "31 Mar")


def test_an_account_without_limits_shows_what_was_used_of_it():
    key = AccountKey("acme", "agent", "bot", Window.DAY, Window.DAY.start(NOON))
    account = Account(spent=Amounts(usd=2_500_000, tokens=9))
    (plot,) = plots([(key, account)], {}, NOON, ("usd", "tool_calls"))
    assert (plot.unit, plot.used, plot.left, plot.ceiling, plot.total) == ("usd", 2.5, None, None, 2.5)
