"""The ledger in PostgreSQL.

Not a rule of anything: it keeps and finds. Law: a transaction first locks the head rows of all its tenants, in order;
whoever holds a tenant's head holds the tenant, so nothing else needs a lock and no two transactions can block each
other for ever. Two round trips make a transaction: begin, name the tenants (`postgres_wall`), lock and load; write and
commit.

READ COMMITTED on purpose: what is loaded after the lock was got is the newest that anybody has committed.
"""

from __future__ import annotations

from collections.abc import Container, Iterable, Iterator, Mapping, Sequence
from typing import Any

from interlock.core import run as core
from interlock.core.approval import Approval, Standing
from interlock.core.audit import GENESIS, SYSTEM, Head, Sealed
from interlock.core.budget import Account, AccountKey, Window
from interlock.core.record import Record
from interlock.errors import LedgerUnavailable
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
from interlock.stores.postgres_memory import Guess, Memory
from interlock.stores.postgres_tables import TABLES, each_or_all, loaded, loading, moving, refusing, statement, writing
from interlock.stores.postgres_wall import EVERYBODY, only, warn_without
from interlock.stores.wire import UNIQUE, Rows, Stale, Statement, Step, Wire, bigint, number, text, texts
from interlock.unit import Tx, Unit

PAGE = 500  #: entries fetched at once
FOUND = ("IL002", UNIQUE)  #: how the database says that something is there which was taken for absent
ALWAYS = 2**63 - 1  #: later than any time

_BEGIN = Step(statement("begin", "BEGIN ISOLATION LEVEL READ COMMITTED READ WRITE"))
_COMMIT = Step(statement("commit", "COMMIT"))
_ROLLBACK = Step(statement("rollback", "ROLLBACK"))
_LOCK = statement(
    "lock",
    "SELECT tenant, version, seq, hash FROM heads WHERE tenant = ANY($1::text[]) ORDER BY tenant FOR UPDATE",
)
_MAKE_HEADS = statement(
    "make_heads",
    "INSERT INTO heads (tenant, seq, hash, version) SELECT tenant, 0, $2::text, 0 FROM unnest($1::text[]) AS t(tenant)"
    ' ORDER BY tenant COLLATE "C" ON CONFLICT DO NOTHING',
)
_HEAD = statement("head", "SELECT seq, hash FROM heads WHERE tenant = $1::text AND seq > 0")
_SAME = statement(
    "same",
    "SELECT body FROM calls WHERE tenant = $1::text AND run_id = $2::text AND fingerprint = $3::text"
    " ORDER BY asked_at, key",
)
_SAME_IN_TENANT = statement(
    "same_in_tenant",
    "SELECT body FROM calls WHERE tenant_wide AND tenant = $1::text AND fingerprint = $2::text"
    " AND asked_at >= $3::bigint ORDER BY asked_at, key",
)
_REFUSE_SAME = (
    statement(
        "refuse_same",
        "SELECT interlock_repeat('IL002') FROM calls"
        " WHERE tenant = $1::text AND run_id = $2::text AND fingerprint = $3::text LIMIT 1",
    ),
    statement(
        "refuse_all_same",
        "SELECT interlock_repeat('IL002') FROM unnest($1::text[], $2::text[], $3::text[]) AS k(tenant, run_id, f)"
        ' JOIN calls AS t ON t.tenant = k.tenant COLLATE "C" AND t.run_id = k.run_id COLLATE "C"'
        ' AND t.fingerprint = k.f COLLATE "C"',
    ),
)
_REFUSE_SAME_IN_TENANT = (
    statement(
        "refuse_same_in_tenant",
        "SELECT interlock_repeat('IL002') FROM calls WHERE tenant_wide AND tenant = $1::text AND fingerprint = $2::text"
        " AND asked_at >= $3::bigint LIMIT 1",
    ),
    statement(
        "refuse_all_same_in_tenant",
        "SELECT interlock_repeat('IL002') FROM unnest($1::text[], $2::text[], $3::bigint[]) AS k(tenant, f, since)"
        ' JOIN calls AS t ON t.tenant_wide AND t.tenant = k.tenant COLLATE "C" AND t.fingerprint = k.f COLLATE "C"'
        " AND t.asked_at >= k.since",
    ),
)
_CALLS_OF = statement(
    "calls_of", "SELECT body FROM calls WHERE tenant = $1::text AND run_id = $2::text ORDER BY asked_at, key"
)
_STEPS_OF = statement("steps_of", "SELECT body FROM steps WHERE tenant = $1::text AND run_id = $2::text")
_RUNS = statement(
    "runs", "SELECT body FROM runs WHERE opened_at < $1::bigint ORDER BY opened_at DESC, run_id LIMIT $2::bigint"
)
_RUNS_OF = statement(
    "runs_of",
    "SELECT body FROM runs WHERE opened_at < $1::bigint AND tenant = $3::text"
    " ORDER BY opened_at DESC, run_id LIMIT $2::bigint",
)
_APPROVAL = statement("approval", "SELECT body FROM approvals WHERE approval_id = $1::text")
_LAPSED = statement(
    "lapsed", "SELECT body FROM calls WHERE lease_until < $1::bigint ORDER BY lease_until LIMIT $2::bigint"
)
_ACCOUNTS = statement(
    "accounts",
    "SELECT scope, subject, win, start, body FROM accounts WHERE tenant = $1::text AND start >= $2::bigint"
    " ORDER BY scope, subject, win, start",
)
_PINS = statement("pins", "SELECT body FROM pins ORDER BY tool, tenant")
_DEFINITIONS = statement("definitions", "SELECT body FROM definitions ORDER BY name, digest")
_TENANTS = statement("tenants", "SELECT tenant FROM heads WHERE seq > 0 ORDER BY tenant")
_ENTRIES = statement(
    "entries",
    "SELECT seq, hash, body FROM audit WHERE tenant = $1::text AND seq > $2::bigint ORDER BY seq LIMIT $3::bigint",
)


class PostgresStore:
    """A `ports.Store` in one PostgreSQL database. Two connections, each opened again after it broke."""

    quick = False

    def __init__(self, url: str) -> None:
        self._writer = Wire(url)
        self._reader = Wire(url)
        self._memory = Memory()
        self._reader.migrate("postgres")
        warn_without(self._reader)

    def transact(self, units: Sequence[Unit[Any]], *, wait: bool = True) -> list[Any]:  # noqa: ARG002  it does not try
        """See `ports.Store`. The tenants of a unit's keys are locked; a unit that strays to another one raises."""
        keys = list(dict.fromkeys(key for unit in units for key in unit.keys))
        tenants = {key.tenant for key in keys}
        with self._writer:
            if self._writer.idle() and self._memory.trusts(tenants, self._writer.generation):
                values = self._guess(units, keys, tenants)
                if values is not None:
                    return values
            session = _Session(self._writer, tenants, self._memory)
            try:
                tx = Tx(session, keys)
                values = [unit.fn(tx) for unit in units]
                session.commit(tx)
            except BaseException:
                session.rollback()
                raise
            return values

    def _guess(self, units: Sequence[Unit[Any]], keys: Sequence[Key], tenants: set[str]) -> list[Any] | None:
        """The whole transaction in one round trip, on what is remembered; None where that was not good enough.

        Nothing that a unit did here is believed before the database has agreed to it, an exception neither.
        """
        memory, guess = self._memory, Guess(self._memory, tenants)
        try:
            tx = Tx(guess, keys)
            values = [unit.fn(tx) for unit in units]
        except Exception:
            return None
        if not tx.written or not tenants.issuperset(key.tenant for key in tx.written):
            return None
        versions = {tenant: memory.version(tenant) for tenant in sorted(tenants)}
        heads = [(name, old, tx.written.get(HeadKey(name)) or memory.head(name)) for name, old in versions.items()]
        absent = set(guess.absent)
        steps = [*moving(heads), *_refusals(guess, tx.written), *writing(tx.written, tx.sealed, absent)]
        try:
            self._writer.trip(steps, commits=True, whole=True)
        except Stale as stale:
            if stale.state not in FOUND:
                memory.outdated()
                memory.drop(tenants)
            return None
        except BaseException:
            memory.forget()  # it may have landed
            raise
        memory.proved()
        memory.learn(versions, {tenant: version + 1 for tenant, version in versions.items()}, tx.written)
        return values

    def load(self, key: Key) -> Any | None:
        """See `ports.Store`."""
        if type(key) is HeadKey:
            rows = self._ask(only(key.tenant), _HEAD, text(key.tenant))
            return _head(*rows[0]) if rows else None
        steps, groups = loading((key,))
        with self._reader:
            _, *answers = self._reader.trip([only(key.tenant), *steps], again=True)
        return loaded(groups, answers).get(key)

    def runs(self, tenant: str | None = None, *, limit: int = 100, before: int | None = None) -> Sequence[core.Run]:
        """See `ports.Store`."""
        values = (bigint(ALWAYS if before is None else before), bigint(limit))
        if tenant is None:
            return _bodies(RunKey, self._ask(EVERYBODY, _RUNS, *values))
        return _bodies(RunKey, self._ask(only(tenant), _RUNS_OF, *values, text(tenant)))

    def calls_of(self, tenant: str, run_id: str) -> Sequence[Record]:
        """See `ports.Store`."""
        return _bodies(CallKey, self._ask(only(tenant), _CALLS_OF, text(tenant), text(run_id)))

    def steps_of(self, tenant: str, run_id: str) -> Sequence[core.Step]:
        """See `ports.Store`."""
        found = _bodies(StepKey, self._ask(only(tenant), _STEPS_OF, text(tenant), text(run_id)))
        return sorted(found, key=lambda step: step.place)

    def approvals(self, tenant: str | None = None, standing: Standing | None = None) -> Sequence[Approval]:
        """See `ports.Store`."""
        given = [(column, value) for column, value in (("tenant", tenant), ("standing", standing)) if value is not None]
        where = " AND ".join(f"{column} = ${place}::text" for place, (column, _) in enumerate(given, 1)) or "true"
        named = "_".join(["approvals", *(column for column, _ in given)])
        query = statement(named, f"SELECT body FROM approvals WHERE {where} ORDER BY asked_at, approval_id")
        seen = EVERYBODY if tenant is None else only(tenant)
        return _bodies(ApprovalKey, self._ask(seen, query, *(text(value) for _, value in given)))

    def find_approval(self, approval_id: str) -> Approval | None:
        """See `ports.Store`."""
        found = _bodies(ApprovalKey, self._ask(EVERYBODY, _APPROVAL, text(approval_id)))
        return found[0] if found else None

    def lapsed(self, now: int, limit: int = 100) -> Sequence[Record]:
        """See `ports.Store`."""
        return _bodies(CallKey, self._ask(EVERYBODY, _LAPSED, bigint(now), bigint(limit)))

    def accounts(self, tenant: str, since: int = 0) -> Iterable[tuple[AccountKey, Account]]:
        """See `ports.Store`."""
        decode = TABLES[AccountKey].decode
        return [
            (AccountKey(tenant, _str(scope), _str(subject), Window(_str(window)), number(start)), decode(body))
            for scope, subject, window, start, body in self._ask(only(tenant), _ACCOUNTS, text(tenant), bigint(since))
        ]

    def pins(self) -> Sequence[Pin]:
        """See `ports.Store`."""
        return [TABLES[PinKey].decode(body) for (body,) in self._ask(only(SYSTEM), _PINS)]

    def definitions(self) -> Sequence[Definition]:
        """See `ports.Store`."""
        found = _bodies(DefinitionKey, self._ask(only(SYSTEM), _DEFINITIONS))
        return sorted(found, key=lambda each: (each.name, each.at))

    def tenants(self) -> Sequence[str]:
        """See `ports.Store`."""
        return [_str(tenant) for (tenant,) in self._ask(EVERYBODY, _TENANTS)]

    def entries(self, tenant: str, after: int = 0, limit: int | None = None) -> Iterator[Sealed]:
        """See `ports.Store`. Page by page; a log that only grows needs no snapshot."""
        left = ALWAYS if limit is None else limit
        while left > 0:
            size = min(PAGE, left)
            rows = self._ask(only(tenant), _ENTRIES, text(tenant), bigint(after), bigint(size))
            for seq, digest, body in rows:
                after = number(seq)
                yield Sealed(tenant, after, body or b"", _str(digest))
            if len(rows) < size:
                return
            left -= size

    def close(self) -> None:
        """See `ports.Store`."""
        self._writer.close()
        self._reader.close()

    def _ask(self, seen: Step, query: Statement, *values: bytes) -> Rows:
        with self._reader:
            return self._reader.trip([seen, Step(query, values)], again=True)[1]


class _Session:
    """A `ports.Session`: one transaction, begun by its first load, on what is really there."""

    def __init__(self, wire: Wire, tenants: set[str], memory: Memory) -> None:
        self._wire = wire
        self._tenants = tenants
        self._memory = memory
        self._versions: dict[str, int] = {}  #: of the tenants that are locked
        self._heads: dict[str, Head | None] = {}  #: their tips
        self._seen: dict[Key, Any] = {}
        self._open = False

    def load(self, keys: Sequence[Key]) -> Mapping[Key, Any]:
        self._hold(key.tenant for key in keys)
        steps, groups = loading(keys)
        answers = self._wire.trip(steps) if self._open else self._begin(steps)
        found = loaded(groups, answers)
        found.update((key, head) for key in keys if type(key) is HeadKey and (head := self._heads[key.tenant]))
        self._seen.update(dict.fromkeys(keys) | found)
        return found

    def same(self, tenant: str, run_id: str, fingerprint: str) -> Sequence[Record]:
        found = self._records(tenant, _SAME, text(run_id), text(fingerprint))
        if found:
            self._memory.repeated.add((tenant, run_id, fingerprint))
        return found

    def same_in_tenant(self, tenant: str, fingerprint: str, since: int) -> Sequence[Record]:
        found = self._records(tenant, _SAME_IN_TENANT, text(fingerprint), bigint(since))
        if found:
            self._memory.repeated.add((tenant, fingerprint))
        return found

    def calls_of(self, tenant: str, run_id: str) -> Sequence[Record]:
        return self._records(tenant, _CALLS_OF, text(run_id))

    def commit(self, tx: Tx) -> None:
        """Write what was gathered, and commit, in one round trip."""
        self._hold(key.tenant for key in tx.written)
        if not self._open:
            return  # no key was named, so nothing was locked, read or written
        if not tx.written:
            self._wire.trip([_COMMIT])
            after = self._versions
        else:
            heads = [
                (name, version, tx.written.get(HeadKey(name)) or self._heads[name])
                for name, version in sorted(self._versions.items())
            ]
            self._wire.trip([*writing(tx.written, tx.sealed), *moving(heads), _COMMIT], commits=True)
            after = {tenant: version + 1 for tenant, version in self._versions.items()}
        self._open = False
        seen: dict[Key, Any] = {HeadKey(name): head for name, head in self._heads.items()}
        self._memory.learn(self._versions, after, seen | self._seen | tx.written)

    def rollback(self) -> None:
        """Undo everything. Never raises: a connection that cannot is thrown away, and the server rolls it back."""
        if self._open:
            self._open = False
            try:
                self._wire.trip([_ROLLBACK])
            except LedgerUnavailable:
                pass

    def _records(self, tenant: str, query: Statement, *values: bytes) -> list[Record]:
        self._hold((tenant,))
        return _bodies(CallKey, self._wire.trip([Step(query, (text(tenant), *values))])[0])

    def _begin(self, steps: Sequence[Step]) -> list[Rows]:
        """Begin, lock and load. A tenant that has no head yet is given one first, in a transaction of its own: made
        in this one, it would be locked out of order."""
        tenants = sorted(self._tenants)
        seen, lock = only(*tenants), Step(_LOCK, (texts(tenants),))
        while True:
            self._open = True
            _, _, heads, *answers = self._wire.trip([_BEGIN, seen, lock, *steps], again=True)
            if len(heads) == len(self._tenants):
                break
            self._wire.trip([_ROLLBACK, seen, Step(_MAKE_HEADS, (lock.values[0], text(GENESIS)))])
        for name, version, seq, digest in heads:
            self._versions[_str(name)], self._heads[_str(name)] = number(version), _head(seq, digest)
        return answers

    def _hold(self, tenants: Iterable[str]) -> None:
        if not self._tenants.issuperset(touched := set(tenants)):
            stray = sorted(touched - self._tenants)
            raise ValueError(f"a unit touches tenants {stray} and names no key of them, so they are not locked")


def _refusals(guess: Guess, written: Container[Key]) -> list[Step]:
    """What raises IL002 where something is there that a transaction took for absent; what it writes is left out."""
    steps = refusing(key for key in guess.absent if key not in written)
    steps += each_or_all(*_REFUSE_SAME, ("text", "text", "text"), guess.unlike)
    steps += each_or_all(*_REFUSE_SAME_IN_TENANT, ("text", "text", "bigint"), guess.unlike_in_tenant)
    return steps


def _bodies(kind: type, rows: Rows) -> list[Any]:
    decode = TABLES[kind].decode
    return [decode(body) for (body,) in rows]


def _head(seq: bytes | None, digest: bytes | None) -> Head | None:
    """A tip; None for a chain that has no entry yet: its row is only a lock."""
    return Head(number(seq), _str(digest)) if number(seq) else None


def _str(value: bytes | None) -> str:
    return (value or b"").decode()
