"""A tool's JSON Schema, compiled once, and what is wrong with arguments, in words that a model can act on.

Not the schema's author (`tools/python.py` reads type hints, `tools/mcp/` takes what a server says), and no coercion.
Law: structure, NaN, depth and size are looked at before the schema; nothing is ever fetched; a schema that cannot be
compiled is refused when the tool is registered, never when it is called.

JSON Schema counts 1.0 as an integer, and so does this. `format` is checked only where the tool's owner asks for it
(`formats=True`): to JSON Schema 2020-12 it is a remark. A schema that names an older draft is read by that draft.
Patterns run in linear time; those that need lookaround or back-references run under a limit of backtracking steps, and
a text that exceeds it does not match.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from typing import TYPE_CHECKING, Any

from interlock.core.canonical import MAX_BYTES, MAX_DEPTH, problem_of
from interlock.errors import ToolError
from interlock.tools.explain import MAX_PROBLEMS, Explainer, clip, pointed_at, show

if TYPE_CHECKING:
    from jsonschema_rs import Validator

SCHEMA_DEPTH = 64
SCHEMA_BYTES = 1_048_576
BACKTRACKS = 20_000  #: steps of one pattern with lookaround
EXPANDED = 100_000  #: subschemas, each counted as often as it can be reached without going in a circle


class ArgumentSchema:
    """The compiled schema of one tool's arguments. Safe to use from any thread."""

    __slots__ = ("_explainer", "_is_valid", "max_bytes", "max_depth", "schema", "tool")

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
        options = _checked(schema, tool, formats)
        self._is_valid = _compiled(schema, tool, options).is_valid
        self._explainer = _explainer(schema, options)

    def problem(self, args: Mapping[str, Any]) -> str | None:
        """Why these arguments cannot be taken, or None. At most `MAX_PROBLEMS` of the problems are named."""
        wrong = problem_of(args, max_depth=self.max_depth, max_bytes=self.max_bytes)
        if wrong is not None:
            return f"{self.tool}: the arguments cannot be taken: {wrong}"
        if type(args) is not dict:
            return f"{self.tool}: the arguments must be an object, as in {self._example()}, not {show(args)}"
        return None if self._is_valid(args) else self._explained(args)

    def _example(self) -> str:
        """The shape of the arguments, with their names."""
        named = ", ".join(f"{show(name)}: …" for name in list(self.schema.get("properties", ()))[:3])
        return f"{{{named}}}"

    def _explained(self, args: Mapping[str, Any]) -> str:
        said = self._explainer.problems(args)
        more = "; and more" if len(said) > MAX_PROBLEMS else ""
        return f"{self.tool}: {'; '.join(said[:MAX_PROBLEMS])}{more}"


def close_objects(schema: dict[str, Any]) -> None:
    """Let every object of a schema that names its fields take no others, unless it says that it does."""
    for node in _subschemas(schema):
        if node.get("type") == "object" and isinstance(node.get("properties"), dict):
            node.setdefault("additionalProperties", False)


# --- compiling -------------------------------------------------------------------------------------------------------


def _checked(schema: Mapping[str, Any], tool: str, formats: bool) -> dict[str, Any]:
    """Refuse what must not reach the compiler. Gives the compiler's options."""
    import jsonschema_rs  # 20 ms, and only where a tool is registered

    wrong = problem_of(schema, max_depth=SCHEMA_DEPTH, max_bytes=SCHEMA_BYTES)
    if wrong is not None or not isinstance(schema, dict):
        raise ToolError(f"tool {tool!r}: its JSON Schema cannot be taken: {wrong or 'it is not an object'}")
    _refuse_foreign_references(schema, tool)
    if _expanded(schema, schema, {}) > EXPANDED:
        raise ToolError(f"tool {tool!r}: its JSON Schema comes to more than {EXPANDED} subschemas by its references")
    return {
        "offline": True,
        "validate_formats": formats,
        "formats": _FORMATS if formats else None,
        "pattern_options": jsonschema_rs.FancyRegexOptions(backtrack_limit=BACKTRACKS),
    }


def _compiled(schema: Mapping[str, Any], tool: str, options: dict[str, Any]) -> Validator:
    import jsonschema_rs

    try:
        return jsonschema_rs.validator_for(dict(schema), **options)
    except (ValueError, jsonschema_rs.ReferencingError) as error:  # ValidationError is a ValueError
        why = clip(str(error).split("\n", 1)[0], 300)
        raise ToolError(f"tool {tool!r}: its JSON Schema does not compile: {why}") from None


def _explainer(schema: Mapping[str, Any], options: dict[str, Any]) -> Explainer:
    import jsonschema_rs

    draft = {"$schema": schema["$schema"]} if "$schema" in schema else {}
    return Explainer(
        schema,
        lambda flat: jsonschema_rs.validator_for({**draft, **flat}, **options),
        lambda: jsonschema_rs.validator_map_for(dict(schema), **options),
    )


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
            count += _expanded(pointed_at(target, root), root, known)
        known[id(node)] = count
    return known[id(node)]


_DATA = frozenset({"default", "const", "enum", "examples", "example"})
_NOT_COUNTED = _DATA | {"$defs", "definitions"}

_DATE_TIME = re.compile(r"\d{4}-\d\d-\d\d[Tt _]\d\d:\d\d(:\d\d(\.\d+)?)?\s?([Zz]|[+-]\d\d:?\d\d)?", re.ASCII)
_TIME = re.compile(r"\d\d:\d\d(:\d\d(\.\d+)?)?\s?([Zz]|[+-]\d\d:?\d\d)?", re.ASCII)
# RFC 3339 wants an offset, which models often leave out, and which a Python datetime does without.
_FORMATS: dict[str, Callable[..., bool]] = {
    "date-time": lambda text: _DATE_TIME.fullmatch(text) is not None,
    "time": lambda text: _TIME.fullmatch(text) is not None,
}
