"""`interlock check`: what each tool gets by the policy, and what in the policy looks like a mistake.

Not a decision: nobody calls, so what depends on who calls with what is told as a condition. Law: a warning never
changes what the policy does; it names the place, the thing and the remedy.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from fnmatch import fnmatchcase
from functools import partial
from typing import TYPE_CHECKING, Any

from msgspec import Struct

from interlock.check_warnings import warnings_for
from interlock.config import Config
from interlock.core.call import Tool, ToolCall
from interlock.core.policy import Policy, Rule
from interlock.core.verdict import Verdict
from interlock.errors import ToolError
from interlock.ports import Pin

if TYPE_CHECKING:
    from rich.console import RenderableType

EVERYONE = "*"  #: as a line's tenant: every tenant that has no line of its own

WORDS = {Verdict.ALLOW: "allowed", Verdict.ASK: "asked", Verdict.DENY: "denied", Verdict.STOP: "stopped"}


class Clause(Struct, frozen=True):
    """What changes a tool's verdict, and when."""

    verdict: str
    rule: str
    when: str


class Line(Struct, frozen=True):
    """What one tool gets, for one tenant or for everyone."""

    tool: str
    tenant: str
    verdict: str  #: allowed, asked, denied, stopped; or depends: `otherwise`, unless one of the clauses holds
    otherwise: str
    rules: tuple[str, ...]  #: the rules that carry `otherwise`; `default_deny` where nothing grants
    clauses: tuple[Clause, ...]
    effect: str
    risk: str


class Report(Struct, frozen=True):
    """All that `interlock check` found."""

    name: str
    policy_version: str
    rules: int
    lines: tuple[Line, ...]
    warnings: tuple[str, ...]


def check(config: Config, tools: Mapping[str, Tool] | None = None, pins: Iterable[Pin] = ()) -> Report:
    """What each tool gets. `tools` are those that are registered, as `config.declared` gives them; without them, as on
    the command line, the tools are those that the config names, those of its upstreams whose definition is pinned, and
    those of OpenAPI documents that are files.
    """
    known, troubles = (dict(tools), []) if tools else known_tools(config, pins)
    lines = tuple(line for name in sorted(known) for line in _lines(config, known[name]))
    warnings = (*warnings_for(config, known, registered=bool(tools)), *troubles)
    return Report(config.name, config.policy.version, len(config.policy.rules), lines, warnings)


def surely_denied(policy: Policy, tool: Tool, who: ToolCall) -> bool:
    """True where policy refuses this tool to this caller whatever the arguments are. `who`: any call of theirs."""
    rules = [bound for bound in policy.rules_for(tool) if bound.applies(who)]
    if not any(bound.rule.then is Verdict.ALLOW for bound in rules):
        return True
    return any(bound.condition is None and bound.rule.then >= Verdict.DENY for bound in rules)


def known_tools(
    config: Config, pins: Iterable[Pin], used: Mapping[str, Tool] | None = None
) -> tuple[dict[str, Tool], list[str]]:
    """The tools of a config without its program: named there, `used` by runs, pinned, described in files; and what is
    wrong with those files."""
    described, troubles = described_tools(config)
    return {**named_tools(config), **(used or {}), **pinned_tools(config, pins), **described}, troubles


def example_of(glob: str) -> str:
    """A name that a glob matches, spelled as the glob is."""
    return re.sub(r"\[!?(.).*?\]", r"\1", glob)


def named_tools(config: Config) -> dict[str, Tool]:
    """The tools that a config names without a glob, as far as it declares them."""
    names = [*config.tools, *(name for rule in config.policy.rules for name in rule.tools)]
    plain = sorted({name for name in names if not any(mark in name for mark in "*?[")})
    return {name: config.declared(Tool(name=name), said=()) for name in plain}


def pinned_tools(config: Config, pins: Iterable[Pin]) -> dict[str, Tool]:
    """The tools of the config's upstreams, as they were accepted."""
    found: dict[str, Tool] = {}
    for pin in pins:
        if pin.tool.partition(".")[0] not in config.upstreams:
            continue
        schema = pin.definition.get("input_schema") or {}
        tool = config.declared(Tool(name=pin.tool, schema=schema), said=())
        if pin.definition.get("annotations"):
            from interlock.tools.mcp.tool import tightened

            tool = tightened(tool, pin.definition["annotations"])
        found[pin.tool] = tool
    return found


def described_tools(config: Config) -> tuple[dict[str, Tool], list[str]]:
    """The tools that OpenAPI documents describe, as far as these are files, and what is wrong with the documents."""
    found: dict[str, Tool] = {}
    troubles: list[str] = []
    for name, settings in config.upstreams.items():
        if settings.openapi is None:
            continue
        from interlock.tools.openapi.offer import in_file

        where = f"{config.source.at(('upstreams', name))}: upstream {name}"
        try:
            offer = in_file(settings, partial(config.declared, said=()))
        except ToolError as error:
            troubles.append(f"{where}: {error}")
            continue
        if offer is not None:
            found |= {tool.name: tool for _, tool in offer.tools}
            troubles += [f"{where}: its operation {each!r} is left out: {why}" for each, why in offer.refused.items()]
    return found, troubles


def _lines(config: Config, tool: Tool) -> Iterator[Line]:
    """One line where all tenants are alike, else one for everyone and one for each that differs."""
    general = line_of(config, tool, None)
    yield general
    for tenant in config.tenants:
        own = line_of(config, tool, tenant)
        if (own.verdict, own.otherwise, own.rules, own.clauses) != (
            general.verdict,
            general.otherwise,
            general.rules,
            general.clauses,
        ):
            yield own


def line_of(config: Config, tool: Tool, tenant: str | None) -> Line:
    """What a tool gets, for one tenant; None: for everyone who has no line of their own."""
    fixed, depending = weighed(config, tool, tenant)
    granted = [rule for rule in fixed if rule.then is Verdict.ALLOW]
    floor = max((rule.then for rule in fixed), default=Verdict.ALLOW)
    if floor >= Verdict.DENY:
        otherwise, carrying = floor, [rule.id for rule in fixed if rule.then is floor]
        relevant = [each for each in depending if each[0].then > floor]
    elif not granted:
        otherwise, carrying = Verdict.DENY, ["default_deny"]
        relevant = depending if any(rule.then is Verdict.ALLOW for rule, _ in depending) else []
    else:
        otherwise, carrying = floor, [rule.id for rule in fixed if rule.then is floor]
        relevant = [each for each in depending if each[0].then > floor]
    word = WORDS[otherwise]
    return Line(
        tool=tool.name,
        tenant=EVERYONE if tenant is None else tenant,
        verdict="depends" if relevant and floor < Verdict.DENY else word,
        otherwise=word,
        rules=tuple(dict.fromkeys(carrying)),
        clauses=tuple(Clause(WORDS[rule.then], rule.id, when) for rule, when in relevant),
        effect=tool.effect,
        risk=tool.risk,
    )


def weighed(config: Config, tool: Tool, tenant: str | None) -> tuple[list[Rule], list[tuple[Rule, str]]]:
    """The rules that speak of a tool: those that always hold for this tenant, and those that depend on something."""
    fixed: list[Rule] = []
    depending: list[tuple[Rule, str]] = []
    for bound in config.policy.rules_for(tool):
        rule, conditions = bound.rule, list(_conditions(bound.rule))
        if rule.tenants and tenant is None:
            globs = [glob for glob in rule.tenants if _is_glob(glob)]
            if not globs:
                continue
            conditions.insert(0, f"tenant is {' or '.join(globs)}")
        elif rule.tenants and not any(fnmatchcase(tenant or "", glob) for glob in rule.tenants):
            continue
        if conditions:
            depending.append((rule, " and ".join(conditions)))
        else:
            fixed.append(rule)
    return fixed, depending


def _conditions(rule: Rule) -> Iterable[str]:
    for word, globs in (("agent", rule.agents), ("env", rule.envs), ("runtime", rule.runtimes)):
        if globs and "*" not in globs:
            yield f"{word} is {' or '.join(globs)}"
    if rule.when:
        yield rule.when.strip()


def _is_glob(text: str) -> bool:
    escaped = text.replace("[*]", "").replace("[?]", "").replace("[[]", "")
    return any(mark in escaped for mark in "*?[")


_COLOURS = {"allowed": "green", "asked": "yellow", "denied": "red", "stopped": "bold red"}


def render(report: Report) -> RenderableType:
    """The report for a terminal."""
    from rich.console import Group
    from rich.table import Table
    from rich.text import Text

    table = Table(box=None, pad_edge=False, header_style="dim", padding=(0, 2, 0, 0))
    for column in ("tool", "tenant", "gets", "because of", "effect", "risk"):
        table.add_column(column, overflow="fold")
    for line in report.lines:
        tenant = "every" if line.tenant == EVERYONE else line.tenant
        verdict, why = Text(line.otherwise, _COLOURS[line.otherwise]), Text("\n".join(line.rules))
        table.add_row(Text(line.tool), Text(tenant), verdict, why, Text(line.effect), Text(line.risk))
        for clause in line.clauses:
            verdict = Text(clause.verdict, _COLOURS[clause.verdict])
            table.add_row("", "", verdict, Text.assemble(clause.rule, ("  when ", "dim"), clause.when), "", "")
    parts: list[Any] = [table if report.lines else Text("no tools are named: everything is denied", "dim"), Text("")]
    parts += [Text.assemble(("warning ", "yellow"), warning) for warning in report.warnings]
    counted = f"{report.rules} rules, {len(report.warnings)} warnings"
    return Group(*parts, Text(f"{report.name}: valid, {counted}, policy {report.policy_version[:19]}…", "dim"))
