"""Server-sent events out of a stream of bytes, however it is cut into chunks.

Not what the events mean. Law: the raw bytes of the events, one behind the other, are the bytes that came in; an event
is given as soon as its end is known; one that grows beyond the limit ends the reading.
"""

from __future__ import annotations

import re

from msgspec import Struct

_LINE = re.compile(r"\r\n|\n|\r")
#: An empty line. A carriage return that came last may be half of a line's end: what follows it decides.
_END = re.compile(rb"(?:\r\n|\n|\r(?!\n|\Z))(?:\r\n|\n|\r(?!\n|\Z))")


class TooLong(ValueError):
    """An event that does not end."""


class Event(Struct, frozen=True):
    """One event. `data` is None where it has none: a comment, say, that keeps a connection alive."""

    raw: bytes
    data: str | None
    kind: str = ""


class Events:
    """Reads one stream."""

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._rest = bytearray()
        self._seen = 0  #: of the rest: there is no end before here

    def feed(self, chunk: bytes) -> list[Event]:
        """The events that this chunk completes. Raises TooLong."""
        self._rest += chunk
        found = []
        while (end := _END.search(self._rest, self._seen)) is not None:
            found.append(_event(bytes(self._rest[: end.end()])))
            del self._rest[: end.end()]
            self._seen = 0
        if len(self._rest) > self._limit:
            raise TooLong(f"an event of more than {self._limit} bytes")
        self._seen = max(0, len(self._rest) - 3)  # the longest part of an end that can have come
        return found

    def close(self) -> Event | None:
        """What stood behind the last empty line when the stream ended; many leave the empty line out."""
        rest = bytes(self._rest)
        self._rest.clear()
        return _event(rest) if rest else None


def _event(raw: bytes) -> Event:
    text = raw.decode("utf-8", "surrogateescape").removeprefix("\ufeff")
    data: list[str] = []
    kind = ""
    for line in _LINE.split(text):
        name, _, value = line.partition(":")
        value = value.removeprefix(" ")
        if name == "data":
            data.append(value)
        elif name == "event":
            kind = value
    return Event(raw, "\n".join(data) if data else None, kind)


def event(data: bytes, kind: str = "") -> bytes:
    """An event of one line of data."""
    return (b"event: %b\n" % kind.encode() if kind else b"") + b"data: %b\n\n" % data
