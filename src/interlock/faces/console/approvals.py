"""The start page: what waits for a person, and the person's answer.

Not the rules of answering (`core/approval.py`). Law: a person sees all that they say yes to, and where it came from;
arguments that came back with a mark of redaction in them are never performed.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import msgspec
from starlette.responses import Response

from interlock.core.approval import Approval, Standing
from interlock.core.switch import Switch
from interlock.errors import InterlockError
from interlock.faces.console.desk import Visit
from interlock.faces.console.standing import Stands, stands
from interlock.faces.console.switches import visible
from interlock.faces.console.words import editable, leaves
from interlock.faces.http.problems import Problem
from interlock.redaction import MARK

if TYPE_CHECKING:
    from interlock.gateway import Gateway

MOST = 100  #: cards on one page


def waiting_for(gateway: Gateway, tenant: str) -> Sequence[Approval]:
    """What waits, the newest first."""
    return sorted(gateway.control.approvals(tenant or None), key=lambda each: (-each.asked_at, each.approval_id))


async def waiting(visit: Visit) -> Response:
    """What waits for an answer."""
    tenant = await visit.tenant()

    def look() -> tuple[list[dict[str, Any]], int, list[Switch]]:
        gateway, switches = visit.gateway, visit.gateway.board.history()
        found = [stands(gateway, each, visit.principal, switches) for each in waiting_for(gateway, tenant)]
        found = [each for each in found if each.waits]
        active = [each for each in switches if each.active and visible(visit.principal, each)]
        return [_card(each) for each in found[:MOST]], len(found), active

    cards, total, switches = await visit.blocking(look)
    undelivered = [each for each in visit.gateway.undelivered() if visit.principal.sees(each.tenant)]
    return visit.page(
        "approvals.html", cards=cards, total=total, tenant=tenant, tenants=await visit.tenants(), switches=switches,
        undelivered=undelivered,
    )


async def one(visit: Visit) -> Response:
    """One approval, whatever became of it."""
    approval = await _found(visit)
    return await _shown(visit, approval)


async def approve(visit: Visit) -> Response:
    """A yes, to the arguments as they stand or as they were edited."""
    approval, form = await _found(visit), visit.form
    args: dict[str, Any] | None = None
    if form.get("what") == "edited":
        args, problem = _edited(form.get("args", ""))
        if problem:
            return await _shown(visit, approval, problem, 422)
    try:
        answered = await visit.blocking(
            visit.gateway.control.approve, approval.approval_id, by=visit.principal.name, note=form.get("note", ""),
            args=args, tenant=approval.tenant,
            seen=form.get("digest", "") or "nothing",  # what was edited since the page was made is not approved unseen
        )
    except InterlockError as error:
        return await _shown(visit, await _found(visit), str(error), 409)
    return await _answered(visit, answered, "approved" if answered.standing is Standing.APPROVED else "noted")


async def reject(visit: Visit) -> Response:
    """A no."""
    approval = await _found(visit)
    try:
        answered = await visit.blocking(
            visit.gateway.control.reject, approval.approval_id, by=visit.principal.name,
            note=visit.form.get("note", ""), tenant=approval.tenant,
        )
    except InterlockError as error:
        return await _shown(visit, await _found(visit), str(error), 409)
    return await _answered(visit, answered, "rejected")


async def _found(visit: Visit) -> Approval:
    approval_id = visit.request.path_params["approval_id"]
    what = f"approval {approval_id!r:.80}"
    found = await visit.blocking(visit.gateway.store.find_approval, approval_id)
    if found is None:
        raise Problem(404, "not_found", f"there is no {what}")
    await visit.service.see(visit.principal, found.tenant, what)
    return found


async def _answered(visit: Visit, approval: Approval, done: str) -> Response:
    if visit.by_htmx:
        return await _shown(visit, approval)
    return visit.go(f"/approvals/{approval.approval_id}", done=done)


async def _shown(visit: Visit, approval: Approval, problem: str = "", status: int = 200) -> Response:
    found = await visit.blocking(stands, visit.gateway, approval, visit.principal)
    template = "approval_card.html" if visit.by_htmx else "approval.html"
    return visit.page(template, status, **_card(found, problem, visit.form))


def _card(found: Stands, problem: str = "", form: Any = None) -> dict[str, Any]:
    approval, said = found.approval, form or {}
    return {
        "stands": found,
        "approval": approval,
        "leaves": leaves(approval.card.arguments, approval.card.suspicious),
        "edited": None if approval.edited is None else leaves(approval.edited, {}),
        "editable": said.get("args", "") or editable(approval),
        "note": said.get("note", ""),
        "editing": said.get("what") == "edited",
        "problem": problem,
    }


def _edited(text: str) -> tuple[dict[str, Any], str]:
    """What a person has written as arguments, and what is wrong with it."""
    try:
        args = msgspec.json.decode(text)
    except (msgspec.DecodeError, ValueError, RecursionError) as error:
        return {}, f"The edited arguments are not JSON: {error}."
    if not isinstance(args, dict):
        return {}, "The edited arguments must be a JSON object: all arguments of the call, by name."
    if MARK in text:
        return {}, f"The edited arguments still hold {MARK}: write the whole value, or approve them as they are."
    return args, ""
