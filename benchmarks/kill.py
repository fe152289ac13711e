"""`kill`: how long `control.kill()` takes while 64 callers are busy, and what begins after it has returned."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterator
from statistics import median

from benchmarks.figures import Figure, Size, figure, require
from benchmarks.load import TENANT, Governed, arguments, config, scratch, sqlite

CALLERS = 64


def kill(size: Size) -> Iterator[Figure]:
    """Kills of somebody else, one after the other from another thread; then one of the busy tenant itself."""
    with scratch() as folder, asyncio.Runner() as runner:
        governed = Governed(config(sqlite(folder)))
        taken, calls, late = runner.run(_killing(governed, size.of(100, 10)))
        require(governed.performed == len(governed.effects), "an effect happened twice")
        require(governed.gateway.audit.verify(TENANT).ok, "the audit does not verify")
        governed.close()
    seen = {"calls_meanwhile": calls}
    yield figure("kill() while 64 callers are busy, median", [each * 1e3 for each in taken], unit="ms", seen=seen)
    yield figure("kill() while 64 callers are busy, longest", [max(taken) * 1e3], unit="ms")
    yield figure(
        "last effect begins after kill() of its tenant has returned", [late * 1e3], unit="ms",
        note="0: none. The two share one interpreter: a thread that has looked may be held up before it acts",
    )


async def _killing(governed: Governed, kills: int) -> tuple[list[float], int, float]:
    stop = asyncio.Event()

    async def busy(number: int) -> None:
        run, call = governed.run(), 0
        while not stop.is_set():
            outcome = await run.acall("ticket.acreate", arguments(call), call_id=f"c{number}-{call}")
            call += 1
            if outcome.kind == "stopped":
                return

    callers = [asyncio.ensure_future(busy(number)) for number in range(CALLERS)]
    await asyncio.sleep(0.2)
    taken, calls = await asyncio.to_thread(_kill_others, governed, kills)
    returned = await asyncio.to_thread(_kill_them, governed)
    done, pending = await asyncio.wait(callers, timeout=30)
    require(not pending, f"{len(pending)} callers were not stopped by the kill")
    for each in done:
        each.result()
    return taken, calls, max(0.0, governed.last_begun - returned)


def _kill_others(governed: Governed, kills: int) -> tuple[list[float], int]:
    control, taken, before = governed.gateway.control, [], governed.performed
    for _ in range(kills):
        began = time.perf_counter()
        control.kill(tenant="globex", reason="bench", by="bench")
        taken.append(time.perf_counter() - began)
        control.release(tenant="globex", reason="bench", by="bench")
        time.sleep(0.005)
    require(median(taken) > 0 and governed.performed > before, "nothing was busy while the switches were thrown")
    return taken, governed.performed - before


def _kill_them(governed: Governed) -> float:
    governed.gateway.control.kill(tenant=TENANT, reason="bench", by="bench")
    return time.perf_counter()
