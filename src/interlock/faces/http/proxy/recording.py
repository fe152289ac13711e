"""What a model was asked and said, as it is kept for replay: the same for every protocol.

Not the audit, and not the whole request: of what it was told, only what it had not been told before. Law: what is kept
has been redacted, and is never larger than `KEPT`; what nobody can read is left out and does not hold up an answer.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any

import msgspec

from interlock import turns
from interlock.core.run import Asking, Wanted
from interlock.faces.http.proxy.asked import part
from interlock.turns import KEPT, MOST_CALLS, Redact

__all__ = ["KEPT", "Pieces", "Redact", "kept", "named", "objects", "since_its_last", "text_of", "word"]

def kept(told: Any, text: str, calls: Iterable[Wanted], answer: Mapping[str, Any], redact: Redact) -> Asking:
    """One turn, cut to size and redacted."""
    model, answer_id = str(answer.get("model") or ""), str(answer.get("id") or "")
    return turns.asking(msgspec.json.encode(told).decode(), text, calls, model, answer_id, redact)


def since_its_last(said: Any, own: Callable[[Mapping[str, Any]], bool], before: Any = None) -> Any:
    """What a conversation holds behind the model's last words; at its beginning all of it, with what stood `before`."""
    if not isinstance(said, list):
        return [before, said] if before else said
    places = [place for place, item in enumerate(said) if isinstance(item, dict) and own(item)]
    if places:
        return said[places[-1] + 1 :]
    return [before, *said] if before else said


def objects(value: Any) -> Iterator[Mapping[str, Any]]:
    """The objects in a list; none where it is no list."""
    yield from (each for each in (value if isinstance(value, list) else []) if isinstance(each, dict))


def text_of(content: Any) -> str:
    """The text of a content that is text, or a list of parts."""
    if isinstance(content, str):
        return content
    return "".join(each["text"] for each in objects(content) if isinstance(each.get("text"), str))


def word(of: Mapping[str, Any], name: str) -> str:
    """A text in an object, or ""."""
    value = of.get(name)
    return value if isinstance(value, str) else ""


class Pieces:
    """An answer that comes in pieces: text by its place, and calls whose arguments come bit by bit."""

    def __init__(self) -> None:
        self._texts: dict[int, list[str]] = {}
        self._calls: dict[int, dict[str, str]] = {}
        self._left = KEPT + 1  # one more, so that it is seen that there was more
        self.head: dict[str, Any] = {}  #: id and model

    def text(self, place: Any, words: str) -> None:
        """More of a text."""
        self._texts.setdefault(place if type(place) is int else 0, []).append(self._within(words))

    def call(self, place: Any, *, call_id: str = "", tool: str = "", args: str = "") -> None:
        """More of a call."""
        place = place if type(place) is int else 0
        if place not in self._calls and len(self._calls) >= MOST_CALLS:
            return
        call = self._calls.setdefault(place, {"call_id": "", "tool": "", "args": ""})
        for name, more in (("call_id", call_id), ("tool", tool), ("args", args)):
            call[name] += self._within(more)

    def _within(self, words: str) -> str:
        words = words[: self._left]
        self._left -= len(words)
        return words

    @property
    def said(self) -> str:
        """All text, in order."""
        return "".join(piece for _, pieces in sorted(self._texts.items()) for piece in pieces)

    @property
    def calls(self) -> list[Wanted]:
        """All calls, in order."""
        return [Wanted(**call) for _, call in sorted(self._calls.items())]


def named(call: Mapping[str, Any]) -> Wanted:
    """A call of chat completions."""
    inner = part(call, "function") or part(call, "custom")
    return Wanted(word(call, "id"), word(inner, "name"), word(inner, "arguments") or word(inner, "input"))
