"""Logs and spans out of decisions and outcomes.

Not the audit: nothing here is evidence, and nothing waits for it. Law: nothing else knows OpenTelemetry; what is told
has been redacted before; run_id and step_id are on everything. Spans follow the OpenTelemetry GenAI conventions
(`invoke_agent`, `chat`, `execute_tool`; the names are still marked Development there, so they are spelled out here).
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from importlib.util import find_spec
from typing import Any, Protocol, Self

import msgspec

from interlock.config.values import LoggingSettings
from interlock.core.call import MICROS, ToolCall
from interlock.core.outcome import Outcome
from interlock.core.run import Run, Step

calls = logging.getLogger("interlock.calls")
stops = logging.getLogger("interlock.stops")
_log = logging.getLogger("interlock")

_encode = msgspec.json.Encoder(order="deterministic").encode


SERVED = object()


class Counts(Protocol):
    """Whoever counts what happened (`metrics.py`)."""

    def called(self, tool: str, outcome: Outcome, seconds: float) -> None:
        """A call has its outcome."""
        ...

    def stopped(self, reason: str) -> None:
        """A run has stopped."""
        ...


class Telemetry:
    """One for each gateway. Spans are made where the `otel` extra is installed and the config does not say no."""

    def __init__(self, logging_settings: LoggingSettings, *, traces: bool) -> None:
        self._logging = logging_settings
        self._tracer: Any = None
        self._trace: Any = None  #: OpenTelemetry's API, where there are spans
        self.metrics: Counts | None = None  #: whoever serves puts them here
        self.redact: Callable[[str], str] = str  #: whoever lends puts it here: what an error says may hold a loan
        if traces and find_spec("opentelemetry") is not None and find_spec("opentelemetry.sdk") is not None:
            from opentelemetry import trace

            self._tracer, self._trace = trace.get_tracer("interlock"), trace

    @property
    def served(self) -> Any:
        """What stands for the span of a run that is open elsewhere: a call that comes in over a face is a span below
        its caller's, or by itself. None while nobody listens."""
        trace = self._trace
        return None if trace is None or isinstance(trace.get_tracer_provider(), trace.ProxyTracerProvider) else SERVED

    @contextmanager
    def inside(self, headers: Mapping[str, str]) -> Iterator[None]:
        """Below the span that a request names, by W3C Trace Context."""
        if self.served is None:
            yield
            return
        from opentelemetry import context
        from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

        token = context.attach(TraceContextTextMapPropagator().extract(headers))
        try:
            yield
        finally:
            context.detach(token)

    def run_opened(self, run: Run) -> Any:
        """A span for the run, to be handed to the others; None without traces, or while nobody listens to them."""
        if self._tracer is None:
            return None
        span = self._tracer.start_span(
            f"invoke_agent {run.agent}",
            attributes={
                "gen_ai.operation.name": "invoke_agent", "gen_ai.agent.name": run.agent,
                "gen_ai.conversation.id": run.run_id, **_ids(run.tenant, run.env, run.run_id, ""),
            },
        )
        return span if span.is_recording() else None

    def run_stopped(self, span: Any, run: Run) -> None:
        """Once for each run and process: why it stopped."""
        if self.metrics is not None:
            self.metrics.stopped(str(run.stop_reason))
        if self._logging.stop_reasons and stops.isEnabledFor(logging.INFO):
            _tell(
                stops, "run_stopped", tenant=run.tenant, agent=run.agent, env=run.env, run_id=run.run_id,
                stop_reason=run.stop_reason, detail=run.stop_detail, steps=run.steps, denials=run.denials,
            )
        if span is not None:
            span.set_attribute("interlock.stop.reason", str(run.stop_reason))
            span.end()

    def run_left(self, span: Any, run: Run) -> None:
        """A run that waits for people is left: this much of it is over. Who takes it up again begins another span."""
        if span is not None:
            span.set_attribute("interlock.run.status", run.status)
            span.end()

    def tool(self, call: ToolCall, run_span: Any) -> Told:
        """Around one call."""
        tracer = self._tracer if run_span is not None else None
        return Told(self._logging.tool_calls, call, tracer, run_span, self.metrics)

    def step_began(self, step: Step, run_span: Any) -> Any:
        """A span for one model turn; None without traces."""
        if self._tracer is None or run_span is None:
            return None
        from opentelemetry import trace

        context = trace.set_span_in_context(run_span)
        return self._tracer.start_span(f"chat {step.model}".strip(), context=context, kind=trace.SpanKind.CLIENT)

    def step_ended(self, step: Step, span: Any) -> None:
        """The turn is over, with what it used."""
        if span is None:
            return
        span.set_attributes(
            {
                "gen_ai.operation.name": "chat", "gen_ai.request.model": step.model,
                "gen_ai.usage.input_tokens": step.input_tokens, "gen_ai.usage.output_tokens": step.output_tokens,
                "interlock.cost.usd": (step.usd or 0) / MICROS, **_ids(step.tenant, "", step.run_id, step.step_id),
            }
        )
        span.end()

    def odd(self, text: str) -> None:
        """Something that looks like a mistake of whoever wrote the config or the program."""
        _log.warning("%s", self.redact(text))

    def trouble(self, text: str, error: BaseException) -> None:
        """Something that an operator should look at, and that nobody else hears of."""
        _log.warning("%s", self.redact(f"{text}: {error}"))


class Told:
    """What one call comes to: a context manager around it, with its span where there are spans."""

    __slots__ = ("_began", "_call", "_logs", "_metrics", "_outcome", "_run_span", "_span", "_tracer")

    def __init__(self, logs: bool, call: ToolCall, tracer: Any, run_span: Any, metrics: Counts | None) -> None:
        self._metrics = metrics
        self._began = time.perf_counter() if metrics is not None else 0.0
        self._logs = logs
        self._call = call
        self._tracer = tracer
        self._run_span = run_span
        self._span: Any = None
        self._outcome: Outcome | None = None

    def __enter__(self) -> Self:
        if self._tracer is not None:
            from opentelemetry import trace

            current = trace.get_current_span()
            inside = current if current.get_span_context().is_valid or self._run_span is SERVED else self._run_span
            context = trace.set_span_in_context(inside)
            self._span = self._tracer.start_as_current_span(f"execute_tool {self._call.tool}", context=context)
            self._span.__enter__()
        return self

    def __exit__(self, *error: object) -> None:
        if self._span is None:
            return
        from opentelemetry import trace

        span = trace.get_current_span()
        span.set_attributes(_attributes(self._call, self._outcome))
        if self._outcome is not None and self._outcome.kind in ("failed", "unknown"):
            span.set_attribute("error.type", self._outcome.kind)
            span.set_status(trace.StatusCode.ERROR)
        self._span.__exit__(*error)

    def ended(self, outcome: Outcome) -> None:
        """The call has its outcome."""
        self._outcome = outcome
        if self._metrics is not None:
            self._metrics.called(self._call.tool, outcome, time.perf_counter() - self._began)
        if not self._logs or not calls.isEnabledFor(logging.INFO):
            return
        call = self._call
        _tell(
            calls, "tool_call", tenant=call.tenant, agent=call.agent, env=call.env,
            run_id=call.run_id, step_id=call.step_id, call_id=call.call_id, tool=call.tool,
            verdict=outcome.decision.verdict.word, outcome=outcome.kind,
            rule=outcome.decision.rule, reason=outcome.decision.text, replayed=outcome.replayed,
            approval_id=outcome.approval_id, stop_reason=outcome.stop_reason,
            policy_version=outcome.decision.policy_version,
        )


def _tell(logger: logging.Logger, event: str, **fields: Any) -> None:
    """One line of JSON, and the same fields as `record.interlock` for handlers that want them apart."""
    fields = {"event": event, **fields}
    record = logging.LogRecord(logger.name, logging.INFO, __file__, 0, _Line(fields), None, None)  # nobody asks where
    record.interlock = fields
    logger.handle(record)


class _Line:
    """JSON, for handlers that want a text."""

    __slots__ = ("_fields",)

    def __init__(self, fields: dict[str, Any]) -> None:
        self._fields = fields

    def __str__(self) -> str:
        return _encode(self._fields).decode()


def _ids(tenant: str, env: str, run_id: str, step_id: str) -> dict[str, str]:
    named = {"interlock.tenant": tenant, "interlock.env": env, "interlock.run.id": run_id, "interlock.step.id": step_id}
    return {key: value for key, value in named.items() if value}


def _attributes(call: ToolCall, outcome: Outcome | None) -> dict[str, Any]:
    said: dict[str, Any] = {
        "gen_ai.operation.name": "execute_tool", "gen_ai.tool.name": call.tool, "gen_ai.tool.call.id": call.call_id,
        "gen_ai.tool.type": "function", "gen_ai.agent.name": call.agent,
        **_ids(call.tenant, call.env, call.run_id, call.step_id),
    }
    if outcome is not None:
        said |= {
            "interlock.outcome": outcome.kind, "interlock.verdict": outcome.decision.verdict.word,
            "interlock.policy.rule": outcome.decision.rule, "interlock.policy.version": outcome.decision.policy_version,
            "interlock.replayed": outcome.replayed,
        }
        if outcome.approval_id:
            said["interlock.approval.id"] = outcome.approval_id
        if outcome.stop_reason:
            said["interlock.stop.reason"] = str(outcome.stop_reason)
    return said
