"""A person's answer to an ASK, bound to a digest.

Not the right to perform: an approved call is weighed again when it comes. Law: silence is no; whoever asked cannot
answer yes; one no is enough; an answer is used up by one performance; editing the arguments starts the count anew.
"""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum
from typing import Any

from msgspec import Struct
from msgspec.structs import replace


class Standing(StrEnum):
    """Where an approval stands."""

    WAITING = "waiting"  #: not enough people have answered
    APPROVED = "approved"  #: enough have said yes; not used yet
    REJECTED = "rejected"  #: somebody said no
    EXPIRED = "expired"  #: nobody answered in time, or nobody used the answer in time
    CONSUMED = "consumed"  #: used, by one performance
    WITHDRAWN = "withdrawn"  #: no longer needed, or no longer what would run


class Answer(Struct, frozen=True, gc=False, omit_defaults=True):
    """One person's answer."""

    by: str
    at: int
    yes: bool
    note: str = ""


class Card(Struct, frozen=True, gc=False, omit_defaults=True):
    """What a person is shown. All of it redacted."""

    tool: str
    rule: str
    reason: str
    arguments: Mapping[str, Any]
    effect: str
    risk: str
    description: str = ""
    suspicious: Mapping[str, str] = {}  #: argument → where its value came from, where that is not the user's request
    request: str = ""  #: the user's own words
    cost_usd: int = 0  #: micro-dollars


class Approval(Struct, frozen=True, gc=False, kw_only=True, omit_defaults=True):
    """One question to people, and their answers."""

    approval_id: str
    tenant: str
    agent: str
    env: str
    run_id: str
    call_id: str
    key: str
    tool: str
    digest: str  #: tenant, env, tool, canonical arguments, tool schema; of the edited arguments after an edit
    policy_version: str  #: of the policy that asked
    card: Card
    asked_at: int
    expires_at: int  #: not counting the time under a kill switch
    quorum: int = 1
    requested_by: tuple[str, ...] = ()  #: who cannot approve
    standing: Standing = Standing.WAITING
    answers: tuple[Answer, ...] = ()
    asked_digest: str = ""  #: the digest that was asked about, where the arguments were edited since
    edited: Mapping[str, Any] | None = None  #: the arguments to perform instead, where a person edited them
    notified: bool = False  #: the notifier has delivered it

    @property
    def approvers(self) -> tuple[str, ...]:
        """Who said yes to what stands now."""
        return tuple(answer.by for answer in self.answers if answer.yes)

    def asked_by(self, person: str) -> bool:
        """True for whoever asked, however they spell their name: a person has no second one in capitals."""
        return any(_same(person, name) for name in self.requested_by)

    def expired(self, now: int, frozen: int) -> bool:
        """True where its time is up, `frozen` microseconds of kill switch not counted."""
        return now >= self.expires_at + frozen


def refusal(approval: Approval, by: str, *, yes: bool = True) -> str | None:
    """Why this person cannot answer yes (or no) now, or None. A no may come from whoever asked, or has said yes."""
    if not by:
        return "say who answers: by="
    if approval.standing is not Standing.WAITING:
        return f"approval {approval.approval_id} is {approval.standing} already"
    if yes and approval.asked_by(by):
        return f"{by!r} asked for this call and cannot approve it"
    if yes and any(_same(by, name) for name in approval.approvers) and approval.edited is None:
        return f"{by!r} has approved this already; it takes {approval.quorum} different people"
    return None


def approve(approval: Approval, answer: Answer, edited: Mapping[str, Any] | None, digest: str) -> Approval:
    """The approval after one yes, to the arguments as they stand or as this person has edited them."""
    if edited is not None and digest != approval.digest:
        approval = replace(
            approval, asked_digest=approval.asked_digest or approval.digest, digest=digest, edited=edited, answers=()
        )
    answers = (*(earlier for earlier in approval.answers if not _same(earlier.by, answer.by)), answer)
    enough = sum(1 for each in answers if each.yes) >= approval.quorum
    return replace(approval, answers=answers, standing=Standing.APPROVED if enough else Standing.WAITING)


def reject(approval: Approval, answer: Answer) -> Approval:
    """The approval after one no."""
    return replace(approval, answers=(*approval.answers, answer), standing=Standing.REJECTED)


def _same(one: str, other: str) -> bool:
    return one.casefold() == other.casefold()
