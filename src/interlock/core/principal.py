"""Who asks: an agent, or a person, as a credential says.

Not the credential (`identity.py`), and not the decision about a tool call. Law: tenant, agent and env of whatever a
principal does come from here, never from what it sends; an agent acts as an agent alone, whatever else it claims.
"""

from __future__ import annotations

from enum import StrEnum

from msgspec import Struct


class Role(StrEnum):
    """What a principal may do at the faces. (What an argument of a tool is, is `core.call.Role`.)"""

    AGENT = "agent"  #: open runs and make calls, as one agent of one tenant
    APPROVER = "approver"  #: answer approvals
    OPERATOR = "operator"  #: stop, kill, release, reconcile, top up, accept definitions
    AUDITOR = "auditor"  #: read everything, change nothing
    ADMIN = "admin"  #: all that a person may do, and give keys


class Principal(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """Whoever stands behind a request."""

    name: str  #: as the audit has it: `by`
    roles: tuple[Role, ...]
    tenant: str = ""  #: "" for a person who serves every tenant; an agent has one
    agent: str = ""  #: of an agent
    env: str = ""  #: of an agent
    key_id: str = ""  #: "" where no key of ours stands behind it

    @property
    def is_agent(self) -> bool:
        """True for an agent: then it is nothing else."""
        return Role.AGENT in self.roles

    def may(self, *roles: Role) -> bool:
        """True where one of these roles is held. An admin holds every role of a person."""
        if self.is_agent:
            return Role.AGENT in roles
        return any(role in self.roles for role in roles) or (Role.ADMIN in self.roles and set(roles) != {Role.AGENT})

    def sees(self, tenant: str) -> bool:
        """True where what belongs to this tenant is not another's."""
        return not self.tenant or self.tenant == tenant

    def may_give(self, other: Principal) -> bool:
        """True where this one may give keys to that one: an admin, and one of a tenant within that tenant alone."""
        return self.may(Role.ADMIN) and (not self.tenant or self.tenant == other.tenant)


def problem_with(principal: Principal) -> str | None:
    """Why there can be no such principal, or None."""
    if not principal.roles:
        return "needs a role"
    if principal.is_agent:
        if principal.roles != (Role.AGENT,):
            return "an agent can hold no other role: whoever asks must not approve"
        missing = [what for what in ("tenant", "agent", "env") if not getattr(principal, what)]
        return f"an agent needs {', '.join(missing)}" if missing else None
    if principal.agent or principal.env:
        return "agent and env are an agent's; a person has neither"
    return None


class AccessKey(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """A key as it is stored: never the secret itself."""

    key_id: str
    digest: str  #: SHA-256 of the secret, hex
    principal: Principal
    created_at: int
    created_by: str = ""
    expires_at: int | None = None
    revoked_at: int | None = None
    revoked_by: str = ""
    audited: bool = False  #: its revocation stands in the audit

    def usable(self, now: int) -> bool:
        """True where it is neither revoked nor expired."""
        return self.revoked_at is None and (self.expires_at is None or now < self.expires_at)
