"""Kill switches: who may perform nothing, or write nothing, until a person lets go.

Not the store of them, and not the cancelling. Law: a switch holds for every call that its scope matches; a scope that
names several things matches where all of them do; releasing one scope leaves every other as it is.
"""

from __future__ import annotations

from collections.abc import Iterable
from enum import StrEnum
from fnmatch import fnmatchcase

from msgspec import Struct


class Mode(StrEnum):
    """What a switch forbids."""

    ALL = "all"  #: everything
    WRITES = "writes"  #: whatever is not a plain read


class Scope(Struct, frozen=True, gc=False, omit_defaults=True):
    """What a switch holds for. A field left empty holds for all; all empty is everything. `tool` may be a glob."""

    tenant: str = ""
    agent: str = ""
    tool: str = ""
    run: str = ""

    def matches(self, *, tenant: str, agent: str, run: str, tool: str | None) -> bool:
        """True where all that the scope names is so. `tool=None` asks for a model turn: no tool's switch holds it."""
        return (
            (not self.tenant or self.tenant == tenant)
            and (not self.agent or self.agent == agent)
            and (not self.run or self.run == run)
            and (not self.tool or (tool is not None and fnmatchcase(tool, self.tool)))
        )

    def __str__(self) -> str:
        named = [f"{field} {getattr(self, field)}" for field in self.__struct_fields__ if getattr(self, field)]
        return ", ".join(named) or "everything"


class Switch(Struct, frozen=True, gc=False, omit_defaults=True):
    """One kill, with its release once it has come."""

    switch_id: str
    scope: Scope
    mode: Mode
    by: str
    reason: str
    at: int
    released_at: int | None = None
    released_by: str = ""
    release_reason: str = ""
    recorded: int = 0  #: how many of its acts (the kill, the release) are in the audit

    @property
    def acts(self) -> int:
        """How many acts it has behind it."""
        return 1 if self.released_at is None else 2

    @property
    def active(self) -> bool:
        """True until it is released."""
        return self.released_at is None


def frozen_time(
    switches: Iterable[Switch], *, since: int, now: int, tenant: str, agent: str, run: str, tool: str
) -> int:
    """How long (microseconds), between two moments, a switch held for a waiting approval: its clock stood still."""
    spans = sorted(
        (max(switch.at, since), min(now if switch.released_at is None else switch.released_at, now))
        for switch in switches
        if switch.scope.matches(tenant=tenant, agent=agent, run=run, tool=tool)
    )
    total, reached = 0, since
    for start, end in spans:
        if end > max(start, reached):  # a clock elsewhere may be ahead of ours
            total += end - max(start, reached)
            reached = end
    return total
