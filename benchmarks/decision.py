"""`decision`: `core.decide.decide`, alone, with facts as a call on SQLite has them.

The policy gives each tool ten rules: one allows it, three narrow that by tenant, agent and environment, and six do not
select it at all (other tools of its family, risks, effects). Once for one tool, once for 1,000 tools that take turns,
once with one condition in CEL more.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from statistics import median
from typing import Any

from benchmarks.figures import Figure, Size, figure, require
from interlock.config import load
from interlock.core.budget import Account, AccountKey, Amounts, Limits, Line, Window
from interlock.core.call import MICROS, Effect, Risk, Tool, ToolCall
from interlock.core.decide import Facts, decide
from interlock.core.run import Run
from interlock.core.verdict import Verdict

NOW = 1_800_000_000 * MICROS


def decision(size: Size) -> Iterator[Figure]:
    """Three policies in turn, call by call."""
    ten, many, conditional = _cases(1), _cases(1_000), _cases(1, when="args.amount > 100.0")
    each = size.of(20_000, 2_000)
    medians: list[tuple[float, float, float]] = []
    for pair in [*ten, *many, *conditional]:
        require(decide(*pair).verdict is Verdict.ALLOW, "the decision of the load is not what it should be")
    for _ in range(size.rounds):
        taken: tuple[list[int], list[int], list[int]] = ([], [], [])
        clock = time.perf_counter_ns
        for number in range(each):
            for cases, kept in zip((ten, many, conditional), taken, strict=True):
                call, facts = cases[number % len(cases)]
                began = clock()
                decide(call, facts)
                kept.append(clock() - began)
        small, large, cel = (median(kept) / 1e3 for kept in taken)
        medians.append((small, large, cel))
    small, large, cel = (median(column) for column in zip(*medians, strict=True))
    yield figure("a decision with 10 rules", [each[0] for each in medians], unit="µs", at_most=5.0, stretch=1.0)
    yield figure(
        "a decision with 10,000 rules over 1,000 tools / with 10", [each[1] / each[0] for each in medians],
        at_most=1.5, stretch=1.2, seen={"us_10": small, "us_10000": large},
    )
    yield figure(
        "what one CEL condition adds to it", [each[2] - each[0] for each in medians], unit="µs", at_most=15.0,
        seen={"us_with": cel, "us_without": small},
    )


def _cases(tools: int, when: str = "") -> list[tuple[ToolCall, Facts]]:
    names = [f"crm.t{number}" for number in range(tools)]
    policy = load({"policy": {"rules": [rule for name in names for rule in _rules(name, when)]}}).policy
    return [_case(name, policy) for name in names]


def _rules(name: str, when: str) -> Iterator[dict[str, Any]]:
    yield {"id": f"{name}-allow", "tools": [name], "then": "allow"}
    yield {"id": f"{name}-trial", "tools": [name], "tenants": ["trial-*"], "then": "ask"}
    yield {"id": f"{name}-intern", "tools": [name], "agents": ["intern-*"], "then": "ask"}
    yield {"id": f"{name}-staging", "tools": [name], "envs": ["staging"], "then": "deny"}
    yield {"id": f"{name}-risk", "tools": [name], "risks": ["critical"], "then": "deny"}
    yield {"id": f"{name}-high", "tools": [name], "risks": ["high"], "then": "ask"}
    yield {"id": f"{name}-final", "tools": [name], "effects": ["irreversible"], "then": "ask"}
    for other in ("delete", "export", "merge"):
        yield {"id": f"{name}-{other}", "tools": [f"{name}.{other}"], "then": "deny"}
    if when:
        yield {"id": f"{name}-when", "tools": [name], "when": when, "then": "ask"}


def _case(name: str, policy: Any) -> tuple[ToolCall, Facts]:
    tool = Tool(name=name, effect=Effect.WRITE, risk=Risk.MEDIUM)
    run = Run(
        tenant="acme", run_id="run_1", agent="support-bot", env="prod", opened_at=NOW, deadline=NOW + 300 * MICROS,
        max_seconds=300 * MICROS, limits=Limits(steps=25, tool_calls=12), max_denials=5, max_repeats=3,
        policy_version=policy.version, request="please refund order 17",
    )
    spent = Account(spent=Amounts(tool_calls=3, usd=500))
    own = Line(AccountKey("acme", "run", "run_1", Window.RUN, 0), run.limits, spent)
    month = Line(AccountKey("acme", "tenant", "acme", Window.MONTH, 0), Limits(tool_calls=10_000, usd=10**9), spent)
    call = ToolCall(
        tenant="acme", agent="support-bot", env="prod", run_id="run_1", tool=name, call_id="c4", key="c4",
        args={"order": "A-17", "amount": 20.0, "note": "the parcel was lost; the customer asked twice"},
    )
    cost = Amounts(tool_calls=1, usd=2)
    return call, Facts(now=NOW + MICROS, policy=policy, run=run, tool=tool, cost=cost, lines=(own, month), digest="d")
