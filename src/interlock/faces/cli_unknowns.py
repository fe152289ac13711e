"""`interlock unknowns`: the calls of which nobody knows whether they happened.

Not the answer to them (`interlock reconcile`). Law: this only looks; what it shows is what can be reconciled now.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from shlex import quote
from typing import TYPE_CHECKING, Annotated, Any

import typer

from interlock.core.lifecycle import State
from interlock.faces.cli_open import look
from interlock.faces.cli_options import Config, Json, OneTenant, in_json
from interlock.faces.cli_print import document, moment, say, show, span, table, text

if TYPE_CHECKING:
    from interlock.core.record import Record
    from interlock.gateway import Gateway

WHAT_TO_DO = "look in the tool's own system, then say what you found, with --happened or --did-not-happen:"
LEFT = "whoever performed it was not heard of before its lease ran out"  # nobody may have been there to write it down


def unknowns(
    tenant: OneTenant = None,
    limit: Annotated[int, typer.Option("--limit", "-n", min=1, max=100_000, help="At most so many.")] = 100,
    config: Config = None,
    as_json: Json = False,
) -> None:
    """List the calls that may have happened or not, of the newest run first. It looks at every run."""
    with look(config) as gateway:
        found = _found(gateway, tenant)
        listed = [record for _, record in zip(range(limit), found, strict=False)]
        more = next(found, None) is not None
        now = gateway.clock.now()
    if in_json(as_json):
        document({"unknowns": [_plain(record) for record in listed], "more": more})
        return
    if not listed:
        say("no call is unknown", "dim")
        return
    made = table("tenant", "run", "call", "tool", "asked", "why", whole="run")
    for record in listed:
        call, ago = record.call, text(f"{span(now - record.asked_at)} ago")
        why = text(record.error or LEFT, "dim")
        made.add_row(text(call.tenant), text(call.run_id), text(call.key), text(call.tool), ago, why)
    show(made)
    if more:
        say(f"there are more: --limit, now {limit}", "dim")
    show(text(""), text(WHAT_TO_DO, "dim"))
    say(how_to_end(listed[0]), "dim")


def open_unknowns(records: Iterable[Record], now: int) -> list[Record]:
    """Those that a person can reconcile now: unknown, or a write whose lease has run out."""
    return [
        record
        for record in records
        if record.state is State.UNKNOWN
        or (record.state is State.LEASED and record.writes and record.lease is not None and record.lease.until <= now)
    ]


def how_to_end(record: Record) -> str:
    """The command that ends this unknown, but for what was found: pasted as it is, it says what is missing."""
    call = record.call
    which = f"--tenant {quote(call.tenant)} --run {quote(call.run_id)} --call {quote(call.key)}"
    return f"interlock reconcile {which} --by NAME"


def _found(gateway: Gateway, tenant: str | None) -> Iterator[Record]:
    from interlock.faces.cli_runs import runs

    for run in runs(gateway, tenant):
        yield from open_unknowns(gateway.store.calls_of(run.tenant, run.run_id), gateway.clock.now())


def _plain(record: Record) -> dict[str, Any]:
    call, held = record.call, record.hold
    return {
        "tenant": call.tenant, "run_id": call.run_id, "call_id": call.call_id, "key": call.key, "tool": call.tool,
        "agent": call.agent, "env": call.env, "args": record.args, "why": record.error or LEFT,
        "asked_at": moment(record.asked_at), "since": moment(record.settled_at),
        "held": {"tool_calls": held.amounts.tool_calls, "usd": held.amounts.usd / 1e6} if held else None,
    }
