"""`adapters`: what an adapter adds to a tool call and to a model turn, beyond the runtime and the gateway themselves.

Three sides take turns, block by block: the runtime alone with a tool of its own; the gateway alone, asked for the same
steps and calls without any runtime; and both, with the adapter between them. The model is the same script on each. What
the third takes longer than the other two together is the adapter's. Three shapes of runs, more turns and more calls a
turn, are three equations: out of them come the cost of a call, of a turn, and of a drive. Times are of the CPU and the
ledger is in memory, because what an adapter adds is a small difference of large times, and a disk would drown it. Runs
in .venv-runtimes (`make runtimes`).
"""

from __future__ import annotations

import asyncio
import gc
import importlib
import time
from collections.abc import Awaitable, Callable, Iterator, Mapping
from statistics import median
from typing import Any

import interlock
from benchmarks.figures import CannotRun, Figure, Size, figure, require
from benchmarks.load import Governed, arguments, config
from interlock.core.turn import Call, Turn
from interlock.driving import Script

MODEL, USAGE = "gpt-5-mini", interlock.Usage(input_tokens=900, output_tokens=120)
TOOL, SAID, WORDS = "ticket.acreate", "ticket_acreate", "Open a ticket."
MOST, NEVER = 500, 1_000_000

Go = Callable[[], Awaitable[object]]
Shape = tuple[int, int]  #: turns of a run, before the one that ends it, and calls of each


def adapters(size: Size) -> Iterator[Figure]:
    """Every runtime that hosts an agent in this process."""
    for name, bare in BARE.items():
        try:
            adapter = importlib.import_module(f"interlock.adapters.{name}")
        except ModuleNotFoundError as error:
            raise CannotRun(f"{error.name} is not installed here: make runtimes") from error
        yield from asyncio.run(_added(name, adapter, bare, size))


async def _added(name: str, adapter: Any, bare: Callable[[Any, Script], Go], size: Size) -> list[Figure]:
    blocks, calls, turns, drives = size.of(12, 1), [], [], []
    long, wide, short = shapes = shapes_of(size)
    seen: dict[str, list[float]] = {"bare_us": [], "gateway_us": [], "governed_us": []}
    side, asked = Governed(_config()), 0
    gc.collect()
    gc.freeze()  # or what is imported is looked through again before each run
    for number in range(1 + size.rounds):
        taken: dict[Shape, list[tuple[float, float, float]]] = {shape: [] for shape in shapes}
        for _ in range(blocks if number else 1):
            for shape, kept in taken.items():
                kept.append(await _block(side, adapter, bare, shape))
                asked += 2 * shape[0] * shape[1]
        if number:  # the first one warms up
            adds = {s: 1e6 * median([both - alone - gate for alone, gate, both in taken[s]]) for s in shapes}
            for found, each in zip((calls, turns, drives), solved(adds, long, wide, short), strict=True):
                found.append(each)
            for which, key in enumerate(seen):
                seen[key].append(1e6 * median([each[which] for each in taken[long]]) / long[0])
    side.check(asked)
    side.close()
    absolute = {key: median(values) for key, values in seen.items()} | {"once_us": median(drives)}
    return [
        figure(f"{name}: the adapter adds to a tool call", calls, unit="µs", at_most=150.0),
        figure(f"{name}: the adapter adds to a model turn", turns, unit="µs", at_most=100.0, seen=absolute),
    ]


def shapes_of(size: Size) -> tuple[Shape, Shape, Shape]:
    """A long run, one with more calls a turn, and a short one."""
    turns = size.of(40, 8)
    return (turns, 1), (turns, 4), (turns // 4, 1)


def solved(adds: Mapping[Shape, float], long: Shape, wide: Shape, short: Shape) -> tuple[float, float, float]:
    """What is added by a call, a turn and a drive: a run has the calls of its shape, one turn more than asks for any,
    and one drive."""
    call = (adds[wide] - adds[long]) / (wide[0] * wide[1] - long[0] * long[1])
    turn = (adds[long] - adds[short]) / (long[0] - short[0]) - call
    return call, turn, adds[short] - (short[0] + 1) * turn - short[0] * call


async def _block(
    side: Governed, adapter: Any, bare: Callable[[Any, Script], Go], shape: Shape
) -> tuple[float, float, float]:
    """Seconds of one run of each: the runtime alone, the gateway alone, both."""
    alone = await _timed(bare(adapter, _script(*shape)))
    gate = await _timed(_gateway(side.run(), _script(*shape), sync=adapter.__name__.endswith(".plain")))
    run = side.run()
    both = await _timed(_driven(adapter, run, _script(*shape)))
    require(run.stop_reason == "completed", f"a run of the load ended as {run.stop_reason}")
    return alone, gate, both


async def _timed(go: Go) -> float:
    gc.collect()
    began = time.process_time()
    await go()
    return time.process_time() - began


def _driven(adapter: Any, run: interlock.Run, script: Script) -> Go:
    """The runtime with the adapter. Bound beforehand: that is once a run."""
    agent = adapter.speaking(None, script)
    if not hasattr(adapter, "bind"):

        async def go() -> object:
            return adapter.drive(run, agent, "go")

        return go
    bound = adapter.bind(run, agent)
    return lambda: adapter.drive(run, bound, "go")


def _gateway(run: interlock.Run, script: Script, *, sync: bool) -> Go:
    """What the gateway is asked in such a run, without any runtime."""

    async def go() -> object:
        while True:
            step = run.begin_step(MODEL, max_output_tokens=MOST)
            turn = script.say()
            run.end_step(step, turn=turn)
            if not turn.calls:
                break
            if sync:
                answers = [run.call(TOOL, call.args, call_id=call.id) for call in turn.calls]
            else:
                answers = await asyncio.gather(*(run.acall(TOOL, each.args, call_id=each.id) for each in turn.calls))
            for each in answers:
                require(each.kind == "done", f"a call of the load was {each.kind}: {each.text}")
        run.finish()
        return run.report()

    return go


def _script(turns: int, width: int) -> Script:
    """A model that asks for so many calls a turn, and ends."""

    def said() -> Iterator[Turn]:
        for number in range(0, turns * width, width):
            wishes = [Call(TOOL, arguments(each), f"c{each}") for each in range(number, number + width)]
            yield Turn(None, tuple(wishes), usage=USAGE, model=MODEL)
        yield Turn("All are open.", usage=USAGE, model=MODEL)

    lines = said()
    return Script(say=lambda: next(lines), model=MODEL, max_output_tokens=MOST)


def _config() -> dict[str, Any]:
    settings = config("memory:")
    return {**settings, "budgets": {**settings["budgets"], "max_steps": NEVER}}


# --- each runtime alone, with a tool of its own ----------------------------------------------------------------------


async def ticket_acreate(title: str, body: str, priority: int) -> str:  # noqa: ARG001
    """Open a ticket."""
    return '{"ticket": 1, "state": "open"}'


def _openai_agents(adapter: Any, script: Script) -> Go:
    from agents import Agent, Runner, function_tool, set_tracing_disabled

    set_tracing_disabled(True)
    agent = adapter.speaking(Agent(name="agent", tools=[function_tool(ticket_acreate)]), script)
    return lambda: Runner.run(agent, "go", max_turns=None)


def _langchain(adapter: Any, script: Script) -> Go:
    from langchain.agents import create_agent
    from langgraph.checkpoint.memory import InMemorySaver

    # with a checkpointer, as whoever asks a person in LangChain needs one
    graph = adapter.speaking(create_agent, script)(tools=[ticket_acreate], checkpointer=InMemorySaver())
    how: Any = {"recursion_limit": NEVER, "configurable": {"thread_id": "t"}}
    return lambda: graph.ainvoke({"messages": [("user", "go")]}, how)


def _pydantic_ai(adapter: Any, script: Script) -> Go:
    from pydantic_ai import Agent, UsageLimits

    agent = adapter.speaking(Agent(tools=[ticket_acreate]), script)
    return lambda: agent.run("go", usage_limits=UsageLimits(request_limit=None))


def _agent_framework(adapter: Any, script: Script) -> Go:
    from agent_framework import Agent, tool

    from interlock.codecs.agent_framework import Scripted

    agent = adapter.speaking(Agent(client=Scripted(script), tools=[tool(ticket_acreate)]), script)
    agent.client.function_invocation_configuration = {
        **agent.client.function_invocation_configuration, **adapter.LIMITS
    }
    return lambda: agent.run("go")


def _google_adk(adapter: Any, script: Script) -> Go:
    from google.adk.agents import LlmAgent, RunConfig
    from google.adk.apps import App
    from google.adk.runners import Runner
    from google.adk.sessions import InMemorySessionService
    from google.genai import types

    agent = adapter.speaking(LlmAgent(name="agent", tools=[ticket_acreate]), script)
    sessions = InMemorySessionService()

    async def go() -> None:
        await sessions.create_session(app_name="bench", user_id="u", session_id="s")
        runner = Runner(app=App(name="bench", root_agent=agent), session_service=sessions)
        said = types.Content(role="user", parts=[types.Part(text="go")])
        config = RunConfig().model_copy(update={"max_llm_calls": 0})
        async for _ in runner.run_async(user_id="u", session_id="s", new_message=said, run_config=config):
            pass

    return go


def _anthropic(adapter: Any, script: Script) -> Go:
    from anthropic import beta_async_tool

    agent = adapter.speaking(None, script)
    tools: Any = [beta_async_tool(ticket_acreate)]

    async def go() -> None:
        runner: Any = agent.client.beta.messages.tool_runner(
            **agent.settings, tools=tools, messages=[{"role": "user", "content": "go"}]
        )
        await runner.until_done()

    return go


def _plain(_adapter: Any, script: Script) -> Go:
    async def go() -> None:
        messages: list[Any] = ["go"]
        while True:
            turn = script.say()
            messages.append(turn)
            if not turn.calls:
                return
            messages += [await ticket_acreate(**call.args) for call in turn.calls]

    return go


BARE: dict[str, Callable[[Any, Script], Go]] = {
    "openai_agents": _openai_agents, "langchain": _langchain, "pydantic_ai": _pydantic_ai,
    "agent_framework": _agent_framework, "google_adk": _google_adk, "anthropic": _anthropic, "plain": _plain,
}
