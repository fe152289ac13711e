"""The child that measures DBOS beside Interlock. Both use the same SQLite library, because DBOS needs a newer one.

DBOS wants `unixepoch('subsec')`, SQLite 3.42; where Python's own is older, `pysqlite3-binary` takes its place in this
process, for both sides.
"""

from __future__ import annotations

import json
import logging
import sys
import time
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path
from statistics import median
from typing import Any

BLOCK = 25


def main(*, quick: bool) -> dict[str, Any]:
    """Medians of ours and theirs, round by round, for each journal mode."""
    problem = _newer_sqlite()
    if problem:
        return {"cannot": problem}
    import sqlite3

    from benchmarks.figures import Size

    size = Size(quick=quick)
    told: dict[str, Any] = {"version": version("dbos"), "sqlite": sqlite3.sqlite_version}
    for mode in ("delete", "wal"):
        told[mode] = _rounds(size, mode)
    return told


def _newer_sqlite() -> str:
    import sqlite3

    if sqlite3.sqlite_version_info >= (3, 42):
        return ""
    if find_spec("pysqlite3") is None:
        return f"DBOS needs SQLite 3.42, Python has {sqlite3.sqlite_version}: pip install pysqlite3-binary"
    import pysqlite3
    import pysqlite3.dbapi2

    sys.modules["sqlite3"], sys.modules["sqlite3.dbapi2"] = pysqlite3, pysqlite3.dbapi2
    return ""


def _rounds(size: Any, mode: str) -> list[tuple[float, float]]:
    from benchmarks.load import Governed, config, scratch, sqlite

    found = []
    with scratch() as folder:
        governed = Governed(config(sqlite(folder)))
        workflow, stop = _dbos(folder, mode)
        calls = 0
        for _ in range(size.rounds):
            ours: list[float] = []
            theirs: list[float] = []
            for _ in range(size.of(12, 2)):
                theirs += _timed(workflow)
                ours += governed.serial(BLOCK)
            calls += len(ours)
            found.append((median(ours), median(theirs)))
        stop()
        governed.check(calls)
        governed.close()
    return found


def _timed(workflow: Any) -> list[float]:
    taken = []
    for number in range(BLOCK):
        began = time.perf_counter()
        workflow(f"Export fails ({number})", 2)
        taken.append(time.perf_counter() - began)
    return taken


def _dbos(folder: Path, mode: str) -> tuple[Any, Any]:
    import sqlite3

    from dbos import DBOS

    from benchmarks.figures import require

    file = folder / "dbos.sqlite"
    connection = sqlite3.connect(file)
    connection.execute(f"PRAGMA journal_mode = {mode}")
    connection.close()
    logging.getLogger("dbos").setLevel(logging.ERROR)
    dbos = DBOS(
        config={
            "name": "bench",
            "system_database_url": f"sqlite:///{file}",
            "run_admin_server": False,
            "log_level": "ERROR",
        }
    )

    @DBOS.step()
    def create(title: str, priority: int) -> dict[str, Any]:
        return {"ticket": title, "priority": priority, "state": "open"}

    @DBOS.workflow()
    def open_ticket(title: str, priority: int) -> dict[str, Any]:
        return create(title, priority)

    DBOS.launch()
    open_ticket("first", 1)
    connection = sqlite3.connect(file)
    found = connection.execute("PRAGMA journal_mode").fetchone()[0]
    connection.close()
    require(found == mode, f"DBOS runs with journal_mode={found}, not {mode}")
    return open_ticket, dbos.destroy


if __name__ == "__main__":
    print(json.dumps(main(quick="--quick" in sys.argv)))
