"""Approvals: list, read, wait, answer.

Not the rules of an answer (`core/approval.py`, `control.py`). Law: an answer is given under the name of the credential;
an agent may look at what it asked, and answers nothing.
"""

from __future__ import annotations

from functools import partial

from interlock.core.approval import Approval, Standing
from interlock.errors import Refused
from interlock.faces.http.bodies.approvals import Approvals, ApprovalView, approval_view
from interlock.faces.http.problems import Problem
from interlock.faces.http.routing import EVENTS, Request, Stream


async def list_approvals(request: Request) -> Approvals:
    """The newest first. A person who serves every tenant sees all of them, or those of `tenant`."""
    asked, control = request.query, request.service.gateway.control
    tenant = request.principal.tenant or asked.tenant or None
    found = await request.service.blocking(control.approvals, tenant, waiting=asked.waiting)
    fitting = [approval for approval in reversed(found) if asked.run_id in ("", approval.run_id)]
    return Approvals([approval_view(each) for each in fitting[: asked.limit]])


async def read_approval(request: Request) -> ApprovalView:
    """One approval; with `wait`, once it waits no more, or as it is after so many seconds."""
    approval = await _approval(request)
    if request.query.wait and approval.standing is Standing.WAITING:
        approval = await request.service.waiting.answered(approval, request.query.wait, request.gone)
    return approval_view(approval)


async def approval_events(request: Request) -> Stream:
    """Server-sent events: what waits now, then whatever changes. `event` is where an approval stands."""
    waiting = request.service.waiting
    if waiting.is_full:
        raise Problem(
            503, "busy", "too many streams are open", remedy="ask again later", headers={"retry-after": "30"},
        )
    tenant = request.principal.tenant or request.query.tenant
    return Stream(EVENTS, waiting.events(tenant, request.gone))


async def approve(request: Request) -> ApprovalView:
    """Say yes; with `args`, to these arguments instead. The call runs when it is sent again."""
    return await _answer(request, yes=True)


async def reject(request: Request) -> ApprovalView:
    """Say no. One no is enough."""
    return await _answer(request, yes=False)


async def _answer(request: Request, *, yes: bool) -> ApprovalView:
    """Whoever has given this same answer before is told how it stands."""
    service, said, by = request.service, request.body, request.principal.name
    approval = await _approval(request)
    control, args = service.gateway.control, said.args if yes else None
    act = partial(control.approve, args=args) if yes else control.reject
    try:
        answered = await service.blocking(act, approval.approval_id, by=by, note=said.note, tenant=approval.tenant)
    except Refused:
        known = await service.blocking(service.gateway.store.find_approval, approval.approval_id)
        if known is None or not _has_said(known, by, yes, args):
            raise
        return approval_view(known)
    service.waiting.look_now()
    return approval_view(answered)


def _has_said(approval: Approval, by: str, yes: bool, args: object) -> bool:
    said = any(answer.by == by and answer.yes is yes for answer in approval.answers)
    return said and args in (None, approval.edited)


async def _approval(request: Request) -> Approval:
    """The approval of this path, where it may be seen. Raises Problem 404."""
    service, who, approval_id = request.service, request.principal, request.path["approval_id"]
    what = f"approval {approval_id!r:.80}"
    approval: Approval | None = await service.blocking(service.gateway.store.find_approval, approval_id)
    if approval is None:
        raise Problem(404, "not_found", f"there is no {what}")
    await service.see(who, approval.tenant, what)
    if who.is_agent and (approval.agent, approval.env) != (who.agent, who.env):
        await service.refuse(who, f"{what}: none of theirs")
        raise Problem(404, "not_found", f"there is no {what}")
    return approval
