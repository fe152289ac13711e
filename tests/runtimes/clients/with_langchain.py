"""LangChain: `langchain.mcp.MCPAdapter` and `create_agent`, with a scripted chat model."""

from __future__ import annotations

from typing import Any

from langchain.agents import create_agent
from langchain_core.language_models import BaseChatModel
from langchain_core.messages import AIMessage, BaseMessage, ToolMessage
from langchain_core.outputs import ChatGeneration, ChatResult
from langgraph.checkpoint.memory import InMemorySaver
from langgraph.types import Command

from tests.runtimes.clients.script import Script, Way
from tests.runtimes.test_examples import example

connect = example("docs/mcp-clients.md", "langchain")["connect"]


class Scripted(BaseChatModel):
    """A chat model that says what the script says."""

    script: Any
    offered: tuple[str, ...] = ()

    @property
    def _llm_type(self) -> str:
        return "scripted"

    def bind_tools(self, tools: Any, **_: Any) -> Any:
        return Scripted(script=self.script, offered=tuple(tool.name for tool in tools))

    def _generate(self, messages: list[BaseMessage], *_: Any, **__: Any) -> ChatResult:
        told = [message.text for message in messages if isinstance(message, ToolMessage)]
        turn = self.script.turn(self.offered, told)
        if isinstance(turn, str):
            said = AIMessage(turn)
        else:
            said = AIMessage("", tool_calls=[{"name": call.plain, "args": call.args, "id": call.id} for call in turn])
        return ChatResult(generations=[ChatGeneration(message=said)])


async def drive(way: Way, script: Script) -> str:
    """One run of an agent. Gives its last words. Where it is interrupted, the person is asked, and it is resumed."""
    adapter, named = connect(way.url, way.key, way.run_id)
    thread: Any = {"configurable": {"thread_id": "t"}}
    async with adapter:
        agent: Any = create_agent(
            Scripted(script=script), await adapter.list_tools(), middleware=[named], checkpointer=InMemorySaver()
        )
        result = await agent.ainvoke({"messages": [("user", "go")]}, thread)
        while way.person is not None and (interrupts := result.get("__interrupt__")):
            action = way.person()
            answers = {
                each.id: {"responses": {question["key"]: {"action": action} for question in each.value["requests"]}}
                for each in interrupts
            }
            result = await agent.ainvoke(Command(resume=answers), thread)
    return str(result["messages"][-1].text)
