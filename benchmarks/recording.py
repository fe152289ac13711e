"""`recording`: what it adds to a governed call that the model's turn before it is kept.

Two gateways take turns, one with `recording: turns: true` and one with `false`. Both make the same model turns and the
same calls; what the first takes longer is held against a governed call alone.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from statistics import median
from typing import Any

import interlock
from benchmarks.figures import Figure, Size, figure, require
from benchmarks.load import BODY, TENANT, Governed, arguments, config, scratch, sqlite
from interlock.core.turn import Call

BLOCK = 25  #: calls of a run, and of one side before the other has its turn
USAGE = interlock.Usage(input_tokens=2_400, output_tokens=180)


def recording(size: Size) -> Iterator[Figure]:
    """One sync caller, ledger FULL."""
    blocks, added, kept_us, call_us = size.of(40, 6), [], [], []
    with scratch() as folder:
        sides = [Governed(_config(sqlite(folder), turns=turns)) for turns in (True, False)]
        for side in sides:
            _run(side)
        for _ in range(size.rounds):
            whole: tuple[list[float], list[float]] = ([], [])
            alone: list[float] = []
            for _ in range(blocks):
                for side, kept in zip(sides, whole, strict=True):
                    turns, calls = _run(side)
                    kept += [turn + call for turn, call in zip(turns, calls, strict=True)]
                    alone += calls
            added.append((median(whole[0]) - median(whole[1])) / median(alone))
            kept_us.append((median(whole[0]) - median(whole[1])) * 1e6)
            call_us.append(median(alone) * 1e6)
        _check(sides)
        for side in sides:
            side.check(BLOCK * (1 + size.rounds * blocks))
            side.close()
    yield figure(
        "recording a turn adds to a governed call", [100 * each for each in added], unit="%", at_most=20.0, stretch=5.0,
        seen={"added_us": median(kept_us), "call_us": median(call_us)},
    )


def _config(ledger: Any, *, turns: bool) -> dict[str, Any]:
    settings = config(ledger)
    return {**settings, "recording": {"turns": turns}, "budgets": {**settings["budgets"], "max_steps": 1_000}}


def _run(side: Governed) -> tuple[list[float], list[float]]:
    """One run: seconds of each turn, and of each call."""
    run, clock = side.run(), time.perf_counter
    turns, calls = [], []
    for number in range(BLOCK):
        wish = Call("ticket.create", arguments(number), f"c{number}")
        turn = interlock.Turn(BODY, (wish,), usage=USAGE, model="gpt-5-mini-2026", response_id=f"resp_{number:032}")
        began = clock()
        step = run.begin_step("gpt-5-mini", max_output_tokens=500)
        run.end_step(step, turn=turn)
        said = clock()
        outcome = run.call(wish.name, wish.args, call_id=wish.id)
        calls.append(clock() - said)
        turns.append(said - began)
        require(outcome.kind == "done", f"a call of the load was {outcome.kind}: {outcome.text}")
    return turns, calls


def _check(sides: list[Governed]) -> None:
    for side, kept in zip(sides, (True, False), strict=True):
        run = side.gateway.store.runs(TENANT, limit=1)[0]
        steps = side.gateway.store.steps_of(TENANT, run.run_id)
        held = [step.asking is not None and step.asking.text == BODY for step in steps]
        require(held == [kept] * BLOCK, "the turns of the load are not kept as the config says")
