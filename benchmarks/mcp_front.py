"""`mcp`: a `tools/call` through the front to an MCP server on the SDK, beside the same call sent there directly.

Both are one POST of the newest revision by the same client. Through the front it is weighed, booked, written down
before and after with `synchronous=FULL`, and passed on over a connection that is kept open.
"""

from __future__ import annotations

import asyncio
import itertools
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import interlock
from benchmarks.figures import Figure, Size, figure, percentile, require
from benchmarks.load import TENANT, scratch, sqlite
from benchmarks.peers.process import free_port, listening
from benchmarks.service import Serving
from benchmarks.wire import Wire

CLIENTS = 16
ENVELOPE = {
    "io.modelcontextprotocol/protocolVersion": "2026-07-28",
    "io.modelcontextprotocol/clientInfo": {"name": "bench", "version": "1"},
    "io.modelcontextprotocol/clientCapabilities": {},
}
ACCEPT = {"Accept": "application/json, text/event-stream"}
_numbers = itertools.count(1)


class Way:
    """A way to the tool of the upstream: directly, or through something in front of it.

    One POST a call: of the newest revision, or for what does not speak that yet, a stateless one of 2025-11-25.
    """

    def __init__(
        self, port: int, tool: str, *, path: str = "/mcp", headers: Mapping[str, str] | None = None, newest: bool = True
    ) -> None:
        self._port, self._tool, self._path = port, tool, path
        named = {"MCP-Protocol-Version": "2026-07-28", "Mcp-Method": "tools/call", "Mcp-Name": tool}
        self._headers = {**ACCEPT, **(named if newest else {"MCP-Protocol-Version": "2025-11-25"}), **(headers or {})}
        self._meta: dict[str, Any] = {"_meta": ENVELOPE} if newest else {}

    async def load(self, clients: int, calls: int) -> tuple[float, list[float]]:
        """Calls per second, and the seconds of each."""
        wires = [Wire("127.0.0.1", self._port, self._headers) for _ in range(clients)]
        taken: list[float] = []

        async def call(wire: Wire) -> None:
            for _ in range(calls):
                number = next(_numbers)
                params = {"name": self._tool, "arguments": {"text": f"hello {number}"}, **self._meta}
                body = {"jsonrpc": "2.0", "id": number, "method": "tools/call", "params": params}
                began = time.perf_counter()
                status, answer = await wire.send("POST", self._path, body)
                taken.append(time.perf_counter() - began)
                said = status == 200 and f"hello {number}".encode() in answer and b'"isError":true' not in answer
                require(said, f"{self._tool} was answered {status}: {answer[:300]!r}")

        began = time.perf_counter()
        await asyncio.gather(*(call(wire) for wire in wires))
        seconds = time.perf_counter() - began
        for wire in wires:
            wire.close()
        return len(taken) / seconds, taken


@contextmanager
def fronted(folder: Path) -> Iterator[tuple[Way, Way, str]]:
    """The way through the front, the direct one, and the upstream's address. Afterwards the audit verifies."""
    port = free_port()
    address = f"http://127.0.0.1:{port}/mcp"
    settings = {
        "ledger": sqlite(folder), "policy": {"allow": ["peer.*"]},
        "budgets": {"max_tool_calls": 10_000_000, "max_seconds": 86_400},
        "tools": {"peer.*": {"effect": "write", "risk": "medium"}},
        "upstreams": {"peer": {"mcp": {"url": address}}},
    }
    upstream = [sys.executable, "-m", "benchmarks.mcp_upstream", str(port)]
    with listening(upstream, port, folder / "upstream.log"):
        served = Serving(folder, settings)
        try:
            shown = {"Authorization": f"Bearer {served.agent}"}
            yield Way(served.port, "peer.echo", headers=shown), Way(port, "echo"), address
        finally:
            served.close()
    with interlock.open(str(served.config), upstreams=False) as gateway:
        require(gateway.audit.verify(TENANT).ok, "the audit does not verify")


def mcp(size: Size) -> Iterator[Figure]:
    """One client, and sixteen: direct and through the front in turns."""
    with scratch() as folder, asyncio.Runner() as runner, fronted(folder) as (*both, _):
        alone, together, medians, rates = [], [], [], []
        for number in range(size.rounds + 1):  # the first warms up
            one = [runner.run(way.load(1, size.of(300, 30)))[1] for way in both]
            many = [runner.run(way.load(CLIENTS, size.of(60, 6)))[0] for way in both]
            if number:
                ours, theirs = (percentile(each, 0.5) for each in one)
                alone.append(ours / theirs)
                together.append(many[0] / many[1])
                medians.append((ours, theirs))
                rates.append(many)
        seen = {"front ms": medians[-1][0] * 1e3, "direct ms": medians[-1][1] * 1e3}
        name = "MCP tools/call through the front / direct, one client"
        yield figure(name, alone, at_most=2.5, stretch=2.15, seen=seen)
        seen = {"front calls/s": rates[-1][0], "direct calls/s": rates[-1][1]}
        yield figure("the same with 16 clients, calls per second", together, at_least=0.8, stretch=0.89, seen=seen)
