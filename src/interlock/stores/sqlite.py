"""The ledger in one SQLite file, and the switch board in another beside it.

Not a rule of anything: it keeps and finds. Law: WAL, `synchronous=FULL` unless told otherwise, `BEGIN IMMEDIATE`;
several processes on one file are correct. What is remembered between transactions is trusted only while nobody else has
written (`PRAGMA data_version`), and is thrown away when a commit fails.

The standard library's `sqlite3` is used on purpose: two SQLite libraries in one process on one file break each other's
POSIX locks, and people do open their ledger with the one they have.
"""

from __future__ import annotations

import os
import random
import sqlite3
import threading
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NoReturn

import msgspec

from interlock.core.approval import Approval, Standing
from interlock.core.audit import Head, Sealed
from interlock.core.budget import Account, AccountKey, Window
from interlock.core.lifecycle import State
from interlock.core.record import Record
from interlock.core.run import Run, Step
from interlock.core.switch import Switch
from interlock.errors import LedgerUnavailable
from interlock.ports import ApprovalKey, CallKey, HeadKey, Key, Pin, PinKey, RunKey, StepKey
from interlock.stores.migrate import TABLE, migrate, pending
from interlock.unit import Tx, Unit

BUSY_SECONDS = 10.0  #: how long a transaction waits for the other writers of the file
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
        with _mapped(self._path):
            self._writer = _connect(self._path, synchronous)
            self._writer.execute("PRAGMA busy_timeout = 0")  # `_begin` waits in its own way
            if not _is_current(self._writer):  # looked at without the write lock: mostly there is nothing to do
                with begun(self._writer):
                    migrate("sqlite", self._writer.execute)
            self._reader = _connect(self._path, synchronous)
        self._file = _File(self._path)

    def transact(self, units: Sequence[Unit[Any]]) -> list[Any]:
        with self._writing, _mapped(self._path):
            try:
                _begin(self._writer)
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
        with self._reading, _mapped(self._path):
            return _Session(self._reader, _Remembered()).load((key,)).get(key)

    def runs(self, tenant: str | None = None, *, limit: int = 100, before: int | None = None) -> Sequence[Run]:
        where, values = _where(("tenant = ?", tenant), ("opened_at < ?", before))
        return self._bodies(Run, f"SELECT body FROM runs{where} ORDER BY opened_at DESC LIMIT ?", (*values, limit))

    def calls_of(self, tenant: str, run_id: str) -> Sequence[Record]:
        with self._reading, _mapped(self._path):
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
        with self._reading, _mapped(self._path):
            return self._reader.execute(query, values).fetchall()

    def _bodies(self, kind: type, query: str, values: Sequence[Any]) -> list[Any]:
        return [msgspec.json.decode(row[0], type=kind) for row in self._rows(query, values)]


class SqliteSwitchBoard:
    """A `ports.SwitchBoard` in a small SQLite file of its own."""

    def __init__(self, path: str | Path) -> None:
        self._path = Path(path)
        self._lock = threading.Lock()
        self._version: int | None = None
        self._active: tuple[Switch, ...] = ()
        with _mapped(self._path):
            self._connection = _connect(self._path, "full")
            with begun(self._connection):
                self._connection.execute(
                    "CREATE TABLE IF NOT EXISTS switches"
                    " (switch_id TEXT PRIMARY KEY, at INTEGER NOT NULL, active INTEGER NOT NULL, body TEXT NOT NULL)"
                )
        self._file = _File(self._path)

    def active(self) -> tuple[Switch, ...]:
        with self._lock, _mapped(self._path):  # the lock: Python shares its prepared statements between threads
            self._file.check()
            version = self._connection.execute("PRAGMA data_version").fetchone()[0]
            if version != self._version:  # somebody has written since: the pragma looks at the file, not at a cache
                self._active = self._read(" WHERE active = 1")
                self._version = version
            return self._active

    def history(self) -> tuple[Switch, ...]:
        with self._lock, _mapped(self._path):
            return self._read("")

    def put(self, switch: Switch) -> None:
        self._file.check()
        with self._lock, _mapped(self._path):
            with begun(self._connection):
                self._connection.execute(
                    "INSERT INTO switches VALUES (?, ?, ?, ?) ON CONFLICT DO UPDATE SET"
                    " active = excluded.active, body = excluded.body",
                    (switch.switch_id, switch.at, int(switch.active), _encode(switch).decode()),
                )
            self._version = None

    def close(self) -> None:
        with self._lock:
            self._connection.close()

    def _read(self, where: str) -> tuple[Switch, ...]:
        rows = self._connection.execute(f"SELECT body FROM switches{where} ORDER BY at, switch_id").fetchall()
        return tuple(msgspec.json.decode(row[0], type=Switch) for row in rows)


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


def _connect(path: Path, synchronous: str) -> sqlite3.Connection:
    connection = sqlite3.connect(
        path, timeout=BUSY_SECONDS, isolation_level=None, check_same_thread=False, cached_statements=256
    )
    connection.execute("PRAGMA journal_mode = WAL")
    connection.execute(f"PRAGMA synchronous = {synchronous}")
    connection.execute("PRAGMA cache_size = -65536")  # KiB: a batch touches more pages than the 2 MiB of the default
    return connection


def _is_current(connection: sqlite3.Connection) -> bool:
    known = connection.execute("SELECT 1 FROM sqlite_master WHERE name = ?", (TABLE,)).fetchone()
    return known is not None and not pending("sqlite", connection.execute)


@contextmanager
def begun(connection: sqlite3.Connection) -> Iterator[None]:
    """A transaction that lands whole or not at all."""
    _begin(connection)
    try:
        yield
        connection.execute("COMMIT")
    except BaseException:
        if connection.in_transaction:
            connection.execute("ROLLBACK")
        raise


def _begin(connection: sqlite3.Connection) -> None:
    """Wait for the write lock in short, uneven steps: SQLite's own back-off sleeps up to 100 ms at a time."""
    give_up = time.monotonic() + BUSY_SECONDS
    while True:
        try:
            connection.execute("BEGIN IMMEDIATE")
        except sqlite3.OperationalError as error:
            if "locked" not in str(error) or time.monotonic() > give_up:
                raise
            time.sleep(random.uniform(0.0001, 0.0004))  # spreads the writers, guards nothing
        else:
            return


class _File:
    """The file that was opened. SQLite itself goes on with one that was deleted or replaced, which nobody else sees."""

    __slots__ = ("_opened", "_path")

    def __init__(self, path: Path) -> None:
        self._path = str(path)
        self._opened = self._seen()

    def check(self) -> None:
        if self._seen() != self._opened:
            name = Path(self._path).name
            raise LedgerUnavailable(
                f"ledger {name}: the file was deleted or replaced while it was open; "
                "put it back, or open the gateway again"
            )

    def _seen(self) -> tuple[int, int] | None:
        try:
            found = os.stat(self._path)  # noqa: PTH116  on the road of every call
        except OSError:
            return None
        return found.st_dev, found.st_ino


class _mapped:  # noqa: N801  used as a statement
    """Foreign errors become LedgerUnavailable, with what to do."""

    __slots__ = ("_path",)

    def __init__(self, path: Path) -> None:
        self._path = path

    def __enter__(self) -> None:
        return None

    def __exit__(self, kind: type | None, error: BaseException | None, trace: object) -> None:
        if isinstance(error, sqlite3.Error):
            _raise_unavailable(self._path, error)


def _raise_unavailable(path: Path, error: Exception) -> NoReturn:
    text = str(error)
    if "locked" in text:
        held = f"another process has held its write lock for {BUSY_SECONDS:.0f} s"
        remedy = f"{held}: end it, or give each host its own ledger"
    elif "full" in text:
        remedy = "the disk is full: free some space; what was committed is safe"
    elif "disk I/O" in text:
        remedy = "the disk fails, or a quota is used up: see the system's log; what was committed is safe"
    elif "readonly" in text or "unable to open" in text:
        remedy = "make the file and its folder writable for this user"
    elif "malformed" in text or "not a database" in text:
        remedy = "the file is damaged or is no ledger: restore it from a backup"
    elif "closed" in text:
        remedy = "the gateway was closed: open it again"
    else:
        remedy = "see the operations page of the docs"
    raise LedgerUnavailable(f"ledger {path.name}: {text}; {remedy}") from error
