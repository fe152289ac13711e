"""The yardstick on SQLite: what a loop costs that writes one row before its effect and one after, and nothing else."""

from __future__ import annotations

import sqlite3
import time
from pathlib import Path

ROW = '{"tenant":"acme","run":"run_1","call":"c1","tool":"ticket.create","args":{"body":"' + "x" * 400 + '"}}'


class Bare:
    """Two transactions of one insert each, for each "call": the same library, durability and disk as the ledger."""

    def __init__(self, path: Path, synchronous: str = "full") -> None:
        self._connection = sqlite3.connect(path, isolation_level=None)
        self._connection.execute("PRAGMA journal_mode = WAL")
        self._connection.execute(f"PRAGMA synchronous = {synchronous}")
        self._connection.execute("CREATE TABLE log (id INTEGER PRIMARY KEY, at REAL NOT NULL, body TEXT NOT NULL)")

    def serial(self, calls: int) -> list[float]:
        """One caller: seconds of each pair."""
        taken, clock, execute = [], time.perf_counter, self._connection.execute
        for _ in range(calls):
            began = clock()
            execute("INSERT INTO log (at, body) VALUES (?, ?)", (began, ROW))
            execute("INSERT INTO log (at, body) VALUES (?, ?)", (began, ROW))
            taken.append(clock() - began)
        return taken

    def close(self) -> None:
        """Let go of the file."""
        self._connection.close()
