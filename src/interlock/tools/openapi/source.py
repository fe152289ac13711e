"""The text of an OpenAPI document → one JSON value.

Not what it means: see `document.py`. Law: no input costs much more than its length; no key stands twice, no alias and
no tag is followed, nothing is executed, and whatever comes out is plain JSON of bounded depth.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, NoReturn

import yaml

from interlock.core.canonical import problem_of
from interlock.errors import ToolError
from interlock.yaml_source import resolved

MAX_BYTES = 8_388_608
MAX_DEPTH = 64  #: of the document: what JSON Schemas in it may have, and a little more

_LOADER: Any = yaml.CSafeLoader if yaml.__with_libyaml__ else yaml.SafeLoader


def read(path: Path) -> dict[str, Any]:
    """The document in a file. Raises ToolError."""
    try:
        with path.open("rb") as file:
            raw = file.read(MAX_BYTES + 1)
    except (OSError, ValueError) as error:
        raise ToolError(f"{path}: cannot be read: {getattr(error, 'strerror', None) or error}") from None
    return parse(raw, str(path))


def parse(raw: bytes, name: str) -> dict[str, Any]:
    """JSON, or else YAML. Raises ToolError."""
    if len(raw) > MAX_BYTES:
        raise ToolError(f"{name}: is larger than {MAX_BYTES} bytes")
    try:
        text = raw.decode("utf-8-sig")
    except UnicodeDecodeError:
        raise ToolError(f"{name}: is not UTF-8 text") from None
    try:
        value = _json(text) if text.lstrip()[:1] == "{" else _yaml(text)
    except RecursionError:
        raise ToolError(f"{name}: is nested deeper than {MAX_DEPTH} levels") from None
    except ValueError as error:
        raise ToolError(f"{name}: {error}") from None
    wrong = problem_of(value, max_depth=MAX_DEPTH, max_bytes=4 * MAX_BYTES)
    if wrong is not None:
        raise ToolError(f"{name}: cannot be taken: {wrong}")
    if not isinstance(value, dict):
        raise ToolError(f"{name}: is not an OpenAPI document, but a {type(value).__name__}")
    return value


def _json(text: str) -> Any:
    def constant(word: str) -> NoReturn:
        raise ValueError(f"holds {word}, which is not JSON")

    try:
        return json.loads(text, object_pairs_hook=_object, parse_constant=constant)
    except json.JSONDecodeError as error:
        raise ValueError(f"is not valid JSON: {error.msg}, line {error.lineno}") from None


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        keys = [key for key, _ in pairs]
        twice = next(key for key in keys if keys.count(key) > 1) if len(keys) < 1_000 else "…"
        raise ValueError(f"the key {twice!r:.60} stands twice in one object")
    return found


def _yaml(text: str) -> Any:
    """Out of parser events, without recursion. Keys are text as it is written: `200:` is the key "200"."""
    root: list[Any] = []
    stack: list[tuple[Any, list[str]]] = [(root, [])]  # what is open, and the key that waits for its value
    documents = 0
    try:
        for event in yaml.parse(text, Loader=_LOADER):
            line = (event.start_mark.line if event.start_mark else 0) + 1
            if isinstance(event, yaml.DocumentStartEvent):
                documents += 1
                if documents > 1:
                    raise ValueError(f"line {line}: a second document begins")
            elif isinstance(event, yaml.AliasEvent):
                raise ValueError(f"line {line}: aliases (*{event.anchor}) are not supported; use $ref")
            elif isinstance(event, yaml.ScalarEvent):
                _put(stack, event, line)
            elif isinstance(event, (yaml.MappingStartEvent, yaml.SequenceStartEvent)):
                if len(stack) > MAX_DEPTH:
                    raise ValueError(f"line {line}: is nested deeper than {MAX_DEPTH} levels")
                value: Any = {} if isinstance(event, yaml.MappingStartEvent) else []
                _add(stack, value, event.tag, line)
                stack.append((value, []))
            elif isinstance(event, (yaml.MappingEndEvent, yaml.SequenceEndEvent)):
                stack.pop()
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        raise ValueError(f"{f'line {mark.line + 1}: ' if mark else ''}is not valid YAML: {error.problem}") from None
    except yaml.YAMLError:
        raise ValueError("is not valid YAML: it holds a character that YAML does not allow") from None
    return root[0] if root else None


def _put(stack: list[tuple[Any, list[str]]], event: Any, line: int) -> None:
    top, waiting = stack[-1]
    if isinstance(top, dict) and not waiting:
        if event.tag is not None:
            raise ValueError(f"line {line}: tags are not supported")
        if event.value in top:
            raise ValueError(f"line {line}: the key {event.value!r:.60} stands twice")
        waiting.append(event.value)
    else:
        _add(stack, resolved(event.value) if event.implicit[0] else event.value, event.tag, line)


def _add(stack: list[tuple[Any, list[str]]], value: Any, tag: str | None, line: int) -> None:
    top, waiting = stack[-1]
    if tag is not None:
        raise ValueError(f"line {line}: tags are not supported")
    if isinstance(top, list):
        top.append(value)
    elif waiting:
        top[waiting.pop()] = value
    else:
        raise ValueError(f"line {line}: a key must be text")
