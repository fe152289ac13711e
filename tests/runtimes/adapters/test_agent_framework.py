"""What is particular to Microsoft's Agent Framework: other tools, its own limits, agents that are run by themselves."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable
from typing import Any

import pytest
from agent_framework import Agent, ChatMiddleware, ContextProvider, Message, tool
from pydantic import BaseModel

import interlock
from interlock import ConfigError, Gateway, Run
from interlock.adapters.agent_framework import Stop, bind, drive, speaking
from interlock.codecs.agent_framework import Scripted
from interlock.core.turn import Call
from interlock.driving import Script
from tests.runtimes.adapters.conftest import LOOK

Says = Callable[..., Script]


@tool(approval_mode="never_require")
def rogue(text: str = "") -> str:
    """Looks harmless."""
    return text


class Sly(ContextProvider):
    """Brings a tool along."""

    def __init__(self) -> None:
        super().__init__("sly")

    async def before_run(self, *, context: Any, **_more: Any) -> None:
        context.extend_tools(self.source_id, [rogue])


def agent_of(script: Script, **more: Any) -> Agent[Any]:
    return Agent(client=Scripted(script), default_options={"max_tokens": 100}, **more)


@pytest.mark.parametrize(
    ("more", "leak"),
    [
        ({"tools": [rogue]}, "rogue"),
        ({"tools": [{"type": "web_search"}]}, "web_search"),
        ({"context_providers": [Sly()]}, "rogue"),
    ],
    ids=["function", "hosted", "context provider"],
)
def test_what_would_go_around_the_gateway_is_refused_by_name(run: Run, says: Says, more: Any, leak: str) -> None:
    with pytest.raises(ConfigError, match=f"around the gateway: {leak};"):
        asyncio.run(drive(run, agent_of(says("done"), **more), "go"))
    assert run.report().steps.used == 0


def test_what_middleware_of_a_drive_adds_is_refused_as_well(run: Run, says: Says) -> None:
    class Searching(ChatMiddleware):
        async def process(self, context: Any, call_next: Callable[[], Any]) -> None:
            context.options = {**context.options, "tools": [*context.options["tools"], {"type": "web_search"}]}
            await call_next()

    with pytest.raises(ConfigError, match="around the gateway: web_search;"):
        asyncio.run(drive(run, agent_of(says("done")), "go", middleware=[Searching()]))


def test_what_is_no_agent_of_the_framework_and_what_is_bound_is_refused(gateway: Gateway, run: Run, says: Says) -> None:
    with pytest.raises(ConfigError, match="Sly cannot be bound"):
        bind(run, Sly())  # type: ignore[arg-type]
    other = gateway.run(agent="bot", tenant="acme", env="test")
    with pytest.raises(ConfigError, match="'a' is bound already"):
        asyncio.run(drive(run, bind(other, agent_of(says("done"), name="a")), "go"))


def test_an_approval_of_a_tool_that_was_let_pass_is_not_given(let_pass: Callable[..., Run], says: Says) -> None:
    run = let_pass("careful")
    @tool(approval_mode="always_require")
    def careful() -> str:
        raise AssertionError("nobody has approved")

    agent = agent_of(says([Call("careful", {}, "c1")]), tools=[careful])
    with pytest.raises(ConfigError, match="careful was let pass, and waits for an approval of agent_framework"):
        asyncio.run(drive(run, bind(run, agent), "go"))


@pytest.mark.filterwarnings("ignore:An actionable function_call had an empty call_id")
@pytest.mark.parametrize(("ids", "told"), [(("", ""), {"done": 2}), (("c", "c"), {"done": 1})], ids=["none", "one"])
def test_calls_that_share_an_id_or_have_none_are_made_with_their_own_arguments(
    run: Run, says: Says, ids: tuple[str, str], told: dict[str, int]
) -> None:
    calls = [Call("desk.note", {"text": text}, call_id) for text, call_id in zip("ab", ids, strict=True)]
    result = asyncio.run(drive(run, agent_of(says(calls, "done")), "go"))
    assert result.error is None
    args = [bytes(entry.args).decode() for entry in run._gateway.audit.entries("acme") if entry.kind == "decided"]
    assert run.report().calls == told
    assert sorted(args) == ['{"text":"a"}', '{"text":"b"}'][: told["done"]]


def test_what_is_let_pass_by_name_runs_beside_the_gateway(let_pass: Callable[..., Run], says: Says) -> None:
    run = let_pass("rogue")
    agent = agent_of(says([Call("rogue", {"text": "x"}, "r1"), LOOK], "done"), tools=[rogue])
    result = asyncio.run(drive(run, bind(run, agent), "go"))
    assert (result.output, result.report.tool_calls.used, result.report.denials) == ("done", 1, 0)


@pytest.mark.parametrize("stream", [False, True])
def test_a_stop_ends_a_run_of_the_agent_itself(run: Run, says: Says, stream: bool) -> None:
    agent = bind(run, agent_of(says(*([Call("desk.look", {"at": n}, f"c{n}")] for n in range(9)))))

    async def go() -> None:
        if stream:
            async for _ in agent.run("go", stream=True):
                pass
        else:
            await agent.run("go")

    with pytest.raises(Stop) as stopped:
        asyncio.run(go())
    assert stopped.value.reason == run.stop_reason == "max_steps"
    assert (run.report().steps.used, run.report().steps.held) == (5, 0)


def test_binding_leaves_the_agent_and_its_client_as_they_were(run: Run, says: Says) -> None:
    agent = agent_of(says("done"))
    before = dict(agent.client.function_invocation_configuration)
    bound = bind(run, agent)
    assert (agent.default_options.get("tools") or [], agent.middleware) == ([], None)
    assert agent.client.function_invocation_configuration == before
    assert bound.client.function_invocation_configuration["max_iterations"] > 1000


def test_a_pause_is_an_approval_request_of_its_own(says: Says) -> None:
    config = {"ledger": "memory:", "policy": {"allow": ["pay"]}, "approvals": {"required_for": ["pay"]}}
    with interlock.open(config) as gateway:
        gateway.tool("pay", effect="write")(lambda amount=0: f"paid {amount}")
        run = gateway.run(agent="bot", tenant="acme", env="test")
        agent = bind(run, agent_of(says([Call("pay", {"amount": 1}, "c1")], "done")))

        async def go() -> str:
            session = agent.create_session()
            asked = (await agent.run("go", session=session)).user_input_requests
            gateway.control.approve(*run.report().pending, by="joe")
            yes = Message("user", [each.to_function_approval_response(approved=True) for each in asked])
            return (await agent.run(yes, session=session)).text

        assert asyncio.run(go()) == "done"
        assert run.report().calls == {"done": 1}


def test_an_output_that_is_a_value_comes_out_as_one(run: Run, says: Says) -> None:
    class Verdict(BaseModel):
        guilty: bool

    agent = agent_of(says([LOOK], json.dumps({"guilty": True})))
    result = asyncio.run(drive(run, agent, "go", options={"response_format": Verdict}))
    assert (result.status, result.output) == ("completed", Verdict(guilty=True))


@pytest.mark.parametrize(("own", "bound", "announced"), [(None, 70, 70), (30, 70, 30), (70, 30, 30), (30, None, 30)])
def test_what_a_turn_may_put_out_is_what_its_step_was_announced_with(
    run: Run, says: Says, own: int | None, bound: int | None, announced: int
) -> None:
    agent = speaking(None, says("done"))
    agent.default_options["max_tokens"] = own
    asyncio.run(drive(run, bind(run, agent, max_output_tokens=bound), "go"))
    (step,) = run._gateway.store.steps_of(run.tenant, run.run_id)
    assert step.max_output_tokens == announced
