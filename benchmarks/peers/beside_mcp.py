"""`mcp_peers`: the MCP front beside other gateways, all in front of the same upstream on the SDK, in turns."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from contextlib import ExitStack

from benchmarks.figures import CannotRun, Figure, Size, figure, percentile
from benchmarks.load import scratch
from benchmarks.mcp_front import CLIENTS, Way, fronted
from benchmarks.peers.mcp_gateways import GATEWAYS, Gateway
from benchmarks.peers.process import place_of, version_of


def mcp_peers(size: Size) -> Iterator[Figure]:
    """Those that are installed; then CannotRun tells of the others."""
    present: list[Gateway] = []
    missing: list[str] = []
    for each in GATEWAYS:
        try:
            place_of(each.peer)
            present.append(each)
        except CannotRun as error:
            missing.append(str(error))
    if present:
        yield from _measured(present, size)
    if missing:
        raise CannotRun("; ".join(missing))


def _measured(present: list[Gateway], size: Size) -> Iterator[Figure]:
    medians: list[list[float]] = []
    rates: list[list[float]] = []
    with scratch() as folder, asyncio.Runner() as runner, ExitStack() as stack:
        front, direct, upstream = stack.enter_context(fronted(folder))
        theirs = [stack.enter_context(each.start(folder, upstream)) for each in present]

        def turn(way: Way, *, slow: bool) -> tuple[float, float]:
            alone, together = (size.of(50, 6), size.of(5, 2)) if slow else (size.of(300, 30), size.of(60, 6))
            median = percentile(runner.run(way.load(1, alone))[1], 0.5)
            return median, runner.run(way.load(CLIENTS, together))[0]

        for number in range(size.rounds + 1):  # the first warms up
            found = [turn(front, slow=False), turn(direct, slow=False), *(turn(way, slow=True) for way in theirs)]
            if number:
                medians.append([median for median, _ in found])
                rates.append([rate for _, rate in found])
    for place, each in enumerate(present, start=2):
        words = each.words.format(version_of(each.peer, each.package))
        own, direct_ms, peer = (percentile([one[at] for one in medians], 0.5) * 1e3 for at in (0, 1, place))
        yield figure(
            f"{words} / the front, median of a tools/call, one client", [one[place] / one[0] for one in medians],
            at_least=each.median, seen={"front ms": own, f"{each.peer} ms": peer, "direct ms": direct_ms},
        )
        own, direct_rate, peer = (percentile([one[at] for one in rates], 0.5) for at in (0, 1, place))
        yield figure(
            f"the front / {words}, calls per second, 16 clients", [one[0] / one[place] for one in rates],
            at_least=each.rate,
            seen={"front calls/s": own, f"{each.peer} calls/s": peer, "direct calls/s": direct_rate},
        )
