"""What was recorded of runs is taken out of the ledger once its time is over.

Not the audit, which stays, with its digests, and not the calls, whose keys still answer. Law: a turn, and what a tool
returned, goes `recording: keep:` after it came, whatever its run does; where it stood, the ledger says so. It is done
page by page, from the newest run that can be due to the oldest, and from the start again.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from msgspec import Raw
from msgspec.structs import replace

from interlock import bookings
from interlock.core.audit import Entry, Kind
from interlock.core.run import Run
from interlock.ports import CallKey, HeadKey, RunKey, StepKey
from interlock.unit import Tx, Unit

if TYPE_CHECKING:
    from interlock.gateway import Gateway

PAGE = 200  #: runs that are looked at in one go
FORGOTTEN = b'{"interlock":"forgotten"}'  #: stands where a result was


class Retention:
    """Of one gateway."""

    def __init__(self, gateway: Gateway) -> None:
        self._gateway = gateway
        self._before: int | None = None  #: where the next page begins; None: at the newest run that can be due

    def page(self) -> int:
        """Go through one page of runs. Gives how many turns and results were taken out."""
        gateway, config = self._gateway, self._gateway.config
        now = gateway.clock.now()
        newest = now - min([config.recording.keep, *(each.keep for each in config.recordings.values())])
        before = newest if self._before is None else min(self._before, newest)
        runs = gateway.store.runs(limit=PAGE, before=before)
        self._before = runs[-1].opened_at if len(runs) == PAGE else None
        return sum(self._forget(run, now - config.recording_of(run.tenant).keep) for run in runs)

    def _forget(self, run: Run, end: int) -> int:
        """Of one run, what came before a time."""
        if run.forgotten or run.opened_at >= end:
            return 0
        store = self._gateway.store
        steps = [step for step in store.steps_of(run.tenant, run.run_id) if step.asking is not None]
        kept = [record for record in store.calls_of(run.tenant, run.run_id) if bytes(record.result) not in _NOTHING]
        old = [StepKey(run.tenant, run.run_id, each.step_id) for each in steps if (each.ended_at or end) < end]
        results = [bookings.call_key(each) for each in kept if (each.settled_at or end) < end]
        whole = run.stop_reason is not None and len(old) == len(steps) and len(results) == len(kept)
        if not (old or results or whole):
            return 0
        key = RunKey(run.tenant, run.run_id)
        unit = Unit((HeadKey(run.tenant), key, *old, *results), lambda tx: self._take_out(tx, key, old, results, whole))
        taken: int = self._gateway.committer.run(unit)
        return taken

    def _take_out(self, tx: Tx, key: RunKey, steps: list[StepKey], results: list[CallKey], whole: bool) -> int:
        run, turns, values = tx.get(key), 0, 0
        for of_step in steps:
            step = tx.get(of_step)
            if step is not None and step.asking is not None:
                tx.put(of_step, replace(step, asking=None, forgotten=True))
                turns += 1
        for of_call in results:
            record = tx.get(of_call)
            if record is not None and bytes(record.result) not in _NOTHING:
                tx.put(of_call, replace(record, result=Raw(FORGOTTEN)))
                values += 1
        if run is None:
            return 0
        if whole and not run.forgotten:
            tx.put(key, replace(run, forgotten=True))
        if turns or values:
            tx.append(
                Entry(
                    tenant=run.tenant, at=self._gateway.clock.now(), kind=Kind.FORGOTTEN, run_id=run.run_id,
                    agent=run.agent, env=run.env, runtime=run.runtime, detail={"turns": turns, "results": values},
                )
            )
        return turns + values


_NOTHING = (b"", FORGOTTEN)
