"""`interlock approvals`: what waits for a person, and the person's answer.

Not the rules of answering (`core/approval.py`). Law: a person sees all that they say yes to, and where it came from;
who answers is said, never guessed.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Annotated, Any

import msgspec
import typer

from interlock.errors import Refused
from interlock.faces.cli_open import act, look, read_config
from interlock.faces.cli_options import AnId, By, Config, Json, Note, OneTenant, in_json, json_value
from interlock.faces.cli_print import document, moment, say, show, span, table, text

if TYPE_CHECKING:
    from interlock.core.approval import Approval
    from interlock.gateway import Gateway

app = typer.Typer(help="Questions to people, and their answers.", no_args_is_help=True)


@app.command("list")
def list_approvals(
    tenant: OneTenant = None,
    everything: Annotated[bool, typer.Option("--all", help="Answered ones, too.")] = False,
    config: Config = None,
    as_json: Json = False,
) -> None:
    """List what waits for an answer, the oldest first."""
    with look(config) as gateway:
        found = [(each, *_left(gateway, each)) for each in gateway.control.approvals(tenant, waiting=not everything)]
    if in_json(as_json):
        document({"approvals": [_plain(*each) for each in found]})
        return
    if not found:
        say("nothing was ever asked" if everything else "nothing waits for an answer", "dim")
        return
    listed = table("approval", "tenant", "tool", "asked by", "yes", "flagged", "time left", whole="approval")
    for approval, standing, left in found:
        waits = text(span(left)) if standing == "waiting" else text(standing, "dim")
        flagged = text(len(approval.card.suspicious) or "", "red")
        yes = text(f"{len(approval.approvers)} of {approval.quorum}")
        listed.add_row(
            text(approval.approval_id),
            text(approval.tenant),
            text(approval.tool),
            text(approval.agent),
            yes,
            flagged,
            waits,
        )
    show(listed)
    if any(standing == "waiting" for _, standing, _ in found):
        say("see one: interlock approvals show ID; answer it: interlock approvals approve|reject ID --by NAME", "dim")


@app.command("show")
def show_approval(approval_id: AnId, tenant: OneTenant = None, config: Config = None, as_json: Json = False) -> None:
    """Show one question with all that there is to know for an answer."""
    from interlock.faces.cli_card import card

    with look(config) as gateway:
        approval = gateway.store.find_approval(approval_id)
        if approval is None or (tenant and approval.tenant != tenant):
            raise Refused(f"there is no approval {approval_id!r}: see interlock approvals list --all")
        standing, left = _left(gateway, approval)
    if in_json(as_json):
        document(_plain(approval, standing, left))
        return
    show(card(approval, standing, left))


@app.command()
def approve(
    *,
    approval_id: AnId,
    by: By,
    note: Note = "",
    args: Annotated[
        str | None,
        typer.Option("--args", metavar="JSON|@FILE", help="Say yes to these arguments instead, all of them."),
    ] = None,
    tenant: OneTenant = None,
    config: Config = None,
    as_json: Json = False,
) -> None:
    """Say yes. The call runs when the agent sends it again, if nothing else is against it by then."""
    edited = None if args is None else json_value("--args", args)
    if edited is not None and not isinstance(edited, Mapping):
        raise typer.BadParameter("--args must be a JSON object: all arguments of the call, by name")
    # only a tool that is there can say whether new arguments fit it
    upstreams = edited is not None and bool(read_config(config).upstreams)
    with act(config, upstreams=upstreams) as gateway:
        answered = gateway.control.approve(approval_id, by=by, note=note, args=edited, tenant=tenant)
        gateway.noticed(answered.tenant)
        standing, left = _left(gateway, answered)
    if in_json(as_json):
        document(_plain(answered, standing, left))
        return
    if answered.standing == "approved":
        say(f"approved: {answered.tool} runs when the agent sends it again, within {span(left)}", "green")
    else:
        more = answered.quorum - len(answered.approvers)
        say(f"noted: {answered.tool} needs {more} more {'person' if more == 1 else 'people'}", "yellow")


@app.command()
def reject(
    approval_id: AnId, by: By, note: Note = "", tenant: OneTenant = None, config: Config = None, as_json: Json = False
) -> None:
    """Say no. One no is enough."""
    with act(config) as gateway:
        answered = gateway.control.reject(approval_id, by=by, note=note, tenant=tenant)
        gateway.noticed(answered.tenant)
        standing, left = _left(gateway, answered)
    if in_json(as_json):
        document(_plain(answered, standing, left))
        return
    say(f"rejected: {answered.tool} will not run", "red")


def _left(gateway: Gateway, approval: Approval) -> tuple[str, int]:
    """Where it stands, and how long it still waits: its clock stands still under a kill switch. Microseconds."""
    from interlock.core.switch import frozen_time

    now = gateway.clock.now()
    frozen = frozen_time(
        gateway.board.history(), since=approval.asked_at, now=now, tenant=approval.tenant, agent=approval.agent,
        run=approval.run_id, tool=approval.tool,
    )
    left = max(0, approval.expires_at + frozen - now)
    # nobody may have been there yet to write down that its time is up
    return ("expired" if approval.standing == "waiting" and not left else str(approval.standing)), left


def _plain(approval: Approval, standing: str, left: int) -> dict[str, Any]:
    card = {**msgspec.structs.asdict(approval.card), "cost_usd": approval.card.cost_usd / 1e6}
    return {
        **msgspec.structs.asdict(approval),
        "card": card,
        "standing": standing,
        "asked_at": moment(approval.asked_at),
        "expires_at": moment(approval.expires_at),
        "seconds_left": left / 1e6 if standing in ("waiting", "approved") else 0,
        "answers": [{**msgspec.structs.asdict(each), "at": moment(each.at)} for each in approval.answers],
    }
