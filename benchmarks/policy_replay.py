"""`policy_replay`: another policy asked about 1,000,000 recorded calls, on SQLite.

The ledger is filled with the rows that governed calls leave, in runs of 25 calls, half of them of one tenant and the
others of 99. The policy that is asked has a dozen rules, one of them with a condition over the arguments.
"""

from __future__ import annotations

import resource
import time
from collections.abc import Iterator
from typing import Any

from benchmarks.figures import Figure, Size, figure, require
from benchmarks.load import BODY, TENANT, config, scratch
from interlock import policy_replay as again
from interlock.config import load
from interlock.core.audit import SYSTEM
from interlock.core.budget import Limits
from interlock.core.call import MICROS, Effect, Tool, ToolCall
from interlock.core.lifecycle import State
from interlock.core.record import Record
from interlock.core.run import Run
from interlock.core.verdict import Decision, Reason, Verdict
from interlock.ports import CallKey, Definition, DefinitionKey, HeadKey, RunKey
from interlock.stores.sqlite import SqliteStore
from interlock.unit import Tx, Unit

OF_A_RUN = 25  #: calls
BATCH = 200  #: runs that are written at once
NOW = 1_800_000_000 * MICROS
TOOLS = [f"ticket.t{number}" for number in range(20)]
ALLOWED = Decision(Verdict.ALLOW, (Reason("policy", Verdict.ALLOW, "allowed by all", "policy.allow[ticket.*]"),), "v1")


def policy_replay(size: Size) -> Iterator[Figure]:
    """Seconds for all of it, and what the process has grown by."""
    calls = size.of(1_000_000, 20_000)
    seconds: list[float] = []
    with scratch() as folder:
        store = SqliteStore(folder / "ledger.db", synchronous="off")
        for first in range(0, calls // OF_A_RUN, BATCH):
            store.transact([_runs(range(first, min(first + BATCH, calls // OF_A_RUN)))])
        asked = load(_asked())
        last = calls // OF_A_RUN * 9 // 10  # the newest tenth first: with it SQLite's own cache is as full as it gets
        again.policy_replay(store, asked, since=NOW + last * MICROS)
        before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        for _ in range(size.of(2, 1)):
            began = time.perf_counter()
            found = again.policy_replay(store, asked, since=0)
            seconds.append(time.perf_counter() - began)
            _check(found, calls)
        grown = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 1024
        store.close()
    per_million = [each * 1_000_000 / calls for each in seconds]
    yield figure(
        "another policy asked about a million recorded calls", per_million, unit="s", at_most=60.0, stretch=20.0,
        seen={"calls_per_s": calls / min(seconds), "calls": calls},
    )
    yield figure("memory that it grows by, from a tenth of them to all", [grown], unit="MiB", at_most=32.0)


def _runs(numbers: range) -> Unit[None]:
    """These runs, with their calls."""

    def write(tx: Tx) -> None:
        for name in TOOLS:
            effect = Effect.READ if name.endswith("0") else Effect.WRITE
            tool = Tool(name=name, effect=effect)
            key = DefinitionKey(SYSTEM, name, tool.schema_digest)
            tx.put(key, Definition(name=name, digest=tool.schema_digest, at=NOW, tool=tool, said=("effect",)))
        for number in numbers:
            _run(tx, number, TENANT if number % 2 else f"tenant-{number % 99:02}")

    tenants = {TENANT if number % 2 else f"tenant-{number % 99:02}" for number in numbers}
    return Unit([HeadKey(SYSTEM), *(HeadKey(tenant) for tenant in tenants)], write)


def _run(tx: Tx, number: int, tenant: str) -> None:
    at, run_id = NOW + number * MICROS, f"run_{number:011x}"
    run = Run(
        tenant=tenant, run_id=run_id, agent="support-bot", env="prod", opened_at=at, deadline=at + 300 * MICROS,
        max_seconds=300 * MICROS, limits=Limits(steps=25, tool_calls=12), max_denials=5, max_repeats=3,
        policy_version="v1", steps=OF_A_RUN, request=BODY,
    )
    tx.put(RunKey(tenant, run_id), run)
    for place in range(OF_A_RUN):
        key = f"c{place}"
        call = ToolCall(
            tenant=tenant, agent="support-bot", env="prod", run_id=run_id, tool=TOOLS[place % len(TOOLS)],
            args={"title": f"Export fails ({number})", "body": BODY, "amount": float(place * 10)}, call_id=key, key=key,
            step_id=f"s{place + 1}",
        )
        record = Record(
            call=call, fingerprint=f"{number:032x}{place:032x}", state=State.DONE, decision=ALLOWED,
            asked_at=at + place, settled_at=at + place + 1, attempts=1, writes=True,
        )
        tx.put(CallKey(tenant, run_id, key), record)


def _asked() -> dict[str, Any]:
    asked = config("memory:")
    asked["policy"]["allow"] = ["ticket.*", "kb.*"]
    asked["policy"]["rules"] += [{"id": f"other-{name}", "tools": [name], "then": "deny"} for name in ("a.b", "c.d")]
    asked["policy"]["rules"].append(
        {"id": "large", "tools": ["ticket.*"], "effects": ["write"], "when": "args.amount > 100.0", "then": "ask"}
    )
    return asked


def _check(found: again.PolicyReplay, calls: int) -> None:
    """Of the 25 calls of a run, those with an amount above 100 are asked about, where the tool writes: 13."""
    asked = sum(line.calls for line in found.lines if line.now == "ask")
    require(found.calls == calls, f"{found.calls} calls were weighed, not {calls}")
    require(asked == calls // OF_A_RUN * 13, f"{asked} calls would be asked about, not 13 of each run")
