"""Where each kind of value is kept in PostgreSQL, and the statements that load and write it.

Not the transaction around them, and not the schema, which is `sql/postgres`. Law: one statement loads, or writes, any
number of rows of a table, from arrays; every comparison of text is byte by byte.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

import msgspec

from interlock.core.approval import Approval
from interlock.core.audit import Sealed
from interlock.core.budget import Account, AccountKey
from interlock.core.lifecycle import State
from interlock.core.record import Record
from interlock.core.run import Run, Step
from interlock.ports import ApprovalKey, CallKey, HeadKey, Key, Pin, PinKey, RunKey, StepKey
from interlock.stores import wire
from interlock.stores.wire import Rows, Statement, bigints, blobs, booleans, number, texts

_encode = msgspec.json.Encoder().encode
_ENCODERS: dict[str, Any] = {"text": texts, "bigint": bigints, "boolean": booleans}


class Table(NamedTuple):
    """One kind of value: where it is kept, and the columns beside its body."""

    decode: Any
    keys: tuple[str, ...]  #: the columns of the key, as types
    beside: Any  #: value → the columns that only find rows
    extras: tuple[str, ...]  #: their types
    load: Statement
    write: Statement


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
    load = (
        f"SELECT k.place, t.body FROM unnest({wanted}) WITH ORDINALITY AS k({', '.join(key_names)}, place)"
        f" JOIN {name} AS t ON {match}"
    )
    write = (
        f"INSERT INTO {name} ({names}) SELECT * FROM unnest({given})"
        f" ON CONFLICT ({', '.join(key_names)}) DO UPDATE SET {replaced}"
    )
    return Table(
        msgspec.json.Decoder(kind).decode,
        tuple(kind for _, kind in found_by),
        extra,
        tuple(kind for _, kind in beside),
        Statement(f"load_{name}".encode(), load.encode()),
        Statement(f"write_{name}".encode(), write.encode()),
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


def statement(name: str, sql: str) -> Statement:
    return Statement(name.encode(), sql.encode())


_MOVE_HEADS = statement(
    "move_heads",
    "UPDATE heads AS h SET seq = n.seq, hash = n.hash"
    " FROM unnest($1::text[], $2::bigint[], $3::text[]) AS n(tenant, seq, hash)"
    ' WHERE h.tenant = n.tenant COLLATE "C"',
)
_APPEND = statement(
    "append",
    "INSERT INTO audit (tenant, seq, hash, body)"
    " SELECT * FROM unnest($1::text[], $2::bigint[], $3::text[], $4::text[])",
)

def loading(keys: Iterable[Key]) -> tuple[list[wire.Step], list[list[Key]]]:
    """What to run to load keys, and which keys each of it loads. Heads are not among them: the lock loads them."""
    kinds: dict[type, list[Key]] = {}
    for key in keys:
        if type(key) is not HeadKey:
            kinds.setdefault(type(key), []).append(key)
    steps = []
    for kind, wanted in kinds.items():
        table = TABLES[kind]
        steps.append(wire.Step(table.load, _columns(table.keys, wanted)))
    return steps, list(kinds.values())


def loaded(groups: Sequence[Sequence[Key]], answers: Sequence[Rows]) -> dict[Key, Any]:
    """The values that were found."""
    found: dict[Key, Any] = {}
    for keys, rows in zip(groups, answers, strict=True):
        decode = TABLES[type(keys[0])].decode
        for place, body in rows:
            found[keys[number(place) - 1]] = decode(body)
    return found


def writing(written: Mapping[Key, Any], sealed: Sequence[Sealed]) -> list[wire.Step]:
    """What to run to write all that a transaction has gathered."""
    kinds: dict[type, list[tuple[Key, Any]]] = {}
    for key, value in written.items():
        kinds.setdefault(type(key), []).append((key, value))
    heads = kinds.pop(HeadKey, None)
    steps = [_writing(TABLES[kind], pairs) for kind, pairs in kinds.items()]
    if sealed:
        rows = [(each.tenant, each.seq, each.hash) for each in sealed]
        columns = _columns(("text", "bigint", "text"), rows)
        steps.append(wire.Step(_APPEND, (*columns, blobs([each.body for each in sealed]))))
    if heads:
        tips = [(key.tenant, head.seq, head.hash) for key, head in heads]
        steps.append(wire.Step(_MOVE_HEADS, _columns(("text", "bigint", "text"), tips)))
    return steps


def _writing(table: Table, pairs: Sequence[tuple[Key, Any]]) -> wire.Step:
    values = _columns(table.keys, [key for key, _ in pairs])
    if table.extras:
        values += _columns(table.extras, [table.beside(value) for _, value in pairs])
    values.append(blobs([_encode(value) for _, value in pairs]))
    return wire.Step(table.write, values)


def _columns(types: Sequence[str], rows: Sequence[Sequence[Any]]) -> list[bytes]:
    """Rows turned into an array for each column; what a row has beyond the types (a key's kind) is left out."""
    return [_ENCODERS[kind](column) for kind, column in zip(types, zip(*rows, strict=True), strict=False)]
