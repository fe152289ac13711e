"""OpenAI Agents SDK: `MCPServerStreamableHttp`, and the SDK's own scripted model."""

from __future__ import annotations

import json
from typing import Any

from agents import Agent, RunConfig, Runner
from agents.testing import ScriptedModel, assistant_message, function_call

from tests.runtimes.clients.script import Script, Way
from tests.runtimes.test_examples import example

connect = example("docs/mcp-clients.md", "openai-agents")["connect"]


class Scripted(ScriptedModel):
    """Asks the script for each turn."""

    def __init__(self, script: Script) -> None:
        super().__init__()
        self._script = script

    async def get_response(self, *args: Any, **asked: Any) -> Any:
        told = [_text(item["output"]) for item in asked["input"] if item.get("type") == "function_call_output"]
        turn = self._script.turn([tool.name for tool in asked["tools"]], told)
        if isinstance(turn, str):
            self.enqueue([assistant_message(turn)])
        else:
            self.enqueue([function_call(call.plain, json.dumps(call.args), call_id=call.id) for call in turn])
        return await super().get_response(*args, **asked)


def _text(output: Any) -> str:
    parts = output if isinstance(output, list) else [output]
    return "\n".join(part if isinstance(part, str) else part["text"] for part in parts)


async def drive(way: Way, script: Script) -> str:
    """One run of an agent. Gives its last words."""
    server = connect(way.url, way.key, way.run_id)
    way.adjust(server)
    async with server:
        agent = Agent(name="bot", mcp_servers=[server], model=Scripted(script))
        result = await Runner.run(agent, "go", run_config=RunConfig(tracing_disabled=True))
    return str(result.final_output)
