"""Tools and the policy as they go over the wire.

Not the tools. Law: no credential, and nothing of another tenant, has a field here.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal

from msgspec import Struct

from interlock.faces.http.bodies.shared import Args, Body, Name, OfTenant, Words


class ToolView(Struct, frozen=True, kw_only=True):
    """A tool. `grade` gateway: the gateway holds the credential and performs; cooperative: the agent's process does."""

    name: str
    description: str
    effect: str
    risk: str
    grade: Literal["gateway", "cooperative"]
    schema: Mapping[str, Any]
    problem: str  #: why it may not be used now, or ""
    offered_digest: str  #: of a changed definition that waits to be accepted, or ""


class Tools(Struct, frozen=True):
    """By name."""

    tools: list[ToolView]


class AcceptTool(Body, frozen=True, kw_only=True):
    """`offered`: the digest of the definition that was looked at."""

    offered: Name = ""
    note: Words = ""


class Accepted(Struct, frozen=True, kw_only=True):
    """The definition in force."""

    tool: str
    digest: str
    accepted_by: str
    accepted_at: int


class PolicyView(Struct, frozen=True, kw_only=True):
    """What is in force."""

    version: str
    rules: list[RuleView]


class RuleView(Struct, frozen=True, kw_only=True):
    """One line of the policy."""

    id: str
    then: str
    tools: list[str]
    tenants: list[str]
    agents: list[str]
    envs: list[str]
    when: str
    reason: str


class CheckCall(OfTenant, frozen=True, kw_only=True):
    """What would this call get? Nothing is performed, nothing is written."""

    tool: Name
    args: Args = {}
    agent: Name
    env: Name
    request: Words = ""
