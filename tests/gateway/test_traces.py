"""A run as a trace: everything that the ledger has of it, and a word for what it has not."""

from pathlib import Path

import msgspec
import pytest
from msgspec.structs import replace

from interlock import ConfigError, Refused, StopReason
from interlock.adapters.plain import Call
from interlock.core.budget import Limits
from interlock.core.parity import compare
from interlock.core.trace import DEEPEST, VERSION, decode, encode
from interlock.traces import export, read, speech
from tests.gateway.recorded_shop import ANSWER, NOTE, PAY, READ, SEARCH, USAGE, Recorder, Replayer

CORPUS = sorted((Path(__file__).parents[1] / "corpus").glob("trace-v*.json"))


@pytest.fixture
def recorder():
    made = Recorder()
    yield made
    made.gateway.close()


def finished(recorder):
    """A run with a batch, a question, a yes after a while, and calls that are refused in three ways."""
    lines = [[READ, SEARCH], PAY, [NOTE, Call("mail.send", {"to": "x"}, "c5"), Call("ticket.read", {}, "c6")], ANSWER]
    paused = recorder.drive(*lines)
    recorder.clock.advance(120)
    edited = {**PAY.args, "amount": 19.0}
    recorder.gateway.control.approve(paused.report.pending[0], by="maria", note="seen", args=edited)
    assert recorder.drive(*lines, saved=paused.saved).status == "completed"
    return recorder.trace()


def test_a_trace_holds_what_was_asked_said_decided_and_answered(recorder):
    trace = finished(recorder)
    assert (trace.run.request, trace.ended, trace.answer, trace.gaps) == ("Handle ticket 17.", "completed", ANSWER, ())
    wished = [" ".join(call.id for call in step.turn.calls) for step in trace.steps]
    assert wished == ["c1 c2", "c3", "c4 c5 c6", ""]
    assert [(step.usage, step.usd, step.model, step.max_output_tokens) for step in trace.steps] == [
        (USAGE, 1500, "m", 200)
    ] * 4
    told = [(call.call_id, call.step_id, call.verdict, call.state, call.rule) for call in trace.calls]
    assert told == [
        ("c1", "s1", "allow", "done", "policy.allow[ticket.*]"),
        ("c2", "s1", "allow", "done", "policy.allow[kb.search]"),
        ("c3", "s2", "ask", "done", "approvals.required_for"),
        ("c4", "s3", "allow", "done", "policy.allow[ticket.*]"),
        ("c5", "s3", "deny", "denied", "well_formed"),
        ("c6", "s3", "deny", "denied", "well_formed"),
    ]
    assert [msgspec.json.decode(call.result) for call in trace.calls[:3]] == [
        {"ticket": "17", "seen": 1}, [2], {"receipt": 3}
    ]
    assert [call.usd for call in trace.calls] == [0, 1000, 0, 0, 0, 0]
    assert trace.places() == (1, 1, 2, 3, 3, 3)


def test_the_arguments_of_a_call_that_could_not_be_taken_are_those_of_its_turn(recorder):
    assert [(call.args, call.unread) for call in finished(recorder).calls[4:]] == [({"to": "x"}, True), ({}, True)]


def test_what_people_answered_is_in_it(recorder):
    approval = finished(recorder).calls[2].approval
    assert [(each.by, each.yes, each.note) for each in approval.answers] == [("maria", True, "seen")]
    assert (approval.standing, approval.edited) == ("consumed", {"order": "A-17", "amount": 19.0})


def test_the_policy_and_the_definitions_are_in_it_by_their_digests(recorder):
    trace = finished(recorder)
    assert trace.policy.version == recorder.gateway.config.policy.version
    assert [rule["id"] for rule in msgspec.json.decode(trace.policy.rules)][-1] == "late"
    pay = trace.tools["refund.pay"]
    assert pay.digest == pay.definition.schema_digest
    assert (pay.definition.effect, pay.said) == ("irreversible", ("effect", "risk"))
    assert sorted(trace.tools) == ["kb.search", "refund.pay", "ticket.note", "ticket.read"]


def test_rules_of_other_tenants_are_not_in_it():
    recorder = Recorder({"tenants": {"globex": {"policy": {"allow": ["secret.*"]}}}})
    recorder.drive("nothing to do")
    text = encode(recorder.trace()).decode()
    assert "globex" not in text
    assert "secret" not in text
    recorder.gateway.close()


def test_another_run_and_another_tenant_are_not_in_it(recorder):
    trace = finished(recorder)
    recorder.run("r2").call("ticket.read", {"ticket": "elsewhere"})
    theirs = recorder.gateway.run(agent="bot", tenant="globex", env="prod", run_id="r1")
    theirs.call("ticket.read", {"ticket": "theirs"})
    again = recorder.trace()
    assert replace(again, exported_at=0) == replace(trace, exported_at=0)
    with pytest.raises(Refused, match="there is no run 'r2' of tenant 'globex'"):
        export(recorder.gateway, "globex", "r2")


def test_limits_are_as_people_have_topped_them_up(recorder):
    recorder.drive(READ, "ok")
    recorder.gateway.control.top_up(tenant="acme", run_id="r1", steps=5, by="maria")
    assert recorder.trace().run.limits == Limits(steps=30, tool_calls=12)


def test_kill_switches_that_held_are_in_it_and_others_are_not(recorder):
    control, clock = recorder.gateway.control, recorder.clock
    control.kill(tenant="acme", tool="old.*", by="olga", reason="before")
    control.release(tenant="acme", tool="old.*", by="olga")
    clock.advance(5)
    recorder.run()
    clock.advance(5)
    control.kill(tool="shaky", by="olga", reason="during")
    control.kill(tenant="globex", by="olga", reason="another tenant")
    control.kill(tenant="acme", agent="other", by="olga", reason="another agent")
    clock.advance(5)
    recorder.run().finish()
    clock.advance(5)
    control.kill(tenant="acme", by="olga", reason="after")
    assert [switch.reason for switch in recorder.trace().switches] == ["during"]


def test_a_secret_that_was_lent_since_is_taken_out(recorder):
    recorder.run().call("ticket.read", {"ticket": "canary-77aa"})
    recorder.gateway.redactor.remember("canary-77aa")
    body = encode(recorder.trace())
    assert b"canary" not in body
    assert body.count(b"[redacted]") == 2


# --- gaps ------------------------------------------------------------------------------------------------------------


def test_what_was_not_recorded_is_said():
    recorder = Recorder({"recording": {"turns": False}})
    recorder.drive(READ, "ok")
    assert recorder.trace().gaps == ("what the model said in 2 of 2 steps was not recorded",)
    with pytest.raises(ConfigError, match=r"what the model said in step s1 was not recorded; record another run, with"):
        speech(recorder.trace())
    recorder.gateway.close()


def test_a_run_that_may_go_on_is_said_to(recorder):
    recorder.drive(PAY)
    assert recorder.trace().gaps == ("the run is paused, and may go on",)


def test_a_turn_that_was_cut_is_said_to_be_and_is_not_replayed(recorder):
    recorder.drive("x" * 300_000)
    assert "too long" in recorder.trace().gaps[0]
    with pytest.raises(ConfigError, match="step s1 was cut"):
        speech(recorder.trace())


# --- files -----------------------------------------------------------------------------------------------------------


def test_a_trace_is_read_from_its_file_as_it_was_written(recorder, tmp_path):
    trace = finished(recorder)
    (tmp_path / "r1.json").write_bytes(encode(trace))
    again = read(tmp_path / "r1.json")
    assert encode(again) == encode(trace)
    assert compare(trace, again).divergences == ()


@pytest.mark.parametrize(
    ("body", "words"),
    [
        (b"", "is no trace"),
        (b"\xff\x00", "is no trace"),
        (b'{"interlock_audit": 1}', r"is no trace: `interlock run export RUN > .*` writes one"),
        (b'{"interlock_trace": "1"}', "is no trace"),
        (b'{"interlock_trace": 0}', "is no trace"),
        (b'{"interlock_trace": 1}', r"is a damaged trace .*: export the run again"),
        (b"[" * 100_000, "is no trace"),
    ],
)
def test_a_file_that_is_none_is_named_with_what_to_do(tmp_path, body, words):
    (tmp_path / "x.json").write_bytes(body)
    with pytest.raises(ConfigError, match=words):
        read(tmp_path / "x.json")


def test_what_nobody_has_exported_so_is_damaged_whatever_its_shape(recorder):
    plain = msgspec.json.decode(encode(finished(recorder)))
    nested = []
    for _ in range(DEEPEST):
        nested = [nested]
    with pytest.raises(ConfigError, match=f"damaged trace .nested deeper than {DEEPEST} levels"):
        decode(msgspec.json.encode({**plain, "calls": [{**plain["calls"][0], "args": {"x": nested}}]}))
    name, tool = next(iter(plain["tools"].items()))
    tool["definition"]["schema"]["properties"] = {}
    with pytest.raises(ConfigError, match=f"definition of tool {name!r} is not the one of its digest"):
        decode(msgspec.json.encode(plain))


def test_a_file_that_is_not_there_is_named(tmp_path):
    with pytest.raises(ConfigError, match=r"nowhere\.json cannot be read: No such file"):
        read(tmp_path / "nowhere.json")


def test_a_trace_of_a_newer_version_is_refused_with_the_remedy(recorder):
    recorder.drive("ok")
    newer = replace(recorder.trace(), interlock_trace=VERSION + 1)
    words = f"of version {VERSION + 1}, and this Interlock reads up to {VERSION}: upgrade Interlock"
    with pytest.raises(ConfigError, match=words):
        decode(encode(newer))


def test_what_a_later_release_adds_to_this_version_is_passed_over(recorder):
    recorder.drive("ok")
    plain = msgspec.json.decode(encode(recorder.trace()))
    plain["later"] = plain["run"]["later"] = {"x": 1}
    assert decode(msgspec.json.encode(plain)).run.run_id == "r1"


# --- what older releases wrote ---------------------------------------------------------------------------------------


def test_there_is_a_corpus_of_every_version():
    assert {int(path.name.split("-v")[1][0]) for path in CORPUS} == set(range(1, VERSION + 1))


@pytest.mark.parametrize("path", CORPUS, ids=lambda path: path.stem)
def test_what_an_older_release_wrote_stays_readable(path):
    trace = read(path)
    assert encode(decode(encode(trace))) == encode(trace)
    assert compare(trace, trace).divergences == ()


@pytest.mark.parametrize("path", [each for each in CORPUS if "gaps" not in each.name], ids=lambda path: path.stem)
def test_what_an_older_release_recorded_is_reproduced_by_its_unchanged_replay(path):
    trace = read(path)
    replayer = Replayer()
    assert compare(trace, replayer(trace, baseline=True)).divergences == ()
    assert replayer.shop.did == []


def test_the_corpus_holds_the_hard_cases():
    ended = {read(path).run.stop_reason for path in CORPUS}
    states = {call.state for path in CORPUS for call in read(path).calls}
    assert ended >= {StopReason.COMPLETED, StopReason.KILLED, None}
    assert states >= {"done", "failed", "unknown", "denied", "rejected", "waiting", "repeated"}
