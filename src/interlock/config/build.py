"""A checked file → a `Config`: rules with their ids, the policy's version, limits, declarations.

Not the checking, which the models do. Law: the order of rules is that of this module and of the file; the version is
the digest of everything that a decision depends on, and of nothing else.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import msgspec
from pydantic import ValidationError

from interlock.conditions import compile_condition
from interlock.config import values
from interlock.config.config import Config
from interlock.config.file import (
    QUOTA_KEYS,
    CostEntry,
    File,
    McpEntry,
    PolicySection,
    RuleEntry,
    TenantRecording,
    ToolEntry,
)
from interlock.config.problems import crossed, empties, hint, problems_in
from interlock.config.scalars import count, duration, micro_dollars, positive
from interlock.config.shapes import Section
from interlock.core.budget import Limits, Window
from interlock.core.call import Cost
from interlock.core.canonical import canonical, digest
from interlock.core.policy import Policy, Rule
from interlock.core.thresholds import Thresholds
from interlock.core.verdict import Verdict
from interlock.errors import ConfigError, ToolError
from interlock.yaml_source import Problem, Source, plain, read, spelled


def build(source: str | Path | Mapping[str, Any]) -> Config:
    """Read, check, compile."""
    if isinstance(source, Mapping):
        return _built(plain("<dict>", source), Path.cwd(), None)
    if not isinstance(source, (str, Path)):
        raise ConfigError(f"a config is a path, a dict or a Config, not a {type(source).__name__}")
    path = Path(source)
    return _built(read(path, remedy="`interlock init` writes one"), path.absolute().parent, path.absolute())


def checked(source: Source) -> File:
    """The file's models, or one ConfigError with every problem."""
    raw = {} if source.value is None and not source.problems else source.value
    if not isinstance(raw, dict):
        raise source.error([*source.problems, Problem((), f"must be a mapping of keys, not a {type(raw).__name__}")])
    problems = [*source.problems, *empties(raw), *crossed(raw)]
    told = {problem.place for problem in problems}
    try:
        file = File.model_validate(raw)
    except ValidationError as error:
        problems += [problem for problem in problems_in(error, File) if problem.place not in told]
        raise source.error(problems) from None
    if problems:
        raise source.error(problems)
    return file


def _built(source: Source, base: Path, path: Path | None) -> Config:
    file = checked(source)
    tools = {name: _declaration(entry) for name, entry in file.tools.items()}
    caps = _caps(file.budgets)
    tenants = {name: _caps(entry.budgets) for name, entry in file.tenants.items()}
    agents = {name: _caps(entry.budgets) for name, entry in file.agents.items()}
    approvals = _approvals(file)
    rules = tuple(_rules(file))
    text = _text(rules, tools, approvals, {"all": caps, "tenants": tenants, "agents": agents})
    conditions = {rule.when: compile_condition(rule.when) for rule in rules if rule.when}
    return Config(
        name=source.name,
        base=base,
        path=path,
        source=source,
        architecture=values.Architecture(
            tool_gateway=file.architecture.tool_gateway, runtime=file.architecture.runtime,
            canary=values.Canary(**dict(canary)) if (canary := file.architecture.canary) else None,
            ungoverned=file.architecture.ungoverned,
        ),
        ledger=file.ledger.url,
        synchronous=file.ledger.synchronous,
        caps=caps,
        policy=Policy(rules, conditions, f"sha256:{digest(text)}", text),
        tools=tools,
        approvals=approvals,
        credentials=dict(file.credentials),
        upstreams=dict(_upstreams(file, base)),
        logging=values.LoggingSettings(**dict(file.logging)),
        recording=values.Recording(**dict(file.recording)),
        recordings={name: _recording(entry.recording, file.recording) for name, entry in file.tenants.items()},
        parity=Thresholds(**dict(file.parity)),
        prices={name: values.Price(**dict(entry)) for name, entry in file.prices.items()},
        audit=values.AuditSettings(**dict(file.audit)),
        telemetry=values.TelemetrySettings(**dict(file.telemetry)),
        doctor=values.DoctorSettings(**dict(file.doctor)),
        limits=values.SizeLimits(**dict(file.limits)),
        serve=file.serve,
        lease=file.lease,
        tenants=tenants,
        agents=agents,
    )


# --- rules -----------------------------------------------------------------------------------------------------------


def _rules(file: File) -> Iterator[Rule]:
    """Grants first, then what restricts them. For people who read the list: the weighing has no order."""
    yield from _grants("policy", file.policy, ())
    for tenant, entry in file.tenants.items():
        yield from _grants(f"tenants.{tenant}", entry.policy, (exactly(tenant),))
    required = file.approvals.required_for
    if required:
        text = "approvals.required_for names this tool"
        yield Rule(id="approvals.required_for", then=Verdict.ALLOW, tools=required, reason=text)
        yield Rule(id="approvals.required_for", then=Verdict.ASK, tools=required, reason=text)
    yield from _restrictions("risk", file.policy, ())
    for tenant, entry in file.tenants.items():
        yield from _restrictions(f"tenants.{tenant}.risk", entry.policy, (exactly(tenant),))


def _grants(prefix: str, policy: PolicySection, tenants: tuple[str, ...]) -> Iterator[Rule]:
    for glob in dict.fromkeys(policy.allow):
        yield Rule(id=f"{prefix}.allow[{glob}]", then=Verdict.ALLOW, tools=(glob,), tenants=tenants)


def _restrictions(prefix: str, policy: PolicySection, tenants: tuple[str, ...]) -> Iterator[Rule]:
    for entry in policy.rules:
        yield _rule(entry, tenants)
    for risk, verdict in policy.risk.items():
        text = f"the tool's risk is {risk}"
        yield Rule(id=f"{prefix}.{risk}", then=verdict, risks=(risk,), tenants=tenants, reason=text)


def _rule(entry: RuleEntry, tenants: tuple[str, ...]) -> Rule:
    said = {key: value for key, value in dict(entry).items() if key in Rule.__struct_fields__}
    return Rule(**{**said, "tenants": tenants or entry.tenants})


def exactly(name: str) -> str:
    """The glob that matches this name and no other."""
    return re.sub(r"([*?\[])", r"[\1]", name)


def _text(rules: tuple[Rule, ...], tools: object, approvals: values.ApprovalSettings, budgets: object) -> bytes:
    """The canonical form of the policy."""
    said = {
        "v": 1,
        "rules": rules,
        "tools": tools,
        "approvals": [approvals.quorum, approvals.expires, approvals.on_reject, approvals.required_for],
        "budgets": budgets,
    }
    return canonical(msgspec.to_builtins(said))


# --- limits ----------------------------------------------------------------------------------------------------------


def _caps(section: Section | None) -> values.Caps:
    said = {key: value for key, value in (section or ()) if value is not None}
    run = {key: value for key, value in said.items() if key in values.DEFAULTS}
    return values.Caps(run, _windows({key: value for key, value in said.items() if key not in run}))


def _windows(said: Mapping[str, int]) -> dict[Window, Limits]:
    by_window: dict[Window, dict[str, int]] = {}
    for key, value in said.items():
        unit, _, window = key.partition("_per_")
        by_window.setdefault(Window(window), {})[unit] = value
    return {window: Limits(**limits) for window, limits in by_window.items()}


_PARSERS = {"max_seconds": duration, "max_usd": micro_dollars, "max_denials": positive, "max_repeats": positive}


def run_overrides(overrides: Mapping[str, Any]) -> dict[str, int]:
    """`gw.run(budgets=…)` → limits as `Caps.run` has them. Raises ConfigError."""
    problems: list[str] = []
    parsed: dict[str, int] = {}
    if not isinstance(overrides, Mapping):
        raise ConfigError(f"budgets= is a dict, not a {type(overrides).__name__}")
    for key, value in overrides.items():
        if key not in values.DEFAULTS:
            text = "belongs in the config; a run has only max_… limits" if key in QUOTA_KEYS else "unknown key"
            problems.append(f"budgets=: {key!s:.60}: {text}{hint(str(key), values.DEFAULTS)}")
            continue
        try:
            parsed[key] = _PARSERS.get(key, count)(value)
        except ValueError as error:
            problems.append(f"budgets=: {key}: {error}")
    if problems:
        raise ConfigError("\n".join(problems))
    return parsed


# --- the rest --------------------------------------------------------------------------------------------------------


def _declaration(entry: ToolEntry) -> values.ToolDeclaration:
    return values.ToolDeclaration(
        effect=entry.effect,
        risk=entry.risk,
        timeout=entry.timeout,
        dedupe=entry.dedupe,
        idempotent=entry.idempotent,
        errors_mean_failed=None if entry.errors is None else entry.errors == "failed",
        cost=None if entry.cost is None else _cost(entry.cost),
        credential=entry.credential,
        arguments=dict(entry.arguments),
        trusted=None if entry.returns is None else entry.returns == "trusted",
        windows=_caps(entry.budgets).windows,
    )


def fields_of_tool(name: str, said: Mapping[str, Any]) -> dict[str, Any]:
    """See `config.tool_fields`."""
    given = {key: value for key, value in said.items() if value is not None}
    words = {"description": given.pop("description")} if "description" in given else {}
    if not all(isinstance(word, str) for word in words.values()):
        raise ToolError(f"tool {name!r}: description: must be text")
    if "budgets" in given:
        raise ToolError(f"tool {name!r}: budgets stand in the config, under tools: {name}: budgets:")
    try:
        entry = ToolEntry.model_validate(given)
    except ValidationError as error:
        problems = "; ".join(f"{spelled(each.place)}: {each.text}" for each in problems_in(error, ToolEntry))
        raise ToolError(f"tool {name!r}: {problems}") from None
    declaration = _declaration(entry)
    found = {key: getattr(declaration, key) for key in declaration.__struct_fields__ if key != "windows"}
    return words | {key: value for key, value in found.items() if value is not None and (key != "arguments" or value)}


def _cost(entry: CostEntry) -> Cost:
    if isinstance(entry.usd, str):
        return Cost(argument=entry.usd.removeprefix("args."))
    return Cost(usd=entry.usd, reported=entry.reported)


def _recording(own: TenantRecording, general: Any) -> values.Recording:
    said = {key: value for key, value in own if value is not None}
    return values.Recording(**{**dict(general), **said})


def _approvals(file: File) -> values.ApprovalSettings:
    section = file.approvals
    return values.ApprovalSettings(
        quorum=section.quorum,
        expires=section.expires,
        on_reject=section.on_reject,
        webhook_url=section.webhook.url if section.webhook else None,
        webhook_secret=section.webhook.secret if section.webhook else None,
        required_for=section.required_for,
    )


def _upstreams(file: File, base: Path) -> Iterator[tuple[str, values.Upstream]]:
    for name, entry in file.upstreams.items():
        mcp, openapi = entry.mcp or McpEntry.model_construct(), entry.openapi
        if openapi is not None and "://" not in openapi:
            openapi = str(base / openapi)
        yield (
            name,
            values.Upstream(
                name=name,
                command=mcp.command,
                url=mcp.url,
                credential=entry.credential,
                env=dict(mcp.env),
                cwd=None if mcp.cwd is None else str(base / mcp.cwd),  # as the ledger's path, and every other
                timeout=entry.timeout,
                openapi=openapi,
                base_url=entry.base_url,
                allow_private=entry.allow_private,
                response_bytes=entry.response_bytes,
            ),
        )
