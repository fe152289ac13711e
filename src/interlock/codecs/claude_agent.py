"""What Claude Code is started with, and providers of its model: the API, and one that says what a script has.

Not an adapter. Law: see `interlock.codecs`.
"""

from __future__ import annotations

import dataclasses
from collections.abc import AsyncIterator, Callable, Mapping
from typing import Any

from aiohttp import ClientConnectionError, ClientSession, ClientTimeout
from claude_agent_sdk import ClaudeAgentOptions

from interlock.codecs.messages import events, native, sse, told
from interlock.driving import Script

OURS = "mcp__interlock__"  #: before the names of the gateway's tools, as Claude Code has them
REMINDER = "\n\n<system-reminder>"  #: what it adds to a result of its own accord

API = "https://api.anthropic.com"
SAID = ("content-type", "retry-after", "x-should-retry")  #: of an error

Provider = Callable[[Mapping[str, Any], Mapping[str, str]], AsyncIterator[bytes]]


class Refused(Exception):
    """The provider has answered with an error."""

    def __init__(self, status: int, said: bytes = b"", headers: Mapping[str, str] | None = None) -> None:
        super().__init__(f"the provider answers {status}: {said.decode(errors='replace'):.300}")
        self.status_code, self.said, self.headers = status, said, dict(headers or {})


class Agent:
    """What Claude Code is started with. `provider`: who answers its model's turns, where it is not the API: given the
    body of a request and its headers, it yields the answer as a stream of events, or raises `Refused`."""

    def __init__(self, options: ClaudeAgentOptions | None = None, provider: Provider | None = None) -> None:
        self.options, self.provider = options or ClaudeAgentOptions(), provider


def api(env: Mapping[str, str]) -> Provider:
    """The provider that an environment names, with the key that it holds."""
    url = (env.get("ANTHROPIC_BASE_URL") or API).rstrip("/")
    key, token = env.get("ANTHROPIC_API_KEY"), env.get("ANTHROPIC_AUTH_TOKEN")
    own = {"x-api-key": key} if key else {"authorization": f"Bearer {token}"} if token else {}

    async def provider(body: Mapping[str, Any], headers: Mapping[str, str]) -> AsyncIterator[bytes]:
        patient = ClientTimeout(total=None, sock_connect=30, sock_read=600)
        async with ClientSession(timeout=patient) as client:
            asking = client.post(f"{url}/v1/messages", json=body, headers={**headers, **own}, allow_redirects=False)
            try:
                answer = await asking
            except ClientConnectionError as error:
                raise Refused(502, f"the provider cannot be reached: {error}".encode()) from error
            async with answer:
                if answer.status != 200:
                    kept = {name: answer.headers[name] for name in SAID if name in answer.headers}
                    raise Refused(answer.status if answer.status >= 400 else 502, await answer.read(), kept)
                async for part in answer.content.iter_any():
                    yield part

    return provider


def speaking(agent: Agent | None, script: Script) -> Agent:
    """See `driving.Runtime`."""
    options = Agent().options if agent is None else agent.options
    env = {**options.env}
    if script.max_output_tokens is not None:
        env["CLAUDE_CODE_MAX_OUTPUT_TOKENS"] = str(script.max_output_tokens)
    return Agent(dataclasses.replace(options, model=script.model or "script", env=env), scripted(script))


def scripted(script: Script) -> Provider:
    """A provider that says what a script has."""

    async def provider(body: Mapping[str, Any], _headers: Mapping[str, str]) -> AsyncIterator[bytes]:
        answers = {call_id: _plain(content) for call_id, content in told(body["messages"]).items()}
        script.hear(answers)
        try:
            message = native(script.say(), script.model)
        except Exception as error:
            status = getattr(error, "status_code", None)
            if isinstance(status, int):
                raise Refused(status, str(error).encode()) from error
            raise
        offered = {tool["name"] for tool in body.get("tools", ())}
        for block in message["content"]:
            if block["type"] == "tool_use" and OURS + block["name"] in offered:
                block["name"] = OURS + block["name"]
        for event in events(message):
            yield sse(event)

    return provider


def _plain(content: Any) -> str:
    """An answer without what Claude Code makes of it."""
    parts = [content] if isinstance(content, str) else [part.get("text", "") for part in content]
    return "\n".join(parts).partition(REMINDER)[0]
