"""`interlock run list`, `interlock run show` and `interlock run export`.

Not the run (`runs.py`), nor how its story is put together (`cli_story.py`). Law: these only look.
"""

from __future__ import annotations

from collections.abc import Iterator
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from interlock.faces.cli_open import find_run, look
from interlock.faces.cli_options import AnId, Config, Json, OneTenant, in_json
from interlock.faces.cli_print import (
    clock,
    complain,
    document,
    is_narrow,
    moment,
    pairs,
    say,
    show,
    span,
    stacked,
    table,
    text,
    write,
    write_private,
)

if TYPE_CHECKING:
    from rich.table import Table
    from rich.text import Text

    from interlock.core.run import Run
    from interlock.faces.cli_story import Happening
    from interlock.gateway import Gateway
    from interlock.reports import Report, Used

app = typer.Typer(help="What the agents' runs did.", no_args_is_help=True)

PAGE = 500
COLOURS = {
    "running": "cyan", "paused": "yellow", "completed": "green", "stopped": "red", "failed": "red",
    "allow": "green", "ask": "yellow", "deny": "red", "stop": "bold red",
    "done": "green", "unknown": "bold yellow", "waiting": "yellow", "rejected": "red", "expired": "red",
}


class Status(StrEnum):
    """What a run can be."""

    RUNNING = "running"
    PAUSED = "paused"
    COMPLETED = "completed"
    STOPPED = "stopped"
    FAILED = "failed"


@app.command("list")
def list_runs(
    tenant: OneTenant = None,
    status: Annotated[Status | None, typer.Option("--status", help="In this state alone.")] = None,
    limit: Annotated[int, typer.Option("--limit", "-n", min=1, max=100_000, help="At most so many.")] = 20,
    config: Config = None,
    as_json: Json = False,
) -> None:
    """List runs, the newest first."""
    with look(config) as gateway:
        found, more = _newest(gateway, tenant, status, limit)
        now = gateway.clock.now()
    if in_json(as_json):
        document({"runs": [_summary(run) for run in found], "more": more})
        return
    if not found:
        say("no runs", "dim")
        return
    listed = table("run", "tenant", "agent", "status", "steps", "opened", whole="run")
    for run in found:
        ago = f"{span(now - run.opened_at)} ago"
        state = _status(run.status, run.stop_reason)
        listed.add_row(text(run.run_id), text(run.tenant), text(run.agent), state, text(run.steps), text(ago))
    show(listed)
    if more:
        say(f"there are more: --limit, now {limit}", "dim")


def _newest(gateway: Gateway, tenant: str | None, status: Status | None, limit: int) -> tuple[list[Run], bool]:
    found: list[Run] = []
    for run in runs(gateway, tenant):
        if status is not None and run.status != status:
            continue
        if len(found) == limit:
            return found, True
        found.append(run)
    return found, False


def runs(gateway: Gateway, tenant: str | None) -> Iterator[Run]:
    """All runs, the newest first, a page at a time."""
    before, seen = None, set()
    while True:
        page = gateway.store.runs(tenant, limit=PAGE, before=before)
        fresh = [run for run in page if (run.tenant, run.run_id) not in seen]
        yield from fresh
        if len(page) < PAGE:
            return
        oldest = page[-1].opened_at
        seen = {(run.tenant, run.run_id) for run in page if run.opened_at == oldest}
        before = oldest + 1 if fresh else oldest  # several runs may have been opened in the same microsecond


@app.command("show")
def show_run(run_id: AnId, tenant: OneTenant = None, config: Config = None, as_json: Json = False) -> None:
    """Show one run: how it stands, what it used, and all that happened in it."""
    from interlock.faces.cli_story import story
    from interlock.faces.cli_unknowns import WHAT_TO_DO, how_to_end, open_unknowns
    from interlock.reports import report_of

    with look(config) as gateway:
        run = find_run(gateway, run_id, tenant)
        report = report_of(gateway, run)
        happened = story(gateway.audit.entries(run.tenant, run.run_id))
        doubtful = open_unknowns(gateway.store.calls_of(run.tenant, run.run_id), gateway.clock.now())
    if in_json(as_json):
        document(
            {**_summary(run), "request": run.request, "labels": run.labels, "report": report,
             "timeline": [each.plain() for each in happened]}
        )
        return
    show(_header(run, report), text(""), _budgets(report), text(""))
    show(_timeline(run, happened) if happened else text("nothing has happened in it yet", "dim"))
    for place, record in enumerate(doubtful):
        if not place:
            show(text(""), text(f"unknown: {WHAT_TO_DO}", "yellow"))
        say(how_to_end(record), "dim")


@app.command("export")
def export_run(
    run_id: AnId,
    tenant: OneTenant = None,
    out: Annotated[Path | None, typer.Option("--out", metavar="FILE", help="Write it there instead.")] = None,
    config: Config = None,
) -> None:
    """Write one run to standard output as a trace: all that was asked, said, decided and answered."""
    from interlock.core.trace import encode
    from interlock.traces import export

    with look(config) as gateway:
        run = find_run(gateway, run_id, tenant)
        trace = export(gateway, run.tenant, run.run_id)
    for gap in trace.gaps:
        complain(f"{run_id}: {gap}")
    if out is None:
        write(encode(trace))
        return
    write_private(out, encode(trace))


def _summary(run: Run) -> dict[str, Any]:
    return {
        "run_id": run.run_id, "tenant": run.tenant, "agent": run.agent, "env": run.env, "runtime": run.runtime,
        "status": run.status, "stop_reason": run.stop_reason, "stop_detail": run.stop_detail,
        "opened_at": moment(run.opened_at), "stopped_at": moment(run.stopped_at), "deadline": moment(run.deadline),
        "steps": run.steps, "denials": run.denials, "requested_by": run.requested_by,
        "policy_version": run.policy_version,
    }


def _status(status: str, reason: str | None) -> Text:
    why = f": {reason}" if reason and reason != status else ""
    return text(f"{status}{why}", COLOURS.get(status, ""))


def _header(run: Run, report: Report) -> Table:
    told = pairs()
    told.add_row("run", text(run.run_id, "bold"))
    told.add_row("of", text(f"tenant {run.tenant}, agent {run.agent}, env {run.env}"
                            + (f", runtime {run.runtime}" if run.runtime else "")))
    told.add_row("status", _status(run.status, run.stop_reason))
    if report.texts is not None:
        told.add_row("", text(report.texts.operator))
    if run.stop_detail:
        told.add_row("", text(run.stop_detail))
    if report.pending:
        told.add_row("waits for", text(", ".join(report.pending), "yellow"))
    if run.request:
        by = f" (for {run.requested_by})" if run.requested_by else ""
        told.add_row("asked to", text(f"{run.request[:400]}{'…' if len(run.request) > 400 else ''}{by}"))
    if run.labels:
        told.add_row("labels", text(", ".join(f"{key}={value}" for key, value in run.labels.items())))
    ended = f", ended {clock(run.stopped_at)}" if run.stopped_at else ""
    told.add_row("opened", text(f"{clock(run.opened_at)}{ended}"))
    return told


def _budgets(report: Report) -> Table:
    from rich.table import Table

    made = Table(box=None, pad_edge=False, header_style="dim", padding=(0, 2, 0, 0))
    made.add_column("budget")
    for column in ("used", "held", "left", "limit"):
        made.add_column(column, justify="right")
    for name in ("steps", "tool_calls", "seconds", "usd", "tokens"):
        used: Used = getattr(report, name)
        cells = [_number(name, each) for each in (used.used, used.held, used.left, used.limit)]
        style = "red" if used.left is not None and used.left <= 0 else ""
        made.add_row(name.replace("_", " "), *(text(cell, style) for cell in cells))
    made.add_row("denials", text(report.denials))
    return made


def _number(name: str, value: float | None) -> str:
    if value is None:
        return "-"
    if name == "usd":
        return f"${value:.4f}"
    return f"{value:.1f}" if name == "seconds" else str(int(value))


def _timeline(run: Run, happened: list[Happening]) -> Table:
    narrow = is_narrow()
    call, spent = ((), ()) if narrow else (("call",), ("spent",))
    made = table("at", "step", "what", *call, "verdict", "outcome", *spent, "why", whole="at")
    for each in happened:
        style = "" if each.is_call else "dim"
        at = text(f"+{span(max(0, each.at - run.opened_at), fine=True)}", "dim")
        verdict, outcome = (text(word, COLOURS.get(word, "")) for word in (each.verdict, each.outcome))
        cells = [at, text(each.step_id, "dim"), text(each.what, style)]
        if narrow:
            made.add_row(*cells, verdict, outcome, _why(each, narrow=True))
        else:
            told = text(each.call_id, "dim"), verdict, outcome, text(each.spent, style)
            made.add_row(*cells, *told, _why(each, narrow=False))
    return made


def _why(each: Happening, *, narrow: bool) -> Text:
    told = [text(each.rule)] if each.rule else []
    if each.text:
        told.append(text(each.text, "dim"))
    if each.approval_id:
        told.append(text(each.approval_id, "yellow"))
    if narrow and each.call_id:
        told.append(text(each.call_id, "dim"))
    if narrow and each.spent:
        told.append(text(each.spent, "dim"))
    return stacked(told)
