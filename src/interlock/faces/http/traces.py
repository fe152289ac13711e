"""Spans of a service, sent to a collector: where the environment names one, as every program with OpenTelemetry does.

Not the spans (`telemetry.py`). Law: OTEL_EXPORTER_OTLP_ENDPOINT switches it on; a provider that the program behind
`--app` has set up is left as it is; what was not sent yet is sent before the process goes.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from importlib.util import find_spec
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from interlock.gateway import Gateway

WHERE = ("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "OTEL_EXPORTER_OTLP_ENDPOINT")


@asynccontextmanager
async def exported(gateway: Gateway) -> AsyncIterator[None]:
    """Around the life of a process that serves."""
    wanted = gateway.config.telemetry.traces and any(os.environ.get(name) for name in WHERE)
    if not wanted:
        yield
        return
    if find_spec("opentelemetry") is None or find_spec("opentelemetry.exporter.otlp.proto.http") is None:
        gateway.telemetry.odd(f"{' or '.join(WHERE)} is set, but no spans are sent: pip install 'interlock[otel]'")
        yield
        return
    from opentelemetry import trace
    from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
    from opentelemetry.sdk.resources import Resource
    from opentelemetry.sdk.trace import TracerProvider
    from opentelemetry.sdk.trace.export import BatchSpanProcessor

    if not isinstance(trace.get_tracer_provider(), trace.ProxyTracerProvider):
        yield
        return
    named = {} if "OTEL_SERVICE_NAME" in os.environ else {"service.name": "interlock"}
    provider = TracerProvider(resource=Resource.create(named), shutdown_on_exit=False)
    provider.add_span_processor(BatchSpanProcessor(OTLPSpanExporter()))
    trace.set_tracer_provider(provider)
    try:
        yield
    finally:
        await asyncio.to_thread(provider.shutdown)
