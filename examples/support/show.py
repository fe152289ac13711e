"""What the demo prints of a run: a line for each call, and a person's card."""

import re
import textwrap

from rich.console import Console
from rich.markup import escape
from rich.panel import Panel
from rich.table import Table

from interlock.core.approval import Approval
from interlock.core.turn import Call

MARKS = {"done": "[green]✓[/]", "refused": "[red]✗[/]"}


class Shown:
    """Prints calls as they happen. Of several new tickets with the same end, only the first has a line of its own."""

    def __init__(self, console: Console, *, only: str = "") -> None:
        self._console = console
        self._only = only  # show calls that ended so, and no others
        self._last = ("", "")
        self._more = 0

    def call(self, call: Call, end: str, said: str = "") -> None:
        """One call, how it ended (see `MARKS`), and what is to be said of that."""
        if self._only not in ("", end):
            return
        if call.name == "tracker.write_query" and (call.name, end) == self._last:
            self._more += 1
            return
        self.flush()
        self._last = (call.name, end)
        line = f"   {MARKS[end]} [cyan]{call.name:<21}[/] {escape(gist(call))}"
        self._console.print(line, no_wrap=True, overflow="ellipsis", highlight=False)
        if said:
            say(self._console, said, 5, "dim")

    def flush(self) -> None:
        """Say how many more there were."""
        if self._more:
            self._console.print(f"       … and {self._more} more like it", highlight=False)
        self._last, self._more = ("", ""), 0


def say(console: Console, text: str, indent: int = 0, style: str = "") -> None:
    """A paragraph."""
    for line in textwrap.wrap(text, min(console.width, 110) - indent):
        console.print(" " * indent + escape(line), style=style, highlight=False)


def gist(call: Call) -> str:
    """What a call is about, on one line."""
    text = " ".join(str(next(iter(call.args.values()), "")).split())
    ticket = re.match(r"INSERT INTO ticket .* VALUES \('((?:[^']|'')*)'", text)
    return f"new ticket: {ticket[1]}" if ticket else text


def ending(told: str) -> tuple[str, str]:
    """How a call ended, read off what the model was told: done, or refused and why."""
    if told.startswith("NOT DONE"):
        return "refused", f"{told.split('. ', maxsplit=1)[0]}."
    return "done", ""


def card(approval: Approval, answer: str, note: str, width: int) -> Panel:
    """An approval as a person sees it, with the answer beneath."""
    told = approval.card
    rows = Table.grid(padding=(0, 2))
    rows.add_column(style="dim")
    rows.add_column(overflow="fold")
    rows.add_row("tool", f"{told.tool} ({told.effect}, {told.risk} risk)")
    for name, value in told.arguments.items():
        rows.add_row(name, escape(str(value)))
    for name, origin in told.suspicious.items():
        rows.add_row("look twice", f"[yellow]{escape(name)} came {escape(_from(origin))}[/]")
    rows.add_row("asked by", escape(f"{approval.agent} for {approval.tenant}, because {told.reason}"))
    rows.add_row("[bold]answer[/]", f"[bold]{answer}[/], {escape(note)}")
    title = f"approval {approval.approval_id}"
    return Panel(rows, title=title, title_align="left", width=min(width, 110), border_style="yellow")


def _from(origin: str) -> str:
    return f"partly from {origin.removeprefix('partly ')}" if origin.startswith("partly ") else f"from {origin}"
