"""Server-sent events, piece by piece.

Not what stands in them. Law: an event has an end or is too long; only events of the kind `message` that hold data come
out, as the SDK has it.
"""

from __future__ import annotations

from collections.abc import Iterator


class TooLong(Exception):
    """One event is larger than what is held."""


class Events:
    """The events of one stream."""

    def __init__(self, most: int) -> None:
        self._most = most
        self._rest = bytearray()
        self._after_cr = False
        self._first = True
        self._kind = b""
        self._data: list[bytes] = []
        self._size = 0

    def heard(self, chunk: bytes) -> Iterator[bytes]:
        """The data of each message that is whole now. Raises TooLong."""
        self._rest += chunk[1:] if self._after_cr and chunk.startswith(b"\n") else chunk  # the other half of an end
        self._after_cr = chunk.endswith(b"\r")
        lines = self._rest.replace(b"\r\n", b"\n").replace(b"\r", b"\n").split(b"\n")
        self._rest = lines.pop()
        for line in lines:
            event = self._line(bytes(line))
            if event:
                yield event
        if self._size + len(self._rest) > self._most:
            raise TooLong

    def _line(self, line: bytes) -> bytes:
        """The data of the event that this line ends, or nothing."""
        if self._first:
            self._first, line = False, line.removeprefix(b"\xef\xbb\xbf")
        if not line:
            kind, data = self._kind or b"message", b"\n".join(self._data)
            self._kind, self._data, self._size = b"", [], 0
            return data if kind == b"message" else b""
        name, _, value = line.partition(b":")
        self._size += len(line)
        if self._size > self._most:
            raise TooLong
        value = value.removeprefix(b" ")
        if name == b"data":
            self._data.append(value)
        elif name == b"event":
            self._kind = value
        return b""
