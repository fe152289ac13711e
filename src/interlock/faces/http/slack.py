"""Where Slack sends the buttons that people press: `POST /slack/actions`.

Not the reading of what it sends (`slack.py`). Law: a person answers here under the name that the config gives to their
Slack user, and stands under the same rules as anywhere else; nothing is answered that is not signed.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from starlette.background import BackgroundTask
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute, Route

from interlock.core.approval import Standing
from interlock.errors import CredentialError, InterlockError, LedgerUnavailable, Refused
from interlock.faces.http.service import Service
from interlock.slack import NotSlack, Pressed, Told, answer, pressed

if TYPE_CHECKING:
    from interlock.config.serve import Slack
    from interlock.gateway import Gateway

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
            now = service.gateway.clock.now()
            button = await service.blocking(pressed, slack, request.headers, body, now)
        except (NotSlack, CredentialError):
            return Response(status_code=401)
        if button is None:
            return Response(status_code=200)
        return Response(status_code=200, background=BackgroundTask(_answered, service, slack, button))

    return [Route("/slack/actions", act, methods=["POST"])]


async def _answered(service: Service, slack: Slack, button: Pressed) -> None:
    """Slack has its 200, for which it waits three seconds; then the answer is given, and told."""
    gateway = service.gateway
    try:
        told = await service.blocking(_told, gateway, button, slack.approvers.get(button.user_id))
        asked = await service.blocking(gateway.store.find_approval, button.approval_id)
        whose = {"tenant": asked.tenant, "env": asked.env} if asked is not None else {"tenant": "", "env": ""}
        await service.blocking(answer, slack, button.response_url, told, **whose)
    except (OSError, InterlockError) as error:
        gateway.telemetry.trouble("whoever pressed a button in Slack could not be told what it did", error)


def _told(gateway: Gateway, button: Pressed, name: str | None) -> Told:
    """Give the answer, under the name of the config; what became of it."""
    if name is None:
        return Told("You are not among those who may answer here: see serve.slack.approvers in the config.")
    act = gateway.control.approve if button.yes else gateway.control.reject
    try:
        answered = act(button.approval_id, by=name, note="in Slack")
    except (Refused, LedgerUnavailable) as error:
        return Told(gateway.redactor.redact_text(str(error)))
    said = f"{answered.tool} is {answered.standing}: {'yes' if button.yes else 'no'} by {name}."
    return Told(said, everybody=True, instead=answered.standing is not Standing.WAITING)
