"""The normal form of a run's audit, the same on every runtime.

Not the audit. Law: only the order between model turns counts; what was answered from the record is left out, because it
changes nothing, and so are refusals after a stop, which says it all.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable

from interlock.core.audit import Entry, Kind

_PLAIN = {
    Kind.APPROVED: "approved", Kind.REJECTED: "rejected", Kind.EXPIRED: "expired", Kind.RUN_STOPPED: "stopped",
}


def normal(entries: Iterable[Entry], run_id: str) -> list[str]:
    """The audit of one run: its model turns, and between them, sorted, each call with all that was said of it."""
    lines: list[str] = []
    batch: dict[str, list[str]] = {}
    names: dict[str, str] = {}
    stops: list[str] = []

    def close() -> None:
        lines.extend(sorted(f"  {names[key]}: {' '.join(said)}" for key, said in batch.items()))
        batch.clear()

    for entry in entries:
        if entry.run_id != run_id:
            continue
        if entry.kind is Kind.STEP_BEGAN:
            close()
            lines.append("step")
        elif entry.kind is Kind.STEP_ENDED:
            lines[-1] += f" {entry.tokens}{' lost' if entry.detail.get('lost') else ''}"
        elif entry.kind is Kind.RUN_STOPPED:
            stops.append(f"stopped {entry.outcome}")
        elif entry.kind is Kind.DECIDED and entry.verdict in ("allow", "ask", "deny"):
            names.setdefault(entry.call_id, f"{entry.tool} {json.dumps(json.loads(bytes(entry.args)))}")
            said = batch.setdefault(entry.call_id, [])
            if entry.verdict != "ask" or said[-1:] != ["ask"]:
                said.append(entry.verdict)
        elif entry.kind is Kind.SETTLED:
            batch.setdefault(entry.call_id, []).append(entry.outcome)
        elif entry.kind in _PLAIN:
            batch.setdefault(entry.call_id, []).append(_PLAIN[entry.kind])
    close()
    return lines + stops


def counted(audit: Iterable[str]) -> Counter[str]:
    """How often each was said, whatever the arguments: for batches of which only some may pass."""
    return Counter(f"{line.split(' {')[0].strip()}: {line.rsplit(': ', 1)[-1]}" for line in audit if ": " in line)
