"""One route as data, and how a request finds its route.

Not a handler, and not what answers (`app.py`). Law: whatever is said of a route (who may, what it takes, what it gives)
is said once, in its `Route`; router, role checks and the OpenAPI document are made from that.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Mapping
from typing import Any
from urllib.parse import unquote

from msgspec import Struct

from interlock.core.principal import Principal, Role
from interlock.faces.http.problems import Problem
from interlock.faces.http.service import Service

AGENTS = (Role.AGENT,)
EVERYBODY = (Role.AGENT, Role.APPROVER, Role.OPERATOR, Role.AUDITOR)
PEOPLE = (Role.APPROVER, Role.OPERATOR, Role.AUDITOR)  #: an admin is among them, wherever people are
OPERATORS = (Role.OPERATOR,)
AUDITORS = (Role.OPERATOR, Role.AUDITOR)

JSON = "application/json"
LINES = "application/x-ndjson"
EVENTS = "text/event-stream"
TEXT = "text/plain"


class Nothing(Struct, frozen=True, forbid_unknown_fields=True):
    """A route that takes no query."""


class Request(Struct, kw_only=True, gc=False):
    """What a handler is handed: somebody who may ask, and what they said, decoded and checked for whose it is."""

    service: Service
    principal: Principal
    path: Mapping[str, str]
    query: Any
    body: Any
    key: str  #: of `Idempotency-Key`, or ""
    gone: Callable[[], Awaitable[None]]  #: returns when the client has gone away, or the server closes

    @property
    def tenant(self) -> str:
        """Whose: the credential's, or what a person who serves several says. Raises Problem 422 where nobody said."""
        said: str = getattr(self.query, "tenant", "") or getattr(self.body, "tenant", "")
        if not (self.principal.tenant or said):
            raise Problem(422, "bad_request", "which tenant is not said", remedy="say tenant=")
        return self.principal.tenant or said


class Stream(Struct, frozen=True):
    """An answer that is sent piece by piece."""

    media: str
    pieces: AsyncIterator[bytes]
    file: str = ""  #: the name to save it under


Handler = Callable[[Request], Awaitable[Any]]


class Route(Struct, frozen=True, kw_only=True):
    """Everything that is to be said of one route."""

    method: str
    path: str  #: with {names}
    name: str  #: a verb and its object; the operation's id
    summary: str
    handler: Handler
    may: tuple[Role, ...]  #: ()  : anybody, without a credential
    body: type[Struct] | None = None
    optional: bool = False  #: the body may be left out
    query: type[Struct] = Nothing
    answer: Any = None
    media: str = JSON
    problems: tuple[str, ...] = ()  #: codes, beside those that any route may answer

    @property
    def writes(self) -> bool:
        """True where it changes something, and so takes an `Idempotency-Key`."""
        return self.method != "GET"


class Others(Struct, frozen=True):
    """The methods of a path that is there, but not with the one that was asked for."""

    methods: tuple[str, ...]


_END, _NAMED = "/", "/{}"  #: no segment of a path can be called so


class Router:
    """Finds the route of a path by its segments. What is between slashes is unquoted after it was split."""

    def __init__(self, routes: Iterable[Route]) -> None:
        self._root: dict[str, Any] = {}
        for route in routes:
            node = self._root
            for segment in route.path.strip("/").split("/"):
                node = node.setdefault(_NAMED if segment.startswith("{") else segment, {})
            node.setdefault(_END, {})[route.method] = (route, _names(route.path))

    def find(self, method: str, raw_path: str) -> tuple[Route, dict[str, str]] | Others | None:
        """The route and what stands for its names; the methods that there are instead; or None."""
        others: set[str] = set()
        found = _walk(self._root, raw_path[1:].split("/"), 0, method, others)
        if found is None:
            return Others(tuple(sorted(others))) if others else None
        (route, names), given = found
        return route, dict(zip(names, given[::-1], strict=True))


def _walk(
    node: dict[str, Any], segments: list[str], at: int, method: str, others: set[str]
) -> tuple[Any, list[str]] | None:
    """What is at the end of these segments, and what stood for names, the last first. A word goes before a name."""
    if at == len(segments):
        methods = node.get(_END, {})
        others.update(methods)
        return (methods[method], []) if method in methods else None
    segment = segments[at]
    if not segment:
        return None
    below = node.get(segment)
    found = _walk(below, segments, at + 1, method, others) if below is not None else None
    if found is None and (below := node.get(_NAMED)) is not None:
        found = _walk(below, segments, at + 1, method, others)
        if found is not None:
            found[1].append(unquote(segment) if "%" in segment else segment)
    return found


def _names(path: str) -> tuple[str, ...]:
    return tuple(segment[1:-1] for segment in path.split("/") if segment.startswith("{"))
