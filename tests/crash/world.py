"""A small world for tests that kill, share or starve a gateway: a ledger of each kind, tools whose effects are lines in
a file, and what must hold of both at any time.

Not a twin of anything: ledger, gateway and file are real.
"""

from __future__ import annotations

import os
import time
from collections import Counter
from pathlib import Path
from typing import Any

import msgspec
from msgspec import Struct

import interlock
from interlock import CallInfo, Credential, Gateway
from interlock.assemble import SystemClock
from interlock.core.audit import Entry, Kind
from interlock.core.call import MICROS
from interlock.core.lifecycle import State
from interlock.core.record import Record
from interlock.stores.memory import MemoryStore, MemorySwitchBoard
from interlock.stores.postgres import PostgresStore
from interlock.stores.postgres_switches import PostgresSwitchBoard
from interlock.stores.sqlite import SqliteStore
from interlock.stores.sqlite_switches import SqliteSwitchBoard
from tests.crash.points import CrashingBoard, CrashingStore, CrashingVault, Points

TENANT = "acme"
AFTER_THE_LEASE = 20.0  #: seconds
WHO: dict[str, Any] = {"agent": "bot", "tenant": TENANT, "env": "prod"}


class ShiftedClock(SystemClock):
    """The machine's clock, and some time on top of it."""

    def __init__(self, shift: float = 0.0) -> None:
        self.shift = shift

    def now(self) -> int:
        return super().now() + round(self.shift * MICROS)


class Line(Struct, frozen=True):
    """One effect, as it stands in the file."""

    tool: str
    run_id: str
    key: str
    attempt: int
    at: int  #: microseconds of the machine's clock, just before


class Effects:
    """The world outside: a file with a line for each effect, on the disk before the tool returns."""

    def __init__(self, path: str | Path, points: Points | None = None) -> None:
        self._path = str(path)
        self._points = points

    def happen(self, tool: str, info: CallInfo) -> int:
        """One effect. Points: before it, in it, after it."""
        self._reach("effect before")
        line = Line(tool, info.run_id, info.key, info.attempt, SystemClock().now())
        file = os.open(self._path, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
        try:
            os.write(file, msgspec.json.encode(line) + b"\n")
            self._reach("effect inside")
            os.fsync(file)
        finally:
            os.close(file)
        self._reach("effect after")
        return info.attempt

    def _reach(self, point: str) -> None:
        if self._points is not None:
            self._points.reach(point)

    def lines(self) -> list[Line]:
        """What has happened."""
        path = Path(self._path)
        told = path.read_bytes() if path.exists() else b""
        whole = told.split(b"\n")[:-1]  # behind the last line end, somebody may be writing just now
        return [msgspec.json.decode(line, type=Line) for line in whole]


class World(Struct, kw_only=True):
    """Where a ledger is. Can be sent to another process, unless the ledger is in memory."""

    kind: str
    place: str  #: a folder
    url: str = ""  #: of a PostgreSQL ledger
    said: dict[str, Any] = {}  #: what the config says beside the ledger
    memory: Any = None

    @property
    def effects(self) -> Effects:
        """The world outside."""
        return Effects(Path(self.place) / "effects")

    def config(self) -> dict[str, Any]:
        """The config of every gateway of this world."""
        ledger = {"sqlite": f"sqlite:///{self.place}/ledger.db", "postgres": self.url, "memory": "memory:"}[self.kind]
        return {
            "ledger": ledger,
            "lease": "1s",
            "budgets": {
                "max_steps": 1000,
                "max_tool_calls": 10_000,
                "max_seconds": 100_000,
                "max_denials": 1000,
                "max_repeats": 1000,
            },
            "policy": {"allow": ["*"], "rules": [{"id": "people", "tools": ["sign"], "then": "ask"}]},
            "audit": {"key": f"{self.place}/audit.key", "checkpoints": f"{self.place}/checkpoints"},
            "credentials": {"safe": "env:NOWHERE"},
            "logging": {"tool_calls": False, "stop_reasons": False},
            **self.said,
        }

    def stores(self) -> tuple[Any, Any]:
        """The ledger and its switch board, opened anew."""
        if self.kind == "postgres":
            return PostgresStore(self.url), PostgresSwitchBoard(self.url)
        if self.kind == "sqlite":
            path = Path(self.place) / "ledger.db"
            return SqliteStore(path), SqliteSwitchBoard(f"{path}.switches")
        if self.memory is None:
            self.memory = (MemoryStore(), MemorySwitchBoard())
        store, board = self.memory
        return store, board

    def open(self, *, points: Points | None = None, shift: float = 0.0) -> Gateway:
        """A gateway on it, with its tools."""
        store, board = self.stores()
        points = points or Points(lambda: None)
        gateway = interlock.open(
            self.config(), store=CrashingStore(store, points), board=CrashingBoard(board, points),
            vault=CrashingVault(points), clock=ShiftedClock(shift),
        )
        register(gateway, Effects(Path(self.place) / "effects", points))
        return gateway


def register(gateway: Gateway, effects: Effects) -> None:
    """The tools: a write, a write that dedupes on our key, a read, a write that people have
    to approve, and one that takes its time."""

    @gateway.tool("pay", effect="write", credential="safe", dedupe="off", cost={"usd": 0.01})
    def pay(n: int, info: CallInfo, credential: Credential) -> dict[str, int]:
        return {"n": n, "attempt": effects.happen("pay", info)}

    @gateway.tool("upsert", effect="write", dedupe="off", idempotent=True)
    def upsert(n: int, info: CallInfo) -> dict[str, int]:
        return {"n": n, "attempt": effects.happen("upsert", info)}

    @gateway.tool("look", effect="read")
    def look(n: int, info: CallInfo) -> dict[str, int]:
        return {"n": n, "attempt": effects.happen("look", info)}

    @gateway.tool("sign", effect="write")
    def sign(n: int, info: CallInfo) -> dict[str, int]:
        return {"n": n, "attempt": effects.happen("sign", info)}


    @gateway.tool("sleepy", effect="write")
    def sleepy(n: int, info: CallInfo) -> dict[str, int]:
        attempt = effects.happen("sleepy", info)
        time.sleep(0.2)
        return {"n": n, "attempt": attempt}


WRITES = ("pay", "sign", "sleepy")  #: not to be repeated, whatever happens


def records(gateway: Gateway) -> list[Record]:
    """All calls of the tenant."""
    runs = gateway.store.runs(TENANT, limit=1000)
    return [each for run in runs for each in gateway.store.calls_of(TENANT, run.run_id)]


def entries(gateway: Gateway, *kinds: Kind) -> list[Entry]:
    """The audit of the tenant, or the entries of some kinds."""
    return [entry for entry in gateway.audit.entries(TENANT) if not kinds or entry.kind in kinds]


def examine(gateway: Gateway, effects: Effects) -> None:
    """What holds at any time, whoever has died."""
    checked = gateway.audit.verify(TENANT)
    assert checked.ok, checked.problem
    allowed = {(e.run_id, e.key, e.attempt) for e in entries(gateway, Kind.DECIDED) if e.verdict == "allow"}
    lines = effects.lines()
    for line in lines:
        assert (line.run_id, line.key, line.attempt) in allowed, f"{line} happened, and no committed entry allowed it"
    for (tool, run_id, key), times in Counter((line.tool, line.run_id, line.key) for line in lines).items():
        assert tool not in WRITES or times == 1, f"{tool} {run_id} {key} happened {times} times"
    for key, account in gateway.store.accounts(TENANT):
        for amounts in (account.held, account.spent):
            assert min(amounts.steps, amounts.tool_calls, amounts.usd, amounts.tokens) >= 0, (key, account)
    for run in gateway.store.runs(TENANT, limit=1000):
        used = gateway.run(**WHO, run_id=run.run_id).report()
        for unit in (used.steps, used.tool_calls, used.usd, used.tokens):
            assert unit.limit is None or unit.used + unit.held <= unit.limit, used


def settle_everything(gateway: Gateway, effects: Effects) -> None:
    """A person looks at every unknown, and says what they have seen in the file. Then nothing is held any more, and
    what is spent is what has happened."""
    happened = {(line.run_id, line.key) for line in effects.lines()}
    for record in records(gateway):
        call = record.call
        assert record.state is not State.LEASED, f"{call.call_id} is leased after its lease"
        if record.state is State.UNKNOWN:
            gateway.control.reconcile(
                tenant=TENANT, run_id=call.run_id, call_id=call.call_id, by="ops",
                happened=(call.run_id, call.key) in happened, value="seen", note="looked into the file",
            )
    examine(gateway, effects)
    for key, account in gateway.store.accounts(TENANT):
        held = account.held
        assert (held.tool_calls, held.usd) == (0, 0), f"{key} still holds {held}"
    done = Counter(record.call.run_id for record in records(gateway) if record.state is State.DONE)
    for run_id, calls in done.items():
        used = gateway.run(**WHO, run_id=run_id).report()
        assert used.tool_calls.used >= calls, f"{calls} calls are done, {used.tool_calls.used} are spent"
