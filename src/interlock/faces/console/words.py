"""How values are written on a page: times, spans, money, and text that nobody of ours wrote.

Not the pages. Law: whatever a model, a tool, an upstream or a person wrote is shown with every invisible character
spelled out, and is escaped by the templates; there is no filter that marks text as safe.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import Any

import msgspec
from markupsafe import Markup
from msgspec import Struct

from interlock.core.approval import Approval
from interlock.faces.cli_print import clock, dollars, moment, safe, span

LONG = 20_000  #: characters of one value that are shown


class Leaf(Struct, frozen=True):
    """One value among arguments, with its path as provenance names it."""

    path: str
    value: str
    is_text: bool
    origin: str = ""  #: where it came from, where that is suspicious

    @property
    def grave(self) -> bool:
        """True where somebody outside may have chosen the value, and not just the model."""
        return "untrusted" in self.origin


def shown(value: Any) -> Any:
    """Applied to every expression of every template: text is made visible, nothing is marked as safe."""
    if isinstance(value, Markup) or not isinstance(value, str):
        return "" if value is None else value
    return safe(value, lines=True)


def leaves(arguments: Mapping[str, Any], suspicious: Mapping[str, str]) -> list[Leaf]:
    """All values of some arguments, nothing left out."""
    found = []
    for path, value in _walk(arguments, ""):
        text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
        found.append(Leaf(path, text, isinstance(value, str), suspicious.get(path, "")))
    told = {leaf.path for leaf in found}
    # a value that is marked as a whole, or is gone since, is not to be passed over in silence
    return found + [Leaf(path, "", False, origin) for path, origin in suspicious.items() if path not in told]


def _walk(value: Any, path: str) -> Iterator[tuple[str, Any]]:
    if isinstance(value, Mapping) and value:
        for key, child in value.items():
            yield from _walk(child, f"{path}.{key}" if path else str(key))
    elif isinstance(value, (list, tuple)) and value:
        for place, child in enumerate(value):
            yield from _walk(child, f"{path}[{place}]")
    elif path or value:
        yield path, value


def pretty(value: Any) -> str:
    """JSON for people to read."""
    return _clipped(json.dumps(msgspec.to_builtins(value), indent=2, ensure_ascii=False))


def _clipped(text: str) -> str:
    return text if len(text) <= LONG else f"{text[:LONG]}… ({len(text) - LONG} characters more)"


def editable(approval: Approval) -> str:
    """The arguments as they stand, whole: what is sent back is what would be performed. Only what a page would change
    on the way is spelled out."""
    arguments = approval.card.arguments if approval.edited is None else approval.edited
    text = json.dumps(msgspec.to_builtins(arguments), indent=2, ensure_ascii=False)
    return "".join(char if char.isprintable() or char == "\n" else _escaped(char) for char in text)


def _escaped(char: str) -> str:
    return json.dumps(char)[1:-1]


def count(number: int, one: str, many: str = "") -> str:
    """A number of things."""
    return f"{number:,} {one if number == 1 else many or one + 's'}"


def amount(number: float | None, unit: str) -> str:
    """So much of one unit, for people."""
    if number is None:
        return "no limit"
    if unit == "usd":
        if number == 0 or number >= 0.1:
            return f"${number:,.2f}"
        return f"${number:.3f}" if number >= 0.001 else "< $0.001"
    if unit == "seconds":
        return span(round(number * 1e6))
    return f"{round(number):,}"


def short(digest: str) -> str:
    """The beginning of a digest: enough to tell two apart by eye."""
    return digest.removeprefix("sha256:")[:12]


FILTERS = {
    "clock": clock, "moment": moment, "span": span, "dollars": dollars, "pretty": pretty, "count": count,
    "amount": amount, "short": short,
}
