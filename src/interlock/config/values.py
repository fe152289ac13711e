"""The values that a config is made of.

Not how a file spells them (`file.py`). Law: times are microseconds, money is micro-dollars, and a secret is a
reference to where it is.
"""

from __future__ import annotations

from collections.abc import Mapping
from hashlib import sha256
from typing import Literal

from msgspec import Struct

from interlock.core.budget import Limits, Window
from interlock.core.call import Cost, Dedupe, Effect, Risk, Role


class RunBudget(Struct, frozen=True, kw_only=True):
    """What one run may use."""

    limits: Limits
    max_seconds: int  #: microseconds
    max_denials: int
    max_repeats: int


Limited = Literal["agent", "tenant", "tool"]
"""Whose windows of time can be limited."""


class Quota(Struct, frozen=True):
    """What may be used in each window of time. Of an agent and of a tool: for each tenant apart."""

    scope: Limited
    subject: str
    window: Window
    limits: Limits


class Caps(Struct, frozen=True):
    """Limits as one place of the config names them: of a run, by key (`max_steps`), and of windows of time."""

    run: Mapping[str, int] = {}
    windows: Mapping[Window, Limits] = {}


DEFAULTS: Mapping[str, int | None] = {
    "max_steps": 25,
    "max_tool_calls": 12,
    "max_seconds": 300_000_000,
    "max_usd": None,
    "max_tokens": None,
    "max_denials": 5,
    "max_repeats": 3,
}


class ToolDeclaration(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What the config says of a tool, or of all tools that a glob matches. None: nothing."""

    effect: Effect | None = None
    risk: Risk | None = None
    timeout: int | None = None
    dedupe: Dedupe | None = None
    idempotent: bool | None = None
    errors_mean_failed: bool | None = None
    cost: Cost | None = None
    credential: str | None = None
    arguments: Mapping[str, Role] = {}
    trusted: bool | None = None
    windows: Mapping[Window, Limits] = {}


class ApprovalSettings(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """How people are asked. `on_reject` holds for silence too."""

    quorum: int = 1
    expires: int = 3_600_000_000
    on_reject: Literal["deny", "stop"] = "deny"
    webhook_url: str | None = None
    webhook_secret: str | None = None  #: where it is, as in `credentials:`
    required_for: tuple[str, ...] = ()


class Upstream(Struct, frozen=True, kw_only=True):
    """An MCP server: a program to start, or a URL. Or an HTTP API: its OpenAPI document, a URL or a whole path."""

    name: str
    command: tuple[str, ...] | None = None
    url: str | None = None
    credential: str | None = None
    env: Mapping[str, str] = {}
    cwd: str | None = None
    timeout: int = 30_000_000
    openapi: str | None = None
    base_url: str | None = None
    allow_private: bool = False
    response_bytes: int = 4_194_304

    def __repr__(self) -> str:  # its env may hold a secret
        where = f"openapi={self.openapi!r}" if self.openapi else f"command={self.command!r}, url={self.url!r}"
        return f"Upstream({self.name!r}, {where})"


class LoggingSettings(Struct, frozen=True):
    """What is logged."""

    tool_calls: bool = True
    stop_reasons: bool = True


class Recording(Struct, frozen=True):
    """What is kept of runs for replay, and for how long (microseconds)."""

    turns: bool = True
    keep: int = 2_592_000_000_000


class Price(Struct, frozen=True):
    """Micro-dollars for a million tokens."""

    input: int
    output: int
    cached: int | None = None  #: None: as `input`
    cache_write: int | None = None  #: None: as `input`


class AuditSettings(Struct, frozen=True):
    """Where signed checkpoints go and what they are signed with, as written: relative to `Config.base`."""

    checkpoints: str | None = None
    key: str | None = None
    every: int = 100


class TelemetrySettings(Struct, frozen=True):
    """Whether spans are made, where the extra is installed."""

    traces: bool = True


class SizeLimits(Struct, frozen=True):
    """The most that goes through one call."""

    argument_bytes: int = 262_144
    argument_depth: int = 32
    result_bytes: int = 1_048_576


class DoctorSettings(Struct, frozen=True):
    """What `interlock doctor` is told."""

    unasked: tuple[str, ...] = ()  #: globs over tools that write, and that nobody need be asked about
    baseline: str | None = None  #: a folder of traces, as written: relative to `Config.base`


class Canary(Struct, frozen=True):
    """Another runtime, and what share of the runs it has: 0.1 is a tenth."""

    runtime: str
    share: float


class Architecture(Struct, frozen=True):
    """Who owns what. Said for people, for your own program and for the adapters; no decision depends on it."""

    tool_gateway: str = "owned"
    runtime: str = "managed_or_custom"
    canary: Canary | None = None
    ungoverned: tuple[str, ...] = ()  #: what agents may have that goes around the gateway, by the names of the adapters

    def chosen(self, key: str) -> str:
        """The runtime for a run. The same `key` (a run's id, a customer's) has the same, and a larger share of the
        canary takes nobody off it."""
        place = int.from_bytes(sha256(key.encode("utf-8", "surrogatepass")).digest()[:6]) / 2**48
        return self.canary.runtime if self.canary is not None and place < self.canary.share else self.runtime
