"""Runs and their model turns, as they go over the wire.

Not the values (`core/run.py`). Law: as in `shared.py`; times are microseconds since 1970 in UTC.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Literal

from msgspec import Meta, Struct

from interlock.core.budget import Amounts
from interlock.core.verdict import StopReason
from interlock.faces.http.bodies.shared import Args, Body, Count, Limit, Moment, Name, OfTenant, Text, Words


class OpenRun(Body, frozen=True, kw_only=True):
    """`request`: the user's own words. `budgets`: as in the config; the stricter counts. tenant, agent and env are the
    credential's: said here, they have to be the same."""

    run_id: Name = ""
    request: Annotated[str, Meta(max_length=100_000)] = ""
    budgets: Mapping[str, int | float | str] = {}
    labels: Mapping[str, str] = {}
    runtime: Name = ""
    requested_by: Name = ""
    tenant: Name = ""
    agent: Name = ""
    env: Name = ""


class RunView(Struct, frozen=True, kw_only=True):
    """A run as the ledger has it."""

    run_id: str
    tenant: str
    agent: str
    env: str
    status: str
    stop_reason: StopReason | None
    detail: str
    opened_at: int
    stopped_at: int | None
    deadline: int
    runtime: str
    request: str
    requested_by: str
    labels: Mapping[str, str]
    steps: int
    denials: int
    policy_version: str


class ListRuns(OfTenant, frozen=True, kw_only=True):
    """`before`: the `next` of the page before this one."""

    agent: Name = ""
    env: Name = ""
    status: Literal["", "running", "paused", "completed", "stopped", "failed"] = ""
    limit: Limit = 100
    before: Moment | None = None


class Runs(Struct, frozen=True):
    """The newest first. `next` is None at the end."""

    runs: list[RunView]
    next: int | None


class StopRun(OfTenant, frozen=True, kw_only=True):
    """Why it is stopped."""

    reason: StopReason = StopReason.CANCELLED
    detail: Words = ""


class BeginStep(Body, frozen=True, kw_only=True):
    """A model turn that is about to begin."""

    model: Name = ""
    max_output_tokens: Count | None = None
    input_tokens: Count | None = None


class UsageBody(Body, frozen=True, kw_only=True):
    """What a model turn used: all of its input and output, and what of it was which."""

    input_tokens: Count
    output_tokens: Count
    cached_input_tokens: Count = 0
    cache_write_tokens: Count = 0
    cache_write_1h_tokens: Count = 0
    reasoning_tokens: Count = 0


class WishBody(Body, frozen=True, kw_only=True):
    """A call that the model asked for. `raw`: its arguments as the model wrote them, where that is no JSON object."""

    name: Name
    args: Args = {}
    id: Name = ""
    raw: Text = ""


class TurnBody(Body, frozen=True, kw_only=True):
    """What the model said, for replay. `cut`: there was more than is sent."""

    text: Text | None = None
    calls: Annotated[list[WishBody], Meta(max_length=200)] = []
    model: Name = ""
    response_id: Name = ""
    cut: bool = False


class EndStep(Body, frozen=True, kw_only=True):
    """A model turn that is over; without `usage`, nobody knows what it used. `turn` is kept unless the gateway's config
    says no. `lost`: it broke off; what was held is spent, and the run goes on."""

    usage: UsageBody | None = None
    turn: TurnBody | None = None
    lost: bool = False


class StepView(Struct, frozen=True, kw_only=True):
    """A model turn."""

    step_id: str
    run_id: str
    model: str
    began_at: int
    ended_at: int | None
    held: Amounts
    usd: int | None
    input_tokens: int
    output_tokens: int
