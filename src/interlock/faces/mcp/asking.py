"""Putting an approval to the person who sits at a client, where there is one.

Not the answer: that is given on the console's page, by somebody who has signed in. Law: whatever a client says of its
person opens nothing; it only says that it is worth to look again. No answer, `cancel`, `decline` mean: still pending.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import mcp_types as types
from mcp.shared.exceptions import MCPError, NoBackChannelError
from pydantic import ValidationError

from interlock.core.approval import Standing
from interlock.ports import ApprovalKey

if TYPE_CHECKING:
    from mcp.server.context import ServerRequestContext

    from interlock.faces.http.service import Service

ASK_SECONDS = 120.0  #: for the person at the client to open the page
ANSWER_SECONDS = 45.0  #: for the answer to be given there, before the client is told that it is still pending
LOOK_SECONDS = 0.5
QUESTION = "approval"  #: the name of our one input request

FORM = types.ElicitRequestFormParams(message="", requested_schema={"type": "object", "properties": {}})


def mode_of(context: ServerRequestContext[Any, Any]) -> str:
    """How this client can put something to its person: url, form, or "" for not at all."""
    capabilities = context.session.client_capabilities
    elicitation = capabilities.elicitation if capabilities is not None else None
    if elicitation is None:
        return ""
    return "url" if elicitation.url is not None else "form"


def request_of(mode: str, tool: str, approval_id: str, page: str) -> types.ElicitRequest:
    """The question, as the newest revision carries it in a result."""
    url, message = f"{page}/approvals/{approval_id}", _message(tool)
    if mode == "url":
        return types.ElicitRequest(
            params=types.ElicitRequestURLParams(message=message, url=url, elicitation_id=approval_id)
        )
    return types.ElicitRequest(params=FORM.model_copy(update={"message": f"{message} The page: {url}"}))


def accepted(responses: Any) -> bool:
    """True where the person at the client has gone to the page."""
    response = (responses or {}).get(QUESTION)
    return getattr(response, "action", "") == "accept"


async def ask(context: ServerRequestContext[Any, Any], mode: str, tool: str, approval_id: str, page: str) -> bool:
    """The question over a connection of the handshake era. True where the person has gone to the page."""
    url, message = f"{page}/approvals/{approval_id}", _message(tool)
    session, request_id = context.session, context.request_id
    try:
        async with asyncio.timeout(ASK_SECONDS):
            if mode == "url":
                result = await session.elicit_url(message, url, approval_id, request_id)
            else:
                form = FORM.requested_schema
                result = await session.elicit_form(f"{message} The page: {url}", form, request_id)
    except (MCPError, NoBackChannelError, ValidationError, TimeoutError):
        return False
    return result.action == "accept"


async def answered(service: Service, tenant: str, approval_id: str) -> None:
    """Wait a while for people's answer."""
    key = ApprovalKey(tenant, approval_id)
    try:
        async with asyncio.timeout(ANSWER_SECONDS):
            while True:
                approval = await service.blocking(service.gateway.store.load, key)
                if approval is None or approval.standing is not Standing.WAITING:
                    return
                await asyncio.sleep(LOOK_SECONDS)
    except TimeoutError:
        return


def _message(tool: str) -> str:
    return f"{tool} needs a person's approval. Open the page, look at what it would do, and answer there."
