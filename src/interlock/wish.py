"""A call on its way: wished, admitted, or found running.

Not the transactions that move it (`admission.py`, `settlement.py`). Law: a ticket is given by an admission alone, and
is the right to perform one call once, until its lease runs out.
"""

from __future__ import annotations

import os
import secrets
from itertools import count

from msgspec import Struct

from interlock.core.call import MICROS, Tool, ToolCall, fingerprint
from interlock.core.canonical import canonical, digest
from interlock.core.record import Lease, Record
from interlock.core.run import Run
from interlock.ports import CallKey

MARGIN = 2 * MICROS  #: a lease outlives the deadline of its effect by this, and nothing starts with less left

_numbers = count(1)
_process = secrets.token_hex(8)  # random for each process, so that numbers tell leases apart everywhere
_AWAY = "away"


class Wish(Struct, frozen=True, gc=False, kw_only=True):
    """A call on its way in, with what can be told of it without the ledger."""

    call: ToolCall
    tool: Tool | None
    problem: str  #: why it cannot be taken, or ""
    arguments: bytes  #: canonical; b"" where they cannot be taken
    fingerprint: str
    owner: str | None = None  #: of a call that is performed away from here; "" where it has no name. None: here


class Ticket(Struct, frozen=True, gc=False, kw_only=True):
    """An admitted call: the right to perform it once."""

    wish: Wish
    record: Record
    run: Run
    lease: Lease
    deadline: int  #: the effect must be over by then


class Running(Struct, frozen=True, gc=False):
    """The same call is being performed by somebody else."""

    key: CallKey
    until: int


def new_lease_id() -> str:
    """An owner that nobody else is."""
    return f"{_process}-{next(_numbers):x}"


def _forked() -> None:
    global _process  # noqa: PLW0603  a child counts on from the same number
    _process = secrets.token_hex(8)


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_forked)


def away_lease_id(owner: str, attempt: int, deadline: int) -> str:
    """The lease of whoever performs away from here: it says whose it is, and by when the effect must be over, so that
    no process has to remember it."""
    return f"{_AWAY}-{digest(owner or secrets.token_hex(16))[:40]}-{attempt:x}-{deadline:x}"


def deadline_of(lease_id: str) -> int | None:
    """By when an effect that is performed away from here must be over; None for a lease of a process of ours."""
    kind, _, rest = lease_id.partition("-")
    return int(rest.rpartition("-")[2], 16) if kind == _AWAY else None


def is_owned_by(lease_id: str, owner: str) -> bool:
    """True where this owner, and no nameless one, was given the lease."""
    return bool(owner) and lease_id.startswith(f"{_AWAY}-{digest(owner)[:40]}-")


def wish_of(call: ToolCall, tool: Tool | None, problem: str) -> Wish:
    """Digest a call, once, outside any transaction."""
    if problem:
        return Wish(call=call, tool=tool, problem=problem, arguments=b"", fingerprint="")
    arguments = canonical(call.args)
    schema = tool.schema_digest if tool else ""
    return Wish(call=call, tool=tool, problem="", arguments=arguments, fingerprint=fingerprint(call, schema, arguments))
