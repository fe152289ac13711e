"""`mcp`: a `tools/call` through the front to an MCP server on the SDK, beside the same call sent there directly.

Both are one POST of the newest revision by the same client. Through the front it is weighed, booked, written down
before and after with `synchronous=FULL`, and passed on over a connection that is kept open.
"""

from __future__ import annotations

import asyncio
import itertools
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator

import interlock
from benchmarks.figures import Figure, Size, figure, percentile, require
from benchmarks.load import HERE, TENANT, scratch, sqlite
from benchmarks.service import Serving
from benchmarks.wire import Wire

CLIENTS = 16
ENVELOPE = {
    "io.modelcontextprotocol/protocolVersion": "2026-07-28",
    "io.modelcontextprotocol/clientInfo": {"name": "bench", "version": "1"},
    "io.modelcontextprotocol/clientCapabilities": {},
}
HEADERS = {
    "Accept": "application/json, text/event-stream", "MCP-Protocol-Version": "2026-07-28", "Mcp-Method": "tools/call",
}
_numbers = itertools.count(1)


def mcp(size: Size) -> Iterator[Figure]:
    """One client, and sixteen: direct and through the front in turns."""
    with scratch() as folder, asyncio.Runner() as runner:
        port = _free_port()
        upstream = subprocess.Popen([sys.executable, "-m", "benchmarks.mcp_upstream", str(port)], cwd=HERE)
        served = None
        try:
            runner.run(_listens(port))
            served = Serving(
                folder,
                {
                    "ledger": sqlite(folder), "policy": {"allow": ["peer.*"]},
                    "budgets": {"max_tool_calls": 10_000_000, "max_seconds": 86_400},
                    "tools": {"peer.*": {"effect": "write", "risk": "medium"}},
                    "upstreams": {"peer": {"mcp": {"url": f"http://127.0.0.1:{port}/mcp"}}},
                },
            )
            yield from _measured(runner, served, port, size)
        finally:
            upstream.terminate()
            if served is not None:
                served.close()
        with interlock.open(str(served.config), upstreams=False) as gateway:
            require(gateway.audit.verify(TENANT).ok, "the audit does not verify")


def _measured(runner: asyncio.Runner, served: Serving, port: int, size: Size) -> Iterator[Figure]:
    def front() -> Wire:
        return served.wire(served.agent, **HEADERS, **{"Mcp-Name": "peer.echo"})

    def direct() -> Wire:
        return Wire("127.0.0.1", port, {**HEADERS, "Mcp-Name": "echo"})

    both: list[tuple[Callable[[], Wire], str]] = [(front, "peer.echo"), (direct, "echo")]
    alone, together, medians, rates = [], [], [], []
    for number in range(size.rounds + 1):  # the first warms up
        one = [runner.run(_load([make()], name, size.of(300, 30)))[1] for make, name in both]
        many = [
            runner.run(_load([make() for _ in range(CLIENTS)], name, size.of(60, 6)))[0]
            for make, name in both
        ]
        if number:
            ours, theirs = (percentile(each, 0.5) for each in one)
            alone.append(ours / theirs)
            together.append(many[0] / many[1])
            medians.append((ours, theirs))
            rates.append(many)
    seen = {"front ms": medians[-1][0] * 1e3, "direct ms": medians[-1][1] * 1e3}
    yield figure("MCP tools/call through the front / direct, one client", alone, at_most=2.5, stretch=2.15, seen=seen)
    seen = {"front calls/s": rates[-1][0], "direct calls/s": rates[-1][1]}
    yield figure("the same with 16 clients, calls per second", together, at_least=0.8, stretch=0.89, seen=seen)


async def _load(wires: list[Wire], tool: str, calls: int) -> tuple[float, list[float]]:
    taken: list[float] = []

    async def call(wire: Wire) -> None:
        for _ in range(calls):
            number = next(_numbers)
            params = {"name": tool, "arguments": {"text": f"hello {number}"}, "_meta": ENVELOPE}
            body = {"jsonrpc": "2.0", "id": number, "method": "tools/call", "params": params}
            began = time.perf_counter()
            status, answer = await wire.send("POST", "/mcp", body)
            taken.append(time.perf_counter() - began)
            require(status == 200 and f"hello {number}".encode() in answer, f"answered {status}: {answer[:300]!r}")

    began = time.perf_counter()
    await asyncio.gather(*(call(wire) for wire in wires))
    seconds = time.perf_counter() - began
    for wire in wires:
        wire.close()
    return len(taken) / seconds, taken


def _free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as found:
        port: int = found.getsockname()[1]
        return port


async def _listens(port: int) -> None:
    for _ in range(400):
        try:
            _, writer = await asyncio.open_connection("127.0.0.1", port)
        except OSError:
            await asyncio.sleep(0.05)
        else:
            writer.close()
            return
    require(False, "the MCP server did not start")
