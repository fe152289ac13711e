"""Where an approval stands now, for the person who looks at it.

Not the rules of answering (`core/approval.py`). Law: read, never kept; what would be refused is said before
it is tried.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from msgspec import Struct

from interlock.core.approval import Approval, Standing, refusal
from interlock.core.call import Effect
from interlock.core.decide import killed_by
from interlock.core.principal import Principal, Role
from interlock.core.switch import Switch, frozen_time

if TYPE_CHECKING:
    from interlock.gateway import Gateway


class Stands(Struct, frozen=True, kw_only=True):
    """One approval, and how it stands."""

    approval: Approval
    standing: str
    left: int  #: microseconds
    frozen: str  #: the kill switch that it waits under, or ""
    in_the_way: str  #: why this person cannot say yes, or ""
    may_answer: bool  #: it is theirs to answer, whatever is in the way

    @property
    def waits(self) -> bool:
        """True where an answer is still wanted."""
        return self.standing == "waiting"

    @property
    def can_refuse(self) -> bool:
        """True where this person can say no: whoever asked can, too."""
        return self.may_answer and self.waits and not self.frozen

    @property
    def mark(self) -> str:
        """Changes when there is something new to show."""
        return f"{self.standing}.{len(self.approval.answers)}.{self.approval.digest[-8:]}.{bool(self.frozen):d}"


def stands(
    gateway: Gateway, approval: Approval, principal: Principal, switches: tuple[Switch, ...] | None = None
) -> Stands:
    """How it stands at this moment. Its clock stands still while a kill switch holds for it. `switches`: all that ever
    were, where they were read already."""
    now, history = gateway.clock.now(), gateway.board.history() if switches is None else switches
    since = approval.answers[-1].at if approval.standing is Standing.APPROVED else approval.asked_at
    scope = {"tenant": approval.tenant, "agent": approval.agent, "run": approval.run_id, "tool": approval.tool}
    still = frozen_time(
        history, since=since, now=now, tenant=approval.tenant, agent=approval.agent,
        run=approval.run_id, tool=approval.tool,
    )
    left = max(0, approval.expires_at + still - now)
    standing = "expired" if approval.standing is Standing.WAITING and not left else str(approval.standing)
    reason = None
    if standing == "waiting":
        reason = killed_by(tuple(each for each in history if each.active), **scope, effect=Effect(approval.card.effect))
    return Stands(
        approval=approval, standing=standing, left=left, frozen=reason.text if reason is not None else "",
        in_the_way=refusal(approval, principal.name) or "", may_answer=principal.may(Role.APPROVER),
    )
