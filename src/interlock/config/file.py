"""The shape of interlock.yaml: which keys there are, and what each may hold.

Not what they mean together (`build.py`). Law: strict. An unknown key, a wrong type, an empty value, an
expression that does not compile is refused; nothing is coerced. The docs' configuration reference is made from here.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BeforeValidator, Field, create_model, model_validator

from interlock.config.scalars import RUNTIMES, ledger_url, price
from interlock.config.serve import Serve
from interlock.config.shapes import (
    ADedupe,
    AnEffect,
    ARisk,
    ARole,
    ARuntime,
    Count,
    Dollars,
    Duration,
    Glob,
    Globs,
    Positive,
    Reference,
    Restriction,
    Section,
    Share,
    SomeGlobs,
    SomeTexts,
    Text,
    Then,
    Url,
    base,
    checked,
    compiles,
    document,
    named,
    some,
    texts,
    upstream_name,
)
from interlock.core.budget import Window


def _words(value: Any) -> Any:
    if not isinstance(value, list):
        raise ValueError('must be a list of words, like ["npx", "-y", "some-server"]')
    return tuple(value)


def _ledger(value: Any) -> Any:
    return {"url": value} if isinstance(value, str) else value


class CanaryEntry(Section):
    """A share of the runs on another runtime, before all of them are."""

    runtime: ARuntime
    share: Annotated[Share, Field(le=1)]


class Architecture(Section):
    """Who owns what."""

    tool_gateway: Literal["owned"] = "owned"
    runtime: ARuntime = "managed_or_custom"
    canary: CanaryEntry | None = None
    ungoverned: SomeTexts = ()

    @model_validator(mode="after")
    def _two_runtimes(self) -> Architecture:
        if self.canary is not None:
            for name in (self.runtime, self.canary.runtime):
                if name in RUNTIMES:
                    raise ValueError(f"a canary is one of two adapters, and runtime: {name} names none")
            if self.runtime == self.canary.runtime:
                raise ValueError(f"canary.runtime: {self.runtime} is the runtime already")
        return self


class Ledger(Section):
    """Where the ledger is, and when SQLite may say that a commit is done."""

    url: Annotated[str, checked(ledger_url)] = "sqlite:///interlock.db"
    synchronous: Literal["full", "normal", "off"] = "full"


_RUN_KEYS: dict[str, Any] = {
    "max_steps": Count,
    "max_tool_calls": Count,
    "max_seconds": Duration,
    "max_usd": Dollars,
    "max_tokens": Count,
    "max_denials": Positive,
    "max_repeats": Positive,
}
_WINDOWS = tuple(window for window in Window if window is not Window.RUN)


def _quota_keys(units: tuple[str, ...]) -> dict[str, Any]:
    return {f"{unit}_per_{window}": Dollars if unit == "usd" else Count for unit in units for window in _WINDOWS}


def _all_optional(name: str, keys: dict[str, Any], doc: str) -> type[Section]:
    fields: dict[str, Any] = {key: (kind, Field(default=None)) for key, kind in keys.items()}
    return create_model(name, __base__=Section, __doc__=doc, **fields)


QUOTA_KEYS = _quota_keys(("steps", "tool_calls", "usd", "tokens"))
Budgets = _all_optional("Budgets", {**_RUN_KEYS, **QUOTA_KEYS}, "Limits of a run, and of a window of time.")
ToolBudgets = _all_optional("ToolBudgets", _quota_keys(("tool_calls", "usd")), "Limits of a tool in a window of time.")


class RuleEntry(Section):
    """One line of the policy. A selector left out selects everything; several must all hold."""

    id: Text
    tools: SomeGlobs = ("*",)
    tenants: SomeTexts = ()
    agents: SomeTexts = ()
    envs: SomeTexts = ()
    runtimes: SomeTexts = ()
    effects: Annotated[tuple[AnEffect, ...], AfterValidator(some), BeforeValidator(texts)] = ()
    risks: Annotated[tuple[ARisk, ...], AfterValidator(some), BeforeValidator(texts)] = ()
    when: Annotated[str, AfterValidator(compiles)] = ""
    then: Then
    reason: str = Field(default="", max_length=1000)


class PolicySection(Section):
    """What is granted, and what restricts a grant."""

    allow: Globs = ()
    rules: Annotated[tuple[RuleEntry, ...], BeforeValidator(texts)] = ()
    risk: dict[ARisk, Restriction] = {}


class WebhookEntry(Section):
    """Who is told of a new approval."""

    url: Url
    secret: Reference


class Approvals(Section):
    """When a person is asked, and how."""

    required_for: Globs = ()
    quorum: Annotated[Positive, Field(le=100)] = 1
    expires: Duration = 3_600_000_000
    on_reject: Literal["deny", "stop"] = "deny"
    webhook: WebhookEntry | None = None


class CostEntry(Section):
    """What one call costs: a price, `args.NAME`, or what the tool reports up to a price."""

    usd: Annotated[int | str, checked(price)]
    reported: bool = False

    @model_validator(mode="before")
    @classmethod
    def _means(cls, said: Any) -> Any:
        if isinstance(said, dict) and "usd" not in said:
            for name in (said[key] for key in said if str(key).startswith("arg")):
                raise ValueError(f"an argument that holds the dollars is written usd: args.{name}")
        return said

    @model_validator(mode="after")
    def _fits(self) -> CostEntry:
        if self.reported and isinstance(self.usd, str):
            raise ValueError("usd must be a number where the cost is reported: the most that it may be")
        return self


class ToolEntry(Section):
    """What the owner says of a tool, or of all tools that a glob matches."""

    effect: AnEffect | None = None
    risk: ARisk | None = None
    timeout: Duration | None = None
    dedupe: ADedupe = None
    idempotent: bool | None = None
    errors: Literal["failed", "unknown"] | None = None
    cost: CostEntry | None = None
    credential: Text | None = None
    arguments: dict[Text, ARole] = {}
    returns: Literal["trusted", "untrusted"] | None = None
    budgets: ToolBudgets | None = None  # type: ignore[valid-type]


def _kept(value: int) -> int:
    if value < 3_600_000_000:
        raise ValueError("must be at least 1h: a call that comes again is answered with what its tool returned")
    return value


Kept = Annotated[Duration, AfterValidator(_kept)]


class Recording(Section):
    """What is kept of runs for replay, and for how long."""

    turns: bool = True
    keep: Kept = 2_592_000_000_000


class TenantRecording(Section):
    """What is kept of one tenant's runs, where that is less than of the others'."""

    turns: bool | None = None
    keep: Kept | None = None


class TenantEntry(Section):
    """What holds for one tenant alone."""

    budgets: Budgets | None = None  # type: ignore[valid-type]
    policy: PolicySection = PolicySection()
    recording: TenantRecording = TenantRecording()


class AgentEntry(Section):
    """What holds for one agent, of every tenant."""

    budgets: Budgets | None = None  # type: ignore[valid-type]


class McpEntry(Section):
    """An MCP server: a program to start, or a URL."""

    command: Annotated[tuple[str, ...] | None, checked(_words)] = None
    env: dict[str, str] = {}
    cwd: Text | None = None
    url: Url | None = None

    @model_validator(mode="after")
    def _one(self) -> McpEntry:
        if (self.command is None) == (self.url is None):
            raise ValueError("needs either command: or url:")
        if self.command is not None and not (self.command and all(self.command)):
            raise ValueError("command must name a program")
        if self.url is not None and (self.env or self.cwd):
            raise ValueError("env: and cwd: belong to a command:, not to a url:")
        return self


class UpstreamEntry(Section):
    """Where tools come from that are not functions of the program: an MCP server, or an HTTP API."""

    mcp: McpEntry | None = None
    openapi: Annotated[Text, AfterValidator(document)] | None = None
    base_url: Annotated[Url, AfterValidator(base)] | None = None
    allow_private: bool = False
    response_bytes: Annotated[Positive, Field(le=67_108_864)] = 4_194_304
    credential: Text | None = None
    timeout: Duration = 30_000_000

    @model_validator(mode="after")
    def _one(self) -> UpstreamEntry:
        if (self.mcp is None) == (self.openapi is None):
            raise ValueError("needs either mcp: or openapi:")
        said = self.model_fields_set & {"base_url", "allow_private", "response_bytes"}
        if self.mcp is not None and said:
            raise ValueError(f"{min(said)}: belongs to openapi:, not to mcp:")
        return self


class Logging(Section):
    """What is logged."""

    tool_calls: bool = True
    stop_reasons: bool = True


class PriceEntry(Section):
    """Dollars for a million tokens."""

    input: Dollars
    output: Dollars
    cached: Dollars | None = None
    cache_write: Dollars | None = None


class Audit(Section):
    """Where signed checkpoints go, and how often."""

    checkpoints: Text | None = None
    key: Text | None = None
    every: Positive = 100


class Telemetry(Section):
    """Whether spans are made, where the extra is installed."""

    traces: bool = True


class Doctor(Section):
    """What `interlock doctor` cannot know by itself."""

    unasked: Globs = ()
    baseline: Text | None = None


class LimitsSection(Section):
    """The most that goes through one call."""

    argument_bytes: Annotated[Positive, Field(le=16_777_216)] = 262_144
    argument_depth: Annotated[Positive, Field(le=64)] = 32
    result_bytes: Annotated[Positive, Field(le=67_108_864)] = 1_048_576


class Parity(Section):
    """What a replay may do otherwise before `interlock parity` fails it."""

    compare: Literal["exact", "words", "numbers", "json", "ignore"] = "words"
    missing: Count = 0
    extra: Count = 0
    arguments: Count = 0
    order: Count = 0
    verdict: Count = 0
    outcome: Count = 0
    stop_reason: Count = 0
    answer: Count = 0
    steps: Count = 0
    usd: Share = 0.0
    at_least: Annotated[Share, Field(lt=1)] = 0.8  #: no number of tries shows that it is all of them
    confidence: Annotated[Share, Field(ge=0.5, le=0.999999)] = 0.95


class File(Section):
    """All of interlock.yaml."""

    architecture: Architecture = Architecture()
    ledger: Annotated[Ledger, checked(_ledger)] = Ledger()
    budgets: Budgets = Budgets()  # type: ignore[valid-type]
    policy: PolicySection = PolicySection()
    approvals: Approvals = Approvals()
    tools: dict[Glob, ToolEntry] = {}
    tenants: dict[Annotated[str, named("tenant")], TenantEntry] = {}
    agents: dict[Annotated[str, named("agent")], AgentEntry] = {}
    credentials: dict[Annotated[str, named("credential")], Reference] = {}
    upstreams: dict[Annotated[str, AfterValidator(upstream_name)], UpstreamEntry] = {}
    logging: Logging = Logging()
    recording: Recording = Recording()
    parity: Parity = Parity()
    prices: dict[Annotated[str, named("model")], PriceEntry] = {}
    audit: Audit = Audit()
    telemetry: Telemetry = Telemetry()
    doctor: Doctor = Doctor()
    limits: LimitsSection = LimitsSection()
    serve: Serve = Serve()
    lease: Annotated[Duration, Field(ge=1_000_000, le=3_600_000_000)] = 30_000_000
