"""What has changed between two JSON values, for people.

Not a patch that could be applied. Law: the paths are those that a person would point at; of a long text the part is
shown where it begins to differ.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from msgspec import Struct

from interlock.core.canonical import canonical

SHOWN = 100  #: characters of a value
AHEAD = 24  #: of them, those before the first difference of two long texts
MOST = 20  #: changes that are told one by one
_NOTHING = object()


class Change(Struct, frozen=True):
    """One place that differs. A side that has nothing there is ""."""

    path: str
    before: str
    after: str


def changes(before: Any, after: Any, path: str) -> list[Change]:
    """The places that differ, `path` being that of the whole; what is equal as JSON does not."""
    found: list[Change] = []
    for place, one, other in _walk(before, after, path):
        if len(found) == MOST:
            found.append(Change(path, "", "and more"))
            break
        found.append(Change(place, *_shown(one, other)))
    return found


def _walk(one: Any, other: Any, path: str) -> Iterator[tuple[str, Any, Any]]:
    if isinstance(one, Mapping) and isinstance(other, Mapping):
        for key in [*one, *(key for key in other if key not in one)]:
            yield from _walk(one.get(key, _NOTHING), other.get(key, _NOTHING), f"{path}.{key}")
    elif isinstance(one, (list, tuple)) and isinstance(other, (list, tuple)):
        for place in range(max(len(one), len(other))):
            a, b = (each[place] if place < len(each) else _NOTHING for each in (one, other))
            yield from _walk(a, b, f"{path}[{place}]")
    elif one is _NOTHING or other is _NOTHING or canonical(one) != canonical(other):
        yield path, one, other


def _shown(one: Any, other: Any) -> tuple[str, str]:
    before, after = ("" if each is _NOTHING else canonical(each).decode() for each in (one, other))
    if max(len(before), len(after)) <= SHOWN:
        return before, after
    same = next((at for at, pair in enumerate(zip(before, after, strict=False)) if pair[0] != pair[1]), 0)
    start = max(0, same - AHEAD)
    return _cut(before, start), _cut(after, start)


def _cut(text: str, start: int) -> str:
    head, tail = "…" if start else "", "…" if len(text) > start + SHOWN else ""
    return f"{head}{text[start : start + SHOWN]}{tail}" if text else ""
