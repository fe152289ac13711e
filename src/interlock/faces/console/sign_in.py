"""The door: signing in with a key or through an identity provider, and signing out.

Not who somebody is (`identity.py`) nor what a session is (`sessions.py`). Law: an agent never comes in; a failed try
says no more than that it failed; nothing of a key is kept.
"""

from __future__ import annotations

import secrets
from typing import TYPE_CHECKING

from starlette.requests import Request
from starlette.responses import HTMLResponse, Response

from interlock.core.principal import Principal
from interlock.faces.console.desk import HEADERS, Desk, Visit, local
from interlock.faces.http.problems import Problem
from interlock.identity import Unauthenticated

if TYPE_CHECKING:
    from interlock.faces.console.provider import SignOn

_FORM_COOKIE = "interlock_door"  #: binds the sign-in form to the browser that it was shown in
_MINUTES = 60 * 60


class Door:
    """How people come in and go out."""

    def __init__(self, desk: Desk) -> None:
        self._desk = desk
        self._sign_on = _sign_on(desk)

    async def show(self, request: Request) -> Response:
        """The sign-in form."""
        return self._form(request, local(request.query_params.get("next", "/")))

    async def enter(self, request: Request) -> Response:
        """A try to sign in with a key."""
        form = await self._desk.form(request)
        where = local(form.get("next", "/"))
        sid = request.cookies.get(_FORM_COOKIE, "")
        if not sid or not self._desk.own(request) or not self._desk.sessions.fits(f"door {sid}", form.get("csrf", "")):
            return self._form(request, where, "The form was not filled in on this page. Please try again.", 403)
        try:
            principal = await self._desk.service.identity.principal_of(form.get("key", "").strip())
        except Unauthenticated as error:
            return self._form(request, where, f"That did not work: {error}.", 401)
        answer = self._desk.redirect(where)
        if not await self._admit(answer, principal, "sign in at the console"):
            return self._form(request, where, "An agent's key cannot sign in. Use a key of your own.", 403)
        return answer

    async def leave(self, _: Visit) -> Response:
        """Sign out."""
        answer = self._desk.redirect("/sign-in")
        answer.delete_cookie(
            self._desk.cookie, path="/", secure=self._desk.secure, httponly=True, samesite="strict"
        )
        return answer

    async def leave_for_provider(self, request: Request) -> Response:
        """To the identity provider."""
        answer = self._desk.redirect("/sign-in")
        where = local(request.query_params.get("next", "/"))
        answer.headers["location"] = await self._provider.begin(answer, where)
        return answer

    async def back_from_provider(self, request: Request) -> Response:
        """From the identity provider, with a code."""
        try:
            principal, until, where = await self._provider.end(request)
        except Unauthenticated as error:
            return self._form(request, "/", f"That did not work: {error}.", 401)
        answer = self._desk.bounce(where)
        if not await self._admit(answer, principal, "sign in at the console", until):
            return self._form(request, where, "An agent cannot sign in.", 403)
        self._provider.forget(answer)
        return answer

    @property
    def _provider(self) -> SignOn:
        if self._sign_on is None:
            raise Problem(404, "not_found", "there is no identity provider to sign in with")
        return self._sign_on

    async def _admit(self, answer: Response, principal: Principal, what: str, until: int | None = None) -> bool:
        if principal.is_agent:
            await self._desk.service.refuse(principal, f"{what}: an agent")
            return False
        cookie, seconds = self._desk.sessions.begin(principal, until)
        answer.set_cookie(
            self._desk.cookie, cookie, max_age=seconds, path="/", secure=self._desk.secure, httponly=True,
            samesite="strict",
        )
        return True

    def _form(self, request: Request, where: str, trouble: str = "", status: int = 200) -> Response:
        sid = request.cookies.get(_FORM_COOKIE, "")
        if not (sid.isascii() and sid.isalnum() and len(sid) == 32):
            sid = secrets.token_hex(16)
        made = self._desk.templates.get_template("sign_in.html").render(
            csrf=self._desk.sessions.token(f"door {sid}"), where=where, trouble=trouble, assets=self._desk.assets,
            provider=self._sign_on is not None,
        )
        answer = HTMLResponse(made, status, headers=HEADERS)
        answer.set_cookie(
            _FORM_COOKIE, sid, max_age=_MINUTES, path="/sign-in", secure=self._desk.secure, httponly=True,
            samesite="strict",
        )
        return answer


def _sign_on(desk: Desk) -> SignOn | None:
    oidc = desk.service.gateway.config.serve.oidc
    if oidc is None or oidc.client_id is None:
        return None
    from interlock.faces.console.provider import SignOn

    return SignOn(desk, oidc)
