"""What a tool returned, as JSON has it.

Not a serializer that one could read back into the same Python type, and no redaction (`redaction.py` is handed in where
a text is cut, because half a secret is no longer found). Law: never raises, whatever the value's own methods do, and
always ends; 0, "", [], {}, None and False stay what they are; what JSON has no place for is said, not dropped:

    NaN, infinities             the texts "NaN", "Infinity", "-Infinity" (null would claim that there was nothing)
    bytes                       base64 text
    datetime, date, time        ISO 8601 text; timedelta too (PT90S); Decimal, UUID, Path: text
    Enum                        its value
    set, frozenset              a list, sorted
    dict keys                   text, as JSON spells the key; where two become one, the later has its type behind it
    a lone surrogate            its escape, written out (\\udc80)
    anything else, a cycle, what is nested deeper than 64, whatever comes after a million values
                                {"interlock": "unserialisable", "type": …, "repr": …}: its repr, clipped, or why not
    larger than the limit       {"interlock": "truncated", "bytes": its true size, "text": its beginning}
"""

from __future__ import annotations

import base64
import dataclasses
import datetime as dt
import math
import re
from collections.abc import Callable, Iterable, Mapping, Sequence, Set
from decimal import Decimal
from enum import Enum
from itertools import islice
from pathlib import PurePath
from typing import Any, cast
from uuid import UUID

import msgspec

MAX_DEPTH = 64
MAX_NODES = 1_000_000
MAX_REPR = 200
MAX_ERROR = 2_000

Redact = Callable[[Any], Any]  #: a JSON value → the same without secrets

_encode = msgspec.json.Encoder().encode
_ADDRESS = re.compile(r" at 0x[0-9a-fA-F]+")  # differs from run to run, and says nothing
_HUGE = 10**4_000  # Python prints no integer of more than 4,300 digits


def as_json(value: Any, redact: Redact | None = None) -> Any:
    """The value as JSON has it: dict with text keys, list, str, int, float, bool, None, and nothing of the original."""
    kind = type(value)
    if value is None or kind is bool:
        return value
    if kind is str:
        return value if value.isascii() else _valid(value)
    return _Walk(redact).json(value, 0)


def pack(value: Any, limit: int, redact: Redact | None = None) -> tuple[Any, bytes]:
    """The value as JSON has it, redacted and within the limit, and as bytes: to give back, and to record."""
    shown = as_json(value, redact)
    if redact is not None:
        shown = redact(shown)
    raw = _encode(shown)
    return (shown, raw) if len(raw) <= limit else _truncated(shown, raw, limit)


def encode_result(value: Any, limit: int, redact: Redact | None = None) -> bytes:
    """The value as JSON bytes, at most `limit` of them (never less than a marker of about 100)."""
    return pack(value, limit, redact)[1]


def text_for_model(value: Any) -> str:
    """What a model sees of a value: a text as it is, anything else as compact JSON."""
    if type(value) is str:
        return value
    shown = as_json(value)
    return shown if type(shown) is str else _encode(shown).decode()


def error_text(error: BaseException, redact: Redact | None = None) -> str:
    """What is said of an error: its type and its message, redacted, then clipped. Never raises."""
    try:
        message = str(error)
    except Exception:  # a foreign error's own __str__
        message = "its message cannot be read"
    text = f"{_name_of(type(error))}: {message}" if message else _name_of(type(error))
    return _clipped(text, MAX_ERROR, redact)


class _Walk:
    """One way through a value. Counts what it meets, so that it ends."""

    __slots__ = ("_inside", "_left", "_redact")

    def __init__(self, redact: Redact | None) -> None:
        self._left = MAX_NODES
        self._redact = redact
        self._inside: set[int] = set()  #: ids of what is being walked: to meet one again is a cycle

    def json(self, value: Any, depth: int) -> Any:
        kind = type(value)
        self._left -= 1
        if kind is str:
            return value if value.isascii() else _valid(value)
        if value is None or kind is bool or (kind is int and -_HUGE < value < _HUGE):
            return value
        if kind is float:
            return value if math.isfinite(value) else _spelled(value)
        if id(value) in self._inside:
            return self._marker(value, "stands inside itself")
        if depth >= MAX_DEPTH or self._left < 0:
            return self._marker(value, "nested too deep" if self._left >= 0 else "too many values")
        self._inside.add(id(value))
        try:
            if kind is dict:
                return self._object(value.items(), depth)
            if kind is list or kind is tuple:
                return [self.json(child, depth + 1) for child in value]
            return self._other(value, kind, depth)
        except Exception:  # whatever the value's own methods did
            return self._marker(value)
        finally:
            self._inside.discard(id(value))

    def _object(self, pairs: Iterable[tuple[Any, Any]], depth: int) -> dict[str, Any]:
        out: dict[str, Any] = {}
        for key, child in pairs:
            name = key if type(key) is str and key.isascii() else self._key(key)
            while name in out:
                name = f"{name} ({_name_of(type(key))})"
            out[name] = self.json(child, depth + 1)
        return out

    def _key(self, key: Any) -> str:
        shown = self.json(key, MAX_DEPTH - 1)
        return shown if type(shown) is str else _encode(shown).decode()

    def _other(self, value: Any, kind: type, depth: int) -> Any:
        """What is none of JSON's own types. Asks the type, never the value: `__class__` may say anything."""
        if issubclass(kind, Enum):
            return self.json(value.value, depth + 1)
        if issubclass(kind, str):
            return _valid(str.__str__(value))
        if issubclass(kind, int):
            return self._marker(value) if kind is int else self.json(int.__index__(value), depth + 1)
        if issubclass(kind, float):
            return self.json(float.__float__(value), depth + 1)
        text = _text_of(value, kind)
        if text is not None:
            return _valid(text)
        fields = _fields(value, kind)
        if fields is not None:
            return self._object(fields, depth)
        if issubclass(kind, Mapping):
            return self._object(islice(value.items(), self._left + 1), depth)
        if issubclass(kind, Set):
            return _sorted([self.json(child, depth + 1) for child in islice(value, self._left + 1)])
        if issubclass(kind, Sequence):
            return [self.json(child, depth + 1) for child in islice(value, self._left + 1)]
        plain = _plain(value, kind)
        return self._marker(value) if plain is None else self.json(plain[0], depth + 1)

    def _marker(self, value: Any, why: str = "") -> dict[str, str]:
        """What stands for a value that is not shown. `why` stands for its repr, which could be without end too."""
        try:
            text = why or repr(value)
        except Exception:  # a value's own __repr__, or one nested too deep to be shown
            text = "its repr cannot be read"
        text = _clipped(_ADDRESS.sub("", text), MAX_REPR, self._redact)
        return {"interlock": "unserialisable", "type": _name_of(type(value)), "repr": text}


def _text_of(value: Any, kind: type) -> str | None:
    """What JSON has as text by custom; None for anything else."""
    if issubclass(kind, (dt.date, dt.time)):  # a datetime is a date
        return str(value.isoformat())
    if issubclass(kind, dt.timedelta):
        return str(msgspec.to_builtins(dt.timedelta(value.days, value.seconds, value.microseconds)))
    if issubclass(kind, (bytes, bytearray, memoryview)):
        return base64.b64encode(value).decode()
    return str(value) if issubclass(kind, (UUID, Decimal, PurePath)) else None


def _sorted(items: list[Any]) -> list[Any]:
    try:
        return sorted(items)
    except TypeError:
        return sorted(items, key=_encode)


def _fields(value: Any, kind: type) -> Iterable[tuple[str, Any]] | None:
    """The fields of a dataclass, struct or attrs class, by name; None for anything else."""
    names: Sequence[str]
    if dataclasses.is_dataclass(kind):
        names = [field.name for field in dataclasses.fields(kind)]
    elif issubclass(kind, msgspec.Struct):
        names = kind.__struct_fields__
    elif hasattr(kind, "__attrs_attrs__"):
        names = [field.name for field in kind.__attrs_attrs__]
    else:
        return None
    return [(name, getattr(value, name)) for name in names if hasattr(value, name)]


def _plain(value: Any, kind: type) -> tuple[Any] | None:
    """What a value of a well-known library makes of itself."""
    if hasattr(kind, "__pydantic_serializer__"):
        return (value.model_dump(mode="json"),)
    if kind.__module__.partition(".")[0] == "numpy":
        return (value.tolist(),)
    return None


def _truncated(shown: Any, raw: bytes, limit: int) -> tuple[Any, bytes]:
    text = shown if type(shown) is str else raw.decode()
    keep = max(0, limit - 80)
    while True:
        marker = {"interlock": "truncated", "bytes": len(raw), "text": text[:keep]}
        small = _encode(marker)
        if len(small) <= limit or keep == 0:
            return marker, small
        keep = min(keep - 1, keep * limit // len(small))  # quotes and non-ASCII letters take more than one byte


def _spelled(number: float) -> str:
    return "NaN" if math.isnan(number) else "Infinity" if number > 0 else "-Infinity"


def _valid(text: str) -> str:
    """The text, with lone surrogates (which no UTF-8 has) written out."""
    return text.encode("utf-8", "backslashreplace").decode()


def _name_of(kind: type) -> str:
    return _valid(cast("str", type.__dict__["__name__"].__get__(kind)))  # a metaclass may have put something else there


def _clipped(text: str, limit: int, redact: Redact | None) -> str:
    text = _valid(str.__str__(text))
    if redact is not None:
        text = redact(text)
    return text if len(text) <= limit else text[: limit - 1] + "…"
