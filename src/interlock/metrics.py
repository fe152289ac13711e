"""Numbers for Prometheus: what was decided, how calls ended, how long they took, how full the ledger's batches are.

Not the audit, and not the ledger: counters begin at nothing with each process. Law: no name that a caller invents
becomes a label, so that nobody can fill the memory with them; what stands in the ledger (holds, waiting approvals) is
read when it is asked for, and is never counted along.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING

from prometheus_client import CollectorRegistry, Counter, Histogram, generate_latest
from prometheus_client.core import GaugeMetricFamily
from prometheus_client.multiprocess import MultiProcessCollector
from prometheus_client.registry import Collector

from interlock.core.approval import Standing
from interlock.core.audit import SYSTEM
from interlock.core.budget import UNITS, Window
from interlock.core.call import MICROS

if TYPE_CHECKING:
    from interlock.core.outcome import Outcome
    from interlock.gateway import Gateway

SECONDS = (0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60)
UNKNOWN_TOOL = "(not registered)"


class Metrics:
    """The counters of one gateway. Made by whoever serves; a gateway without it counts nothing."""

    def __init__(self, gateway: Gateway) -> None:
        self._gateway = gateway
        self._registry = CollectorRegistry()
        self._calls = Counter(
            "interlock_calls", "Tool calls by how they ended, and by the verdict.", ("tool", "outcome", "verdict"),
            registry=self._registry,
        )
        self._seconds = Histogram(
            "interlock_call_seconds", "From the wish to the outcome.", ("tool",), buckets=SECONDS,
            registry=self._registry,
        )
        self._stops = Counter("interlock_runs_stopped", "Runs by why they ended.", ("reason",), registry=self._registry)
        self._batch = Histogram(
            "interlock_ledger_batch_units", "Transactions of calls that shared one commit.",
            buckets=(1, 2, 4, 8, 16, 32, 64, 128, 256, 512), registry=self._registry,
        )
        self._commit = Histogram(
            "interlock_ledger_commit_seconds", "One commit of the ledger.", buckets=SECONDS, registry=self._registry
        )
        self._of: dict[tuple[str, str, str], Callable[[float], None]] = {}  # what counts one kind of outcome
        self._now = CollectorRegistry()
        self._now.register(_Standing(gateway))
        gateway.telemetry.metrics = self
        gateway.committer.landed = self.landed

    def called(self, tool: str, outcome: Outcome, seconds: float) -> None:
        """A call has its outcome."""
        key = (tool if tool in self._gateway.tools else UNKNOWN_TOOL, outcome.kind, outcome.decision.verdict.word)
        count = self._of.get(key)
        if count is None:
            count = self._of[key] = self._counting(*key)
        count(seconds)

    def _counting(self, tool: str, kind: str, verdict: str) -> Callable[[float], None]:
        inc, observe = self._calls.labels(tool, kind, verdict).inc, self._seconds.labels(tool).observe

        def count(seconds: float) -> None:
            inc()
            observe(seconds)

        return count

    def stopped(self, reason: str) -> None:
        """A run has stopped."""
        self._stops.labels(reason).inc()

    def landed(self, units: int, seconds: float) -> None:
        """A batch was committed."""
        self._batch.observe(units)
        self._commit.observe(seconds)

    def page(self) -> bytes:
        """All of it in Prometheus' text format; of several workers (PROMETHEUS_MULTIPROC_DIR), the sum."""
        counted = self._registry
        if "PROMETHEUS_MULTIPROC_DIR" in os.environ:
            counted = CollectorRegistry()
            MultiProcessCollector(counted)  # type: ignore[no-untyped-call]
        return generate_latest(counted) + generate_latest(self._now)


class _Standing(Collector):
    """What the ledger says at this moment."""

    def __init__(self, gateway: Gateway) -> None:
        self._gateway = gateway

    def collect(self) -> Iterator[GaugeMetricFamily]:
        store, now = self._gateway.store, self._gateway.clock.now()
        waiting = GaugeMetricFamily("interlock_approvals_waiting", "Approvals that wait.", labels=("tenant",))
        counts: dict[str, int] = {}
        for approval in store.approvals(standing=Standing.WAITING):
            counts[approval.tenant] = counts.get(approval.tenant, 0) + 1
        for tenant, count in sorted(counts.items()):
            waiting.add_metric((tenant,), count)
        held = GaugeMetricFamily(
            "interlock_held", "Set aside in the windows that run now; usd in dollars.",
            labels=("tenant", "scope", "subject", "window", "unit"),
        )
        for tenant in store.tenants():
            if tenant == SYSTEM:
                continue
            for key, account in store.accounts(tenant, Window.MONTH.start(now)):
                if key.window is Window.RUN or key.start != key.window.start(now):
                    continue
                for unit in UNITS:
                    amount = getattr(account.held, unit)
                    labels = (tenant, key.scope, key.subject, key.window, unit)
                    held.add_metric(labels, amount / MICROS if unit == "usd" else amount)
        switches = GaugeMetricFamily("interlock_kill_switches", "Kill switches in force.")
        switches.add_metric((), len(self._gateway.board.active()))
        yield from (waiting, held, switches)
