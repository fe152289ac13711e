"""Google ADK: `McpToolset`, with a scripted model."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

from google.adk.agents import LlmAgent
from google.adk.models import BaseLlm, LlmRequest, LlmResponse
from google.adk.runners import InMemoryRunner
from google.genai import types
from mcp_types import ElicitResult

from tests.runtimes.clients.script import Script, Way
from tests.runtimes.test_examples import example

connect = example("docs/mcp-clients.md", "google-adk")["connect"]


class Scripted(BaseLlm):
    """A model that says what the script says."""

    script: Any

    async def generate_content_async(self, request: LlmRequest, stream: bool = False) -> AsyncIterator[LlmResponse]:
        parts = [part for content in request.contents for part in content.parts or []]
        told = [_text(part.function_response.response) for part in parts if part.function_response]
        turn = self.script.turn(list(request.tools_dict), told)
        said = [types.Part(text=turn)] if isinstance(turn, str) else [
            types.Part(function_call=types.FunctionCall(id=call.id, name=call.plain, args=call.args)) for call in turn
        ]  # fmt: skip
        yield LlmResponse(content=types.Content(role="model", parts=said))


def _text(response: Any) -> str:
    content = response.get("content", ())
    return "\n".join(str(block.get("text")) for block in content) if content else str(response)


async def drive(way: Way, script: Script) -> str:
    """One run of an agent. Gives its last words."""

    async def ask(*_: Any) -> ElicitResult:
        assert way.person is not None
        return ElicitResult(action=way.person())  # type: ignore[arg-type]

    toolset, named = connect(way.url, way.key, way.run_id, ask if way.person is not None else None)
    model = Scripted(model="scripted", script=script)
    agent = LlmAgent(name="bot", model=model, tools=[toolset], before_tool_callback=named)
    said = ""
    async with InMemoryRunner(agent, app_name="app") as runner:
        await runner.session_service.create_session(app_name="app", user_id="u", session_id="s")
        go = types.Content(role="user", parts=[types.Part(text="go")])
        async for event in runner.run_async(user_id="u", session_id="s", new_message=go):
            said = next((part.text for part in (event.content and event.content.parts) or () if part.text), said)
    return said
