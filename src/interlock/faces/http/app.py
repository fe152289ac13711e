"""The one ASGI application: finds the route, asks who it is, takes what comes in, answers.

Not a handler and not a rule: `routes.py` says who may what. Law: every answer that is not one is a problem with a
stable code; what nobody foresaw is a 500 without a word of its cause, which the log has; it opens nothing, and what
serves beside it (MCP, the model proxy, the console) is mounted, not known.

Raw ASGI, because the hot route (one call) is a good part of what a gateway does all day.
"""

from __future__ import annotations

import asyncio
import logging
import secrets
from collections.abc import Iterable, MutableMapping, Sequence
from contextlib import AsyncExitStack
from itertools import count
from typing import Any, NoReturn

import msgspec
from starlette.routing import BaseRoute
from starlette.routing import Route as Fixed
from starlette.routing import Router as Mounted

from interlock.core.names import problem_of_name
from interlock.core.principal import Principal
from interlock.errors import InterlockError
from interlock.faces.http.gone import Gone
from interlock.faces.http.problems import MEDIA_TYPE, Problem, problem_of_error
from interlock.faces.http.receive import (
    ClientGone,
    Receive,
    Scope,
    Send,
    as_headers,
    body_of,
    decoded,
    headers_of,
    query_of,
)
from interlock.faces.http.routes import ROUTES
from interlock.faces.http.routing import Nothing, Others, Request, Route, Router, Stream
from interlock.faces.http.service import Service

_log = logging.getLogger("interlock.http")
_encode = msgspec.json.Encoder().encode

#: On every answer; a page of the console says more of its own.
SAFE = (
    (b"x-content-type-options", b"nosniff"),
    (b"referrer-policy", b"no-referrer"),
    (b"x-frame-options", b"DENY"),
)
_CLOSED = (b"content-security-policy", b"default-src 'none'; frame-ancestors 'none'")
_NOT_KEPT = (b"cache-control", b"no-store")
UNREAD = 60.0  #: seconds that a client may leave a piece of a stream unread
_NO_QUERY = Nothing()
_PROCESS = secrets.token_hex(6)
_numbers = count(1)
OURS = ("/v1/", "/v1")  #: what needs a credential before it is even said whether it exists


class App:
    """One for each process. `mounted`: routes of the faces beside it, tried after its own."""

    def __init__(self, service: Service, *, mounted: Sequence[BaseRoute] = (), lifespans: Iterable[Any] = ()) -> None:
        self.service = service
        self.gone = Gone()
        self._router = Router(ROUTES)
        self._mounted = Mounted(mounted, redirect_slashes=False, default=_nowhere)
        #: the applications that stand at one path whatever the method: found without a search
        self._at = {each.path: each.app for each in mounted if isinstance(each, Fixed) and not _varies(each)}
        self._lifespans = tuple(lifespans)
        serve = service.gateway.config.serve
        self._most, self._seconds = serve.body_bytes, serve.body_seconds / 1_000_000
        self._decoders = {route.body: msgspec.json.Decoder(route.body) for route in ROUTES if route.body is not None}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """See ASGI."""
        if scope["type"] == "lifespan":
            await self._lifespan(receive, send)
            return
        if scope["type"] != "http":
            return
        said = _Said(send)
        try:
            try:
                await self._answer(scope, receive, said)
            except ClientGone:
                return
            except Exception as error:
                await self._explain(error, said)
        except asyncio.CancelledError:
            raise
        except Exception as error:  # what a problem could not be sent for
            self._log("request %s: the answer could not be sent: %s", said, error)

    # --- one request -------------------------------------------------------------------------------------------------

    async def _answer(self, scope: Scope, receive: Receive, said: _Said) -> None:
        headers = headers_of(scope)
        said.request_id = self._request_id(headers.get("x-request-id", ""))
        if "traceparent" in headers:
            with self.service.gateway.telemetry.inside(headers):
                await self._routed(headers, scope, receive, said)
        else:
            await self._routed(headers, scope, receive, said)

    async def _routed(self, headers: dict[str, str], scope: Scope, receive: Receive, said: _Said) -> None:
        raw_path: str = (scope.get("raw_path") or scope["path"].encode()).decode("latin-1")
        method = scope["method"]
        found = self._router.find("GET" if method == "HEAD" else method, raw_path)
        if found is None and not raw_path.startswith(OURS):
            await self._elsewhere(scope, receive, said)
            return
        needs_nobody = isinstance(found, tuple) and not found[0].may
        who = _NOBODY if needs_nobody else await self.service.principal(headers)
        if found is None:
            await _nowhere()
        elif isinstance(found, Others):
            allowed = ", ".join(found.methods)
            raise Problem(
                405, "method_not_allowed", f"{method[:20]} is not for this path",
                remedy=f"use {' or '.join(found.methods)}", headers={"allow": allowed},
            )
        else:
            await self._ours(*found, headers, scope, receive, said, who)

    async def _ours(
        self, route: Route, path: dict[str, str], headers: dict[str, str], scope: Scope, receive: Receive,
        said: _Said, who: Principal,
    ) -> None:
        said.run_id = self._sayable(path.get("run_id", ""))
        if route.may:
            await self.service.require(who, *route.may, what=route.name)
        query = _NO_QUERY if route.query is Nothing and not scope["query_string"] else query_of(
            scope["query_string"], route.query
        )
        body: Any = None
        if route.body is not None:
            raw = await body_of(headers.get("content-length", ""), receive, most=self._most, seconds=self._seconds)
            body = route.body() if route.optional and not raw else decoded(raw, self._decoders[route.body])
        key = headers.get("idempotency-key", "")
        if key and (problem := self.service.gateway.redactor.problem_of_id(key, "Idempotency-Key")):
            raise Problem(422, "bad_request", problem)
        if who is not _NOBODY:
            await self._whose(who, query)
            await self._whose(who, body)
        gone = self.gone.of(receive)
        answer = await route.handler(
            Request(service=self.service, principal=who, path=path, query=query, body=body, key=key, gone=gone)
        )
        if isinstance(answer, Stream) and scope["method"] == "HEAD":
            await said.all(200, b"", answer.media.encode())
        elif isinstance(answer, Stream):
            await said.stream(answer)
        else:
            status = 503 if getattr(answer, "ready", True) is False else 200
            await said.all(status, _encode(answer), b"application/json")

    async def _whose(self, who: Principal, said: Any) -> None:
        """Tenant, agent and env are the credential's. Whoever says otherwise is turned away."""
        for what in ("tenant", "agent", "env"):
            word, own = getattr(said, what, ""), getattr(who, what)
            if word and own and word != own:
                await self.service.refuse(who, f"asked for {what} {word!r:.80}")
                raise Problem(403, "forbidden", f"this credential is of another {what}", remedy=f"leave {what} out")
            if word and what == "tenant" and word != "*" and (problem := problem_of_name(word, what)):
                raise Problem(422, "bad_request", problem)

    async def _elsewhere(self, scope: Scope, receive: Receive, said: _Said) -> None:
        """The faces beside this one, with the same care."""
        scope["path"] = scope["path"] or "/"
        scope["interlock.gone"] = self.gone
        await self._at.get(scope["path"], self._mounted)(scope, receive, said.passed_on)

    async def _explain(self, error: Exception, said: _Said) -> None:
        problem = problem_of_error(error, said.run_id)
        if problem.status >= 500 and not isinstance(error, InterlockError):
            self._log("request %s could not be answered: %s", said, error)
        if said.begun:
            raise error  # the connection is cut, so that nobody takes the half for the whole
        if not problem.run_id:
            problem.run_id = said.run_id
        problem.detail = self.service.gateway.redactor.redact_text(problem.detail)
        body = _encode(problem.body())
        await said.all(problem.status, body, MEDIA_TYPE.encode(), as_headers(problem.headers.items()))

    def _log(self, text: str, said: _Said, error: Exception) -> None:
        """For operators: where it happened, and its words without what was lent."""
        words = self.service.gateway.redactor.redact_text(f"{type(error).__name__}: {error}")
        _log.error(text, said.request_id, words, exc_info=_trace(error))

    def _sayable(self, name: str) -> str:
        """A name of the client's that can be said again; else nothing."""
        return name if name and self.service.gateway.redactor.problem_of_id(name, "it") is None else ""

    def _request_id(self, asked: str) -> str:
        """The client's, where it can be shown; else one of ours."""
        if asked and len(asked) <= 128 and asked.isascii() and " " not in asked and self._sayable(asked):
            return asked
        return f"{_PROCESS}-{next(_numbers):x}"

    # --- begin and end -----------------------------------------------------------------------------------------------

    async def _lifespan(self, receive: Receive, send: Send) -> None:
        async with AsyncExitStack() as stack:
            await receive()
            try:
                for each in self._lifespans:
                    await stack.enter_async_context(each)
            except Exception as error:
                _log.exception("the service could not begin")
                await send({"type": "lifespan.startup.failed", "message": type(error).__name__})
                return
            await send({"type": "lifespan.startup.complete"})
            await receive()
            self.gone.all()
            while self.service.closing:
                try:
                    await self.service.closing.pop()()
                except Exception:
                    _log.exception("something could not be closed")
        await send({"type": "lifespan.shutdown.complete"})


class _Said:
    """The answer on its way out."""

    __slots__ = ("_send", "begun", "request_id", "run_id")

    def __init__(self, send: Send) -> None:
        self._send = send
        self.begun = False
        self.request_id = ""
        self.run_id = ""

    async def all(
        self, status: int, body: bytes, media: bytes, headers: Sequence[tuple[bytes, bytes]] = ()
    ) -> None:
        """One whole answer."""
        self.begun = True
        await self._send(
            {
                "type": "http.response.start", "status": status,
                "headers": [
                    (b"content-type", media), (b"content-length", b"%d" % len(body)), _NOT_KEPT, _CLOSED, *SAFE,
                    (b"x-request-id", self.request_id.encode()), *headers,
                ],
            }
        )
        await self._send({"type": "http.response.body", "body": body})

    async def stream(self, answer: Stream) -> None:
        """Piece by piece; one that breaks off is cut, not ended."""
        headers = [
            (b"content-type", answer.media.encode()), _NOT_KEPT, _CLOSED, *SAFE,
            (b"x-request-id", self.request_id.encode()),
        ]
        if answer.file:
            headers += as_headers([("content-disposition", f'attachment; filename="{answer.file}"')])
        pieces = aiter(answer.pieces)
        try:
            first = await anext(pieces, b"")  # what is wrong from the start can still be a problem
            self.begun = True
            await self._send({"type": "http.response.start", "status": 200, "headers": headers})
            await self._piece(first)
            async for piece in pieces:
                await self._piece(piece)
        finally:
            close = getattr(pieces, "aclose", None)
            if close is not None:
                await close()
        await self._send({"type": "http.response.body", "body": b""})

    async def _piece(self, piece: bytes) -> None:
        """One piece; whoever does not take it in time is given up."""
        try:
            async with asyncio.timeout(UNREAD):
                await self._send({"type": "http.response.body", "body": piece, "more_body": True})
        except TimeoutError:
            raise ClientGone from None

    async def passed_on(self, message: MutableMapping[str, Any]) -> None:
        """Of a face beside this one: with the headers that it has not set itself."""
        if message["type"] == "http.response.start":
            self.begun = True
            headers = list(message.get("headers", ()))
            known = {name.lower() for name, _ in headers}
            more = (*SAFE, (b"x-request-id", self.request_id.encode()))
            message["headers"] = [*headers, *(pair for pair in more if pair[0] not in known)]
        await self._send(message)


def _varies(route: Fixed) -> bool:
    return bool(route.methods or route.param_convertors)


async def _nowhere(*_: object) -> NoReturn:
    raise Problem(404, "not_found", "there is no such path", remedy="see /openapi.json")


def _trace(error: Exception) -> Any:
    """Where it happened, without what it was about: an error's words may hold what was lent."""
    return (Exception, Exception("its words stand in the line above"), error.__traceback__)


_NOBODY = Principal(name="", roles=())
