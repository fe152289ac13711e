"""The machine as the result names it, and how much of it somebody else was using meanwhile."""

from __future__ import annotations

import os
import platform
import sqlite3
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

NOISY = 0.15  #: a measure with more foreign CPU than this is flagged


def describe(folder: Path) -> dict[str, Any]:
    """What a reader must know to place the numbers."""
    return {
        "cpu": _cpu_model(), "cores": os.cpu_count(), "kernel": platform.release(), "python": platform.python_version(),
        "sqlite": sqlite3.sqlite_version, "filesystem": _filesystem(folder),
        "date": datetime.now(UTC).strftime("%Y-%m-%d %H:%M UTC"),
    }


def _cpu_model() -> str:
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith("model name"):
            return line.partition(":")[2].strip()
    return platform.machine()


def _filesystem(folder: Path) -> str:
    """The kind of file system that the ledgers of the bench lie on."""
    mounts = [line.split()[1:3] for line in Path("/proc/mounts").read_text().splitlines()]
    inside = [(place, kind) for place, kind in mounts if folder.resolve().is_relative_to(place)]
    return max(inside, key=lambda each: len(each[0]))[1] if inside else "unknown"


class ForeignCpu:
    """The share of the machine that went to others while a block ran: `with ForeignCpu() as cpu: …; cpu.share`."""

    share = 0.0

    def __enter__(self) -> ForeignCpu:
        self._before = (*_machine_ticks(), _own_ticks())
        return self

    def __exit__(self, *_: object) -> None:
        busy, total, own = (
            after - before for after, before in zip((*_machine_ticks(), _own_ticks()), self._before, strict=True)
        )
        self.share = max(0.0, (busy - own) / total) if total else 0.0


def _machine_ticks() -> tuple[int, int]:
    """Busy and all ticks of all cores since the machine started; stolen ones count as busy."""
    fields = [int(each) for each in Path("/proc/stat").read_text().split("\n", 1)[0].split()[1:9]]
    return sum(fields) - fields[3] - fields[4], sum(fields)


def _own_ticks() -> int:
    """Ticks of this process and all below it, those that have ended and were waited for included."""
    parents: dict[int, int] = {}
    ticks: dict[int, int] = {}
    for entry in Path("/proc").iterdir():
        if entry.name.isdecimal():
            try:
                fields = (entry / "stat").read_text().rpartition(")")[2].split()
            except OSError:  # it has ended just now
                continue
            parents[int(entry.name)] = int(fields[1])
            ticks[int(entry.name)] = sum(int(each) for each in fields[11:15])
    return sum(used for process, used in ticks.items() if _descends(process, os.getpid(), parents))


def _descends(process: int, ancestor: int, parents: dict[int, int]) -> bool:
    while process != ancestor:
        process = parents.get(process, 0)
        if process == 0:
            return False
    return True


def memory() -> float:
    """Resident memory of this process, in MB."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE") / 1e6
