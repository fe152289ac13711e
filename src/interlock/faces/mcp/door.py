"""`/mcp` over HTTP: who may come in, and who answers.

Not the protocol. Law: nothing of a body is read before its sender is known and welcome; a client that is slow, silent
or gone holds nothing for longer than the config says; a caller's token ends here.
"""

from __future__ import annotations

import logging
import time
from collections import OrderedDict
from collections.abc import AsyncIterator, MutableMapping
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qs, urlsplit

import msgspec
from mcp.server.auth.middleware.bearer_auth import AuthenticatedUser
from mcp.server.auth.provider import AccessToken
from mcp.server.streamable_http_manager import StreamableHTTPSessionManager
from mcp.server.transport_security import TransportSecuritySettings
from starlette.routing import BaseRoute, Route

from interlock.core.principal import Principal, Role
from interlock.faces.http.problems import MEDIA_TYPE, Problem, problem_of_error
from interlock.faces.http.receive import ClientGone, Receive, Send, body_of, within
from interlock.faces.http.service import url_of
from interlock.faces.mcp.codec import Codec, Message
from interlock.faces.mcp.front import Front
from interlock.faces.mcp.ids import RUN_HEADER
from interlock.faces.mcp.metadata import challenge, routes
from interlock.faces.mcp.sdk import CALLER, SCOPE_KEY, Caller, Protocol

if TYPE_CHECKING:
    from interlock.faces.http.service import Service

log = logging.getLogger("interlock.mcp")

Scope = MutableMapping[str, Any]

PATH = "/mcp"
SEND_SECONDS = 30.0  #: for a client to take a piece of an answer
IDLE_SECONDS = 1_800.0  #: until a session that nobody uses is forgotten
FRESH_SECONDS = 600.0  #: how long the codec answers for a session before the SDK, which keeps it, sees it again
MAX_SESSIONS = 10_000
MAX_HOSTS = 64
LOOPBACK = frozenset({"127.0.0.1", "localhost", "::1"})


class _Session:
    """What the codec has to know of a session that the SDK keeps."""

    __slots__ = ("fresh_until", "owner", "person")

    def __init__(self, owner: Principal, *, person: bool) -> None:
        self.owner = owner
        self.person = person
        self.fresh_until = time.monotonic() + FRESH_SECONDS


class McpFront:
    """The ASGI application at /mcp, and its `routes`: /mcp itself and /.well-known.

    Whoever mounts it enters its `lifespan()` once. `codec=False`: the SDK answers everything.
    """

    def __init__(self, service: Service, *, codec: bool = True) -> None:
        serve = service.gateway.config.serve
        self._service = service
        self._url = url_of(serve)
        self._front = Front(service, self._url)
        self._protocol = Protocol(self._front)
        self._codec = Codec(self._front) if codec else None
        self._limit, self._seconds = serve.body_bytes, serve.body_seconds / 1e6
        self._stateless = serve.workers > 1  # a session lives in one process, and requests come to all of them
        self._sessions: OrderedDict[str, _Session] = OrderedDict()
        self._hosts = LOOPBACK | {urlsplit(self._url).hostname or ""}
        self._welcome_hosts: set[bytes] = set()  # as they were spelled; looked at before
        self._any_host = serve.host not in LOOPBACK
        self.routes: list[BaseRoute] = [Route(PATH, self), *routes(self._url, serve)]
        self._manager = StreamableHTTPSessionManager(
            app=self._protocol.server, stateless=self._stateless, max_request_body_size=serve.body_bytes,
            session_idle_timeout=IDLE_SECONDS, max_sessions=MAX_SESSIONS,
            security_settings=TransportSecuritySettings(enable_dns_rebinding_protection=False),  # `_refuse_strangers`
        )

    @asynccontextmanager
    async def lifespan(self) -> AsyncIterator[None]:
        """To be entered by the application that this is mounted in, once."""
        async with self._manager.run():
            yield

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            raise RuntimeError("/mcp speaks HTTP alone")
        timed = _Timed(send)
        try:
            await self._serve(scope, receive, timed.send)
        except Problem as problem:
            await _refuse(timed.send, problem)
        except ClientGone:
            return
        except Exception:
            if not timed.gave_up:
                raise
            log.info("a client of /mcp did not take its answer")

    async def _serve(self, scope: Scope, receive: Receive, send: Send) -> None:
        headers: dict[bytes, bytes] = dict(scope["headers"])
        self._refuse_strangers(headers)
        who = await self._welcome(headers)
        body = b""
        if scope["method"] == "POST":
            length = headers.get(b"content-length", b"").decode("latin-1")
            body = await body_of(length, receive, most=self._limit, seconds=self._seconds)
        session_id = headers.get(b"mcp-session-id", b"").decode("latin-1")
        session = self._sessions.get(session_id) if session_id else None
        if session is not None and session.owner != who:
            raise Problem(404, "not_found", "there is no such session")
        caller = _caller(scope, headers, who, session_id)
        if self._codec is not None and scope["method"] == "POST":
            if session is not None and b"notifications/cancelled" in body:
                self._codec.cancel(session_id, body)
            single = len(headers) == len(scope["headers"])  # a header that comes twice is for the SDK to judge
            if single and self._hot(session_id, session):
                person = session is not None and session.person
                hot = self._codec.understand(headers, body, session_id, person=person)
                if hot is not None:
                    await self._codec.answer(hot, caller, session_id, receive, send)
                    return
        await self._by_sdk(scope, body, caller, session, receive, send)

    def _hot(self, session_id: str, session: _Session | None) -> bool:
        """May the codec answer? Not for a session that it does not know, or that the SDK has not seen for long."""
        if not session_id:
            return True
        return session is not None and time.monotonic() < session.fresh_until

    # --- the door ----------------------------------------------------------------------------------------------------

    def _refuse_strangers(self, headers: dict[bytes, bytes]) -> None:
        """A page that somebody looks at must not reach us through their browser, under whatever name it calls us."""
        named = headers.get(b"host", b"")
        origin = headers.get(b"origin")
        if origin is None and named in self._welcome_hosts:
            return
        host = _hostname("//" + named.decode("latin-1"))
        if not self._any_host and host not in self._hosts:
            raise Problem(421, "bad_request", "this is not served under that host name", remedy="set serve.url")
        if len(self._welcome_hosts) < MAX_HOSTS:
            self._welcome_hosts.add(named)
        if origin is not None:
            asking = _hostname(origin.decode("latin-1"))
            if not asking or asking not in (self._hosts if not self._any_host else {*self._hosts, host}):
                raise Problem(403, "forbidden", "pages of other origins may not ask", remedy="set serve.url")

    async def _welcome(self, headers: dict[bytes, bytes]) -> Principal:
        """Raises Problem 401 or 403."""
        shown = headers.get(b"authorization", b"").decode("latin-1")
        try:
            who = await self._service.principal({"authorization": shown})
        except Problem as problem:
            if problem.status == 401:
                problem.headers["www-authenticate"] = challenge(self._url, shown=bool(shown))
            raise
        except Exception as error:
            raise problem_of_error(error) from error
        await self._service.require(who, Role.AGENT, what="/mcp")
        return who

    # --- the SDK -----------------------------------------------------------------------------------------------------

    async def _by_sdk(
        self, scope: Scope, body: bytes, caller: Caller, session: _Session | None, receive: Receive, send: Send
    ) -> None:
        who = caller.who
        owner = msgspec.json.encode([who.tenant, who.agent, who.env, who.name, who.key_id]).decode()
        inside = {
            **scope, SCOPE_KEY: caller,
            "user": AuthenticatedUser(AccessToken(token="-", client_id=owner, scopes=[])),  # noqa: S106  it ends here
            "headers": [  # the space around a value is no part of it, and not every server takes it away
                (name, value.strip(b" \t")) for name, value in scope["headers"]
                if name not in (b"authorization", b"cookie")
            ],
        }
        unread = [{"type": "http.request", "body": body, "more_body": False}] if scope["method"] == "POST" else []

        async def replay() -> Message:
            return unread.pop() if unread else await receive()

        async def overheard(message: Message) -> None:
            if message["type"] == "http.response.start":
                self._note(message, caller, body, session, ends=scope["method"] == "DELETE")
            await send(message)

        token = CALLER.set(caller)
        try:
            await self._manager.handle_request(inside, replay, overheard)
        finally:
            CALLER.reset(token)

    def _note(self, message: Message, caller: Caller, body: bytes, session: _Session | None, *, ends: bool) -> None:
        """What the SDK's answer says of a session."""
        if session is not None:
            if ends or message["status"] in (404, 410):
                self._sessions.pop(caller.connection, None)
            else:
                session.fresh_until = time.monotonic() + FRESH_SECONDS
            return
        opened = dict(message["headers"]).get(b"mcp-session-id")
        if opened is not None and message["status"] == 200:
            self._sessions[opened.decode("latin-1")] = _Session(caller.who, person=_declares_a_person(body))
            if len(self._sessions) > MAX_SESSIONS:
                self._sessions.popitem(last=False)


class _Timed:
    """Gives up on a client that does not take its answer."""

    def __init__(self, send: Send) -> None:
        self._send = send
        self.gave_up = False

    async def send(self, message: Message) -> None:
        try:
            await within(SEND_SECONDS, self._send(message))
        except TimeoutError:
            self.gave_up = True
            raise


def _caller(scope: Scope, headers: dict[bytes, bytes], who: Principal, session_id: str) -> Caller:
    said = {
        name.decode(): value.decode("latin-1")
        for name in (RUN_HEADER.encode(), b"baggage")
        if (value := headers.get(name)) is not None
    }
    client = scope.get("client") or ("", "")
    plain = b"names" in scope["query_string"] and parse_qs(scope["query_string"]).get(b"names") == [b"plain"]
    return Caller(who, said, session_id or f"{client[0]} {client[1]}", plain)


def _declares_a_person(body: bytes) -> bool:
    try:
        return "elicitation" in msgspec.json.decode(body)["params"]["capabilities"]
    except (msgspec.MsgspecError, RecursionError, KeyError, TypeError):
        return False


def _hostname(url: str) -> str:
    try:
        return urlsplit(url).hostname or ""
    except ValueError:
        return ""


async def _refuse(send: Send, problem: Problem) -> None:
    body = msgspec.json.encode(problem.body())
    headers = [(name.encode(), value.encode()) for name, value in problem.headers.items()]
    headers += [(b"content-type", MEDIA_TYPE.encode()), (b"content-length", str(len(body)).encode())]
    await send({"type": "http.response.start", "status": problem.status, "headers": headers})
    await send({"type": "http.response.body", "body": body})
