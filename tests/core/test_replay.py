"""Recorded answers, found again; and recorded decisions, made again."""

import threading

import pytest
from msgspec.structs import replace

from interlock.config import load
from interlock.core.budget import Limits
from interlock.core.call import Effect, Tool, ToolCall
from interlock.core.decide import Facts, decide
from interlock.core.replay import Tape, again, as_first_weighed
from interlock.core.run import Run
from interlock.core.trace import TracedApproval, TracedCall
from interlock.core.verdict import Decision, Reason, StopReason, Verdict


def call(call_id, tool="look", state="done", admitted=True, **args):
    return TracedCall(
        call_id=call_id, key=call_id, tool=tool, args=args, asked_at=1, verdict="allow", state=state, admitted=admitted
    )


# --- the tape --------------------------------------------------------------------------------------------------------


def test_an_answer_is_found_by_tool_and_arguments_whatever_the_call_was_named():
    tape = Tape([call("c1", at=1), call("c2", at=2), call("c3", tool="note", at=1)])
    assert [tape.take(tool, args).call_id for tool, args in (("note", {"at": 1}), ("look", {"at": 2}))] == ["c3", "c2"]


def test_equal_calls_get_their_answers_in_the_order_in_which_they_came_and_no_more_than_there_are():
    tape = Tape([call("c1", at=1), call("c2", at=1)])
    found = [tape.take("look", {"at": 1}) for _ in range(3)]
    assert [each and each.call_id for each in found] == ["c1", "c2", None]
    assert tape.remaining == 0


def test_arguments_are_equal_as_json_is():
    tape = Tape([call("c1", a=1.0, b=[{"x": None}])])
    assert tape.take("look", {"b": [{"x": None}], "a": 1}).call_id == "c1"


@pytest.mark.parametrize("state", ["waiting", "rejected", "leased", "lapsed", "repeated"])
def test_a_call_that_did_not_end_has_no_answer(state):
    assert Tape([call("c1", state=state)]).take("look", {}) is None


def test_a_call_that_was_refused_has_no_answer():
    assert Tape([call("c1", state="denied", admitted=False)]).take("look", {}) is None


def test_what_a_person_has_edited_is_found_as_it_was_performed():
    edited = TracedApproval(approval_id="a", standing="consumed", asked_at=1, expires_at=2, edited={"at": 7})
    tape = Tape([replace(call("c1", at=1), approval=edited)])
    assert tape.take("look", {"at": 1}) is None
    assert tape.take("look", {"at": 7}).call_id == "c1"


def test_two_threads_never_get_the_same_answer():
    tape = Tape([call(f"c{number}", at=1) for number in range(400)])
    found = []

    def take():
        while (one := tape.take("look", {"at": 1})) is not None:
            found.append(one.call_id)

    threads = [threading.Thread(target=take) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(found) == sorted(f"c{number}" for number in range(400))


def test_the_closest_is_of_the_same_tool_and_may_be_given_twice():
    known = call("c1", q="refund lost parcel"), call("c2", q="opening hours"), call("c3", tool="note", q="refund")
    tape = Tape(known)
    for _ in range(2):
        assert tape.closest("look", {"q": "refund of a lost parcel"}).call_id == "c1"
    assert tape.closest("mail", {"q": "refund"}) is None


# --- deciding again --------------------------------------------------------------------------------------------------

TOOL = Tool(name="pay", effect=Effect.WRITE)
CALL = ToolCall(
    tenant="acme", agent="bot", env="prod", run_id="r1", tool="pay", args={"amount": 50}, call_id="c1", key="c1"
)
RUN = Run(
    tenant="acme", run_id="r1", agent="bot", env="prod", opened_at=1, deadline=10, max_seconds=9, limits=Limits(),
    max_denials=5, max_repeats=3, policy_version="old",
)
GRANT = Reason("policy", Verdict.ALLOW, "allowed", "old.allow")


def asked(policy, recorded):
    facts = Facts(now=2, policy=load({"policy": policy}).policy, run=RUN, tool=TOOL)
    return again(CALL, facts, recorded)


def test_rules_are_weighed_afresh():
    recorded = Decision(Verdict.ALLOW, (GRANT,), "old")
    strict = {"allow": ["pay"], "rules": [{"id": "big", "tools": ["pay"], "when": "args.amount > 10", "then": "ask"}]}
    assert (asked(strict, recorded).verdict, asked(strict, recorded).rule) == (Verdict.ASK, "big")
    assert asked({}, recorded).verdict is Verdict.DENY


def test_without_a_guard_that_spoke_it_is_what_decide_says():
    recorded = Decision(Verdict.ALLOW, (GRANT,), "old")
    facts = Facts(now=2, policy=load({"policy": {"allow": ["pay"]}}).policy, run=RUN, tool=TOOL)
    assert again(CALL, facts, recorded) == decide(CALL, facts)


@pytest.mark.parametrize(
    ("reason", "verdict"),
    [
        (Reason("affordable", Verdict.STOP, "not enough left", stop=StopReason.MAX_TOOL_CALLS), Verdict.STOP),
        (Reason("killed", Verdict.DENY, "a kill switch"), Verdict.DENY),
        (Reason("not_looping", Verdict.STOP, "again", stop=StopReason.LOOP_DETECTED), Verdict.STOP),
    ],
)
def test_a_guard_whose_facts_are_gone_keeps_what_it_said(reason, verdict):
    recorded = Decision(verdict, (reason, GRANT), "old")
    found = asked({"allow": ["pay"]}, recorded)
    assert found.verdict is verdict
    assert reason in found.reasons
    assert GRANT not in found.reasons  # a rule of the old policy does not


def test_what_people_answered_does_not_count():
    ask = Reason("policy", Verdict.ASK, "ask", "big")
    yes = Reason("approval", Verdict.ALLOW, "approved by maria (ap_1)")
    approved = Decision(Verdict.ALLOW, (GRANT, ask, yes), "old")
    assert as_first_weighed(approved) == Decision(Verdict.ASK, (GRANT, ask), "old")


def test_what_another_record_answered_was_never_weighed():
    known = Decision(Verdict.REPLAY, (Reason("known", Verdict.REPLAY, "done already"),), "old")
    assert as_first_weighed(known) is None
