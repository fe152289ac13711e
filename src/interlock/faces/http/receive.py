"""A request's body, query and headers, as they come in: limited in size, depth and time.

Not what they mean. Law: what is too large is refused before it is kept, what is too slow before it is waited for;
nothing that a client can send is an exception that nobody foresaw.
"""

from __future__ import annotations

import asyncio
import types
from collections.abc import Callable, Coroutine, Generator, Iterable, MutableMapping
from typing import Any, TypeVar
from urllib.parse import parse_qsl

import msgspec

from interlock.core.canonical import problem_of
from interlock.faces.http.problems import Problem

Scope = MutableMapping[str, Any]
Receive = Callable[[], Coroutine[Any, Any, MutableMapping[str, Any]]]
Send = Callable[[MutableMapping[str, Any]], Coroutine[Any, Any, None]]
T = TypeVar("T")

DEPTH = 64  #: of any JSON that comes in; what a tool takes is limited further by `limits:`
HEADERS = 100
HEADER_BYTES = 32_768
QUERY_BYTES = 8_192


class ClientGone(Exception):
    """Nobody is there to be answered."""


def headers_of(scope: Scope) -> dict[str, str]:
    """By their names in lower case; of one that came twice the first. Raises Problem 431 where there are too many."""
    found: dict[str, str] = {}
    size = 0
    for name, value in scope["headers"]:
        size += len(name) + len(value)
        found.setdefault(name.decode("latin-1"), value.decode("latin-1"))
    if size > HEADER_BYTES or len(scope["headers"]) > HEADERS:
        raise Problem(431, "too_large", f"more than {HEADERS} headers, or {HEADER_BYTES} bytes of them", headers=_CLOSE)
    if "authorization" in found and sum(name == b"authorization" for name, _ in scope["headers"]) > 1:
        raise Problem(400, "bad_request", "there is more than one Authorization header")
    return found


async def body_of(length: str, receive: Receive, *, most: int, seconds: float) -> bytes:
    """All of the body. `length`: as its header says, or "". Raises Problem 413 and 408, and ClientGone."""
    if length.isdecimal() and int(length[:20]) > most:
        raise _too_large(most)
    try:
        return await within(seconds, _gathered(receive, most))
    except TimeoutError:
        raise Problem(
            408, "too_slow", f"the body took longer than {seconds:g} s to arrive", headers=_CLOSE
        ) from None


async def within(seconds: float, coroutine: Coroutine[Any, Any, T]) -> T:
    """What it gives. Raises TimeoutError. What is there already, as most of what is asked for here, needs no timer."""
    try:
        waits_for = coroutine.send(None)
    except StopIteration as done:
        value: T = done.value
        return value
    async with asyncio.timeout(seconds):
        return await _resumed(coroutine, waits_for)


@types.coroutine
def _resumed(coroutine: Coroutine[Any, Any, T], waits_for: Any) -> Generator[Any, Any, T]:
    """The rest of a coroutine that was begun by hand."""
    while True:
        try:
            try:
                said = yield waits_for
            except BaseException as error:
                waits_for = coroutine.throw(error)
            else:
                waits_for = coroutine.send(said)
        except StopIteration as done:
            value: T = done.value
            return value


async def _gathered(receive: Receive, most: int) -> bytes:
    parts: list[bytes] = []
    size = 0
    while True:
        message = await receive()
        if message["type"] == "http.disconnect":
            raise ClientGone
        part = message.get("body", b"")
        size += len(part)
        if size > most:
            raise _too_large(most)
        parts.append(part)
        if not message.get("more_body", False):
            return parts[0] if len(parts) == 1 else b"".join(parts)


def _too_large(most: int) -> Problem:
    return Problem(413, "too_large", f"a body holds at most {most} bytes", headers=_CLOSE)


def decoded(body: bytes, decoder: msgspec.json.Decoder[T]) -> T:
    """A body as its Struct. Raises Problem 400 for what is no JSON, 422 for what does not fit."""
    try:
        if body.count(b"[") + body.count(b"{") > DEPTH:
            _refuse_depth(body)
        return decoder.decode(body)
    except msgspec.ValidationError as error:
        raise Problem(422, "bad_request", f"the body does not fit: {error!s:.300}", remedy=SEE) from None
    except RecursionError:
        raise _too_deep() from None
    except (msgspec.MsgspecError, ValueError) as error:
        raise Problem(400, "bad_request", f"the body is not JSON: {error!s:.200}") from None


def _refuse_depth(body: bytes) -> None:
    wrong = problem_of(msgspec.json.decode(body), max_depth=DEPTH, max_bytes=len(body) * 8)
    if wrong is not None and wrong.startswith("nested"):
        raise _too_deep()


def _too_deep() -> Problem:
    return Problem(422, "bad_request", f"the body is nested deeper than {DEPTH} levels")


def query_of(raw: bytes, kind: type[T]) -> T:
    """The query as its Struct. Raises Problem 422."""
    if not raw and not _has_required(kind):
        return kind()
    if len(raw) > QUERY_BYTES:
        raise Problem(422, "bad_request", f"the query is longer than {QUERY_BYTES} bytes")
    try:
        pairs = parse_qsl(raw.decode("ascii"), keep_blank_values=True, errors="strict", max_num_fields=50)
        if len({name for name, _ in pairs}) != len(pairs):
            raise Problem(422, "bad_request", "a name stands in the query more than once")
        return msgspec.convert(dict(pairs), kind, strict=False)
    except msgspec.ValidationError as error:
        raise Problem(422, "bad_request", f"the query does not fit: {error!s:.300}", remedy=SEE) from None
    except ValueError as error:
        raise Problem(422, "bad_request", f"the query cannot be read: {error!s:.200}") from None


def _has_required(kind: type[Any]) -> bool:
    return any(field.required for field in msgspec.structs.fields(kind))


def as_headers(pairs: Iterable[tuple[str, str]]) -> list[tuple[bytes, bytes]]:
    """For the wire: whatever no header may hold is left out."""
    return [
        (name.encode("latin-1"), "".join(c for c in value if " " <= c <= "~").encode("latin-1"))
        for name, value in pairs
    ]


_CLOSE = {"connection": "close"}
SEE = "see /openapi.json"
