"""The card of one approval: what a person reads before they say yes.

Not the answer. Law: everything that a model wrote stands behind a bar and cannot pass for a line of the card; nothing
of the arguments is left out.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

from interlock.core.approval import Approval
from interlock.faces.cli_print import clock, dollars, pairs, safe, span, text

if TYPE_CHECKING:
    from rich.console import RenderableType
    from rich.panel import Panel
    from rich.text import Text

_EDGE = {"waiting": "yellow", "approved": "green", "consumed": "green"}


def card(approval: Approval, standing: str, left: int) -> Panel:
    """The card, for a terminal."""
    from rich.console import Group
    from rich.panel import Panel

    shown = approval.card
    head = pairs()
    head.add_row("tool", text(approval.tool, "bold"))
    if shown.description:
        head.add_row("", text(shown.description, "dim"))
    head.add_row("does", text(f"{shown.effect}, risk {shown.risk}", "red" if shown.effect == "irreversible" else ""))
    head.add_row("rule", text(shown.rule or "-"))
    head.add_row("reason", text(shown.reason))
    head.add_row("asked by", text(f"agent {approval.agent}, tenant {approval.tenant}, env {approval.env}"))
    head.add_row("run", text(f"{approval.run_id}, call {approval.call_id}"))
    if shown.request:
        head.add_row("request", _behind_bar(shown.request))
    head.add_row("costs", text(dollars(shown.cost_usd) if shown.cost_usd else "nothing known"))

    tail = pairs()
    tail.add_row("asked", text(clock(approval.asked_at)))
    tail.add_row("stands", text(_standing(approval, standing, left), _EDGE.get(standing, "red")))
    for answer in approval.answers:
        note = f": {answer.note}" if answer.note else ""
        tail.add_row("", text(f"{'yes' if answer.yes else 'no'} by {answer.by}, {clock(answer.at)}{note}"))
    if approval.requested_by:
        tail.add_row("cannot say yes", text(", ".join(approval.requested_by)))
    parts: list[RenderableType] = [head, text(""), *_arguments("arguments", shown.arguments, shown.suspicious)]
    if approval.edited is not None:
        parts += [text(""), *_arguments("edited by a person, and performed instead", approval.edited, {})]
    title = text(approval.approval_id)
    return Panel(
        Group(*parts, text(""), tail), title=title, title_align="left", border_style=_EDGE.get(standing, "red")
    )


def _standing(approval: Approval, standing: str, left: int) -> str:
    if standing == "waiting":
        return f"waiting, {span(left)} left, {len(approval.approvers)} of {approval.quorum} said yes"
    return f"approved, to be used within {span(left)}" if standing == "approved" else standing


def _arguments(title: str, arguments: Mapping[str, Any], suspicious: Mapping[str, str]) -> list[Text]:
    told = [text(title, "dim")]
    if not arguments:
        return [*told, text("  none")]
    for path, value in _leaves(arguments, ""):
        origin = suspicious.get(path)
        line = text("! " if origin else "  ", "bold red").append_text(text(path, "bold")).append(" = ")
        told.append(line.append_text(_value(value)))
        if origin:
            told.append(text(f"    ↳ came from {origin}", "red"))
    return told


def _leaves(value: Any, path: str) -> Iterator[tuple[str, Any]]:
    """Every value with its path, as provenance names it."""
    if isinstance(value, Mapping) and value:
        for key, child in value.items():
            yield from _leaves(child, f"{path}.{key}" if path else str(key))
    elif isinstance(value, list) and value:
        for place, child in enumerate(value):
            yield from _leaves(child, f"{path}[{place}]")
    else:
        yield path, value


def _value(value: Any) -> Text:
    if not isinstance(value, str):
        return text(json.dumps(value), "cyan")
    if "\n" in value:
        return text("").append("\n").append_text(_behind_bar(value, "    "))
    return text(f'"{value}"')


def _behind_bar(value: str, indent: str = "") -> Text:
    """Text of several lines, each behind a bar."""
    made = text("")
    for place, line in enumerate(value.split("\n")):
        made.append(f"{chr(10) if place else ''}{indent}┊ ", "dim").append(safe(line))
    return made
