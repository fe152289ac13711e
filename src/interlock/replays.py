"""A recorded run, run again: the agent for real, its tools answering from the record, nothing done to the world.

Not a gateway: it opens one, as any program does, with a ledger in memory, the record's clock, the record's switches and
other tool sources. Law: whatever is registered with that gateway is replaced before it can be called; policy, budgets
and approvals are weighed on the gateway's one road; what people answered then, they answer now.
"""

from __future__ import annotations

import dataclasses
import secrets
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from functools import partial
from typing import Any

from msgspec import Struct
from msgspec.structs import replace

from interlock import assemble, traces
from interlock.as_recorded import Answers, Record, TraceBoard, TraceClock
from interlock.config import AuditSettings, Config, LoggingSettings, Recording, TelemetrySettings
from interlock.core.answers import Comparer
from interlock.core.audit import SYSTEM
from interlock.core.call import MICROS, Tool
from interlock.core.parity import Comparison, compare
from interlock.core.trace import Replayed, Trace
from interlock.core.verdict import StopReason
from interlock.driving import Driven, Runtime, runtime_of
from interlock.errors import ConfigError, RunStopped
from interlock.gateway import Gateway, Registered
from interlock.patience import Job
from interlock.ports import Clock, Pin, PinKey
from interlock.results import error_text
from interlock.runs import Run
from interlock.stores.memory import MemoryStore
from interlock.telemetry import Telemetry
from interlock.tools.cooperative import RemoteTool
from interlock.tools.recorded import Heard, OnMiss, RecordedTool
from interlock.unit import Tx, Unit

Factory = Callable[[Gateway], Any]
"""Registers an agent's tools with the gateway that it is handed, and gives the agent as its runtime has it."""

FOR_EVER = 1 << 62
PATIENCE = 600.0  #: seconds


class How(Struct, frozen=True, kw_only=True):
    """How a run is run again."""

    runtime: str = "plain"
    live: bool = False  #: the agent's own model instead of the recorded turns
    on_miss: OnMiss = "fail"
    turn: int = 1  #: of how often it is repeated
    baseline: bool = False
    bare: bool = False  #: the factory's tools, but not its agent: that is of another runtime
    seconds: float | None = PATIENCE  #: after which it is given up, if it has not come to an end; None: never


def replay(trace: Trace, config: Config, factory: Factory | None, how: How, clock: Clock) -> Trace:
    """Run it again, and give what came of it as a trace.

    `factory` None: a bare agent, whose tools are those of the trace. `clock` is asked where the model is live: time
    then passes as it really does, from the moment at which the recorded run was opened. Raises ConfigError where the
    trace does not hold what this needs, and whatever the factory raises; what an agent or its runtime raises ends the
    run. Factory and agent are run on a thread of their own: one that never comes back is left there, and its run is
    stopped.
    """
    runtime = runtime_of(how.runtime)
    record = Record(trace, TraceClock(trace.run.opened_at, clock if how.live else None), live=how.live)
    heard = Heard(record.tape, how.on_miss, record.came, [])
    opened: list[Run] = []
    with _opened(trace, config, record.time, heard) as gateway:

        def work(job: Job) -> None:
            made = factory(gateway) if factory is not None else None
            _stand_in(gateway, trace)
            opened.append(run := _run(gateway, trace, trace.run.runtime if how.baseline else how.runtime))
            agent = made if how.live else runtime.speaking(None if how.bare else made, record.script(run))
            _driven(runtime, run, agent, trace.run.request, Answers(trace, gateway, record.time), job)

        def give_up() -> None:
            for run in opened:
                run.stop(StopReason.CANCELLED, "nobody waited for this replay any longer")

        ended = Job(work).ended(how.seconds, give_up)
        if not opened:
            raise ConfigError(f"the agent's factory did not come back within {how.seconds:g} s")
        replayed = traces.export(gateway, trace.run.tenant, trace.run.run_id)
    info = Replayed(
        of_tenant=trace.run.tenant, of_run=trace.run.run_id, runtime=how.runtime,
        model="live" if how.live else "recorded", turn=how.turn, on_miss=how.on_miss, baseline=how.baseline,
        misses=tuple(heard.misses), given_up=None if ended else how.seconds,
    )
    return replace(replayed, replay=info, exported_at=clock.now())


def compared(
    trace: Trace, config: Config, factory: Factory | None, how: How, clock: Clock, *, times: int = 1,
    comparer: Comparer | None = None,
) -> Iterator[Comparison]:
    """The unchanged replay first, then what is asked for, `times` over where the model is live; each beside the record.

    Unchanged: the recorded turns, on the runtime that the trace was recorded on. Where that does not reproduce the
    record, nothing else is run: a difference would say nothing of what was changed.
    """
    recorded = baseline_runtime(trace)
    first = How(runtime=recorded, on_miss="fail", baseline=True, bare=recorded != how.runtime)
    baseline = compare(trace, replay(trace, config, factory, first, clock), config.parity, comparer)
    yield baseline
    if not baseline.passed or (recorded == how.runtime and not how.live):
        return
    for turn in range(1, (times if how.live else 1) + 1):
        yield compare(trace, replay(trace, config, factory, replace(how, turn=turn), clock), config.parity, comparer)


def baseline_runtime(trace: Trace) -> str:
    """The runtime that a trace was recorded on, where it is one of our adapters and is here; else the plain loop."""
    if trace.run.runtime.isidentifier():  # a trace is a file: it names no module of somebody else's
        with suppress(ConfigError):
            runtime_of(trace.run.runtime)
            return trace.run.runtime
    return "plain"


# --- the gateway -----------------------------------------------------------------------------------------------------


def _opened(trace: Trace, config: Config, time: TraceClock, heard: Heard) -> Gateway:
    quiet = dataclasses.replace(
        config, ledger="memory:", audit=AuditSettings(), telemetry=TelemetrySettings(traces=False),
        logging=LoggingSettings(tool_calls=False, stop_reasons=False),
        approvals=replace(config.approvals, webhook_url=None),
        serve=config.serve.model_copy(update={"slack": None}),
        recording=Recording(keep=FOR_EVER), recordings={},  # in memory alone: what is not kept cannot be compared
    )
    live = heard.on_miss == "live-read"
    store = MemoryStore()
    if live:
        store.transact([Unit((), partial(_pin, assemble.pinned(config)))])
    gateway = assemble.open(
        quiet, store=store, board=TraceBoard(trace.switches, time), clock=time,
        vault=None if live else NoVault(), upstreams=live,
    )
    gateway.tools = RecordedTools(gateway.tools, heard)
    gateway.telemetry = Quiet(quiet.logging, traces=False)
    return gateway


def _pin(pins: Sequence[Pin], tx: Tx) -> None:
    """What people have accepted of upstreams' tools holds: another definition of a tool is not read by."""
    for pin in pins:
        tx.put(PinKey(SYSTEM, pin.tool), pin)


class Quiet(Telemetry):
    """Says nothing of what looks odd in a config: of a replay, that has been said when it was recorded."""

    def odd(self, text: str) -> None:
        """Nobody wants to know."""


class RecordedTools(dict[str, Registered]):
    """What is registered with a replaying gateway: each tool, replaced as it comes in."""

    def __init__(self, tools: dict[str, Registered], heard: Heard) -> None:
        super().__init__()
        self._heard = heard
        for name, registered in tools.items():
            self[name] = registered

    def __setitem__(self, name: str, registered: Registered) -> None:
        if not isinstance(registered.performer, RecordedTool):
            performer = RecordedTool(registered.tool, registered.performer, self._heard)
            registered = Registered(registered.tool, performer, registered.problem, registered.said)
        super().__setitem__(name, registered)


def _stand_in(gateway: Gateway, trace: Trace) -> None:
    """Tools of the trace that nobody has registered: as the ledger had them, or else as their name alone."""
    limits = gateway.config.limits
    for name, traced in trace.tools.items():
        if name not in gateway.tools:
            tool = traced.definition or Tool(name=name)
            stand_in = RemoteTool(tool, max_depth=limits.argument_depth, max_bytes=limits.argument_bytes)
            upstream = name.partition(".")[0] in gateway.config.upstreams  # whose own word counts for nothing
            gateway.register(stand_in, said=() if upstream or traced.definition is None else traced.said)


def _run(gateway: Gateway, trace: Trace, runtime: str) -> Run:
    recorded = trace.run
    limits = recorded.limits
    budgets: dict[str, Any] = {
        "max_steps": limits.steps, "max_tool_calls": limits.tool_calls, "max_tokens": limits.tokens,
        "max_usd": None if limits.usd is None else limits.usd / MICROS, "max_seconds": recorded.max_seconds / MICROS,
        "max_denials": recorded.max_denials, "max_repeats": recorded.max_repeats,
    }
    return gateway.run(
        agent=recorded.agent, tenant=recorded.tenant, env=recorded.env, request=recorded.request,
        run_id=recorded.run_id, budgets={key: value for key, value in budgets.items() if value is not None},
        labels=dict(recorded.labels), runtime=runtime, requested_by=recorded.requested_by,
    )


class NoVault:
    """A vault whose credentials open nothing: a recorded answer needs none."""

    def lend(self, _name: str, *, tenant: str, env: str) -> str:  # noqa: ARG002  they are all alike
        """Something that cannot stand in any recorded text by accident."""
        return f"replay-{secrets.token_hex(16)}"


def _driven(runtime: Runtime, run: Run, agent: Any, request: str, answers: Answers, job: Job) -> None:
    """Drive it until it is over, or waits for an answer that nobody gave."""
    saved: str | None = None
    while True:
        try:
            result: Driven = job.awaited(runtime.drive(run, agent, request, saved=saved))
        except ConfigError:
            raise
        except RunStopped:  # as good an end as any
            return
        except Exception as error:  # the agent's own, or its runtime's
            run.stop(StopReason.MODEL_ERROR, error_text(error))
            return
        if result.status != "paused" or not answers.give():
            return
        saved = result.saved
