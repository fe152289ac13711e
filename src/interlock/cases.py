"""Policy cases: calls with the verdict that a team expects, in files beside their policy.

Not a simulation of runs: each case is one call in a run of its own. Law: a case is weighed by the `decide` that weighs
real calls; a file that is not understood in full is refused, so that no case is passed over in silence.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import datetime
from pathlib import Path
from typing import Any

from msgspec import Struct

from interlock.cases_file import CaseEntry, entries
from interlock.config import Config, tool_fields
from interlock.core.call import MICROS, Tool, ToolCall
from interlock.core.decide import Facts, decide
from interlock.core.run import Run
from interlock.core.verdict import Decision
from interlock.errors import ConfigError
from interlock.yaml_source import Source

NOON = 1_767_268_800 * MICROS  #: 2026-01-01T12:00:00Z, where a case names no time


class CaseResult(Struct, frozen=True):
    """What became of one case."""

    file: str
    line: int
    sentence: str
    passed: bool
    expected: str
    actual: str
    expected_rule: str
    rules: tuple[str, ...]  #: ids of the rules, or names of the guards, that carry the verdict
    text: str  #: why, in words


def run_cases(config: Config, paths: Iterable[str | Path]) -> list[CaseResult]:
    """Weigh every case of these files, and of the .yaml and .yml files directly in these folders.

    Raises ConfigError where a file is not a list of cases, or where there is none at all.
    """
    results = [result for path in _files(config, paths) for result in _run_file(config, path)]
    if not results:
        raise ConfigError("there are no policy cases; name a file or folder that holds some")
    return results


def describe(result: CaseResult) -> str:
    """One result as a line, and for a failure what was expected and why it came otherwise."""
    where = f"{result.file}:{result.line}"
    if result.passed:
        return f"ok      {where}  {result.sentence}"
    wanted = result.expected + (f" by {result.expected_rule}" if result.expected_rule else "")
    came = f"{result.actual} by {', '.join(result.rules)}"
    return f"FAILED  {where}  {result.sentence}\n        expected {wanted}\n        actual   {came}: {result.text}"


def _files(config: Config, paths: Iterable[str | Path]) -> Iterable[Path]:
    for path in map(Path, paths):
        if not path.is_dir():
            yield path
            continue
        found = sorted(each for each in path.iterdir() if each.suffix in (".yaml", ".yml") and each.is_file())
        # the config itself may well be kept in the same folder
        yield from (each for each in found if config.path is None or each.resolve() != config.path.resolve())


def _run_file(config: Config, path: Path) -> list[CaseResult]:
    source, found = entries(path)
    return [_run(config, source, line, entry) for line, entry in found]


def _run(config: Config, source: Source, line: int, entry: CaseEntry) -> CaseResult:
    call, facts = _facts(config, entry)
    decision = decide(call, facts)
    carrying = _carriers(decision)
    fits = decision.verdict is entry.expect and (not entry.rule or entry.rule in carrying)
    return CaseResult(
        file=source.name,
        line=line,
        sentence=entry.sentence,
        passed=fits,
        expected=entry.expect.word,
        actual=decision.verdict.word,
        expected_rule=entry.rule,
        rules=carrying,
        text=decision.text,
    )


def _carriers(decision: Decision) -> tuple[str, ...]:
    return tuple(dict.fromkeys(reason.rule or reason.guard for reason in decision.leading))


def _facts(config: Config, entry: CaseEntry) -> tuple[ToolCall, Facts]:
    """One call in a fresh run."""
    tool = _tool(config, entry.tool)
    now = NOON if entry.now is None else int(datetime.fromisoformat(entry.now).timestamp() * MICROS)
    budget = config.run_budget(entry.tenant, entry.agent)
    run = Run(
        tenant=entry.tenant,
        run_id="case",
        agent=entry.agent,
        env=entry.env,
        opened_at=now,
        deadline=now + budget.max_seconds,
        max_seconds=budget.max_seconds,
        limits=budget.limits,
        max_denials=budget.max_denials,
        max_repeats=budget.max_repeats,
        policy_version=config.policy.version,
        runtime=entry.runtime,
        request=entry.run.request,
        labels=entry.run.labels,
        steps=entry.run.steps,
        denials=entry.run.denials,
    )
    call = ToolCall(
        tenant=entry.tenant,
        agent=entry.agent,
        env=entry.env,
        run_id="case",
        tool=tool.name,
        args=entry.args,
        call_id="case",
        key="case",
        runtime=entry.runtime,
    )
    return call, Facts(now=now, policy=config.policy, run=run, tool=tool, provenance=entry.provenance)


def _tool(config: Config, said: str | Mapping[str, Any]) -> Tool:
    """The tool as the config declares it, with what the case says of its code."""
    if isinstance(said, str):
        return config.declared(Tool(name=said), said=())
    fields = tool_fields(said["name"], {key: value for key, value in said.items() if key != "name"})
    return config.declared(Tool(name=said["name"], **fields), said=fields)
