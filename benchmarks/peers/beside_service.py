"""`service_peers`: the service beside toolgate-io, a gate of the same kind, with the same HTTP tool behind both.

One POST is one governed call on either side: a key or a token, policy, budget, the credential put in by the gate, the
tool called over HTTP, the audit. Both write to SQLite with `synchronous=FULL`. The two take turns.
"""

from __future__ import annotations

import asyncio
import json
import secrets
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import interlock
from benchmarks.figures import Figure, Size, figure, percentile, require
from benchmarks.load import TENANT, config, scratch, sqlite
from benchmarks.peers.http_tool import DOCUMENT
from benchmarks.peers.process import free_port, listening, place_of, version_of
from benchmarks.peers.toolgate import toolgate
from benchmarks.service import CLIENTS, Serving, load
from benchmarks.wire import Wire

TOOL = "desk.open"
IN_PROCESS = "ticket.create"


def service_peers(size: Size) -> Iterator[Figure]:
    """The median with one client, and calls per second with sixteen. The promise is about a tool in Python."""
    place_of("toolgate")
    alone, together = [], []
    with scratch() as folder, asyncio.Runner() as runner:
        port, secret = free_port(), secrets.token_urlsafe(24)
        tool = [sys.executable, "-m", "benchmarks.peers.http_tool", str(port), secret]
        with listening(tool, port, folder / "tool.log"), toolgate(folder) as gate:
            runner.run(gate.register(f"http://127.0.0.1:{port}", secret, CLIENTS))
            served = Serving(folder, _settings(folder, port, secret), "--app", "benchmarks.served:opened")
            calls = 0
            try:
                for number in range(size.rounds + 1):  # the first warms up
                    one = [
                        runner.run(load(served, 1, size.of(300, 30), TOOL)),
                        runner.run(gate.load(1, size.of(150, 20))),
                        runner.run(load(served, 1, size.of(300, 30), IN_PROCESS)),
                    ]
                    many = [
                        runner.run(load(served, CLIENTS, size.of(60, 10), TOOL)),
                        runner.run(gate.load(CLIENTS, size.of(25, 4))),
                        runner.run(load(served, CLIENTS, size.of(60, 10), IN_PROCESS)),
                    ]
                    calls += sum(len(taken) for found in (one, many) for _, taken in found[:2])
                    if number:
                        alone.append([percentile(taken, 0.5) * 1e3 for _, taken in one])
                        together.append([rate for rate, _ in many])
                opened = runner.run(_opened(port))
                require(opened == calls, f"{opened} effects for {calls} calls")
                require(runner.run(gate.verified()), "the audit of toolgate does not verify")
            finally:
                served.close()
        with interlock.open(str(served.config), upstreams=False) as gateway:
            require(gateway.audit.verify(TENANT).ok, "the audit does not verify")
    yield from _figures(alone, together)


def _figures(alone: list[list[float]], together: list[list[float]]) -> Iterator[Figure]:
    peer = f"toolgate-io {version_of('toolgate', 'toolgate-io')}"
    for ours, words in ((0, "the same HTTP tool behind both"), (2, "ours with a tool in Python, its tool over HTTP")):
        promised = ours == 2
        own, its = (percentile([each[at] for each in alone], 0.5) for at in (ours, 1))
        yield figure(
            f"{peer} / POST of a governed call, {words}, median, one client", [each[1] / each[ours] for each in alone],
            at_least=3 if promised else None, larger=True, seen={"ours ms": own, "toolgate ms": its},
            note="toolgate writes its audit record after the effect" if promised else "",
        )
        own, its = (percentile([each[at] for each in together], 0.5) for at in (ours, 1))
        yield figure(
            f"POST of a governed call / {peer}, {words}, calls per second, {CLIENTS} clients",
            [each[ours] / each[1] for each in together], at_least=15 if promised else None, larger=True,
            seen={"ours calls/s": own, "toolgate calls/s": its},
        )


def _settings(folder: Path, port: int, secret: str) -> dict[str, Any]:
    document, credential = folder / "desk.json", folder / "desk.secret"
    document.write_text(json.dumps(DOCUMENT))
    credential.touch(0o600)
    credential.write_text(secret)
    settings = config(sqlite(folder))
    settings["policy"]["allow"].append(TOOL)
    settings["tools"][TOOL] = {"effect": "write", "risk": "medium", "cost": {"usd": 0.000002}}
    return settings | {
        "credentials": {"desk": f"file:{credential}"},
        "upstreams": {"desk": {
            "openapi": str(document), "base_url": f"http://127.0.0.1:{port}", "credential": "desk",
            "allow_private": True,
        }},
    }


async def _opened(port: int) -> int:
    wire = Wire("127.0.0.1", port, {})
    _, answer = await wire.send("GET", "/opened")
    wire.close()
    opened: int = json.loads(answer)["opened"]
    return opened
