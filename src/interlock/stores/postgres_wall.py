"""The second wall of tenancy in PostgreSQL: what a transaction says before it may see or write anybody's rows.

Not the first wall, which is the tenant in every key and every WHERE; this one holds where such a WHERE was forgotten.
Law: whoever names no tenant sees nothing and writes nothing (`sql/postgres/0004_one_tenant.sql`); what is named holds
for one transaction, and travels in the trip that begins it. It is a wall against our own mistakes, not against somebody
who runs SQL of his own as the ledger's role, and could name any tenant.
"""

from __future__ import annotations

import logging

from interlock.stores.wire import Statement, Step, Wire, number, text, texts

#: the tables of tenants' rows
GUARDED = ("heads", "runs", "steps", "calls", "accounts", "approvals", "pins", "definitions", "audit")

_ONE = Statement(b"see_one", b"SELECT set_config('interlock.tenant', $1::text, true)")
_SEVERAL = Statement(b"see_several", b"SELECT interlock_see($1::text[])")
_OPEN = Statement(
    b"unguarded", b"SELECT count(*) FROM unnest($1::text[]) AS t(name) WHERE NOT row_security_active(t.name)"
)

#: Shows the rows of every tenant to the rest of the transaction, which can write nothing: for the watch's and the
#: operators' questions.
EVERYBODY = Step(
    Statement(
        b"see_every",
        b"SELECT set_config('interlock.every_tenant', 'yes', true), set_config('transaction_read_only', 'on', true)",
    )
)

_UNBOUND = (
    "%s: its user is a superuser, has BYPASSRLS, or somebody took row-level security off a table, so nothing but the "
    "WHERE of each statement keeps tenants apart; let `ledger:` name a user without these rights "
    "(docs/operations.md, The database's user)"
)
_log = logging.getLogger("interlock.ledger")


def only(*tenants: str) -> Step:
    """Shows the rows of these tenants, and no others, to the rest of the transaction."""
    if len(tenants) == 1:
        return Step(_ONE, (text("=" + tenants[0]),))  # '' is what it is where nobody has set it, and shall name nobody
    return Step(_SEVERAL, (texts(tenants),))


def warn_without(wire: Wire) -> None:
    """Log a warning where the wall does not bind the user of this connection. An error would lock out whoever runs a
    database of his own, or has just upgraded; and the first wall stands all the same."""
    with wire:
        rows = wire.trip([Step(_OPEN, (texts(GUARDED),))], again=True)[0]
    if number(rows[0][0]):
        _log.warning(_UNBOUND, wire.name)
