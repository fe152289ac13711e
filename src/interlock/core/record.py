"""What the ledger keeps of a call.

Not the audit, which is never changed. Law: a record's state moves by `lifecycle.move` alone.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from msgspec import Raw, Struct

from interlock.core.budget import Hold
from interlock.core.call import ToolCall
from interlock.core.lifecycle import State
from interlock.core.verdict import Decision

NO_RESULT = Raw(b"")  #: nothing is known to have been returned; `null` is something


class Lease(Struct, frozen=True, gc=False):
    """The right to perform one call, once, until a time. `lease_id` tells one owner from the next."""

    lease_id: str
    until: int


class Record(Struct, frozen=True, gc=False, kw_only=True, omit_defaults=True):
    """One call, as far as it has come. `version` is of this shape: see `tests/corpus`."""

    call: ToolCall  #: as it was made
    fingerprint: str
    state: State
    decision: Decision
    asked_at: int
    version: int = 1
    edited: Mapping[str, Any] | None = None  #: the arguments performed, where a person edited them
    approval_id: str | None = None
    lease: Lease | None = None
    hold: Hold | None = None
    result: Raw = NO_RESULT  #: what the tool returned, as JSON
    error: str = ""  #: why it failed, or is unknown; redacted
    told: str = ""  #: what a model is told instead, where the error names what only operators may know
    of: str = ""  #: REPEATED: key of the call that answers for it
    of_run: str = ""  #: REPEATED: the run of that call
    settled_at: int | None = None
    attempts: int = 0
    tenant_wide: bool = False  #: its fingerprint answers for other runs of the tenant too
    writes: bool = False  #: a lost reply leaves a doubt about the world
    trusted: bool = False  #: what it returned may be trusted as the user's own words are

    @property
    def args(self) -> Mapping[str, Any]:
        """The arguments to perform."""
        return self.call.args if self.edited is None else self.edited
