"""Amounts, durations and references, as people write them → integers and checked text.

Not the file's shape (`file.py`). Law: money is exact to the micro-dollar or refused, never rounded; a message
never repeats what could be a secret.
"""

from __future__ import annotations

import difflib
import pkgutil
import re
from decimal import Decimal, InvalidOperation
from pathlib import Path
from typing import Any

from interlock.core.call import MICROS, Dedupe

MOST = 10**12  #: of anything counted; far from the edge of 64 bits, also in micro-dollars
LONGEST = 3660 * 86_400 * MICROS  #: ten years


def count(value: Any) -> int:
    """A whole number, 0 or more."""
    if isinstance(value, bool) or not isinstance(value, int):
        raise ValueError(f"must be a whole number, not {_kind(value)}")
    if not 0 <= value <= MOST:
        raise ValueError("must be 0 or more" if value < 0 else f"must be at most {MOST}")
    return value


def positive(value: Any) -> int:
    """A whole number, 1 or more."""
    if count(value) == 0:
        raise ValueError("must be 1 or more")
    return int(value)


def micro_dollars(value: Any) -> int:
    """Dollars → micro-dollars, exactly."""
    number = _decimal(value, "dollars")
    if number < 0:
        raise ValueError("must be 0 or more dollars")
    if number > MOST // MICROS:
        raise ValueError(f"must be at most {MOST // MICROS} dollars")
    micros = number * MICROS
    if micros != micros.to_integral_value():
        raise ValueError("has more than 6 decimals; money is counted in millionths of a dollar")
    return int(micros)


def share(value: Any) -> float:
    """A part of a whole: 0.1 is a tenth."""
    number = _decimal(value, "parts of a whole, like 0.1")
    if not 0 <= number <= 1000:
        raise ValueError("must be a share: 0.1 is a tenth, 1 is all")
    return float(number)


RUNTIMES = ("managed", "custom", "managed_or_custom")  #: said for people alone
ADAPTERS = tuple(sorted(each.name for each in pkgutil.iter_modules([str(Path(__file__).parents[1] / "adapters")])))
_MODULE = re.compile(r"[A-Za-z_]\w*(\.[A-Za-z_]\w*)+")


def runtime(value: Any) -> str:
    """Who runs the agents, in words; or the adapter that does: one of ours, or a module of yours, named whole."""
    if value in RUNTIMES + ADAPTERS or (isinstance(value, str) and _MODULE.fullmatch(value)):
        return str(value)
    near = difflib.get_close_matches(str(value), RUNTIMES + ADAPTERS, n=1)
    hint = f"; did you mean {near[0]!r}?" if near else ""
    words, names = (", ".join(each) for each in (RUNTIMES, ADAPTERS))
    raise ValueError(f"must be {words}, an adapter ({names}) or a module, like shop.loop{hint}")


_ARGUMENT = re.compile(r"args\.[A-Za-z_][A-Za-z0-9_]*")


def price(value: Any) -> int | str:
    """Dollars → micro-dollars, or `args.NAME`: the argument that holds them."""
    if isinstance(value, str):
        if not _ARGUMENT.fullmatch(value):
            raise ValueError("must be a number of dollars, or args.NAME for the argument that holds them")
        return value
    return micro_dollars(value)


_UNITS = {"ms": MICROS // 1000, "s": MICROS, "m": 60 * MICROS, "h": 3600 * MICROS, "d": 86_400 * MICROS}
_DURATION = re.compile(r"([0-9]+(?:\.[0-9]+)?) ?(ms|s|m|h|d)")


def duration(value: Any) -> int:
    """`10s`, `500ms`, `2m`, `1h`, `1d`, or a number of seconds → microseconds."""
    if isinstance(value, str):
        found = _DURATION.fullmatch(value) if len(value) < 40 else None
        if found is None:
            remedy = "write it like 500ms, 10s, 2m, 1h or 1d, or as a number of seconds"
            raise ValueError(f"{value!r:.40} is no duration; {remedy}")
        micros = Decimal(found[1]) * _UNITS[found[2]]
    else:
        micros = _decimal(value, "seconds, or a duration like 10s") * MICROS
    if not 0 < micros <= LONGEST:
        raise ValueError("must be longer than nothing" if micros <= 0 else "must be at most 3660d")
    if micros != micros.to_integral_value():
        raise ValueError("is finer than a microsecond")
    return int(micros)


def dedupe(value: Any) -> Dedupe:
    """`run`, `off`, or how long a call answers for the same call in other runs of its tenant."""
    if value in ("run", "off"):
        return Dedupe(value)
    if isinstance(value, str) and _DURATION.fullmatch(value[:40]):
        return Dedupe("tenant", duration(value))
    raise ValueError("must be run, off or a duration like 10m")


_PLACEHOLDERS = ("TENANT", "ENV", "tenant", "env")
_SCHEMES = "'env:NAME', 'file:PATH' or 'vault:PATH#FIELD'"
_ENV_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")


def reference(value: Any) -> str:
    """Where a secret is: `env:NAME`, `file:PATH` or `vault:PATH#FIELD`, with `{tenant}` and `{env}` to be filled in.
    Never the secret."""
    if not isinstance(value, str):
        raise ValueError(f"must be {_SCHEMES}, not {_kind(value)}")
    scheme, colon, rest = value.partition(":")
    if not colon or scheme not in ("env", "file", "vault"):
        raise ValueError(f"must be {_SCHEMES}; the secret itself never stands in the config")
    filled = rest
    for name in re.findall(r"\{([^{}]*)\}", rest):
        if name not in _PLACEHOLDERS:
            known = ", ".join(f"{{{each}}}" for each in _PLACEHOLDERS)
            raise ValueError(f"there is no placeholder {{{name:.30}}}; there are {known}")
        filled = filled.replace(f"{{{name}}}", "X")
    if "{" in filled or "}" in filled:
        raise ValueError("has a brace without its partner")
    if scheme == "env" and not _ENV_NAME.fullmatch(filled):
        raise ValueError("must name an environment variable after 'env:': letters, digits and _")
    if scheme == "file" and (not filled or not filled.isprintable()):
        raise ValueError("must name a file after 'file:'")
    if scheme == "file" and (not filled.startswith("/") or ".." in filled.split("/")):
        raise ValueError("must name an absolute path after 'file:', without '..'")
    if scheme == "vault" and not _is_in_vault(filled):
        raise ValueError("must name a field of a KV v2 secret after 'vault:', like secret/data/{tenant}/crm#token")
    _refuse_places(rest.partition("#")[0], "_" if scheme == "env" else "/")
    return value


def _is_in_vault(text: str) -> bool:
    path, _, field = text.partition("#")
    parts = path.split("/")
    plain = text.isprintable() and not any(mark in text for mark in " ?%\\")
    return bool(field) and "#" not in field and "data" in parts[1:-1] and plain and not {"", ".", ".."} & {*parts}


def _refuse_places(text: str, divider: str) -> None:
    """The vaults ask the same when they are made, and more when they lend; here it has a line in the file."""
    between = re.split(r"\{[^{}]*\}", text)[1:-1]
    places = re.findall(r"\{([^{}]*)\}", text)
    if len({place.lower() for place in places}) < len(places):
        raise ValueError("tenant and env may stand there once each")
    if any(divider not in each for each in between):
        raise ValueError(f"put {divider!r} between {{{places[0]}}} and {{{places[1]}}}, or two tenants could share one")


def ledger_url(value: Any) -> str:
    """Where the ledger is."""
    if isinstance(value, str) and value.isprintable():
        scheme, _, rest = value.partition(":")
        if value == "memory:":
            return value
        if scheme == "sqlite" and re.fullmatch(r"///[^?#]+", rest) and not rest.endswith(("/", ":memory:")):
            return value
        if scheme in ("postgresql", "postgres") and len(rest) > 2 and rest.startswith("//"):
            return f"postgresql:{rest}"
    raise ValueError("must be sqlite:///FILE, postgresql://HOST/DATABASE or memory:")


def _decimal(value: Any, what: str) -> Decimal:
    if isinstance(value, bool) or not isinstance(value, (int, float, Decimal)):
        raise ValueError(f"must be a number of {what}, not {_kind(value)}")
    if isinstance(value, int) and value.bit_length() > 100:
        raise ValueError("is too large")
    try:
        number = Decimal(str(value))
    except InvalidOperation:  # pragma: no cover  every int, float and Decimal has a decimal form
        raise ValueError(f"must be a number of {what}") from None
    if not number.is_finite():
        raise ValueError(f"must be a number of {what}, not {number}")
    return number


def _kind(value: Any) -> str:
    words: dict[type, str] = {str: "text", bool: "true or false", float: "a decimal number", int: "a number"}
    if value is None:
        return "nothing"
    return words.get(type(value), "a mapping" if isinstance(value, dict) else f"a {type(value).__name__}")
