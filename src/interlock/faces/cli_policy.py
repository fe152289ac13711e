"""`interlock check`, `interlock policy test` and `interlock policy diff`: what the policy says, before anybody calls.

Not the checking (`check.py`), the weighing (`cases.py`) or the comparing (`policy_diff.py`). Law: warnings alone are no
failure; a case that comes out otherwise is one, and so is a change that lets more happen, or may.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import msgspec
import typer

from interlock.faces.cli_open import read_config
from interlock.faces.cli_options import Config, Json, in_json
from interlock.faces.cli_print import document, lines, safe_all, say, show, table, text

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


@app.command("diff")
def compare(
    old: Annotated[Path, typer.Argument(metavar="OLD", help="The config as it was.")],
    new: Annotated[Path | None, typer.Argument(metavar="[NEW]", help="As it will be. Default: interlock.yaml.")] = None,
    cases: Annotated[
        list[Path] | None, typer.Option("--cases", metavar="PATH", help="Policy cases to weigh by both. Repeatable.")
    ] = None,
    config: Config = None,
    as_json: Json = False,
) -> None:
    """Show what another config decides otherwise. Exit code 1 where anything gets looser, or cannot be told not to."""
    from interlock.policy_diff import diff

    if new is not None and config is not None and new != config:
        raise typer.BadParameter("name the new config once: as NEW, or with --config")
    found = diff(read_config(old), read_config(new or config), cases or ())
    if in_json(as_json):
        document(found)
    elif found.changes:
        told = table("way", "", "what", "tenant", "was", "will be")
        for each in found.changes:
            tenant = "every" if each.tenant == "*" else each.tenant
            row = (each.kind, each.what, tenant, each.old, each.new)
            told.add_row(text(each.way, _WAYS[each.way]), *(text(cell) for cell in row))
        show(told)
    else:
        say("nothing is decided otherwise", "green")
    if not found.ok:
        raise typer.Exit(1)


_WAYS = {"looser": "bold red", "unclear": "yellow", "stricter": "green"}


def _case(result: CaseResult) -> Text:
    where = f"{result.file}:{result.line}"
    if result.passed:
        return text("ok      ", "green").append_text(text(result.sentence)).append_text(text(f"  {where}", "dim"))
    wanted = result.expected + (f" by {result.expected_rule}" if result.expected_rule else "")
    told = text("FAILED  ", "bold red").append_text(text(result.sentence)).append_text(text(f"  {where}", "dim"))
    told.append("\n        expected  ", "dim").append_text(text(wanted))
    told.append("\n        actual    ", "dim").append_text(text(f"{result.actual} by {', '.join(result.rules)}"))
    return told.append("\n        because   ", "dim").append_text(text(result.text))
