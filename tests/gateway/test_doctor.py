"""What the doctor sees of a config and a ledger, on the ledger in memory."""

from pathlib import Path

import pytest
from msgspec.structs import replace

import interlock
from interlock import doctor
from interlock.adapters.plain import Agent, drive
from interlock.core.seen import Baseline, Ledger, Went, Writing
from interlock.core.trace import encode
from interlock.core.turn import Call
from interlock.replays import How
from interlock.replays import replay as replayed
from interlock.scripted import script
from interlock.testing import ManualClock
from interlock.traces import export

CONFIG = {
    "ledger": "memory:",
    "policy": {
        "allow": ["ticket.read", "ticket.create", "refund.pay"],
        "rules": [{"id": "big", "tools": ["refund.*"], "when": "args.amount > 100.0", "then": "ask"}],
    },
    "tools": {"refund.pay": {"effect": "irreversible"}},
}
HOME = {"agent": "bot", "tenant": "acme", "env": "prod"}


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock()


@pytest.fixture
def gw(clock):
    with interlock.open(CONFIG, clock=clock) as gateway:
        gateway.tool("ticket.read", effect="read")(lambda ticket="": f"text of {ticket}")
        gateway.tool("ticket.create", effect="write")(lambda title="": len(title))

        @gateway.tool("refund.pay", effect="irreversible")
        def pay(amount: float) -> None:
            raise OSError("the line went dead")

        yield gateway


def ledger(gateway, days: int = 30) -> Ledger:
    found = doctor.see(gateway.config, gateway, days=days, clock=gateway.clock).ledger
    assert found is not None
    return found


def writing(config: dict, gateway=None) -> dict[tuple[str, str], Writing]:
    read = interlock.config.load({**CONFIG, **config})
    seen = doctor.see(read, gateway, days=30, clock=ManualClock())
    return {(each.tool, each.tenant): each for each in seen.config.writing}


def test_runs_calls_steps_and_stops_are_counted(gw):
    with gw.run(**HOME, run_id="r1", runtime="plain") as run:
        step = run.begin_step()
        run.call("ticket.read", {}, call_id="c1")
        run.call("ticket.create", {}, call_id="c2")
        run.end_step(step, turn=interlock.Turn(text="done"))
    gw.run(**{**HOME, "tenant": "beta"}, run_id="r2").stop("cancelled")
    gw.run(**HOME, run_id="r3", runtime="plain")
    found = ledger(gw)
    assert (found.tenants, found.runs, found.calls, found.steps, found.policies) == (2, 3, 2, 1, 1)
    assert (dict(found.stops), found.runtimes) == ({"completed": 1, "cancelled": 1}, {"plain": Went(2, 1, 1)})
    assert found.stepless + found.silent + found.reasonless == ()
    assert found.unended + found.unrecorded + found.unsettled + found.unknown == ()


def test_a_run_that_made_calls_and_announced_no_turn_is_seen(gw):
    with gw.run(**HOME, run_id="r1") as run:
        run.call("ticket.read", {})
    with gw.run(**HOME, run_id="r2"):
        pass
    assert ledger(gw).stepless == ("acme/r1",)


def test_a_run_that_nobody_finished_is_seen_once_its_deadline_is_past_and_not_while_people_are_asked(gw, clock):
    gw.run(**HOME, run_id="r1").call("ticket.read", {})
    assert gw.run(**HOME, run_id="r2").call("refund.pay", {"amount": 500.0}).kind == "pending"
    assert ledger(gw).silent == ()
    clock.advance(301)
    assert ledger(gw).silent == ("acme/r1",)


def test_a_step_that_never_ended_is_seen_once_its_run_has_been_over_for_a_while(gw, clock):
    run = gw.run(**HOME, run_id="r1")
    step = run.begin_step()
    run.stop("cancelled")
    assert ledger(gw).unended == ()  # the turn may still come to its end
    clock.advance(601)
    assert ledger(gw).unended == (f"acme/r1/{step.step_id}",)
    run.end_step(step, turn=interlock.Turn(text="late"))  # it comes after all, and is booked
    assert ledger(gw).unended == ()


def test_a_step_whose_turn_was_not_recorded_is_seen_unless_the_config_says_so_or_its_model_was_not_heard(gw, clock):
    run = gw.run(**HOME, run_id="r1")
    silent, said, lost = run.begin_step(), run.begin_step(), run.begin_step()
    run.end_step(silent)
    run.end_step(said, turn=interlock.Turn(text="hello"))
    assert ledger(gw).unrecorded == (f"acme/r1/{silent.step_id}",)
    run.end_step(lost, lost=True)
    assert ledger(gw).unrecorded == (f"acme/r1/{silent.step_id}",)
    without = interlock.config.load({**CONFIG, "tenants": {"acme": {"recording": {"turns": False}}}})
    with interlock.open(without, store=gw.store, board=gw.board, clock=clock) as other:
        assert ledger(other).unrecorded == ()


def test_a_call_in_flight_is_told_from_one_whose_owner_is_gone(gw, clock):
    seen = []

    @gw.tool("ticket.look", effect="read")
    def look() -> None:
        seen.append(ledger(gw))
        later = ManualClock(clock.now() + 3600 * 1_000_000)
        seen.append(doctor.see(gw.config, gw, days=30, clock=later).ledger)

    config = {**CONFIG, "policy": {"allow": ["ticket.look"]}}
    with interlock.open(config, store=gw.store, board=gw.board, clock=clock) as other:
        other.tool("ticket.look", effect="read")(look)
        other.run(**HOME, run_id="r1").call("ticket.look", {}, call_id="c1")
    now, later = seen
    assert (now.in_flight, now.unsettled) == (1, ())
    assert (later.in_flight, later.unsettled) == (0, ("acme/r1/c1",))


def test_unknown_calls_are_seen_until_somebody_reconciles_them(gw):
    gw.run(**HOME, run_id="r1").call("refund.pay", {"amount": 1.0}, call_id="c1")
    assert ledger(gw).unknown == ("acme/r1/c1",)
    gw.control.reconcile(tenant="acme", run_id="r1", call_id="c1", happened=False, by="ann", note="not there")
    assert ledger(gw).unknown == ()


def test_runs_from_before_the_days_that_are_asked_about_are_left_out(gw, clock):
    gw.run(**HOME, run_id="old").finish()
    clock.advance(3 * 86_400)
    gw.run(**HOME, run_id="new").stop("cancelled")
    assert dict(ledger(gw, days=2).stops) == {"cancelled": 1}
    assert ledger(gw, days=4).runs == 2


def test_no_more_than_the_newest_thousand_runs_are_looked_at_and_that_is_said(gw):
    for _ in range(doctor.MOST + 1):
        gw.run(**HOME)
    assert (ledger(gw).runs, ledger(gw).more) == (1000, True)


def test_switches_are_seen_released_ones_too(gw):
    gw.control.kill(tool="drill.nothing", reason="drill", by="ann")
    gw.control.release(tool="drill.nothing", reason="over", by="ann")
    (switch,) = ledger(gw).switches
    assert (switch.scope.tool, switch.released_by) == ("drill.nothing", "ann")


def test_a_tool_that_a_rule_asks_about_under_a_condition_is_not_unasked():
    assert not writing({})["refund.pay", "*"].unasked


def test_a_tool_that_is_declared_nowhere_counts_as_irreversible_until_its_code_or_the_config_has_spoken(gw):
    assert writing({})["ticket.read", "*"].unasked
    gw.run(**HOME)
    found = writing({}, gw)
    assert ("ticket.read", "*") not in found
    assert found["ticket.create", "*"].effect == "write"
    declared = {"tools": {"ticket.create": {"effect": "read"}}}
    assert ("ticket.create", "*") not in writing(declared)
    assert ("ticket.create", "*") in writing(declared, gw)  # its code says write, and the stricter counts


def test_the_config_may_say_of_which_tools_nobody_need_be_asked():
    assert writing({"doctor": {"unasked": ["ticket.*"]}})["ticket.create", "*"].excepted
    assert not writing({"doctor": {"unasked": ["ticket.read"]}})["ticket.create", "*"].excepted


def test_whoever_is_asked_about_in_one_tenant_alone_is_seen_apart():
    found = writing(
        {
            "policy": {"allow": ["mail.send"]},
            "tenants": {
                "acme": {"policy": {"rules": [{"id": "a", "tools": ["mail.*"], "then": "ask"}]}},
                "beta": {"policy": {"allow": ["db.drop"]}},
            },
        }
    )
    assert {key: each.unasked for key, each in found.items() if each.tool in ("mail.send", "db.drop")} == {
        ("mail.send", "*"): True, ("mail.send", "acme"): False, ("db.drop", "beta"): True,
    }


@pytest.mark.parametrize(
    ("policy", "unasked"),
    [
        ({"rules": [{"id": "r", "tools": ["x.y"], "when": "args.ok", "then": "allow"}]}, False),
        ({"rules": [{"id": "r", "tools": ["x.y"], "agents": ["bot"], "then": "allow"}]}, True),
        ({"allow": ["x.y"], "risk": {"medium": "ask"}}, False),
        ({"allow": ["x.y"], "risk": {"high": "ask"}}, True),
    ],
)
def test_a_condition_over_the_call_or_a_tier_covers_a_tool_and_a_narrower_caller_does_not(policy, unasked):
    assert writing({"policy": policy, "tools": {"x.y": {"effect": "write"}}})["x.y", "*"].unasked is unasked


def test_a_tool_that_is_denied_to_everybody_is_nobodys_to_ask_about():
    rules = [{"id": "no", "tools": ["x.y"], "then": "deny"}]
    assert writing({"policy": {"allow": ["x.y"], "rules": rules}, "tools": {}}) == {}


def test_a_glob_that_grants_stands_for_the_tools_that_nobody_knows_unless_it_is_declared():
    policy = {"policy": {"allow": ["kb.*"]}, "tools": {}}
    assert writing(policy)["kb.*", "*"].pattern
    assert writing({**policy, "tools": {"kb.*": {"effect": "read"}}}) == {}


def test_what_grants_every_tool_is_named_with_its_line(tmp_path):
    path = tmp_path / "interlock.yaml"
    path.write_text('policy:\n  allow: ["*"]\n')
    seen = doctor.see(interlock.config.load(path), None, days=30, clock=ManualClock(), trouble="not there")
    (place,) = seen.config.grants_everything
    assert "interlock.yaml:2: policy.allow: '*' grants every tool" in place
    assert (seen.ledger, seen.trouble) == (None, "not there")


# --- the baseline ----------------------------------------------------------------------------------------------------


def baseline(folder: Path, config: dict | None = None) -> Baseline | None:
    settings = {**CONFIG, **(config or {}), "doctor": {"baseline": str(folder)}}
    return doctor.see(interlock.config.load(settings), None, days=30, clock=ManualClock()).baseline


@pytest.fixture
def trace(gw):
    said = [Call("ticket.read", {"ticket": "17"}, "c1")]
    agent = Agent(script(said, "It is read.", usage=interlock.Usage(input_tokens=9, output_tokens=4)), "small", 500)
    drive(gw.run(**HOME, run_id="r17", runtime="plain"), agent, "Read ticket 17.")
    return export(gw, "acme", "r17")


def test_without_a_folder_in_the_config_there_is_no_baseline_and_an_empty_one_holds_no_trace(tmp_path):
    assert doctor.see(interlock.config.load(CONFIG), None, days=30, clock=ManualClock()).baseline is None
    found = baseline(tmp_path / "nowhere")
    assert (found.traces, found.broken, found.differing) == (0, (), ())


def test_a_trace_that_comes_out_as_it_did_is_a_baseline_and_its_replays_beside_it_are_passed_over(tmp_path, gw, trace):
    (tmp_path / "r17.json").write_bytes(encode(trace))
    again = replayed(trace, gw.config, None, How(), gw.clock)
    (tmp_path / "r17.plain.json").write_bytes(encode(again))
    found = baseline(tmp_path)
    assert (found.traces, found.newest, found.more) == (1, trace.run.opened_at, False)
    assert found.differing + found.broken == ()


def test_a_trace_that_the_config_of_now_decides_otherwise_is_named_with_the_first_difference(tmp_path, trace):
    (tmp_path / "r17.json").write_bytes(encode(trace))
    found = baseline(tmp_path, {"policy": {"allow": ["ticket.create"]}})
    (told,) = found.differing
    assert "r17.json comes out otherwise: step 1: ticket.read verdict: allow by" in told
    assert told.endswith("→ deny by default_deny")


def test_what_is_no_trace_or_holds_no_turn_is_named_with_why(tmp_path, trace):
    (tmp_path / "other.json").write_text("{}")
    steps = tuple(replace(step, turn=None) for step in trace.steps)
    (tmp_path / "silent.json").write_bytes(encode(replace(trace, steps=steps)))
    found = baseline(tmp_path)
    assert found.traces == 0
    assert "other.json: " in found.broken[0]
    assert "is no trace" in found.broken[0]
    assert "silent.json: run 'r17' cannot be replayed" in found.broken[1]
