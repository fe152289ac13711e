"""Where the values in a call's arguments came from.

Not a proof: it looks for texts, and a model can rephrase. Law: the user's request is searched first, then what trusted
tools returned, then what untrusted tools returned; a value that is found nowhere was made up by the model.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

REQUEST = "the user's request"
NOWHERE = "nowhere seen: the model's own words"
SHORT = 4  #: texts shorter than this are found everywhere and say nothing

_PIECES = re.compile(r"[\r\n'\"]+")  # lines, and what stands in quotes: an argument may be a statement or a document


def trace(args: Mapping[str, Any], request: str, results: Iterable[tuple[str, bool, str]]) -> dict[str, str]:
    """Argument path → origin, for every text in the arguments that is long enough to tell.

    `results`: (tool, trusted, text of what it returned), for each earlier call of the run.
    """
    seen = [(REQUEST, request.casefold())]
    told = [(tool, trusted, text.casefold()) for tool, trusted, text in results]
    seen += [(f"{tool} (trusted)", text) for tool, trusted, text in told if trusted]
    seen += [(f"{tool} (untrusted)", text) for tool, trusted, text in told if not trusted]
    return {path: _origin(text.casefold(), seen) for path, text in _texts(args, "") if len(text) >= SHORT}


def suspicious(origins: Mapping[str, str]) -> dict[str, str]:
    """Those that a person should look at twice: what came neither from the user nor from a trusted tool."""
    return {path: origin for path, origin in origins.items() if origin != REQUEST and not _all_trusted(origin)}


def _all_trusted(origin: str) -> bool:
    """What is partly from a trusted tool is partly from elsewhere."""
    return origin.endswith("(trusted)") and not origin.startswith("partly ")


def _origin(text: str, seen: list[tuple[str, str]]) -> str:
    for origin, haystack in seen:
        if text in haystack:
            return origin
    for piece in sorted(map(str.strip, _PIECES.split(text)), key=len, reverse=True):  # the longest tells most
        for origin, haystack in seen:
            if len(piece) >= 2 * SHORT and piece in haystack:
                return f"partly {origin}"
    return NOWHERE


def _texts(value: Any, path: str) -> Iterator[tuple[str, str]]:
    if isinstance(value, str):
        yield path, value
    elif isinstance(value, Mapping):
        for key, child in value.items():
            yield from _texts(child, f"{path}.{key}" if path else str(key))
    elif isinstance(value, list):
        for place, child in enumerate(value):
            yield from _texts(child, f"{path}[{place}]")
