"""`adapters`: what an adapter adds to a tool call and to a model turn, beyond the runtime and the gateway themselves.

Three sides take turns, block by block: the runtime alone with a tool of its own; the gateway alone, asked for the same
steps and calls without any runtime; and both, with the adapter between them. The model is the same script on each. What
the third takes longer than the other two together is what the adapter adds. A fourth, the runtime with hooks that do
nothing in the places where the adapter has its own, tells how much of that the runtime charges for being hooked into.

Three shapes of runs, more turns and more calls a turn, are three equations: out of them come the cost of a call, of a
turn, and of a drive. Times are of the CPU and the ledger is in memory, because a small difference of large times would
drown in a disk's. Runs in .venv-runtimes (`make runtimes`).
"""

from __future__ import annotations

import asyncio
import gc
import importlib
import time
from collections.abc import Iterator, Mapping
from statistics import median
from typing import Any, NamedTuple

import interlock
from benchmarks.bare_runtimes import BARE, NEVER, TOOL, Bare, Go
from benchmarks.figures import CannotRun, Figure, Size, figure, require
from benchmarks.load import Governed, arguments, config
from interlock.core.turn import Call, Turn
from interlock.driving import Script

MODEL, USAGE = "gpt-5-mini", interlock.Usage(input_tokens=900, output_tokens=120)
MOST = 500

Shape = tuple[int, int]  #: turns of a run, before the one that ends it, and calls of each


def adapters(size: Size) -> Iterator[Figure]:
    """Every runtime that hosts an agent in this process."""
    for name, bare in BARE.items():
        try:
            adapter = importlib.import_module(f"interlock.adapters.{name}")
        except ModuleNotFoundError as error:
            raise CannotRun(f"{error.name} is not installed here: make runtimes") from error
        yield from asyncio.run(_added(name, adapter, bare, size))


async def _added(name: str, adapter: Any, bare: Bare, size: Size) -> list[Figure]:
    blocks, side, asked = size.of(12, 1), Governed(_config()), 0
    calls, turns, seen = [], [], Seen()
    long, wide, short = shapes = shapes_of(size)
    gc.collect()
    gc.freeze()  # or what is imported is looked through again before each run
    for number in range(1 + size.rounds):
        taken: dict[Shape, list[Block]] = {shape: [] for shape in shapes}
        for _ in range(blocks if number else 1):
            for shape, kept in taken.items():
                kept.append(await _block(side, adapter, bare, shape))
                asked += 2 * shape[0] * shape[1]
        if number:  # the first one warms up
            adds = {shape: median([each.added for each in taken[shape]]) for shape in shapes}
            hooks = {shape: median([each.hooks for each in taken[shape]]) for shape in shapes}
            call, turn, drive = solved(adds, long, wide, short)
            hooked_call, hooked_turn, _ = solved(hooks, long, wide, short)
            calls.append(call)
            turns.append(turn)
            seen.take(hooks_call=hooked_call, hooks_turn=hooked_turn, drive=drive)
            seen.take(**{key: median([getattr(each, key) for each in taken[long]]) / long[0] for key in Block._fields})
    side.check(asked)
    side.close()
    return [
        figure(f"{name}: the adapter adds to a tool call", calls, unit="µs", at_most=150.0, seen=seen.of("hooks_call")),
        figure(
            f"{name}: the adapter adds to a model turn", turns, unit="µs", at_most=100.0,
            seen=seen.of("hooks_turn", "alone", "gateway", "both", "drive"),
        ),
    ]


class Seen:
    """What lies behind the figures, in µs: the median of the rounds."""

    def __init__(self) -> None:
        self._rounds: dict[str, list[float]] = {}

    def take(self, **values: float) -> None:
        """One round."""
        for key, value in values.items():
            self._rounds.setdefault(key, []).append(value)

    def of(self, *keys: str) -> dict[str, float]:
        """Some of them, by what they are called in the table."""
        return {f"{key}_us": median(self._rounds[key]) for key in keys}


def shapes_of(size: Size) -> tuple[Shape, Shape, Shape]:
    """A long run, one with more calls a turn, and a short one."""
    turns = size.of(40, 8)
    return (turns, 1), (turns, 4), (turns // 4, 1)


def solved(adds: Mapping[Shape, float], long: Shape, wide: Shape, short: Shape) -> tuple[float, float, float]:
    """What is added by a call, a turn and a drive: a run has the calls of its shape, one turn more than asks for any,
    and one drive."""
    call = (adds[wide] - adds[long]) / (wide[0] * wide[1] - long[0] * long[1])
    turn = (adds[long] - adds[short]) / (long[0] - short[0]) - call
    return call, turn, adds[short] - (short[0] + 1) * turn - short[0] * call


class Block(NamedTuple):
    """µs of one run on each side."""

    alone: float  #: the runtime
    hooked: float  #: the runtime, with hooks that do nothing
    gateway: float  #: the gateway
    both: float

    @property
    def added(self) -> float:
        """By the adapter, and by what it hooks into."""
        return self.both - self.alone - self.gateway

    @property
    def hooks(self) -> float:
        """By what it hooks into."""
        return self.hooked - self.alone


async def _block(side: Governed, adapter: Any, bare: Bare, shape: Shape) -> Block:
    alone = await _timed(bare(adapter, _script(*shape), hooked=False))
    hooked = await _timed(bare(adapter, _script(*shape), hooked=True))
    gateway = await _timed(_gateway(side.run(), _script(*shape), sync=adapter.__name__.endswith(".plain")))
    run = side.run()
    both = await _timed(_driven(adapter, run, _script(*shape)))
    require(run.stop_reason == "completed", f"a run of the load ended as {run.stop_reason}")
    return Block(alone, hooked, gateway, both)


async def _timed(go: Go) -> float:
    gc.collect()
    began = time.process_time()
    await go()
    return 1e6 * (time.process_time() - began)


def _driven(adapter: Any, run: interlock.Run, script: Script) -> Go:
    """The runtime with the adapter. Bound beforehand: that is once a run."""
    agent = adapter.speaking(None, script)
    if not hasattr(adapter, "bind"):

        async def go() -> object:
            return adapter.drive(run, agent, "go")

        return go
    bound = adapter.bind(run, agent)
    return lambda: adapter.drive(run, bound, "go")


def _gateway(run: interlock.Run, script: Script, *, sync: bool) -> Go:
    """What the gateway is asked in such a run, without any runtime."""

    async def go() -> object:
        while True:
            step = run.begin_step(MODEL, max_output_tokens=MOST)
            turn = script.say()
            run.end_step(step, turn=turn)
            if not turn.calls:
                break
            if sync:
                answers = [run.call(TOOL, call.args, call_id=call.id) for call in turn.calls]
            else:
                answers = await asyncio.gather(*(run.acall(TOOL, each.args, call_id=each.id) for each in turn.calls))
            for each in answers:
                require(each.kind == "done", f"a call of the load was {each.kind}: {each.text}")
        run.finish()
        return run.report()

    return go


def _script(turns: int, width: int) -> Script:
    """A model that asks for so many calls a turn, and ends."""

    def said() -> Iterator[Turn]:
        for number in range(0, turns * width, width):
            wishes = [Call(TOOL, arguments(each), f"c{each}") for each in range(number, number + width)]
            yield Turn(None, tuple(wishes), usage=USAGE, model=MODEL)
        yield Turn("All are open.", usage=USAGE, model=MODEL)

    lines = said()
    return Script(say=lambda: next(lines), model=MODEL, max_output_tokens=MOST)


def _config() -> dict[str, Any]:
    settings = config("memory:")
    return {**settings, "budgets": {**settings["budgets"], "max_steps": NEVER}}
