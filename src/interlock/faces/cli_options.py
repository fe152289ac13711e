"""The options that several commands share, and how texts, numbers and JSON on a command line are read.

Not a command. Law: whatever is wrong with an option is a usage error that names it; nothing that a person types is
guessed, their name least of all.
"""

from __future__ import annotations

import json
import math
from contextvars import ContextVar
from pathlib import Path
from typing import Annotated, Any, NamedTuple

import typer

from interlock.core.canonical import problem_of
from interlock.core.names import problem_of_name

DEFAULT = Path("interlock.yaml")
MOST = 10**12  #: of anything that is topped up
_LONGEST = 2000


class Before(NamedTuple):
    """What stood before the command."""

    config: Path | None = None
    as_json: bool = False


BEFORE: ContextVar[Before] = ContextVar("before", default=Before())  # noqa: B039  a named tuple does not change


def config_path(given: Path | None) -> Path:
    """The config to read: as named behind the command, before it, or the one in the working directory."""
    return given or BEFORE.get().config or DEFAULT


def in_json(given: bool) -> bool:
    """True where `--json` stood before or behind the command."""
    return given or BEFORE.get().as_json


# --- what a text may be ----------------------------------------------------------------------------------------------


def named(what: str) -> Any:
    """A callback that lets pass what may be the name of a `what`."""

    def checked(value: str | None) -> str | None:
        problem = None if value is None else problem_of_name(value, what)
        if problem:
            raise typer.BadParameter(problem)
        return value

    return checked


def _said(value: str) -> str:
    if len(value) > _LONGEST:
        raise typer.BadParameter(f"must have at most {_LONGEST} characters")
    if not value.replace("\n", "").isprintable():
        raise typer.BadParameter("must not hold control characters or invisible ones")
    return value


def exact(option: str, value: str | None) -> None:
    """A name that no pattern is meant by: a switch for an agent named `bot-*` would hold for nobody."""
    if value is not None and any(mark in value for mark in "*?["):
        raise typer.BadParameter(
            f"{option} {value!r} is no pattern, and would hold for nobody; only --tool takes patterns"
        )


def _amount(value: float) -> float:
    if not math.isfinite(value) or not 0 <= value <= MOST:
        raise typer.BadParameter(f"must be a number from 0 to {MOST}")
    return value


def json_value(option: str, given: str) -> Any:
    """The JSON of an option: as it stands, or from a file where it begins with @."""
    try:
        raw = Path(given[1:]).read_text("utf-8") if given.startswith("@") else given
    except (OSError, ValueError) as error:
        raise typer.BadParameter(f"{option}: {given[1:]!r} cannot be read: {_why(error)}") from None
    try:
        value = json.loads(raw)
    except (ValueError, RecursionError) as error:
        raise typer.BadParameter(
            f"{option} is not JSON: {error}; quote it for the shell, or name a file with @"
        ) from None
    problem = problem_of(value)
    if problem:
        raise typer.BadParameter(f"{option} {problem}")
    return value


def _why(error: Exception) -> str:
    return getattr(error, "strerror", None) or str(error)


# --- the options -----------------------------------------------------------------------------------------------------

Config = Annotated[
    Path | None, typer.Option("--config", "-c", metavar="FILE", help="The config to read. Default: interlock.yaml.")
]
Json = Annotated[bool, typer.Option("--json", help="One JSON document on standard output, and nothing else.")]
Tenant = Annotated[str, typer.Option("--tenant", metavar="NAME", help="Whose.", callback=named("tenant"))]
OneTenant = Annotated[
    str | None, typer.Option("--tenant", metavar="NAME", help="Of this tenant alone.", callback=named("tenant"))
]
By = Annotated[
    str, typer.Option("--by", metavar="NAME", help="Who does this. It goes into the audit.", callback=named("by"))
]
Note = Annotated[str, typer.Option("--note", metavar="TEXT", help="For the audit.", callback=_said)]
Reason = Annotated[str, typer.Option("--reason", metavar="TEXT", help="Why. It goes into the audit.", callback=_said)]
Agent = Annotated[str | None, typer.Option("--agent", metavar="NAME", help="This agent.", callback=named("agent"))]
Tool = Annotated[str | None, typer.Option("--tool", metavar="NAME", help="This tool.", callback=named("tool"))]
Run = Annotated[str | None, typer.Option("--run", metavar="ID", help="This run.", callback=named("run"))]
RunId = Annotated[str, typer.Option("--run", metavar="ID", help="The run.", callback=named("run"))]
CallId = Annotated[str, typer.Option("--call", metavar="ID", help="The call, or its key.", callback=named("call"))]
AnId = Annotated[str, typer.Argument(metavar="ID", callback=named("id"))]
AName = Annotated[str, typer.Argument(metavar="NAME", callback=named("tool"))]
Count = Annotated[int, typer.Option(min=0, max=MOST)]
Usd = Annotated[float, typer.Option("--usd", callback=_amount)]
