"""`peers`: two that are often put where Interlock stands, each on its own terms, in the same run. See README.md."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from importlib.util import find_spec
from statistics import median
from typing import Any

from benchmarks.figures import CannotRun, Figure, Size, figure
from benchmarks.load import HERE


def peers(size: Size) -> Iterator[Figure]:
    """Each in a child of its own."""
    if find_spec("dbos") is None or find_spec("agentmesh") is None:
        raise CannotRun("needs the packages of requirements-bench.lock: run it with `make bench`")
    yield from _agt(size)
    yield from _dbos(size)


def _told_by(module: str, size: Size) -> dict[str, Any]:
    child = subprocess.run(
        [sys.executable, "-m", module, *(["--quick"] if size.quick else [])],
        cwd=HERE, stdout=subprocess.PIPE, text=True, check=True,
    )
    told: dict[str, Any] = json.loads(child.stdout.splitlines()[-1])
    return told


def _dbos(size: Size) -> Iterator[Figure]:
    told = _told_by("benchmarks.peers.dbos_step", size)
    if "cannot" in told:
        raise CannotRun(told["cannot"])
    for mode, at_least, stretch in (("delete", 8.0, 12.0), ("wal", None, None)):
        rounds = [theirs / ours for ours, theirs in told[mode]]
        seen = {
            "ours_us": median(ours for ours, _ in told[mode]) * 1e6,
            "dbos_us": median(theirs for _, theirs in told[mode]) * 1e6,
        }
        settings = f"journal_mode={mode.upper()}, synchronous=FULL, SQLite {told['sqlite']} on both sides"
        words = "as it comes" if mode == "delete" else "its file set to WAL beforehand"
        yield figure(
            f"DBOS {told['version']} one-step workflow, {words} / governed call", rounds, at_least=at_least,
            stretch=stretch, larger=True, seen=seen, note=settings + "; DBOS records a step after it has happened",
        )


def _agt(size: Size) -> Iterator[Figure]:
    told = _told_by("benchmarks.peers.agt", size)
    seen = {
        "ours_us": median(ours for ours, _ in told["rounds"]) * 1e6,
        "agt_us": median(theirs for _, theirs in told["rounds"]) * 1e6,
    }
    yield figure(
        f"governed call, ledger on synchronous=OFF / AGT {told['version']} govern()",
        [ours / theirs for ours, theirs in told["rounds"]], at_most=1.0, stretch=0.6, seen=seen,
        note="AGT: one rule, audit in RAM, no result recorded; ours: ten rules, budgets, two transactions on disk",
    )
