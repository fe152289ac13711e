"""The ledger in one SQLite file.

Not a rule of anything: it keeps and finds. Law: WAL, `synchronous=FULL` unless told otherwise, `BEGIN IMMEDIATE`;
several processes on one file are correct. What is remembered between transactions is trusted only while nobody else has
written (`PRAGMA data_version`), and is thrown away when a commit fails.

The standard library's `sqlite3` is used on purpose: two SQLite libraries in one process on one file break each other's
POSIX locks, and people do open their ledger with the one they have.
"""

from __future__ import annotations

import sqlite3
import threading
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import msgspec

from interlock.core.approval import Approval, Standing
from interlock.core.audit import Head, Sealed
from interlock.core.budget import Account, AccountKey, Window
from interlock.core.lifecycle import State
from interlock.core.record import Record
from interlock.core.run import Run, Step
from interlock.ports import ApprovalKey, CallKey, HeadKey, Key, Pin, PinKey, RunKey, StepKey
from interlock.stores.migrate import TABLE, migrate, pending
from interlock.stores.sqlite_file import OpenedFile, begin, begun, connect, mapped
from interlock.unit import Tx, Unit

REMEMBERED = 5_000  #: rows kept between transactions, at most
REMEMBERED_SIZE = 8_000_000  #: characters of calls kept between transactions, at most
PAGE = 500

_encode = msgspec.json.Encoder().encode
_SELECT: dict[type, str] = {
    HeadKey: "SELECT seq, hash FROM heads WHERE tenant = ?",
    RunKey: "SELECT body FROM runs WHERE tenant = ? AND run_id = ?",
    StepKey: "SELECT body FROM steps WHERE tenant = ? AND run_id = ? AND step_id = ?",
    CallKey: "SELECT body FROM calls WHERE tenant = ? AND run_id = ? AND key = ?",
    AccountKey: "SELECT body FROM accounts WHERE tenant = ? AND scope = ? AND subject = ? AND win = ? AND start = ?",
    ApprovalKey: "SELECT body FROM approvals WHERE tenant = ? AND approval_id = ?",
    PinKey: "SELECT body FROM pins WHERE tenant = ? AND tool = ?",
}
_DECODE: dict[type, Any] = {
    kind: msgspec.json.Decoder(value).decode
    for kind, value in (
        (RunKey, Run), (StepKey, Step), (CallKey, Record), (AccountKey, Account), (ApprovalKey, Approval), (PinKey, Pin)
    )
}
_UPSERT: dict[type, str] = {
    HeadKey: "INSERT INTO heads VALUES (?, ?, ?) ON CONFLICT DO UPDATE SET seq = excluded.seq, hash = excluded.hash",
    RunKey: "INSERT INTO runs VALUES (?, ?, ?, ?) ON CONFLICT DO UPDATE SET body = excluded.body",
    StepKey: "INSERT INTO steps VALUES (?, ?, ?, ?) ON CONFLICT DO UPDATE SET body = excluded.body",
    CallKey: "INSERT INTO calls VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?) ON CONFLICT DO UPDATE SET"
    " fingerprint = excluded.fingerprint, state = excluded.state, asked_at = excluded.asked_at,"
    " lease_until = excluded.lease_until, tenant_wide = excluded.tenant_wide, body = excluded.body",
    AccountKey: "INSERT INTO accounts VALUES (?, ?, ?, ?, ?, ?) ON CONFLICT DO UPDATE SET body = excluded.body",
    ApprovalKey: "INSERT INTO approvals VALUES (?, ?, ?, ?, ?) ON CONFLICT DO UPDATE SET"
    " standing = excluded.standing, body = excluded.body",
    PinKey: "INSERT INTO pins VALUES (?, ?, ?) ON CONFLICT DO UPDATE SET body = excluded.body",
}
_APPEND = "INSERT INTO audit VALUES (?, ?, ?, ?)"
_KEPT = frozenset({HeadKey, RunKey, AccountKey})  #: kinds that the next transaction will want again


class _Remembered:
    """What the last transactions have read and written, for the next. Holds only as long as nobody else writes.

    Of a run that was opened here since then, all calls are known: what is not here of it does not exist.
    """

    __slots__ = ("calls", "rows", "same", "size")

    def __init__(self) -> None:
        self.rows: dict[Key, Any] = {}
        self.calls: dict[tuple[str, str], dict[str, Record]] = {}  # run → key → call
        self.same: dict[tuple[str, str, str], dict[str, Record]] = {}  # run and fingerprint → key → call
        self.size = 0

    def forget(self) -> None:
        self.rows.clear()
        self.calls.clear()
        self.same.clear()
        self.size = 0

    def learn(self, tx: Tx, size: int) -> None:
        """What a transaction has committed, and how many characters of calls that were."""
        self.size += size
        if self.size > REMEMBERED_SIZE or len(self.rows) > REMEMBERED:
            self.forget()
        for run in tx.born:
            self.calls[run[:2]] = {}
        for key, value in tx.written.items():
            if type(key) in _KEPT:
                self.rows[key] = value
            elif type(key) is CallKey and (of_run := self.calls.get(key[:2])) is not None:
                before = of_run.get(key.key)
                if before is not None and before.fingerprint != value.fingerprint:
                    del self.same[(*key[:2], before.fingerprint)][key.key]
                of_run[key.key] = value
                self.same.setdefault((*key[:2], value.fingerprint), {})[key.key] = value


class SqliteStore:
    """A `ports.Store` on one SQLite file."""

    def __init__(self, path: str | Path, *, synchronous: str = "full") -> None:
        self._path = Path(path)
        self._writing = threading.Lock()
        self._reading = threading.Lock()
        self._remembered = _Remembered()
        self._version = -1
        with mapped(self._path):
            self._writer = connect(self._path, synchronous)
            self._writer.execute("PRAGMA busy_timeout = 0")  # `_begin` waits in its own way
            if not _is_current(self._writer):  # looked at without the write lock: mostly there is nothing to do
                with begun(self._writer):
                    migrate("sqlite", self._writer.execute)
            self._reader = connect(self._path, synchronous)
        self._file = OpenedFile(self._path)

    def transact(self, units: Sequence[Unit[Any]]) -> list[Any]:
        with self._writing, mapped(self._path):
            try:
                begin(self._writer)
                self._file.check()
                session = _Session(self._writer, self._trusted())
                tx = Tx(session, list(dict.fromkeys(key for unit in units for key in unit.keys)))
                values = [unit.fn(tx) for unit in units]
                size = _flush(self._writer, tx)
                self._writer.execute("COMMIT")
            except BaseException:
                self._remembered.forget()
                if self._writer.in_transaction:
                    self._writer.execute("ROLLBACK")
                raise
            self._remembered.learn(tx, size)
            return values

    def _trusted(self) -> _Remembered:
        """What is remembered, if nobody else has written since. Asked inside the transaction: nobody can now."""
        version = self._writer.execute("PRAGMA data_version").fetchone()[0]
        if version != self._version:
            self._remembered.forget()
            self._version = version
        return self._remembered

    def load(self, key: Key) -> Any | None:
        with self._reading, mapped(self._path):
            return _Session(self._reader, _Remembered()).load((key,)).get(key)

    def runs(self, tenant: str | None = None, *, limit: int = 100, before: int | None = None) -> Sequence[Run]:
        where, values = _where(("tenant = ?", tenant), ("opened_at < ?", before))
        return self._bodies(Run, f"SELECT body FROM runs{where} ORDER BY opened_at DESC LIMIT ?", (*values, limit))

    def calls_of(self, tenant: str, run_id: str) -> Sequence[Record]:
        with self._reading, mapped(self._path):
            return _Session(self._reader, _Remembered()).calls_of(tenant, run_id)

    def approvals(self, tenant: str | None = None, standing: Standing | None = None) -> Sequence[Approval]:
        where, values = _where(("tenant = ?", tenant), ("standing = ?", standing))
        return self._bodies(Approval, f"SELECT body FROM approvals{where} ORDER BY asked_at, approval_id", values)

    def find_approval(self, approval_id: str) -> Approval | None:
        found = self._bodies(Approval, "SELECT body FROM approvals WHERE approval_id = ?", (approval_id,))
        return found[0] if found else None

    def lapsed(self, now: int, limit: int = 100) -> Sequence[Record]:
        query = "SELECT body FROM calls WHERE lease_until IS NOT NULL AND lease_until < ? ORDER BY lease_until LIMIT ?"
        return self._bodies(Record, query, (now, limit))

    def accounts(self, tenant: str, since: int = 0) -> Iterable[tuple[AccountKey, Account]]:
        query = "SELECT scope, subject, win, start, body FROM accounts WHERE tenant = ? AND start >= ?"
        rows = self._rows(query, (tenant, since))
        decode = _DECODE[AccountKey]
        return [(AccountKey(tenant, row[0], row[1], Window(row[2]), row[3]), decode(row[4])) for row in rows]

    def pins(self) -> Sequence[Pin]:
        return self._bodies(Pin, "SELECT body FROM pins ORDER BY tool", ())

    def tenants(self) -> Sequence[str]:
        return [row[0] for row in self._rows("SELECT tenant FROM heads ORDER BY tenant", ())]

    def entries(self, tenant: str, after: int = 0, limit: int | None = None) -> Iterator[Sealed]:
        query = "SELECT seq, hash, body FROM audit WHERE tenant = ? AND seq > ? ORDER BY seq LIMIT ?"
        while limit is None or limit > 0:
            rows = self._rows(query, (tenant, after, PAGE if limit is None else min(PAGE, limit)))
            for seq, digest, body in rows:
                yield Sealed(tenant, seq, body.encode() if isinstance(body, str) else bytes(body), digest)
            if len(rows) < PAGE:
                return
            after = rows[-1][0]
            limit = None if limit is None else limit - len(rows)

    def close(self) -> None:
        with self._writing, self._reading:
            self._writer.close()
            self._reader.close()

    def _rows(self, query: str, values: Sequence[Any]) -> list[Any]:
        with self._reading, mapped(self._path):
            return self._reader.execute(query, values).fetchall()

    def _bodies(self, kind: type, query: str, values: Sequence[Any]) -> list[Any]:
        return [msgspec.json.decode(row[0], type=kind) for row in self._rows(query, values)]


class _Session:
    """A `ports.Session` on a connection that is in a transaction, or that only reads."""

    def __init__(self, connection: sqlite3.Connection, remembered: _Remembered) -> None:
        self._execute = connection.execute
        self._remembered = remembered

    def load(self, keys: Sequence[Key]) -> Mapping[Key, Any]:
        found = {}
        rows, calls = self._remembered.rows, self._remembered.calls
        for key in keys:
            if isinstance(key, CallKey) and (of_run := calls.get(key[:2])) is not None:
                value = of_run.get(key.key)
            else:
                value = rows.get(key) or self._select(key)
            if value is not None:
                found[key] = value
        return found

    def _select(self, key: Key) -> Any | None:
        kind = type(key)
        row = self._execute(_SELECT[kind], key[:-1]).fetchone()
        if row is None:
            return None
        value = Head(*row) if kind is HeadKey else _DECODE[kind](row[0])
        if kind in _KEPT:
            self._remembered.rows[key] = value
        return value

    def same(self, tenant: str, run_id: str, fingerprint: str) -> Sequence[Record]:
        if (tenant, run_id) in self._remembered.calls:
            return list(self._remembered.same.get((tenant, run_id, fingerprint), {}).values())
        return self._records(
            "SELECT body FROM calls INDEXED BY calls_same"
            " WHERE tenant = ? AND run_id = ? AND fingerprint = ? ORDER BY asked_at, key",
            (tenant, run_id, fingerprint),
        )

    def same_in_tenant(self, tenant: str, fingerprint: str, since: int) -> Sequence[Record]:
        return self._records(
            "SELECT body FROM calls INDEXED BY calls_same_in_tenant"
            " WHERE tenant_wide = 1 AND tenant = ? AND fingerprint = ? AND asked_at >= ? ORDER BY asked_at, key",
            (tenant, fingerprint, since),
        )

    def calls_of(self, tenant: str, run_id: str) -> Sequence[Record]:
        query = "SELECT body FROM calls WHERE tenant = ? AND run_id = ? ORDER BY asked_at, key"
        return self._records(query, (tenant, run_id))

    def _records(self, query: str, values: tuple[Any, ...]) -> list[Record]:
        decode = _DECODE[CallKey]
        return [decode(row[0]) for row in self._execute(query, values)]


def _flush(connection: sqlite3.Connection, tx: Tx) -> int:
    """Write all that a transaction has gathered. Gives how many characters of calls that were."""
    rows: dict[type, list[tuple[Any, ...]]] = {}
    for key, value in tx.written.items():
        rows.setdefault(type(key), []).append(_row(key, value))
    for kind, values in rows.items():
        connection.executemany(_UPSERT[kind], values)
    connection.executemany(_APPEND, [(each.tenant, each.seq, each.hash, each.body.decode()) for each in tx.sealed])
    return sum([len(row[-1]) for row in rows.get(CallKey, ())])


def _row(key: Key, value: Any) -> tuple[Any, ...]:
    """The columns of a row: the key, what finds it, and the body."""
    if type(key) is HeadKey:
        return (key.tenant, value.seq, value.hash)
    body = _encode(value).decode()
    if type(key) is CallKey:
        lease = value.lease.until if value.lease is not None and value.state is State.LEASED else None
        found_by = (value.fingerprint, value.state, value.asked_at, lease, int(value.tenant_wide))
        return (*key[:-1], *found_by, body)
    if type(key) is RunKey:
        return (*key[:-1], value.opened_at, body)
    if type(key) is ApprovalKey:
        return (*key[:-1], value.standing, value.asked_at, body)
    return (*key[:-1], body)


def _where(*parts: tuple[str, Any]) -> tuple[str, tuple[Any, ...]]:
    given = [(clause, value) for clause, value in parts if value is not None]
    where = " WHERE " + " AND ".join(clause for clause, _ in given) if given else ""
    return where, tuple(value for _, value in given)


def _is_current(connection: sqlite3.Connection) -> bool:
    known = connection.execute("SELECT 1 FROM sqlite_master WHERE name = ?", (TABLE,)).fetchone()
    return known is not None and not pending("sqlite", connection.execute)
