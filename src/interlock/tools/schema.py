"""A tool's JSON Schema, compiled once, and what is wrong with arguments, in words that a model can act on.

Not the schema's author (`tools/python.py` reads type hints, `tools/mcp.py` takes what a server says), and no coercion.
Law: structure, NaN, depth and size are looked at before the schema; nothing is ever fetched; a schema that cannot be
compiled is refused when the tool is registered, never when it is called.

JSON Schema counts 1.0 as an integer, and so does this. `format` is checked only where the tool's owner asks for it
(`formats=True`): to JSON Schema 2020-12 it is a remark. A schema that names an older draft is read by that draft.
Patterns run in linear time; those that need lookaround or back-references run under a limit of backtracking steps, and
a text that exceeds it does not match.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from itertools import islice
from typing import TYPE_CHECKING, Any

import msgspec

from interlock.core.canonical import MAX_BYTES, MAX_DEPTH, problem_of
from interlock.errors import ToolError

if TYPE_CHECKING:
    from jsonschema_rs import ValidationError, Validator

MAX_PROBLEMS = 5  #: that one message names
CLIP = 60  #: characters of a value, or of a name, that a message shows
SCHEMA_DEPTH = 64
SCHEMA_BYTES = 1_048_576
BACKTRACKS = 20_000  #: steps of one pattern with lookaround
EXPANDED = 100_000  #: subschemas, each counted as often as it can be reached without going in a circle


class ArgumentSchema:
    """The compiled schema of one tool's arguments. Safe to use from any thread."""

    __slots__ = ("_is_valid", "_names", "_validator", "max_bytes", "max_depth", "schema", "tool")

    def __init__(
        self,
        schema: Mapping[str, Any],
        *,
        tool: str,
        max_depth: int = MAX_DEPTH,
        max_bytes: int = MAX_BYTES,
        formats: bool = False,
    ) -> None:
        self.schema = schema
        self.tool = tool
        self.max_depth = max_depth
        self.max_bytes = max_bytes
        self._validator = _compiled(schema, tool, formats)
        self._is_valid = self._validator.is_valid
        properties = schema.get("properties", {})
        self._names = list(properties) if isinstance(properties, Mapping) else []

    def problem(self, args: Mapping[str, Any]) -> str | None:
        """Why these arguments cannot be taken, or None. At most `MAX_PROBLEMS` of the problems are named."""
        wrong = problem_of(args, max_depth=self.max_depth, max_bytes=self.max_bytes)
        if wrong is not None:
            return f"{self.tool}: the arguments cannot be taken: {wrong}"
        if type(args) is not dict:
            return f"{self.tool}: the arguments must be an object of named arguments, not {show(args)}"
        return None if self._is_valid(args) else self._explain(args)

    def _explain(self, args: Mapping[str, Any]) -> str:
        errors = list(islice(self._validator.iter_errors(args), 100))
        names = (name for error in errors if not error.instance_path for name in _unexpected(error))
        unknown = list(islice(names, MAX_PROBLEMS + 1))  # a nearest name takes time, and there may be thousands
        given = {name: self._nearest(name, args) for name in unknown}
        said = [f"{quote(name)} is not an argument{_did_you_mean(near)}" for name, near in given.items()]
        if unknown and not any(given.values()):
            said[-1] += f" (the arguments are {_listed(quote(name) for name in self._names)})" if self._names else ""
        meant = {f"{quote(near)} is missing" for near in given.values() if near}
        for error in sorted(errors, key=lambda each: each.kind.name != "required"):
            if error.instance_path or not _unexpected(error):
                said.extend(text for text in _texts(error) if text)
        said = [text for text in dict.fromkeys(said) if text not in meant]
        more = "; and more" if len(said) > MAX_PROBLEMS else ""
        return f"{self.tool}: {'; '.join(said[:MAX_PROBLEMS]) or 'the arguments do not fit the schema'}{more}"

    def _nearest(self, name: str, args: Mapping[str, Any]) -> str | None:
        near = difflib.get_close_matches(name[:200], self._names)
        return next((known for known in near if known not in args), next(iter(near), None))


def close_objects(schema: dict[str, Any]) -> None:
    """Let every object of a schema that names its fields take no others, unless it says that it does."""
    for node in _subschemas(schema):
        if node.get("type") == "object" and isinstance(node.get("properties"), dict):
            node.setdefault("additionalProperties", False)


# --- compiling -------------------------------------------------------------------------------------------------------


def _compiled(schema: Mapping[str, Any], tool: str, formats: bool) -> Validator:
    import jsonschema_rs  # 20 ms, and only where a tool is registered

    wrong = problem_of(schema, max_depth=SCHEMA_DEPTH, max_bytes=SCHEMA_BYTES)
    if wrong is not None or not isinstance(schema, dict):
        raise ToolError(f"tool {tool!r}: its JSON Schema cannot be taken: {wrong or 'it is not an object'}")
    _refuse_foreign_references(schema, tool)
    if _expanded(schema, schema, {}) > EXPANDED:
        raise ToolError(f"tool {tool!r}: its JSON Schema comes to more than {EXPANDED} subschemas by its references")
    try:
        return jsonschema_rs.validator_for(
            schema,
            offline=True,
            validate_formats=formats,
            formats=_FORMATS if formats else None,
            pattern_options=jsonschema_rs.FancyRegexOptions(backtrack_limit=BACKTRACKS),
        )
    except (ValueError, jsonschema_rs.ReferencingError) as error:  # ValidationError is a ValueError
        why = clip(str(error).split("\n", 1)[0], 300)
        raise ToolError(f"tool {tool!r}: its JSON Schema does not compile: {why}") from None


def _refuse_foreign_references(schema: Any, tool: str) -> None:
    for node in _subschemas(schema):
        for keyword in ("$ref", "$dynamicRef", "$recursiveRef"):
            target = node.get(keyword)
            if isinstance(target, str) and re.match(r"(?i)[a-z][a-z0-9+.-]*:|//", target):
                raise ToolError(
                    f"tool {tool!r}: its JSON Schema refers to {clip(target)!r}; nothing is fetched: "
                    "put the definition under $defs and refer to it as '#/$defs/NAME'"
                )


def _subschemas(schema: Any) -> Iterator[dict[str, Any]]:
    """Every object in a schema that may be a schema; what is data (`default`, `enum`…) is not gone into."""
    stack = [schema]
    while stack:
        node = stack.pop()
        if isinstance(node, dict):
            yield node
            stack.extend(child for key, child in node.items() if key not in _DATA)
        elif isinstance(node, list):
            stack.extend(node)


def _expanded(node: Any, root: Mapping[str, Any], known: dict[int, int]) -> int:
    """How many subschemas one value may have to be held against. A reference that goes in a circle counts once."""
    if isinstance(node, list):
        return sum(_expanded(child, root, known) for child in node)
    if not isinstance(node, dict):
        return 0
    if id(node) not in known:
        known[id(node)] = 1  # while it is being counted: a circle ends here
        count = 1 + sum(_expanded(child, root, known) for key, child in node.items() if key not in _NOT_COUNTED)
        target = node.get("$ref")
        if isinstance(target, str) and target.startswith("#"):
            count += _expanded(_pointed_at(target, root), root, known)
        known[id(node)] = count
    return known[id(node)]


def _pointed_at(reference: str, root: Any) -> Any:
    found = root
    for part in reference[1:].split("/")[1:]:
        name = part.replace("~1", "/").replace("~0", "~")
        found = found.get(name) if isinstance(found, dict) else None
    return found


_DATA = frozenset({"default", "const", "enum", "examples", "example"})
_NOT_COUNTED = _DATA | {"$defs", "definitions"}

_DATE_TIME = re.compile(r"\d{4}-\d\d-\d\d[Tt _]\d\d:\d\d(:\d\d(\.\d+)?)?\s?([Zz]|[+-]\d\d:?\d\d)?", re.ASCII)
_TIME = re.compile(r"\d\d:\d\d(:\d\d(\.\d+)?)?\s?([Zz]|[+-]\d\d:?\d\d)?", re.ASCII)
# RFC 3339 wants an offset, which models often leave out, and which a Python datetime does without.
_FORMATS: dict[str, Callable[..., bool]] = {
    "date-time": lambda text: _DATE_TIME.fullmatch(text) is not None,
    "time": lambda text: _TIME.fullmatch(text) is not None,
}


# --- saying ----------------------------------------------------------------------------------------------------------


def show(value: Any) -> str:
    """A value as JSON, clipped: what a message may show of it."""
    if isinstance(value, str):
        value = value[: CLIP + 1]
    try:
        text = msgspec.json.encode(value).decode()
    except (TypeError, ValueError):
        text = f"a {type(value).__name__}"
    return clip(text)


def clip(text: str, limit: int = CLIP) -> str:
    """The text, or its beginning and an ellipsis."""
    return text if len(text) <= limit else text[: limit - 1] + "…"


def quote(name: object) -> str:
    """A name, clipped, between quotes."""
    return f"'{clip(str(name))}'"


def path_of(parts: Iterable[str | int]) -> str:
    """Where in the arguments: 'items[0].price'; '' for the arguments themselves."""
    text = ""
    for part in parts:
        text += f"[{part}]" if isinstance(part, int) else f"{'.' if text else ''}{part}"
    return text


def _texts(error: ValidationError, depth: int = 0) -> list[str]:
    """What one error says, by its keyword."""
    place, kind = path_of(error.instance_path), error.kind
    where = quote(place) if place else "the arguments"
    details = kind.as_dict()
    if kind.name == "required":
        return [f"{quote(path_of([*error.instance_path, details['property']]))} is missing"]
    if kind.name in ("additionalProperties", "unevaluatedProperties"):
        return [f"{quote(name)} is not a field of {where}" for name in details["unexpected"]]
    if kind.name in ("anyOf", "oneOf") and depth < 4:
        return _branches(error, where, depth)
    return [f"{where} {_must(error, details)}"]


def _branches(error: ValidationError, where: str, depth: int) -> list[str]:
    """What a choice says: the kinds that it takes, or what is wrong with the form that the value seems to have."""
    branches: list[list[ValidationError]] = getattr(error.kind, "context", [])
    here = [branch for branch in branches if len(branch) == 1 and _is_type_error(branch[0], error)]
    near = [branch for branch in branches if branch and branch not in here]
    if near:
        best = min(near, key=len)
        return [text for each in best[:MAX_PROBLEMS] for text in _texts(each, depth + 1)]
    if here:
        types = dict.fromkeys(name for branch in here for name in branch[0].kind.as_dict()["types"])
        return [f"{where} must be {_either(types)}, not {show(error.instance)}"]
    return [f"{where} fits more than one of the forms that it may have"]


def _is_type_error(error: ValidationError, of: ValidationError) -> bool:
    return error.kind.name == "type" and error.instance_path == of.instance_path


def _must(error: ValidationError, details: Mapping[str, Any]) -> str:
    name, value = error.kind.name, error.instance
    if name == "type":
        return f"must be {_either(details['types'])}, not {show(value)}"
    if name == "enum":
        options = details["options"]
        texts = [option for option in options if isinstance(option, str)]
        near = difflib.get_close_matches(value[:200], texts, 1) if isinstance(value, str) else []
        return f"must be one of {_listed(map(show, options))}, not {show(value)}{_did_you_mean(next(iter(near), None))}"
    if name in ("constant", "const"):
        return f"must be {show(details.get('expected_value'))}, not {show(value)}"
    if name == "format":
        return f"must be a {details['format']}{_EXAMPLES.get(details['format'], '')}, not {show(value)}"
    if name == "pattern":
        wanted = clip(str(details.get("pattern", "of the schema, which gives up on it")), 200)
        return f"must match the pattern {wanted}, and {show(value)} does not"
    if name in _BOUNDS:
        return f"{_BOUNDS[name].format(limit=next(iter(details.values()), ''))}, not {show(value)}"
    # the error's own message would show the value whole
    return f"is {show(value)}, which does not satisfy {name!r} of the schema"


def _unexpected(error: ValidationError) -> list[str]:
    if error.kind.name not in ("additionalProperties", "unevaluatedProperties"):
        return []
    return list(error.kind.as_dict()["unexpected"])


def _either(types: Iterable[str]) -> str:
    words = [_WORDS.get(name, name) for name in types]
    return words[0] if len(words) == 1 else f"{', '.join(words[:-1])} or {words[-1]}"


def _listed(names: Iterable[str], most: int = 12) -> str:
    shown = list(islice(names, most + 1))
    return ", ".join(shown[:most]) + (", …" if len(shown) > most else "")


def did_you_mean(name: str, known: Iterable[str]) -> str:
    """The nearest of the known names as a remark, or ''."""
    return _did_you_mean(next(iter(difflib.get_close_matches(name[:200], list(known), 1)), None))


def _did_you_mean(near: str | None) -> str:
    return f" (did you mean {quote(near)}?)" if near else ""


_WORDS = {
    "string": "a string",
    "integer": "an integer",
    "number": "a number",
    "boolean": "true or false",
    "array": "an array",
    "object": "an object",
    "null": "null",
}
_EXAMPLES = {
    "date-time": " such as 2026-01-31T09:30:00Z",
    "date": " such as 2026-01-31",
    "time": " such as 09:30:00",
    "duration": " such as PT1H30M",
}
_BOUNDS = {
    "minimum": "must be at least {limit}",
    "maximum": "must be at most {limit}",
    "exclusiveMinimum": "must be more than {limit}",
    "exclusiveMaximum": "must be less than {limit}",
    "minLength": "must have at least {limit} characters",
    "maxLength": "must have at most {limit} characters",
    "minItems": "must have at least {limit} items",
    "maxItems": "must have at most {limit} items",
    "minProperties": "must have at least {limit} fields",
    "maxProperties": "must have at most {limit} fields",
    "multipleOf": "must be a multiple of {limit}",
}
