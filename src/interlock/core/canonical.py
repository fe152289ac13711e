"""One JSON value, one byte string: what digests are taken of.

Not a serializer for storage. Law: equal JSON values have equal canonical bytes, others do not. The form is RFC 8785
(JCS: sorted keys, no white space, ECMAScript numbers) with one deliberate difference: integers beyond 2^53 keep all
their digits, where RFC 8785 would round them, so that two 64-bit identifiers never collide.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Mapping
from typing import Any

import msgspec

MAX_DEPTH = 32
MAX_BYTES = 262_144

_CONTAINERS = frozenset({dict, list})
_sorted = msgspec.json.Encoder(order="sorted")
_as_is = msgspec.json.Encoder()


def canonical(value: Any) -> bytes:
    """The canonical bytes of a JSON value (dict with text keys, list, str, int, float, bool, None).

    Raises ValueError for NaN and infinities, TypeError for what JSON does not have.
    """
    return _sorted.encode(value) if _is_plain(value) else _as_is.encode(_spelled(value))


def digest(*parts: bytes | str) -> str:
    """SHA-256 over the parts, each with its length before it, so that no two splits collide. Hex, 64 digits."""
    raw = [part.encode() if isinstance(part, str) else part for part in parts]
    return hashlib.sha256(b"".join([b"%d:%b" % (len(part), part) for part in raw])).hexdigest()


def snapshot(value: Any) -> Any:
    """A copy that shares no dict and no list with a JSON value that `problem_of` has passed."""
    kind = type(value)
    if kind is dict:
        return {key: snapshot(child) if type(child) in _CONTAINERS else child for key, child in value.items()}
    if kind is list:
        return [snapshot(child) if type(child) in _CONTAINERS else child for child in value]
    return value


def problem_of(value: Any, *, max_depth: int = MAX_DEPTH, max_bytes: int = MAX_BYTES) -> str | None:
    """Why a value cannot be taken as JSON, in words for whoever sent it; None where it can. Never recurses deeply."""
    size, stack = 0, [(value, 1)]
    while stack:
        node, depth = stack.pop()
        if depth > max_depth:
            return f"nested deeper than {max_depth} levels"
        kind = type(node)
        if kind is str:
            size += len(node)
            if not node.isascii() and _has_lone_surrogate(node):
                return "holds text that is not valid Unicode (a lone surrogate)"
        elif kind is dict:
            wrong = _problem_of_keys(node)
            if wrong is not None:
                return wrong
            size += sum(map(len, node)) + 4 * len(node)
            stack.extend((child, depth + 1) for child in node.values())
        elif kind is list:
            size += len(node)
            stack.extend((child, depth + 1) for child in node)
        elif kind is float:
            if not math.isfinite(node):
                return f"holds {node}, which is not a JSON number"
        elif kind is int:
            size += node.bit_length() // 3
        elif kind is not bool and node is not None:
            return f"holds a {kind.__name__}, which is not JSON"
        if size > max_bytes:
            return f"larger than {max_bytes} bytes"
    return None


def _problem_of_keys(node: dict[Any, Any]) -> str | None:
    for key in node:
        if type(key) is not str:
            return f"has a key that is not text: {key!r:.40}"
        if not key.isascii() and _has_lone_surrogate(key):
            return "has a key that is not valid Unicode (a lone surrogate)"
    return None


def _has_lone_surrogate(text: str) -> bool:
    return any("\ud800" <= char <= "\udfff" for char in text)


def _is_plain(value: Any) -> bool:
    """True where sorting by code point and printing as Python does is already the canonical form."""
    kind = type(value)
    if kind is dict:
        return all(key.isascii() and _is_plain(child) for key, child in value.items())
    if kind is list or kind is tuple:
        return all(_is_plain(child) for child in value)
    # ints beyond 64 bits are written as text by the fast encoder
    return kind is str or kind is bool or value is None or (kind is int and -(2**63) <= value < 2**63)


def _spelled(value: Any) -> Any:
    if isinstance(value, Mapping):
        keys = sorted(value, key=lambda key: key.encode("utf-16-be"))  # RFC 8785, section 3.2.3
        return {key: _spelled(value[key]) for key in keys}
    if isinstance(value, (list, tuple)):
        return [_spelled(child) for child in value]
    if isinstance(value, float):
        return msgspec.Raw(_ecmascript(value).encode())
    if isinstance(value, int) and not isinstance(value, bool):
        return msgspec.Raw(str(value).encode())
    return value


def _ecmascript(number: float) -> str:
    """Number::toString of ECMA-262 (7.1.12.1), as RFC 8785 section 3.2.2.3 demands."""
    if not math.isfinite(number):
        raise ValueError(f"{number} is not a JSON number")
    if number == 0:
        return "0"
    sign = "-" if number < 0 else ""
    mantissa, _, exponent = f"{abs(number)!r}".partition("e")
    whole, _, fraction = mantissa.partition(".")
    fraction = "" if fraction == "0" else fraction
    digits = (whole + fraction).lstrip("0")
    point = len(whole) + int(exponent or 0) - (len(whole + fraction) - len(digits))
    digits = digits.rstrip("0") or "0"
    if len(digits) <= point <= 21:
        return sign + digits + "0" * (point - len(digits))
    if 0 < point <= 21:
        return f"{sign}{digits[:point]}.{digits[point:]}"
    if -6 < point <= 0:
        return f"{sign}0.{'0' * -point}{digits}"
    power = f"e{'+' if point > 0 else '-'}{abs(point - 1)}"
    return f"{sign}{digits[0]}{'.' + digits[1:] if len(digits) > 1 else ''}{power}"
