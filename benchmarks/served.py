"""What `interlock serve --app benchmarks.served:opened` serves in the measures of the service: one Python tool.

Writes when each effect began, on a clock that all processes share, to a file: the other process looks for what it must
not find there.
"""

from __future__ import annotations

import os
import time
from pathlib import Path
from typing import Any

import interlock


def opened() -> interlock.Gateway:
    """The gateway of the config that the environment names."""
    gateway = interlock.open(os.environ["BENCH_CONFIG"])
    effects = Path(os.environ["BENCH_EFFECTS"]).open("ab", buffering=0)  # noqa: SIM115  as long as the process

    @gateway.tool("ticket.create", effect="write", risk="medium")
    async def create(title: str, body: str, priority: int, call: interlock.CallInfo) -> dict[str, Any]:  # noqa: ARG001
        """Open a ticket."""
        os.write(effects.fileno(), f"{time.monotonic_ns()} {call.run_id} {call.key}\n".encode())
        return {"ticket": priority, "state": "open"}

    return gateway
