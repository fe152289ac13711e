"""What the Anthropic SDK's tool runner is made of, and an API that says what a script has.

Not an adapter. Law: see `interlock.codecs`.
"""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Iterable
from typing import Any

import httpx2
from anthropic import AnthropicError, AsyncAnthropic

from interlock.codecs.messages import events, failure, native, sse, told
from interlock.driving import Script

MOST = 4096  #: what a script without a limit may put out: the API wants one


class Agent:
    """What a tool runner is made of: a client, and what `client.beta.messages.tool_runner` takes beside messages."""

    def __init__(self, client: AsyncAnthropic, **settings: Any) -> None:
        self.client, self.settings = client, settings


class Unsaid(AnthropicError):
    """The script has raised: the SDK passes on what is an error of its own, and tries the rest again."""


def speaking(agent: Agent | None, script: Script) -> Agent:
    """See `driving.Runtime`."""
    web = httpx2.AsyncClient(transport=Scripted(script))
    settings = {} if agent is None else agent.settings
    most = script.max_output_tokens or settings.get("max_tokens") or MOST
    return Agent(
        AsyncAnthropic(api_key="-", http_client=web) if agent is None else agent.client.copy(http_client=web),
        **{**settings, "model": script.model or "script", "max_tokens": most, "thread": False},
    )


class Scripted(httpx2.AsyncBaseTransport):
    """An API that answers what a script has."""

    def __init__(self, script: Script) -> None:
        self._script = script

    async def handle_async_request(self, request: httpx2.Request) -> httpx2.Response:
        """See `AsyncBaseTransport`."""
        asked = json.loads(await request.aread())
        self._script.hear(told(asked["messages"]))
        try:
            message = native(self._script.say(), self._script.model)
        except Exception as error:
            status = getattr(error, "status_code", None)
            if not isinstance(status, int):
                raise Unsaid(f"{type(error).__name__}: {error}") from error
            return httpx2.Response(status, headers={"retry-after-ms": "1"}, json=failure(str(error)))
        if not asked.get("stream"):
            return httpx2.Response(200, json=message)
        lines = (sse(event) for event in events(message))
        return httpx2.Response(200, headers={"content-type": "text/event-stream"}, content=_slowly(lines))


async def _slowly(lines: Iterable[bytes]) -> AsyncIterator[bytes]:
    for line in lines:
        yield line
