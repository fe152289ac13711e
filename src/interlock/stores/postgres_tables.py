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
from interlock.stores import wire
from interlock.stores.postgres_wall import only
from interlock.stores.wire import Rows, Statement, bigint, bigints, blobs, boolean, booleans, number, texts

FEW = 2  #: for so many rows a statement has parameters, which cost less than taking arrays apart

_encode = msgspec.json.Encoder().encode
_ONE: dict[str, Any] = {"text": str.encode, "bigint": bigint, "boolean": boolean, "bytes": bytes}
_ENCODERS: dict[str, Any] = {"text": texts, "bigint": bigints, "boolean": booleans, "bytes": blobs}


class Writing(NamedTuple):
    """How rows of one kind are written."""

    few: tuple[Statement, ...]  #: one row, two rows, …
    many: Statement


class Table(NamedTuple):
    """One kind of value: where it is kept, and the columns beside its body."""

    decode: Any
    keys: tuple[str, ...]  #: the columns of the key, as types
    beside: Any  #: value → the columns that only find rows
    extras: tuple[str, ...]  #: their types
    load: Statement
    write: Writing
    add: Writing  #: an error where one of the keys exists
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
    match = " AND ".join(
        f"t.{column} = k.{column}" + (' COLLATE "C"' if kind == "text" else "") for column, kind in found_by
    )
    replaced = ", ".join(f"{column} = excluded.{column}" for column, _ in columns if column not in key_names)
    found = f"FROM unnest({wanted}) WITH ORDINALITY AS k({', '.join(key_names)}, place) JOIN {name} AS t ON {match}"
    this = " AND ".join(f"{column} = ${place}::{kind}" for place, (column, kind) in enumerate(found_by, 1))
    into = f"{name} ({names})"
    upsert = f"ON CONFLICT ({', '.join(key_names)}) DO UPDATE SET {replaced}"
    return Table(
        msgspec.json.Decoder(kind).decode,
        tuple(kind for _, kind in found_by),
        extra,
        tuple(kind for _, kind in beside),
        statement(f"load_{name}", f"SELECT k.place, t.body {found}"),
        _writing(f"write_{name}", into, [kind for _, kind in columns], upsert),
        _writing(f"add_{name}", into, [kind for _, kind in columns]),
        statement(f"refuse_{name}", f"SELECT interlock_repeat('IL002') {found}"),
        statement(f"refuse_one_{name}", f"SELECT interlock_repeat('IL002') FROM {name} WHERE {this}"),
    )


def _writing(name: str, into: str, types: Sequence[str], upsert: str = "") -> Writing:
    def row(number: int) -> str:
        return ", ".join(f"${place}::{kind}" for place, kind in enumerate(types, number * len(types) + 1))

    few = [", ".join(f"({row(number)})" for number in range(rows)) for rows in range(1, FEW + 1)]
    arrays = ", ".join(f"${place}::{kind}[]" for place, kind in enumerate(types, 1))
    return Writing(
        tuple(
            statement(f"{name}_{rows}", f"INSERT INTO {into} VALUES {values} {upsert}")
            for rows, values in enumerate(few, 1)
        ),
        statement(name, f"INSERT INTO {into} SELECT * FROM unnest({arrays}) {upsert}"),
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
    DefinitionKey: _table("definitions", Definition, "tenant:text name:text digest:text"),
}


_MOVE = statement("move", "SELECT interlock_move($1::text[], $2::bigint[], $3::bigint[], $4::text[])")
_MOVE_ONE = statement("move_one", "SELECT interlock_move_one($1::text, $2::bigint, $3::bigint, $4::text)")
_APPEND = _writing("append", "audit (tenant, seq, hash, body)", ["text", "bigint", "text", "text"])


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
    """What names tenants, so that the rest of the transaction sees their rows, and takes their heads to the next
    version; they are given as tenant, version before, and new tip, in order."""
    rows = [(tenant, old, tip.seq, tip.hash) if tip else (tenant, old, 0, GENESIS) for tenant, old, tip in tips]
    types = ("text", "bigint", "bigint", "text")
    if len(rows) == 1:
        return each_or_all(_MOVE_ONE, _MOVE, types, rows)
    names = [tenant for tenant, *_ in rows]
    return [only(*names), wire.Step(_MOVE, _columns(types, rows))]  # in that order, whatever the planner thinks


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
        steps.append(_written(table.add if adds else table.write, (*table.keys, *table.extras, "bytes"), rows))
    rows = [(each.tenant, each.seq, each.hash, each.body) for each in sealed]
    return [*steps, _written(_APPEND, ("text", "bigint", "text", "bytes"), rows)] if rows else steps


def _written(how: Writing, types: Sequence[str], rows: Sequence[Sequence[Any]]) -> wire.Step:
    if len(rows) > FEW:
        return wire.Step(how.many, _columns(types, rows))
    return wire.Step(how.few[len(rows) - 1], [value for row in rows for value in _row(types, row)])


def each_or_all(
    one: Statement, many: Statement, types: Sequence[str], rows: Sequence[Sequence[Any]]
) -> list[wire.Step]:
    """A statement for each of a few rows, one for all of many."""
    if len(rows) > FEW:
        return [wire.Step(many, _columns(types, rows))]
    return [wire.Step(one, _row(types, row)) for row in rows]


def _row(types: Sequence[str], row: Sequence[Any]) -> list[bytes | None]:
    return [None if value is None else _ONE[kind](value) for kind, value in zip(types, row, strict=True)]


def _columns(types: Sequence[str], rows: Sequence[Sequence[Any]]) -> list[bytes]:
    """Rows turned into an array for each column; what a row has beyond the types (a key's kind) is left out."""
    return [_ENCODERS[kind](column) for kind, column in zip(types, zip(*rows, strict=True), strict=False)]
