"""Logs and spans: run_id and step_id on everything, every stop told once; nothing of it without the extra."""

import asyncio
import json
import logging
import threading

import pytest
from opentelemetry import trace
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

import interlock

EXPORTER = InMemorySpanExporter()


@pytest.fixture
def spans():
    """What was exported in this test. The provider is the process's own: it can be set once."""
    if not isinstance(trace.get_tracer_provider(), TracerProvider):
        provider = TracerProvider()
        provider.add_span_processor(SimpleSpanProcessor(EXPORTER))
        trace.set_tracer_provider(provider)
    EXPORTER.clear()
    return EXPORTER.get_finished_spans


def tools(gw):
    gw.tool("kb.read", effect="read")(lambda: "read")

    @gw.tool("mail.send", effect="write")
    def send() -> None:
        raise ConnectionError("lost")


def lines(caplog, logger):
    return [json.loads(record.message) for record in caplog.records if record.name == logger]


def test_a_run_its_turns_and_its_calls_are_spans_by_the_genai_conventions(spans, gw, start):
    tools(gw)
    with start(gw) as run:
        step = run.begin_step(model="m", max_output_tokens=5)
        run.call("kb.read", {}, call_id="c1")
        run.end_step(step, interlock.Usage(input_tokens=3, output_tokens=2))
    found = {span.name: span for span in spans()}
    assert set(found) == {"invoke_agent bot", "chat m", "execute_tool kb.read"}
    agent, chat, tool = found["invoke_agent bot"], found["chat m"], found["execute_tool kb.read"]
    assert tool.parent.span_id == chat.parent.span_id == agent.context.span_id
    assert agent.attributes["gen_ai.operation.name"] == "invoke_agent"
    assert agent.attributes["gen_ai.agent.name"] == "bot"
    assert agent.attributes["interlock.stop.reason"] == "completed"
    assert chat.attributes["gen_ai.operation.name"] == "chat"
    assert chat.attributes["gen_ai.request.model"] == "m"
    assert (chat.attributes["gen_ai.usage.input_tokens"], chat.attributes["gen_ai.usage.output_tokens"]) == (3, 2)
    assert tool.attributes["gen_ai.operation.name"] == "execute_tool"
    assert (tool.attributes["gen_ai.tool.name"], tool.attributes["gen_ai.tool.call.id"]) == ("kb.read", "c1")
    assert (tool.attributes["interlock.outcome"], tool.attributes["interlock.verdict"]) == ("done", "allow")
    for span in (agent, chat, tool):
        assert span.attributes["interlock.run.id"] == run.run_id
    for span in (chat, tool):
        assert span.attributes["interlock.step.id"] == step.step_id


def test_a_call_inside_a_span_of_the_program_is_its_child(spans, gw, start):
    tools(gw)
    run = start(gw)
    with trace.get_tracer("program").start_as_current_span("outer") as outer:
        run.call("kb.read", {})
    (call,) = [span for span in spans() if span.name.startswith("execute_tool")]
    assert call.parent.span_id == outer.get_span_context().span_id


@pytest.mark.parametrize("caller", ["sync", "async"])
@pytest.mark.parametrize("kind", ["sync", "threaded", "async"])
def test_spans_of_a_tool_lie_inside_its_call(spans, gw, start, caller, kind):
    tracer = trace.get_tracer("tool")
    said = {"effect": "read", **({"timeout": "10s"} if kind == "threaded" else {})}
    if kind == "async":

        @gw.tool("kb.read", **said)
        async def read() -> None:
            with tracer.start_as_current_span("inner"):
                await asyncio.sleep(0)
    else:

        @gw.tool("kb.read", **said)
        def read() -> None:
            with tracer.start_as_current_span("inner"):
                pass

    run = start(gw)
    if caller == "sync":
        run.call("kb.read", {})
    else:
        asyncio.run(run.acall("kb.read", {}))
    found = {span.name: span for span in spans()}
    assert found["inner"].parent.span_id == found["execute_tool kb.read"].context.span_id


def test_calls_at_once_keep_their_spans_apart(spans, gw, start):
    @gw.tool("kb.read", effect="read")
    async def read(n: int) -> int:
        await asyncio.sleep(0.001 * (n % 3))
        return n

    run = start(gw, budgets={"max_tool_calls": 50})

    async def main():
        await asyncio.gather(*(run.acall("kb.read", {"n": n}, call_id=f"c{n}") for n in range(20)))
        return trace.get_current_span().get_span_context().is_valid

    assert asyncio.run(main()) is False
    calls = [span for span in spans() if span.name.startswith("execute_tool")]
    assert sorted(span.attributes["gen_ai.tool.call.id"] for span in calls) == sorted(f"c{n}" for n in range(20))
    assert len({span.parent.span_id for span in calls}) == 1


def test_failed_and_unknown_calls_are_errors_and_refusals_are_not(spans, gw, start):
    tools(gw)
    run = start(gw)
    run.call("mail.send", {})
    run.call("no.such", {})
    found = {span.attributes["gen_ai.tool.name"]: span for span in spans()}
    assert not found["mail.send"].status.is_ok
    assert found["mail.send"].attributes["error.type"] == "unknown"
    assert found["no.such"].status.status_code is trace.StatusCode.UNSET


def test_a_run_that_was_stopped_on_the_way_has_its_span_ended_and_its_stop_told_once(spans, gw, start, caplog):
    caplog.set_level(logging.INFO)
    tools(gw)
    with start(gw, budgets={"max_tool_calls": 0}) as run:
        for _ in range(3):
            assert run.call("kb.read", {}).kind == "stopped"
        with pytest.raises(interlock.RunStopped):
            run.begin_step()
    run.finish()
    (agent,) = [span for span in spans() if span.name == "invoke_agent bot"]
    assert agent.attributes["interlock.stop.reason"] == "max_tool_calls"
    (told,) = lines(caplog, "interlock.stops")
    assert (told["event"], told["stop_reason"], told["run_id"]) == ("run_stopped", "max_tool_calls", run.run_id)


def test_a_run_that_waits_has_its_span_ended_when_it_is_left(spans, house, start):
    gw = house.open({"approvals": {"required_for": ["kb.read"]}})
    tools(gw)
    with start(gw) as run:
        run.call("kb.read", {})
    (agent,) = [span for span in spans() if span.name == "invoke_agent bot"]
    assert agent.attributes["interlock.run.status"] == "paused"


def test_no_span_is_made_where_the_config_says_so(spans, house, start):
    gw = house.open({"telemetry": {"traces": False}})
    tools(gw)
    with start(gw) as run:
        run.call("kb.read", {})
    assert spans() == ()


def test_every_call_is_logged_with_its_run_and_its_step(gw, start, caplog):
    caplog.set_level(logging.INFO)
    tools(gw)
    run = start(gw)
    step = run.begin_step()
    run.call("kb.read", {}, call_id="c1")
    run.call("kb.read", {}, call_id="c1")
    run.call("no.such", {})
    done, again, denied = lines(caplog, "interlock.calls")
    assert (done["event"], done["tool"], done["call_id"], done["outcome"]) == ("tool_call", "kb.read", "c1", "done")
    assert (again["replayed"], denied["outcome"], denied["verdict"]) == (True, "denied", "deny")
    for line in (done, again, denied):
        assert (line["run_id"], line["step_id"]) == (run.run_id, step.step_id)
        assert (line["tenant"], line["agent"], line["env"]) == ("acme", "bot", "prod")
    assert caplog.records[0].interlock["tool"] == "kb.read"


@pytest.mark.parametrize(("off", "logger"), [("tool_calls", "interlock.calls"), ("stop_reasons", "interlock.stops")])
def test_what_the_config_switches_off_is_not_logged(house, start, caplog, off, logger):
    caplog.set_level(logging.INFO)
    gw = house.open({"logging": {off: False}})
    tools(gw)
    with start(gw) as run:
        run.call("kb.read", {})
    assert lines(caplog, logger) == []
    assert len(lines(caplog, "interlock.calls") + lines(caplog, "interlock.stops")) == 1


def test_a_late_outcome_that_cannot_be_written_is_told(house, start, caplog):
    gw, go = house.open(), threading.Event()
    gw.tool("slow.one", effect="write", timeout="50ms")(lambda: go.wait(10))
    assert start(gw).call("slow.one", {}).kind == "unknown"
    gw.committer.close()
    go.set()
    gw._stage._pool.shutdown(wait=True)
    assert "a late outcome could not be written" in caplog.text
