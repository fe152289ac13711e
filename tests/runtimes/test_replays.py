"""What was recorded on one runtime is reproduced on every other; what was changed fails, with its step and field."""

from __future__ import annotations

import pkgutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from msgspec.structs import replace

from interlock import Turn, adapters
from interlock.core.approval import Answer
from interlock.core.parity import compare
from interlock.core.switch import Mode, Scope, Switch
from interlock.core.trace import Trace
from interlock.core.turn import Call, Usage
from interlock.driving import Runtime
from interlock.traces import read
from tests.gateway.recorded_shop import Replayer

CORPUS = {path.stem: read(path) for path in (Path(__file__).parents[1] / "corpus").glob("trace-v1*.json")}
WHOLE = CORPUS["trace-v1"]
REPLAYABLE = sorted(name for name in CORPUS if "gaps" not in name)


def runtimes() -> list[str]:
    """Those that a trace can be replayed on."""
    found = sorted(module.name for module in pkgutil.iter_modules(adapters.__path__))
    return [name for name in found if isinstance(__import__(f"interlock.adapters.{name}", fromlist=["x"]), Runtime)]


RUNTIMES = runtimes()


def test_there_are_several_runtimes() -> None:
    assert {"openai_agents", "plain", "pydantic_ai"} <= set(RUNTIMES)


@pytest.mark.parametrize("runtime", RUNTIMES)
@pytest.mark.parametrize("name", REPLAYABLE)
def test_a_trace_is_reproduced_on_every_runtime(name: str, runtime: str) -> None:
    replayer = Replayer()
    found = compare(CORPUS[name], replayer(CORPUS[name], runtime=runtime))
    assert [each.text for each in found.divergences] == []
    assert replayer.shop.did == []


@pytest.mark.parametrize(("first", "second"), [(one, two) for one in RUNTIMES for two in RUNTIMES if one != two])
def test_what_was_recorded_on_one_is_reproduced_on_the_other(first: str, second: str) -> None:
    recorded = replace(Replayer()(WHOLE, runtime=first), replay=None)
    assert [each.text for each in compare(recorded, Replayer()(recorded, runtime=second)).divergences] == []


# --- twenty changes --------------------------------------------------------------------------------------------------

Turns = list[Turn]


def turns(change: Callable[[Turns], Any]) -> Trace:
    """The trace with another speech of the model."""
    said = [step.turn or Turn() for step in WHOLE.steps]
    change(said)
    while len(said) > len(WHOLE.steps):
        raise AssertionError("a speech of other length needs steps of its own")
    steps = [replace(step, turn=turn) for step, turn in zip(WHOLE.steps, said, strict=False)]
    return replace(WHOLE, steps=tuple(steps))


def calls(number: int, change: Callable[[list[Call]], Any]) -> Trace:
    """The trace with other calls in one turn."""

    def other(said: Turns) -> None:
        wished = list(said[number].calls)
        change(wished)
        said[number] = replace(said[number], calls=tuple(wished))

    return turns(other)


def args(number: int, place: int, **changed: Any) -> Trace:
    """The trace with other arguments in one call."""

    def other(wished: list[Call]) -> None:
        wished[place] = replace(wished[place], args={**wished[place].args, **changed})

    return calls(number, other)


def renamed(wished: list[Call]) -> None:
    wished[1] = replace(wished[1], name="ticket.read", args={"ticket": "refund"})


def swapped(said: Turns) -> None:
    said[0], said[1] = said[1], said[0]


def moved(said: Turns) -> None:
    said[2] = replace(said[2], calls=(*said[2].calls, said[0].calls[1]))
    said[0] = replace(said[0], calls=said[0].calls[:1])


def merged(said: Turns) -> None:
    said[0] = replace(said[0], calls=(*said[0].calls, *said[1].calls))
    said[1] = replace(said[1], calls=(Call("ticket.read", {"ticket": "again"}, "extra"),))


def answered(said: Turns) -> None:
    said[-1] = replace(said[-1], text="Nothing was refunded.")


def early(said: Turns) -> None:
    said[3] = Turn("That is all.")


def dearer() -> Trace:
    used = Usage(input_tokens=90_000, output_tokens=60)
    return replace(WHOLE, steps=(replace(WHOLE.steps[0], usage=used), *WHOLE.steps[1:]))


def refused() -> Trace:
    no = (Answer("maria", WHOLE.calls[2].approval.answers[0].at, yes=False, note="no"),)  # type: ignore[union-attr]
    asked = replace(WHOLE.calls[2], approval=replace(WHOLE.calls[2].approval, answers=no))
    return replace(WHOLE, calls=(*WHOLE.calls[:2], asked, *WHOLE.calls[3:]))


def killed() -> Trace:
    switch = Switch("w1", Scope(tool="ticket.note"), Mode.ALL, "olga", "incident 7", WHOLE.run.opened_at)
    return replace(WHOLE, switches=(switch,))


CHANGES: list[tuple[str, Trace, dict[str, Any], str, int | None, str]] = [
    ("a call is left out", calls(0, lambda wished: wished.pop(1)), {}, "missing", 1, "call"),
    ("a call is made on top", calls(0, lambda w: w.append(Call("shaky", {"how": "x"}, "x"))), {}, "extra", 1, "call"),
    ("a call is made twice", calls(0, lambda w: w.append(replace(w[0], id="x"))), {}, "extra", 1, "call"),
    ("another tool is used", calls(0, renamed), {}, "missing", 1, "call"),
    ("a text is another", args(0, 0, ticket="18"), {}, "arguments", 1, "args.ticket"),
    ("one letter is another", args(0, 1, query="refunds"), {}, "arguments", 1, "args.query"),
    ("an amount is another", args(1, 0, amount=200.0), {}, "arguments", 2, "args.amount"),
    ("a number becomes a text", args(1, 0, amount="20"), {}, "arguments", 2, "args.amount"),
    ("an argument is made up", args(1, 0, color="red"), {}, "arguments", 2, "args.color"),
    ("two steps are swapped", turns(swapped), {}, "order", 2, "order"),
    ("a call comes two steps later", turns(moved), {}, "order", 1, "order"),
    ("a call does not wait for what it depends on", turns(merged), {}, "order", 2, "order"),
    ("the answer is another", turns(answered), {}, "answer", 5, "answer"),
    ("it ends before it is done", turns(early), {}, "missing", 4, "call"),
    ("it is dearer", dearer(), {}, "usd", None, "usd"),
    ("a person says no", refused(), {}, "outcome", 2, "outcome"),
    ("a kill switch holds", killed(), {}, "verdict", 3, "verdict"),
    ("a grant is gone", WHOLE, {"policy": {"allow": ["ticket.*", "shaky", "slow"]}}, "verdict", 1, "verdict"),
    ("nobody is asked any more", WHOLE, {"approvals": {}, "policy": {"allow": ["*"]}}, "verdict", 2, "verdict"),
    ("the budget is smaller", WHOLE, {"budgets": {"max_tool_calls": 2}}, "stop_reason", 5, "stop_reason"),
    ("a rule is new", WHOLE, {"policy": {"allow": ["ticket.*", "kb.search", "shaky", "slow"], "rules": [
        {"id": "new", "tools": ["kb.*"], "when": "args.query == 'refund'", "then": "ask"},
    ]}}, "verdict", 1, "verdict"),
]


@pytest.mark.parametrize("runtime", RUNTIMES)
@pytest.mark.parametrize(
    ("changed", "config", "kind", "step", "field"), [each[1:] for each in CHANGES], ids=[each[0] for each in CHANGES]
)
def test_a_change_fails_on_every_runtime_and_its_step_and_field_are_named(
    changed: Trace, config: dict[str, Any], kind: str, step: int | None, field: str, runtime: str
) -> None:
    found = compare(WHOLE, Replayer(config)(changed, runtime=runtime))
    assert not found.passed
    told = [(str(each.kind), each.step or each.other_step, each.field) for each in found.divergences]
    assert (kind, step, field) in told
