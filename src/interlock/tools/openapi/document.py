"""An OpenAPI document → the operations that can be tools, and why the others cannot.

Not the fetching of it, and no request. Law: one bad operation leaves itself out and no other; what the document says
of hosts counts only as far as its reader lets it; an operation's definition holds everything that decides what is sent.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator, Mapping
from typing import Any
from urllib.parse import urljoin, urlsplit

from msgspec import Struct

from interlock import pins
from interlock.core.call import Effect
from interlock.core.canonical import canonical, problem_of
from interlock.errors import ToolError
from interlock.tools.explain import clip
from interlock.tools.openapi.arguments import Arguments, Places, Segments, arguments_of, template_of
from interlock.tools.openapi.schemas import Schemas, followed
from interlock.tools.schema import SCHEMA_BYTES, SCHEMA_DEPTH
from interlock.tools.text import clean

MAX_OPERATIONS = 2_000
MAX_TOTAL = 67_108_864  #: bytes of all definitions of one document
_NAME = re.compile(r"[A-Za-z0-9_./-]{1,128}")
_METHODS = ("get", "head", "put", "post", "patch", "delete", "options", "trace")
_SERVER = re.compile(r"https?://[A-Za-z0-9.\[\]:_-]+(/[A-Za-z0-9_.~!$&'()*+,;=:@/-]*)?")


class Lending(Struct, frozen=True):
    """Where the credential goes."""

    how: str  #: bearer, basic, header, query
    name: str = ""


class Operation(Struct, frozen=True):
    """One operation, as a tool sees it."""

    name: str
    method: str
    segments: Segments
    takes: Arguments
    lending: Lending | None
    description: str
    definition: pins.Definition
    digest: str


class Document(Struct, frozen=True):
    """What was understood of a document."""

    server: str  #: the base of every path, without a slash at its end
    operations: tuple[Operation, ...]
    refused: Mapping[str, str]  #: operations that are left out, and why


def understood(
    root: Mapping[str, Any], *, base_url: str | None = None, home: str | None = None, credential: bool = False
) -> Document:
    """Read a document.

    `base_url`: what the config names, which then counts alone. `home`: the URL that the document came from; it can
    then name no other host by itself. `credential`: one is lent. Raises ToolError where nothing can be taken.
    """
    version = root.get("openapi")
    if not isinstance(version, str) or not re.fullmatch(r"3\.[01](\.[0-9]{1,3})?", version):
        raise ToolError(f"is no OpenAPI 3.0 or 3.1 document: openapi is {clip(repr(version), 40)}")
    paths = root.get("paths", {})
    if not isinstance(paths, dict):
        raise ToolError("its paths are no mapping")
    reader = _Reader(root, Schemas(root, old=version.startswith("3.0")), base_url, home, credential=credential)
    found = list(reader.operations(paths))
    names = Counter(name for name, _ in found)
    operations: list[Operation] = []
    refused: dict[str, str] = {}
    total = 0
    for name, each in found:
        if isinstance(each, str):
            refused[name] = each
        elif names[name] > 1:
            refused[name] = "its operationId is given to another operation as well"
        elif (total := total + len(canonical(each.definition))) > MAX_TOTAL:
            refused[name] = f"all definitions together are larger than {MAX_TOTAL} bytes"
        else:
            operations.append(each)
    return Document(reader.server, tuple(operations), refused)


class _Reader:
    """One document, on its way."""

    def __init__(
        self, root: Mapping[str, Any], schemas: Schemas, base_url: str | None, home: str | None, *, credential: bool
    ) -> None:
        self._root, self._schemas, self._pinned = root, schemas, base_url
        self._credential = credential
        self.server = (base_url or server_of(root, home)).rstrip("/")

    def operations(self, paths: dict[str, Any]) -> Iterator[tuple[str, Operation | str]]:
        """Each by its name, or by its method and path; an operation, or why it cannot be taken."""
        count = 0
        for path, raw in paths.items():
            if path.startswith("x-"):
                continue
            try:
                item = followed(self._root, raw)
                if not isinstance(item, dict):
                    raise ToolError("its path item is no mapping")
            except ToolError as error:
                yield clean(path, 60), str(error)
                continue
            for method in _METHODS:
                if method not in item:
                    continue
                count += 1
                if count > MAX_OPERATIONS:
                    raise ToolError(f"it has more than {MAX_OPERATIONS} operations")
                said = item[method]
                name = said.get("operationId") if isinstance(said, dict) else None
                shown = clean(name if isinstance(name, str) and name else f"{method.upper()} {path}", 128)
                try:
                    yield shown, self._operation(path, method, item, said)
                except ToolError as error:
                    yield shown, clean(str(error), 300)
                except Exception as error:  # hostile text: whatever it runs into, it leaves itself out and no other
                    yield shown, clean(f"it cannot be read: {error!r}", 300)

    def _operation(self, path: str, method: str, item: dict[str, Any], said: Any) -> Operation:
        if not isinstance(said, dict):
            raise ToolError("it is no mapping")
        name = said.get("operationId")
        if not isinstance(name, str) or not name:
            raise ToolError("it has no operationId, so it has no name")
        if not _NAME.fullmatch(name):
            raise ToolError("an operationId has letters, digits and _ - . / only, 128 at most")
        if method in ("options", "trace"):
            raise ToolError(f"{method.upper()} is not offered as a tool")
        if not self._pinned and ("servers" in item or "servers" in said):
            raise ToolError("it names servers of its own; say base_url: in the config")
        segments, lending = template_of(path), self._lending(said)
        listed = [*_list(item, "parameters"), *_list(said, "parameters")]
        body = said.get("requestBody") if method in ("put", "post", "patch", "delete") else None
        takes = arguments_of(self._schemas, segments, listed, body, self._ours(lending))
        definition = self._definition(path, method, said, takes, lending)
        digest = pins.definition_digest(definition)
        summary, words = (said.get(key) if isinstance(said.get(key), str) else "" for key in ("summary", "description"))
        description = clean("\n\n".join(dict.fromkeys(each for each in (summary, words) if each)), 2_000)
        return Operation(name, method.upper(), segments, takes, lending, description, definition, digest)

    def _definition(
        self, path: str, method: str, said: dict[str, Any], takes: Arguments, lending: Lending | None
    ) -> pins.Definition:
        """Everything that decides what is sent, or that a model goes by. The config's own base is no part of it."""
        places = [[each.argument, each.where, each.name, each.spelled] for each in takes.parameters]
        body = takes.body
        sent = body and {"media": body.media, "argument": body.argument, "required": body.required}
        annotations = {
            "method": method.upper(),
            "path": path,
            "server": "" if self._pinned else self.server,
            "parameters": places,
            "body": sent,
            "credential": lending and [lending.how, lending.name],
        }
        definition = pins.definition(
            name=said["operationId"],
            title=said["summary"] if isinstance(said.get("summary"), str) else "",
            description=said["description"] if isinstance(said.get("description"), str) else "",
            input_schema=takes.schema,
            annotations=annotations,
        )
        wrong = problem_of(definition, max_depth=SCHEMA_DEPTH + 4, max_bytes=SCHEMA_BYTES)
        if wrong is not None:
            raise ToolError(f"its definition is {wrong}" if wrong.startswith("l") else f"its definition {wrong}")
        return definition

    # --- the credential ---

    def _lending(self, said: dict[str, Any]) -> Lending | None:
        """Where the credential of this operation goes. Raises ToolError where it is needed and cannot go anywhere."""
        if not self._credential:
            return None
        schemes = self._schemes()
        wanted = said.get("security", self._root.get("security"))
        if wanted is None:  # the document leaves it open; its owner lends one all the same
            ways = [way for way in map(_way, schemes.values()) if way]
            if not schemes:
                return Lending("bearer")
            if len(schemes) > 1 or not ways:
                raise ToolError("the document does not say which of its securitySchemes it uses")
            return ways[0]
        alternatives = [each for each in wanted if isinstance(each, dict)] if isinstance(wanted, list) else []
        for each in alternatives:
            way = _way(schemes.get(next(iter(each)), {})) if len(each) == 1 else None
            if way:
                return way
        if not alternatives or not all(alternatives):  # it can do without
            return None
        raise ToolError("none of the ways in which it wants a credential is supported")

    def _schemes(self) -> dict[str, Any]:
        components = self._root.get("components")
        schemes = components.get("securitySchemes") if isinstance(components, dict) else None
        said = schemes if isinstance(schemes, dict) else {}
        found = {key: followed(self._root, each) for key, each in said.items()}
        return {key: each for key, each in found.items() if isinstance(each, dict)}

    def _ours(self, lending: Lending | None) -> Places:
        """The places of every apiKey that the document knows: no argument may fill one, lent or not."""
        found = {("header", lending.name.lower())} if lending and lending.how == "header" else set()
        for each in self._schemes().values():
            if each.get("type") == "apiKey" and isinstance(each.get("name"), str):
                name = each["name"]
                found.add((str(each.get("in")), name.lower() if each.get("in") == "header" else name))
        return frozenset(found)


def _way(scheme: Any) -> Lending | None:
    """How a scheme wants its credential; None for a way that is not supported."""
    kind, name = scheme.get("type"), scheme.get("name")
    if kind in ("oauth2", "openIdConnect"):
        return Lending("bearer")
    if kind == "http" and str(scheme.get("scheme")).lower() in ("bearer", "basic"):
        return Lending(str(scheme["scheme"]).lower())
    if kind == "apiKey" and isinstance(name, str) and re.fullmatch(r"[A-Za-z0-9_.-]{1,100}", name):
        where = scheme.get("in")
        if where == "query" or (where == "header" and name.lower() not in _NEVER):
            return Lending(where, name)
    return None


_NEVER = frozenset(
    {"host", "connection", "content-length", "content-type", "transfer-encoding", "te", "trailer", "upgrade", "expect"}
    | {"cookie", "idempotency-key", "accept-encoding"}
)


def server_of(root: Mapping[str, Any], home: str | None) -> str:
    """The first server of a document. Raises ToolError where the config has to say it instead."""
    remedy = "say base_url: in the config"
    first = next(iter(_list(root, "servers")), None)
    url = first.get("url") if isinstance(first, dict) else None
    if not isinstance(url, str) or not isinstance(first, dict):
        raise ToolError(f"it names no server; {remedy}")
    variables = first.get("variables")
    for name, each in (variables if isinstance(variables, dict) else {}).items():
        if isinstance(each, dict) and isinstance(each.get("default"), str):
            url = url.replace("{" + name + "}", each["default"])
    url = urljoin(home, url) if home else url
    if len(url) > 1_000 or not _SERVER.fullmatch(url) or any(part in (".", "..") for part in url.split("/")):
        raise ToolError(f"its first server is {clip(ascii(url), 80)}, which is no whole URL of an API; {remedy}")
    if not url.startswith("https://"):
        raise ToolError(f"its first server is not reached by https; {remedy}")
    if home and urlsplit(url).netloc.lower() != urlsplit(home).netloc.lower():
        raise ToolError(f"it comes from the network and names a server elsewhere ({clip(url, 80)}); {remedy}")
    return url


def effect_of(operation: Operation, *, ours: bool) -> Effect:
    """What a method does. `ours`: the API stands in the house, so that a read's arguments do not leave it."""
    if operation.method == "DELETE":
        return Effect.IRREVERSIBLE
    if operation.method not in ("GET", "HEAD"):
        return Effect.WRITE
    return Effect.READ if ours or not operation.takes.schema["properties"] else Effect.EGRESS


def _list(node: Mapping[str, Any], key: str) -> list[Any]:
    found = node.get(key)
    return found if isinstance(found, list) else []
