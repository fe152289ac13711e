"""Each agent runtime with a tool of its own, and a model that follows a script: without an adapter.

With `hooked`, it has hooks that do nothing in the places where our adapter has its own: what they cost is what the
runtime charges whoever governs it.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any, Protocol

from interlock.driving import Script

NEVER = 1_000_000  #: of any limit

Go = Callable[[], Awaitable[object]]


class Bare(Protocol):
    """Sets a runtime up for one run, which is then awaited."""

    def __call__(self, adapter: Any, script: Script, create: Any, *, hooked: bool) -> Go:
        """`adapter` gives the scripted model; `create`: the tool, an async function."""
        ...


def _openai_agents(adapter: Any, script: Script, create: Any, *, hooked: bool) -> Go:
    from agents import Agent, Runner, function_tool, set_tracing_disabled

    async def never(*_asked: Any) -> bool:
        return False

    set_tracing_disabled(True)
    tool = function_tool(create, needs_approval=never if hooked else False)
    agent = adapter.speaking(Agent(name="agent", tools=[tool]), script)
    return lambda: Runner.run(agent, "go", max_turns=None)


def _langchain(adapter: Any, script: Script, create: Any, *, hooked: bool) -> Go:
    from langchain.agents import create_agent
    from langchain.agents.middleware import AgentMiddleware
    from langgraph.checkpoint.memory import InMemorySaver

    class Passing(AgentMiddleware[Any, Any]):
        async def awrap_model_call(self, request: Any, handler: Any) -> Any:
            return await handler(request)

        async def awrap_tool_call(self, request: Any, handler: Any) -> Any:
            return await handler(request)

    # with a checkpointer, as whoever asks a person in LangChain needs one
    graph = adapter.speaking(create_agent, script)(
        tools=[create], middleware=[Passing()] if hooked else [], checkpointer=InMemorySaver()
    )
    how: Any = {"recursion_limit": NEVER, "configurable": {"thread_id": "t"}}
    return lambda: graph.ainvoke({"messages": [("user", "go")]}, how)


def _pydantic_ai(adapter: Any, script: Script, create: Any, *, hooked: bool) -> Go:
    from pydantic_ai import Agent, UsageLimits
    from pydantic_ai.capabilities import AbstractCapability
    from pydantic_ai.models.wrapper import WrapperModel

    class Passing(AbstractCapability[Any]):
        def get_wrapper_model(self, model: Any) -> Any:
            return WrapperModel(model)

        async def wrap_tool_validate(self, ctx: Any, *, call: Any, tool_def: Any, args: Any, handler: Any) -> Any:  # noqa: ARG002
            return await handler(args)

        async def wrap_tool_execute(self, ctx: Any, *, call: Any, tool_def: Any, args: Any, handler: Any) -> Any:  # noqa: ARG002
            return await handler(args)

    agent = adapter.speaking(Agent(tools=[create], capabilities=[Passing()] if hooked else []), script)
    return lambda: agent.run("go", usage_limits=UsageLimits(request_limit=None))


def _agent_framework(adapter: Any, script: Script, create: Any, *, hooked: bool) -> Go:
    from agent_framework import Agent, ChatMiddleware, FunctionMiddleware, tool

    from interlock.codecs.agent_framework import Scripted

    class Chat(ChatMiddleware):
        async def process(self, context: Any, call_next: Any) -> None:  # noqa: ARG002
            await call_next()

    class Function(FunctionMiddleware):
        async def process(self, context: Any, call_next: Any) -> None:  # noqa: ARG002
            await call_next()

    middleware = [Chat(), Function()] if hooked else []
    agent = Agent(client=Scripted(script), tools=[tool(create)], middleware=middleware)
    agent = adapter.speaking(agent, script)
    agent.client.function_invocation_configuration = {
        **agent.client.function_invocation_configuration, **adapter.LIMITS
    }
    return lambda: agent.run("go")


def _google_adk(adapter: Any, script: Script, create: Any, *, hooked: bool) -> Go:
    from google.adk.agents import LlmAgent, RunConfig
    from google.adk.apps import App
    from google.adk.runners import Runner
    from google.adk.sessions import InMemorySessionService
    from google.genai import types

    async def passing(tool: Any, args: Any, tool_context: Any) -> None:  # noqa: ARG001
        return None

    agent = LlmAgent(name="agent", tools=[create], before_tool_callback=passing if hooked else None)
    agent = adapter.speaking(agent, script)
    sessions = InMemorySessionService()

    async def go() -> None:
        await sessions.create_session(app_name="bench", user_id="u", session_id="s")
        runner = Runner(app=App(name="bench", root_agent=agent), session_service=sessions)
        said = types.Content(role="user", parts=[types.Part(text="go")])
        config = RunConfig().model_copy(update={"max_llm_calls": 0})
        async for _ in runner.run_async(user_id="u", session_id="s", new_message=said, run_config=config):
            pass

    return go


def _anthropic(adapter: Any, script: Script, create: Any, *, hooked: bool) -> Go:
    from anthropic import beta_async_tool

    async def passing(request: Any, call_next: Any) -> Any:
        return await call_next(request)

    agent = adapter.speaking(None, script)
    client = agent.client.copy(middleware=[passing] if hooked else [])
    tools: Any = [beta_async_tool(create)]

    async def go() -> None:
        messages: Any = [{"role": "user", "content": "go"}]
        await client.beta.messages.tool_runner(**agent.settings, tools=tools, messages=messages).until_done()

    return go


def _plain(_adapter: Any, script: Script, create: Any, *, hooked: bool) -> Go:  # noqa: ARG001  it is a loop
    async def go() -> None:
        messages: list[Any] = ["go"]
        while True:
            turn = script.say()
            messages.append(turn)
            if not turn.calls:
                return
            messages += [await create(**call.args) for call in turn.calls]

    return go


BARE: dict[str, Bare] = {
    "openai_agents": _openai_agents, "langchain": _langchain, "pydantic_ai": _pydantic_ai,
    "agent_framework": _agent_framework, "google_adk": _google_adk, "anthropic": _anthropic, "plain": _plain,
}
