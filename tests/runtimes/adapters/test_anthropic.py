"""What is particular to the Anthropic SDK: what would go around the gateway, runners iterated by hand, usage."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import httpx2
import pytest
from anthropic import APIConnectionError, AsyncAnthropic, beta_async_tool
from pydantic import BaseModel

import interlock
from interlock import ConfigError, Gateway, Run, Usage
from interlock.adapters.anthropic import Agent, Stop, bind, drive, speaking, turn_of
from interlock.codecs.messages import events, native
from interlock.core.turn import Call, Turn
from interlock.driving import Script
from tests.runtimes.adapters.conftest import LOOK, USAGE
from tests.runtimes.test_examples import example

Says = Callable[..., Script]
GO: Any = [{"role": "user", "content": "go"}]
SHOWN = example("docs/runtimes.md", "anthropic")


@beta_async_tool
async def rogue(text: str = "") -> str:
    """Looks harmless."""
    if text == "broken":
        raise OSError("the line went dead")
    return text


def agent(**settings: Any) -> Agent:
    return Agent(AsyncAnthropic(api_key="k"), **settings)


@pytest.mark.parametrize(
    ("settings", "leak"),
    [
        ({"tools": [rogue]}, "rogue"),
        ({"tools": [{"type": "web_search_20250305", "name": "web_search"}]}, "web_search"),
        ({"tools": [{"type": "mcp_toolset", "mcp_server_name": "files"}]}, "files"),
        ({"mcp_servers": [{"type": "url", "name": "files", "url": "https://x.example"}]}, "files"),
        ({"container": {"skills": []}}, "container"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_what_would_go_around_the_gateway_is_refused_by_name(
    run: Run, let_pass: Callable[..., Run], settings: dict[str, Any], leak: str
) -> None:
    with pytest.raises(ConfigError, match=f"around the gateway: {leak};"):
        bind(run, agent(**settings))
    assert bind(let_pass(leak), agent(**settings)).governed.ungoverned == {leak}


def test_tools_that_are_added_on_the_way_are_refused_as_well(run: Run, says: Says) -> None:
    async def go() -> None:
        runner = bind(run, speaking(None, says([LOOK], "done"))).runner(GO)
        async for _ in runner:
            runner.add_tools({"type": "web_search_20250305", "name": "web_search"})

    with pytest.raises(ConfigError, match="around the gateway: web_search;"):
        asyncio.run(go())
    assert run.report().steps.used == 1


def test_two_drives_of_one_agent_at_once_are_kept_apart(run: Run, says: Says) -> None:
    """Each has a runner of its own: neither answers the calls of the other."""
    script = says([Call("desk.look", {"at": 1}, "a")], [Call("desk.look", {"at": 2}, "b")], "done", "done")
    bound = bind(run, speaking(None, script))

    async def both() -> Any:
        return await asyncio.gather(drive(run, bound, "go"), drive(run, bound, "go"))

    ended = asyncio.run(both())  # the first that is done ends the run
    assert "done" in {each.output for each in ended}
    assert run.report().calls == {"done": 2}


def test_what_is_let_pass_by_name_runs_beside_the_gateway(let_pass: Callable[..., Run], says: Says) -> None:
    run = let_pass("rogue")
    told: dict[str, str] = {}
    script = says([Call("rogue", {"text": "x"}, "r1"), Call("rogue", {"text": "broken"}, "r2"), LOOK], "done")
    script = Script(say=script.say, hear=told.update, model="m", max_output_tokens=100)
    result = asyncio.run(drive(run, bind(run, speaking(agent(tools=[rogue]), script)), "go"))
    assert (result.output, result.report.tool_calls.used, result.report.denials) == ("done", 1, 0)
    assert told == {"r1": "x", "r2": "OSError('the line went dead')", "c1": "seen 1"}


def test_an_agent_is_bound_to_one_run(gateway: Gateway, run: Run) -> None:
    other = gateway.run(agent="bot", tenant="acme", env="test")
    with pytest.raises(ConfigError, match=r"bound to .* already"):
        asyncio.run(drive(run, bind(other, agent()), "go"))


@pytest.mark.parametrize("stream", [False, True])
def test_a_stop_ends_a_runner_by_itself(run: Run, says: Says, stream: bool) -> None:
    bound = bind(run, speaking(None, says(*([Call("desk.look", {"at": n}, f"c{n}")] for n in range(9)))))

    async def go() -> None:
        async for _ in bound.runner(GO, stream=stream):
            pass

    with pytest.raises(Stop) as stopped:
        asyncio.run(go())
    assert stopped.value.reason == run.stop_reason == "max_steps"
    assert (run.report().steps.used, run.report().steps.held) == (5, 0)


def test_a_runner_whose_calls_wait_ends_and_says_so(says: Says) -> None:
    config = {"ledger": "memory:", "policy": {"allow": ["pay"]}, "approvals": {"required_for": ["pay"]}}
    with interlock.open(config) as gateway:
        gateway.tool("pay", effect="write")(lambda amount=0: f"paid {amount}")
        run = gateway.run(agent="bot", tenant="acme", env="test")
        bound = bind(run, speaking(None, says([Call("pay", {"amount": 1}, "c1")], "done")))
        last = asyncio.run(bound.runner(GO).until_done())
        assert (bound.waits, last.stop_reason) == (True, "tool_use")
        (asked,) = run.report().pending
        gateway.control.approve(asked, by="joe")

        async def go_on() -> Any:
            answers = await bound.answer()
            return await bound.runner([*GO, last.to_param(), answers]).until_done()

        assert asyncio.run(go_on()).content[0].text == "done"
        assert not bound.waits


def test_a_stream_that_is_left_gives_back_its_step(run: Run, says: Says) -> None:
    async def go() -> None:
        runner = bind(run, speaking(None, says("done"))).runner(GO, stream=True)
        async for stream in runner:
            async for _ in stream:
                break
            await stream.close()
            break
        await runner.close()

    asyncio.run(go())
    assert run.report().steps.held == 0


def test_limits_of_the_sdk_and_calls_before_their_turn_is_whole_are_switched_off(run: Run, says: Says) -> None:
    script = says([LOOK], [Call("desk.look", {"at": 2}, "c2")], "done")
    eager = speaking(agent(max_iterations=1, run_tools_eagerly=True), script)
    result = asyncio.run(drive(run, eager, "go", on_event=lambda _event: None))
    assert (result.output, result.report.steps.used, result.report.tool_calls.used) == ("done", 3, 2)


def test_an_output_that_is_a_value_comes_out_as_one(run: Run, says: Says) -> None:
    class Verdict(BaseModel):
        guilty: bool

    script = says([LOOK], '{"guilty": true}')
    result = asyncio.run(drive(run, speaking(agent(output_format=Verdict), script), "go"))
    assert (result.status, result.output) == ("completed", Verdict(guilty=True)), result.error


@pytest.mark.parametrize(("own", "bound", "announced"), [(100, 70, 70), (30, 70, 30), (70, 30, 30), (30, None, 30)])
def test_what_a_turn_may_put_out_is_what_its_step_was_announced_with(
    run: Run, says: Says, own: int, bound: int | None, announced: int
) -> None:
    asked: list[int] = []

    async def noted(request: Any, call_next: Any) -> Any:
        asked.append(request.json["max_tokens"])
        return await call_next(request)

    said = speaking(None, Script(say=says("done").say, model="m", max_output_tokens=own))
    client = said.client.with_middleware(noted)
    asyncio.run(drive(run, bind(run, Agent(client, **said.settings), max_output_tokens=bound), "go"))
    (step,) = run._gateway.store.steps_of(run.tenant, run.run_id)
    assert asked == [step.max_output_tokens] == [announced]


def test_what_a_middleware_of_the_client_answers_is_governed_too(run: Run, says: Says) -> None:
    async def cache(request: Any, call_next: Any) -> Any:
        response = await call_next(request)
        return await response.parse()

    said = speaking(None, says([LOOK], "done"))
    result = asyncio.run(drive(run, Agent(said.client.with_middleware(cache), **said.settings), "go"))
    assert (result.output, result.report.steps.used, result.report.tool_calls.used) == ("done", 2, 1)


def test_a_provider_that_cannot_be_reached_ends_the_run_and_holds_nothing(run: Run) -> None:
    class Nobody(httpx2.AsyncBaseTransport):
        async def handle_async_request(self, request: httpx2.Request) -> httpx2.Response:
            raise httpx2.ConnectError("nobody is there", request=request)

    client = AsyncAnthropic(api_key="k", max_retries=0, http_client=httpx2.AsyncClient(transport=Nobody()))
    result = asyncio.run(drive(run, Agent(client, model="m", max_tokens=10), "go"))
    assert isinstance(result.error, APIConnectionError)
    assert (result.status, run.stop_reason, run.report().steps.held) == ("failed", "model_error", 0)


def test_usage_is_all_input_with_what_was_read_from_the_cache_and_written_into_it() -> None:
    said = {
        "input_tokens": 10, "output_tokens": 5, "cache_read_input_tokens": 100, "cache_creation_input_tokens": 20,
        "cache_creation": {"ephemeral_1h_input_tokens": 7}, "output_tokens_details": {"thinking_tokens": 3},
        "server_tool_use": {"web_search_requests": 2}, "service_tier": "standard",
    }
    usage = turn_of({"content": [], "usage": said}).usage
    assert usage == Usage(
        input_tokens=130, output_tokens=5, cached_input_tokens=100, cache_write_tokens=20, cache_write_1h_tokens=7,
        reasoning_tokens=3, web_searches=2,
    )
    assert turn_of({"content": [], "usage": {**said, "service_tier": "priority"}}).usage is None
    assert turn_of({"content": [], "usage": {**said, "speed": "fast"}}).usage is None
    summary = {"input_tokens": 1000, "output_tokens": 90}
    rounds = [summary, {"input_tokens": 10, "output_tokens": 5}]
    longer = turn_of({"content": [], "usage": {**said, "iterations": rounds}}).usage
    assert longer is not None
    assert (longer.input_tokens, longer.output_tokens) == (1130, 95)


def test_a_turn_is_the_same_said_at_once_and_as_a_stream() -> None:
    turn = Turn("so", (LOOK, Call("desk.note", {}, "c2")), USAGE, "m", "msg_1")
    kinds = [event["type"] for event in events(native(turn, "m"))]
    assert kinds[0] == "message_start"
    assert kinds[-2:] == ["message_delta", "message_stop"]
    assert kinds.count("content_block_stop") == 3


@pytest.mark.parametrize("way", ["work", "by_hand"])
def test_what_the_docs_show_is_governed(run: Run, says: Says, way: str) -> None:
    shown = speaking(SHOWN["agent"](AsyncAnthropic(api_key="k")), says([LOOK], "done"))
    ended = asyncio.run(SHOWN[way](run, shown, "go" if way == "work" else GO))
    assert ended == (("completed", "done", None) if way == "work" else False)
    assert (run.report().steps.used, run.report().tool_calls.used) == (2, 1)
