"""`interlock tools`: which tools there are, what they get, and what has changed about them.

Not the pins (`pins.py`). Law: what an upstream says of a tool is hostile until a person has read it; nothing is
accepted that the person was not shown the name of.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from contextlib import AbstractContextManager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import msgspec
import typer
from msgspec import Struct

from interlock.core.audit import SYSTEM
from interlock.faces.cli_open import act, look, unknown
from interlock.faces.cli_options import AName, By, Config, Json, Note, in_json
from interlock.faces.cli_print import clock, document, moment, pairs, say, show, table, text

if TYPE_CHECKING:
    from rich.table import Table
    from rich.text import Text

    from interlock.check import Line
    from interlock.core.call import Tool
    from interlock.gateway import Gateway
    from interlock.ports import Pin

app = typer.Typer(help="Tools: what they get, and what has changed about them.", no_args_is_help=True)

Connect = Annotated[bool, typer.Option("--connect", help="Start the upstreams, and look at what they show now.")]
_COLOURS = {"allowed": "green", "asked": "yellow", "denied": "red", "stopped": "bold red", "depends": "yellow"}


class Listed(Struct, frozen=True, kw_only=True):
    """One tool as it is listed."""

    tool: Tool
    upstream: str
    lines: tuple[Line, ...]  #: what it gets
    pin: Pin | None

    @property
    def changed(self) -> bool:
        """True where its upstream shows another definition than the accepted one."""
        return self.pin is not None and bool(self.pin.offered_digest)


@app.command("list")
def list_tools(connect: Connect = False, config: Config = None, as_json: Json = False) -> None:
    """List the tools that the config names and the upstreams have shown."""
    with _opened(config, connect) as gateway:
        found = listed(gateway)
    if in_json(as_json):
        document({"tools": [_plain(each) for each in found.values()]})
        return
    if not found:
        say("no tools are named in the config, and no upstream has shown any", "dim")
        return
    rows = table("tool", "upstream", "effect", "risk", "gets", "pinned", "")
    for name, each in found.items():
        gets = each.lines[0].verdict
        pinned = each.pin.digest.removeprefix("sha256:")[:12] if each.pin else ""
        changed = text("changed" if each.changed else "", "bold yellow")
        rows.add_row(
            text(name), text(each.upstream), text(each.tool.effect), text(each.tool.risk), text(gets, _COLOURS[gets]),
            text(pinned, "dim"), changed,
        )
    show(rows)
    if changed_ones := [name for name, each in found.items() if each.changed]:
        say(f"changed, and denied until accepted: see interlock tools show {changed_ones[0]}", "yellow")


@app.command("show")
def show_tool(name: AName, connect: Connect = False, config: Config = None, as_json: Json = False) -> None:
    """Show one tool, and how its definition differs from the accepted one."""
    from interlock import pins

    with _opened(config, connect) as gateway:
        found = listed(gateway)
        if name not in found:
            raise unknown("tool", name, found, "interlock tools list; tools of a program are known to it alone")
        each = found[name]
    if in_json(as_json):
        definition = each.pin.definition if each.pin else None
        document({**_plain(each), "definition": definition, "diff": pins.diff(each.pin) if each.pin else ""})
        return
    show(_told(each))
    if each.pin is not None and each.changed:
        show(text(""), _diff(pins.diff(each.pin)))
        say(f"\nto accept it: interlock tools accept {name} --by NAME".strip(), "yellow")


@app.command()
def accept(name: AName, by: By, note: Note = "", config: Config = None, as_json: Json = False) -> None:
    """Accept the changed definition of an upstream's tool. A gateway that is running learns it within seconds."""
    with act(config) as gateway:
        pin = gateway.control.accept(name, by=by, note=note)
        gateway.noticed(SYSTEM)
    if in_json(as_json):
        document(
            {"tool": name, "digest": pin.digest, "accepted_at": moment(pin.accepted_at), "accepted_by": pin.accepted_by}
        )
        return
    say(f"accepted: {name} is {pin.digest} now", "green")


def _opened(config: Path | None, connect: bool) -> AbstractContextManager[Gateway]:
    # an upstream that is looked at is pinned: that is an act
    return act(config, upstreams=True, new=True) if connect else look(config)


def listed(gateway: Gateway) -> dict[str, Listed]:
    """All tools that are registered, pinned, or named in the config, by name."""
    from interlock.check import check, named_tools
    from interlock.core.call import Tool

    pinned = {pin.tool: pin for pin in gateway.control.pins()}
    tools: dict[str, Tool] = {**named_tools(gateway.config)}
    for name in pinned:
        tools[name] = gateway.config.declared(Tool(name=name), said=())
    tools |= {name: registered.tool for name, registered in gateway.tools.items()}
    lines = check(gateway.config, tools).lines if tools else ()
    return {
        name: Listed(
            tool=tools[name], upstream=_upstream(gateway, name, name in pinned),
            lines=tuple(line for line in lines if line.tool == name), pin=pinned.get(name),
        )
        for name in sorted(tools)
    }


def _upstream(gateway: Gateway, name: str, pinned: bool) -> str:
    before = name.partition(".")[0]
    return before if pinned or before in gateway.config.upstreams else ""


def _told(each: Listed) -> Table:
    told = pairs()
    told.add_row("tool", text(each.tool.name, "bold"))
    told.add_row("upstream", text(each.upstream or "none: of a program"))
    told.add_row("effect", text(f"{each.tool.effect}, risk {each.tool.risk}"))
    for line in each.lines:
        whose = "" if line.tenant == "*" else f" for tenant {line.tenant}"
        told.add_row(
            "gets", text(f"{line.otherwise}{whose}, because of {', '.join(line.rules)}", _COLOURS[line.otherwise])
        )
        for clause in line.clauses:
            told.add_row("", text(f"{clause.verdict} by {clause.rule} when {clause.when}", _COLOURS[clause.verdict]))
    if each.pin is not None:
        told.add_row("pinned", text(each.pin.digest))
        told.add_row("accepted", text(f"{clock(each.pin.accepted_at)}, {each.pin.accepted_by}"))
        told.add_row("says", text(each.pin.definition.get("description", "")))
        told.add_row("takes", text(json.dumps(_properties(each.pin.definition))))
    return told


def _properties(definition: Mapping[str, Any]) -> Any:
    schema = definition.get("input_schema")
    found = schema.get("properties", {}) if isinstance(schema, Mapping) else {}
    return list(found) if isinstance(found, Mapping) else []


def _diff(told: str) -> Text:
    made = text("")
    for line in told.split("\n"):
        style = "green" if line.startswith("+") else "red" if line.startswith("-") else "dim"
        made.append_text(text(line, style)).append("\n")
    return made


def _plain(each: Listed) -> dict[str, Any]:
    pin = each.pin
    return {
        "name": each.tool.name, "upstream": each.upstream, "effect": each.tool.effect, "risk": each.tool.risk,
        "gets": msgspec.to_builtins(each.lines), "pinned": pin.digest if pin else None, "changed": each.changed,
        "offered": (pin.offered_digest or None) if pin else None,
        "accepted_at": moment(pin.accepted_at) if pin else None, "accepted_by": pin.accepted_by if pin else None,
    }
