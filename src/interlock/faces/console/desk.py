"""What all pages share: who visits, what they may do, the frame that a page stands in, and what goes wrong.

Not any one page. Law: nothing is shown before the visitor is known and holds a role that the page asks for; nothing is
done without the token of their own session; whatever is raised becomes a page that tells no more than a problem does.
"""

from __future__ import annotations

import asyncio
import functools
from collections.abc import Awaitable, Callable, Mapping
from hashlib import sha256
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar
from urllib.parse import parse_qsl, quote, urlencode, urlsplit

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from starlette.requests import ClientDisconnect, Request
from starlette.responses import HTMLResponse, RedirectResponse, Response
from starlette.routing import Route

from interlock.core.principal import Principal, Role
from interlock.errors import InterlockError
from interlock.faces.console.sessions import Session, Sessions, secret_of
from interlock.faces.console.words import FILTERS, shown
from interlock.faces.http.problems import TITLES, Problem, problem_of_error

if TYPE_CHECKING:
    from interlock.faces.http.service import Service
    from interlock.gateway import Gateway

T = TypeVar("T")

HERE = Path(__file__).parent
PEOPLE = (Role.APPROVER, Role.OPERATOR, Role.AUDITOR)
READERS = (Role.OPERATOR, Role.AUDITOR)
FIELDS = 60  #: of a form
_FORM = "application/x-www-form-urlencoded"

_TYPES = {".css": "text/css", ".js": "text/javascript", ".svg": "image/svg+xml"}

HEADERS = {
    "content-security-policy": (
        "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; "
        "form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
    ),
    "x-content-type-options": "nosniff",
    "x-frame-options": "DENY",
    "referrer-policy": "same-origin",
    "cross-origin-opener-policy": "same-origin",
    "cross-origin-resource-policy": "same-origin",
    "cache-control": "no-store",
}

#: what a page may be told that has just been done: the address names it, and can name nothing else
DONE = {
    "approved": "Approved. The call runs when the agent sends it again.",
    "noted": "Noted. More people have to say yes.",
    "rejected": "Rejected. The call will not run.",
    "killed": "The kill switch holds, in every process.",
    "released": "Released.",
    "accepted": "The definition is accepted.",
    "reconciled": "Written down.",
    "topped-up": "The limit is raised.",
}


class Visit:
    """One request of somebody known."""

    def __init__(
        self, desk: Desk, request: Request, session: Session, principal: Principal, form: Mapping[str, str]
    ) -> None:
        self.desk = desk
        self.request = request
        self.session = session
        self.principal = principal
        self.form = form
        self.service = desk.service

    @property
    def gateway(self) -> Gateway:
        """The gateway behind the service."""
        return self.service.gateway

    @property
    def by_htmx(self) -> bool:
        """True where a part of a page is asked for, by our own script."""
        return self.request.headers.get("hx-request") == "true"

    def asked(self, name: str, default: str = "") -> str:
        """A parameter of the address."""
        return self.request.query_params.get(name, default).strip()

    def number(self, name: str) -> int | None:
        """A number in the address; None where there is none, or it is not one."""
        said = self.asked(name)
        return int(said) if said.isascii() and said.isdigit() and len(said) < 18 else None

    def may(self, *roles: Role) -> bool:
        """For what a page offers; the act itself asks again."""
        return self.principal.may(*roles)

    @property
    def may_act_for_all(self) -> bool:
        """For what holds for every tenant: an operator of one alone may not."""
        return self.may(Role.OPERATOR) and not self.principal.tenant

    async def blocking(self, fn: Callable[..., T], *args: Any, **kwargs: Any) -> T:
        """Something that waits for the ledger, away from the event loop."""
        return await self.service.blocking(fn, *args, **kwargs)

    async def tenants(self) -> list[str]:
        """Those that this person may choose from."""
        if self.principal.tenant:
            return [self.principal.tenant]
        known = await self.blocking(self.gateway.store.tenants)
        return sorted({*known, *self.gateway.config.tenants} - {"*"})

    async def tenant(self) -> str:
        """The tenant that the page is about: their own, or the one in the address; "" for all that they see."""
        said = self.asked("tenant")
        if said and not self.principal.sees(said):
            await self.service.see(self.principal, said, f"tenant {said!r:.80}")
        return said or self.principal.tenant

    def page(self, template: str, status: int = 200, **names: Any) -> Response:
        """A page, in its frame."""
        made = self.desk.templates.get_template(template).render(
            visit=self, here=self.request.url.path, csrf=self.desk.sessions.token(self.session.sid),
            done=DONE.get(self.asked("done"), ""), assets=self.desk.assets, Role=Role, **names,
        )
        return HTMLResponse(self.gateway.redactor.redact_text(made), status, headers=HEADERS)

    def go(self, path: str, **query: str) -> Response:
        """To another page, after something was done."""
        return RedirectResponse(address(path, **query), 303, headers=HEADERS)


Handler = Callable[[Visit], Awaitable[Response]]


class Desk:
    """One for each process that serves."""

    def __init__(self, service: Service) -> None:
        self.service = service
        self.sessions = Sessions(service.gateway, service.identity, secret_of(service.gateway))
        serve = service.gateway.config.serve
        self.secure = (serve.url or "").startswith("https:")
        self.cookie = "__Host-interlock" if self.secure else "interlock_session"
        self._body_bytes, self._body_seconds = serve.body_bytes, serve.body_seconds / 1e6
        self._files = {file.name: file.read_bytes() for file in (HERE / "static").iterdir() if file.suffix in _TYPES}
        self.assets = {
            name: f"/console/static/{name}?v={sha256(data).hexdigest()[:12]}" for name, data in self._files.items()
        }
        self.templates = Environment(
            loader=FileSystemLoader(HERE / "templates"), autoescape=True, undefined=StrictUndefined, finalize=shown,
            trim_blocks=True, lstrip_blocks=True,
        )
        self.templates.filters |= FILTERS
        self.templates.globals["address"] = address

    async def asset(self, request: Request) -> Response:
        """A style sheet, a script or a picture of ours. Their addresses name their content, so they may be kept."""
        name = request.path_params["name"]
        if name not in self._files:
            raise Problem(404, "not_found", "there is no such file")
        headers = {**HEADERS, "cache-control": "public, max-age=31536000, immutable"}
        return Response(self._files[name], headers=headers, media_type=_TYPES[Path(name).suffix])

    def get(self, path: str, handler: Handler, roles: tuple[Role, ...], what: str) -> Route:
        """A page."""
        return Route(path, self._guarded(handler, roles, what, acts=False), methods=["GET"])

    def post(self, path: str, handler: Handler, roles: tuple[Role, ...], what: str) -> Route:
        """An act: a form of the visitor's own session."""
        return Route(path, self._guarded(handler, roles, what, acts=True), methods=["POST"])

    def open(self, path: str, handler: Callable[[Request], Awaitable[Response]], methods: list[str]) -> Route:
        """What somebody may ask for who is not known yet."""

        @functools.wraps(handler)
        async def answer(request: Request) -> Response:
            try:
                return await handler(request)
            except Exception as error:
                return self.trouble(error)

        return Route(path, answer, methods=methods)

    def _guarded(
        self, handler: Handler, roles: tuple[Role, ...], what: str, *, acts: bool
    ) -> Callable[[Request], Awaitable[Response]]:
        async def answer(request: Request) -> Response:
            known: tuple[Session, Principal] | None = None
            try:
                known = await self.sessions.read(request.cookies.get(self.cookie, ""))
                if known is None:
                    return self._stranger(request, acts)
                session, principal = known
                form: Mapping[str, str] = {}
                if acts:
                    form = await self.form(request)
                    self._refuse_foreign(request, form.get("csrf", ""), session.sid)
                await self.service.require(principal, *roles, what=what)
                return await handler(Visit(self, request, session, principal, form))
            except Exception as error:
                return self.trouble(error, known and known[1])

        return answer

    def _stranger(self, request: Request, acts: bool) -> Response:
        """Somebody without a session. A link from elsewhere comes without the cookie: it is asked for once more."""
        if request.headers.get("hx-request") == "true":
            return Response(status_code=401, headers={**HEADERS, "hx-redirect": "/sign-in"})
        if not acts and request.headers.get("sec-fetch-site") == "cross-site":
            return self.bounce(str(request.url.path) + (f"?{request.url.query}" if request.url.query else ""))
        if acts:
            return self.redirect("/sign-in")
        asked = request.url.path + (f"?{request.url.query}" if request.url.query else "")
        return self.redirect(address("/sign-in", next=asked) if asked != "/" else "/sign-in")

    def redirect(self, path: str) -> Response:
        """See Other."""
        return RedirectResponse(path, 303, headers=HEADERS)

    def bounce(self, path: str) -> Response:
        """A page that asks for another at once: from here the browser sends its cookie along."""
        return HTMLResponse(self.templates.get_template("bounce.html").render(path=path), headers=HEADERS)

    async def form(self, request: Request) -> dict[str, str]:
        """The fields of a form. Raises Problem."""
        if request.headers.get("content-type", "").partition(";")[0].strip().lower() != _FORM:
            raise Problem(415, "bad_request", "a form was expected")
        body = bytearray()
        try:
            async with asyncio.timeout(self._body_seconds):
                async for chunk in request.stream():
                    body += chunk
                    if len(body) > self._body_bytes:
                        raise Problem(413, "too_large", f"the form is larger than {self._body_bytes} bytes")
        except TimeoutError:
            raise Problem(408, "too_slow", "the form took too long to arrive") from None
        except ClientDisconnect:
            raise Problem(400, "bad_request", "the form did not arrive whole") from None
        try:
            found = parse_qsl(body.decode("ascii"), keep_blank_values=True, max_num_fields=FIELDS, errors="strict")
        except ValueError:
            raise Problem(400, "bad_request", "the form cannot be read") from None
        fields = {key: value.replace("\r\n", "\n") for key, value in found}
        if len(fields) != len(found):
            raise Problem(400, "bad_request", "the form names a field twice")
        return fields

    def _refuse_foreign(self, request: Request, token: str, sid: str) -> None:
        if not self.own(request) or not self.sessions.fits(sid, token):
            raise Problem(
                403, "forbidden", "this form was not made for your session",
                remedy="Open the page again, and repeat it.",
            )

    def own(self, request: Request) -> bool:
        """True where a form was sent from one of our own pages, as far as the browser says."""
        site = request.headers.get("sec-fetch-site")
        if site is not None:
            return site in ("same-origin", "none")
        origin, url = request.headers.get("origin"), self.service.gateway.config.serve.url
        ours = {request.headers.get("host", ""), urlsplit(url).netloc if url else ""} - {""}
        return origin is None or urlsplit(origin).netloc in ours

    def trouble(self, error: Exception, principal: Principal | None = None) -> Response:
        """What went wrong, as a page."""
        problem = problem_of_error(error)
        if problem.status >= 500 and not isinstance(error, InterlockError | Problem):
            self.service.gateway.telemetry.trouble("a page of the console could not be made", error)
        made = self.templates.get_template("trouble.html").render(
            problem=problem, title=TITLES.get(problem.code, problem.code), known=principal is not None,
            assets=self.assets,
        )
        made = self.service.gateway.redactor.redact_text(made)
        return HTMLResponse(made, problem.status, headers={**problem.headers, **HEADERS})


def address(path: str, **query: object) -> str:
    """An address of ours. What it is asked for may be called anything."""
    said = {key: str(value) for key, value in query.items() if value not in ("", None)}
    return f"{quote(path)}?{urlencode(said)}" if said else quote(path)


def local(path: str) -> str:
    """Where to go on after signing in: a page of ours, or the first one. Never elsewhere."""
    fine = path.startswith("/") and not path.startswith("//") and "\\" not in path and path.isprintable()
    return path if fine and path.isascii() and len(path) < 2000 and not path.startswith("/sign-") else "/"
