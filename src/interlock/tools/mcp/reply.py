"""What comes back from a server, and what it proves.

Not how it came: see `transport.py`. Law: NotDone is raised only where it is proven that nothing was sent, or that the
server refused before acting; a reply that was lost proves nothing, and neither does an error of the tool.
"""

from __future__ import annotations

from typing import Any

import mcp_types as types
from mcp.shared.exceptions import MCPError
from msgspec import Struct
from pydantic import TypeAdapter

from interlock.errors import NotDone
from interlock.ports import Lost
from interlock.tools.mcp.text import joined, value_of
from interlock.tools.text import scrub, without

UNSENT = 17_001  #: our own code, inside the process: the request did not leave, or was refused at the door
_REFUSED_BEFORE_ACTING = {
    UNSENT: "nothing was sent",
    types.METHOD_NOT_FOUND: "it has no such method",
    types.INVALID_PARAMS: "it does not take these arguments, or has no such tool",
    types.HEADER_MISMATCH: "the definition it goes by is not the one that it listed",
    types.MISSING_REQUIRED_CLIENT_CAPABILITY: "it needs something of the client that this gateway does not offer",
    types.UNSUPPORTED_PROTOCOL_VERSION: "it no longer speaks the protocol version that was agreed on",
    types.URL_ELICITATION_REQUIRED: "it wants a person to visit a page first, which this gateway does not offer",
}
# A Python server spells every pydantic error so, one that was raised after the effect too: it proves nothing.
_AMBIGUOUS = "Invalid request parameters"
_SESSION_GONE = "Session terminated"  # how the SDK spells HTTP 404 where a session was open
REPLY = TypeAdapter[types.CallToolResult | types.InputRequiredResult](types.CallToolResult | types.InputRequiredResult)


class UpstreamError(Exception):
    """The server answered that the tool failed. `text` is scrubbed; it proves nothing about the effect."""

    def __init__(self, text: str) -> None:
        super().__init__(text)
        self.text = text


class Plain(Struct, frozen=True):
    """A result of the usual kind: text, and structured content or None."""

    text: str
    structured: Any
    is_error: bool


class ReplyLost(Lost, ConnectionError):
    """The request went out and no answer came: a write is in doubt, whatever the tool says of its errors."""


def meaning(name: str, error: Exception, secret: str) -> Exception:
    """What an error of the protocol proves."""
    text = scrub(str(error), secret)
    code = error.code if isinstance(error, MCPError) else types.REQUEST_TIMEOUT
    if code in (types.CONNECTION_CLOSED, types.REQUEST_TIMEOUT):
        return ReplyLost(f"upstream {name}: the reply was lost ({text})")
    proof = _REFUSED_BEFORE_ACTING.get(code)
    if (proof and text != _AMBIGUOUS) or (code == types.INVALID_REQUEST and text == _SESSION_GONE):
        return NotDone(f"upstream {name} did not do it: {proof or 'its session had ended'} ({text})")
    return UpstreamError(f"upstream {name}: {text}")


def answer(name: str, reply: Plain | types.CallToolResult | types.InputRequiredResult, secret: str) -> Any:
    """What the tool gave. Raises NotDone where the server wants more first, UpstreamError where the tool failed."""
    if isinstance(reply, types.InputRequiredResult):
        raise NotDone(f"upstream {name} asks a person for input, which this gateway does not offer")
    if reply.is_error:
        raise UpstreamError(scrub(_text_of(reply), secret) or "the tool failed and did not say why")
    value = joined(reply.text, [], reply.structured) if isinstance(reply, Plain) else value_of(reply)
    return without(value, secret) if secret else value


def _text_of(reply: Plain | types.CallToolResult) -> str:
    if isinstance(reply, Plain):
        return reply.text
    return "\n".join(block.text for block in reply.content if isinstance(block, types.TextContent))
