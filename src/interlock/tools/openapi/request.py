"""The arguments of a call → one HTTP request: its path and query, its headers, its body.

Not the sending (`wire.py`). Law: whatever the arguments say, the origin and the path's segments are the operation's,
one segment for one parameter; a value that a server could read as more than that is refused, never repaired.
"""

from __future__ import annotations

import base64
from collections.abc import Iterator, Mapping
from typing import Any
from urllib.parse import quote

import msgspec

from interlock.core.canonical import digest
from interlock.errors import NotDone
from interlock.ports import CallInfo
from interlock.tools.openapi.arguments import Parameter
from interlock.tools.openapi.document import Lending, Operation

MAX_TARGET = 8_000  #: characters of path and query: what most servers take


class Request(msgspec.Struct, frozen=True):
    """What is sent. In no repr: it may hold a credential."""

    method: str
    url: str
    headers: dict[str, str] = {}
    body: bytes | None = None
    lent: str = ""  #: what the credential adds to the query

    def __repr__(self) -> str:
        return f"Request({self.method})"


def problem_of_places(operation: Operation, args: Mapping[str, Any]) -> str | None:
    """Why these arguments, which fit their schema, cannot stand where they go; None where they can."""
    try:
        target = "".join(_target("", operation, args))
        for _ in _headers(operation, args):
            pass
    except ValueError as error:
        return str(error)
    return f"its path and query come to more than {MAX_TARGET} characters" if len(target) > MAX_TARGET else None


def request_of(
    server: str, operation: Operation, args: Mapping[str, Any], info: CallInfo, secret: str | None
) -> Request:
    """The request of one call. Raises NotDone where it cannot be made: nothing was sent."""
    try:
        url = "".join(_target(server, operation, args))
        headers = dict(_headers(operation, args))
    except ValueError as error:
        raise NotDone(f"{error}; nothing was sent") from None
    headers["Accept"] = "application/json, */*;q=0.5"
    headers["Accept-Encoding"] = "identity"  # a few bytes could unfold without end
    headers["Idempotency-Key"] = key_of(info)
    body = _body(operation, args)
    if body is not None and operation.takes.body is not None:
        headers["Content-Type"] = operation.takes.body.media
    lent = ""
    if operation.lending is not None:
        if not secret:
            raise NotDone("no credential was lent for it; nothing was sent")
        lent = _lent(operation.lending, secret, headers)
    return Request(operation.method, url, headers, body, lent)


def key_of(info: CallInfo) -> str:
    """The same for every attempt of a call, and another for every other call.

    A call's own key belongs to its tenant and run, and is text of any kind; the API knows neither. Sent as it is, two
    tenants' calls of one key would be one to it.
    """
    return digest("idempotency key", info.tenant, info.run_id, info.key)


def _target(server: str, operation: Operation, args: Mapping[str, Any]) -> tuple[str, str]:
    """Path and query, encoded; the query with its mark. Raises ValueError."""
    by_name = {each.name: each for each in operation.takes.parameters if each.where == "path"}
    path = server
    for segment in operation.segments:
        plain = "".join(_in_path(by_name[text], args) if is_argument else text for is_argument, text in segment)
        if plain in (".", "..") or (not plain and any(is_argument for is_argument, _ in segment)):
            raise ValueError("an argument would leave a part of the path empty, or make it '.' or '..'")
        encoded = (
            quote(_in_path(by_name[text], args), safe="") if is_argument else text for is_argument, text in segment
        )
        path += "/" + "".join(encoded)
    pairs = [
        f"{quote(key, safe='')}={quote(value, safe='')}"
        for each in operation.takes.parameters
        if each.where == "query"
        for key, value in _in_query(each, args)
    ]
    return path, "?" + "&".join(pairs) if pairs else ""


def _in_path(parameter: Parameter, args: Mapping[str, Any]) -> str:
    text = _text(parameter, args[parameter.argument])
    if any(char in "/\\" or char < " " or "\x7f" <= char <= "\x9f" for char in text):
        raise ValueError(f"{parameter.argument!r} stands in the path, and may not hold '/', '\\' or control characters")
    return text


def _in_query(parameter: Parameter, args: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    value = args.get(parameter.argument)
    if value is None:
        return
    if parameter.spelled == "deep" and isinstance(value, dict):
        for key, child in value.items():
            yield f"{parameter.name}[{key}]", _scalar(parameter, child)
    elif parameter.spelled == "exploded" and isinstance(value, list):
        for child in value:
            yield parameter.name, _scalar(parameter, child)
    else:
        yield parameter.name, _text(parameter, value)


def _headers(operation: Operation, args: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    for each in operation.takes.parameters:
        if each.where == "header" and args.get(each.argument) is not None:
            text = _text(each, args[each.argument])
            if not text.isascii() or not text.isprintable():
                raise ValueError(f"{each.argument!r} stands in a header, and may hold plain ASCII only")
            yield each.name, text.strip()


def _text(parameter: Parameter, value: Any) -> str:
    if parameter.spelled == "json":
        return msgspec.json.encode(value).decode()
    if isinstance(value, list):
        return parameter.spelled[:1].join(_scalar(parameter, child) for child in value)
    return _scalar(parameter, value)


def _scalar(parameter: Parameter, value: Any) -> str:
    if isinstance(value, str):
        return value
    if isinstance(value, float) and value.is_integer() and abs(value) < 2**53:
        value = int(value)
    if value is None or isinstance(value, (list, dict)):
        raise ValueError(f"{parameter.argument!r} holds what cannot stand in a URL or a header")
    return msgspec.json.encode(value).decode()


def _body(operation: Operation, args: Mapping[str, Any]) -> bytes | None:
    body = operation.takes.body
    if body is None:
        return None
    if body.argument:
        return msgspec.json.encode(args[body.argument]) if body.argument in args else None
    value = {name: args[name] for name in body.fields if name in args}
    return msgspec.json.encode(value) if value or body.required else None


def _lent(lending: Lending, secret: str, headers: dict[str, str]) -> str:
    """Put the credential in its place. Gives what it adds to the query."""
    if not secret.isascii() or not secret.isprintable():
        raise NotDone("its credential holds what cannot stand in a request; nothing was sent")
    if lending.how == "query":
        return f"{quote(lending.name, safe='')}={quote(secret, safe='')}"
    if lending.how == "bearer":
        headers["Authorization"] = f"Bearer {secret}"
    elif lending.how == "basic":
        if ":" not in secret:
            raise NotDone("its credential must be user:password; nothing was sent")
        headers["Authorization"] = f"Basic {base64.b64encode(secret.encode()).decode()}"
    else:
        headers[lending.name] = secret
    return ""
