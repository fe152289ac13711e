"""interlock.yaml as values: what the rest of Interlock reads of it.

Not how the file is spelled (`file.py`) nor the reading of it (`build.py`), which are imported when a file is loaded:
this module needs neither pydantic nor YAML. Law: a `Config` never changes; wherever several places say
something of the same thing, the stricter counts.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from msgspec.structs import replace

from interlock.config.stricter import (
    cost,
    dedupe_rank,
    either,
    higher,
    least,
    run_budget_of,
    stricter_declaration,
    stricter_recording,
    stricter_windows,
)
from interlock.config.values import (
    ApprovalSettings,
    Architecture,
    AuditSettings,
    Caps,
    DoctorSettings,
    Limited,
    LoggingSettings,
    Price,
    Quota,
    Recording,
    RunBudget,
    SizeLimits,
    TelemetrySettings,
    ToolDeclaration,
    Upstream,
)
from interlock.core.budget import Limits, Window
from interlock.core.call import Tool
from interlock.core.names import problem_of_name
from interlock.core.policy import Policy
from interlock.core.thresholds import Thresholds
from interlock.errors import ToolError

if TYPE_CHECKING:
    from collections.abc import Callable

    from interlock.config.serve import Serve
    from interlock.yaml_source import Source

@dataclass(frozen=True, kw_only=True, eq=False, repr=False)
class Config:
    """All of interlock.yaml, compiled once."""

    name: str
    base: Path
    path: Path | None
    source: Source  #: for the line of whatever is to be complained of later: `config.source.at(("policy", "rules", 0))`
    architecture: Architecture
    ledger: str
    synchronous: Literal["full", "normal", "off"]
    caps: Caps
    policy: Policy
    tools: Mapping[str, ToolDeclaration]
    approvals: ApprovalSettings
    credentials: Mapping[str, str]
    upstreams: Mapping[str, Upstream]
    logging: LoggingSettings
    recording: Recording
    recordings: Mapping[str, Recording]  #: what tenants have said of their own
    parity: Thresholds
    prices: Mapping[str, Price]
    audit: AuditSettings
    telemetry: TelemetrySettings
    doctor: DoctorSettings
    limits: SizeLimits
    serve: Serve
    lease: int  #: microseconds that the right to perform a call lasts without a sign of life
    tenants: Mapping[str, Caps]
    agents: Mapping[str, Caps]
    budgets: RunBudget = field(init=False)  #: of the top level alone; see `run_budget`
    _cached_quotas: Callable[[str, str, str], tuple[Quota, ...]] = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "budgets", run_budget_of((self.caps.run,)))
        object.__setattr__(self, "_cached_quotas", lru_cache(maxsize=4096)(self._quotas))

    def __repr__(self) -> str:
        return f"Config({self.name!r}, {self.policy.version})"

    def run_budget(self, tenant: str, agent: str, overrides: Mapping[str, Any] | None = None) -> RunBudget:
        """What a run may use: of the top level, the tenant, the agent and the program, the stricter counts, key by
        key; a default holds where none of them names one. Raises ConfigError for overrides that `budgets:` cannot hold.
        """
        from_code: Mapping[str, int] = {}
        if overrides:
            from interlock.config.build import run_overrides

            from_code = run_overrides(overrides)
        nothing = Caps()
        of_tenant, of_agent = self.tenants.get(tenant, nothing), self.agents.get(agent, nothing)
        return run_budget_of((self.caps.run, of_tenant.run, of_agent.run, from_code))

    def quotas(self, tenant: str, agent: str, tool: str = "") -> tuple[Quota, ...]:
        """The windows that one call of a tool has to fit in, or with `tool=""` one model turn. Cached.

        A call uses tool calls and USD, a turn uses steps, USD and tokens; a window that limits neither is left out.
        """
        return self._cached_quotas(tenant, agent, tool)

    def _quotas(self, tenant: str, agent: str, tool: str) -> tuple[Quota, ...]:
        used = ("tool_calls", "usd") if tool else ("steps", "usd", "tokens")
        named: list[tuple[Limited, str]] = [("tenant", tenant), ("agent", agent)]
        named += [("tool", tool)] if tool else []
        found = [
            Quota(scope, subject, window, limits)
            for scope, subject in named
            for window, limits in self.windows(scope, subject).items()
        ]
        return tuple(each for each in found if any(getattr(each.limits, unit) is not None for unit in used))

    def windows(self, scope: Limited, subject: str) -> Mapping[Window, Limits]:
        """The windows that limit a tenant, an agent or a tool; of the last two for each tenant apart."""
        nothing = Caps()
        if scope == "tenant":
            return stricter_windows((self.caps.windows, self.tenants.get(subject, nothing).windows))
        if scope == "agent":
            return self.agents.get(subject, nothing).windows
        return stricter_windows(each.windows for _, each in self._declarations(subject))

    def recording_of(self, tenant: str) -> Recording:
        """What is kept of a tenant's runs: the less of what it and the top level say."""
        own = self.recordings.get(tenant)
        return self.recording if own is None else stricter_recording(self.recording, own)

    def declared(self, tool: Tool, said: Collection[str] | None = None) -> Tool:
        """The tool with what the config says of it.

        `said` names the fields of `tool` that its code really gave, because a `Tool` cannot tell a default from a
        word: `("effect", "risk")`, or `()` for a tool of an upstream without hints. Left out, effect and risk both
        count as said, which is the strict reading. The rule, field by field:

        - effect, risk, timeout: of config and code, the stricter (the higher tier, the shorter time).
        - cost: the config's; where both are fixed prices, the higher.
        - dedupe: the stricter of what both say (off < run < a window < a longer one).
        - idempotent, errors, returns: each loosens, so the config's word counts; where it is silent, the code's.
        - credential: the config's, else the code's. arguments: both, the config's role for an argument that both name.

        Within the config a tool's own name replaces, key by key, what globs say; between globs the stricter counts.
        """
        if said is None:
            said = ("effect", "risk")
        config = self._declaration(tool.name)
        if config is None:
            return tool
        effect = tool.effect if config.effect is None else config.effect
        risk = tool.risk if config.risk is None else config.risk
        return replace(
            tool,
            effect=higher(effect, tool.effect) if "effect" in said else effect,
            risk=higher(risk, tool.risk) if "risk" in said else risk,
            timeout=least((config.timeout, tool.timeout)),
            dedupe=max((each for each in (config.dedupe, tool.dedupe) if each), key=dedupe_rank, default=None),
            idempotent=either(config.idempotent, tool.idempotent),
            errors_mean_failed=either(config.errors_mean_failed, tool.errors_mean_failed),
            cost=cost(config.cost, tool.cost),
            credential=config.credential or tool.credential,
            arguments={**tool.arguments, **config.arguments},
            trusted=either(config.trusted, tool.trusted),
        )

    def _declarations(self, name: str) -> list[tuple[bool, ToolDeclaration]]:
        """What the config says of a name: whether it says it of just this name, and what."""
        return [(glob == name, each) for glob, each in self.tools.items() if glob == name or fnmatchcase(name, glob)]

    def _declaration(self, name: str) -> ToolDeclaration | None:
        merged: ToolDeclaration | None = None
        exact: ToolDeclaration | None = None
        for own, each in self._declarations(name):
            if own:
                exact = each
            else:
                merged = each if merged is None else stricter_declaration(merged, each)
        if exact is None or merged is None:
            return exact or merged
        said = {key: value for key in exact.__struct_fields__ if (value := getattr(exact, key)) is not None}
        return replace(merged, **{**said, "arguments": {**merged.arguments, **exact.arguments}})


def tool_fields(name: str, said: Mapping[str, Any]) -> dict[str, Any]:
    """Keywords as `tools:` in a config has them (`timeout="10s"`, `errors="failed"`, …), and `description` → fields
    of `core.call.Tool`, of the keywords alone that were given: `declared(tool, said=fields)`. Raises ToolError, for a
    name that no call could bear, too.
    """
    from interlock.config.build import fields_of_tool

    if callable(name):
        raise ToolError('a tool is registered under a name: @gw.tool("ticket.create"), not @gw.tool')
    problem = problem_of_name(name, "the name of a tool")
    if problem is None and any(mark in name for mark in "*?["):
        problem = f"the name of a tool must not hold *, ? or [, which make a pattern of it: {name!r}"
    if problem is not None:
        raise ToolError(problem)
    return fields_of_tool(name, said)


def load(source: str | Path | Mapping[str, Any] | Config) -> Config:
    """Read a config. Raises ConfigError, which lists everything that is wrong with it."""
    if isinstance(source, Config):
        return source
    from interlock.config.build import build

    return build(source)
