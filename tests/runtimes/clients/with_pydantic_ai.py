"""Pydantic AI: `MCPToolset`, and a `FunctionModel`."""

from __future__ import annotations

from typing import Any

from mcp_types import ElicitResult
from pydantic_ai import Agent, ModelMessage, ModelResponse, TextPart, ToolCallPart
from pydantic_ai.messages import RetryPromptPart, ToolReturnPart
from pydantic_ai.models.function import AgentInfo, FunctionModel

from tests.runtimes.clients.script import Script, Way
from tests.runtimes.test_examples import example

connect = example("docs/mcp-clients.md", "pydantic-ai")["connect"]


def scripted(script: Script) -> FunctionModel:
    """A model that says what the script says."""

    def answer(messages: list[ModelMessage], info: AgentInfo) -> ModelResponse:
        told = [
            part.model_response_str() if isinstance(part, ToolReturnPart) else part.model_response()
            for message in messages for part in message.parts if isinstance(part, ToolReturnPart | RetryPromptPart)
        ]  # fmt: skip
        turn = script.turn([tool.name for tool in info.function_tools], told)
        if isinstance(turn, str):
            return ModelResponse(parts=[TextPart(turn)])
        return ModelResponse(parts=[ToolCallPart(call.plain, call.args, call.id) for call in turn])

    return FunctionModel(answer)


async def drive(way: Way, script: Script) -> str:
    """One run of an agent. Gives its last words."""

    async def ask(*_: Any) -> ElicitResult:
        assert way.person is not None
        return ElicitResult(action=way.person())  # type: ignore[arg-type]

    toolset = connect(way.url, way.key, way.run_id, ask if way.person is not None else None)
    way.adjust(toolset)
    async with Agent(scripted(script), toolsets=[toolset]) as agent:
        return (await agent.run("go")).output
