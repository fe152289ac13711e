"""What Claude Code is started with, its life, and providers of its model: the API, and one that says what a script has.

Not an adapter. Law: see `interlock.codecs`.
"""

from __future__ import annotations

import dataclasses
import os
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Mapping
from typing import Any

import mcp_types as types
from aiohttp import ClientConnectionError, ClientSession, ClientTimeout
from claude_agent_sdk import ClaudeAgentOptions, ClaudeSDKClient, ClaudeSDKError, McpSdkServerConfig, ResultMessage
from mcp.server import Server

from interlock.codecs.door import MOST, Refused
from interlock.codecs.messages import events, native, sse, told
from interlock.driving import Script
from interlock.governed import Offer

OURS = "mcp__interlock__"  #: before the names of the gateway's tools, as Claude Code has them
REMINDER = "\n\n<system-reminder>"  #: what it adds to a result of its own accord

CLOUDS = ("BEDROCK", "VERTEX", "FOUNDRY")  #: where the program would look for its model by itself
ALONE = {
    "CLAUDE_CODE_DISABLE_NONESSENTIAL_TRAFFIC": "1", "CLAUDE_CODE_DISABLE_NONSTREAMING_FALLBACK": "1",
    "CLAUDE_CODE_MAX_TOOL_USE_CONCURRENCY": "1000", "ENABLE_TOOL_SEARCH": "false", "ANTHROPIC_AUTH_TOKEN": "",
    "CLAUDE_CODE_OAUTH_TOKEN": "", **{f"CLAUDE_CODE_USE_{cloud}": "" for cloud in CLOUDS},
}

API = "https://api.anthropic.com"
SAID = ("content-type", "retry-after", "x-should-retry")  #: of an error

Provider = Callable[[Mapping[str, Any], Mapping[str, str]], AsyncIterator[bytes]]


class Agent:
    """What Claude Code is started with. `provider`: who answers its model's turns, where it is not the API: given the
    body of a request and its headers, it yields the answer as a stream of events, or raises `Refused`."""

    def __init__(self, options: ClaudeAgentOptions | None = None, provider: Provider | None = None) -> None:
        self.options, self.provider = options or ClaudeAgentOptions(), provider


def started(own: ClaudeAgentOptions, server: Any, url: str, key: str, home: str) -> ClaudeAgentOptions:
    """What the program is started with: its tools are the server's, its model is at `url`, and it leaves nothing behind
    but in `home`."""
    servers = own.mcp_servers if isinstance(own.mcp_servers, dict) else {}
    env = {"CLAUDE_CONFIG_DIR": home, **ALONE, **own.env}
    here = ",".join(filter(None, [env.get("NO_PROXY", os.environ.get("NO_PROXY")), "127.0.0.1"]))
    return dataclasses.replace(
        own, tools=own.tools or [], strict_mcp_config=True, setting_sources=own.setting_sources or [],
        skills=own.skills or [], allowed_tools=[*own.allowed_tools, OURS.removesuffix("__")],
        mcp_servers={**servers, "interlock": McpSdkServerConfig(type="sdk", name="interlock", instance=server)},
        max_turns=None, max_budget_usd=None, verbatim_prompts=True, max_buffer_size=own.max_buffer_size or MOST,
        env={**env, "NO_PROXY": here, "ANTHROPIC_BASE_URL": url, "ANTHROPIC_API_KEY": key},
    )


def served(offers: Iterable[Offer], called: Callable[[str, dict[str, Any], str], Awaitable[tuple[str, bool]]]) -> Any:
    """The MCP server that the program has its tools from. `called`: given a name, arguments and the call's id, what it
    came to, and whether it was done."""
    hint = types.ToolAnnotations(read_only_hint=True)  # what they do is done elsewhere: it need not queue them
    tools = [
        types.Tool(name=each.said, description=each.description, input_schema=each.schema, annotations=hint)
        for each in offers
    ]

    async def listed(_context: Any, _params: Any) -> types.ListToolsResult:
        return types.ListToolsResult(tools=tools)

    async def answered(context: Any, params: types.CallToolRequestParams) -> types.CallToolResult:
        call_id = dict(context.meta or {})["claudecode/toolUseId"]
        text, done = await called(params.name, params.arguments or {}, call_id)
        return types.CallToolResult(content=[types.TextContent(text=text)], is_error=not done)

    return Server("interlock", on_list_tools=listed, on_call_tool=answered)


async def lived(options: ClaudeAgentOptions, request: str, on_event: Callable[[Any], object] | None) -> Any:
    """Start the program, ask it, and give what it says in the end."""
    last: ResultMessage | None = None
    if on_event is not None:
        options = dataclasses.replace(options, include_partial_messages=True)
    async with ClaudeSDKClient(options) as client:
        await client.query(request)
        async for message in client.receive_response():
            if on_event is not None:
                on_event(message)
            last = message if isinstance(message, ResultMessage) else last
    if last is None or last.is_error:
        raise ClaudeSDKError(f"Claude Code has given up: {last and (last.result or last.errors or last.subtype)}")
    return last.result if last.structured_output is None else last.structured_output


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
