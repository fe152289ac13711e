"""`sync`, `async_one`, `callers`: a governed call on SQLite beside two bare inserts."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from statistics import median

from benchmarks.bare import Bare
from benchmarks.figures import Figure, Size, figure, percentile
from benchmarks.load import Governed, config, scratch, sqlite

BLOCK = 25  #: calls of a run, and of one side before the other has its turn


def sync(size: Size) -> Iterator[Figure]:
    """One sync caller, ledger FULL."""
    yield from _one_caller(
        size, "governed call, sync caller / two bare inserts", asynchronous=False, at_most=1.7, stretch=1.4
    )


def async_one(size: Size) -> Iterator[Figure]:
    """One asyncio caller, ledger FULL."""
    yield from _one_caller(
        size, "governed call, one asyncio caller / two bare inserts", asynchronous=True, at_most=2.6, stretch=2.0
    )


def _one_caller(size: Size, name: str, *, asynchronous: bool, at_most: float, stretch: float) -> Iterator[Figure]:
    blocks = size.of(40, 6)
    ratios: list[float] = []
    ours: list[float] = []
    theirs: list[float] = []
    with scratch() as folder, asyncio.Runner() as runner:
        governed, bare = Governed(config(sqlite(folder))), Bare(folder / "bare.db")
        governed.serial(BLOCK)
        bare.serial(BLOCK)
        for _ in range(size.rounds):
            mine, yard = [], []
            for _ in range(blocks):
                yard += bare.serial(BLOCK)
                mine += runner.run(governed.together(1, BLOCK))[1] if asynchronous else governed.serial(BLOCK)
            ratios.append(median(mine) / median(yard))
            ours += mine
            theirs += yard
        governed.check(len(ours) + BLOCK)
        governed.close()
        bare.close()
    seen = {"call_us": median(ours) * 1e6, "call_p99_us": percentile(ours, 0.99) * 1e6, "bare_us": median(theirs) * 1e6}
    yield figure(name, ratios, at_most=at_most, stretch=stretch, seen=seen)


AIMS = {16: (2.5, 3.3), 64: (4.0, 5.0), 256: (5.5, 7.0)}


def callers(size: Size) -> Iterator[Figure]:
    """Asyncio callers side by side, each with its own run, ledger FULL."""
    calls = size.of(8_000, 1_024)
    ratios: dict[int, list[float]] = {number: [] for number in AIMS}
    rates: dict[int, list[float]] = {number: [] for number in AIMS}
    tails: list[float] = []
    p99s: list[float] = []
    alone: list[float] = []
    with scratch() as folder, asyncio.Runner() as runner:
        governed, bare = Governed(config(sqlite(folder))), Bare(folder / "bare.db")
        runner.run(governed.together(16, BLOCK))
        done = 16 * BLOCK
        for _ in range(size.rounds):
            before = _rate(bare, size)
            for number in AIMS:
                each = max(4, calls // number)
                seconds, taken = runner.run(governed.together(number, each))
                after = _rate(bare, size)
                done += len(taken)
                rates[number].append(len(taken) / seconds)
                ratios[number].append(rates[number][-1] / ((before + after) / 2))
                alone.append(after)
                if number == 64:
                    tails.append(percentile(taken, 0.99) / median(taken))
                    p99s.append(percentile(taken, 0.99))
                before = after
        governed.check(done)
        governed.close()
        bare.close()
    for number, (must, stretch) in AIMS.items():
        seen = {"calls_per_s": median(rates[number]), "bare_per_s": median(alone)}
        name = f"{number} asyncio callers / the bare serial loop, calls per second"
        yield figure(name, ratios[number], at_least=must, stretch=stretch, seen=seen)
    yield figure(
        "64 asyncio callers, p99 / median", tails, at_most=2.5, stretch=1.5, seen={"p99_ms": median(p99s) * 1e3}
    )


def _rate(bare: Bare, size: Size) -> float:
    taken = bare.serial(size.of(1_000, 100))
    return len(taken) / sum(taken)
