"""The support agent on each runtime, its tools called directly, the way each runtime's own documentation shows it.

Nothing of this goes through Interlock but the scripted model, which is translated into the runtime's own form.
"""

import json
from collections.abc import Awaitable, Callable, Sequence
from typing import Any

from mcp.types import Tool

from interlock.core.names import spelled
from interlock.driving import Script

MAX_STEPS = 50

Use = Callable[[str, dict[str, Any]], Awaitable[str]]  # performs a call
Agent = Callable[[Script, str, Sequence[Tool], Use], Awaitable[str]]  # script, request, tools, use; gives the answer


async def plain(script: Script, _request: str, _tools: Sequence[Tool], use: Use) -> str:
    """The smallest agent loop: ask the model, use the tool, tell the model."""
    for _ in range(MAX_STEPS):
        turn = script.say()
        if not turn.calls:
            return turn.text or ""
        script.hear({call.id: await use(call.name, dict(call.args)) for call in turn.calls})
    raise RuntimeError(f"the model did not finish in {MAX_STEPS} steps")


async def openai_agents(script: Script, request: str, tools: Sequence[Tool], use: Use) -> str:
    """`Runner.run` of an `Agent`."""
    from agents import FunctionTool, Runner

    from interlock.codecs.openai_agents import speaking

    def offered(tool: Tool) -> FunctionTool:
        async def invoke(_context: object, text: str) -> str:
            return await use(tool.name, json.loads(text))

        said, description = spelled(tool.name, plain=True), tool.description or ""
        return FunctionTool(said, description, tool.input_schema, invoke, strict_json_schema=False)

    agent = speaking(None, script).clone(tools=[offered(tool) for tool in tools])
    return str((await Runner.run(agent, request, max_turns=MAX_STEPS)).final_output)


async def langchain(script: Script, request: str, tools: Sequence[Tool], use: Use) -> str:
    """`create_agent`."""
    from langchain_core.tools import StructuredTool

    from interlock.codecs.langchain import speaking

    def offered(tool: Tool) -> StructuredTool:
        async def invoke(**args: Any) -> str:
            return await use(tool.name, args)

        said, description = spelled(tool.name, plain=True), tool.description or tool.name
        return StructuredTool(name=said, description=description, args_schema=tool.input_schema, coroutine=invoke)

    agent = speaking(None, script)(tools=[offered(tool) for tool in tools])
    asked = {"messages": [{"role": "user", "content": request}]}
    return str((await agent.ainvoke(asked, {"recursion_limit": 4 * MAX_STEPS}))["messages"][-1].text)


async def pydantic_ai(script: Script, request: str, tools: Sequence[Tool], use: Use) -> str:
    """`Agent.run`."""
    from pydantic_ai import Tool as Native
    from pydantic_ai.toolsets import FunctionToolset

    from interlock.codecs.pydantic_ai import speaking

    def offered(tool: Tool) -> Native[Any]:
        async def invoke(**args: Any) -> str:
            return await use(tool.name, args)

        return Native.from_schema(invoke, spelled(tool.name, plain=True), tool.description, tool.input_schema)

    given: FunctionToolset[Any] = FunctionToolset([offered(tool) for tool in tools])
    return str((await speaking(None, script).run(request, toolsets=[given])).output)


AGENTS: dict[str, Agent] = {each.__name__: each for each in (plain, openai_agents, langchain, pydantic_ai)}
