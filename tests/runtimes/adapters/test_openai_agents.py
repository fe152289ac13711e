"""What is particular to the OpenAI Agents SDK: what would go around the gateway, and what its own Runner does."""

from __future__ import annotations

import asyncio
import dataclasses
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from agents import (
    Agent,
    CodeInterpreterTool,
    HostedMCPTool,
    ModelSettings,
    RunConfig,
    Runner,
    WebSearchTool,
    function_tool,
    handoff,
    set_tracing_disabled,
)
from agents.mcp import MCPServerStdio
from agents.models.interface import Model, ModelProvider

import interlock
from interlock import ConfigError, Gateway, Run
from interlock.adapters.openai_agents import Stop, bind, drive, speaking
from interlock.core.turn import Call
from interlock.driving import Script
from interlock.governed import Result
from tests.runtimes.adapters.conftest import LOOK

Says = Callable[..., Script]

set_tracing_disabled(True)


@function_tool
def rogue() -> str:
    return ""


def rogue_when_asked() -> str:
    raise AssertionError("nobody has approved")


TO_B = [Call("transfer_to_b", {}, "h1")]
ROGUE = [Call("rogue_when_asked", {}, "r1")]


def hosted(kind: str) -> Any:
    if kind == "hosted_mcp":
        config = {"type": "mcp", "server_label": "x", "server_url": "https://x.example", "require_approval": "never"}
        return HostedMCPTool(tool_config=config)
    if kind == "code_interpreter":
        return CodeInterpreterTool(tool_config={"type": "code_interpreter", "container": {"type": "auto"}})
    return WebSearchTool()


@pytest.mark.parametrize(
    ("agent", "leak"),
    [
        (Agent(name="a", tools=[rogue]), "rogue"),
        (Agent(name="a", tools=[hosted("web_search")]), "web_search"),
        (Agent(name="a", tools=[hosted("code_interpreter")]), "code_interpreter"),
        (Agent(name="a", tools=[hosted("hosted_mcp")]), "hosted_mcp"),
        (Agent(name="a", mcp_servers=[MCPServerStdio({"command": "true"}, name="files")]), "files"),
        (Agent(name="a", handoffs=[Agent(name="b")]), "handoff to b"),
        (Agent(name="a", handoffs=[handoff(Agent(name="b"))]), "handoff to b"),
        (Agent(name="a", tools=[Agent(name="b").as_tool("ask_b", "asks b")]), "ask_b"),
        (Agent(name="a", prompt={"id": "pmpt_1"}), "prompt"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_what_would_go_around_the_gateway_is_refused_by_name(
    run: Run, let_pass: Callable[..., Run], agent: Agent[Any], leak: str
) -> None:
    with pytest.raises(ConfigError, match=f"around the gateway: {leak};"):
        bind(run, agent)
    bound = bind(let_pass(leak), agent)
    assert {"desk_look", "desk_note"} <= {tool.name for tool in bound.tools}


@pytest.mark.parametrize("what", ["tools", "hosted", "handoffs", "a name of the gateway's"])
def test_what_an_agent_is_given_once_it_is_bound_is_refused_as_well(run: Run, says: Says, what: str) -> None:
    made = speaking(Agent(name="a"), says([Call("rogue", {}, "r1")], "done"))
    bound = bind(run, made)
    ways: dict[str, Callable[[], None]] = {
        "tools": lambda: bound.tools.append(rogue),
        "hosted": lambda: bound.tools.append(WebSearchTool()),
        "handoffs": lambda: made.handoffs.append(Agent(name="b")),
        "a name of the gateway's": lambda: bound.tools.append(dataclasses.replace(rogue, name="desk_look")),
    }
    ways[what]()
    with pytest.raises(ConfigError, match=r"around the gateway: (rogue|web_search|handoff to b|desk_look);"):
        asyncio.run(drive(run, bound, "go"))
    assert run.report().steps.used == 0


FILES = """
from mcp.server.mcpserver import MCPServer
files = MCPServer("files")
files.tool(name="ls")(lambda path: f"lists {path}")
files.run()
"""


def test_a_server_that_is_let_pass_brings_its_tools_and_one_that_came_later_does_not(
    run: Run, let_pass: Callable[..., Run], says: Says, tmp_path: Path
) -> None:
    (tmp_path / "files.py").write_text(FILES)
    told: dict[str, str] = {}
    said = says([Call("ls", {"path": "x"}, "l1"), LOOK], "done")
    script = Script(say=said.say, hear=told.update, model="m", max_output_tokens=100)

    passing = let_pass("files")

    async def go() -> Result:
        command: Any = {"command": sys.executable, "args": [str(tmp_path / "files.py")]}
        async with MCPServerStdio(command, name="files") as server:
            late = bind(run, speaking(Agent(name="a"), script))
            late.mcp_servers.append(server)
            with pytest.raises(ConfigError, match="around the gateway: files;"):
                await drive(run, late, "go")
            agent = speaking(Agent(name="a", mcp_servers=[server]), script)
            return await drive(passing, bind(passing, agent), "go")

    result = asyncio.run(go())
    assert result.report is not None, result.error
    assert (result.output, result.report.calls, result.report.denials) == ("done", {"done": 1}, 0)
    assert "lists x" in str(told["l1"])


def test_models_are_looked_up_with_the_provider_of_the_run_config(run: Run, says: Says) -> None:
    asked: list[str | None] = []

    class Provider(ModelProvider):
        def get_model(self, model_name: str | None) -> Model:
            asked.append(model_name)
            return speaking(None, says("from b") if model_name == "ours-b" else says(TO_B)).model

    to = bind(run, Agent(name="b", model="ours-b"))
    agent = Agent(name="a", model="ours-a", handoffs=[to])
    result = asyncio.run(drive(run, agent, "go", run_config=RunConfig(model_provider=Provider())))
    assert (result.output, asked) == ("from b", ["ours-a", "ours-b"])


def test_a_limit_beside_the_ledger_is_refused(run: Run, says: Says) -> None:
    with pytest.raises(ConfigError, match="max_turns would count beside the ledger"):
        asyncio.run(drive(run, speaking(None, says("done")), "go", max_turns=3))


def test_an_approval_of_a_tool_that_was_let_pass_is_not_given(let_pass: Callable[..., Run], says: Says) -> None:
    run = let_pass("rogue_when_asked")
    made = speaking(Agent(name="a", tools=[function_tool(rogue_when_asked, needs_approval=True)]), says(ROGUE))
    with pytest.raises(ConfigError, match="rogue_when_asked was let pass, and waits for an approval of openai_agents"):
        asyncio.run(drive(run, bind(run, made), "go"))


def test_an_agent_that_is_handed_over_to_is_bound_to_the_same_run(gateway: Gateway, run: Run, says: Says) -> None:
    other = gateway.run(agent="bot", tenant="acme", env="test")
    with pytest.raises(ConfigError, match="handoff to b"):
        bind(run, Agent(name="a", handoffs=[bind(other, Agent(name="b"))]))
    to = bind(run, speaking(Agent(name="b"), says("from b")))
    assert bind(run, Agent(name="a", handoffs=[to, handoff(to)])).handoffs


def test_an_agent_that_was_handed_over_to_may_wait_for_people(says: Says) -> None:
    """With tools of its own, it pauses and is taken up like the first; what it has no tool for, it is told of."""
    config = {"ledger": "memory:", "policy": {"allow": ["look"]}, "approvals": {"required_for": ["pay"]}}
    with interlock.open(config) as gateway:
        gateway.tool("pay", effect="write")(lambda amount=0: f"paid {amount}")
        gateway.tool("look", effect="read")(lambda: "seen")
        told: dict[str, str] = {}

        def driven(saved: str | None, *lines: Any) -> Result:
            run = gateway.run(agent="bot", tenant="acme", env="test", run_id="r1")
            said = says(*lines, "done")
            script = Script(say=said.say, hear=told.update, model="m", max_output_tokens=100)
            to = bind(run, speaking(Agent(name="b"), script))
            agent = bind(run, speaking(Agent(name="a", handoffs=[to]), says(TO_B)), tools=["look"])
            return asyncio.run(drive(run, agent, "go", saved=saved))

        paused = driven(None, [Call("pay", {"amount": 1}, "p1"), Call("erase", {}, "e1")])
        assert paused.report is not None
        gateway.control.approve(*paused.report.pending, by="joe")
        ended = driven(paused.saved)
        assert ended.report is not None, ended.error
        assert (paused.status, ended.output, ended.report.calls) == ("paused", "done", {"done": 1})
        assert (told["p1"], told["e1"][:25]) == ("paid 1", "NOT DONE: erase was refus")


def test_an_agent_is_bound_once(run: Run) -> None:
    with pytest.raises(ConfigError, match="'a' is bound already"):
        bind(run, bind(run, Agent(name="a")))


def test_only_the_tools_that_are_named_are_shown(run: Run) -> None:
    assert [tool.name for tool in bind(run, Agent(name="a"), tools=["desk.note"]).tools] == ["desk_note"]
    with pytest.raises(ConfigError, match=r"no tool 'desk.erase' can be shown .* desk.look, desk.note"):
        bind(run, Agent(name="a"), tools=["desk.erase"])


@pytest.mark.parametrize(("own", "bound", "announced"), [(None, 70, 70), (30, 70, 30), (70, 30, 30), (30, None, 30)])
def test_what_a_turn_may_put_out_is_what_its_step_was_announced_with(
    run: Run, says: Says, own: int | None, bound: int | None, announced: int
) -> None:
    agent = speaking(Agent(name="a"), says("done"))
    agent = agent.clone(model_settings=ModelSettings(max_tokens=own))
    asyncio.run(drive(run, bind(run, agent, max_output_tokens=bound), "go"))
    (step,) = run._gateway.store.steps_of(run.tenant, run.run_id)
    assert step.max_output_tokens == agent.model.calls[0].model_settings.max_tokens == announced


def test_a_model_beside_the_agents_own_is_refused(run: Run, says: Says) -> None:
    agent = speaking(None, says("done"))
    with pytest.raises(ConfigError, match=r"RunConfig\.model"):
        asyncio.run(drive(run, agent, "go", run_config=RunConfig(model="gpt-5-mini")))
    assert run.report().steps.used == 0


@pytest.mark.parametrize("stream", [False, True])
def test_a_stop_ends_a_run_of_the_runner_itself(run: Run, says: Says, stream: bool) -> None:
    agent = bind(run, speaking(None, says(*([Call("desk.look", {"at": n}, f"c{n}")] for n in range(9)))))

    async def go() -> None:
        if not stream:
            await Runner.run(agent, "go", max_turns=None)
        else:
            async for _ in Runner.run_streamed(agent, "go", max_turns=None).stream_events():
                pass

    with pytest.raises(Stop) as stopped:
        asyncio.run(go())
    assert stopped.value.reason == run.stop_reason == "max_steps"
    assert stopped.value.run_data is not None
    assert run.report().steps.used == 5


def test_a_stream_that_nobody_reads_is_governed_too(run: Run, says: Says) -> None:
    agent = bind(run, speaking(None, says([LOOK], "done")))

    async def go() -> None:
        result = Runner.run_streamed(agent, "go", max_turns=None)
        await result.run_loop_task  # the SDK's own task, which reads nothing

    asyncio.run(go())
    report = run.report()
    assert (report.steps.used, report.tool_calls.used, report.steps.held) == (2, 1, 0)


def test_a_stream_that_is_left_gives_back_its_step(run: Run, says: Says) -> None:
    model = bind(run, speaking(None, says("done"))).model

    async def go() -> None:
        nowhere = {"previous_response_id": None, "conversation_id": None, "prompt": None}
        stream = model.stream_response(None, "go", ModelSettings(), [], None, [], None, **nowhere)
        async for _ in stream:
            break
        await stream.aclose()

    asyncio.run(go())
    assert run.report().steps.held == 0


def test_tools_are_described_as_they_were_registered(run: Run) -> None:
    look = next(tool for tool in bind(run, Agent(name="a")).tools if tool.name == "desk_look")
    assert look.description == "Look at something."
    assert look.params_json_schema["required"] == ["at"]
