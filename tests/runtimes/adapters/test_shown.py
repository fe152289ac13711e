"""What docs/runtimes.md shows of each runtime: driven, and run by hand, over a pause and to its end."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from importlib import import_module
from typing import Any

import pytest

import interlock
from interlock import Gateway, Run
from interlock.core.turn import Call
from interlock.driving import Script
from tests.runtimes.test_examples import example

Says = Callable[..., Script]
CALLS = [Call("ticket.close", {"number": 7}, "c1"), Call("ticket.read", {"number": 7}, "c2")]
CONFIG = {
    "ledger": "memory:", "policy": {"allow": ["ticket.read"]}, "approvals": {"required_for": ["ticket.close"]},
    "prices": {"m": {"input": 1.0, "output": 1.0}}, "budgets": {"max_usd": 1.0},
}


def agent_of(runtime: str, shown: dict[str, Any], script: Script) -> Any:
    """The agent that the docs show, following a script."""
    given: dict[str, Any] = {}
    if runtime == "pydantic_ai":
        given = {"model": "test"}
    elif runtime == "agent_framework":
        from interlock.codecs.agent_framework import Scripted

        given = {"client": Scripted(script)}
    elif runtime == "anthropic":
        from anthropic import AsyncAnthropic

        given = {"client": AsyncAnthropic(api_key="k")}
    return import_module(f"interlock.adapters.{runtime}").speaking(shown["agent"](**given), script)


@pytest.fixture
def done() -> list[str]:
    return []


@pytest.fixture
def desk(done: list[str]) -> Iterator[Gateway]:
    with interlock.open(CONFIG) as gateway:

        @gateway.tool("ticket.read", effect="read")
        async def read(number: int) -> str:
            return f"ticket {number}"

        @gateway.tool("ticket.close", effect="write")
        async def close(number: int) -> str:
            done.append(f"closed {number}")
            return "closed"

        yield gateway


def taken_up(gateway: Gateway) -> Run:
    return gateway.run(agent="bot", tenant="acme", env="test", run_id="r1")


def say_yes(gateway: Gateway) -> None:
    (asked,) = gateway.control.approvals("acme")
    gateway.control.approve(asked.approval_id, by="joe")


BY_HAND = ("openai_agents", "pydantic_ai", "langchain", "agent_framework", "google_adk")


def shown_of(runtime: str) -> dict[str, Any]:
    return example("docs/runtimes.md", runtime.replace("_", "-"))


@pytest.mark.parametrize("runtime", [*BY_HAND, "anthropic", "claude_agent"])
def test_an_agent_is_driven_over_a_pause(runtime: str, desk: Gateway, says: Says, done: list[str]) -> None:
    shown = shown_of(runtime)
    agent = agent_of(runtime, shown, says(CALLS, "done"))
    status, output, saved = asyncio.run(shown["work"](taken_up(desk), agent, "Please close ticket 7."))
    assert (status, output, done) == ("paused", None, [])
    say_yes(desk)
    assert asyncio.run(shown["work"](taken_up(desk), agent, saved=saved)) == ("completed", "done", None)
    assert (done, taken_up(desk).report().tool_calls.used) == (["closed 7"], 2)


@pytest.mark.parametrize("runtime", BY_HAND)
def test_an_agent_is_run_by_hand_over_a_pause(runtime: str, desk: Gateway, says: Says, done: list[str]) -> None:
    async def answered(run: Run) -> None:
        assert (run.status, done) == ("paused", [])
        say_yes(desk)

    shown, run = shown_of(runtime), taken_up(desk)
    agent = agent_of(runtime, shown, says(CALLS, "done"))
    assert asyncio.run(shown["by_hand"](run, agent, "Please close ticket 7.", answered)) == "done"
    assert (done, run.report().tool_calls.used, run.report().steps.used) == (["closed 7"], 2, 2)


def test_a_graph_that_is_built_by_hand_is_driven_over_a_pause(desk: Gateway, says: Says, done: list[str]) -> None:
    """Where one tool node runs all calls of a turn, it runs them all again after a pause: nothing happens twice."""
    from interlock.adapters import langchain

    llm = langchain.speaking(None, says(CALLS, "done")).keywords["model"]
    graph = shown_of("langchain")["graph_of"](llm)
    paused = asyncio.run(langchain.drive(taken_up(desk), graph, "Please close ticket 7."))
    say_yes(desk)
    ended = asyncio.run(langchain.drive(taken_up(desk), graph, saved=paused.saved))
    assert (paused.status, ended.status, ended.output, done) == ("paused", "completed", "done", ["closed 7"])
    assert taken_up(desk).report().tool_calls.used == 2
