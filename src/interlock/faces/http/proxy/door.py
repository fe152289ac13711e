"""The endpoints of the model proxy: who asks, for which run, and what is said where that is not answered.

Not the request itself (`exchange.py`). Law: nothing is read of a body before it is known whose it is; tenant, agent and
env are the credential's; a client that goes away takes its request to the provider with it.
"""

from __future__ import annotations

import asyncio
import re
from abc import ABC, abstractmethod
from collections.abc import Coroutine, Mapping
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

import msgspec

from interlock.config.serve import ModelProvider
from interlock.core.call import MICROS
from interlock.core.principal import Principal, Role
from interlock.core.run import Run
from interlock.faces.http.baggage import run_in_baggage
from interlock.faces.http.problems import Problem
from interlock.faces.http.proxy.asked import Asked, parsed, refuse
from interlock.faces.http.proxy.dialect import Call, Dialect
from interlock.faces.http.proxy.errors import RETRY, RUN_ID, problem_of
from interlock.faces.http.proxy.exchange import Exchange
from interlock.faces.http.proxy.plain import Plain
from interlock.faces.http.proxy.upstream import Upstream
from interlock.faces.http.receive import ClientGone, Receive, Scope, Send, as_headers, body_of, headers_of

if TYPE_CHECKING:
    from interlock.faces.http.service import Service

MARK = "~"  #: between a key and the run that it is used for; no key and no token has one
_NAME = re.compile(r"[\w.:@/-]{1,200}", re.ASCII)
SMALL = 65_536  #: bytes that are parsed in the event loop


class Door(ABC):
    """What the endpoints of one protocol share."""

    def __init__(self, service: Service, upstream: Upstream, dialect: Dialect) -> None:
        self._service = service
        self._upstream = upstream
        self._dialect = dialect
        self._models = service.gateway.config.serve.models

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """As an ASGI application."""
        if scope["type"] != "http":
            return
        run_id = ""
        try:
            headers = headers_of(scope)
            who, run_id = await self._who(headers)
            await self._answer(Call(
                method=scope["method"], params=scope.get("path_params", {}), headers=headers,
                provider=self._provider(), who=who, run_id=run_id, receive=receive, send=send,
            ))
        except ClientGone:
            return
        except Exception as error:
            problem = problem_of(error, run_id)
            if problem.code == "internal":
                self._service.gateway.telemetry.trouble("a model request could not be answered", error)
            await self._refuse(problem, send)

    @abstractmethod
    async def _answer(self, call: Call) -> None:
        """Raises Problem, and whatever `errors.problem_of` knows, where nothing was sent; ClientGone."""

    # --- who, and for what -------------------------------------------------------------------------------------------

    def _provider(self) -> ModelProvider:
        name = self._dialect.provider
        provider: ModelProvider | None = getattr(self._models, name)
        if provider is None:
            raise Problem(404, "not_found", f"this gateway knows no {name} provider", remedy=f"serve.models.{name}")
        return provider

    async def _who(self, headers: Mapping[str, str]) -> tuple[Principal, str]:
        """Whoever has shown a key of ours, and the run that they name. Raises Problem 401, 403."""
        shown = headers.get("authorization", "")
        if self._dialect.provider == "anthropic" and "x-api-key" in headers:
            shown = f"Bearer {headers['x-api-key']}"
        token, _, named = shown.partition(MARK)
        who = await self._service.principal({"authorization": token})
        await self._service.require(who, Role.AGENT, what="asking a model")
        named = named.strip() or headers.get(RUN_ID, "").strip() or run_in_baggage(headers.get("baggage", ""))
        return who, named

    async def _run(self, who: Principal, run_id: str) -> Run:
        """Raises Problem 403 for a run that is not this agent's: 404 means to clients that there is no such model."""
        if not run_id:
            return await self._service.default_run(who)
        try:
            return await self._service.run_of(who, run_id)
        except Problem as problem:
            if problem.status != 404:
                raise
            raise Problem(403, "forbidden", problem.detail, remedy="open the run first, as this agent") from None

    async def _refuse(self, problem: Problem, send: Send) -> None:
        headers = {"content-type": "application/json", **problem.headers}
        if problem.run_id:
            headers.setdefault(RUN_ID, problem.run_id)
        if 400 <= problem.status < 500 and problem.status != 408:
            headers.setdefault(RETRY, "false")
        body = self._upstream.cleaned(msgspec.json.encode(self._dialect.error(problem)))
        headers["content-length"] = str(len(body))
        await send({
            "type": "http.response.start", "status": problem.status, "headers": as_headers(headers.items())
        })
        await send({"type": "http.response.body", "body": body})


class Ask(Door):
    """POST: a model turn."""

    async def _answer(self, call: Call) -> None:
        asked = await self._asked(call)
        run = await self._run(call.who, call.run_id)
        exchange = Exchange(self._service, self._upstream, self._dialect, call, run)
        try:
            await while_connected(exchange.go(asked), call.receive)
        except Exception as error:
            if exchange.answering:  # the status has been said: all that is left is to say no more
                self._service.gateway.telemetry.trouble("an answer of a model could not be passed on", error)
                raise ClientGone from None
            raise

    async def _asked(self, call: Call) -> Asked:
        if call.headers.get("content-encoding", "identity") != "identity":
            refuse("a compressed body is not taken")
        seconds = self._service.gateway.config.serve.body_seconds / MICROS
        length = call.headers.get("content-length", "")
        raw = await body_of(length, call.receive, most=self._models.body_bytes, seconds=seconds)
        return self._checked(raw) if len(raw) < SMALL else await self._service.blocking(self._checked, raw)

    def _checked(self, raw: bytes) -> Asked:
        return self._dialect.asked(parsed(raw), self._models)


class Fetch(Ask):
    """What costs nothing, and so is no turn: the list of models; a count of tokens."""

    def __init__(self, service: Service, upstream: Upstream, dialect: Dialect, path: str) -> None:
        super().__init__(service, upstream, dialect)
        self._path = path

    async def _answer(self, call: Call) -> None:
        body = msgspec.json.encode((await self._asked(call)).body) if call.method == "POST" else None
        if call.run_id:
            await self._run(call.who, call.run_id)
        path = self._path
        for name in call.params.values():
            if not _NAME.fullmatch(name) or ".." in name:
                raise Problem(404, "not_found", "there is no such model")
            path += f"/{quote(name, safe='')}"
        plain = Plain(self._service, self._upstream, self._dialect, call)
        await while_connected(plain.go(path, body), call.receive)


async def while_connected(work: Coroutine[Any, Any, None], receive: Receive) -> None:
    """Do it, as long as there is somebody to do it for. Raises ClientGone, and whatever the work raises."""
    doing, gone = asyncio.ensure_future(work), asyncio.ensure_future(_gone(receive))
    try:
        await asyncio.wait((doing, gone), return_when=asyncio.FIRST_COMPLETED)
        left = not doing.done()
    finally:
        doing.cancel()
        gone.cancel()
        await asyncio.wait((doing, gone))
    if left and doing.cancelled():
        raise ClientGone
    doing.result()


async def _gone(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass
