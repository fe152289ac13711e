"""What is particular to Pydantic AI: what would go around the gateway, its own limits, its agents run by themselves."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable
from typing import Any

import pytest
from pydantic import BaseModel
from pydantic_ai import (
    Agent,
    DeferredToolRequests,
    ModelSettings,
    PromptedOutput,
    TextOutput,
    Tool,
    ToolDefinition,
    ToolOutput,
)
from pydantic_ai.capabilities import AbstractCapability, NativeTool
from pydantic_ai.models.test import TestModel
from pydantic_ai.native_tools import WebSearchTool
from pydantic_ai.toolsets import FunctionToolset

from interlock import ConfigError, Gateway, Run, RunStopped
from interlock.adapters.pydantic_ai import bind, drive, speaking
from interlock.core.turn import Call
from interlock.driving import Script
from tests.runtimes.adapters.conftest import LOOK

Says = Callable[..., Script]


def rogue(text: str = "") -> str:
    """Looks harmless."""
    return text


@pytest.mark.parametrize(
    ("agent", "leak"),
    [
        (Agent(TestModel(), tools=[rogue]), "rogue"),
        (Agent(TestModel(), toolsets=[FunctionToolset([Tool(rogue)])]), "rogue"),
        (Agent(TestModel(), capabilities=[NativeTool(WebSearchTool())]), "web_search"),
        (Agent(TestModel(), output_type=[rogue, str]), "output function rogue"),
        (Agent(TestModel(), output_type=[ToolOutput(rogue), str]), "output function rogue"),
        (Agent(TestModel(), output_type=TextOutput(rogue)), "output function rogue"),
        (Agent(TestModel(), output_type=PromptedOutput([rogue, str])), "output function rogue"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_what_would_go_around_the_gateway_is_refused_by_name(run: Run, agent: Agent[Any, Any], leak: str) -> None:
    with pytest.raises(ConfigError, match=f"around the gateway: {leak};"):
        asyncio.run(drive(run, agent, "go"))
    assert run.report().steps.used == 0


def test_output_functions_of_a_drive_are_refused_as_well(run: Run, says: Says) -> None:
    with pytest.raises(ConfigError, match="around the gateway: output function rogue;"):
        asyncio.run(drive(run, speaking(None, says("done")), "go", output_type=ToolOutput(rogue)))


def test_a_tool_of_its_own_by_the_name_of_one_of_the_gateways_is_refused(run: Run) -> None:
    agent = Agent(TestModel(), tools=[Tool(rogue, name="desk_look")])
    with pytest.raises(ConfigError, match="the agent has a tool 'desk_look', and so has the gateway"):
        asyncio.run(drive(run, agent, "go"))
    assert run.report().steps.used == 0


def test_capabilities_of_its_own_see_the_gateways_tools_and_may_hide_them(run: Run) -> None:
    seen: list[str] = []

    class Hiding(AbstractCapability[Any]):
        async def prepare_tools(self, ctx: Any, tool_defs: list[ToolDefinition]) -> list[ToolDefinition]:
            seen.extend(each.name for each in tool_defs)
            return [each for each in tool_defs if each.name != "desk_note"]

    model = TestModel(call_tools=[])
    bound = bind(run, Agent(model, toolsets=[FunctionToolset([])], capabilities=[Hiding()]))
    result = asyncio.run(drive(run, bound, "go"))
    assert result.status == "completed", result.error
    assert seen == ["desk_look", "desk_note"]
    assert model.last_model_request_parameters is not None
    assert [each.name for each in model.last_model_request_parameters.function_tools] == ["desk_look"]


def test_an_agent_is_bound_once(gateway: Gateway, run: Run) -> None:
    other = gateway.run(agent="bot", tenant="acme", env="test")
    with pytest.raises(ConfigError, match="is bound already"):
        asyncio.run(drive(run, bind(other, Agent(TestModel())), "go"))


def test_an_approval_of_a_tool_that_was_let_pass_is_not_given(let_pass: Callable[..., Run], says: Says) -> None:
    run = let_pass("careful")
    def careful() -> str:
        raise AssertionError("nobody has approved")

    kept: list[str] = []
    agent = Agent(tools=[Tool(careful, requires_approval=True)])
    bound = bind(run, speaking(agent, says([Call("careful", {}, "r1"), LOOK])))
    with pytest.raises(ConfigError, match="careful was let pass, and waits for an approval of pydantic_ai"):
        asyncio.run(drive(run, bound, "go", save=kept.append))
    again = bind(run, speaking(agent, says("done")))
    result = asyncio.run(drive(run, again, saved=kept[0]))
    assert (result.output, result.report.tool_calls.used, result.error) == ("done", 1, None)


def test_what_nobody_has_said_anything_in_is_nothing_to_go_on_from(run: Run, says: Says) -> None:
    kept: list[str] = []
    asyncio.run(drive(run, speaking(None, says("done")), "go", save=kept.append))
    for state in ([], "done"):
        with pytest.raises(ConfigError, match="saved= cannot be read by pydantic_ai"):
            asyncio.run(drive(run, speaking(None, says()), saved=json.dumps({**json.loads(kept[0]), "state": state})))


def test_what_is_let_pass_by_name_runs_beside_the_gateway(let_pass: Callable[..., Run], says: Says) -> None:
    run = let_pass("rogue")
    agent = Agent(tools=[rogue])
    script = says([Call("rogue", {"text": "x"}, "r1"), LOOK], "done")
    result = asyncio.run(drive(run, bind(run, speaking(agent, script)), "go"))
    assert (result.output, result.report.tool_calls.used, result.report.denials) == ("done", 1, 0)


def test_only_the_tools_that_are_named_are_shown(run: Run) -> None:
    model = TestModel(call_tools=[])
    asyncio.run(drive(run, bind(run, Agent(model), tools=["desk.note"]), "go"))
    asked = model.last_model_request_parameters
    assert asked is not None
    assert [tool.name for tool in asked.function_tools] == ["desk_note"]
    assert asked.function_tools[0].parameters_json_schema["required"] == ["text"]


@pytest.mark.parametrize("how", ["run", "run_sync", "run_stream", "iter"])
def test_a_stop_ends_a_run_of_the_agent_itself(run: Run, says: Says, how: str) -> None:
    agent = bind(run, speaking(None, says(*([Call("desk.look", {"at": n}, f"c{n}")] for n in range(9)))))

    async def streamed() -> None:
        async with agent.run_stream("go") as result:
            await result.get_output()

    async def stepped() -> None:
        async with agent.iter("go") as nodes:
            async for _ in nodes:
                pass

    def synced() -> None:
        loop = asyncio.new_event_loop()  # else the runtime makes one, and leaves it open
        asyncio.set_event_loop(loop)
        try:
            agent.run_sync("go")
        finally:
            loop.close()

    ways = {
        "run": lambda: asyncio.run(agent.run("go")),
        "run_sync": synced,
        "run_stream": lambda: asyncio.run(streamed()),
        "iter": lambda: asyncio.run(stepped()),
    }
    with pytest.raises(RunStopped) as stopped:
        ways[how]()
    assert stopped.value.reason == run.stop_reason == "max_steps"
    assert (run.report().steps.used, run.report().steps.held) == (5, 0)


def test_an_output_that_is_a_value_comes_out_as_one(run: Run, says: Says) -> None:
    class Verdict(BaseModel):
        guilty: bool

    script = says([LOOK], [Call("final_result", {"guilty": True}, "out")])
    result = asyncio.run(drive(run, speaking(Agent(output_type=Verdict), script), "go"))
    assert (result.status, result.output, result.report.denials) == ("completed", Verdict(guilty=True), 0)


def test_an_agent_that_knows_deferred_requests_already_stays_as_it_is(run: Run, says: Says) -> None:
    agent = Agent(output_type=[str, DeferredToolRequests])
    result = asyncio.run(drive(run, speaking(agent, says([LOOK], "done")), "go"))
    assert result.output == "done", repr(result.error)


@pytest.mark.parametrize(("own", "bound", "announced"), [(None, 70, 70), (30, 70, 30), (70, 30, 30), (30, None, 30)])
def test_what_a_turn_may_put_out_is_what_its_step_was_announced_with(
    run: Run, own: int | None, bound: int | None, announced: int
) -> None:
    settings = ModelSettings() if own is None else ModelSettings(max_tokens=own)
    agent = Agent(TestModel(call_tools=[]), model_settings=settings)
    asyncio.run(drive(run, bind(run, agent, max_output_tokens=bound), "go"))
    (step,) = run._gateway.store.steps_of(run.tenant, run.run_id)
    assert step.max_output_tokens == announced
