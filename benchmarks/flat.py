"""`flat`: a call when the ledger holds 1,000,000 audit entries, beside one when it holds 1,000; and memory.

The large ledger is filled by governed calls: runs of 25 calls, half of them of one tenant, the others spread over 99.
It is filled with `synchronous: off` and measured with `full`; the file lives as long as the measure.
Both ledgers grow by the calls that are measured on them.
"""

from __future__ import annotations

import asyncio
import sqlite3
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from statistics import median
from typing import Any

from benchmarks.figures import Figure, Size, figure, percentile, require
from benchmarks.load import TENANT, Governed, config, scratch, sqlite
from benchmarks.machine import memory

OF_A_RUN = 25  #: calls
CALLERS = 64
TENANTS = [f"tenant-{number:02}" for number in range(1, 100)]


def flat(size: Size) -> Iterator[Figure]:
    """Memory first, in a process that is still small; then the large ledger."""
    yield from _memory_in_calls(size)
    with scratch() as folder:
        few, many = sqlite(folder, "off"), sqlite(folder, "off")
        entries = size.of(1_000_000, 20_000)
        _fill(few, 1_000)
        seconds = _fill(many, entries)
        few["synchronous"] = many["synchronous"] = "full"
        small, large = Governed(config(few)), Governed(config(many))
        yield from _calls(size, small, large, entries, {"filled_per_s": entries / seconds})
        yield from _verify(large, entries)
        small.close()
        large.close()


def _fill(ledger: dict[str, Any], entries: int) -> float:
    """Until there are this many entries: seconds."""
    governed, began = Governed(config(ledger), remembers=False), time.perf_counter()
    runs = entries // (2 * OF_A_RUN)
    asyncio.run(_runs(governed, runs))
    governed.close()
    file = sqlite3.connect(Path(ledger["url"].removeprefix("sqlite:///")))
    count = file.execute("SELECT count(*) FROM audit").fetchone()[0]
    file.close()
    require(count >= entries, f"the ledger was filled with {count} entries, not {entries}")
    return time.perf_counter() - began


async def _runs(governed: Governed, runs: int) -> None:
    numbers = iter(range(runs))

    async def agent() -> None:
        for number in numbers:
            await governed.together(1, OF_A_RUN, _tenant(number))

    await asyncio.gather(*(agent() for _ in range(CALLERS)))


def _tenant(number: int) -> str:
    """Every other run is of one tenant; the others take turns."""
    return TENANT if number % 2 else TENANTS[number // 2 % len(TENANTS)]


# --- calls -----------------------------------------------------------------------------------------------------------


def _calls(size: Size, small: Governed, large: Governed, entries: int, seen: dict[str, float]) -> Iterator[Figure]:
    """One sync caller, a run of 25 calls on one ledger and then one on the other, tenants in turn."""
    medians, tails = [], []
    blocks = size.of(100, 8)
    few: list[float] = []
    many: list[float] = []
    for number in range(4):  # the first calls of a process are slower
        small.serial(OF_A_RUN, _tenant(number))
        large.serial(OF_A_RUN, _tenant(number))
    for _ in range(size.rounds):
        one: list[float] = []
        other: list[float] = []
        for number in range(blocks):
            one += small.serial(OF_A_RUN, _tenant(number))
            other += large.serial(OF_A_RUN, _tenant(number))
        medians.append(median(other) / median(one))
        tails.append(percentile(other, 0.99) / percentile(one, 0.99))
        few += one
        many += other
    for governed in (small, large):
        require(
            len(governed.effects) == governed.performed == len(few) + 4 * OF_A_RUN, "an effect happened twice, or not"
        )
    seen |= {"us_small": median(few) * 1e6, "us_large": median(many) * 1e6}
    yield figure(
        f"a call with {entries:,} audit entries / with 1,000, median", medians, at_most=1.2, stretch=1.1, seen=seen
    )
    seen = {"us_small": percentile(few, 0.99) * 1e6, "us_large": percentile(many, 0.99) * 1e6}
    yield figure(f"a call with {entries:,} audit entries / with 1,000, p99", tails, at_most=1.2, stretch=1.1, seen=seen)


# --- memory ----------------------------------------------------------------------------------------------------------


def _memory_in_calls(size: Size) -> Iterator[Figure]:
    """After the caches are full (what is remembered between transactions is bounded), 20,000 calls more."""
    calls, warm = size.of(20_000, 1_600), size.of(40_000, 1_600)
    with scratch() as folder:
        before = memory()
        governed = Governed(config(sqlite(folder, "off")), remembers=False)
        asyncio.run(_runs(governed, warm // OF_A_RUN))
        warmed = memory()
        asyncio.run(_runs(governed, calls // OF_A_RUN))
        after = memory()
        verified = governed.gateway.audit.verify(TENANT)
        require(verified.ok and governed.performed == warm + calls, f"the load is not right: {verified.text}")
        governed.close()
    seen = {"mb_at_start": before, "mb_warm": warmed, "mb_after": after}
    yield figure(
        f"resident memory, {calls:,} calls more after {warm:,} / before them", [after / warmed], at_most=1.1, seen=seen
    )


def _verify(governed: Governed, entries: int) -> Iterator[Figure]:
    """Every tenant's chain with its checkpoints, one after the other; the largest has half of all entries."""
    audit, done = governed.gateway.audit, threading.Event()
    samples = [memory()]

    def watch() -> None:
        while not done.wait(0.02):
            samples.append(memory())

    watcher = threading.Thread(target=watch)
    watcher.start()
    began, count = time.perf_counter(), 0
    for tenant in audit.tenants():
        verified = audit.verify(tenant)
        require(verified.ok, f"the audit does not verify: {verified.text}")
        count += verified.entries
    seconds = time.perf_counter() - began
    done.set()
    watcher.join()
    require(count >= entries, f"only {count} entries were verified")
    early = max(samples[: len(samples) // 10 + 1])
    seen = {"entries": count, "seconds": seconds}
    yield figure("verification of the audit", [count / seconds], unit="entries/s", larger=True, seen=seen)
    seen = {"mb_before": samples[0], "mb_after_a_tenth": early, "mb_most": max(samples)}
    yield figure(
        "resident memory, most in all of that verification / in its first tenth", [max(samples) / early], at_most=1.1,
        seen=seen, note="SQLite's page cache (64 MiB at most) fills in that first tenth",
    )
