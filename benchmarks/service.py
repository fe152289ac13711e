"""`service`: the gateway as a service, on a socket, SQLite with `synchronous=FULL`, the load from another process.

One process serves with `interlock serve`; this one is its clients. Both share the two cores.
"""

from __future__ import annotations

import asyncio
import json
import os
import resource
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import interlock
from benchmarks.figures import Figure, Size, figure, percentile, require
from benchmarks.load import HERE, TENANT, arguments, config, scratch, sqlite
from benchmarks.wire import Wire

CLIENTS = 16
WAITING = 10_000


class Serving:
    """`interlock serve` in a process of its own."""

    def __init__(self, folder: Path, settings: Mapping[str, Any] | None = None, *app: str) -> None:
        self.folder, self.effects = folder, folder / "effects"
        self.config = folder / "interlock.yaml"
        self.config.write_text(json.dumps(settings or config(sqlite(folder))))
        self.effects.touch()
        self._environment = {
            **os.environ, "BENCH_CONFIG": str(self.config), "BENCH_EFFECTS": str(self.effects), "PYTHONPATH": str(HERE),
        }
        self.agent = self._key("bot", "agent", "--tenant", TENANT, "--agent", "support-bot", "--env", "prod")
        self.operator = self._key("oncall", "operator")
        self._log = (folder / "serve.log").open("wb")
        self.process = subprocess.Popen(
            [sys.executable, "-m", "interlock", "serve", "--config", str(self.config), "--port", "0", *app],
            env=self._environment, stdout=self._log, stderr=subprocess.STDOUT, cwd=folder,
        )
        self.port = self._wait_for_port()

    def _key(self, name: str, role: str, *more: str) -> str:
        made = subprocess.run(
            [sys.executable, "-m", "interlock", "keys", "create", "--config", str(self.config), "--name", name,
             "--role", role, "--by", "bench", "--json", *more],
            env=self._environment, capture_output=True, check=True, cwd=self.folder,
        )
        token: str = json.loads(made.stdout)["token"]
        return token

    def _wait_for_port(self) -> int:
        for _ in range(600):
            said = (self.folder / "serve.log").read_text()
            for line in said.splitlines():
                _, found, rest = line.partition("http://127.0.0.1:")
                digits = rest.partition("/")[0].strip()
                if found and digits.isdigit():
                    return int(digits)
            require(self.process.poll() is None, f"interlock serve ended: {said}")
            time.sleep(0.05)
        raise AssertionError("interlock serve did not say where it listens")

    def wire(self, key: str, **more: str) -> Wire:
        """A connection that shows this key."""
        return Wire("127.0.0.1", self.port, {"Authorization": f"Bearer {key}", **more})

    def usage(self) -> tuple[float, float]:
        """Seconds of CPU so far, and MB of memory now."""
        fields = Path(f"/proc/{self.process.pid}/stat").read_text().rpartition(")")[2].split()
        ticks, page = os.sysconf("SC_CLK_TCK"), os.sysconf("SC_PAGE_SIZE")
        resident = int(Path(f"/proc/{self.process.pid}/statm").read_text().split()[1])
        return (int(fields[11]) + int(fields[12])) / ticks, resident * page / 1e6

    def begun(self) -> list[int]:
        """When each effect began."""
        return [int(line.split()[0]) for line in self.effects.read_bytes().splitlines()]

    def close(self) -> None:
        """End it, as a supervisor would."""
        self.process.terminate()
        self.process.wait(60)
        self._log.close()


@contextmanager
def serving() -> Iterator[Serving]:
    """A server, and what it leaves checked: every effect once, the audit whole."""
    with scratch() as folder:
        served = Serving(folder, None, "--app", "benchmarks.served:opened")
        try:
            yield served
        finally:
            served.close()
        keys = [line.split()[1:] for line in served.effects.read_bytes().splitlines()]
        require(len({tuple(each) for each in keys}) == len(keys), "an effect happened twice")
        with interlock.open(str(served.config)) as gateway:
            require(gateway.audit.verify(TENANT).ok, "the audit does not verify")


def service(size: Size) -> Iterator[Figure]:
    """Calls per second and p99 at 16 clients; what waits for approvals costs; a kill through the API."""
    with serving() as served, asyncio.Runner() as runner:
        rates, p50s, p99s = [], [], []
        for _ in range(size.rounds + 1):  # the first warms up
            rate, taken = runner.run(load(served, CLIENTS, size.of(150, 20)))
            rates.append(rate)
            p50s.append(percentile(taken, 0.5) * 1e3)
            p99s.append(percentile(taken, 0.99) * 1e3)
        seen = {"p50 ms": percentile(p50s[1:], 0.5)}
        name = "POST of a governed call, 16 clients"
        yield figure(name, rates[1:], unit="calls/s", at_least=1_500, stretch=5_000, seen=seen)
        yield figure(f"{name}, p99", p99s[1:], unit="ms", at_most=50)
        _, alone = runner.run(load(served, 1, size.of(300, 30)))
        yield figure("POST of a governed call, one client, median", [percentile(alone, 0.5) * 1e3], unit="ms")
        late = runner.run(_killed(served))
        yield figure("kill through the API: effects that begin after its answer", [late], unit="", at_most=0)
    with serving() as served, asyncio.Runner() as runner:
        megabytes, share, many = runner.run(_waiting(served, size.of(WAITING, 500)))
        seen = {"connections": many}
        name = "connections that wait for approvals, memory of the server"
        yield figure(name, [megabytes], unit="MB", at_most=500, seen=seen)
        yield figure("the same, CPU while nothing happens", [share * 100], unit="%", at_most=5)


async def load(
    served: Serving, clients: int, calls: int, tool: str = "ticket.create"
) -> tuple[float, list[float]]:
    """Calls per second, and the seconds of each; every client with a run of its own."""
    wires = [served.wire(served.agent) for _ in range(clients)]
    runs = [await opened(wire) for wire in wires]
    taken: list[float] = []

    async def call(wire: Wire, run: str) -> None:
        for number in range(calls):
            body = {"tool": tool, "args": arguments(number), "call_id": f"c{number}"}
            began = time.perf_counter()
            status, answer = await wire.send("POST", f"/v1/runs/{run}/calls", body)
            taken.append(time.perf_counter() - began)
            require(status == 200 and b'"kind":"done"' in answer, f"a call was answered {status}: {answer[:200]!r}")

    began = time.perf_counter()
    await asyncio.gather(*(call(*each) for each in zip(wires, runs, strict=True)))
    seconds = time.perf_counter() - began
    for wire in wires:
        wire.close()
    return clients * calls / seconds, taken


async def opened(wire: Wire) -> str:
    """A new run."""
    status, answer = await wire.send("POST", "/v1/runs", {})
    require(status in (200, 201), f"a run was not opened: {status} {answer[:200]!r}")
    run_id: str = json.loads(answer)["run_id"]
    return run_id


async def _killed(served: Serving) -> float:
    over = asyncio.Event()

    async def busy(wire: Wire) -> None:
        run, number = await opened(wire), 0
        while not over.is_set():
            body = {"tool": "ticket.create", "args": arguments(number), "call_id": f"k{number}"}
            await wire.send("POST", f"/v1/runs/{run}/calls", body)
            number += 1

    clients = [asyncio.ensure_future(busy(served.wire(served.agent))) for _ in range(CLIENTS)]
    await asyncio.sleep(0.5)
    people = served.wire(served.operator)
    status, answer = await people.send("POST", "/v1/switches/kill", {"tenant": TENANT, "reason": "bench"})
    returned = time.monotonic_ns()
    require(status in (200, 201), f"the kill was answered {status}: {answer[:200]!r}")
    await asyncio.sleep(0.3)
    over.set()
    await asyncio.gather(*clients)
    begun = served.begun()
    require(any(at < returned for at in begun), "nothing was busy before the kill")
    return float(sum(1 for at in begun if at > returned))


async def _waiting(served: Serving, many: int) -> tuple[float, float, float]:
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    many = min(many, hard - 500)
    wires = [served.wire(served.operator) for _ in range(many)]
    path = f"/v1/approvals/events?tenant={TENANT}"
    for start in range(0, many, 200):
        await asyncio.gather(*(wire.begin("GET", path) for wire in wires[start : start + 200]))
    await asyncio.sleep(2)
    before, _ = served.usage()
    await asyncio.sleep(10)
    after, megabytes = served.usage()
    for wire in wires:
        wire.close()
    return megabytes, (after - before) / 10, float(many)
