"""How two final answers are compared.

Not what is done with it. Law: pure, and named: a config names one, a program may bring its own. `exact` asks for the
same text; `words` for the same words, whatever their case, their spacing and the signs around them; `numbers` for the
same numbers in the same order; `json` for the same JSON value; `ignore` for nothing.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from decimal import Decimal

import msgspec

from interlock.core.canonical import canonical
from interlock.errors import ConfigError

Comparer = Callable[[str, str], bool]
"""Are these two answers the same, as far as it matters?"""

_WORD = re.compile(r"[^\W_]+(?:[.,'][^\W_]+)*")
_NUMBER = re.compile(r"[-+]?\d+(?:[.,]\d+)*")


def _words(text: str) -> list[str]:
    return _WORD.findall(text.casefold())


def _numbers(text: str) -> list[Decimal | str]:
    """Of "1,200.50" and "1200.5" the same; what has several points (a version) as it is written."""
    found = [number.replace(",", "") for number in _NUMBER.findall(text)]
    return [number if number.count(".") > 1 else Decimal(number) for number in found]


def _json(text: str) -> bytes | str:
    try:
        return canonical(msgspec.json.decode(text))
    except (msgspec.MsgspecError, ValueError, RecursionError):
        return text


COMPARERS: dict[str, Comparer] = {
    "exact": lambda one, other: one == other,
    "words": lambda one, other: _words(one) == _words(other),
    "numbers": lambda one, other: _numbers(one) == _numbers(other),
    "json": lambda one, other: _json(one) == _json(other),
    "ignore": lambda _one, _other: True,
}


def comparer_of(name: str) -> Comparer:
    """The comparer of that name. Raises ConfigError."""
    try:
        return COMPARERS[name]
    except KeyError:
        raise ConfigError(f"there is no comparer {name!r}; one of: {', '.join(COMPARERS)}") from None
