"""The decision: guards without order, the strongest verdict wins, every reason is kept, whatever breaks denies."""

import itertools
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from interlock.core import decide as module
from interlock.core.approval import Approval, Card, Standing
from interlock.core.budget import NOTHING, Account, AccountKey, Amounts, Limits, Line, Window
from interlock.core.call import Effect, Tool, ToolCall
from interlock.core.decide import Facts, decide, decide_step
from interlock.core.lifecycle import State
from interlock.core.policy import Policy, Rule
from interlock.core.record import Record
from interlock.core.run import Run
from interlock.core.switch import Mode, Scope, Switch
from interlock.core.verdict import Decision, Reason, StopReason, Verdict

CALL = ToolCall(
    tenant="acme", agent="bot", env="prod", run_id="r", tool="mail.send", args={"n": 1}, call_id="c", key="c"
)
TOOL = Tool(name="mail.send", effect=Effect.WRITE)
RUN = Run(
    tenant="acme",
    run_id="r",
    agent="bot",
    env="prod",
    opened_at=0,
    deadline=100,
    max_seconds=100,
    limits=Limits(),
    max_denials=5,
    max_repeats=3,
    policy_version="v",
)
ALLOW = Rule(id="allow", then=Verdict.ALLOW)


def facts(*rules: Rule, conditions: Any = None, **more: Any) -> Facts:
    return Facts(
        **{"now": 1, "policy": Policy(rules or (ALLOW,), conditions or {}, "v1"), "run": RUN, "tool": TOOL, **more}
    )


def record(state: State, **more: Any) -> Record:
    return Record(
        **{
            "call": CALL,
            "fingerprint": "f",
            "state": state,
            "decision": Decision(Verdict.ALLOW, (), "v"),
            "asked_at": 0,
            **more,
        }
    )


def other(state: State, key: str = "k", run_id: str = "r") -> Record:
    return record(state, call=replace(CALL, key=key, call_id=key, run_id=run_id))


# --- the lattice -----------------------------------------------------------------------------------------------------


def test_nothing_that_allows_is_a_denial():
    decision = decide(CALL, facts(Rule(id="x", then=Verdict.ALLOW, tools=("other",))))
    assert (decision.verdict, decision.reasons[-1].guard) == (Verdict.DENY, "default_deny")


def test_a_rule_that_only_restricts_grants_nothing():
    decision = decide(CALL, facts(Rule(id="ask", then=Verdict.ASK)))
    assert decision.verdict is Verdict.DENY
    assert {reason.verdict for reason in decision.reasons} == {Verdict.ASK, Verdict.DENY}


THEN = [Verdict.ALLOW, Verdict.ASK, Verdict.DENY, Verdict.STOP]


@pytest.mark.parametrize("many", [1, 2, 3])
def test_the_strongest_verdict_wins_whatever_the_order_and_every_reason_is_kept(many):
    for thens in itertools.product(THEN, repeat=many):
        rules = [ALLOW, *(Rule(id=f"r{place}", then=then) for place, then in enumerate(thens))]
        decisions = [decide(CALL, facts(*order)) for order in itertools.permutations(rules)]
        assert {decision.verdict for decision in decisions} == {max(thens)}
        for decision in decisions:
            assert {reason.rule for reason in decision.reasons} == {rule.id for rule in rules}
            assert decision.policy_version == "v1"


def test_guards_have_no_order(monkeypatch):
    told = facts(run=replace(RUN, stop_reason=StopReason.CANCELLED), problem="wrong", now=200)
    verdicts = []
    for order in itertools.permutations(module.GUARDS, len(module.GUARDS)):
        if order[0] is module.GUARDS[0] or order[-1] is module.GUARDS[0]:
            monkeypatch.setattr(module, "GUARDS", order)
            decision = decide(CALL, told)
            verdicts.append((decision.verdict, frozenset(reason.guard for reason in decision.reasons)))
    assert set(verdicts) == {(Verdict.STOP, frozenset({"latched", "in_time", "well_formed", "policy"}))}


def test_a_guard_that_raises_denies(monkeypatch):
    def broken(call, facts):
        raise RuntimeError("oops")

    monkeypatch.setattr(module, "GUARDS", (*module.GUARDS, broken))
    decision = decide(CALL, facts())
    assert decision.verdict is Verdict.DENY
    assert "oops" in decision.leading[0].text


@pytest.mark.parametrize("then", THEN)
def test_a_rule_whose_expression_errors_denies_whatever_it_would_have_said(then):
    def broken(names):
        raise KeyError("amount")

    rule = Rule(id="r", then=then, when="args.amount > 1")
    decision = decide(CALL, facts(ALLOW, rule, conditions={"args.amount > 1": broken}))
    assert (decision.verdict, decision.rule) == (Verdict.DENY, "r")


def test_a_condition_that_is_false_says_nothing():
    rule = Rule(id="r", then=Verdict.DENY, when="false")
    assert decide(CALL, facts(ALLOW, rule, conditions={"false": lambda _: False})).verdict is Verdict.ALLOW


def test_a_condition_does_not_read_arguments_that_are_not_what_the_schema_says():
    read = []
    rule = Rule(id="r", then=Verdict.DENY, when="x")
    decision = decide(
        CALL, facts(ALLOW, rule, conditions={"x": lambda names: read.append(names)}, problem="n must be text")
    )
    assert (decision.verdict, read) == (Verdict.DENY, [])


# --- guards ----------------------------------------------------------------------------------------------------------

SHORT = Line(AccountKey("acme", "run", "r", Window.RUN, 0), Limits(tool_calls=0), Account())
SHORT_WINDOW = replace(SHORT, key=AccountKey("acme", "tenant", "acme", Window.DAY, 0))
KILL = Switch("s", Scope(), Mode.ALL, "ann", "x", 0)


@pytest.mark.parametrize(
    ("more", "guard", "verdict", "stop"),
    [
        ({"run": replace(RUN, stop_reason=StopReason.CANCELLED)}, "latched", Verdict.STOP, StopReason.CANCELLED),
        ({"switches": (KILL,)}, "killed", Verdict.STOP, StopReason.KILLED),
        ({"switches": (replace(KILL, scope=Scope(tool="mail.*")),)}, "killed", Verdict.DENY, None),
        ({"now": 100}, "in_time", Verdict.STOP, StopReason.MAX_SECONDS),
        ({"tool": None}, "well_formed", Verdict.DENY, None),
        ({"problem": "n must be text"}, "well_formed", Verdict.DENY, None),
        ({"lines": (SHORT,), "cost": Amounts(tool_calls=1)}, "affordable", Verdict.STOP, StopReason.MAX_TOOL_CALLS),
        ({"lines": (SHORT_WINDOW,), "cost": Amounts(tool_calls=1)}, "affordable", Verdict.DENY, None),
        (
            {"same": tuple(other(State.FAILED, str(n)) for n in range(3))},
            "not_looping",
            Verdict.STOP,
            StopReason.LOOP_DETECTED,
        ),
        ({"same": (other(State.REJECTED),)}, "not_rejected_before", Verdict.DENY, None),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_each_guard_answers_its_question(more, guard, verdict, stop):
    decision = decide(CALL, facts(**more))
    assert decision.verdict is verdict
    assert guard in [reason.guard for reason in decision.leading]
    assert next(reason for reason in decision.reasons if reason.guard == guard).stop is stop


def test_the_last_moment_before_the_deadline_is_in_time():
    assert decide(CALL, facts(now=99)).verdict is Verdict.ALLOW


def test_what_costs_nothing_is_affordable_when_nothing_is_left():
    assert decide(CALL, facts(lines=(SHORT,), cost=NOTHING)).verdict is Verdict.ALLOW


# --- what the ledger knows -------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("state", "verdict"),
    [
        (State.DONE, Verdict.REPLAY),
        (State.FAILED, Verdict.REPLAY),
        (State.UNKNOWN, Verdict.REPLAY),
        (State.REJECTED, Verdict.REPLAY),
        (State.REPEATED, Verdict.REPLAY),
        (State.LEASED, Verdict.WAIT),
        (State.DENIED, Verdict.ALLOW),
        (State.WAITING, Verdict.ALLOW),
        (State.APPROVED, Verdict.ALLOW),
        (State.LAPSED, Verdict.ALLOW),
    ],
)
def test_a_call_that_the_ledger_knows_is_answered_before_anything_is_weighed(state, verdict):
    dead = {"run": replace(RUN, stop_reason=StopReason.KILLED), "switches": (KILL,), "now": 1000}
    assert decide(CALL, facts(prior=record(state))).verdict is verdict
    if verdict is not Verdict.ALLOW:
        assert decide(CALL, facts(prior=record(state), **dead)).verdict is verdict


@pytest.mark.parametrize("state", State)
def test_the_same_wish_under_another_key(state):
    verdict = decide(CALL, facts(same=(other(state),))).verdict
    expected = {
        State.LEASED: Verdict.WAIT,
        State.DONE: Verdict.REPLAY,
        State.UNKNOWN: Verdict.REPLAY,
        State.REJECTED: Verdict.DENY,
    }
    assert verdict is expected.get(state, Verdict.ALLOW)


def test_a_tool_that_dedupes_on_our_key_is_tried_again_with_the_same_key_alone():
    tool = replace(TOOL, idempotent=True)
    assert decide(CALL, facts(tool=tool, prior=record(State.UNKNOWN))).verdict is Verdict.ALLOW
    assert decide(CALL, facts(tool=tool, same=(other(State.UNKNOWN),))).verdict is Verdict.REPLAY


# --- approvals -------------------------------------------------------------------------------------------------------

APPROVED = Approval(
    approval_id="ap",
    tenant="acme",
    agent="bot",
    env="prod",
    run_id="r",
    call_id="c",
    key="c",
    tool="mail.send",
    digest="d",
    policy_version="v",
    card=Card("t", "", "", {}, "write", "low"),
    asked_at=0,
    expires_at=9,
    standing=Standing.APPROVED,
)
ASKS = Rule(id="ask", then=Verdict.ASK)


def test_a_yes_answers_just_what_was_asked():
    assert decide(CALL, facts(ALLOW, ASKS, approval=APPROVED, digest="d")).verdict is Verdict.ALLOW
    assert decide(CALL, facts(ALLOW, ASKS, approval=APPROVED, digest="e")).verdict is Verdict.ASK


@pytest.mark.parametrize("standing", [each for each in Standing if each is not Standing.APPROVED])
def test_no_other_standing_is_a_yes(standing):
    assert (
        decide(CALL, facts(ALLOW, ASKS, approval=replace(APPROVED, standing=standing), digest="d")).verdict
        is Verdict.ASK
    )


@pytest.mark.parametrize("then", [Verdict.DENY, Verdict.STOP])
def test_a_yes_lifts_no_denial(then):
    rules = (ALLOW, ASKS, Rule(id="no", then=then))
    assert decide(CALL, facts(*rules, approval=APPROVED, digest="d")).verdict is then


# --- model turns -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("more", "stop"),
    [
        ({}, None),
        ({"now": 100}, "max_seconds"),
        ({"switches": (KILL,)}, "killed"),
        ({"switches": (replace(KILL, mode=Mode.WRITES),)}, None),
        ({"switches": (replace(KILL, scope=Scope(tool="*")),)}, None),
        ({"lines": (replace(SHORT, limits=Limits(steps=0)),), "cost": Amounts(steps=1)}, "max_steps"),
        ({"run": replace(RUN, stop_reason=StopReason.CANCELLED)}, "cancelled"),
    ],
    ids=str,
)
def test_a_model_turn_is_weighed_without_any_tool(more, stop):
    decision = decide_step(facts(tool=None, **more))
    assert (decision.verdict, decision.stop) == (Verdict.ALLOW if stop is None else Verdict.STOP, stop)


# --- purity ----------------------------------------------------------------------------------------------------------


@given(
    st.lists(
        st.builds(
            Rule,
            id=st.text("ab", min_size=1),
            then=st.sampled_from(THEN),
            tools=st.sampled_from([("*",), ("mail.*",), ("x",)]),
        ),
        max_size=4,
    ),
    st.integers(0, 120),
    st.none() | st.sampled_from(State),
    st.booleans(),
)
def test_the_same_facts_give_the_same_decision_and_never_an_exception(rules, now, state, killed):
    if state is State.NEW:
        state = None
    told = facts(*rules, now=now, prior=None if state is None else record(state), switches=(KILL,) if killed else ())
    first, second = decide(CALL, told), decide(CALL, told)
    assert first == second
    assert first.verdict in Verdict
    assert all(isinstance(reason, Reason) for reason in first.reasons)
    if first.verdict is Verdict.ALLOW:
        assert not killed
        assert now < RUN.deadline
