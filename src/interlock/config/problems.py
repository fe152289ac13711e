"""What is wrong with a config, in words for its author.

Not the finding of it: that is pydantic's work by the models of `file.py`, and the cross-checks here. Law: every
problem is told at once, each with its place and, where there is one, the nearest valid name; no value is repeated that
could be a secret.
"""

from __future__ import annotations

import difflib
import types
from collections.abc import Iterable, Iterator
from typing import Annotated, Any, Union, get_args, get_origin

from pydantic import BaseModel, ValidationError

from interlock.yaml_source import Place, Problem, spelled

_WORDS = {
    "missing": "is missing",
    "int_type": "must be a whole number",
    "string_type": "must be text",
    "bool_type": "must be true or false",
    "dict_type": "must be a mapping",
    "model_type": "must be a mapping",
    "tuple_type": "must be a list",
    "list_type": "must be a list",
}
_RESERVED = ("policy.", "tenants.", "risk.", "approvals.")


def problems_in(error: ValidationError, model: type[BaseModel]) -> list[Problem]:
    """pydantic's findings, translated."""
    return [_translated(found, model) for found in error.errors(include_url=False, include_input=False)]


def _translated(found: Any, model: type[BaseModel]) -> Problem:
    place: Place = tuple(part for part in found["loc"] if part != "[key]")
    kind, context = found["type"], found.get("ctx", {})
    if kind == "extra_forbidden":
        return Problem(place, f"unknown key{hint(str(place[-1]), keys_at(model, place[:-1]))}")
    if kind == "value_error":
        return Problem(place, str(context["error"]))
    if kind == "literal_error":
        return Problem(place, f"must be {context['expected']}")
    if place == ("lease",) and kind != "value_error":
        return Problem(place, "must be between 1s and 1h")
    if kind == "less_than_equal":
        return Problem(place, f"must be at most {context['le']}")
    if kind == "less_than":
        return Problem(place, f"must be less than {context['lt']}")
    if kind == "string_too_long":
        return Problem(place, f"must have at most {context['max_length']} characters")
    return Problem(place, _WORDS.get(kind, str(found["msg"])))


def hint(name: str, known: Iterable[str]) -> str:
    """`; did you mean 'max_steps'?`, or nothing."""
    near = difflib.get_close_matches(name, list(known), n=1, cutoff=0.6)
    return f"; did you mean {near[0]!r}?" if near else ""


def keys_at(model: type[BaseModel], place: Place) -> list[str]:
    """The keys that a place may have."""
    kind: Any = model
    for part in place:
        kind = _below(kind, part)
    return list(kind.model_fields) if isinstance(kind, type) and issubclass(kind, BaseModel) else []


def _below(kind: Any, part: str | int) -> Any:
    """What stands under one key or number of a type."""
    if isinstance(kind, type) and issubclass(kind, BaseModel):
        field = kind.model_fields.get(str(part))
        kind = None if field is None else field.annotation
    else:
        arguments = [each for each in get_args(kind) if each is not Ellipsis]
        kind = arguments[-1] if arguments else None
    while get_origin(kind) in (Annotated, Union, types.UnionType):
        kind = get_args(kind)[0]
    return kind


def empties(value: Any, place: Place = ()) -> Iterator[Problem]:
    """Keys without a value. None of ours may be empty: a line that was not finished must not pass for a default."""
    if value is None and place:
        yield Problem(place, "is empty; give it a value, or leave the key out")
    children: Iterable[tuple[Any, Any]] = ()
    if isinstance(value, dict):
        children = value.items()
    elif isinstance(value, list):
        children = enumerate(value)
    for key, child in children:
        yield from empties(child, (*place, key))


def crossed(value: Any) -> Iterator[Problem]:
    """What is wrong between one part of the file and another. Looks at the raw value, and forgives whatever is odd."""
    yield from _rule_ids(value)
    credentials = _mapping(value, "credentials")
    for section in (("tools",), ("upstreams",), ("serve", "models")):
        for name, entry in _mapping(value, *section).items():
            wanted = _mapping(entry).get("credential")
            if isinstance(wanted, str) and wanted not in credentials:
                near = hint(wanted, credentials) or "; name it under credentials:"
                yield Problem((*section, name, "credential"), f"there is no credential {wanted!r}{near}")
    for tenant, entry in _mapping(value, "tenants").items():
        for index, rule in enumerate(_list(entry, "policy", "rules")):
            if "tenants" in _mapping(rule):
                place = ("tenants", tenant, "policy", "rules", index, "tenants")
                yield Problem(place, "is given by where the rule stands; leave it out")


def _rule_ids(value: Any) -> Iterator[Problem]:
    seen: dict[str, Place] = {}
    for place, rule in rules_in(value):
        name = _mapping(rule).get("id")
        if not isinstance(name, str):
            continue
        where = (*place, "id")
        if name.startswith(_RESERVED):
            yield Problem(where, f"{name!r} begins like the rules that Interlock makes itself; choose another id")
        elif name in seen:
            yield Problem(where, f"duplicate rule id {name!r}, it stands at {spelled(seen[name])} already")
        else:
            seen[name] = place


def rules_in(value: Any) -> Iterator[tuple[Place, Any]]:
    """The user's own rules as they were written, with their places."""
    for index, rule in enumerate(_list(value, "policy", "rules")):
        yield ("policy", "rules", index), rule
    for tenant, entry in _mapping(value, "tenants").items():
        for index, rule in enumerate(_list(entry, "policy", "rules")):
            yield ("tenants", tenant, "policy", "rules", index), rule


def _mapping(value: Any, *keys: str) -> dict[str, Any]:
    for key in keys:
        value = value.get(key) if isinstance(value, dict) else None
    return value if isinstance(value, dict) else {}


def _list(value: Any, *keys: str) -> list[Any]:
    found = _mapping(value, *keys[:-1]).get(keys[-1])
    return found if isinstance(found, list) else []
