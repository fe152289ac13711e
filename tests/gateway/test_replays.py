"""A recorded run, run again: the same calls, the recorded answers, the same verdicts, and nothing done to the world."""

import asyncio
import sys
import threading
import types

import pytest
from msgspec.structs import replace

import interlock
from interlock import ConfigError, StopReason
from interlock.adapters import plain
from interlock.adapters.plain import Agent, Call, drive
from interlock.core.parity import compare
from interlock.core.thresholds import Thresholds
from interlock.core.trace import TracedCall
from interlock.driving import NoMoreTurns, runtime_of
from interlock.patience import left_behind
from interlock.replays import How, RecordedTools, baseline_runtime, compared, replay
from interlock.scripted import script
from interlock.testing import ManualClock
from tests.gateway.recorded_shop import ANSWER, NOTE, PAY, READ, SEARCH, USAGE, Recorder, Replayer


@pytest.fixture
def record():
    """Records one run of the plain loop; gives its recorder."""
    made = []

    def go(*lines, config=None, on_call=None, **more):
        recorder = Recorder(config)
        made.append(recorder)
        if on_call is not None:
            recorder.shop.on_call = lambda name: on_call(recorder, name)
        recorder.result = recorder.drive(*lines, **more)
        recorder.lines = lines
        return recorder

    yield go
    for each in made:
        each.gateway.close()


def answered(recorder, *, yes=True, after=60, by=("maria",), **more):
    """The record goes on after people have answered."""
    recorder.clock.advance(after)
    control = recorder.gateway.control
    for approval_id in recorder.result.report.pending:
        for person in by:
            (control.approve if yes else control.reject)(approval_id, by=person, note="so", **more)
    recorder.result = recorder.drive(*recorder.lines, saved=recorder.result.saved)
    return recorder


def same(trace, replayed):
    """That the replay is the record."""
    found = compare(trace, replayed)
    assert found.divergences == (), [each.text for each in found.divergences]
    assert [(call.call_id, call.verdict, call.state) for call in replayed.calls] == [
        (call.call_id, call.verdict, call.state) for call in trace.calls
    ]


# --- the same again --------------------------------------------------------------------------------------------------


def test_a_run_is_reproduced_and_nothing_is_done(record):
    trace = record([READ, SEARCH], NOTE, ANSWER).trace()
    replayer = Replayer()
    replayed = replayer(trace)
    same(trace, replayed)
    assert replayer.shop.did == []
    assert [bytes(call.result) for call in replayed.calls] == [bytes(call.result) for call in trace.calls]
    assert (replayed.answer, replayed.ended) == (ANSWER, "completed")


def test_the_gateway_of_a_replay_is_a_real_one_with_an_audit_of_its_own(record):
    trace = record(READ, ANSWER).trace()
    replayer = Replayer()
    replayer(trace)
    (gateway,) = replayer.seen
    assert [entry.kind for entry in gateway.audit.entries("acme")] == [
        "run_opened", "step_began", "step_ended", "decided", "settled", "step_began", "step_ended", "run_stopped",
    ]
    assert gateway.audit.verify("acme").ok


def test_without_a_program_the_tools_are_those_of_the_trace(record):
    trace = record([READ, SEARCH, Call("ticket.read", {"ticket": 5}, "bad")], NOTE, ANSWER).trace()
    same(trace, Replayer()(trace, bare=True))


def test_a_tool_of_which_nothing_is_known_is_answered_all_the_same(record):
    trace = record(READ, ANSWER).trace()
    bare = replace(trace, tools={"ticket.read": replace(trace.tools["ticket.read"], definition=None)})
    replayed = Replayer()(bare, bare=True)
    assert [call.state for call in replayed.calls] == ["done"]
    assert "the definitions of ticket.read differ" in compare(trace, replayed).notes


@pytest.mark.parametrize(
    "calls",
    [
        [Call("shaky", {"how": "busy"}, "c1")],  # failed
        [Call("shaky", {"how": "dead"}, "c1")],  # unknown
        [Call("slow", {}, "c1")],  # a read that raised
        [Call("ticket.read", {"ticket": 5}, "c1"), Call("nothing", {}, "c2")],  # refused
        [NOTE, replace(NOTE, id="c9")],  # answered from the record
        [READ, replace(READ, id="c9")],  # twice the same read, with two answers
    ],
)
def test_however_a_call_ended_it_ends_so_again(record, calls):
    trace = record(calls, ANSWER).trace()
    replayer = Replayer()
    replayed = replayer(trace)
    same(trace, replayed)
    assert [(call.error, bytes(call.result)) for call in replayed.calls] == [
        (call.error, bytes(call.result)) for call in trace.calls
    ]
    assert replayer.shop.did == []


def test_a_read_that_failed_and_cost_something_costs_it_again(record):
    config = {"tools": {"slow": {"cost": {"usd": 0.01}}}}
    trace = record([Call("slow", {}, "c1")], ANSWER, config=config).trace()
    replayed = Replayer(config)(trace)
    assert [call.usd for call in replayed.calls] == [call.usd for call in trace.calls] == [10_000]
    assert replayed.calls[0].error == trace.calls[0].error == "TimeoutError: nobody answered"


def test_a_tool_that_nobody_could_lend_to_failed_and_fails_again(record):
    config = {"credentials": {"crm": "env:NOT_SET_ANYWHERE"}, "tools": {"ticket.read": {"credential": "crm"}}}
    recorder = record(READ, ANSWER, config=config)
    assert recorder.shop.did == []
    trace = recorder.trace()
    assert (trace.calls[0].state, bool(trace.calls[0].told)) == ("failed", True)
    same(trace, Replayer(config)(trace))


def test_a_replay_needs_no_credential(record, monkeypatch):
    monkeypatch.setenv("CRM_KEY", "canary-1234567")
    config = {"credentials": {"crm": "env:CRM_KEY"}, "tools": {"ticket.read": {"credential": "crm"}}}
    trace = record(READ, ANSWER, config=config).trace()
    monkeypatch.delenv("CRM_KEY")
    same(trace, Replayer(config)(trace))


def test_the_model_is_told_the_same_words(record):
    recorder = record([READ, Call("shaky", {"how": "busy"}, "c8")], ANSWER)
    heard = []

    def model(messages):
        heard.append([message.content for message in messages if message.role == "tool"])
        return script([READ, Call("shaky", {"how": "busy"}, "c8")], ANSWER, usage=USAGE)(messages)

    replayer = Replayer()
    replayer.agent = Agent(model, "m", 200)
    same(recorder.trace(), replayer(recorder.trace(), live=True))
    assert heard[-1] == [
        '{"ticket":"17","seen":1}',
        "FAILED: shaky did not do it: the line was busy. You may try again if that can help.",
    ]


# --- nothing is done to the world ------------------------------------------------------------------------------------


def test_a_tool_that_is_registered_late_is_replaced_too(record):
    trace = record([READ, Call("late", {}, "c2")], ANSWER).trace()
    done = []

    def factory(gateway):
        def model(messages):
            if "late" not in gateway.tools:
                gateway.tool("late", effect="write")(lambda: done.append("late"))
            return script([Call("late", {}, "c2")], "done")(messages)

        return Agent(model)

    replayer = Replayer({"policy": {"allow": ["*"]}})
    replayer.factory = factory
    replayed = replayer(trace, live=True)
    assert done == []
    assert [(call.tool, call.state) for call in replayed.calls] == [("late", "failed")]


def test_whatever_puts_a_tool_into_the_gateway_it_is_replaced(record):
    trace = record(READ, ANSWER).trace()
    replayer = Replayer()
    replayer(trace)
    (gateway,) = replayer.seen
    assert isinstance(gateway.tools, RecordedTools)
    assert {type(each.performer).__name__ for each in gateway.tools.values()} == {"RecordedTool"}


def test_nothing_reaches_the_ledger_the_checkpoints_or_the_upstreams_of_the_config(record, tmp_path):
    trace = record(READ, ANSWER).trace()
    config = {
        "ledger": f"sqlite:///{tmp_path}/real.db", "upstreams": {"crm": {"mcp": {"command": ["no-such-program"]}}},
        "audit": {"key": f"{tmp_path}/real.key", "checkpoints": f"{tmp_path}/real.checkpoints", "every": 1},
        "approvals": {"webhook": {"url": "http://127.0.0.1:9/", "secret": "env:NOT_SET_ANYWHERE"}},
    }
    same(trace, Replayer(config)(trace))
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("recording", [{"turns": False}, {"keep": "1h"}])
def test_what_may_be_kept_of_runs_now_does_not_reach_a_replay_which_keeps_nothing(record, recording):
    trace = record(READ, ANSWER).trace()
    replayed = Replayer({"recording": recording, "tenants": {"acme": {"recording": recording}}})(trace)
    same(trace, replayed)
    assert replayed.gaps == ()


# --- calls that were not recorded ------------------------------------------------------------------------------------


def other(trace, *lines, config=None, **how):
    """A replay in which the model says something else."""
    replayer = Replayer(config)
    replayer.agent = Agent(script(*lines, usage=USAGE), "m", 200)
    return replayer, replayer(trace, live=True, **how)


ELSEWHERE = Call("ticket.read", {"ticket": "18"}, "c1")


def test_a_call_that_was_not_recorded_fails_and_is_told(record):
    trace = record(READ, ANSWER).trace()
    replayer, replayed = other(trace, ELSEWHERE, ANSWER)
    assert [(call.state, call.error) for call in replayed.calls] == [
        ("failed", "no answer was recorded for these arguments, so the replay does not know one")
    ]
    assert replayed.replay.misses == ("ticket.read: no answer was recorded for these arguments",)
    found = compare(trace, replayed)
    assert [(each.kind, each.step, each.field) for each in found.divergences] == [
        ("arguments", 1, "args.ticket"), ("outcome", 1, "outcome"),
    ]
    assert replayer.shop.did == []


def test_a_call_that_is_made_once_more_than_recorded_fails(record):
    trace = record(READ, ANSWER).trace()
    _, replayed = other(trace, READ, replace(READ, id="c2"), ANSWER)
    assert [call.state for call in replayed.calls] == ["done", "failed"]


def test_the_closest_answer_is_given_where_that_is_asked_for(record):
    trace = record([READ, Call("ticket.read", {"ticket": "99999"}, "c2")], ANSWER).trace()
    replayer, replayed = other(trace, ELSEWHERE, ANSWER, on_miss="closest")
    assert [bytes(call.result) for call in replayed.calls] == [b'{"ticket":"17","seen":1}']
    assert replayed.replay.misses == ("ticket.read: answered as the closest recorded call c1",)
    assert replayer.shop.did == []


def test_the_closest_of_a_tool_that_was_never_called_is_nothing(record):
    trace = record(READ, ANSWER).trace()
    _, replayed = other(trace, NOTE, ANSWER, on_miss="closest")
    assert [call.state for call in replayed.calls] == ["failed"]


def test_a_read_is_really_read_where_that_is_asked_for_and_a_write_never_is(record):
    trace = record([READ, NOTE], ANSWER).trace()
    lines = [ELSEWHERE, Call("kb.search", {"query": "new"}, "c2"), Call("ticket.note", {"text": "new"}, "c3"), READ]
    replayer, replayed = other(trace, lines, ANSWER, on_miss="live-read")
    assert [(call.tool, call.state) for call in replayed.calls] == [
        ("ticket.read", "done"), ("kb.search", "done"), ("ticket.note", "failed"), ("ticket.read", "done"),
    ]
    assert replayer.shop.did == ["read", "search"]  # the last one was recorded
    assert replayed.replay.misses[:2] == ("ticket.read: read now", "kb.search: read now")


def test_what_the_config_declares_to_be_more_than_a_read_is_not_read(record):
    trace = record(READ, ANSWER).trace()
    config = {"tools": {"ticket.read": {"effect": "egress"}}}
    replayer, replayed = other(trace, ELSEWHERE, ANSWER, on_miss="live-read", config=config)
    assert (replayer.shop.did, replayed.calls[0].state) == ([], "failed")


def test_equal_calls_at_once_each_get_an_answer_of_their_own(record):
    batch = [replace(READ, id=f"c{number}") for number in range(10)]
    trace = record(batch, ANSWER, budgets={"max_repeats": 50}).trace()
    runtime = types.ModuleType("tests_parallel_runtime")

    async def together(run, agent, request="", *, saved=None):
        for calls in (batch, []):
            step = run.begin_step("m", max_output_tokens=200)
            run.end_step(step, turn=interlock.Turn(None if calls else ANSWER, tuple(calls), USAGE))
            await asyncio.gather(*(run.acall(call.name, call.args, call_id=call.id) for call in calls))
        run.finish()
        return plain.Result(report=run.report(), output=ANSWER)

    runtime.drive, runtime.speaking = together, plain.speaking
    sys.modules[runtime.__name__ + ".x"] = runtime
    replayed = Replayer()(trace, runtime=runtime.__name__ + ".x")
    assert sorted(bytes(call.result) for call in replayed.calls) == sorted(bytes(call.result) for call in trace.calls)


# --- what held then --------------------------------------------------------------------------------------------------


def test_what_people_answered_they_answer_again_in_their_time(record):
    recorder = answered(record([PAY, READ], NOTE, ANSWER), args={**PAY.args, "amount": 19.0})
    trace = recorder.trace()
    replayed = Replayer()(trace)
    same(trace, replayed)
    (asked,) = (call.approval for call in replayed.calls if call.approval)
    assert [(each.by, each.at, each.note) for each in asked.answers] == [
        (each.by, each.at, each.note) for each in trace.calls[0].approval.answers
    ]
    assert asked.edited == {"order": "A-17", "amount": 19.0}


def test_a_no_is_a_no_again(record):
    trace = answered(record([PAY, READ], ANSWER), yes=False).trace()
    same(trace, Replayer()(trace))


def test_a_no_that_stops_the_run_stops_it_again(record):
    config = {"approvals": {"required_for": ["refund.pay"], "on_reject": "stop"}}
    trace = answered(record([PAY, READ], ANSWER, config=config), yes=False).trace()
    assert trace.run.stop_reason is StopReason.APPROVAL_REJECTED
    same(trace, Replayer(config)(trace))


def test_a_question_that_expired_expires_again(record):
    recorder = record([PAY, READ], ANSWER)
    recorder.clock.advance(3601)
    recorder.drive(*recorder.lines, saved=recorder.result.saved)
    trace = recorder.trace()
    assert trace.calls[0].approval.standing == "expired"
    same(trace, Replayer()(trace))


def test_a_question_that_nobody_answered_waits_again(record):
    trace = record([PAY, READ], ANSWER).trace()
    replayed = Replayer()(trace)
    assert (trace.ended, replayed.ended) == ("paused", "paused")
    same(trace, replayed)


def test_a_quorum_is_reached_by_the_same_people(record):
    config = {"approvals": {"required_for": ["refund.pay"], "quorum": 2}}
    trace = answered(record(PAY, ANSWER, config=config), by=("maria", "noor")).trace()
    same(trace, Replayer(config)(trace))


def test_where_the_config_asks_for_more_people_now_the_run_waits(record):
    trace = answered(record(PAY, ANSWER)).trace()
    replayed = Replayer({"approvals": {"required_for": ["refund.pay"], "quorum": 2}})(trace)
    assert replayed.ended == "paused"
    assert not compare(trace, replayed).passed


def test_a_kill_switch_holds_when_it_held(record):
    def kill(recorder, name):
        recorder.clock.advance(1)
        if name == "read":
            recorder.gateway.control.kill(tool="ticket.note", by="olga", reason="incident 7")
        if name == "search":
            recorder.gateway.control.release(tool="ticket.note", by="olga")

    lines = [NOTE, READ, replace(NOTE, id="c5", args={"text": "b"}), SEARCH, replace(NOTE, id="c6", args={"text": "c"})]
    trace = record(*([line] for line in lines), ANSWER, on_call=kill).trace()
    assert [call.verdict for call in trace.calls] == ["allow", "allow", "deny", "allow", "allow"]
    same(trace, Replayer()(trace))


def test_budgets_hold_as_they_held(record):
    batch = [replace(READ, id=f"c{n}", args={"ticket": str(n)}) for n in range(5)]
    trace = record(batch, ANSWER, budgets={"max_tool_calls": 3}).trace()
    assert trace.run.stop_reason is StopReason.MAX_TOOL_CALLS
    same(trace, Replayer()(trace))


@pytest.mark.parametrize("budgets", [{"max_steps": 2}, {"max_usd": 0.004}, {"max_tokens": 1900}, {"max_repeats": 1}])
def test_a_run_that_was_stopped_by_its_budget_is_stopped_again(record, budgets):
    trace = record(READ, replace(READ, id="c2"), replace(READ, id="c3"), ANSWER, budgets=budgets).trace()
    assert trace.run.stop_reason not in (None, StopReason.COMPLETED)
    same(trace, Replayer()(trace))


def test_denials_add_up_again(record):
    trace = record(*([Call("mail.send", {"n": n}, f"c{n}")] for n in range(9)), budgets={"max_denials": 3}).trace()
    assert trace.run.stop_reason is StopReason.MAX_DENIALS
    same(trace, Replayer()(trace))


def test_the_stricter_of_the_budgets_then_and_now_counts(record):
    trace = record([READ, SEARCH], ANSWER).trace()
    replayed = Replayer({"budgets": {"max_tool_calls": 1}})(trace)
    assert replayed.run.stop_reason is StopReason.MAX_TOOL_CALLS


def test_time_passes_as_it_did(record):
    def slow(recorder, _name):
        recorder.clock.advance(3600)

    lines = [[READ], [NOTE], [SEARCH], [replace(NOTE, id="c5", args={"text": "late"})]]
    recorder = Recorder({"budgets": {"max_seconds": "2d"}})
    recorder.clock.advance(20 * 3600)  # it is 20:00
    recorder.shop.on_call = lambda name: slow(recorder, name)
    recorder.drive(*lines, ANSWER)
    trace = recorder.trace()
    recorder.gateway.close()
    assert [call.verdict for call in trace.calls] == ["allow", "allow", "allow", "deny"]  # a rule for 22:00 and later
    same(trace, Replayer({"budgets": {"max_seconds": "2d"}})(trace))


def test_a_deadline_that_passed_in_a_tool_passes_again(record):
    lines = [[READ, SEARCH], ANSWER]
    trace = record(*lines, on_call=lambda recorder, _: recorder.clock.advance(301)).trace()
    assert trace.run.stop_reason is StopReason.MAX_SECONDS
    same(trace, Replayer()(trace))


def test_a_deadline_that_passed_while_nothing_happened_passes_again(record):
    recorder = Recorder()
    run = recorder.run()
    step = run.begin_step("m", max_output_tokens=200)
    run.end_step(step, turn=script([READ], usage=USAGE)([]))
    run.call("ticket.read", READ.args, call_id="c1")
    recorder.clock.advance(400)
    with pytest.raises(interlock.RunStopped):
        run.begin_step("m")
    trace = recorder.trace()
    recorder.gateway.close()
    same(trace, Replayer()(trace))


@pytest.mark.parametrize("reason", ["cancelled", "tool_error", "model_error"])
def test_a_run_that_was_ended_from_outside_is_ended_in_the_same_place(record, reason):
    recorder = Recorder()
    run = recorder.run()
    step = run.begin_step("m", max_output_tokens=200)
    run.end_step(step, turn=script([READ], usage=USAGE)([]))
    run.call("ticket.read", READ.args, call_id="c1")
    run.stop(reason, "enough")
    trace = recorder.trace()
    recorder.gateway.close()
    replayed = Replayer()(trace)
    assert replayed.ended == reason
    assert [each.kind for each in compare(trace, replayed).divergences] == ["steps"]


def test_another_policy_is_seen_in_the_first_call_that_it_decides_otherwise(record):
    trace = record([READ, NOTE], ANSWER).trace()
    replayed = Replayer({"policy": {"allow": ["ticket.read"]}})(trace)
    found = compare(trace, replayed)
    assert [(each.kind, each.step, each.tool, each.after) for each in found.divergences] == [
        ("verdict", 1, "ticket.note", "deny by default_deny")
    ]
    assert found.notes[0].startswith("the policies differ")


# --- the model -------------------------------------------------------------------------------------------------------


def test_an_agent_that_asks_its_model_once_more_is_told_that_no_more_was_recorded(record):
    trace = record(READ, ANSWER).trace()
    runtime = types.ModuleType("greedy")

    def greedy(run, agent, request="", *, saved=None):
        drive(run, agent, request, saved=saved)
        agent.model(())
        raise AssertionError("a turn that was never recorded")

    runtime.drive, runtime.speaking = greedy, plain.speaking
    sys.modules["greedy.runtime"] = runtime
    with pytest.raises(NoMoreTurns, match="2 turns were recorded"):
        runtime.speaking(None, _script_of(trace)).model(())
    replayed = Replayer()(trace, runtime="greedy.runtime")
    assert compare(trace, replayed).divergences == ()  # the run was over already: its first stop stays


def _script_of(trace):
    from interlock.as_recorded import Record, TraceClock

    record = Record(trace, TraceClock(0, None), live=False)
    made = record.script(None)
    made.say()
    made.say()
    return made


def test_what_an_agent_raises_ends_its_run_and_is_in_its_trace(record):
    trace = record(READ, ANSWER).trace()

    def broken(_messages):
        raise RuntimeError("no such model")

    replayer = Replayer()
    replayer.agent = Agent(broken)
    replayed = replayer(trace, live=True)
    assert (replayed.ended, replayed.run.stop_detail) == ("model_error", "RuntimeError: no such model")


def test_an_agent_that_does_not_come_back_is_given_up_and_that_is_no_parity_whatever_may_differ(record):
    trace = record(READ, ANSWER).trace()
    let_go, replayer = threading.Event(), Replayer()
    replayer.agent = Agent(lambda _messages: let_go.wait() and None)
    replayed = replayer(trace, live=True, seconds=0.01)
    assert left_behind()
    let_go.set()
    assert (replayed.ended, replayed.replay.given_up) == ("given up", 0.01)
    found = compare(trace, replayed, Thresholds(missing=9, stop_reason=9, answer=9, steps=9))
    assert (found.passed, found.exceeded) == (False, ("stop_reason",))
    assert found.notes[-1].endswith("given up after 0.01 s: its agent had not come to an end")


def test_what_an_agent_waits_for_is_cancelled_when_it_is_given_up(record):
    trace = record(READ, ANSWER).trace()
    runtime, ended = types.ModuleType("patient"), []

    async def waiting(run, agent, request="", *, saved=None):
        try:
            await asyncio.Event().wait()
        finally:
            ended.append(run.stop_reason)

    runtime.drive, runtime.speaking = waiting, plain.speaking
    sys.modules["patient.runtime"] = runtime
    assert Replayer()(trace, runtime="patient.runtime", seconds=0.01).ended == "given up"
    assert ended == ["cancelled"]
    assert not left_behind()


def test_a_factory_that_does_not_come_back_is_named(record):
    let_go = threading.Event()
    how = How(seconds=0.01)
    with pytest.raises(ConfigError, match=r"the agent's factory did not come back within 0\.01 s"):
        replay(record(READ, ANSWER).trace(), Replayer().config, lambda _gateway: let_go.wait(), how, ManualClock())
    let_go.set()


def test_with_a_live_model_the_clock_runs_from_when_the_run_was_opened(record):
    trace = record(READ, ANSWER).trace()
    replayer = Replayer()

    def model(messages):
        replayer.clock.advance(10)
        return script(READ, ANSWER, usage=USAGE)(messages)

    replayer.agent = Agent(model, "m", 200)
    replayed = replayer(trace, live=True)
    assert [step.ended_at - trace.run.opened_at for step in replayed.steps] == [10_000_000, 20_000_000]


# --- the baseline ----------------------------------------------------------------------------------------------------


def comparisons(trace, replayer, **more):
    how = How(**{key: more.pop(key) for key in ("runtime", "live") if key in more})
    return list(compared(trace, replayer.config, replayer.factory, how, replayer.clock, **more))


def test_the_unchanged_replay_comes_first(record):
    trace = record(READ, ANSWER).trace()
    replayer = Replayer()
    replayer.agent = Agent(script(READ, ANSWER, usage=USAGE), "m", 200)
    found = comparisons(trace, replayer, live=True, times=3)
    assert [(each.right.replay.baseline, each.right.replay.model, each.right.replay.turn) for each in found] == [
        (True, "recorded", 1), (False, "live", 1), (False, "live", 2), (False, "live", 3),
    ]
    assert all(each.passed for each in found)


def test_a_replay_that_changes_nothing_is_the_baseline_itself(record):
    found = comparisons(record(READ, ANSWER).trace(), Replayer())
    assert [each.right.replay.baseline for each in found] == [True]


def test_where_the_baseline_does_not_reproduce_the_record_nothing_else_is_run(record):
    trace = record(READ, ANSWER).trace()
    replayer = Replayer({"policy": {"allow": []}})
    replayer.agent = Agent(lambda _messages: pytest.fail("the model was asked"))
    (baseline,) = comparisons(trace, replayer, live=True)
    assert (baseline.passed, baseline.right.replay.baseline) == (False, True)


@pytest.mark.parametrize(
    ("recorded", "runtime"), [("plain", "plain"), ("", "plain"), ("their own loop", "plain"), ("os.path", "plain")]
)
def test_the_baseline_runs_where_it_was_recorded_or_on_the_plain_loop(record, recorded, runtime):
    trace = record(READ, ANSWER).trace()
    assert baseline_runtime(replace(trace, run=replace(trace.run, runtime=recorded))) == runtime


def test_rules_about_the_runtime_see_the_recorded_one_in_the_baseline_and_the_new_one_after_it(record):
    config = {"policy": {"allow": ["ticket.read"], "rules": [
        {"id": "theirs", "tools": ["ticket.read"], "runtimes": ["theirs"], "then": "deny"},
    ]}}
    trace = record(READ, ANSWER, config=config, runtime="theirs").trace()
    assert trace.calls[0].verdict == "deny"
    baseline, changed = comparisons(trace, Replayer(config), runtime="interlock.adapters.plain")
    assert baseline.passed
    told = [(each.kind, each.after) for each in changed.divergences]
    assert told == [("verdict", "allow by policy.allow[ticket.read]")]


# --- runtimes --------------------------------------------------------------------------------------------------------


def test_an_adapter_that_is_not_there_is_named():
    with pytest.raises(ConfigError, match="there is no adapter 'nosuch'; name one of"):
        runtime_of("nosuch")


def test_a_module_that_cannot_drive_is_named():
    with pytest.raises(ConfigError, match=r"adapter 'os\.path' cannot be replayed on: it has no drive"):
        runtime_of("os.path")


def test_an_adapter_whose_framework_is_missing_says_which(tmp_path, monkeypatch):
    (tmp_path / "needy").mkdir()
    (tmp_path / "needy" / "runtime.py").write_text("import a_framework_that_is_not_here\n")
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(ConfigError, match=r"adapter 'needy\.runtime' needs a_framework_that_is_not_here"):
        runtime_of("needy.runtime")


def test_the_plain_loop_is_a_runtime():
    assert runtime_of("plain") is plain


def test_a_call_of_a_trace_says_which_rule_decided_it():
    call = TracedCall(call_id="c", key="c", tool="t", asked_at=0, verdict="allow", state="done")
    assert call.rule == ""
