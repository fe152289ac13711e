"""Properties of any policy, over policies, tools and callers that nobody has thought of."""

from collections.abc import Sequence
from fnmatch import fnmatchcase
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from interlock.conditions import compile_condition
from interlock.core.budget import Limits
from interlock.core.call import Effect, Risk, Tool, ToolCall
from interlock.core.decide import Facts, decide
from interlock.core.policy import Policy, Rule
from interlock.core.run import Run
from interlock.core.verdict import Decision, Verdict

NAMES = ("a.x", "a.y", "b.x", "c")
GLOBS = ("*", "a.*", "*.x", "a.x", "c", "[ab].x", "d")
PEOPLE = ("one", "two")
WHENS = ("", "", "", "args.n > 5", "args.missing == 1", "has(args.n)", "args.n", "tenant == 'one'")
CONDITIONS = {when: compile_condition(when) for when in WHENS if when}

some = st.lists(st.sampled_from((*PEOPLE, "t*")), max_size=2).map(tuple)
rules = st.builds(
    Rule,
    id=st.text("rst", min_size=1, max_size=3),
    then=st.sampled_from((Verdict.ALLOW, Verdict.ALLOW, Verdict.ASK, Verdict.DENY, Verdict.STOP)),
    tools=st.lists(st.sampled_from(GLOBS), min_size=1, max_size=3).map(tuple),
    tenants=some,
    agents=some,
    envs=some,
    runtimes=some,
    effects=st.lists(st.sampled_from(Effect), max_size=2).map(tuple),
    risks=st.lists(st.sampled_from(Risk), max_size=2).map(tuple),
    when=st.sampled_from(WHENS),
)
policies = st.lists(rules, max_size=12)
tools = st.builds(Tool, name=st.sampled_from(NAMES), effect=st.sampled_from(Effect), risk=st.sampled_from(Risk))
person = st.sampled_from(PEOPLE)
calls = st.builds(
    ToolCall,
    tenant=person,
    agent=person,
    env=person,
    runtime=person,
    run_id=st.just("r"),
    tool=st.just(""),
    args=st.sampled_from(({}, {"n": 3}, {"n": 9}, {"n": "x"}, {"n": True})),
    call_id=st.just("c"),
    key=st.just("k"),
)


def weigh(policy: Sequence[Rule], tool: Tool, call: ToolCall) -> Decision:
    run = Run(
        tenant=call.tenant,
        run_id="r",
        agent=call.agent,
        env=call.env,
        opened_at=0,
        deadline=10**12,
        max_seconds=10**12,
        limits=Limits(),
        max_denials=5,
        max_repeats=3,
        policy_version="v",
    )
    return decide(named(call, tool), Facts(now=1, policy=Policy(policy, CONDITIONS, "v"), run=run, tool=tool))


def named(call: ToolCall, tool: Tool) -> ToolCall:
    fields: dict[str, Any] = {key: getattr(call, key) for key in call.__struct_fields__}
    return ToolCall(**{**fields, "tool": tool.name})


def naive(policy: Sequence[Rule], tool: Tool, call: ToolCall) -> Verdict:
    """The policy as the design puts it: every rule looked at, nothing indexed."""
    names = {"args": call.args, "tool": tool.name, "tenant": call.tenant, "agent": call.agent, "env": call.env}
    spoken: list[Verdict] = []
    for rule in policy:
        said = (
            (tool.name, rule.tools),
            (call.tenant, rule.tenants),
            (call.agent, rule.agents),
            (call.env, rule.envs),
            (call.runtime, rule.runtimes),
        )
        if not all(not globs or any(fnmatchcase(name, glob) for glob in globs) for name, globs in said):
            continue
        if (rule.effects and tool.effect not in rule.effects) or (rule.risks and tool.risk not in rule.risks):
            continue
        try:
            holds = not rule.when or CONDITIONS[rule.when](names)
        except ValueError:
            spoken.append(Verdict.DENY)
            continue
        if holds:
            spoken.append(rule.then)
    if Verdict.ALLOW not in spoken:
        spoken.append(Verdict.DENY)
    return max(spoken)


@given(policies, tools, calls)
def test_the_index_agrees_with_looking_at_every_rule(policy: list[Rule], tool: Tool, call: ToolCall) -> None:
    assert weigh(policy, tool, call).verdict is naive(policy, tool, call)


@given(policies, rules, st.integers(0, 12), tools, calls)
def test_adding_a_rule_that_restricts_never_loosens_a_verdict(
    policy: list[Rule], added: Rule, place: int, tool: Tool, call: ToolCall
) -> None:
    if added.then is Verdict.ALLOW:
        return
    more = [*policy[:place], added, *policy[place:]]
    assert weigh(more, tool, call).verdict >= weigh(policy, tool, call).verdict


@given(st.data(), policies, tools, calls)
def test_the_order_of_rules_does_not_matter_for_the_verdict(
    data: st.DataObject, policy: list[Rule], tool: Tool, call: ToolCall
) -> None:
    shuffled = data.draw(st.permutations(policy))
    assert weigh(shuffled, tool, call).verdict is weigh(policy, tool, call).verdict


@given(policies, tools, calls)
def test_nothing_is_allowed_or_asked_without_a_grant(policy: list[Rule], tool: Tool, call: ToolCall) -> None:
    ungranted = [rule for rule in policy if rule.then is not Verdict.ALLOW]
    assert weigh(ungranted, tool, call).verdict >= Verdict.DENY


@given(policies, tools, calls)
def test_every_rule_that_spoke_is_among_the_reasons(policy: list[Rule], tool: Tool, call: ToolCall) -> None:
    decision = weigh(policy, tool, call)
    verdicts = {reason.verdict for reason in decision.reasons}
    assert decision.verdict is max(verdicts)
    assert decision.leading


def test_a_tool_that_is_declared_anew_is_weighed_anew() -> None:
    policy = Policy([Rule(id="r", then=Verdict.ALLOW, effects=(Effect.READ,))], {}, "v")
    assert policy.rules_for(Tool(name="t", effect=Effect.READ))
    assert not policy.rules_for(Tool(name="t", effect=Effect.WRITE))
