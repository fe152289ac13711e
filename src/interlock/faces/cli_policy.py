"""`interlock check` and `interlock policy test`: what the policy says, before anybody calls.

Not the checking (`check.py`) and not the weighing (`cases.py`). Law: warnings alone are no failure; a case that comes
out otherwise is one.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import msgspec
import typer

from interlock.faces.cli_open import read_config
from interlock.faces.cli_options import Config, Json, in_json
from interlock.faces.cli_print import document, lines, safe_all, say, show, text

if TYPE_CHECKING:
    from rich.text import Text

    from interlock.cases import CaseResult

app = typer.Typer(help="Try the policy out.", no_args_is_help=True)


@app.callback()
def _group() -> None: ...


def check(
    file: Annotated[Path | None, typer.Argument(metavar="[FILE]", help="The config. Default: interlock.yaml.")] = None,
    config: Config = None,
    as_json: Json = False,
) -> None:
    """Check a config, and show what each tool that it names will get."""
    from interlock import assemble
    from interlock import check as checking

    if file is not None and config is not None and file != config:
        raise typer.BadParameter("name the config once: as FILE, or with --config")
    found = read_config(file or config)
    report = checking.check(found, pins=assemble.pinned(found))
    plain = msgspec.to_builtins(report)
    if in_json(as_json):
        document({"ok": True, **{"tools" if key == "lines" else key: each for key, each in plain.items()}})
        return
    show(checking.render(msgspec.convert(safe_all(plain), checking.Report)))


@app.command("test")
def weigh_cases(
    cases: Annotated[list[Path], typer.Argument(metavar="CASES…", help="Files of cases, or folders of them.")],
    config: Config = None,
    as_json: Json = False,
) -> None:
    """Weigh calls that are written down in files, and compare the verdicts with those expected."""
    from interlock.cases import run_cases

    results = run_cases(read_config(config), cases)
    failed = sum(not result.passed for result in results)
    if in_json(as_json):
        document({"ok": not failed, "passed": len(results) - failed, "failed": failed, "cases": results})
    else:
        for result in results:
            lines(_case(result))
        passed = f"{len(results) - failed} passed"
        say(f"{failed} failed, {passed}" if failed else passed, "red" if failed else "green")
    if failed:
        raise typer.Exit(1)


def _case(result: CaseResult) -> Text:
    where = f"{result.file}:{result.line}"
    if result.passed:
        return text("ok      ", "green").append_text(text(result.sentence)).append_text(text(f"  {where}", "dim"))
    wanted = result.expected + (f" by {result.expected_rule}" if result.expected_rule else "")
    told = text("FAILED  ", "bold red").append_text(text(result.sentence)).append_text(text(f"  {where}", "dim"))
    told.append("\n        expected  ", "dim").append_text(text(wanted))
    told.append("\n        actual    ", "dim").append_text(text(f"{result.actual} by {', '.join(result.rules)}"))
    return told.append("\n        because   ", "dim").append_text(text(result.text))
