"""`interlock doctor`: the checklist, answered by what the config says and the ledger has.

Not the looking (`doctor.py`) and not the answers (`core/checklist.py`). Law: it makes, migrates and writes nothing; a
ledger that cannot be read is a point that fails, and no error; one point that fails is exit code 1.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import msgspec
import typer

from interlock.errors import ConfigError, InterlockError
from interlock.faces.cli_open import look, read_config
from interlock.faces.cli_options import Config as ConfigOption
from interlock.faces.cli_options import Json, in_json
from interlock.faces.cli_print import document, say, show, table, text

if TYPE_CHECKING:
    from pathlib import Path

    from rich.console import RenderableType
    from rich.table import Table

    from interlock.config import Config
    from interlock.core.seen import Check, Seen

_STYLES = {"ok": "green", "warn": "yellow", "fail": "bold red"}


def doctor(
    days: Annotated[int, typer.Option("--days", min=1, max=3650, help="How far back runs are looked at.")] = 30,
    config: ConfigOption = None,
    as_json: Json = False,
) -> None:
    """Answer the checklist against the config and the ledger. Exit code 1 where a point fails."""
    from interlock.core.checklist import answered
    from interlock.core.seen import State

    checks = answered(_seen(read_config(config), config, days))
    counted = {state: sum(check.state is state for check in checks) for state in State}
    if in_json(as_json):
        document({"ok": not counted[State.FAIL], "checks": [_plain(check) for check in checks]})
    else:
        show(_table(checks))
        worst = next(state for state in reversed(State) if counted[state])
        say(", ".join(f"{count} {state}" for state, count in counted.items() if count), _STYLES[worst])
    if counted[State.FAIL]:
        raise typer.Exit(1)


def _seen(config: Config, given: Path | None, days: int) -> Seen:
    from interlock.assemble import SystemClock
    from interlock.doctor import see

    clock = SystemClock()
    try:
        with look(given, untouched=True) as gateway:
            return see(config, gateway, days=days, clock=clock)
    except ConfigError:
        raise
    except (InterlockError, msgspec.MsgspecError) as error:
        return see(config, None, days=days, clock=clock, trouble=str(error))


def _plain(check: Check) -> dict[str, Any]:
    return {
        "name": check.name,
        "state": check.state,
        "looked_at": [found.fact for found in check.found],
        "to_do": [found.to_do for found in check.found if found.to_do],
    }


def _table(checks: tuple[Check, ...]) -> Table:
    told = table("", "point", "what was looked at, and what to do", whole="point")
    for check in checks:
        head: tuple[RenderableType, ...] = (text(check.state, _STYLES[check.state]), text(check.name))
        for found in check.found:
            told.add_row(*head, text(found.fact, "" if found.state == "ok" else _STYLES[found.state]))
            if found.to_do:
                told.add_row("", "", _to_do(found.to_do))
            head = ("", "")
    return told


def _to_do(what: str) -> Table:
    from rich.table import Table

    made = Table.grid(padding=(0, 1, 0, 0))
    made.add_column(style="dim")
    made.add_column(overflow="fold")
    made.add_row("→", text(what, "cyan"))
    return made
