"""One unit of work on the ledger.

Not a store, and no rule of when to act. Law: reads go through it and are remembered, writes are gathered and land
together at commit or not at all; inside one batch a later unit sees what an earlier one did.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Generic, TypeVar, overload

from interlock.core.approval import Approval
from interlock.core.audit import Entry, Head, Sealed, seal
from interlock.core.budget import Account, AccountKey
from interlock.core.record import Record
from interlock.core.run import Run, Step
from interlock.ports import (
    ApprovalKey,
    CallKey,
    Definition,
    DefinitionKey,
    HeadKey,
    Key,
    Pin,
    PinKey,
    RunKey,
    Session,
    StepKey,
)

T = TypeVar("T")


class Unit(Generic[T]):
    """What to do in a transaction, and the rows that it will surely read, so that a batch loads them at once."""

    __slots__ = ("fn", "keys")

    def __init__(self, keys: Sequence[Key], fn: Callable[[Tx], T]) -> None:
        self.keys = keys
        self.fn = fn


class Tx:
    """The ledger inside one transaction."""

    __slots__ = ("_before", "_fingerprints", "_once", "_rows", "_session", "born", "sealed", "written")

    def __init__(self, session: Session, preload: Sequence[Key] = ()) -> None:
        self._session = session
        self._rows: dict[Key, Any] = dict.fromkeys(preload)
        if preload:
            self._rows.update(session.load(preload))
        self._fingerprints: dict[str, list[CallKey]] = {}
        self._before: dict[CallKey, Record | None] = {}
        self._once: dict[Any, Any] = {}
        self.born: set[RunKey] = set()  #: for the store: the runs that this transaction opens
        self.written: dict[Key, Any] = {}  #: for the store: every key to insert or replace
        self.sealed: list[Sealed] = []  #: for the store: every entry to append, in order

    @overload
    def get(self, key: HeadKey) -> Head | None: ...
    @overload
    def get(self, key: RunKey) -> Run | None: ...
    @overload
    def get(self, key: StepKey) -> Step | None: ...
    @overload
    def get(self, key: CallKey) -> Record | None: ...
    @overload
    def get(self, key: AccountKey) -> Account | None: ...
    @overload
    def get(self, key: ApprovalKey) -> Approval | None: ...
    @overload
    def get(self, key: PinKey) -> Pin | None: ...
    @overload
    def get(self, key: DefinitionKey) -> Definition | None: ...
    def get(self, key: Key) -> Any | None:
        """The value of a key as this transaction sees it, or None."""
        rows = self._rows
        if key not in rows:
            rows[key] = self._session.load((key,)).get(key)
        return rows[key]

    def once(self, read: Callable[[], T]) -> T:
        """A fact that all units of this transaction share, read when the first of them asks."""
        if read not in self._once:
            self._once[read] = read()
        value: T = self._once[read]
        return value

    def put(self, key: Key, value: Any) -> None:
        """Insert or replace one value. Lands with the rest of the transaction, or not at all."""
        if type(key) is CallKey:
            self._fingerprints.setdefault(value.fingerprint, []).append(key)
            if key not in self._before:
                self._before[key] = self.get(key)
        elif type(key) is RunKey and key in self._rows and self._rows[key] is None:
            self.born.add(key)
        self._rows[key] = self.written[key] = value

    def was(self, key: CallKey) -> Record | None:
        """For the store: a call that this transaction writes, as it was before."""
        return self._before[key]

    def append(self, entry: Entry) -> None:
        """Add an entry to its tenant's chain. Lands with the rest of the transaction, or not at all."""
        key = HeadKey(entry.tenant)
        sealed, head = seal(entry, self.get(key) or Head())
        self.put(key, head)
        self.sealed.append(sealed)

    def same(self, tenant: str, run_id: str, fingerprint: str) -> list[Record]:
        """The calls of one run that have this fingerprint, oldest first."""
        found = {_key(record): record for record in self._session.same(tenant, run_id, fingerprint)}
        for key in self._fingerprints.get(fingerprint, ()):
            if key.tenant == tenant and key.run_id == run_id:
                found[key] = self.written[key]
        return self._still(found, fingerprint)

    def same_in_tenant(self, tenant: str, fingerprint: str, since: int) -> list[Record]:
        """The calls of a tenant with this fingerprint whose tools dedupe beyond the run, asked since a time."""
        found = {_key(record): record for record in self._session.same_in_tenant(tenant, fingerprint, since)}
        for key in self._fingerprints.get(fingerprint, ()):
            record = self.written[key]
            if key.tenant == tenant and record.tenant_wide and record.asked_at >= since:
                found[key] = record
        return self._still(found, fingerprint)

    def _still(self, found: dict[CallKey, Record], fingerprint: str) -> list[Record]:
        """Without those that this transaction has given another fingerprint: a person has edited them."""
        return [
            record
            for key, record in found.items()
            if key not in self.written or self.written[key].fingerprint == fingerprint
        ]

    def calls_of(self, tenant: str, run_id: str) -> list[Record]:
        """All calls of a run, oldest first."""
        found = {_key(record): record for record in self._session.calls_of(tenant, run_id)}
        found |= {
            key: value
            for key, value in self.written.items()
            if type(key) is CallKey and key.tenant == tenant and key.run_id == run_id
        }
        return list(found.values())


def _key(record: Record) -> CallKey:
    return CallKey(record.call.tenant, record.call.run_id, record.call.key)
