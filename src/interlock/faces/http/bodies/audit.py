"""The audit as it goes over the wire.

Not the log (`audit_log.py`). Law: an entry is shown by its fields; the bytes that its hash covers are in the
export alone.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from msgspec import Struct, json, structs

from interlock.core.audit import Entry, Kind
from interlock.faces.http.bodies.calls import ReasonView, reason_view
from interlock.faces.http.bodies.shared import Count, Limit, Name, OfTenant


class ListEntries(OfTenant, frozen=True, kw_only=True):
    """`after`: the number of the entry before the first."""

    run_id: Name | None = None
    after: Count = 0
    limit: Limit = 100


class EntryView(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One line of the audit; what does not concern it is left out. The bytes that its hash covers are in the export."""

    tenant: str
    seq: int
    at: int
    kind: Kind
    prev: str
    v: int
    by: str = ""
    note: str = ""
    run_id: str = ""
    step_id: str = ""
    call_id: str = ""
    key: str = ""
    agent: str = ""
    env: str = ""
    runtime: str = ""
    tool: str = ""
    verdict: str = ""
    reasons: list[ReasonView] = []
    policy_version: str = ""
    outcome: str = ""
    args: Mapping[str, Any] = {}
    args_digest: str = ""
    result_digest: str = ""
    schema_digest: str = ""
    error: str = ""
    approval_id: str = ""
    attempt: int = 0
    usd: int = 0
    tokens: int = 0
    detail: Mapping[str, Any] = {}


def entry_view(entry: Entry) -> EntryView:
    """An entry for the wire."""
    told = structs.asdict(entry)
    told |= {"args": json.decode(entry.args), "reasons": [reason_view(each) for each in entry.reasons]}
    return EntryView(**told)


class Entries(Struct, frozen=True):
    """In order. `next` is what to ask `after`; None where the end was reached."""

    entries: list[EntryView]
    next: int | None


class Verified(Struct, frozen=True, kw_only=True):
    """What the verifier found. `first_bad`: the number of the first entry that cannot be believed."""

    ok: bool
    tenant: str
    entries: int
    head: str
    text: str  #: all of it in one line
    first_bad: int | None
    remarks: list[str]


class ListCheckpoints(OfTenant, frozen=True, kw_only=True):
    """How many, at most."""

    limit: Limit = 100


class Checkpoints(Struct, frozen=True):
    """The texts of signed notes, the newest first."""

    notes: list[str]


class Checkpoint(Struct, frozen=True):
    """The text of a signed note: keep it where the ledger is not."""

    note: str
