"""The shape of a file of policy cases.

Not the weighing of them (`cases.py`). Law: strict, like the config; every problem is told, with its line.
"""

from __future__ import annotations

from datetime import datetime
from pathlib import Path
from typing import Annotated, Any

from pydantic import AfterValidator, BeforeValidator, Field, TypeAdapter, ValidationError

from interlock.config import tool_fields
from interlock.config.problems import problems_in
from interlock.config.shapes import Count, Glob, Section, Text, Then
from interlock.core.canonical import problem_of
from interlock.core.names import problem_of_name
from interlock.errors import ToolError
from interlock.yaml_source import Problem, Source, read


def _tool(value: Any) -> Any:
    if isinstance(value, str):
        problem = problem_of_name(value, "tool")
    elif isinstance(value, dict):
        problem = problem_of_name(value.get("name"), "tool: name")
        if not problem:
            try:
                tool_fields(value["name"], {key: each for key, each in value.items() if key != "name"})
            except ToolError as error:
                problem = str(error)
    else:
        problem = "must be a tool's name, or a mapping with name, effect, risk"
    if problem:
        raise ValueError(problem)
    return value


def _arguments(value: Any) -> Any:
    problem = problem_of(value) if isinstance(value, dict) else "must be a mapping"
    if problem:
        raise ValueError(problem)
    return value


def _time(value: str) -> str:
    try:
        fine = datetime.fromisoformat(value).tzinfo is not None
    except ValueError:
        fine = False
    if not fine:
        raise ValueError("must be a time with its zone, like 2026-01-01T12:00:00Z")
    return value


class RunEntry(Section):
    """What the run of a case is like."""

    request: str = ""
    labels: dict[str, str] = Field(default_factory=dict)
    steps: Count = 0
    denials: Count = 0


class CaseEntry(Section):
    """A sentence, a call, and what is expected."""

    sentence: Annotated[str, Field(min_length=1, max_length=1000)]
    tenant: Text = "acme"
    agent: Text = "agent"
    env: Text = "prod"
    runtime: str = ""
    tool: Annotated[Any, BeforeValidator(_tool)]
    args: Annotated[dict[str, Any], BeforeValidator(_arguments)] = Field(default_factory=dict)
    run: RunEntry = RunEntry()
    provenance: dict[Glob, Text] = Field(default_factory=dict)
    now: Annotated[str, AfterValidator(_time)] | None = None
    expect: Then
    rule: str = ""


def entries(path: Path) -> tuple[Source, list[tuple[int, CaseEntry]]]:
    """The cases of one file, each with its line. Raises ConfigError with every problem."""
    source = read(path)
    raw = source.value
    if not isinstance(raw, list) or not raw:
        problem = Problem((), "must be a list of cases: - {sentence: …, tool: …, args: …, expect: …}")
        raise source.error([*source.problems, problem])
    problems = list(source.problems)
    found: list[tuple[int, CaseEntry]] = []
    for index, each in enumerate(raw):
        try:
            found.append((source.line((index,)), _ADAPTER.validate_python(each)))
        except ValidationError as error:
            problems += [Problem((index, *problem.place), problem.text) for problem in problems_in(error, CaseEntry)]
    if problems:
        raise source.error(problems)
    return source, found


_ADAPTER: TypeAdapter[CaseEntry] = TypeAdapter(CaseEntry)
