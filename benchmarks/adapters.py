"""`adapters`: what an adapter adds to a tool call and to a model turn, beyond the runtime and the gateway themselves.

Two sides take turns: the runtime with the adapter, and the runtime without one, whose own model and own tool ask the
gateway for the same steps and calls by hand. The model is the same script on both. What the first takes longer is what
the adapter adds. Two more sides tell what is in that: the runtime alone, and the runtime by hand with hooks that do
nothing in the places where the adapter has its own.

A model turn comes with a call at least, so a turn with one call is measured, and each further call of a turn. Times are
of the CPU and the ledger is in memory, because a small difference of large times would drown in a disk's. Runs in
.venv-runtimes (`make runtimes`).
"""

from __future__ import annotations

import asyncio
import gc
import importlib
import itertools
import time
from collections.abc import Iterator
from statistics import median
from typing import Any, NamedTuple

from msgspec import structs

import interlock
from benchmarks.bare_runtimes import BARE, NEVER, Bare, Go
from benchmarks.figures import CannotRun, Figure, Size, figure, require
from benchmarks.load import Governed, arguments, config
from interlock.core.turn import Call, Turn
from interlock.driving import Script

ONE, FOUR = 1, 4  #: calls of a turn
PER_TURN, PER_CALL = 100.0, 150.0  #: µs that an adapter may add
MODEL, USAGE, MOST = "gpt-5-mini", interlock.Usage(input_tokens=900, output_tokens=120), 500


def adapters(size: Size) -> Iterator[Figure]:
    """Every runtime that hosts an agent in this process."""
    for name, bare in BARE.items():
        try:
            adapter = importlib.import_module(f"interlock.adapters.{name}")
        except ModuleNotFoundError as error:
            raise CannotRun(f"{error.name} is not installed here: make runtimes") from error
        yield from asyncio.run(_Bench(adapter, bare, turns=size.of(40, 8)).figures(name, size))


class Sides(NamedTuple):
    """µs of one run on each side."""

    alone: float  #: the runtime, without the gateway
    by_hand: float
    hooked: float  #: by hand, with hooks that do nothing
    adapter: float


class _Bench:
    """One runtime."""

    def __init__(self, adapter: Any, bare: Bare, *, turns: int) -> None:
        self._adapter, self._bare, self._turns = adapter, bare, turns
        self._sync = not hasattr(adapter, "bind")  # a loop without an event loop, and its tools
        self._tool = "ticket.create" if self._sync else "ticket.acreate"
        settings = config("memory:")
        self._load = Governed({**settings, "budgets": {**settings["budgets"], "max_steps": NEVER}})

    async def figures(self, name: str, size: Size) -> list[Figure]:
        """Measure it."""
        asked, turns, calls, charges, spent = 0, [], [], [], []
        gc.collect()
        gc.freeze()  # or what is imported is looked through again before each run
        for number in range(1 + size.rounds):
            runs: dict[int, list[Sides]] = {ONE: [], FOUR: []}
            for _ in range(size.of(6, 1) if number else 1):
                for width, taken in runs.items():
                    taken.append(await self._sides(width))
                    asked += 3 * self._turns * width
            if number:  # the first one warms up
                one, four = (median([each.adapter - each.by_hand for each in runs[width]]) for width in (ONE, FOUR))
                turns.append(one / self._turns)
                calls.append((four - one) / (self._turns * (FOUR - ONE)))
                charges.append(median([each.hooked - each.by_hand for each in runs[ONE]]) / self._turns)
                spent.append([median(each) / self._turns for each in zip(*runs[ONE], strict=True)])
        self._load.check(asked)
        self._load.close()
        seen = dict(zip((f"{side}_us" for side in Sides._fields), map(median, zip(*spent, strict=True)), strict=True))
        return [
            figure(
                f"{name}: the adapter adds to a model turn with one call", turns, unit="µs",
                at_most=PER_TURN + PER_CALL, seen={"empty_hooks_us": median(charges), **seen},
            ),
            figure(f"{name}: to each further call of a turn", calls, unit="µs", at_most=PER_CALL),
        ]

    async def _sides(self, width: int) -> Sides:
        alone = await _timed(self._bare(self._adapter, self._script(width), _ticket_of(_nothing), hooked=False))
        by_hand = await _timed(self._by_hand(width, hooked=False))
        hooked = await _timed(self._by_hand(width, hooked=True))
        return Sides(alone, by_hand, hooked, await self._governed(width))

    async def _governed(self, width: int) -> float:
        """The runtime with the adapter. Bound beforehand: that is once a run."""
        run, agent = self._load.run(), self._adapter.speaking(None, self._script(width))
        bound = agent if self._sync else self._adapter.bind(run, agent)

        async def go() -> None:
            driven = self._adapter.drive(run, bound, "go")
            result = driven if self._sync else await driven
            require(result.stop_reason == "completed", f"a run of the load ended as {result.stop_reason}")

        return await _timed(go)

    def _by_hand(self, width: int, *, hooked: bool) -> Go:
        """The runtime without an adapter, whose own model and own tool ask the gateway."""
        run, script, numbers = self._load.run(), self._script(width), itertools.count()

        def say() -> Turn:
            step = run.begin_step(MODEL, max_output_tokens=MOST)
            turn = script.say()
            run.end_step(step, turn=turn)
            return turn

        async def ask(args: dict[str, Any]) -> str:
            how: Any = {"tool": self._tool, "args": args, "call_id": f"c{next(numbers)}"}
            outcome = run.call(**how) if self._sync else await run.acall(**how)
            require(outcome.kind == "done", f"a call of the load was {outcome.kind}: {outcome.text}")
            return outcome.text

        alone = self._bare(self._adapter, structs.replace(script, say=say), _ticket_of(ask), hooked=hooked)

        async def go() -> None:
            await alone()
            run.finish()
            run.report()

        return go

    def _script(self, width: int) -> Script:
        """A model that asks for so many calls a turn, and ends."""

        def said() -> Iterator[Turn]:
            for number in range(0, self._turns * width, width):
                wishes = [Call(self._tool, arguments(each), f"c{each}") for each in range(number, number + width)]
                yield Turn(None, tuple(wishes), usage=USAGE, model=MODEL)
            yield Turn("All are open.", usage=USAGE, model=MODEL)

        lines = said()
        return Script(say=lambda: next(lines), model=MODEL, max_output_tokens=MOST)


def _ticket_of(ask: Any) -> Any:
    """The tool, as a runtime's own."""

    async def create(title: str, body: str, priority: int) -> Any:
        """Open a ticket."""
        return await ask({"title": title, "body": body, "priority": priority})

    create.__name__ = create.__qualname__ = "ticket_acreate"
    return create


async def _nothing(_args: dict[str, Any]) -> str:
    return '{"ticket": 1, "state": "open"}'


async def _timed(go: Go) -> float:
    gc.collect()
    began = time.process_time()
    await go()
    return 1e6 * (time.process_time() - began)
