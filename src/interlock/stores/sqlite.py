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
from contextlib import closing
from pathlib import Path
from typing import Any

import msgspec

from interlock import ports
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
NAMES = 200_000  #: names of calls kept between transactions, at most
PAGE = 500
ENTRIES = 1 << 40  #: how many entries a tenant's chain has room for: `place` is tenant's number * ENTRIES + entry's

_encode = msgspec.json.Encoder().encode
_SELECT: dict[type, str] = {
    RunKey: "SELECT body FROM runs WHERE tenant = ? AND run_id = ?",
    StepKey: "SELECT body FROM steps WHERE tenant = ? AND run_id = ? AND step_id = ?",
    CallKey: "SELECT body FROM calls WHERE run = (SELECT number FROM run_names WHERE tenant = ? AND run_id = ?)"
    " AND key = ?",
    AccountKey: "SELECT body FROM accounts WHERE tenant = ? AND scope = ? AND subject = ? AND win = ? AND start = ?",
    ApprovalKey: "SELECT body FROM approvals WHERE tenant = ? AND approval_id = ?",
    PinKey: "SELECT body FROM pins WHERE tenant = ? AND tool = ?",
    ports.DefinitionKey: "SELECT body FROM definitions WHERE tenant = ? AND name = ? AND digest = ?",
}
_DECODE: dict[type, Any] = {
    kind: msgspec.json.Decoder(value).decode
    for kind, value in (
        (RunKey, Run), (StepKey, Step), (CallKey, Record), (AccountKey, Account), (ApprovalKey, Approval),
        (PinKey, Pin), (ports.DefinitionKey, ports.Definition),
    )
}
_UPSERT: dict[type, str] = {
    RunKey: "INSERT INTO runs VALUES (?, ?, ?, ?) ON CONFLICT DO UPDATE SET body = excluded.body",
    StepKey: "INSERT INTO steps VALUES (?, ?, ?, ?) ON CONFLICT DO UPDATE SET body = excluded.body",
    AccountKey: "INSERT INTO accounts VALUES (?, ?, ?, ?, ?, ?) ON CONFLICT DO UPDATE SET body = excluded.body",
    ApprovalKey: "INSERT INTO approvals VALUES (?, ?, ?, ?, ?) ON CONFLICT DO UPDATE SET"
    " standing = excluded.standing, body = excluded.body",
    PinKey: "INSERT INTO pins VALUES (?, ?, ?) ON CONFLICT DO UPDATE SET body = excluded.body",
    ports.DefinitionKey: "INSERT INTO definitions VALUES (?, ?, ?, ?) ON CONFLICT DO UPDATE SET body = excluded.body",
}
_FIRST_SEEN = (
    "INSERT INTO calls (body, fingerprint, state, asked_at, lease_until, tenant_wide, run, key, tenant)"
    " VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)"
)
_MOVED = "UPDATE calls SET body = ?, state = ?, lease_until = ? WHERE run = ? AND key = ?"
_RENAMED = (
    "UPDATE calls SET body = ?, fingerprint = ?, state = ?, asked_at = ?, lease_until = ?, tenant_wide = ?"
    " WHERE run = ? AND key = ?"
)
_APPEND = "INSERT INTO audit VALUES (?, ?, ?)"
_NUMBER_OF_TENANT = "SELECT number FROM tenants WHERE tenant = ?"
_NUMBER_OF_RUN = "SELECT number FROM run_names WHERE tenant = ? AND run_id = ?"
_TIP = "SELECT place, hash FROM audit WHERE place BETWEEN ? AND ? ORDER BY place DESC LIMIT 1"
_KEPT = frozenset({HeadKey, RunKey, AccountKey})  #: kinds that the next transaction will want again


class _Remembered:
    """What the last transactions have read and written, for the next. Holds only as long as nobody else writes.

    Of a run that was opened here since then, the names of all calls are known, keys and fingerprints alike: a name that
    is not among them does not exist.
    """

    __slots__ = ("_count", "names", "numbers", "rows")

    def __init__(self) -> None:
        self.rows: dict[Key, Any] = {}
        self.names: dict[tuple[str, str], set[str]] = {}  # run → keys and fingerprints of its calls
        self.numbers: dict[str | tuple[str, str], int] = {}  # tenant, or tenant and run → its number
        self._count = 0

    def forget(self) -> None:
        self.rows.clear()
        self.names.clear()
        self.numbers.clear()
        self._count = 0

    def learn(self, tx: Tx) -> None:
        """What a transaction has committed."""
        rows, names = self.rows, self.names
        if len(rows) > REMEMBERED or self._count > NAMES or len(self.numbers) > REMEMBERED:
            self.forget()
        for run in tx.born:
            names[run[:2]] = set()
        for key, value in tx.written.items():
            if type(key) is CallKey:
                if value.state is State.LEASED:  # it will be settled soon
                    rows[key] = value
                else:
                    rows.pop(key, None)
                if (of_run := names.get(key[:2])) is not None:
                    of_run.add(key.key)
                    of_run.add(value.fingerprint)
                    self._count += 1
            elif type(key) in _KEPT:
                rows[key] = value


class SqliteStore:
    """A `ports.Store` on one SQLite file."""

    quick = True

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

    def transact(self, units: Sequence[Unit[Any]], *, wait: bool = True) -> list[Any]:
        with self._writing, mapped(self._path):
            try:
                begin(self._writer, wait=wait)
                self._file.check()
                session = _Session(self._writer, self._trusted())
                tx = Tx(session, list(dict.fromkeys(key for unit in units for key in unit.keys)))
                values = [unit.fn(tx) for unit in units]
                session.write(tx)
                self._writer.execute("COMMIT")
            except BaseException:
                self._remembered.forget()
                if self._writer.in_transaction:
                    self._writer.execute("ROLLBACK")
                raise
            self._remembered.learn(tx)
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

    def steps_of(self, tenant: str, run_id: str) -> Sequence[Step]:
        found = self._bodies(Step, "SELECT body FROM steps WHERE tenant = ? AND run_id = ?", (tenant, run_id))
        return sorted(found, key=lambda step: step.place)

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

    def definitions(self) -> Sequence[ports.Definition]:
        query = "SELECT body FROM definitions ORDER BY name, json_extract(body, '$.at')"
        return self._bodies(ports.Definition, query, ())

    def tenants(self) -> Sequence[str]:
        return [row[0] for row in self._rows("SELECT tenant FROM tenants ORDER BY tenant", ())]

    def entries(self, tenant: str, after: int = 0, limit: int | None = None) -> Iterator[Sealed]:
        found = self._rows(_NUMBER_OF_TENANT, (tenant,))
        first = found[0][0] * ENTRIES if found else 0
        query = "SELECT place, hash, body FROM audit WHERE place > ? AND place < ? ORDER BY place LIMIT ?"
        while found and (limit is None or limit > 0):
            page = PAGE if limit is None else min(PAGE, limit)
            rows = self._rows(query, (first + after, first + ENTRIES, page))
            for place, digest, body in rows:
                yield Sealed(tenant, place - first, body.encode() if isinstance(body, str) else bytes(body), digest)
            if len(rows) < PAGE:
                return
            after = rows[-1][0] - first
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


def pins_in(path: Path) -> list[Pin]:
    """The pins of a ledger's file, which is only read: not made, not migrated. None where it cannot be read at once."""
    try:
        with closing(sqlite3.connect(f"{path.absolute().as_uri()}?mode=ro", uri=True, timeout=0.5)) as connection:
            return [msgspec.json.decode(row[0], type=Pin) for row in connection.execute("SELECT body FROM pins")]
    except (sqlite3.Error, msgspec.MsgspecError):
        return []


class _Session:
    """A `ports.Session` on a connection that is in a transaction, or that only reads."""

    def __init__(self, connection: sqlite3.Connection, remembered: _Remembered) -> None:
        self._connection = connection
        self._execute = connection.execute
        self._remembered = remembered

    def load(self, keys: Sequence[Key]) -> Mapping[Key, Any]:
        found = {}
        rows, names = self._remembered.rows, self._remembered.names
        for key in keys:
            value = rows.get(key)
            if value is None:
                if type(key) is CallKey and (known := names.get(key[:2])) is not None and key.key not in known:
                    continue
                value = self._select(key)
            if value is not None:
                found[key] = value
        return found

    def _select(self, key: Key) -> Any | None:
        kind = type(key)
        if kind is HeadKey:
            value = self._tip(key.tenant)
        else:
            row = self._execute(_SELECT[kind], key[:-1]).fetchone()
            value = None if row is None else _DECODE[kind](row[0])
        if value is not None and kind in _KEPT:
            self._remembered.rows[key] = value
        return value

    def _tip(self, tenant: str) -> Head | None:
        """The last entry is the tip: a row for it would be one more page in every commit."""
        number = self._number(tenant, _NUMBER_OF_TENANT, (tenant,))
        if number is None:
            return None
        row = self._execute(_TIP, (number * ENTRIES, number * ENTRIES + ENTRIES - 1)).fetchone()
        return None if row is None else Head(row[0] - number * ENTRIES, row[1])

    def _number(self, name: str | tuple[str, str], query: str, values: tuple[str, ...]) -> int | None:
        numbers = self._remembered.numbers
        number = numbers.get(name)
        if number is None:
            row = self._execute(query, values).fetchone()
            if row is not None:
                number = numbers[name] = row[0]
        return number

    def same(self, tenant: str, run_id: str, fingerprint: str) -> Sequence[Record]:
        known = self._remembered.names.get((tenant, run_id))
        if known is not None and fingerprint not in known:
            return ()
        return self._records(
            "SELECT body FROM calls INDEXED BY calls_same"
            " WHERE run = (SELECT number FROM run_names WHERE tenant = ? AND run_id = ?) AND fingerprint = ?"
            " ORDER BY asked_at, key",
            (tenant, run_id, fingerprint),
        )

    def same_in_tenant(self, tenant: str, fingerprint: str, since: int) -> Sequence[Record]:
        return self._records(
            "SELECT body FROM calls INDEXED BY calls_same_in_tenant"
            " WHERE tenant_wide = 1 AND tenant = ? AND fingerprint = ? AND asked_at >= ? ORDER BY asked_at, key",
            (tenant, fingerprint, since),
        )

    def calls_of(self, tenant: str, run_id: str) -> Sequence[Record]:
        query = (
            "SELECT body FROM calls WHERE run = (SELECT number FROM run_names WHERE tenant = ? AND run_id = ?)"
            " ORDER BY asked_at, key"
        )
        return self._records(query, (tenant, run_id))

    def _records(self, query: str, values: tuple[Any, ...]) -> list[Record]:
        decode = _DECODE[CallKey]
        return [decode(row[0]) for row in self._execute(query, values)]

    # --- what a transaction has gathered -------------------------------------------------------------------------

    def write(self, tx: Tx) -> None:
        """Write all of it."""
        rows: dict[str, list[tuple[Any, ...]]] = {}
        for key, value in tx.written.items():
            if isinstance(key, CallKey):
                statement, row = self._call(key, value, tx.was(key))
                rows.setdefault(statement, []).append(row)
            elif type(key) is not HeadKey:
                rows.setdefault(_UPSERT[type(key)], []).append(_row(key, value))
        for statement, values in rows.items():
            changed = self._connection.executemany(statement, values).rowcount
            if changed != len(values):
                raise sqlite3.DatabaseError(f"malformed: {changed} rows changed instead of {len(values)}")
        entries = [(self._first(each.tenant) + each.seq, each.hash, each.body.decode()) for each in tx.sealed]
        self._connection.executemany(_APPEND, entries)

    def _call(self, key: CallKey, value: Record, before: Record | None) -> tuple[str, tuple[Any, ...]]:
        """A call's row, with as few columns as have changed: each index that is left alone is a page less."""
        name = key[:2]
        run = self._number(name, _NUMBER_OF_RUN, name) or self._named(
            name, "INSERT INTO run_names (tenant, run_id) VALUES (?, ?)", name
        )
        body = _encode(value).decode()
        lease = value.lease.until if value.lease is not None and value.state is State.LEASED else None
        if before is not None and before.fingerprint == value.fingerprint:
            return _MOVED, (body, value.state, lease, run, key.key)
        found_by = (value.fingerprint, value.state, value.asked_at, lease, int(value.tenant_wide), run, key.key)
        return (_FIRST_SEEN, (body, *found_by, key.tenant)) if before is None else (_RENAMED, (body, *found_by))

    def _first(self, tenant: str) -> int:
        """Where the chain of a tenant begins."""
        number = self._number(tenant, _NUMBER_OF_TENANT, (tenant,)) or self._named(
            tenant, "INSERT INTO tenants (tenant) VALUES (?)", (tenant,)
        )
        return number * ENTRIES

    def _named(self, name: str | tuple[str, str], statement: str, values: tuple[str, ...]) -> int:
        """The number of something that was not heard of before."""
        number = self._execute(statement, values).lastrowid
        if number is None:
            raise sqlite3.DatabaseError("malformed: a name got no number")
        self._remembered.numbers[name] = number
        return number


def _row(key: Key, value: Any) -> tuple[Any, ...]:
    """The columns of a row: the key, what finds it, and the body."""
    body = _encode(value).decode()
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
