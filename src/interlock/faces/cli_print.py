"""What the command line writes: to standard output for people or programs, to standard error what went wrong.

Not what is said, only how. Law: nothing that a model, a tool or an upstream has written reaches a terminal as a control
character or as markup; with `--json` there is one JSON document on standard output, and nothing else.
"""

from __future__ import annotations

import json
import os
import sys
import time
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import msgspec
import typer

from interlock.core.call import MICROS

if TYPE_CHECKING:
    from pathlib import Path

    from rich.console import Console, RenderableType
    from rich.table import Table
    from rich.text import Text

PIPE = 141  #: what a shell reports of a program that SIGPIPE has ended
NARROW = 100  #: columns
PLAIN_WIDTH = 120  #: where no terminal says how wide it is


def safe(value: object, *, lines: bool = False) -> str:
    """The text with every character that a terminal could obey, or that cannot be seen, spelled out."""
    text = str(value)
    if text.isprintable():
        return text
    return "".join(char if char.isprintable() or (lines and char == "\n") else _spelled(char) for char in text)


def safe_all(value: Any) -> Any:
    """Plain data with every text in it made safe, keys too."""
    if isinstance(value, str):
        return safe(value)
    if isinstance(value, Mapping):
        return {safe(key): safe_all(each) for key, each in value.items()}
    return [safe_all(each) for each in value] if isinstance(value, (list, tuple)) else value


def _spelled(char: str) -> str:
    return char.encode("unicode_escape").decode("ascii")


# --- people ----------------------------------------------------------------------------------------------------------


def text(value: object, style: str = "") -> Text:
    """A piece of text for a table: safe, and never read as markup."""
    from rich.text import Text

    return Text(safe(value), style)


def stacked(parts: list[Text]) -> Text:
    """Pieces of text, one below the other."""
    from rich.text import Text

    return Text("\n").join(parts)


def table(*columns: str, whole: str = "") -> Table:
    """A table without lines. The column named `whole` is never broken, so that what is in it can be copied."""
    from rich.table import Table

    made = Table(box=None, pad_edge=False, header_style="dim", padding=(0, 2, 0, 0))
    for column in columns:
        made.add_column(column, overflow="fold", no_wrap=column == whole)
    return made


def pairs() -> Table:
    """A name and what belongs to it, line by line."""
    from rich.table import Table

    made = Table.grid(padding=(0, 2, 0, 0))
    made.add_column(style="dim", no_wrap=True)
    made.add_column(overflow="fold")
    return made


def show(*parts: RenderableType) -> None:
    """Write for people."""
    console = _console()
    for part in parts:
        console.print(part)


def say(line: object, style: str = "") -> None:
    """Write one line for people. It is not broken: the terminal does that."""
    lines(text(line, style))


def lines(told: Text) -> None:
    """Write text whose lines are not broken."""
    _console().print(told, soft_wrap=True)


def is_narrow() -> bool:
    """True where a wide table would be broken into slivers."""
    return _console().width < NARROW


def _console() -> Console:
    from rich.console import Console

    class Quiet(Console):
        def on_broken_pipe(self) -> None:
            hush()
            raise typer.Exit(PIPE)

    terminal = sys.stdout.isatty() or "COLUMNS" in os.environ
    return Quiet(highlight=False, markup=False, emoji=False, width=None if terminal else PLAIN_WIDTH)


# --- programs --------------------------------------------------------------------------------------------------------


def document(value: Any) -> None:
    """Write one JSON document. ASCII alone, so that no terminal obeys it either."""
    plain = msgspec.to_builtins(value)
    write((json.dumps(plain, indent=2, ensure_ascii=True).replace("\x7f", "\\u007f") + "\n").encode())


def write(data: bytes) -> None:
    """Write bytes as they are."""
    try:
        sys.stdout.flush()
        sys.stdout.buffer.write(data)
    except BrokenPipeError:
        hush()
        raise typer.Exit(PIPE) from None


def write_private(path: Path, data: bytes) -> None:
    """Write a file that, where it is made now, only its owner can read."""
    with open(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "wb") as file:  # noqa: PTH123  its mode
        file.write(data)


def finish() -> int:
    """Write what is still held back. Gives the exit code where nobody reads it any more, else 0."""
    try:
        sys.stdout.flush()
    except BrokenPipeError:
        hush()
        return PIPE
    return 0


def hush() -> None:
    """Nobody reads standard output any more: what is left goes nowhere, so that the interpreter ends in peace."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


# --- what went wrong -------------------------------------------------------------------------------------------------


def complain(what: object) -> None:
    """One clear message on standard error."""
    print(f"interlock: {safe(what, lines=True)}", file=sys.stderr)  # noqa: T201  the place for it


class Progress:
    """How far it has come, on standard error, where that is a terminal and it takes more than a second."""

    def __init__(self, what: str, total: int) -> None:
        self._what, self._total = what, total
        self._shown = False
        self._due = time.monotonic() + 1.0 if sys.stderr.isatty() else float("inf")

    def tick(self, count: int) -> None:
        """So many are done."""
        if count % 500 == 0 and time.monotonic() > self._due:
            self._due = time.monotonic() + 0.2
            self._shown = True
            sys.stderr.write(f"\r{safe(self._what)}: {count:,} of {self._total:,} entries ")
            sys.stderr.flush()

    def close(self) -> None:
        """Take the line away again."""
        if self._shown:
            sys.stderr.write("\r\x1b[K")
            sys.stderr.flush()


class Bar:
    """A bar on standard error, where that is a terminal: how far back in time it has come. A context manager."""

    def __init__(self, what: str, start: int, end: int) -> None:
        self._what, self._start, self._end = what, start, end
        self._due = time.monotonic() + 0.5 if sys.stderr.isatty() else float("inf")
        self._shown = False

    def __enter__(self) -> Bar:
        return self

    def at(self, count: int, moment: int) -> None:
        """So many are done, and the newest moment that is left is this one (microseconds)."""
        if time.monotonic() < self._due:
            return
        self._due = time.monotonic() + 0.1
        self._shown = True
        done = (self._end - moment) / max(1, self._end - self._start)
        full = round(30 * min(1.0, max(0.0, done)))
        sys.stderr.write(f"\r[{'#' * full}{'.' * (30 - full)}] {done:4.0%}  {count:,} {safe(self._what)} ")
        sys.stderr.flush()

    def __exit__(self, *_: object) -> None:
        if self._shown:
            sys.stderr.write("\r\x1b[K")
            sys.stderr.flush()


# --- values ----------------------------------------------------------------------------------------------------------


def moment(micros: int | None) -> str | None:
    """A time for programs: ISO 8601, UTC."""
    found = _date(micros)
    return None if found is None else f"{found:%Y-%m-%dT%H:%M:%S.%f}Z"


def clock(micros: int | None) -> str:
    """A time for people, UTC."""
    found = _date(micros)
    return "" if found is None else f"{found:%Y-%m-%d %H:%M:%S} UTC"


def _date(micros: int | None) -> datetime | None:
    try:
        return None if micros is None else datetime.fromtimestamp(micros / MICROS, UTC)
    except (ValueError, OverflowError, OSError):
        return None  # no clock has ever shown it


def span(micros: int, *, fine: bool = False) -> str:
    """A length of time for people, in its largest unit; `fine`: short ones to a hundredth of a second."""
    seconds = micros // MICROS
    if fine and seconds < 120:
        return f"{micros / MICROS:.2f} s"
    for unit, length in (("d", 86400), ("h", 3600), ("min", 60)):
        if seconds >= 2 * length:
            return f"{seconds // length} {unit}"
    return f"{max(0, seconds)} s"


def dollars(micros: int) -> str:
    """Money for people."""
    whole, part = f"{micros / MICROS:.6f}".split(".")
    return f"${whole}.{part[:2]}{part[2:].rstrip('0')}"
