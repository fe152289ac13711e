"""Where each kind of value is kept in PostgreSQL, and the statements that load and write it.

Not the transaction around them, and not the schema, which is `sql/postgres`. Law: one statement loads, or writes, any
number of rows of a table, from arrays; every comparison of text is byte by byte.
"""

from __future__ import annotations

from collections.abc import Container, Iterable, Mapping, Sequence
from typing import Any, NamedTuple

import msgspec

from interlock.core.approval import Approval
from interlock.core.audit import GENESIS, Head, Sealed
from interlock.core.budget import Account, AccountKey
from interlock.core.lifecycle import State
from interlock.core.record import Record
from interlock.core.run import Run, Step
from interlock.ports import ApprovalKey, CallKey, HeadKey, Key, Pin, PinKey, RunKey, StepKey
from interlock.stores import wire
from interlock.stores.wire import Rows, Statement, bigint, bigints, blobs, boolean, booleans, number, texts

_encode = msgspec.json.Encoder().encode
_ONE: dict[str, Any] = {"text": str.encode, "bigint": bigint, "boolean": boolean, "bytes": bytes}
_ENCODERS: dict[str, Any] = {"text": texts, "bigint": bigints, "boolean": booleans, "bytes": blobs}


class Table(NamedTuple):
    """One kind of value: where it is kept, and the columns beside its body."""

    decode: Any
    keys: tuple[str, ...]  #: the columns of the key, as types
    beside: Any  #: value → the columns that only find rows
    extras: tuple[str, ...]  #: their types
    load: Statement
    write: Statement  #: any number of rows
    write_one: Statement
    add: Statement  #: the same, and an error where one of the keys exists
    add_one: Statement
    refuse: Statement  #: raises IL002 where one of the keys exists
    refuse_one: Statement


def statement(name: str, sql: str) -> Statement:
    return Statement(name.encode(), sql.encode())


def _table(name: str, kind: type, keys: str, extras: str = "", extra: Any = lambda _: ()) -> Table:
    """Keys and extras are given as "column:type column:type"."""
    found_by, beside = ([part.split(":") for part in columns.split()] for columns in (keys, extras))
    key_names = [column for column, _ in found_by]
    columns = [*found_by, *beside, ["body", "text"]]
    names = ", ".join(column for column, _ in columns)
    wanted = ", ".join(f"${place}::{kind}[]" for place, (_, kind) in enumerate(found_by, 1))
    given = ", ".join(f"${place}::{kind}[]" for place, (_, kind) in enumerate(columns, 1))
    match = " AND ".join(
        f"t.{column} = k.{column}" + (' COLLATE "C"' if kind == "text" else "") for column, kind in found_by
    )
    replaced = ", ".join(f"{column} = excluded.{column}" for column, _ in columns if column not in key_names)
    found = f"FROM unnest({wanted}) WITH ORDINALITY AS k({', '.join(key_names)}, place) JOIN {name} AS t ON {match}"
    this = " AND ".join(f"{column} = ${place}::{kind}" for place, (column, kind) in enumerate(found_by, 1))
    insert = f"INSERT INTO {name} ({names})"
    one = ", ".join(f"${place}::{kind}" for place, (_, kind) in enumerate(columns, 1))
    upsert = f"ON CONFLICT ({', '.join(key_names)}) DO UPDATE SET {replaced}"
    return Table(
        msgspec.json.Decoder(kind).decode,
        tuple(kind for _, kind in found_by),
        extra,
        tuple(kind for _, kind in beside),
        statement(f"load_{name}", f"SELECT k.place, t.body {found}"),
        statement(f"write_{name}", f"{insert} SELECT * FROM unnest({given}) {upsert}"),
        statement(f"write_one_{name}", f"{insert} VALUES ({one}) {upsert}"),
        statement(f"add_{name}", f"{insert} SELECT * FROM unnest({given})"),
        statement(f"add_one_{name}", f"{insert} VALUES ({one})"),
        statement(f"refuse_{name}", f"SELECT interlock_repeat('IL002') {found}"),
        statement(f"refuse_one_{name}", f"SELECT interlock_repeat('IL002') FROM {name} WHERE {this}"),
    )


def _of_call(record: Record) -> tuple[Any, ...]:
    until = record.lease.until if record.state is State.LEASED and record.lease is not None else None
    return (record.fingerprint, record.state, until, record.asked_at, record.tenant_wide)


TABLES: dict[type, Table] = {
    RunKey: _table(
        "runs", Run, "tenant:text run_id:text", "opened_at:bigint agent:text", lambda run: (run.opened_at, run.agent)
    ),
    StepKey: _table("steps", Step, "tenant:text run_id:text step_id:text"),
    CallKey: _table(
        "calls",
        Record,
        "tenant:text run_id:text key:text",
        "fingerprint:text state:text lease_until:bigint asked_at:bigint tenant_wide:boolean",
        _of_call,
    ),
    AccountKey: _table("accounts", Account, "tenant:text scope:text subject:text win:text start:bigint"),
    ApprovalKey: _table(
        "approvals",
        Approval,
        "tenant:text approval_id:text",
        "standing:text asked_at:bigint",
        lambda approval: (approval.standing, approval.asked_at),
    ),
    PinKey: _table("pins", Pin, "tenant:text tool:text"),
}


_MOVE = statement("move", "SELECT interlock_move($1::text[], $2::bigint[], $3::bigint[], $4::text[])")
_MOVE_ONE = statement(
    "move_one",
    "WITH moved AS (UPDATE heads SET seq = $3::bigint, hash = $4::text, version = version + 1"
    " WHERE tenant = $1::text AND version = $2::bigint RETURNING tenant)"
    " SELECT interlock_repeat('IL001') WHERE NOT EXISTS (SELECT FROM moved)",
)
_APPEND = statement(
    "append",
    "INSERT INTO audit (tenant, seq, hash, body)"
    " SELECT * FROM unnest($1::text[], $2::bigint[], $3::text[], $4::text[])",
)
_APPEND_ONE = statement(
    "append_one", "INSERT INTO audit (tenant, seq, hash, body) VALUES ($1::text, $2::bigint, $3::text, $4::text)"
)
FEW = 2  #: so many rows are written one by one: a statement costs less than taking arrays apart


def loading(keys: Iterable[Key]) -> tuple[list[wire.Step], list[list[Key]]]:
    """What to run to load keys, and which keys each of it loads. Heads are not among them: the lock loads them."""
    kinds = _by_kind(keys)
    steps = [wire.Step(TABLES[kind].load, _columns(TABLES[kind].keys, wanted)) for kind, wanted in kinds.items()]
    return steps, list(kinds.values())


def _by_kind(keys: Iterable[Key]) -> dict[type, list[Key]]:
    kinds: dict[type, list[Key]] = {}
    for key in keys:
        if type(key) is not HeadKey:
            kinds.setdefault(type(key), []).append(key)
    return kinds


def loaded(groups: Sequence[Sequence[Key]], answers: Sequence[Rows]) -> dict[Key, Any]:
    """The values that were found."""
    found: dict[Key, Any] = {}
    for keys, rows in zip(groups, answers, strict=True):
        decode = TABLES[type(keys[0])].decode
        for place, body in rows:
            found[keys[number(place) - 1]] = decode(body)
    return found


def refusing(keys: Iterable[Key]) -> list[wire.Step]:
    """What raises IL002 where one of these keys exists."""
    steps: list[wire.Step] = []
    for kind, rows in _by_kind(keys).items():
        table = TABLES[kind]
        steps += each_or_all(table.refuse_one, table.refuse, table.keys, [key[:-1] for key in rows])
    return steps


def moving(tips: Sequence[tuple[str, int, Head | None]]) -> list[wire.Step]:
    """What takes heads, given as tenant, version before, and new tip, in order, to their next version."""
    rows = [(tenant, old, tip.seq, tip.hash) if tip else (tenant, old, 0, GENESIS) for tenant, old, tip in tips]
    types = ("text", "bigint", "bigint", "text")
    if len(rows) == 1:
        return each_or_all(_MOVE_ONE, _MOVE, types, rows)
    return [wire.Step(_MOVE, _columns(types, rows))]  # in the order of the tenants, whatever the planner thinks


def writing(
    written: Mapping[Key, Any], sealed: Sequence[Sealed], absent: Container[Key] = ()
) -> list[wire.Step]:
    """What to run to write all that a transaction has gathered, the heads left out. What was taken for absent is added,
    which is cheaper than to look first, and fails where it is there."""
    kinds: dict[tuple[type, bool], list[tuple[Any, ...]]] = {}
    for key, value in written.items():
        kind = type(key)
        if kind is not HeadKey:
            row = (*key[:-1], *TABLES[kind].beside(value), _encode(value))
            kinds.setdefault((kind, key in absent), []).append(row)
    steps: list[wire.Step] = []
    for (kind, adds), rows in kinds.items():
        table = TABLES[kind]
        one, many = (table.add_one, table.add) if adds else (table.write_one, table.write)
        steps += each_or_all(one, many, (*table.keys, *table.extras, "bytes"), rows)
    rows = [(each.tenant, each.seq, each.hash, each.body) for each in sealed]
    return steps + each_or_all(_APPEND_ONE, _APPEND, ("text", "bigint", "text", "bytes"), rows)


def each_or_all(
    one: Statement, many: Statement, types: Sequence[str], rows: Sequence[Sequence[Any]]
) -> list[wire.Step]:
    """A statement for each of a few rows, one for all of many."""
    if len(rows) > FEW:
        return [wire.Step(many, _columns(types, rows))]
    return [
        wire.Step(one, [None if value is None else _ONE[kind](value) for kind, value in zip(types, row, strict=True)])
        for row in rows
    ]


def _columns(types: Sequence[str], rows: Sequence[Sequence[Any]]) -> list[bytes]:
    """Rows turned into an array for each column; what a row has beyond the types (a key's kind) is left out."""
    return [_ENCODERS[kind](column) for kind, column in zip(types, zip(*rows, strict=True), strict=False)]
