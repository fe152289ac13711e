"""The shape of interlock.yaml: which keys there are, and what each may hold.

Not what they mean together (`config_build.py`). Law: strict. An unknown key, a wrong type, an empty value, an
expression that does not compile is refused; nothing is coerced. The docs' configuration reference is made from here.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Callable
from enum import Enum
from typing import Annotated, Any, Literal
from urllib.parse import urlsplit

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, create_model, model_validator

from interlock.conditions import compile_condition
from interlock.config_scalars import count, dedupe, duration, ledger_url, micro_dollars, positive, price, reference
from interlock.core.budget import Window
from interlock.core.call import Effect, Risk, Role
from interlock.core.names import problem_of_name
from interlock.core.verdict import Verdict


def _texts(value: Any) -> Any:
    if isinstance(value, str):
        return (value,)
    return tuple(value) if isinstance(value, list) else value


def _some(value: tuple[Any, ...]) -> tuple[Any, ...]:
    if not value:
        raise ValueError("selects nothing; leave it out to select everything")
    return value


def _one_of(choices: dict[str, Any], note: str = "") -> BeforeValidator:
    def choose(value: Any) -> Any:
        if isinstance(value, str) and value in choices:
            return choices[value]
        if isinstance(value, Enum):
            return value
        near = difflib.get_close_matches(value, choices, n=1) if isinstance(value, str) else []
        hint = f"; did you mean {near[0]!r}?" if near else ""
        raise ValueError(f"must be one of {', '.join(choices)}{hint}{note}")

    return BeforeValidator(choose)


def _named(what: str) -> AfterValidator:
    def check(value: str) -> str:
        problem = problem_of_name(value, what)
        if problem:
            raise ValueError(problem)
        return value

    return AfterValidator(check)


def _checked(parse: Callable[[Any], Any]) -> BeforeValidator:
    return BeforeValidator(parse)


def _compiles(value: str) -> str:
    compile_condition(value)
    return value


def _url(value: str) -> str:
    problem = "must be a URL that begins with http:// or https://"
    try:
        parts = urlsplit(value)
        _ = parts.port  # raises where it is none
    except ValueError:
        raise ValueError(problem) from None
    if parts.scheme not in ("http", "https") or not parts.hostname or not value.isprintable() or " " in value:
        raise ValueError(problem)
    if parts.username or parts.password:
        raise ValueError("must not hold a password; use credential:")
    return value


def _upstream_name(value: str) -> str:
    if not re.fullmatch(r"[a-z0-9_-]{1,64}", value):
        raise ValueError("upstream must be named with a-z, 0-9, _ and - only")
    return value


Count = Annotated[int, _checked(count)]
Positive = Annotated[int, _checked(positive)]
Dollars = Annotated[int, _checked(micro_dollars)]  #: micro-dollars, once parsed
Duration = Annotated[int, _checked(duration)]  #: microseconds, once parsed
Reference = Annotated[str, _checked(reference)]
ADedupe = Annotated[Any, _checked(dedupe)]
Url = Annotated[str, AfterValidator(_url)]
Glob = Annotated[str, _named("tool")]
Text = Annotated[str, _named("this")]
Globs = Annotated[tuple[Glob, ...], BeforeValidator(_texts)]
SomeGlobs = Annotated[tuple[Glob, ...], AfterValidator(_some), BeforeValidator(_texts)]
SomeTexts = Annotated[tuple[Text, ...], AfterValidator(_some), BeforeValidator(_texts)]
AnEffect = Annotated[Effect, _one_of({each.value: each for each in Effect})]
ARisk = Annotated[Risk, _one_of({each.value: each for each in Risk})]
ARole = Annotated[Role, _one_of({each.value: each for each in Role})]
_VERDICTS = {each.word: each for each in (Verdict.ALLOW, Verdict.ASK, Verdict.DENY, Verdict.STOP)}
Then = Annotated[Verdict, _one_of(_VERDICTS)]
_RESTRICTIONS = {word: each for word, each in _VERDICTS.items() if each is not Verdict.ALLOW}
#: because what nobody has declared is of medium risk too
Restriction = Annotated[Verdict, _one_of(_RESTRICTIONS, "; a tier grants nothing: use allow:, or a rule with risks:")]


def _words(value: Any) -> Any:
    if not isinstance(value, list):
        raise ValueError('must be a list of words, like ["npx", "-y", "some-server"]')
    return tuple(value)


def _ledger(value: Any) -> Any:
    return {"url": value} if isinstance(value, str) else value


class Section(BaseModel):
    """A mapping with known keys."""

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True)


class Architecture(Section):
    """Who owns what."""

    tool_gateway: Literal["owned"] = "owned"
    runtime: Literal["managed", "custom", "managed_or_custom"] = "managed_or_custom"


class Ledger(Section):
    """Where the ledger is, and when SQLite may say that a commit is done."""

    url: Annotated[str, _checked(ledger_url)] = "sqlite:///interlock.db"
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
    effects: Annotated[tuple[AnEffect, ...], AfterValidator(_some), BeforeValidator(_texts)] = ()
    risks: Annotated[tuple[ARisk, ...], AfterValidator(_some), BeforeValidator(_texts)] = ()
    when: Annotated[str, AfterValidator(_compiles)] = ""
    then: Then
    reason: str = Field(default="", max_length=1000)


class PolicySection(Section):
    """What is granted, and what restricts a grant."""

    allow: Globs = ()
    rules: Annotated[tuple[RuleEntry, ...], BeforeValidator(_texts)] = ()
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

    usd: Annotated[int | str, _checked(price)]
    reported: bool = False

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


class TenantEntry(Section):
    """What holds for one tenant alone."""

    budgets: Budgets | None = None  # type: ignore[valid-type]
    policy: PolicySection = PolicySection()


class AgentEntry(Section):
    """What holds for one agent, of every tenant."""

    budgets: Budgets | None = None  # type: ignore[valid-type]


class McpEntry(Section):
    """An MCP server: a program to start, or a URL."""

    command: Annotated[tuple[str, ...] | None, _checked(_words)] = None
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
    """Where tools come from that are not functions of the program."""

    mcp: McpEntry
    credential: Text | None = None
    timeout: Duration = 30_000_000

    @model_validator(mode="before")
    @classmethod
    def _built(cls, data: Any) -> Any:
        if isinstance(data, dict) and "openapi" in data:
            remedy = "put the API behind an MCP server, or register functions"
            raise ValueError(f"openapi upstreams are not built yet; {remedy}")
        return data


class Logging(Section):
    """What is logged."""

    tool_calls: bool = True
    stop_reasons: bool = True


class PriceEntry(Section):
    """Dollars for a million tokens."""

    input: Dollars
    output: Dollars
    cached: Dollars | None = None


class Audit(Section):
    """Where signed checkpoints go, and how often."""

    checkpoints: Text | None = None
    key: Text | None = None
    every: Positive = 100


class Telemetry(Section):
    """Whether spans are made, where the extra is installed."""

    traces: bool = True


class LimitsSection(Section):
    """The most that goes through one call."""

    argument_bytes: Annotated[Positive, Field(le=16_777_216)] = 262_144
    argument_depth: Annotated[Positive, Field(le=64)] = 32
    result_bytes: Annotated[Positive, Field(le=67_108_864)] = 1_048_576


class File(Section):
    """All of interlock.yaml."""

    architecture: Architecture = Architecture()
    ledger: Annotated[Ledger, _checked(_ledger)] = Ledger()
    budgets: Budgets = Budgets()  # type: ignore[valid-type]
    policy: PolicySection = PolicySection()
    approvals: Approvals = Approvals()
    tools: dict[Glob, ToolEntry] = {}
    tenants: dict[Annotated[str, _named("tenant")], TenantEntry] = {}
    agents: dict[Annotated[str, _named("agent")], AgentEntry] = {}
    credentials: dict[Annotated[str, _named("credential")], Reference] = {}
    upstreams: dict[Annotated[str, AfterValidator(_upstream_name)], UpstreamEntry] = {}
    logging: Logging = Logging()
    prices: dict[Annotated[str, _named("model")], PriceEntry] = {}
    audit: Audit = Audit()
    telemetry: Telemetry = Telemetry()
    limits: LimitsSection = LimitsSection()
    lease: Annotated[Duration, Field(ge=1_000_000, le=3_600_000_000)] = 30_000_000
