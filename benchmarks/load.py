"""The governed load: a gateway with a realistic config, its callers, and the checks that its numbers stand on.

Everything goes through the public face. What a call has here: a policy of ten rules, a JSON Schema, dedupe inside the
run, a price, and two budget accounts: its run's, and its tenant's for the month, which limits calls and dollars.
"""

import asyncio
import itertools
import shutil
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import interlock
from benchmarks.figures import require
from interlock.core.budget import Window

TENANT = "acme"
HERE = Path(__file__).resolve().parent.parent
SCRATCH = HERE / ".cache" / "bench"
BODY = "The export of last month's invoices fails with error 502 since this morning; two customers have asked. " * 2

_numbers = itertools.count(1)


@contextmanager
def scratch() -> Iterator[Path]:
    """A folder on the disk of the checkout, gone afterwards."""
    SCRATCH.mkdir(parents=True, exist_ok=True)
    folder = Path(tempfile.mkdtemp(dir=SCRATCH))
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def config(ledger: Any, *, quota: int = 100_000_000) -> dict[str, Any]:
    """A config as a team would have it; limits high enough for the load."""
    return {
        "ledger": ledger,
        "budgets": {"max_steps": 25, "max_tool_calls": 1_000_000, "max_seconds": 86_400, "max_denials": 1_000_000},
        "policy": {
            "allow": ["ticket.create", "ticket.acreate", "ticket.read", "kb.*"],
            "rules": [
                {"id": "trial", "tools": ["ticket.*"], "tenants": ["trial-*"], "then": "ask"},
                {"id": "staging", "tools": ["ticket.*"], "envs": ["staging"], "then": "deny"},
                {"id": "intern", "tools": ["ticket.*"], "agents": ["intern-*"], "then": "ask"},
                {"id": "refunds", "tools": ["refund.*"], "then": "ask"},
            ],
            "risk": {"high": "ask", "critical": "deny"},
        },
        "tools": {"ticket.*": {"cost": {"usd": 0.000002}}},
        "tenants": {TENANT: {"budgets": {"tool_calls_per_month": quota, "usd_per_month": 1_000_000}}},
    }


def on_postgres(url: str, folder: Path, *, quota: int = 100_000_000) -> dict[str, Any]:
    """The same on PostgreSQL. Its checkpoints, and the key that signs them, lie in the folder."""
    name = url.rpartition("/")[2]
    audit = {"key": str(folder / f"{name}.key"), "checkpoints": str(folder / f"{name}.checkpoints")}
    return config(url, quota=quota) | {"audit": audit}


def sqlite(folder: Path, synchronous: str = "full") -> dict[str, Any]:
    """A fresh SQLite ledger in a folder, as the config names it."""
    return {"url": f"sqlite:///{folder / f'ledger-{next(_numbers)}.db'}", "synchronous": synchronous}


class Governed:
    """A gateway under load. Counts every effect by the call that made it."""

    def __init__(self, settings: dict[str, Any], *, remembers: bool = True) -> None:
        self.gateway = interlock.open(settings)
        self.effects: Counter[str] = Counter()
        self.performed = 0
        self.last_begun = 0.0
        self._remembers = remembers

        @self.gateway.tool("ticket.create", effect="write", risk="medium")
        def create(title: str, body: str, priority: int, call: interlock.CallInfo) -> dict[str, Any]:
            """Open a ticket."""
            return self._happen(call, title, body, priority)

        @self.gateway.tool("ticket.acreate", effect="write", risk="medium")
        async def acreate(title: str, body: str, priority: int, call: interlock.CallInfo) -> dict[str, Any]:
            """Open a ticket."""
            return self._happen(call, title, body, priority)

    def _happen(self, call: interlock.CallInfo, title: str, body: str, priority: int) -> dict[str, Any]:  # noqa: ARG002
        self.performed += 1
        self.last_begun = time.perf_counter()
        if self._remembers:
            self.effects[f"{call.run_id} {call.key}"] += 1
        return {"ticket": self.performed, "state": "open"}

    def run(self, tenant: str = TENANT) -> interlock.Run:
        """A run of one agent."""
        return self.gateway.run(agent="support-bot", tenant=tenant, env="prod")

    def close(self) -> None:
        """Let go of it."""
        self.gateway.close()

    # --- callers -----------------------------------------------------------------------------------------------------

    def serial(self, calls: int, tenant: str = TENANT) -> list[float]:
        """One sync caller, one run: seconds of each call."""
        run, taken, clock = self.run(tenant), [], time.perf_counter
        for number in range(calls):
            args = arguments(number)
            began = clock()
            outcome = run.call("ticket.create", args, call_id=f"c{number}")
            taken.append(clock() - began)
            require(outcome.kind == "done", f"a call of the load was {outcome.kind}: {outcome.text}")
        return taken

    async def together(self, callers: int, calls: int, tenant: str = TENANT) -> tuple[float, list[float]]:
        """Async callers side by side, each with its own run: seconds of it all, and of each call."""
        runs = [self.run(tenant) for _ in range(callers)]
        taken: list[float] = []
        clock = time.perf_counter

        async def call(run: interlock.Run) -> None:
            for number in range(calls):
                args = arguments(number)
                began = clock()
                outcome = await run.acall("ticket.acreate", args, call_id=f"c{number}")
                taken.append(clock() - began)
                require(outcome.kind == "done", f"a call of the load was {outcome.kind}: {outcome.text}")

        began = clock()
        await asyncio.gather(*(call(run) for run in runs))
        return clock() - began, taken

    # --- checks ------------------------------------------------------------------------------------------------------

    def check(self, calls: int, tenant: str = TENANT) -> None:
        """Raises Wrong unless every call of the load happened once, was booked once, and can be proven."""
        require(self.performed == calls, f"{self.performed} effects for {calls} calls")
        require(len(self.effects) == calls, f"{calls - len(self.effects)} calls share their effect with another one")
        if tenant == TENANT:
            months = [account for key, account in self.gateway.store.accounts(tenant) if key.window is Window.MONTH]
            spent, held = sum(each.spent.tool_calls for each in months), sum(each.held.tool_calls for each in months)
            require((spent, held) == (calls, 0), f"{calls} calls, but {spent} are booked as spent and {held} as held")
        decided, settled = set(), set()
        for entry in self.gateway.audit.entries(tenant):
            if entry.kind == "decided" and entry.verdict == "allow":
                decided.add(f"{entry.run_id} {entry.key}")
            elif entry.kind == "settled" and entry.outcome == "done":
                settled.add(f"{entry.run_id} {entry.key}")
        require(decided == settled == set(self.effects), "the audit does not tell of every effect, before and after it")
        verified = self.gateway.audit.verify(tenant)
        require(verified.ok, f"the audit does not verify: {verified.text}")
        self._answer_again()

    def _answer_again(self) -> None:
        """The same call, sent once more, is answered from the record."""
        run_id, key = next(reversed(self.effects)).split()
        run = self.gateway.run(agent="support-bot", tenant=TENANT, env="prod", run_id=run_id)
        tool = self.gateway.store.calls_of(TENANT, run_id)[0].call.tool
        before = self.performed
        outcome = run.call(tool, arguments(int(key[1:])), call_id=key)
        require(outcome.replayed and self.performed == before, "a call that was sent again was performed again")


def arguments(number: int) -> dict[str, Any]:
    """What a model would send, another one for each call."""
    return {"title": f"Export fails ({number})", "body": BODY, "priority": 2}
