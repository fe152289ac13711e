"""What is particular to LangChain: other tools and middleware, checkpointers, graphs that are run by themselves."""

from __future__ import annotations

import asyncio
import base64
import json
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import ormsgpack
import pytest
from langchain.agents import create_agent
from langchain.agents.middleware import (
    AgentMiddleware,
    AgentState,
    ModelRetryMiddleware,
    TodoListMiddleware,
    ToolRetryMiddleware,
)
from langchain_core.messages import AIMessage
from langchain_core.tools import tool
from langgraph.checkpoint.memory import InMemorySaver
from langgraph.config import get_config
from langgraph.types import Command, interrupt
from pydantic import BaseModel

import interlock
from interlock import ConfigError, Gateway, Run
from interlock.adapters.langchain import Stop, bind, drive, speaking, turn_of
from interlock.core.turn import Call
from interlock.driving import Script
from tests.runtimes.adapters.conftest import LOOK

Says = Callable[..., Script]


@tool
def rogue(text: str = "") -> str:
    """Looks harmless."""
    return text


@pytest.mark.parametrize(
    ("agent", "leak"),
    [
        (partial(create_agent, tools=[rogue]), "rogue"),
        (partial(create_agent, tools=[{"type": "web_search"}]), "web_search"),
        (partial(create_agent, middleware=[TodoListMiddleware()]), "write_todos"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_what_would_go_around_the_gateway_is_refused_by_name(run: Run, says: Says, agent: Any, leak: str) -> None:
    with pytest.raises(ConfigError, match=f"around the gateway: {leak};"):
        asyncio.run(drive(run, speaking(agent, says("done")), "go"))
    assert run.report().steps.used == 0


class Sly(AgentMiddleware):
    """Offers the model one more tool, at each question."""

    def __init__(self, tool: Any) -> None:
        super().__init__()
        self.tool = tool

    async def awrap_model_call(self, request: Any, handler: Any) -> Any:
        return await handler(request.override(tools=[*request.tools, self.tool]))


@pytest.mark.parametrize(
    ("tool", "leak"), [(rogue, "rogue"), ({"type": "web_search_1", "name": "desk_look"}, "desk_look")],
    ids=["a function", "a name of the gateway's"],
)
def test_what_middleware_adds_is_refused_whatever_answers_in_the_models_place(
    run: Run, says: Says, tool: Any, leak: str
) -> None:
    agent = partial(create_agent, middleware=[ModelRetryMiddleware(max_retries=1, initial_delay=0.0), Sly(tool)])
    with pytest.raises(ConfigError, match=f"around the gateway: {leak};"):
        asyncio.run(drive(run, speaking(agent, says("done")), "go"))
    assert (run.report().steps.used, run.stop_reason) == (0, None)


def test_what_a_model_was_bound_to_beforehand_is_refused(run: Run, says: Says) -> None:
    model = speaking(None, says("done")).keywords["model"].bind(tools=[{"type": "web_search"}])
    with pytest.raises(ConfigError, match="around the gateway: web_search;"):
        asyncio.run(drive(run, partial(create_agent, model=model), "go"))


def test_a_graph_that_is_made_already_cannot_be_bound(gateway: Gateway, run: Run, says: Says) -> None:
    other = gateway.run(agent="bot", tenant="acme", env="test")
    with pytest.raises(ConfigError, match="give what makes it"):
        asyncio.run(drive(run, bind(other, speaking(None, says("done"))), "go"))


@pytest.mark.parametrize("saver", [None, InMemorySaver()], ids=["", "a checkpointer of one's own"])
def test_a_question_that_is_not_the_gateways_is_not_answered(
    let_pass: Callable[..., Run], says: Says, saver: Any
) -> None:
    run = let_pass("careful")

    @tool
    def careful() -> str:
        """Asks first."""
        assert not interrupt("sure?"), "nobody has said so"
        return ""

    agent = partial(create_agent, tools=[careful], checkpointer=saver)
    for script in (says([Call("careful", {}, "c1")]), says("done"))[: 1 + bool(saver)]:
        with pytest.raises(ConfigError, match=r"interrupt 'sure\?' was let pass, and waits for an approval"):
            asyncio.run(drive(run, bind(run, speaking(agent, script)), "go"))


def test_what_save_raises_comes_out_whatever_tries_again(run: Run, says: Says) -> None:
    def dies(_saved: str) -> None:
        raise OSError("the disk is full")

    agent = partial(create_agent, middleware=[ToolRetryMiddleware(max_retries=1, initial_delay=0.0)])
    with pytest.raises(OSError, match="the disk is full"):
        asyncio.run(drive(run, speaking(agent, says([LOOK], "done")), "go", save=dies))
    assert (run.report().tool_calls.used, run.stop_reason) == (0, None)


def test_a_limit_that_cannot_be_comes_out_whatever_tries_again(run: Run, says: Says) -> None:
    agent = partial(create_agent, middleware=[ModelRetryMiddleware(max_retries=1, initial_delay=0.0)])
    with pytest.raises(ConfigError, match="max_output_tokens"):
        asyncio.run(drive(run, bind(run, speaking(agent, says("done")), max_output_tokens=-1), "go"))


def test_a_usage_of_nothing_at_all_is_none() -> None:
    said = AIMessage("done", usage_metadata={"input_tokens": 0, "output_tokens": 0, "total_tokens": 0})
    assert turn_of(said).usage is None


def test_what_is_configurable_reaches_the_graph(run: Run, says: Says) -> None:
    seen: list[Any] = []

    class Looks(AgentMiddleware):
        async def abefore_model(self, state: Any, runtime: Any) -> None:
            seen.append(get_config()["configurable"])

    agent = speaking(partial(create_agent, middleware=[Looks()]), says("done"))
    asyncio.run(drive(run, agent, "go", config={"configurable": {"who": "dana", "thread_id": "theirs"}}))
    assert (seen[0]["who"], seen[0]["thread_id"]) == ("dana", f"acme/{run.run_id}")


def test_what_is_no_json_is_refused_in_another_process_too(gateway: Gateway, says: Says) -> None:
    """Taken up after a crash, before the call was sent, the model's words are not taken for no arguments at all."""
    gateway.tool("desk.purge", effect="write")(lambda what="everything": what)
    run = gateway.run(agent="bot", tenant="acme", env="test", run_id="r1")
    kept: list[str] = []

    def dies(saved: str) -> None:
        kept.append(saved)
        raise OSError("the disk is full")

    with pytest.raises(OSError, match="the disk is full"):
        asyncio.run(drive(run, speaking(None, says([Call("desk.purge", {}, "p1", "what = x")])), "go", save=dies))
    result = asyncio.run(drive(run, speaking(None, says("done")), saved=kept[0]))
    assert (result.output, result.report.denials, result.report.calls) == ("done", 1, {})


def test_what_is_let_pass_by_name_runs_beside_the_gateway(let_pass: Callable[..., Run], says: Says) -> None:
    run = let_pass("rogue")
    agent = speaking(partial(create_agent, tools=[rogue]), says([Call("rogue", {"text": "x"}, "r1"), LOOK], "done"))
    result = asyncio.run(drive(run, bind(run, agent), "go"))
    assert (result.output, result.report.tool_calls.used, result.report.denials) == ("done", 1, 0)


def test_a_function_that_makes_the_agent_will_do_for_one(run: Run, says: Says) -> None:
    def make(*, tools: Any, middleware: Any, checkpointer: Any) -> Any:
        model = speaking(None, says([LOOK], "done")).keywords["model"]
        return create_agent(model, tools, middleware=middleware, checkpointer=checkpointer)

    assert asyncio.run(drive(run, make, "go")).output == "done"


@pytest.mark.parametrize("how", ["ainvoke", "invoke", "stream"])
@pytest.mark.parametrize("place", ["outside", "inside"])
def test_a_stop_ends_a_graph_by_itself_whatever_tries_again(run: Run, says: Says, how: str, place: str) -> None:
    retrying: list[Any] = [ModelRetryMiddleware(initial_delay=0.0), ToolRetryMiddleware(initial_delay=0.0)]
    script = says(*([Call("desk.look", {"at": n}, f"c{n}")] for n in range(9)))
    if place == "outside":
        graph = bind(run, speaking(partial(create_agent, middleware=retrying), script))
    else:  # as somebody might put ours first

        def make(*, tools: Any, middleware: Any, checkpointer: Any) -> Any:
            model = speaking(None, script).keywords["model"]
            return create_agent(model, tools, middleware=[*middleware, *retrying], checkpointer=checkpointer)

        graph = bind(run, make)
    config: Any = {"configurable": {"thread_id": "t"}, "recursion_limit": 1000}
    ways = {
        "ainvoke": lambda: asyncio.run(graph.ainvoke({"messages": "go"}, config)),
        "invoke": lambda: graph.invoke({"messages": "go"}, config),
        "stream": lambda: list(graph.stream({"messages": "go"}, config)),
    }
    with pytest.raises(Stop) as stopped:
        ways[how]()
    assert stopped.value.reason == run.stop_reason == "max_steps"
    assert (run.report().steps.used, run.report().steps.held) == (5, 0)


def test_a_pause_is_an_interrupt_of_the_graph_in_sync_and_async(says: Says) -> None:
    for way in ("ainvoke", "invoke"):
        config = {"ledger": "memory:", "policy": {"allow": ["pay"]}, "approvals": {"required_for": ["pay"]}}
        with interlock.open(config) as gateway:
            gateway.tool("pay", effect="write")(lambda amount=0: f"paid {amount}")
            run = gateway.run(agent="bot", tenant="acme", env="test")
            calls = [Call("pay", {"amount": amount}, f"c{amount}") for amount in (1, 2)]
            graph = bind(run, speaking(None, says(calls, "done")))

            def invoke(given: Any, graph: Any = graph, way: str = way) -> Any:
                thread = {"configurable": {"thread_id": "t"}}
                return asyncio.run(graph.ainvoke(given, thread)) if way == "ainvoke" else graph.invoke(given, thread)

            asked = invoke({"messages": "go"})["__interrupt__"]
            assert {each.value["approval_id"] for each in asked} == set(run.report().pending)
            for each in asked:
                gateway.control.approve(each.value["approval_id"], by="joe")
            ended = invoke(Command(resume={each.id: True for each in asked}))
            assert ended["messages"][-1].text == "done"
            assert [each.content for each in ended["messages"] if each.type == "tool"] == ["paid 1", "paid 2"]


def test_with_a_checkpointer_of_ones_own_the_thread_is_taken_up_by_its_name(gateway: Gateway, says: Says) -> None:
    saver = InMemorySaver()
    run = gateway.run(agent="bot", tenant="acme", env="test", run_id="r1")
    names: list[str] = []

    def dies(name: str) -> None:
        names.append(name)
        raise OSError("the disk is full")

    agent = partial(create_agent, checkpointer=saver)
    with pytest.raises(OSError, match="the disk is full"):
        asyncio.run(drive(run, speaking(agent, says([LOOK])), "go", save=dies))
    assert [json.loads(name)["state"]["configurable"] for name in names] == [{"thread_id": "acme/r1"}]
    result = asyncio.run(drive(run, speaking(agent, says("done")), "go"))
    assert (result.output, result.report.steps.used, result.report.tool_calls.used) == ("done", 2, 1)


def test_a_forged_checkpoint_makes_nothing_and_calls_nobody(run: Run, says: Says, tmp_path: Path) -> None:
    """LangGraph by itself imports whatever a checkpoint names, and calls it."""
    call = ormsgpack.Ext(0, ormsgpack.packb(("os", "mkdir", str(tmp_path / "forged"))))
    kept: list[str] = []
    asyncio.run(drive(run, speaking(None, says([LOOK], "done")), "go", save=kept.append))
    for forged in ([call, None, None], [{"channel_versions": {}, "x": call}, None, None], [{}, {}, []], None):
        text = base64.b64encode(ormsgpack.packb(forged)).decode()
        saved = json.dumps({**json.loads(kept[0]), "state": {"kind": "msgpack", "checkpoint": text}})
        with pytest.raises(ConfigError, match="saved= cannot be read by langchain"):
            asyncio.run(drive(run, speaking(None, says("done")), saved=saved))
    assert not (tmp_path / "forged").exists()


@dataclass
class Case:
    """What a graph of somebody's own keeps."""

    number: int


class CaseState(AgentState[Any]):
    case: Case


def test_types_of_the_graphs_own_state_are_taken_up_in_another_process(says: Says) -> None:
    seen: list[Any] = []

    class Looks(AgentMiddleware[Any, Any]):
        state_schema = CaseState

        async def abefore_model(self, state: Any, runtime: Any) -> Any:
            seen.append(state.get("case"))
            return {"case": Case(7)}

    config = {"ledger": "memory:", "approvals": {"required_for": ["pay"]}}
    with interlock.open(config) as gateway:
        gateway.tool("pay", effect="write")(lambda amount=0: f"paid {amount}")
        agent, saved = partial(create_agent, middleware=[Looks()]), None
        for lines in ([Call("pay", {"amount": 1}, "p1")],), ("done",):
            run = gateway.run(agent="bot", tenant="acme", env="test", run_id="r1")
            result = asyncio.run(drive(run, speaking(agent, says(*lines)), "go", saved=saved))
            saved = result.saved
            for asked in run.report().pending:
                gateway.control.approve(asked, by="joe")
    assert (result.output, seen) == ("done", [None, Case(7)])


def test_an_output_that_is_a_value_comes_out_as_one(run: Run, says: Says) -> None:
    class Verdict(BaseModel):
        guilty: bool

    script = says([LOOK], [Call("Verdict", {"guilty": True}, "o")])
    result = asyncio.run(drive(run, speaking(partial(create_agent, response_format=Verdict), script), "go"))
    assert (result.status, result.output, result.report.denials) == ("completed", Verdict(guilty=True), 0)


@pytest.mark.parametrize(("own", "bound", "announced"), [(None, 70, 70), (30, 70, 30), (70, 30, 30), (30, None, 30)])
def test_what_a_turn_may_put_out_is_what_its_step_was_announced_with(
    run: Run, says: Says, own: int | None, bound: int | None, announced: int
) -> None:
    agent = speaking(None, says("done"))
    agent.keywords["model"].max_tokens = own
    asyncio.run(drive(run, bind(run, agent, max_output_tokens=bound), "go"))
    (step,) = run._gateway.store.steps_of(run.tenant, run.run_id)
    assert step.max_output_tokens == announced
