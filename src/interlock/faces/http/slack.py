"""Where Slack sends the buttons that people press: `POST /slack/actions`.

Not the reading of what it sends (`slack.py`). Law: a person answers here under the name that the config gives to their
Slack user, and stands under the same rules as anywhere else; nothing is answered that is not signed.
"""

from __future__ import annotations

from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import BaseRoute, Route

from interlock.errors import CredentialError, InterlockError, LedgerUnavailable, Refused
from interlock.faces.http.service import Service
from interlock.slack import NotSlack, pressed

MOST = 262_144  #: bytes of one delivery


def routes(service: Service) -> list[BaseRoute]:
    """Empty where the config has no Slack."""
    slack = service.gateway.config.serve.slack
    if slack is None:
        return []

    async def act(request: Request) -> Response:
        body = b""
        async for chunk in request.stream():
            body += chunk
            if len(body) > MOST:
                return Response(status_code=413)
        try:
            button = pressed(slack, request.headers, body, service.gateway.clock.now())
        except (NotSlack, CredentialError):
            return Response(status_code=401)
        if button is None:
            return Response(status_code=200)
        name = slack.approvers.get(button.user_id)
        if name is None:
            return _told("You are not among those who may answer here: see serve.slack.approvers in the config.")
        control = service.gateway.control
        try:
            answered = await service.blocking(
                control.approve if button.yes else control.reject, button.approval_id, by=name, note="in Slack"
            )
        except (Refused, LedgerUnavailable) as error:
            return _told(service.gateway.redactor.redact_text(str(error)))
        except InterlockError:
            return _told("That is not possible.")
        return _told(f"{answered.tool} is {answered.standing}: {'yes' if button.yes else 'no'} by {name}.", keep=True)

    return [Route("/slack/actions", act, methods=["POST"])]


def _told(text: str, *, keep: bool = False) -> Response:
    """What is shown: to everybody where something has changed, else to whoever pressed."""
    seen_by = "in_channel" if keep else "ephemeral"
    return JSONResponse({"response_type": seen_by, "replace_original": False, "text": text})
