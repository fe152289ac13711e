"""How the contract drives each runtime: an agent of its own kind, whose model follows the script."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

from interlock import Run
from interlock.driving import Script
from interlock.governed import Result
from interlock.testing.adapter_contract import Otherwise
from interlock.testing.adapter_contract.exceptions import EXCEPTIONS


class RuntimeDriver:
    """What drivers share: a name, and the exceptions that stand under it."""

    runtime = ""
    streams = True

    @property
    def exceptions(self) -> Mapping[str, Otherwise]:
        return EXCEPTIONS.get(self.runtime, {})

    def __repr__(self) -> str:
        return self.runtime


def listening(stream: bool) -> Callable[[Any], object] | None:
    return (lambda _event: None) if stream else None


class OpenAIAgents(RuntimeDriver):
    runtime = "openai_agents"

    async def drive(
        self, run: Run, script: Script, request: str, *, saved: str | None, save: Any, stream: bool, retries: int
    ) -> Result:
        from agents import Agent, ModelRetrySettings, ModelSettings, retry_policies, set_tracing_disabled

        from interlock.adapters import openai_agents

        set_tracing_disabled(True)
        retry = ModelRetrySettings(
            max_retries=retries, policy=retry_policies.http_status([503]), backoff={"initial_delay": 0, "jitter": False}
        )
        agent = Agent(name="bot", instructions="Be brief.", model_settings=ModelSettings(retry=retry))
        agent = openai_agents.bind(run, openai_agents.speaking(agent, script))
        return await openai_agents.drive(run, agent, request, saved=saved, save=save, on_event=listening(stream))


class PydanticAI(RuntimeDriver):
    runtime = "pydantic_ai"

    async def drive(
        self, run: Run, script: Script, request: str, *, saved: str | None, save: Any, stream: bool, retries: int
    ) -> Result:
        from pydantic_ai import Agent, RetryModelRequest
        from pydantic_ai.capabilities import AbstractCapability

        from interlock.adapters import pydantic_ai

        class Retrying(AbstractCapability[Any]):
            async def on_model_request_error(self, ctx: Any, *, request_context: Any, error: Exception) -> Any:
                if request_context.attempt <= retries and getattr(error, "status_code", 0) == 503:
                    raise RetryModelRequest
                raise error

        agent = Agent(name="bot", instructions="Be brief.", capabilities=[Retrying()])
        bound = pydantic_ai.bind(run, pydantic_ai.speaking(agent, script))
        return await pydantic_ai.drive(run, bound, request, saved=saved, save=save, on_event=listening(stream))


class LangChain(RuntimeDriver):
    runtime = "langchain"

    async def drive(
        self, run: Run, script: Script, request: str, *, saved: str | None, save: Any, stream: bool, retries: int
    ) -> Result:
        from langchain.agents import create_agent
        from langchain.agents.middleware import ModelRetryMiddleware, ToolRetryMiddleware

        from interlock.adapters import langchain

        how = {"max_retries": retries, "initial_delay": 0.0, "jitter": False, "on_failure": "error"}
        retrying = [ModelRetryMiddleware(**how), ToolRetryMiddleware(**how)] if retries else []
        agent = partial(create_agent, system_prompt="Be brief.", middleware=retrying)
        bound = langchain.bind(run, langchain.speaking(agent, script))
        return await langchain.drive(run, bound, request, saved=saved, save=save, on_event=listening(stream))


class AgentFramework(RuntimeDriver):
    runtime = "agent_framework"

    async def drive(
        self, run: Run, script: Script, request: str, *, saved: str | None, save: Any, stream: bool, retries: int
    ) -> Result:
        from agent_framework import Agent

        from interlock.adapters import agent_framework
        from interlock.codecs.agent_framework import Scripted

        agent = Agent(client=Scripted(script), name="bot", instructions="Be brief.")
        bound = agent_framework.bind(run, agent_framework.speaking(agent, script))
        return await agent_framework.drive(run, bound, request, saved=saved, save=save, on_event=listening(stream))


class GoogleADK(RuntimeDriver):
    runtime = "google_adk"

    async def drive(
        self, run: Run, script: Script, request: str, *, saved: str | None, save: Any, stream: bool, retries: int
    ) -> Result:
        from google.adk.agents import LlmAgent

        from interlock.adapters import google_adk

        agent = google_adk.speaking(LlmAgent(name="bot", instruction="Be brief."), script)
        bound = google_adk.bind(run, agent)
        return await google_adk.drive(run, bound, request, saved=saved, save=save, on_event=listening(stream))


class Anthropic(RuntimeDriver):
    runtime = "anthropic"

    async def drive(
        self, run: Run, script: Script, request: str, *, saved: str | None, save: Any, stream: bool, retries: int
    ) -> Result:
        from anthropic import AsyncAnthropic

        from interlock.adapters import anthropic

        agent = anthropic.Agent(AsyncAnthropic(api_key="k", max_retries=retries), system="Be brief.")
        bound = anthropic.bind(run, anthropic.speaking(agent, script))
        return await anthropic.drive(run, bound, request, saved=saved, save=save, on_event=listening(stream))


class ClaudeAgent(RuntimeDriver):
    runtime = "claude_agent"

    async def drive(
        self, run: Run, script: Script, request: str, *, saved: str | None, save: Any, stream: bool, retries: int
    ) -> Result:
        from claude_agent_sdk import ClaudeAgentOptions

        from interlock.adapters import claude_agent

        nobody = {"HTTPS_PROXY": "http://127.0.0.1:9"}  # is there: what would leave fails at once
        options = ClaudeAgentOptions(
            system_prompt="Be brief.", env={"CLAUDE_CODE_MAX_RETRIES": str(retries), **nobody}
        )
        bound = claude_agent.bind(run, claude_agent.speaking(claude_agent.Agent(options), script))
        return await claude_agent.drive(run, bound, request, saved=saved, save=save, on_event=listening(stream))


DRIVERS: tuple[type[RuntimeDriver], ...] = (
    OpenAIAgents, PydanticAI, LangChain, AgentFramework, GoogleADK, Anthropic, ClaudeAgent,
)
