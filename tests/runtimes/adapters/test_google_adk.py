"""What is particular to Google's ADK: other tools and agents, plugins that try again, its own Runner."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable
from typing import Any

import pytest
from google.adk.agents import BaseAgent, LlmAgent, RunConfig, SequentialAgent
from google.adk.apps import App
from google.adk.code_executors import BuiltInCodeExecutor
from google.adk.plugins.base_plugin import BasePlugin
from google.adk.plugins.reflect_retry_tool_plugin import ReflectAndRetryToolPlugin
from google.adk.runners import InMemoryRunner
from google.adk.sessions import InMemorySessionService
from google.adk.tools import FunctionTool, google_search
from google.genai import types
from pydantic import BaseModel

from interlock import ConfigError, Gateway, Run
from interlock.adapters.google_adk import bind, drive, speaking
from interlock.codecs.google_adk import Scripted
from interlock.core.turn import Call
from interlock.driving import Script
from tests.runtimes.adapters.conftest import LOOK

Says = Callable[..., Script]


def rogue(text: str) -> str:
    """Looks harmless."""
    return text


class Foreign(BaseAgent):
    """An agent of another kind."""


@pytest.mark.parametrize(
    ("agent", "leak"),
    [
        (lambda: LlmAgent(name="a", tools=[rogue]), "rogue"),
        (lambda: LlmAgent(name="a", tools=[google_search]), "google_search"),
        (lambda: LlmAgent(name="a", code_executor=BuiltInCodeExecutor()), "BuiltInCodeExecutor"),
        (lambda: LlmAgent(name="a", sub_agents=[Foreign(name="b")]), "Foreign b"),
        (lambda: SequentialAgent(name="a", sub_agents=[LlmAgent(name="b", tools=[rogue])]), "rogue"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
@pytest.mark.filterwarnings("ignore:SequentialAgent is deprecated")
def test_what_would_go_around_the_gateway_is_refused_by_name(
    run: Run, let_pass: Callable[..., Run], agent: Callable[[], BaseAgent], leak: str
) -> None:
    made = agent()
    with pytest.raises(ConfigError, match=f"around the gateway: {leak};"):
        bind(run, made)
    bind(let_pass(leak), made)


def test_what_a_plugin_adds_is_refused_when_the_model_would_be_offered_it(run: Run, says: Says) -> None:
    class Sly(BasePlugin):
        async def before_model_callback(self, *, callback_context: Any, llm_request: Any) -> None:
            llm_request.config.tools.append(types.Tool(google_search=types.GoogleSearch()))

    with pytest.raises(ConfigError, match="around the gateway: google_search;"):
        asyncio.run(drive(run, speaking(None, says("done")), "go", plugins=[Sly("sly")]))
    assert run.report().steps.used == 0


@pytest.mark.filterwarnings("ignore:SequentialAgent is deprecated")
def test_agents_are_bound_all_of_them_or_none(run: Run, says: Says) -> None:
    bound = bind(run, speaking(LlmAgent(name="a"), says("one")))
    other = speaking(LlmAgent(name="b", tools=[rogue]), says([Call("rogue", {"text": "x"}, "r1")], "two"))
    with pytest.raises(ConfigError, match="'s' is bound already, or a part of it is"):
        asyncio.run(drive(run, SequentialAgent(name="s", sub_agents=[bound, other]), "go"))
    assert run.report().steps.used == 0


def test_an_approval_of_a_tool_that_was_let_pass_is_not_given(let_pass: Callable[..., Run], says: Says) -> None:
    run = let_pass("careful")
    def careful() -> str:
        raise AssertionError("nobody has approved")

    service = InMemorySessionService()
    agent = LlmAgent(name="a", tools=[FunctionTool(careful, require_confirmation=True)])
    for script in (says([Call("careful", {}, "c1")]), says("done")):
        bound = bind(run, speaking(agent, script))
        with pytest.raises(ConfigError, match="careful was let pass, and waits for an approval of google_adk"):
            asyncio.run(drive(run, bound, "go", session_service=service))


def test_an_output_of_a_schema_is_the_kits_own_tool(run: Run, says: Says) -> None:
    class Verdict(BaseModel):
        guilty: bool

    script = says([LOOK], [Call("set_model_response", {"guilty": True}, "o1")])
    result = asyncio.run(drive(run, speaking(LlmAgent(name="a", output_schema=Verdict), script), "go"))
    assert (result.status, result.output, result.report.denials) == ("completed", '{"guilty": true}', 0)


@pytest.mark.parametrize("stream", [False, True])
def test_a_turn_that_comes_in_several_responses_is_one(run: Run, says: Says, stream: bool) -> None:
    """As LiteLLM's models give their text and then their calls."""
    script = says([LOOK], "done")

    class Several(Scripted):
        async def generate_content_async(self, llm_request: Any, stream: bool = False) -> Any:
            async for each in super().generate_content_async(llm_request, stream):
                if not each.partial and each.content.parts[0].function_call:
                    text = types.Content(role="model", parts=[types.Part(text="Let me see.")])
                    yield each.model_copy(update={"content": text, "usage_metadata": None})
                yield each

    agent = LlmAgent(name="a", model=Several(model="m", script=script))
    heard = (lambda _event: None) if stream else None
    assert asyncio.run(drive(run, agent, "go", on_event=heard)).output == "done"
    said = [step.asking.turn for step in run._gateway.store.steps_of(run.tenant, run.run_id) if step.asking]
    assert [(turn.text, turn.calls) for turn in said] == [("Let me see.", (LOOK,)), ("done", ())]
    assert (run.report().tokens.used, run.report().tool_calls.used) == (300, 1)


@pytest.mark.parametrize("state", [[], {}, ["event"], 1])
def test_what_has_no_events_is_nothing_to_go_on_from(run: Run, says: Says, state: Any) -> None:
    whose = {"interlock": 1, "runtime": "google_adk", "tenant": "acme", "run_id": run.run_id}
    with pytest.raises(ConfigError, match="saved= cannot be read by google_adk"):
        asyncio.run(drive(run, speaking(None, says("done")), saved=json.dumps({**whose, "state": state})))
    assert run.report().steps.used == 0


def test_runs_of_two_tenants_under_one_id_have_two_sessions(gateway: Gateway, says: Says) -> None:
    service = InMemorySessionService()
    for tenant in ("acme", "globex"):
        run = gateway.run(agent="bot", tenant=tenant, env="test", run_id="r1")
        asyncio.run(drive(run, speaking(None, says(f"of {tenant}")), "go", session_service=service))
    session = asyncio.run(service.get_session(app_name="interlock", user_id="globex", session_id="r1"))
    assert session is not None
    assert [part.text for event in session.events for part in event.content.parts] == ["go", "of globex"]


def test_what_is_let_pass_by_name_runs_beside_the_gateway(let_pass: Callable[..., Run], says: Says) -> None:
    run = let_pass("rogue")
    script = says([Call("rogue", {"text": "x"}, "r1"), LOOK], "done")
    agent = speaking(LlmAgent(name="a", tools=[rogue]), script)
    result = asyncio.run(drive(run, bind(run, agent), "go"))
    assert (result.output, result.report.tool_calls.used, result.report.denials) == ("done", 1, 0)


def test_agents_below_are_bound_too_and_may_be_handed_over_to(run: Run, says: Says) -> None:
    below = speaking(LlmAgent(name="billing", description="Bills."), says([LOOK], "from billing"))
    script = says([Call("transfer_to_agent", {"agent_name": "billing"}, "t1")])
    result = asyncio.run(drive(run, speaking(LlmAgent(name="triage", sub_agents=[below]), script), "go"))
    assert (result.status, result.output, result.report.denials) == ("completed", "from billing", 0)
    assert (result.report.steps.used, result.report.tool_calls.used) == (3, 1)


@pytest.mark.parametrize("plugins", [[], [ReflectAndRetryToolPlugin(max_retries=3)]], ids=["", "retrying"])
def test_a_stop_ends_a_run_of_the_runner_itself(run: Run, says: Says, plugins: list[Any]) -> None:
    agent = bind(run, speaking(None, says(*([Call("desk.look", {"at": n}, f"c{n}")] for n in range(9)))))

    async def go() -> None:
        runner = InMemoryRunner(app=App(name="app", root_agent=agent, plugins=plugins))
        session = await runner.session_service.create_session(app_name=runner.app_name, user_id="u")
        message = types.Content(role="user", parts=[types.Part(text="go")])
        async for _ in runner.run_async(user_id="u", session_id=session.id, new_message=message):
            pass

    with pytest.raises(Exception, match="the run has stopped: max_steps"):
        asyncio.run(go())
    assert run.stop_reason == "max_steps"
    assert (run.report().steps.used, run.report().steps.held) == (5, 0)


def test_the_kits_own_limit_of_model_calls_is_off(gateway: Gateway, says: Says) -> None:
    run = gateway.run(agent="bot", tenant="acme", env="test")
    agent = speaking(None, says([LOOK], "done"))
    assert asyncio.run(drive(run, agent, "go", run_config=RunConfig(max_llm_calls=1))).output == "done"


def test_with_a_session_service_of_ones_own_the_session_is_the_runs(run: Run, says: Says) -> None:
    service = InMemorySessionService()
    asyncio.run(drive(run, speaking(None, says([LOOK], "done")), "go", session_service=service))
    session = asyncio.run(service.get_session(app_name="interlock", user_id="acme", session_id=run.run_id))
    assert session is not None
    assert [part.text for event in session.events for part in event.content.parts if part.text] == ["go", "done"]


@pytest.mark.parametrize(("own", "bound", "announced"), [(None, 70, 70), (30, 70, 30), (70, 30, 30), (30, None, 30)])
def test_what_a_turn_may_put_out_is_what_its_step_was_announced_with(
    run: Run, says: Says, own: int | None, bound: int | None, announced: int
) -> None:
    agent = speaking(None, says("done")).clone({
        "generate_content_config": types.GenerateContentConfig(max_output_tokens=own)
    })
    asyncio.run(drive(run, bind(run, agent, max_output_tokens=bound), "go"))
    (step,) = run._gateway.store.steps_of(run.tenant, run.run_id)
    assert step.max_output_tokens == announced
