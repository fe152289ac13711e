"""A model request as it may be sent on: what is in it is known, nothing in it runs past the gateway.

Not a protocol (`chat.py`, `responses.py`, `messages.py`). Law: fields that nobody has vetted are refused, and what is
sent on is our own spelling of what was checked; the input is counted as never less than it can be, or not at all.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from fnmatch import fnmatchcase
from typing import Any, NoReturn

import msgspec
from msgspec import Struct

from interlock.config.serve import Models
from interlock.core.canonical import problem_of
from interlock.core.names import problem_of_name
from interlock.faces.http.problems import Problem

DEPTH = 64
OVERHEAD = 2_048  #: tokens that a provider adds: the frame of each message, what it tells the model of tools
MOST = 2**53  #: no count is larger

#: what is sent by name, or in a form whose tokens cannot be told from its bytes
_OPAQUE = frozenset({
    "image", "image_url", "input_image", "file", "input_file", "document", "input_audio", "audio", "video", "video_url",
    "input_video", "item_reference", "container_upload", "computer_screenshot", "compaction",
})
_TIERS = frozenset({None, "auto", "default", "flex", "standard", "standard_only"})
#: what an answer may say that it was charged as
_PRICED_TIERS = frozenset({None, "", "auto", "default", "flex", "standard", "batch"})


class Asked(Struct, kw_only=True):
    """A request that was checked."""

    body: dict[str, Any]
    model: str
    output: int | None  #: the most tokens of one answer, where the request says so
    input: int | None  #: the most tokens that it can be; None: nobody can tell
    streamed: bool = False
    answers: int = 1  #: how many are asked for
    usage_wanted: bool = True  #: False: the usage is asked for by us, and taken out again


def refuse(detail: str, remedy: str = "") -> NoReturn:
    """Raises Problem 400."""
    raise Problem(400, "bad_request", detail, remedy=remedy)


def parsed(raw: bytes) -> dict[str, Any]:
    """The body as JSON. Raises Problem 400."""
    try:
        body = msgspec.json.decode(raw)
    except (msgspec.MsgspecError, ValueError, RecursionError) as error:
        refuse(f"the body is not JSON: {error!s:.200}")
    if not isinstance(body, dict):
        refuse("the body is not a JSON object")
    problem = problem_of(body, max_depth=DEPTH, max_bytes=8 * len(raw) + 64)
    if problem is not None:
        refuse(f"the body is {problem}" if problem.startswith("nested") else f"the body {problem}")
    return body


class Check:
    """Looks through one request. Each verb raises Problem 400."""

    def __init__(self, body: dict[str, Any], settings: Models) -> None:
        self.body = body
        self._settings = settings

    def fields(self, known: frozenset[str], hosted: Mapping[str, str]) -> None:
        """Every field is known, or named in the config; those of `hosted` stand for a tool at the provider."""
        for name in self.body:
            if self.body[name] is None or name in known or self._vetted(name):
                continue
            if name in hosted:
                self.hosted(hosted[name])
            else:
                refuse(
                    f"the field {name!r:.80} is not known to the proxy, and what it does cannot be vouched for",
                    "leave it out, or add it to serve.models.fields",
                )

    def same(self, name: str, *values: Any) -> None:
        """The field is left out, or one of these."""
        value = self.body.get(name)
        if value not in (None, *values) and not self._vetted(name):
            refuse(f"{name} cannot be {value!r:.40} here", f"leave it out, or add {name!r} to serve.models.fields")

    def tier(self) -> None:
        """No other price than the one that is known."""
        value = self.body.get("service_tier")
        if not isinstance(value, str | None) or (value not in _TIERS and not self._vetted("service_tier")):
            refuse(
                f"service_tier {value!r:.40} has a price that is not known",
                "leave it out, or add 'service_tier' to serve.models.fields",
            )

    def model(self) -> str:
        """The name of the model."""
        name = self.body.get("model")
        problem = problem_of_name(name, "model")
        if problem is not None or not isinstance(name, str):
            refuse(problem or "model must be text")
        return name

    def count(self, name: str) -> int | None:
        """A whole number, or None where it is left out."""
        value = self.body.get(name)
        if value is None:
            return None
        if type(value) is not int or not 0 <= value <= MOST:
            refuse(f"{name} must be a whole number from 0, not {value!r:.40}")
        return value

    def flag(self, name: str) -> bool:
        """True or False; False where it is left out."""
        value = self.body.get(name)
        if value is not None and type(value) is not bool:
            refuse(f"{name} must be true or false, not {value!r:.40}")
        return bool(value)

    def items(self, name: str, of: Mapping[str, Any] | None = None) -> list[dict[str, Any]]:
        """A list of objects; empty where it is left out."""
        value = (self.body if of is None else of).get(name)
        if value is None:
            return []
        if not isinstance(value, list) or not all(isinstance(each, dict) for each in value):
            refuse(f"{name} must be a list of objects")
        return value

    def hosted(self, kind: str) -> None:
        """A tool that the provider runs itself, past policy, budgets and audit: only where the config allows it."""
        if not any(fnmatchcase(kind, glob) for glob in self._settings.hosted_tools):
            refuse(
                f"the tool {kind!r:.80} runs at the provider, past the gateway",
                "offer a tool of the gateway instead, or allow it in serve.models.hosted_tools",
            )

    def input_tokens(self, *, times: int = 1) -> int | None:
        """The most tokens that the input can come to: a token is at least one byte."""
        if any(dict_["type"] in _OPAQUE for dict_ in _typed(self.body)):
            return None
        return (len(msgspec.json.encode(self.body)) + OVERHEAD) * times

    def _vetted(self, name: str) -> bool:
        return any(fnmatchcase(name, glob) for glob in self._settings.fields)


def _typed(body: Any) -> Iterator[dict[str, Any]]:
    """Every object in it that says of what type it is."""
    stack: list[Any] = [body]
    while stack:
        node = stack.pop()
        if isinstance(node, dict):
            if isinstance(node.get("type"), str):
                yield node
            stack.extend(node.values())
        elif isinstance(node, list):
            stack.extend(node)


def counts(usage: Mapping[str, Any], *names: str) -> list[int] | None:
    """These numbers of tokens, 0 where one is left out; None where one of them is no number."""
    found = [usage.get(name) or 0 for name in names]
    return found if all(type(each) is int and 0 <= each <= MOST for each in found) else None


def part(of: Mapping[str, Any], name: str) -> Mapping[str, Any]:
    """An object inside an object; empty where there is none."""
    value = of.get(name)
    return value if isinstance(value, dict) else {}


def priced(*tiers: Any) -> bool:
    """True where an answer was charged at the known price."""
    return all(isinstance(tier, str | None) and tier in _PRICED_TIERS for tier in tiers)


def any_of(kinds: Iterable[Any], known: frozenset[str]) -> Iterator[str]:
    """Those types of tools that are not known to run at the client."""
    for kind in kinds:
        if not isinstance(kind, str):
            refuse("each of the tools must say its type")
        if kind not in known:
            yield kind
