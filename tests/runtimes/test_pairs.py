"""An agent is recorded on one runtime and at work on another: every pair, in both directions. Unchanged, it does the
same; where its model, a tool or the policy was changed, parity fails and names the step and the field.

In tests/runtimes/test_replays.py the record is changed. Here the program is: what runs on the second runtime asks a
model of its own.
"""

from __future__ import annotations

import asyncio
import inspect
from collections import deque
from collections.abc import Mapping, Sequence
from functools import cache
from itertools import permutations
from typing import Any, NamedTuple

import pytest
from msgspec.structs import replace

from interlock import Gateway, Turn, Usage
from interlock.core.call import Effect, Risk
from interlock.core.parity import Comparison, compare
from interlock.core.trace import Trace
from interlock.core.turn import Call
from interlock.driving import Script, runtime_of
from interlock.tools.python import PythonTool
from tests.gateway.recorded_shop import ANSWER, CONFIG, NOTE, PAY, READ, SEARCH, USAGE, Recorder, Replayer, Shop

#: those that host the same agent, with the same tools and the same model
FIVE = ("openai_agents", "langchain", "pydantic_ai", "agent_framework", "plain")
PAIRS = list(permutations(FIVE, 2))
POLICY: Mapping[str, Any] = CONFIG["policy"]

Line = str | Exception | Sequence[Call]
LINES: tuple[Line, ...] = ([READ, SEARCH], [PAY], [NOTE], ANSWER)


def said_by(lines: Sequence[Line], usage: Usage = USAGE, model: str = "m") -> Script:
    """A model that says these lines."""
    left = deque(lines)

    def say() -> Turn:
        line = left.popleft()
        if isinstance(line, Exception):
            raise line
        text, calls = (line, ()) if isinstance(line, str) else (None, tuple(line))
        return Turn(text, calls, usage, model)

    return Script(say=say, model=model, max_output_tokens=200)


@cache
def recorded(runtime: str) -> Trace:
    """The agent's work on that runtime. A person says yes to the refund."""
    recorder, adapter = Recorder(), runtime_of(runtime)
    run = recorder.run(runtime=runtime)
    agent = adapter.speaking(None, said_by(LINES))

    async def work() -> None:
        saved = None
        while True:
            driven = adapter.drive(run, agent, "Handle ticket 17.", saved=saved)
            ended = await driven if inspect.isawaitable(driven) else driven
            if ended.status != "paused":
                assert ended.status == "completed"
                return
            (asked,) = recorder.gateway.control.approvals("acme")
            recorder.gateway.control.approve(asked.approval_id, by="maria")
            saved = ended.saved

    asyncio.run(work())
    assert recorder.shop.did == ["read", "search", "pay", "note"]
    return recorder.trace()


class Program(NamedTuple):
    """What is at work on the second runtime."""

    lines: Sequence[Line] = LINES
    usage: Usage = USAGE
    model: str = "m"
    config: Mapping[str, Any] = {}
    shop: type[Shop] = Shop


def beside(first: str, second: str, program: Program) -> Comparison:
    """The record of the first runtime, and what the program does on the second."""
    replayer = Replayer(program.config)
    replayer.shop = program.shop()
    script = said_by(program.lines, program.usage, program.model)
    replayer.agent = runtime_of(second).speaking(None, script)
    found = compare(recorded(first), replayer(recorded(first), runtime=second, live=True))
    assert replayer.shop.did == []
    return found


class Numbered(Shop):
    """A shop whose orders have numbers."""

    def tools(self, gateway: Gateway) -> None:
        super().tools(gateway)

        def pay(order: int, amount: float) -> None:
            self.did.append("pay")

        tool = PythonTool(pay, name="refund.pay", effect=Effect.IRREVERSIBLE, risk=Risk.HIGH)
        gateway.register(tool, replace=True)


def other(call: Call, **args: Any) -> Call:
    return replace(call, args={**call.args, **args})


def rule(tool: str, then: str) -> dict[str, Any]:
    return {"policy": {**POLICY, "rules": [{"id": "new", "tools": [tool], "then": then}]}}


def paying(**args: Any) -> Program:
    return Program([LINES[0], [other(PAY, **args)], *LINES[2:]])


AGAIN, SHAKY = replace(READ, id="c9"), Call("shaky", {"how": "busy"}, "c9")
INSTEAD = Call("ticket.read", {"ticket": "refund"}, "c2")

#: what was changed: the program; and of the divergence that must be told: kind, step, field
CHANGES: dict[str, tuple[Program, str, int | None, str]] = {
    # the model
    "leaves out a call": (Program([[READ], *LINES[1:]]), "missing", 1, "call"),
    "leaves out the last call": (Program([*LINES[:2], ANSWER]), "missing", 3, "call"),
    "ends before it is done": (Program([LINES[0], ANSWER]), "missing", 2, "call"),
    "makes a call twice": (Program([[READ, SEARCH, AGAIN], *LINES[1:]]), "extra", 1, "call"),
    "uses one more tool": (Program([LINES[0], [PAY, SHAKY], *LINES[2:]]), "extra", 2, "call"),
    "uses another tool": (Program([[READ, INSTEAD], *LINES[1:]]), "missing", 1, "call"),
    "pays more": (paying(amount=200.0), "arguments", 2, "args.amount"),
    "writes a number as text": (paying(amount="20"), "arguments", 2, "args.amount"),
    "pays for another order": (paying(order="A-71"), "arguments", 2, "args.order"),
    "spells a word otherwise": (
        Program([[READ, other(SEARCH, query="Refund")], *LINES[1:]]), "arguments", 1, "args.query",
    ),
    "makes up an argument": (Program([[other(READ, deep=True), SEARCH], *LINES[1:]]), "arguments", 1, "args.deep"),
    "says null": (Program([*LINES[:2], [other(NOTE, text=None)], ANSWER]), "arguments", 3, "args.text"),
    "swaps two steps": (Program([LINES[1], LINES[0], *LINES[2:]]), "order", 2, "order"),
    "makes a call two steps later": (Program([[READ], [PAY], [NOTE, SEARCH], ANSWER]), "order", 1, "order"),
    "does not wait for an answer": (Program([[READ, SEARCH, PAY], *LINES[2:]]), "order", 2, "order"),
    "makes its calls one by one": (Program([[READ], [SEARCH], *LINES[1:]]), "steps", None, "steps"),
    "answers otherwise": (Program([*LINES[:3], "Nothing was refunded."]), "answer", 4, "answer"),
    "fails": (Program([*LINES[:3], RuntimeError("overloaded")]), "stop_reason", 4, "stop_reason"),
    "uses more tokens": (Program(usage=Usage(input_tokens=9_000, output_tokens=60)), "usd", None, "usd"),
    "is another, and dearer": (
        Program(model="big", config={"prices": {"big": {"input": 5.0, "output": 50.0}}}), "usd", None, "usd",
    ),
    # the tools
    "a tool takes other arguments": (Program(shop=Numbered), "verdict", 2, "verdict"),
    "a tool costs more": (Program(config={"tools": {"kb.search": {"cost": {"usd": 0.5}}}}), "usd", None, "usd"),
    # the policy
    "a grant is gone": (Program(config={"policy": {**POLICY, "allow": ["ticket.*"]}}), "verdict", 1, "verdict"),
    "nobody is asked": (Program(config={"approvals": {}, "policy": {"allow": ["*"]}}), "verdict", 2, "verdict"),
    "a call more is asked about": (Program(config=rule("ticket.note", "ask")), "verdict", 3, "verdict"),
    "a rule denies": (Program(config=rule("ticket.note", "deny")), "verdict", 3, "verdict"),
    "a rule stops the run": (Program(config=rule("refund.pay", "stop")), "stop_reason", 4, "stop_reason"),
    "the budget is smaller": (Program(config={"budgets": {"max_tool_calls": 3}}), "stop_reason", 4, "stop_reason"),
}


@pytest.mark.parametrize(("first", "second"), PAIRS)
def test_an_unchanged_agent_is_the_same_on_the_other_runtime(first: str, second: str) -> None:
    found = beside(first, second, Program())
    assert (found.passed, [each.text for each in found.divergences]) == (True, [])


@pytest.mark.parametrize("change", CHANGES)
@pytest.mark.parametrize(("first", "second"), PAIRS)
def test_a_changed_one_fails_and_its_step_and_field_are_named(first: str, second: str, change: str) -> None:
    program, *expected = CHANGES[change]
    found = beside(first, second, program)
    assert not found.passed
    told = [[str(each.kind), each.step or each.other_step, each.field] for each in found.divergences]
    assert expected in told
