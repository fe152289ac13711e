"""Microsoft Agent Framework: `MCPStreamableHTTPTool`, with a scripted chat client."""

from __future__ import annotations

from typing import Any

from agent_framework import Agent, BaseChatClient, ChatResponse, Content, FunctionInvocationLayer, Message

from tests.runtimes.clients.script import Script, Way
from tests.runtimes.test_examples import example

EXAMPLE = example("docs/mcp-clients.md", "agent-framework")


class Scripted(FunctionInvocationLayer, BaseChatClient):  # type: ignore[type-arg]
    """A chat client that says what the script says."""

    def __init__(self, script: Script) -> None:
        super().__init__(function_invocation_configuration=EXAMPLE["INVOCATION"])
        self._script = script

    def _inner_get_response(self, *, messages: Any, stream: bool, options: Any, **_: Any) -> Any:
        async def answer() -> ChatResponse:
            contents = [content for message in messages for content in message.contents]
            told = [str(content.result) for content in contents if content.type == "function_result"]
            turn = self._script.turn([tool.name for tool in options["tools"]], told)
            said = [turn] if isinstance(turn, str) else [
                Content.from_function_call(call_id=call.id, name=call.plain, arguments=call.args) for call in turn
            ]  # fmt: skip
            return ChatResponse(messages=[Message(role="assistant", contents=said)])

        return answer()


async def drive(way: Way, script: Script) -> str:
    """One run of an agent. Gives its last words."""
    tool, named = EXAMPLE["connect"](way.url, way.key, way.run_id)
    chat = Scripted(script)
    way.adjust(chat)
    async with tool, Agent(client=chat, name="bot", tools=[tool], middleware=[named]) as agent:
        return (await agent.run("go")).text
