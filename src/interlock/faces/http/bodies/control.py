"""Kill switches, unknowns and budgets as they go over the wire.

Not the acts (`control.py` of Interlock). Law: money is micro-dollars, except for `usd` of a request, which is dollars.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

from msgspec import Meta, Struct, convert

from interlock.core.budget import Amounts, Limits
from interlock.core.switch import Mode, Switch
from interlock.faces.http.bodies.shared import Body, Count, Dollars, Name, OfTenant, Words


class ListSwitches(Body, frozen=True, kw_only=True):
    """`active=false`: all that ever were."""

    active: bool = True


class ScopeView(Struct, frozen=True, kw_only=True):
    """What a switch holds for. "" holds for all; all "" is everything."""

    tenant: str
    agent: str
    tool: str
    run: str


class SwitchView(Struct, frozen=True, kw_only=True):
    """One kill, with its release once it has come."""

    switch_id: str
    scope: ScopeView
    mode: Mode
    by: str
    reason: str
    at: int
    released_at: int | None
    released_by: str
    release_reason: str


def switch_view(switch: Switch) -> SwitchView:
    """A switch for the wire."""
    return convert(switch, SwitchView, from_attributes=True)


class Switches(Struct, frozen=True):
    """Oldest first."""

    switches: list[SwitchView]


class Kill(OfTenant, frozen=True, kw_only=True):
    """A scope that names several things holds where all of them do; naming nothing is everything."""

    reason: Annotated[str, Meta(min_length=1, max_length=10_000)]
    agent: Name = ""
    tool: Name = ""
    run: Name = ""
    mode: Literal["all", "writes"] = "all"


class Release(OfTenant, frozen=True, kw_only=True):
    """Just this scope; every other switch stays."""

    reason: Words = ""
    agent: Name = ""
    tool: Name = ""
    run: Name = ""


class Reconcile(OfTenant, frozen=True, kw_only=True):
    """A person has looked: it happened, with this value, or it did not."""

    happened: bool
    value: Any = None
    note: Words = ""


class ListAccounts(OfTenant, frozen=True, kw_only=True):
    """`run_id`: of one run; left out, of the windows that run now."""

    run_id: Name = ""


class AccountView(Struct, frozen=True, kw_only=True):
    """What is held and spent in one window. USD in micro-dollars. `limits` are of the config and what was topped up."""

    scope: str
    subject: str
    window: str
    start: int
    held: Amounts
    spent: Amounts
    extra: Amounts
    limits: Limits


class Accounts(Struct, frozen=True):
    """Sorted by scope, subject and window."""

    accounts: list[AccountView]


class TopUp(OfTenant, frozen=True, kw_only=True):
    """Name a run, or a window of an agent, a tool or the tenant itself."""

    run_id: Name = ""
    agent: Name = ""
    tool: Name = ""
    window: Literal["run", "minute", "hour", "day", "month"] = "run"
    steps: Count = 0
    tool_calls: Count = 0
    usd: Dollars = 0.0
    tokens: Count = 0
    note: Words = ""
