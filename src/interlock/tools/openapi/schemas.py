"""Schemas as OpenAPI 3.0 and 3.1 write them → JSON Schema 2020-12, as a tool needs it.

Not the compiling (`tools/schema.py`), and no judgement of prose. Law: nothing outside the document is referred to; a
keyword is either translated or one that constrains nothing; an object that names its fields takes no others, unless it
says that it does; what the API alone may write (`readOnly`) is nobody's argument.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any
from urllib.parse import unquote

from interlock.errors import ToolError
from interlock.tools.explain import clip
from interlock.tools.text import clean

_ONE = frozenset(
    {"not", "if", "then", "else", "items", "additionalProperties", "propertyNames", "contains"}
    | {"unevaluatedProperties", "unevaluatedItems"}
)
_LIST = frozenset({"allOf", "anyOf", "oneOf", "prefixItems"})
_MAP = frozenset({"properties", "patternProperties", "dependentSchemas"})
_PLAIN = frozenset(
    {"type", "enum", "const", "multipleOf", "maximum", "exclusiveMaximum", "minimum", "exclusiveMinimum", "maxLength"}
    | {"minLength", "pattern", "maxItems", "minItems", "uniqueItems", "maxContains", "minContains", "maxProperties"}
    | {"minProperties", "required", "dependentRequired", "format", "title", "description", "default", "examples"}
)
_VALUES = frozenset({"items", "additionalProperties", "contains", "unevaluatedProperties", "unevaluatedItems"})
_UNTAKEN = ("$dynamicRef", "$recursiveRef", "dependencies")  # they constrain, and are not understood here
MAX_CHAIN = 20
MAX_DEFS = 2_000  #: definitions that one tool may need


def pointed_at(root: Mapping[str, Any], reference: object) -> Any:
    """What a reference inside the document names. Raises ToolError for any other."""
    if not isinstance(reference, str) or not reference.startswith("#/"):
        raise ToolError(f"it refers to {clip(str(reference), 80)!r}; only references inside the document are followed")
    found: Any = root
    for part in reference[2:].split("/"):
        name = unquote(part).replace("~1", "/").replace("~0", "~")
        if isinstance(found, list) and name.isdecimal() and len(name) < 6 and int(name) < len(found):
            found = found[int(name)]
        elif isinstance(found, dict) and name in found:
            found = found[name]
        else:
            raise ToolError(f"it refers to {clip(reference, 80)!r}, which is not in the document")
    return found


def followed(root: Mapping[str, Any], node: Any) -> Any:
    """The node, or where its chain of references ends. Raises ToolError for a chain without end."""
    for _ in range(MAX_CHAIN):
        if not isinstance(node, dict) or "$ref" not in node:
            return node
        node = pointed_at(root, node["$ref"])
    raise ToolError("its references go in a circle")


class Schemas:
    """The schemas of one document. Each definition is translated once, whoever needs it."""

    def __init__(self, root: Mapping[str, Any], *, old: bool) -> None:
        self.root = root
        self._old = old  #: OpenAPI 3.0
        self._names: dict[str, str] = {}  # pointer → name under $defs
        self._taken: set[str] = set()
        self._known: dict[int, bool] = {}  # of `_named`, by the identity of the node; False while it is looked for
        self._defs: dict[str, tuple[Any, set[str]]] = {}  # pointer → translated, and the pointers that it needs

    def value(self, node: Any, needs: set[str]) -> Any:
        """The schema of a value: translated, and closed where it names its fields. `needs`: pointers, added to."""
        made = self._translated(node, needs)
        if isinstance(made, dict) and "additionalProperties" not in made and self._named(node):
            made.setdefault("unevaluatedProperties", False)
        return made

    def definitions(self, needs: set[str]) -> dict[str, Any]:
        """`$defs` for all that is needed, and all that this needs in turn."""
        found: dict[str, Any] = {}
        waiting = sorted(needs)
        while waiting:
            pointer = waiting.pop()
            name = self._name(pointer)
            if name in found:
                continue
            if len(found) >= MAX_DEFS:
                raise ToolError(f"its schemas refer to more than {MAX_DEFS} definitions")
            if pointer not in self._defs:
                inner: set[str] = set()
                self._defs[pointer] = self._translated(pointed_at(self.root, pointer), inner), inner
            found[name], more = self._defs[pointer]
            waiting += sorted(more)
        return dict(sorted(found.items()))

    def _name(self, pointer: str) -> str:
        if pointer not in self._names:
            name = re.sub(r"[^A-Za-z0-9_.-]", ".", pointer.removeprefix("#/components/schemas/"))[-80:]
            self._names[pointer] = name = name if name not in self._taken else f"{name}.{len(self._taken)}"
            self._taken.add(name)
        return self._names[pointer]

    def _translated(self, node: Any, needs: set[str]) -> Any:
        if isinstance(node, bool):
            return node
        if not isinstance(node, dict):
            raise ToolError(f"a schema in it is a {type(node).__name__}")
        untaken = next((word for word in _UNTAKEN if word in node), None)
        if untaken:
            raise ToolError(f"a schema in it uses {untaken}, which is not supported")
        made: dict[str, Any] = {}
        if "$ref" in node:
            pointed_at(self.root, node["$ref"])
            needs.add(node["$ref"])
            made["$ref"] = f"#/$defs/{self._name(node['$ref'])}"
            if self._old:  # there, what stands beside a reference does not count
                return made
        for key, child in node.items():
            if key in _PLAIN:
                worded = key in ("title", "description") and isinstance(child, str)
                made[key] = clean(child, 2_000) if worded else child
            elif key in _ONE:
                made[key] = self.value(child, needs) if key in _VALUES else self._translated(child, needs)
            elif key in _LIST:
                made[key] = [self._listed(key, each, needs) for each in _checked(key, child, list)]
            elif key in _MAP:
                made[key] = dict(self._fields(key, _checked(key, child, dict), needs))
        self._without_read_only(node, made)
        if self._old:
            _modernise(node, made)
        return made

    def _listed(self, key: str, node: Any, needs: set[str]) -> Any:
        return self.value(node, needs) if key == "prefixItems" else self._translated(node, needs)

    def _fields(self, key: str, fields: dict[str, Any], needs: set[str]) -> Iterator[tuple[str, Any]]:
        for name, each in fields.items():
            if key == "properties" and self.read_only(each):
                continue
            yield name, self._translated(each, needs) if key == "dependentSchemas" else self.value(each, needs)

    def read_only(self, node: Any) -> bool:
        """True for a field that the API alone writes."""
        if not isinstance(node, dict):
            return False
        there = followed(self.root, node)
        return node.get("readOnly") is True or (isinstance(there, dict) and there.get("readOnly") is True)

    def _without_read_only(self, node: dict[str, Any], made: dict[str, Any]) -> None:
        required, fields = made.get("required"), node.get("properties")
        if isinstance(required, list) and isinstance(fields, dict):
            hidden = {name for name in fields if name not in made["properties"]}
            made["required"] = [name for name in required if name not in hidden]

    # --- closing ---

    def _named(self, node: Any) -> bool:
        """True where an object of this schema has fields with names, and no other form that takes any."""
        if not isinstance(node, dict):
            return False
        if id(node) not in self._known:
            self._known[id(node)] = False
            self._known[id(node)] = self._names_fields(node)
        return self._known[id(node)]

    def _names_fields(self, node: dict[str, Any]) -> bool:
        if "$ref" in node:
            inner = self._named(pointed_at(self.root, node["$ref"]))
            if self._old or inner:
                return inner
        forms = [*_listed_in(node, "anyOf"), *_listed_in(node, "oneOf")]
        if "discriminator" in node and not forms:  # a base: others, not named here, add fields to it
            return False
        if any(self._free(form) for form in forms):
            return False
        parts = [*_listed_in(node, "allOf"), *forms]
        return bool(node.get("properties")) or any(self._named(part) for part in parts)

    def _free(self, node: Any) -> bool:
        """True for a schema that takes an object of any fields, without a word about them."""
        node = followed(self.root, node)
        if not isinstance(node, dict):
            return node is not False
        kind = node.get("type")
        object_too = kind is None or kind == "object" or (isinstance(kind, list) and "object" in kind)
        speaks = ("properties", "allOf", "anyOf", "oneOf", "additionalProperties", "enum", "const", "not")
        return object_too and not any(key in node for key in speaks)


def _modernise(node: dict[str, Any], made: dict[str, Any]) -> None:
    """What 3.0 spells otherwise: exclusive limits as a flag, and nullable."""
    for limit, exclusive in (("minimum", "exclusiveMinimum"), ("maximum", "exclusiveMaximum")):
        if isinstance(made.get(exclusive), bool) and made.pop(exclusive) and limit in made:
            made[exclusive] = made.pop(limit)
    if node.get("nullable") is True and isinstance(made.get("type"), str):
        made["type"] = [made["type"], "null"]
        if isinstance(made.get("enum"), list) and None not in made["enum"]:
            made["enum"] = [*made["enum"], None]


def _listed_in(node: dict[str, Any], key: str) -> list[Any]:
    found = node.get(key)
    return found if isinstance(found, list) else []


def _checked(key: str, value: Any, kind: type) -> Any:
    if not isinstance(value, kind):
        raise ToolError(f"a schema in it has {key!r} that is no {kind.__name__}")
    return value
