"""What type hints and a docstring say of a function's arguments: their JSON Schema, their words, their reading.

Not the function, and not the call of it (`tools/python.py`). Law: a hint that JSON Schema cannot describe is refused
when the tool is registered; a value that the schema let pass becomes the hint's type or is refused, and never means
something else afterwards.
"""

from __future__ import annotations

import functools
import inspect
import types
from collections.abc import Callable, Mapping
from typing import Annotated, Any, Literal, NamedTuple, Union, get_args, get_origin

import msgspec

from interlock.core.canonical import problem_of
from interlock.errors import ToolError
from interlock.tools.explain import clip, path_of, quote
from interlock.tools.schema import close_objects

Convert = Callable[[Any], Any]


class Argument(NamedTuple):
    """One parameter that a model fills."""

    name: str
    hint: Any
    default: Any  #: `NONE` where there is none, `UNSAID` where it is made anew for each call
    late: Callable[[], Any] | None = None  #: gives the default that only a pydantic Field knows


NONE = inspect.Parameter.empty
UNSAID = object()


def words_of(fn: Any, target: Any) -> tuple[str, dict[str, str]]:
    """The description of the tool and of each argument, from the docstring."""
    import docstring_parser

    while isinstance(fn, functools.partial):
        fn = fn.func
    raw = inspect.cleandoc(target.__doc__ or (inspect.getdoc(fn) if fn is not target else "") or "")
    try:
        parsed = docstring_parser.parse(raw)
    except Exception:  # a docstring is prose; whatever is wrong with it, the tool works without
        return raw, {}
    words = "\n\n".join(part for part in (parsed.short_description, parsed.long_description) if part)
    return words, {each.arg_name.lstrip("*"): each.description for each in parsed.params if each.description}


def schema_of(
    arguments: list[Argument], about: Mapping[str, str], tool: str
) -> tuple[dict[str, Any], dict[str, Convert]]:
    """The JSON Schema of the arguments, and a converter for each that needs pydantic to become its hint's type."""
    from pydantic import TypeAdapter

    adapters = {each.name: _adapter(each, tool) for each in arguments}
    parts, shared = TypeAdapter.json_schemas([(name, "validation", adapter) for name, adapter in adapters.items()])
    properties: dict[str, Any] = {}
    for each in arguments:
        part = dict(parts[each.name, "validation"])
        if each.name in about:
            part.setdefault("description", about[each.name])
        elif each.hint is Any:
            part.setdefault("description", "Any JSON value.")
        part.pop("default", None)
        if each.default is not NONE and each.default is not UNSAID:
            part.update(_shown_default(each.default))
        properties[each.name] = part
    schema: dict[str, Any] = {"type": "object", "properties": properties, "additionalProperties": False}
    required = [each.name for each in arguments if each.default is NONE]
    if required:
        schema["required"] = required
    if "$defs" in shared:
        schema["$defs"] = shared["$defs"]
    close_objects(schema)
    return schema, {each.name: _reader(adapters[each.name]) for each in arguments if fast(each.hint) is _slow}


def _adapter(argument: Argument, tool: str) -> Any:
    from pydantic import TypeAdapter
    from pydantic.errors import PydanticUserError

    try:
        adapter: TypeAdapter[Any] = TypeAdapter(argument.hint)
        adapter.json_schema()
    except (PydanticUserError, TypeError, NameError) as error:
        why = str(error).split("\n", 1)[0]
        hint = f"{argument.hint!r:.80}"
        text = f"tool {tool!r}: parameter {argument.name!r}: no JSON Schema for its type hint {hint} ({why})"
        raise ToolError(text) from None
    return adapter


def _reader(adapter: Any) -> Convert:
    """JSON's own reading of a value: there a strict model too takes a text for a date, and a list for a tuple."""
    validate, encode = adapter.validate_json, msgspec.json.encode
    return lambda value: validate(encode(value))


def _shown_default(default: Any) -> dict[str, Any]:
    from pydantic_core import to_jsonable_python

    try:
        shown = to_jsonable_python(default, inf_nan_mode="constants")
    except Exception:  # a default is any object; one that JSON has not is left unsaid
        return {}
    return {} if problem_of(shown, max_bytes=1000) else {"default": shown}


# --- binding ---------------------------------------------------------------------------------------------------------


def _slow(_: Any) -> Any:
    """Stands for: only pydantic can make this hint's type."""
    raise TypeError("a marker, not a converter")


def _as_int(value: Any) -> Any:
    return int(value) if type(value) is float else value


def _as_float(value: Any) -> Any:
    return float(value) if type(value) is int and -(2**53) <= value <= 2**53 else value


_FAST: dict[Any, Convert | None] = {
    Any: None, str: None, bool: None, type(None): None, dict: None, list: None, int: _as_int, float: _as_float,
}


def fast(hint: Any) -> Convert | None:
    """How a validated value becomes the hint's type: None where it is already, `_slow` where only pydantic can tell."""
    origin, members = get_origin(hint), get_args(hint)
    if origin is Annotated:
        return fast(members[0]) if all(_says_only(extra) for extra in members[1:]) else _slow
    if origin is Literal:
        return None if all(type(member) is str for member in members) else _slow
    if origin in (Union, types.UnionType):
        others = [member for member in members if member is not type(None)]
        return fast(others[0]) if len(others) == 1 else _slow
    if origin is list:
        return None if fast(members[0]) is None else _slow
    if origin is dict:
        return None if members[0] is str and fast(members[1]) is None else _slow
    try:
        return _FAST.get(hint, _slow)
    except TypeError:  # unhashable
        return _slow


def _says_only(extra: Any) -> bool:
    """True for a remark that changes no value: a text, or a Field without constraints."""
    from pydantic.fields import FieldInfo

    if isinstance(extra, FieldInfo):
        return not extra.metadata and extra.discriminator is None
    return isinstance(extra, str)


def misfits(name: str, error: Exception) -> list[str]:
    from pydantic import ValidationError

    if not isinstance(error, ValidationError):
        return [f"{quote(name)} cannot be read ({type(error).__name__}: {clip(str(error), 200)})"]
    found = error.errors(include_url=False, include_context=False, include_input=False)
    return [f"{quote(path_of([name, *each['loc']]))} is wrong: {clip(each['msg'], 200)}" for each in found[:5]]
