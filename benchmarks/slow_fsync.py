"""`slow_fsync`: the same callers on a disk whose every fsync takes 5 ms longer, as real disks do.

A shim that is compiled here and preloaded into a child process makes it so; needs a C compiler (`cc`).
"""

from __future__ import annotations

import asyncio
import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from statistics import median
from typing import Any

from benchmarks.figures import CannotRun, Figure, Size, figure, require
from benchmarks.load import HERE, Governed, config, scratch, sqlite

ADDED_MS = 5
CALLERS = 256


def slow_fsync(size: Size) -> Iterator[Figure]:
    """256 asyncio callers against one, in a child with the shim."""
    with scratch() as folder:
        environment = os.environ | {"LD_PRELOAD": str(_shim(folder)), "INTERLOCK_FSYNC_MS": str(ADDED_MS)}
        child = subprocess.run(
            [sys.executable, "-m", "benchmarks.slow_fsync", *(["--quick"] if size.quick else [])], cwd=HERE,
            env=environment, stdout=subprocess.PIPE, text=True, check=True,
        )
    told = json.loads(child.stdout)
    require(told["fsync_ms"] >= ADDED_MS, f"the shim does not work: an fsync took {told['fsync_ms']} ms")
    ratios = [many / one for one, many in told["rates"]]
    seen = {
        "one_per_s": median(one for one, _ in told["rates"]), "many_per_s": median(many for _, many in told["rates"]),
        "fsync_ms": told["fsync_ms"],
    }
    name = f"+{ADDED_MS} ms on every fsync: {CALLERS} asyncio callers / one, calls per second"
    yield figure(name, ratios, at_least=100.0, stretch=150.0, seen=seen)


def _shim(folder: Path) -> Path:
    compiler = shutil.which("cc") or shutil.which("gcc") or shutil.which("clang")
    if compiler is None:
        raise CannotRun("needs a C compiler; on Debian: apt-get install gcc libc6-dev")
    shim = folder / "slow_fsync.so"
    source = Path(__file__).with_name("slow_fsync.c")
    subprocess.run([compiler, "-shared", "-fPIC", "-O2", "-o", shim, source, "-ldl"], check=True, stdout=sys.stderr)
    return shim


def _child(size: Size) -> dict[str, Any]:
    rates = []
    alone, each = size.of(200, 20), size.of(80, 6)
    with scratch() as folder, asyncio.Runner() as runner:
        governed = Governed(config(sqlite(folder)))
        runner.run(governed.together(16, 4))
        for _ in range(size.of(5, 3)):
            one, _ = runner.run(governed.together(1, alone))
            many, _ = runner.run(governed.together(CALLERS, each))
            rates.append((alone / one, CALLERS * each / many))
        governed.check(64 + len(rates) * (alone + CALLERS * each))
        governed.close()
        return {"rates": rates, "fsync_ms": round(_fsync_ms(folder), 2)}


def _fsync_ms(folder: Path) -> float:
    taken = []
    with (folder / "probe").open("wb") as file:
        for _ in range(5):
            file.write(b"x" * 4096)
            file.flush()
            began = time.perf_counter()
            os.fsync(file.fileno())
            taken.append(time.perf_counter() - began)
    return median(taken) * 1e3


if __name__ == "__main__":
    print(json.dumps(_child(Size(quick="--quick" in sys.argv))))
