"""The ledger in this process's memory: for tests, and for agents whose record may vanish with the process.

Not durable, and not shared with other processes. Law: it keeps the same promises otherwise, and keeps bytes, so that
whoever reads a value gets a new one, and nobody can change what the ledger holds.
"""

from __future__ import annotations

import threading
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

import msgspec

from interlock.core.approval import Approval, Standing
from interlock.core.audit import Head, Sealed
from interlock.core.budget import Account, AccountKey
from interlock.core.lifecycle import State
from interlock.core.record import Record
from interlock.core.run import Run, Step
from interlock.core.switch import Switch
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
    StepKey,
)
from interlock.unit import Tx, Unit

PAGE = 500  #: entries copied at once

_encode = msgspec.json.Encoder().encode
_DECODE: dict[type, Any] = {
    key: msgspec.json.Decoder(value).decode
    for key, value in {
        HeadKey: Head,
        RunKey: Run,
        StepKey: Step,
        CallKey: Record,
        AccountKey: Account,
        ApprovalKey: Approval,
        PinKey: Pin,
        DefinitionKey: Definition,
    }.items()
}
_as_switch = msgspec.json.Decoder(Switch).decode

_Fingerprint = tuple[str, str, str]  #: tenant, run (or "" beside a tenant-wide call's), fingerprint


class MemoryStore:
    """A `ports.Store` that lives as long as this object, closed or not: closing and going on is reopening."""

    quick = True

    def __init__(self) -> None:
        self._lock = threading.RLock()
        self._rows: dict[type, dict[Key, bytes]] = {kind: {} for kind in _DECODE}
        self._audit: dict[str, list[Sealed]] = {}
        self._calls: dict[tuple[str, str], dict[CallKey, None]] = {}  #: the calls of a run
        self._steps: dict[tuple[str, str], dict[StepKey, None]] = {}  #: likewise
        self._same: dict[_Fingerprint, dict[CallKey, None]] = {}
        self._leased: dict[CallKey, int] = {}  #: until when
        self._inside = False

    def transact(self, units: Sequence[Unit[Any]], *, wait: bool = True) -> list[Any]:  # noqa: ARG002  nobody else is
        """See `ports.Store`."""
        with self._lock:
            if self._inside:
                raise RuntimeError("a unit of work began a transaction of its own; use the Tx that it was given")
            self._inside = True
            try:
                tx = Tx(_Session(self), list(dict.fromkeys(key for unit in units for key in unit.keys)))
                values = [unit.fn(tx) for unit in units]
                encoded = {key: _encode(value) for key, value in tx.written.items()}  # may raise; nothing has landed
                self._land(tx, encoded)
                return values
            finally:
                self._inside = False

    def _land(self, tx: Tx, encoded: Mapping[Key, bytes]) -> None:
        for key, body in encoded.items():
            self._rows[type(key)][key] = body
            if type(key) is CallKey:
                self._index(key, tx.written[key])
            elif type(key) is StepKey:
                self._steps.setdefault(key[:2], {})[key] = None
        for entry in tx.sealed:
            self._audit.setdefault(entry.tenant, []).append(entry)

    def _index(self, key: CallKey, record: Record) -> None:
        self._calls.setdefault((key.tenant, key.run_id), {})[key] = None
        self._same.setdefault((key.tenant, key.run_id, record.fingerprint), {})[key] = None
        if record.tenant_wide:
            self._same.setdefault((key.tenant, "", record.fingerprint), {})[key] = None
        if record.state is State.LEASED and record.lease is not None:
            self._leased[key] = record.lease.until
        else:
            self._leased.pop(key, None)

    def load(self, key: Key) -> Any | None:
        """See `ports.Store`."""
        with self._lock:
            return self._get(key)

    def calls_of(self, tenant: str, run_id: str) -> Sequence[Record]:
        """See `ports.Store`."""
        return self._records(self._calls.get((tenant, run_id), ()))

    def steps_of(self, tenant: str, run_id: str) -> Sequence[Step]:
        """See `ports.Store`."""
        with self._lock:
            found = [self._get(key) for key in self._steps.get((tenant, run_id), ())]
        return sorted(found, key=lambda step: step.place)

    def runs(self, tenant: str | None = None, *, limit: int = 100, before: int | None = None) -> Sequence[Run]:
        """See `ports.Store`."""
        runs = [run for run in self._all(RunKey, tenant) if before is None or run.opened_at < before]
        return sorted(runs, key=lambda run: (-run.opened_at, run.run_id))[:limit]

    def approvals(self, tenant: str | None = None, standing: Standing | None = None) -> Sequence[Approval]:
        """See `ports.Store`."""
        found = [each for each in self._all(ApprovalKey, tenant) if standing is None or each.standing is standing]
        return sorted(found, key=lambda each: (each.asked_at, each.approval_id))

    def find_approval(self, approval_id: str) -> Approval | None:
        """See `ports.Store`."""
        return next((each for each in self._all(ApprovalKey) if each.approval_id == approval_id), None)

    def lapsed(self, now: int, limit: int = 100) -> Sequence[Record]:
        """See `ports.Store`."""
        with self._lock:
            late = sorted((until, key) for key, until in self._leased.items() if until < now)[:limit]
            return [self._get(key) for _, key in late]

    def accounts(self, tenant: str, since: int = 0) -> Iterable[tuple[AccountKey, Account]]:
        """See `ports.Store`."""
        with self._lock:
            keys = [key for key in self._rows[AccountKey] if type(key) is AccountKey and key.tenant == tenant]
            return [(key, self._get(key)) for key in keys if key.start >= since]

    def pins(self) -> Sequence[Pin]:
        """See `ports.Store`."""
        return sorted(self._all(PinKey), key=lambda pin: pin.tool)

    def definitions(self) -> Sequence[Definition]:
        """See `ports.Store`."""
        return sorted(self._all(DefinitionKey), key=lambda each: (each.name, each.at))

    def tenants(self) -> Sequence[str]:
        """See `ports.Store`."""
        with self._lock:
            return sorted(self._audit)

    def entries(self, tenant: str, after: int = 0, limit: int | None = None) -> Iterator[Sealed]:
        """See `ports.Store`."""
        end = None if limit is None else after + limit
        while end is None or after < end:
            with self._lock:
                page = self._audit.get(tenant, [])[after : after + PAGE if end is None else min(end, after + PAGE)]
            if not page:
                return
            yield from page
            after += len(page)

    def close(self) -> None:
        """See `ports.Store`."""

    def _get(self, key: Key) -> Any:
        body = self._rows[type(key)].get(key)
        return None if body is None else _DECODE[type(key)](body)

    def _all(self, kind: type, tenant: str | None = None) -> list[Any]:
        with self._lock:
            return [self._get(key) for key in self._rows[kind] if tenant is None or key.tenant == tenant]

    def _alike(self, tenant: str, run_id: str, fingerprint: str) -> list[Record]:
        found = self._records(self._same.get((tenant, run_id, fingerprint), ()))
        return [record for record in found if record.fingerprint == fingerprint]  # written again, it may have another

    def _records(self, keys: Iterable[CallKey]) -> list[Record]:
        with self._lock:
            found = [self._get(key) for key in keys]
        return sorted(found, key=lambda record: (record.asked_at, record.call.key))


class _Session:
    """A `ports.Session` on a store whose lock is held."""

    def __init__(self, store: MemoryStore) -> None:
        self._store = store

    def load(self, keys: Sequence[Key]) -> Mapping[Key, Any]:
        return {key: value for key in keys if (value := self._store._get(key)) is not None}

    def same(self, tenant: str, run_id: str, fingerprint: str) -> Sequence[Record]:
        return self._store._alike(tenant, run_id, fingerprint)

    def same_in_tenant(self, tenant: str, fingerprint: str, since: int) -> Sequence[Record]:
        found = self._store._alike(tenant, "", fingerprint)
        return [record for record in found if record.tenant_wide and record.asked_at >= since]

    def calls_of(self, tenant: str, run_id: str) -> Sequence[Record]:
        return self._store.calls_of(tenant, run_id)


class MemorySwitchBoard:
    """A `ports.SwitchBoard` for one process."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._switches: dict[str, Switch] = {}
        self._active: tuple[Switch, ...] = ()

    def active(self) -> tuple[Switch, ...]:
        """See `ports.SwitchBoard`."""
        return self._active

    def history(self) -> tuple[Switch, ...]:
        """See `ports.SwitchBoard`."""
        with self._lock:
            return tuple(sorted(self._switches.values(), key=lambda switch: (switch.at, switch.switch_id)))

    def put(self, switch: Switch) -> None:
        """See `ports.SwitchBoard`."""
        with self._lock:
            self._switches[switch.switch_id] = _as_switch(_encode(switch))
            known = sorted(self._switches.values(), key=lambda each: (each.at, each.switch_id))
            self._active = tuple(each for each in known if each.active)

    def close(self) -> None:
        """See `ports.SwitchBoard`."""
