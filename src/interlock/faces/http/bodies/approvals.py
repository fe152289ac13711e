"""Approvals as they go over the wire.

Not the rules of an answer (`core/approval.py`). Law: what a person is shown is redacted, costs are micro-dollars.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any

from msgspec import Meta, Struct, convert

from interlock.core.approval import Approval, Standing
from interlock.faces.http.bodies.shared import Args, Body, Limit, Name, OfTenant, Words


class ListApprovals(OfTenant, frozen=True, kw_only=True):
    """`waiting=false`: all that was ever asked."""

    waiting: bool = True
    run_id: Name = ""
    limit: Limit = 100


class AnswerView(Struct, frozen=True, kw_only=True):
    """One person's answer."""

    by: str
    at: int
    yes: bool
    note: str


class CardView(Struct, frozen=True, kw_only=True):
    """What a person is shown, redacted. `suspicious`: argument → where its value came from."""

    tool: str
    rule: str
    reason: str
    arguments: Mapping[str, Any]
    effect: str
    risk: str
    description: str
    suspicious: Mapping[str, str]
    request: str
    cost_usd: int


class ApprovalView(Struct, frozen=True, kw_only=True):
    """One question to people, and their answers."""

    approval_id: str
    tenant: str
    agent: str
    env: str
    run_id: str
    call_id: str
    tool: str
    digest: str
    policy_version: str
    card: CardView
    asked_at: int
    expires_at: int
    quorum: int
    requested_by: list[str]
    standing: Standing
    answers: list[AnswerView]
    edited: Mapping[str, Any] | None


def approval_view(approval: Approval) -> ApprovalView:
    """An approval for the wire."""
    return convert(approval, ApprovalView, from_attributes=True)


class Approvals(Struct, frozen=True):
    """The newest first."""

    approvals: list[ApprovalView]


class WaitApproval(Body, frozen=True, kw_only=True):
    """`wait`: seconds to wait for an answer, where there is none yet."""

    wait: Annotated[float, Meta(ge=0, le=60)] = 0.0


class Approve(Body, frozen=True, kw_only=True):
    """`args`: approve these arguments instead."""

    note: Words = ""
    args: Args | None = None


class Reject(Body, frozen=True, kw_only=True):
    """Why not."""

    note: Words = ""
