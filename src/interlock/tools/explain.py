"""What is wrong with arguments that a schema refuses, in words that a model can act on.

Not the judgement, which the compiled schema has given. Law: takes time in proportion to the value, whatever the schema;
names the first few problems only; shows of a value what fits in a line. (The validator's own list of errors was not an
option: for a schema that refers to itself, ten levels of nesting took it 12 seconds.)
"""

from __future__ import annotations

import difflib
from collections.abc import Callable, Iterable, Mapping
from itertools import islice
from typing import TYPE_CHECKING, Any, NamedTuple

import msgspec

if TYPE_CHECKING:
    from jsonschema_rs import ValidationError, Validator, ValidatorMap

MAX_PROBLEMS = 5  #: that one message names
CLIP = 60  #: characters of a value, or of a name, that a message shows
_MOST_STEPS = 200  #: from schema to subschema, in one message

_FLAT = frozenset({
    "type", "enum", "const", "required", "dependentRequired", "pattern", "format", "multipleOf", "uniqueItems",
    "minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum", "minLength", "maxLength", "minItems", "maxItems",
    "minProperties", "maxProperties", "$schema",
})


class _Spot(NamedTuple):
    """A place in the schema, and the place in the arguments that it judges."""

    pointer: str
    node: Any
    value: Any
    path: tuple[str | int, ...] = ()

    @property
    def where(self) -> str:
        return quote(path_of(self.path)) if self.path else "the arguments"

    def child(self, *keys: str | int, value: Any, at: str | int | None = None) -> _Spot:
        """The subschema under these keys, for this value."""
        pointer, node = self.pointer, self.node
        for key in keys:
            pointer += "/" + str(key).replace("~", "~0").replace("/", "~1")
            node = node[key]
        return _Spot(pointer, node, value, self.path if at is None else (*self.path, at))


class Explainer:
    """The words of one schema. Compiles what it needs when first there is something to explain."""

    def __init__(
        self,
        schema: Mapping[str, Any],
        compile_flat: Callable[[Any], Validator],
        compile_map: Callable[[], ValidatorMap],
    ) -> None:
        self._schema = schema
        self._compile_flat = compile_flat
        self._compile_map = compile_map
        self._map: ValidatorMap | None = None
        self._flat: dict[str, Validator] = {}

    def problems(self, args: Any) -> list[str]:
        """What is wrong, of arguments that the schema refuses; one more than `MAX_PROBLEMS` where there are more."""
        if self._map is None:
            self._map = self._compile_map()
        said: list[str] = []
        self._walk(_Spot("#", self._schema, args), said, [_MOST_STEPS])
        return list(dict.fromkeys(said))[: MAX_PROBLEMS + 1]

    def _walk(self, spot: _Spot, said: list[str], steps: list[int]) -> None:
        """Say what is wrong at a spot that is known not to fit."""
        steps[0] -= 1
        if len(said) > MAX_PROBLEMS or steps[0] < 0:
            return
        spot = self._followed(spot)
        before = len(said)
        if isinstance(spot.node, dict):
            meant = self._unknown(spot, said) if type(spot.value) is dict else set()
            errors = self._flat_errors(spot)
            said += [_text(error, spot) for error in errors if error.kind.as_dict().get("property") not in meant]
            for below in self._below(spot):
                if len(said) > MAX_PROBLEMS:
                    return
                if not self._fits(below):
                    self._walk(below, said, steps)
            for keyword in ("anyOf", "oneOf"):
                self._choose(spot, keyword, said, steps)
        if len(said) == before:
            said.append(f"{spot.where} does not fit its schema, being {show(spot.value)}")

    def _below(self, spot: _Spot) -> Iterable[_Spot]:
        """The subschemas that judge the parts of a value, and those that judge the value too."""
        node, value = spot.node, spot.value
        if type(value) is dict:
            properties = node.get("properties") if isinstance(node.get("properties"), dict) else {}
            yield from (
                spot.child("properties", name, value=value[name], at=name) for name in properties if name in value
            )
            if isinstance(node.get("additionalProperties"), dict) and "patternProperties" not in node:
                others = (name for name in value if name not in properties)
                yield from (spot.child("additionalProperties", value=value[name], at=name) for name in others)
        elif type(value) is list:
            places = "items" if isinstance(node.get("items"), list) else "prefixItems"  # as older drafts have it
            first = node.get(places, [])
            for at, item in enumerate(value):
                if at < len(first):
                    yield spot.child(places, at, value=item, at=at)
                elif isinstance(node.get("items"), dict):
                    yield spot.child("items", value=item, at=at)
        if isinstance(node.get("allOf"), list):
            yield from (spot.child("allOf", at, value=value) for at in range(len(node["allOf"])))

    def _unknown(self, spot: _Spot, said: list[str]) -> set[str]:
        """Name what is not a field. Gives the names that were surely meant, which are then not called missing too."""
        node = spot.node
        known = list(node["properties"]) if isinstance(node.get("properties"), dict) else []
        closed = node.get("additionalProperties") is False or node.get("unevaluatedProperties") is False
        if not closed or "patternProperties" in node:
            return set()
        taken = set(known)
        # a nearest name takes time to find, and there may be thousands of unknown ones
        unknown = list(islice((name for name in spot.value if name not in taken), MAX_PROBLEMS + 1))
        meant = {name: near for name in unknown if (near := _nearest(name, known, spot.value))}
        what = f"a field of {spot.where}" if spot.path else "an argument"
        said += [f"{quote(name)} is not {what}{_did_you_mean(meant.get(name))}" for name in unknown]
        if unknown and not meant and known:
            said[-1] += f" (the {'fields' if spot.path else 'arguments'} are {_listed(map(quote, known))})"
        return set(meant.values())

    def _choose(self, spot: _Spot, keyword: str, said: list[str], steps: list[int]) -> None:
        """What a choice says: the kinds that it takes, or what is wrong with the nearest form."""
        if not isinstance(spot.node.get(keyword), list):
            return
        branches = [spot.child(keyword, at, value=spot.value) for at in range(len(spot.node[keyword]))]
        fitting = sum(map(self._fits, branches))
        if fitting:
            if keyword == "oneOf" and fitting > 1:
                said.append(f"{spot.where} fits more than one of the forms that it may have")
            return
        kinds: dict[str, None] = {}
        near: list[tuple[int, int]] = []
        for at, branch in enumerate(map(self._followed, branches)):
            errors = self._flat_errors(branch)
            wrong_kind = next((error for error in errors if error.kind.name == "type"), None)
            if wrong_kind is None:
                near.append((len(errors) + self._misfits(branch), at))
            else:
                kinds.update(dict.fromkeys(wrong_kind.kind.as_dict()["types"]))
        if near:
            self._walk(branches[min(near)[1]], said, steps)
        else:
            said.append(f"{spot.where} must be {_either(kinds)}, not {show(spot.value)}")

    def _misfits(self, spot: _Spot) -> int:
        """How far a value is from one form of a choice; a field that tells the forms apart weighs most."""
        if not isinstance(spot.node, dict) or type(spot.value) is not dict:
            return 0
        wrong = [below for below in islice(self._below(spot), 100) if not self._fits(below)]
        return sum(10 if isinstance(below.node, dict) and {"const", "enum"} & set(below.node) else 1 for below in wrong)

    def _followed(self, spot: _Spot) -> _Spot:
        """The spot behind references."""
        for _ in range(20):
            target = spot.node.get("$ref") if isinstance(spot.node, dict) else None
            if not isinstance(target, str) or not target.startswith("#"):
                break
            spot = _Spot(target, pointed_at(target, self._schema), spot.value, spot.path)
        return spot

    def _fits(self, spot: _Spot) -> bool:
        validator = self._map.get(spot.pointer) if self._map is not None else None
        return validator is None or validator.is_valid(spot.value)

    def _flat_errors(self, spot: _Spot) -> list[ValidationError]:
        """What a schema says of a value itself, not of its parts. What is missing comes first."""
        if not isinstance(spot.node, dict):
            return []
        if spot.pointer not in self._flat:
            flat = {key: value for key, value in spot.node.items() if key in _FLAT}
            self._flat[spot.pointer] = self._compile_flat(flat)
        errors = islice(self._flat[spot.pointer].iter_errors(spot.value), MAX_PROBLEMS * 4)
        return sorted(errors, key=lambda error: error.kind.name != "required")


def pointed_at(reference: str, root: Any) -> Any:
    """The part of a schema that a local reference names, or None."""
    found = root
    for part in reference[1:].split("/")[1:]:
        name = part.replace("~1", "/").replace("~0", "~")
        found = found.get(name) if isinstance(found, dict) else None
    return found


# --- words -----------------------------------------------------------------------------------------------------------


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


def _text(error: ValidationError, spot: _Spot) -> str:
    if error.kind.name == "required":
        return f"{quote(path_of((*spot.path, error.kind.as_dict()['property'])))} is missing"
    return f"{spot.where} {_must(error.kind.name, error.kind.as_dict(), spot.value)}"


def _must(name: str, details: Mapping[str, Any], value: Any) -> str:
    """What a keyword demands, and what came instead. (The validator's own message would show the value whole.)"""
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
    return f"is {show(value)}, which does not satisfy {name!r} of the schema"


def _either(types: Iterable[str]) -> str:
    words = [_WORDS.get(name, name) for name in types]
    return words[0] if len(words) == 1 else f"{', '.join(words[:-1])} or {words[-1]}"


def _listed(names: Iterable[str], most: int = 12) -> str:
    shown = list(islice(names, most + 1))
    return ", ".join(shown[:most]) + (", …" if len(shown) > most else "")


def did_you_mean(name: str, known: Iterable[str]) -> str:
    """The nearest of the known names as a remark, or ''."""
    return _did_you_mean(next(iter(difflib.get_close_matches(name[:200], list(known), 1)), None))


def _nearest(name: str, known: list[str], taken: Mapping[str, Any]) -> str | None:
    near = difflib.get_close_matches(name[:200], known)
    return next((each for each in near if each not in taken), next(iter(near), None))


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
