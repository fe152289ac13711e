"""Two runs side by side: whatever differs is named, with its step and its field, and nothing else is."""

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec import Raw
from msgspec.structs import replace

from interlock.core.budget import Limits
from interlock.core.parity import Kind, compare
from interlock.core.thresholds import Thresholds
from interlock.core.trace import (
    Replayed,
    Trace,
    TracedCall,
    TracedPolicy,
    TracedReason,
    TracedRun,
    TracedStep,
    TracedTool,
)
from interlock.core.turn import Call, Turn, Usage
from interlock.core.verdict import StopReason
from interlock.errors import ConfigError

RUN = TracedRun(
    tenant="acme", run_id="r1", agent="bot", env="prod", opened_at=0, stopped_at=900, status="completed",
    stop_reason=StopReason.COMPLETED, limits=Limits(steps=25), max_seconds=300, max_denials=5, max_repeats=3,
    policy_version="sha256:p1",
)
WISHES = [
    [("ticket.read", {"ticket": "17"}), ("kb.search", {"query": "refund", "most": 3})],
    [("refund.pay", {"order": "A-17", "amount": 20.0, "lines": [{"sku": "x1", "count": 1}]})],
    [("ticket.note", {"ticket": "17", "text": "refunded"}), ("ticket.close", {"ticket": "17"})],
]
ANSWER = "Ticket 17 is closed; 20 dollars were refunded."


def trace(wishes=WISHES, answer=ANSWER, **changes):
    """A run that makes these wishes, step by step, and then answers."""
    steps, calls, numbers = [], [], itertools.count(1)
    for number, of_step in enumerate([*wishes, []], 1):
        wished = tuple(Call(name, args, f"c{next(numbers)}") for name, args in of_step)
        turn = Turn(None if wished else answer, wished)
        used = Usage(input_tokens=900, output_tokens=100)
        steps.append(
            TracedStep(
                step_id=f"s{number}", began_at=number * 100, ended_at=number * 100 + 50, model="m", usage=used,
                usd=1000, turn=turn,
            )
        )
        calls += [
            TracedCall(
                call_id=each.id, key=each.id, tool=each.name, args=each.args, step_id=f"s{number}",
                asked_at=number * 100 + 60, settled_at=number * 100 + 90, verdict="allow", state="done", admitted=True,
                result=Raw(b"1"), usd=5,
            )
            for each in wished
        ]
    made = Trace(
        interlock_trace=1, exported_at=0, run=RUN, policy=TracedPolicy(version="sha256:p1"), steps=tuple(steps),
        calls=tuple(calls),
    )
    return replace(made, **changes)


def with_call(number, **changes):
    """The run with one of its calls changed."""
    made = trace()
    calls = [replace(call, **changes) if place == number else call for place, call in enumerate(made.calls)]
    return replace(made, calls=tuple(calls))


def with_args(number, **args):
    return with_call(number, args={**trace().calls[number].args, **args})


def wishes(change):
    """The wishes, changed in place by a function."""
    made = [list(step) for step in WISHES]
    change(made)
    return trace(made)


def moved(made):
    made[0].append(made[2].pop(1))


def swapped(made):
    made[0], made[1] = made[1], made[0]


def merged(made):
    made[1] += made.pop(2)


def denied(number):
    reason = TracedReason(guard="policy", verdict="deny", text="no", rule="strict")
    return with_call(number, verdict="deny", reasons=(reason,), state="denied", admitted=False)


def longer():
    made = trace()
    return replace(made, steps=(*made.steps[:3], replace(made.steps[2], step_id="s3b", turn=Turn("hm")), made.steps[3]))


#: name, the changed run, and of the divergence that must be told: kind, step, field
CHANGES = [
    ("a call is left out", wishes(lambda made: made[0].pop(1)), "missing", 1, "call"),
    ("the last call is left out", wishes(lambda made: made[2].pop(1)), "missing", 3, "call"),
    ("a call is made twice", wishes(lambda made: made[1].append(made[1][0])), "extra", 2, "call"),
    ("another tool is used, too", wishes(lambda made: made[1].append(("mail.send", {}))), "extra", 2, "call"),
    ("a tool is replaced", wishes(lambda made: made[0].__setitem__(1, ("web.get", {}))), "missing", 1, "call"),
    ("an amount", with_args(2, amount=200.0), "arguments", 2, "args.amount"),
    ("an amount, as text", with_args(2, amount="20"), "arguments", 2, "args.amount"),
    ("one letter of a text", with_args(3, text="refunde"), "arguments", 3, "args.text"),
    ("an argument more", with_args(0, deep=True), "arguments", 1, "args.deep"),
    ("null instead of nothing", with_args(0, note=None), "arguments", 1, "args.note"),
    ("deep inside", with_args(2, lines=[{"sku": "x1", "count": 2}]), "arguments", 2, "args.lines[0].count"),
    ("a list that is longer", with_args(2, lines=[*WISHES[1][0][1]["lines"], 1]), "arguments", 2, "args.lines[1]"),
    ("a call comes two steps earlier", wishes(moved), "order", 3, "order"),
    ("two steps are swapped", wishes(swapped), "order", 2, "order"),
    ("what followed on an answer does not wait for it", wishes(merged), "order", 2, "order"),
    ("a call is denied", denied(2), "verdict", 2, "verdict"),
    ("a call is asked about", with_call(4, verdict="ask"), "verdict", 3, "verdict"),
    ("a call failed", with_call(0, state="failed"), "outcome", 1, "outcome"),
    (
        "the run was stopped", trace(run=replace(RUN, status="stopped", stop_reason=StopReason.MAX_STEPS)),
        "stop_reason", 4, "stop_reason",
    ),
    ("the answer", trace(answer="Ticket 17 is open."), "answer", 4, "answer"),
    ("a model turn more", longer(), "steps", None, "steps"),
    ("it is dearer", with_call(2, usd=5000), "usd", None, "usd"),
]


NAMES = [each[0] for each in CHANGES]


@pytest.mark.parametrize(("changed", "kind", "step", "field"), [each[1:] for each in CHANGES], ids=NAMES)
def test_a_change_fails_and_its_step_and_field_are_named(changed, kind, step, field):
    found = compare(trace(), changed)
    assert not found.passed
    told = [(each.kind, each.step or each.other_step, each.field) for each in found.divergences]
    assert (kind, step, field) in told
    assert all(each.text for each in found.divergences)


@pytest.mark.parametrize("changed", [each[1] for each in CHANGES[5:12]], ids=NAMES[5:12])
def test_one_changed_argument_is_one_divergence(changed):
    assert len(compare(trace(), changed).divergences) == 1


def test_a_run_is_like_itself():
    found = compare(trace(), trace())
    assert (found.passed, found.divergences, found.notes) == (True, (), ())
    assert [pair.left.call_id for pair in found.pairs] == ["c1", "c2", "c3", "c4", "c5"]
    assert all(pair.left == pair.right for pair in found.pairs)


SOME = st.tuples(st.sampled_from(["a", "b"]), st.sampled_from([{}, {"q": 1}, {"q": 2}, {"l": [1, 2]}]))
RUNS = st.lists(st.lists(SOME, max_size=3), min_size=1, max_size=5).filter(any)
ANOTHER = {"missing": "extra", "extra": "missing"}  # what the other run says of it


def where(divergence):
    return divergence.step or divergence.other_step


@given(made=RUNS)
def test_any_run_is_like_itself(made):
    assert compare(trace(made), trace(made)).divergences == ()


@given(data=st.data(), made=RUNS)
def test_any_one_change_of_any_run_is_told_by_its_kind_and_its_step_and_nothing_else_is(data, made):
    number = data.draw(st.sampled_from([number for number, step in enumerate(made) if step]))
    place = data.draw(st.integers(0, len(made[number]) - 1))
    kind = data.draw(st.sampled_from(["missing", "extra", "arguments", "verdict", "outcome", "stop_reason", "answer"]))
    changed, step = [list(each) for each in made], number + 1
    name, args = changed[number][place]
    at = sum(map(len, made[:number])) + place
    if kind == "missing":
        del changed[number][place]
    elif kind == "extra":
        changed[number].insert(place, ("c", args))
    elif kind == "arguments":
        changed[number][place] = (name, {**args, "more": 1})
    other = trace(changed)
    if kind in ("verdict", "outcome"):
        how = {"verdict": "ask"} if kind == "verdict" else {"state": "failed"}
        other = replace(other, calls=(*other.calls[:at], replace(other.calls[at], **how), *other.calls[at + 1 :]))
    elif kind == "stop_reason":
        other, step = replace(other, run=replace(RUN, stop_reason=StopReason.MAX_USD)), len(made) + 1
    elif kind == "answer":
        other, step = trace(changed, answer="no"), len(made) + 1
    found = [(each.kind, where(each)) for each in compare(trace(made), other).divergences if each.kind != "usd"]
    back = [(each.kind, where(each)) for each in compare(other, trace(made)).divergences if each.kind != "usd"]
    assert (found, back) == ([(kind, step)], [(ANOTHER.get(kind, kind), step)])


def test_of_equal_calls_the_one_that_was_left_out_is_named():
    polled = trace([[("poll", {})], [("poll", {})], [("poll", {})]])
    for gone in range(3):
        fewer = trace([[("poll", {})] if number != gone else [("look", {})] for number in range(3)])
        found = {(each.kind, where(each)) for each in compare(polled, fewer).divergences}
        assert found == {("missing", gone + 1), ("extra", gone + 1)}


def test_ids_of_calls_and_steps_do_not_count():
    made = trace()
    renamed = replace(
        made,
        steps=tuple(replace(step, step_id=f"x{step.step_id}") for step in made.steps),
        calls=tuple(replace(c, call_id=f"x{c.call_id}", key="k", step_id=f"x{c.step_id}") for c in made.calls),
    )
    assert compare(made, renamed).divergences == ()


def test_a_tool_that_nobody_has_is_the_same_however_a_runtime_spells_it():
    known = {"schema_digest": "d"}
    assert compare(with_call(4, tool="mail.send"), with_call(4, tool="mail_send")).passed
    assert compare(with_call(4, tool="mail.send", **known), with_call(4, tool="mail_send")).passed
    assert not compare(with_call(4, tool="mail.send", **known), with_call(4, tool="mail_send", **known)).passed


@given(st.permutations(range(2)), st.permutations(range(2)))
def test_inside_a_step_order_does_not_count(first, third):
    made = [[WISHES[0][place] for place in first], WISHES[1], [WISHES[2][place] for place in third]]
    assert compare(trace(), trace(made)).divergences == ()


def test_numbers_that_are_equal_as_json_are_equal():
    assert compare(trace(), with_args(2, amount=20)).divergences == ()


def test_as_few_calls_as_can_be_are_told_to_have_moved():
    steps = [[("t", {"n": number})] for number in range(8)]
    last_first = [steps[-1], *steps[:-1]]
    found = compare(trace(steps), trace(last_first))
    assert [(each.kind, each.step, each.after) for each in found.divergences] == [("order", 8, "step 1")]


@given(st.permutations(range(6)))
def test_whatever_the_order_the_calls_that_are_not_told_to_have_moved_are_in_order(order):
    steps = [[("t", {"n": number})] for number in range(6)]
    found = compare(trace(steps), trace([steps[place] for place in order]))
    told = {each.step for each in found.divergences}
    kept = [pair.other_step for pair in found.pairs if pair.step not in told]
    assert kept == sorted(kept)
    assert bool(told) == (list(order) != sorted(order))


def test_a_batch_that_is_made_one_by_one_is_told_by_its_steps_alone():
    made = [[WISHES[0][0]], [WISHES[0][1]], *WISHES[1:]]
    found = compare(trace(), trace(made))
    assert {each.kind for each in found.divergences} == {"steps", "usd"}


def test_in_a_run_without_steps_every_call_is_a_step_of_its_own():
    one, other = (replace(each, steps=()) for each in (trace(), wishes(swapped)))
    assert compare(one, one).passed
    assert Kind.ORDER in {each.kind for each in compare(one, other).divergences}


def test_a_call_without_a_step_belongs_to_the_step_before_it():
    made = trace()
    nameless = replace(made, calls=tuple(replace(call, step_id="") for call in made.calls))
    assert compare(made, nameless).divergences == ()


def test_of_many_alike_calls_those_that_are_most_alike_are_paired():
    left = trace([[("t", {"q": text}) for text in ("refund of a parcel", "opening hours", "phone number")]])
    right = trace([[("t", {"q": text}) for text in ("phone numbers", "refund of the parcel", "opening hours")]])
    told = {(each.before, each.after) for each in compare(left, right).divergences}
    assert told == {('"phone number"', '"phone numbers"'), ('"refund of a parcel"', '"refund of the parcel"')}


def test_a_long_text_is_shown_where_it_begins_to_differ():
    left, right = (with_args(3, text="x" * 5_000 + word + "y" * 5_000) for word in ("before", "after"))
    (told,) = compare(left, right).divergences
    assert "before" in told.before
    assert "after" in told.after
    assert max(len(told.before), len(told.after)) < 120


def test_very_many_changed_calls_are_compared_in_a_moment():
    left, right = (trace([[("t", {"q": f"{word} {n}"}) for n in range(500)]]) for word in ("left", "right"))
    assert len(compare(left, right).divergences) == 500


def test_very_many_calls_in_a_row_are_compared_in_a_moment():
    left, right = (trace([[("t", {"q": f"{word} {n}"})] for n in range(4_000)]) for word in ("left", "right"))
    other = replace(right, calls=tuple(replace(call, tool="u") for call in right.calls))
    assert len(compare(left, right).divergences) == 4_000
    assert len(compare(left, other).divergences) == 8_000


def test_long_texts_of_few_kinds_of_letters_are_compared_in_a_moment_too():
    """Each pair of them is compared with each, which letter by letter would be done in hours."""
    left, right = (trace([[("t", {"q": "ab" * 2_000 + f"{word}{n}"}) for n in range(100)]]) for word in ("l", "r"))
    assert len(compare(left, right).divergences) == 100


def test_why_a_run_ended_otherwise_is_noted():
    stopped = trace(run=replace(RUN, status="failed", stop_reason=StopReason.MODEL_ERROR, stop_detail="KeyError: 'x'"))
    assert compare(trace(), stopped).notes == ("r1: model_error: KeyError: 'x'",)
    assert compare(stopped, stopped).notes == ()


def test_other_policies_definitions_and_answers_that_were_missing_are_noted():
    left = trace(tools={"t": TracedTool(digest="a"), "u": TracedTool(digest="a")})
    missed = "t: no answer", "u: no answer", "t: no answer"
    right = trace(
        policy=TracedPolicy(version="sha256:p2"), tools={"t": TracedTool(digest="b"), "u": TracedTool(digest="a")},
        replay=Replayed(of_tenant="acme", of_run="r1", runtime="plain", model="recorded", misses=missed),
        gaps=("the run is running, and may go on",),
    )
    found = compare(left, right)
    assert found.passed
    assert [note.partition(": ")[2] or note for note in found.notes] == [
        "p1 and p2", "the definitions of t differ", "the run is running, and may go on", "t: no answer (2 times)",
        "u: no answer",
    ]


# --- thresholds ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("changed", "thresholds"),
    [
        (CHANGES[0][1], {"missing": 1}),
        (CHANGES[3][1], {"extra": 1, "usd": 0.01}),
        (CHANGES[5][1], {"arguments": 1}),
        (CHANGES[12][1], {"order": 1}),
        (CHANGES[16][1], {"verdict": 1}),
        (CHANGES[17][1], {"outcome": 1}),
        (CHANGES[18][1], {"stop_reason": 1}),
        (CHANGES[19][1], {"answer": 1}),
        (CHANGES[20][1], {"steps": 1, "usd": 1.0}),
        (CHANGES[21][1], {"usd": 2.0}),
    ],
)
def test_what_the_thresholds_allow_is_told_and_passes(changed, thresholds):
    strict, mild = compare(trace(), changed), compare(trace(), changed, Thresholds(**thresholds))
    assert not strict.passed
    assert mild.passed


def test_one_more_than_is_allowed_fails():
    two = trace([WISHES[0], [], WISHES[2][:1]])
    found = compare(trace(), two, Thresholds(missing=1))
    assert found.exceeded == (Kind.MISSING,)


def test_a_run_that_is_cheaper_and_shorter_passes():
    cheap = trace(WISHES[:2])
    assert not {Kind.STEPS, Kind.USD} & {each.kind for each in compare(trace(), cheap).divergences}


# --- answers ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("comparer", "one", "other", "same"),
    [
        ("exact", "Done.", "Done.", True),
        ("exact", "Done.", "done.", False),
        ("words", "Done: 20 dollars!", "  done 20   DOLLARS ", True),
        ("words", "Done, 20.50 dollars", "Done, 20.05 dollars", False),
        ("words", "it isn't done", "it is done", False),
        ("numbers", "I paid 1,200.50 to 2 people.", "To 1200.5 dollars: 2 people were paid", True),
        ("numbers", "version 1.2.3", "version 1.2.4", False),
        ("numbers", "paid 20", "paid -20", False),
        ("json", '{"a": 1, "b": [2]}', '{"b":[2],"a":1.0}', True),
        ("json", '{"a": 1}', '{"a": 2}', False),
        ("json", "no json", "no json", True),
        ("ignore", "yes", "no", True),
    ],
)
def test_final_answers_are_compared_as_is_asked(comparer, one, other, same):
    found = compare(trace(answer=one), trace(answer=other), Thresholds(compare=comparer))
    assert found.passed is same


def test_a_program_may_bring_its_own_comparer():
    found = compare(trace(answer="yes"), trace(answer="no"), comparer=lambda one, other: len(one) > len(other))
    assert found.passed


def test_a_comparer_that_does_not_exist_is_named():
    with pytest.raises(ConfigError, match="there is no comparer 'alike'; one of: exact, words"):
        compare(trace(), trace(), Thresholds(compare="alike"))
