"""The parameters and the body of an operation → the arguments of one tool: one flat object with closed fields.

Not the request (`request.py`). Law: every argument has one place in the request, and no argument reaches a place that
is the gateway's own to fill: the credential, the key, the host, the framing of the message.

A parameter is an argument of its own name; where two places share a name, they are `path_id`, `query_id`. The fields of
a JSON body that is a plain object stand beside them; any other body, or one whose fields share a name with a
parameter, is the argument `body`.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator, Mapping
from typing import Any

from msgspec import Struct

from interlock.errors import ToolError
from interlock.tools.explain import clip
from interlock.tools.openapi.schemas import Schemas, followed
from interlock.tools.text import clean

MAX_ARGUMENTS = 500

#: A part of a segment of a path: a literal, or the argument that stands there.
Part = tuple[bool, str]
Segments = tuple[tuple[Part, ...], ...]
Places = frozenset[tuple[str, str]]  #: `header` (its name in lower case) or `query`, and the name
_LITERAL = re.compile(r"[A-Za-z0-9_.~!$&'()*+,;=:@-]*")
_TOKEN = re.compile(r"[A-Za-z0-9!#$%&'*+.^_`|~-]{1,100}")
#: headers that are not an argument's to say. The first three a document is told to leave alone (OpenAPI, 4.8.12.2).
_IGNORED = frozenset({"accept", "content-type", "authorization", "idempotency-key", "user-agent", "accept-encoding"})
_FRAMING = frozenset(
    {"host", "connection", "content-length", "content-encoding", "transfer-encoding", "te", "trailer", "upgrade"}
    | {"expect", "cookie", "cookie2", "keep-alive", "via", "forwarded", "origin", "x-real-ip", "x-http-method"}
    | {"x-http-method-override", "x-method-override", "x-original-url", "x-rewrite-url"}
)


class Parameter(Struct, frozen=True):
    """Where one argument goes, and how it is spelled there."""

    argument: str
    name: str
    where: str  #: path, query, header
    spelled: str  #: plain; joined by "," " " or "|"; exploded; deep; json
    required: bool


class Body(Struct, frozen=True):
    """The JSON body: one argument, or the fields of an object."""

    media: str
    argument: str  #: "" where its fields are arguments themselves
    fields: tuple[str, ...]
    required: bool


class Arguments(Struct, frozen=True):
    """All that a tool takes."""

    parameters: tuple[Parameter, ...]
    body: Body | None
    schema: dict[str, Any]


def template_of(path: str) -> Segments:
    """A path as segments of literals and arguments. Raises ToolError for one that could lead elsewhere."""
    if not path.startswith("/") or len(path) > 1_000:
        raise ToolError("its path does not begin with '/', or is too long")
    segments = tuple(tuple(_parts(segment)) for segment in path[1:].split("/"))
    for index, segment in enumerate(segments):
        if not any(is_argument for is_argument, _ in segment):
            literal = "".join(text for _, text in segment)
            if literal in (".", "..") or (not literal and index < len(segments) - 1):
                raise ToolError("its path holds an empty segment, '.' or '..'")
    return segments


def _parts(segment: str) -> Iterator[Part]:
    for index, text in enumerate(re.split(r"\{([^{}]+)\}", segment)):
        if index % 2:
            yield True, text
        elif not _LITERAL.fullmatch(text):
            raise ToolError(f"its path holds {clip(ascii(text), 60)}, which cannot stand in one")
        elif text:
            yield False, text


def arguments_of(schemas: Schemas, segments: Segments, said: list[Any], body: Any, ours: Places) -> Arguments:
    """What an operation takes. `ours`: the places that the credential fills. Raises ToolError."""
    needs: set[str] = set()
    found = list(_parameters(schemas, said, ours))
    in_path = [name for segment in segments for is_argument, name in segment if is_argument]
    declared = {each["name"] for each in found if each["in"] == "path"}
    if set(in_path) != declared or len(in_path) != len(declared):
        raise ToolError("the parameters of its path are not those that it declares with in: path")
    shared = Counter(each["name"] for each in found)
    properties: dict[str, Any] = {}
    required: list[str] = []
    parameters: list[Parameter] = []
    for each in found:
        made, schema = _parameter(schemas, each, needs, alone=shared[each["name"]] == 1)
        if made is None:
            continue
        if made.argument in properties:
            raise ToolError(f"two of its parameters are called {clip(made.argument, 60)!r}")
        parameters.append(made)
        properties[made.argument] = schema
        required += [made.argument] if made.required else []
    sent, fields, needed = _body(schemas, body, needs, frozenset(properties))
    properties |= fields
    required += needed
    if len(properties) > MAX_ARGUMENTS:
        raise ToolError(f"it takes more than {MAX_ARGUMENTS} arguments")
    whole: dict[str, Any] = {"type": "object", "properties": properties, "additionalProperties": False}
    if required:
        whole["required"] = required
    definitions = schemas.definitions(needs)
    if definitions:
        whole["$defs"] = definitions
    return Arguments(tuple(parameters), sent, whole)


def _parameters(schemas: Schemas, said: list[Any], ours: Places) -> Iterator[dict[str, Any]]:
    """Those that are an argument's to fill; a later one of the same name and place replaces an earlier one."""
    found: dict[tuple[str, str], dict[str, Any]] = {}
    for raw in said:
        each = followed(schemas.root, raw)
        if not isinstance(each, dict) or not isinstance(each.get("name"), str) or not isinstance(each.get("in"), str):
            raise ToolError("one of its parameters has no name, or no place")
        name = each["name"].lower() if each["in"] == "header" else each["name"]
        found[each["in"], name] = each
    for (where, name), each in found.items():
        if where not in ("path", "query", "header", "cookie"):
            raise ToolError(f"one of its parameters stands in {clip(where, 40)!r}")
        if where == "path" or not ((where, name) in ours or _not_for_arguments(where, name, each)):
            yield each


def _not_for_arguments(where: str, name: str, each: Mapping[str, Any]) -> bool:
    """True where a parameter is left out. Raises ToolError where the operation cannot do without."""
    if where == "header" and name in _IGNORED:
        return True
    if where == "header" and not _TOKEN.fullmatch(name):
        raise ToolError("one of its headers has a name that is none")
    framing = where == "header" and (name in _FRAMING or name.startswith(("proxy-", "x-forwarded-", "sec-", ":")))
    if framing or where == "cookie":
        if each.get("required") is True:
            raise ToolError(f"it needs the {where} {clip(name, 60)!r}, which is not an argument's to say")
        return True
    return False


def _parameter(
    schemas: Schemas, said: dict[str, Any], needs: set[str], *, alone: bool
) -> tuple[Parameter | None, Any]:
    where, name, required = said["in"], said["name"], said["in"] == "path" or said.get("required") is True
    if not name or len(name) > 200 or not name.isprintable():
        raise ToolError("one of its parameters has a name that cannot be shown")
    content = said.get("content")
    inner: set[str] = set()
    if isinstance(content, dict) and content:
        media = next(iter(content.values()))
        raw = media.get("schema", {}) if isinstance(media, dict) else {}
        spelled = "json" if next(iter(content)).split(";")[0].strip() == "application/json" else ""
    else:
        raw = said.get("schema", {})
        spelled = _spelling(where, said, _kinds(schemas.root, raw))
    if not spelled:
        if required:
            raise ToolError(f"its parameter {clip(name, 60)!r} is spelled in a way that is not supported")
        return None, None
    schema = schemas.value(raw, inner)
    needs |= inner
    about = said.get("description")
    if isinstance(about, str) and about:
        schema = {**(schema if isinstance(schema, dict) else {}), "description": clean(about, 2_000)}
    argument = name if alone else f"{where}_{name}"
    return Parameter(argument, name, where, spelled, required), schema


def _kinds(root: Mapping[str, Any], schema: Any) -> set[str]:
    """The types that a schema speaks of, one level into what it is put together of."""
    node = followed(root, schema)
    if not isinstance(node, dict):
        return set()
    kind = node.get("type")
    found = {kind} if isinstance(kind, str) else {each for each in kind or () if isinstance(each, str)}
    for key in ("allOf", "anyOf", "oneOf"):
        for each in node[key] if isinstance(node.get(key), list) else ():
            inner = followed(root, each)
            if isinstance(inner, dict) and isinstance(inner.get("type"), str):
                found.add(inner["type"])
    return found | ({"object"} if "properties" in node else set()) | ({"array"} if "items" in node else set())


def _spelling(where: str, said: Mapping[str, Any], kinds: set[str]) -> str:
    """How a value of a parameter is written; "" for a way that is not supported."""
    style = said.get("style") or ("form" if where == "query" else "simple")
    explode = said.get("explode", style == "form") is True
    if where != "query":
        return "," if style == "simple" and "object" not in kinds else ""
    if "object" in kinds:
        return "deep" if style == "deepObject" and kinds <= {"object", "null"} else ""
    if style == "form":
        return "exploded" if explode else ","
    joined = {"spaceDelimited": " ", "pipeDelimited": "|"}.get(str(style), "")
    return "exploded" if joined and explode else joined


# --- the body --------------------------------------------------------------------------------------------------------

_FLAT = frozenset(
    {"type", "properties", "required", "title", "description", "additionalProperties", "example", "examples", "xml"}
    | {"externalDocs", "deprecated", "nullable"}
)


def _body(
    schemas: Schemas, said: Any, needs: set[str], taken: frozenset[str]
) -> tuple[Body | None, dict[str, Any], list[str]]:
    """The body, the arguments that it adds, and those of them that are required."""
    body = followed(schemas.root, said)
    if body is None:
        return None, {}, []
    if not isinstance(body, dict) or not isinstance(body.get("content"), dict):
        raise ToolError("its body has no content")
    must = body.get("required") is True
    media = next((each for each in body["content"] if is_json(each)), None)
    if media is None:
        if must:
            raise ToolError("its body cannot be JSON")
        return None, {}, []
    entry = followed(schemas.root, body["content"][media])
    raw = entry.get("schema", {}) if isinstance(entry, dict) else {}
    flat = followed(schemas.root, raw)
    if _is_flat(flat, must=must) and not taken & flat["properties"].keys():
        inner: set[str] = set()
        made = schemas.value(flat, inner)
        needs |= inner
        return Body(media, "", tuple(made["properties"]), must), made["properties"], list(made.get("required", ()))
    if "body" in taken:
        raise ToolError("one of its parameters is called 'body', and so is its body")
    schema = schemas.value(raw, needs)
    about = body.get("description")
    if isinstance(about, str) and about and isinstance(schema, dict):
        schema.setdefault("description", clean(about, 2_000))
    return Body(media, "body", (), must), {"body": schema}, ["body"] if must else []


_JSON = re.compile(r"application/([A-Za-z0-9.+_-]{1,80}\+)?json(; ?charset=utf-8)?", re.IGNORECASE)


def is_json(media: str) -> bool:
    """`application/json`, or one of its kind, that can be sent as it is written."""
    return _JSON.fullmatch(media) is not None


def _is_flat(node: Any, *, must: bool) -> bool:
    """True for a plain object whose fields can stand as arguments."""
    if not isinstance(node, dict) or not isinstance(node.get("properties"), dict) or not node["properties"]:
        return False
    if any(key not in _FLAT and not key.startswith("x-") for key in node) or node.get("nullable") is True:
        return False
    names = all(0 < len(name) <= 200 and name.isprintable() for name in node["properties"])
    required = node.get("required", [])
    known = isinstance(required, list) and all(name in node["properties"] for name in required)
    closed = node.get("additionalProperties", False) is False and node.get("type", "object") == "object"
    return names and known and closed and (must or not required)
