"""The result as people read it: a table on the terminal, and the one in docs/performance.md."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from rich.table import Table

from benchmarks.load import HERE

PAGE = HERE / "docs" / "performance.md"
BEGIN, END = "<!-- bench: begin (python -m benchmarks --docs writes what follows) -->", "<!-- bench: end -->"
_MET = {True: "yes", False: "NO", None: ""}


def printed(result: dict[str, Any]) -> Table:
    """For a terminal."""
    shown = Table(title="quick: shows that it works, not how fast it is" if result["quick"] else None)
    for column in ("measure", "figure", "target", "stretch", "met"):
        shown.add_column(column, justify="left" if column == "measure" else "right", overflow="fold")
    for measure in result["measures"]:
        note = f" ({measure['foreign_cpu']:.0%} foreign CPU)" if measure["noisy"] else ""
        shown.add_section()
        shown.add_row(f"[bold]{measure['title']}[/]{note}")
        for each in measure["figures"]:
            color = {True: "green", False: "red", None: ""}[each["met"]]
            met = f"[{color}]{_MET[each['met']]}[/]" if color else ""
            shown.add_row(each["name"], value_of(each), aim_of(each, "must"), aim_of(each, "stretch"), met)
            if each["seen"]:
                shown.add_row(f"  [dim]{seen_of(each)}[/]")
        for trouble in (measure["missing"], measure["wrong"]):
            if trouble:
                shown.add_row(f"[yellow]could not run: {trouble}[/]")
    return shown


def machine_line(result: dict[str, Any]) -> str:
    """What it was measured on."""
    machine = result["machine"]
    return (
        f"{machine['cpu']}, {machine['cores']} cores, {machine['filesystem']}, Linux {machine['kernel']},"
        f" Python {machine['python']}, SQLite {machine['sqlite']}, {machine['date']}"
    )


def write_docs(result: dict[str, Any]) -> Path:
    """Put the figures between the marker lines of the page."""
    before, _, rest = PAGE.read_text().partition(BEGIN)
    _, _, after = rest.partition(END)
    PAGE.write_text(f"{before}{BEGIN}\n\n{_markdown(result)}\n{END}{after}")
    return PAGE


def _markdown(result: dict[str, Any]) -> str:
    lines = [f"Measured on: {machine_line(result)}.", ""]
    if result["quick"]:
        lines += ["**A quick run: it shows that the bench works, not how fast Interlock is.**", ""]
    lines += ["| measure | figure | rounds, lowest to highest | target | stretch | met |", "|---|---|---|---|---|---|"]
    for measure in result["measures"]:
        for each in measure["figures"]:
            met = {True: "yes", False: "**no**", None: ""}[each["met"]]
            cells = (each["name"], value_of(each), spread_of(each), aim_of(each, "must"), aim_of(each, "stretch"), met)
            lines.append(f"| {' | '.join(cells)} |")
    figures = [each for measure in result["measures"] for each in measure["figures"]]
    promised = [each for each in figures if each["met"] is not None]
    short = [each for each in promised if not each["met"]]
    lines += ["", f"{len(promised) - len(short)} of {len(promised)} targets are met."]
    lines += [f"- Falls short: {each['name']}, {value_of(each)} instead of {aim_of(each, 'must')}." for each in short]
    lines += _remarks(result)
    lines += ["", "What lies behind them, in absolute numbers that are valid for this run on this machine only:", ""]
    lines += [f"- {each['name']}: {seen_of(each)}{_note(each)}" for each in figures if each["seen"] or each["note"]]
    return "\n".join(lines) + "\n"


def _remarks(result: dict[str, Any]) -> list[str]:
    noisy = [f"{one['title']} ({one['foreign_cpu']:.0%})" for one in result["measures"] if one["noisy"]]
    lines = [f"- Could not run: {one['title']}: {one['missing']}" for one in result["measures"] if one["missing"]]
    lines += [f"- NOT VALID: {one['title']}: {one['wrong']}" for one in result["measures"] if one["wrong"]]
    if noisy:
        lines.append(f"- Others used more than 15 % of the CPU meanwhile: {', '.join(noisy)}.")
    return lines


def _note(each: dict[str, Any]) -> str:
    return f"{'; ' if each['seen'] else ''}{each['note']}" if each["note"] else ""


def value_of(each: dict[str, Any]) -> str:
    """A figure with its unit."""
    return _with_unit(each["value"], each["unit"])


def spread_of(each: dict[str, Any]) -> str:
    """Its rounds, from the lowest to the highest."""
    low, high = min(each["rounds"]), max(each["rounds"])
    return "" if len(each["rounds"]) < 2 else f"{_number(low)} – {_number(high)}"


def aim_of(each: dict[str, Any], which: str) -> str:
    """What it should be."""
    aim = each[which]
    if aim is None:
        return ""
    if 0 < aim < 0.1 and each["unit"] == "×":
        return f"≤ 1/{1 / aim:.0f}"
    return f"{'≥' if each['at_least'] else '≤'} {_with_unit(aim, each['unit'])}"


def seen_of(each: dict[str, Any]) -> str:
    """The absolute numbers behind it."""
    named = {name.replace("_per_s", "/s").replace("_", " "): value for name, value in each["seen"].items()}
    return ", ".join(f"{name} {_number(value)}" for name, value in named.items())


def _with_unit(value: float, unit: str) -> str:
    if unit == "×":
        return f"1/{1 / value:.0f} ×" if 0 < value < 0.1 else f"{_number(value)} ×"
    return f"{_number(value)} {unit}".strip()


def _number(value: float) -> str:
    if value == int(value) or abs(value) >= 1000:
        return f"{value:,.0f}"
    return f"{value:.0f}" if abs(value) >= 100 else f"{value:.1f}" if abs(value) >= 10 else f"{value:.2f}"
