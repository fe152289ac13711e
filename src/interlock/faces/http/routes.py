"""Every route of the API, once.

Not how they are found (`routing.py`) nor what they do (`api_*.py`). Law: a route that is not in this table does not
exist; who may is said here and nowhere else.
"""

from __future__ import annotations

from typing import Any

from interlock.faces.http import api_away, api_calls, api_health, api_runs, bodies
from interlock.faces.http.routing import AGENTS, EVERYBODY, OPERATORS, Route
from interlock.reports import Report

RUN = "/v1/runs/{run_id}"
STOPPERS = (*AGENTS, *OPERATORS)

_OPEN = (
    Route(
        method="GET", path="/healthz", name="healthz", summary="The process lives", handler=api_health.healthz, may=(),
        answer=bodies.Health,
    ),
    Route(
        method="GET", path="/readyz", name="readyz", summary="A call could be performed and recorded now",
        handler=api_health.readyz, may=(), answer=bodies.Health,
    ),
    Route(
        method="GET", path="/openapi.json", name="openapi", summary="This document", handler=api_health.openapi, may=(),
        answer=dict[str, Any],
    ),
)

_CALLS = (
    Route(
        method="POST", path=f"{RUN}/calls", name="perform_call", summary="Use a tool, or hear why not",
        handler=api_calls.perform_call, may=AGENTS, body=bodies.PerformCall, answer=bodies.OutcomeView,
        problems=("not_found", "key_reused", "cooperative"),
    ),
    Route(
        method="POST", path=f"{RUN}/calls/admit", name="admit_call",
        summary="A ticket to perform one call in the client's own process, or its outcome",
        handler=api_away.admit_call, may=AGENTS, body=bodies.AdmitCall, answer=bodies.Admitted,
        problems=("not_found", "key_reused", "refused", "running"),
    ),
    Route(
        method="POST", path=f"{RUN}/calls/{{call_id}}/renew", name="renew_call",
        summary="The heartbeat of whoever performs a call", handler=api_away.renew_call, may=AGENTS,
        body=bodies.RenewCall, answer=bodies.Renewed, problems=("not_found", "refused"),
    ),
    Route(
        method="POST", path=f"{RUN}/calls/{{call_id}}/settle", name="settle_call", summary="How a call ended",
        handler=api_away.settle_call, may=AGENTS, body=bodies.SettleCall, answer=bodies.OutcomeView,
        problems=("not_found", "refused"),
    ),
    Route(
        method="GET", path=f"{RUN}/calls", name="list_calls", summary="The calls of a run, oldest first",
        handler=api_calls.list_calls, may=EVERYBODY, query=bodies.OfTenant, answer=bodies.Calls,
        problems=("not_found",),
    ),
    Route(
        method="GET", path=f"{RUN}/calls/{{call_id}}", name="read_call", summary="One call as it is recorded",
        handler=api_calls.read_call, may=EVERYBODY, query=bodies.OfTenant, answer=bodies.CallView,
        problems=("not_found",),
    ),
)

_RUNS = (
    Route(
        method="POST", path="/v1/runs", name="open_run", summary="Open a run, or take one up again by its run_id",
        handler=api_runs.open_run, may=AGENTS, body=bodies.OpenRun, optional=True, answer=bodies.RunView,
        problems=("refused", "key_reused"),
    ),
    Route(
        method="GET", path="/v1/runs", name="list_runs", summary="Runs, the newest first", handler=api_runs.list_runs,
        may=EVERYBODY, query=bodies.ListRuns, answer=bodies.Runs,
    ),
    Route(
        method="GET", path=RUN, name="read_run", summary="One run", handler=api_runs.read_run, may=EVERYBODY,
        query=bodies.OfTenant, answer=bodies.RunView, problems=("not_found",),
    ),
    Route(
        method="GET", path=f"{RUN}/report", name="report_run", summary="How a run stands, or ended",
        handler=api_runs.report_run, may=EVERYBODY, query=bodies.OfTenant, answer=Report, problems=("not_found",),
    ),
    Route(
        method="POST", path=f"{RUN}/stop", name="stop_run", summary="Stop a run; the first reason stays",
        handler=api_runs.stop_run, may=STOPPERS, body=bodies.StopRun, optional=True, answer=Report,
        problems=("not_found",),
    ),
    Route(
        method="POST", path=f"{RUN}/finish", name="finish_run", summary="The agent is done",
        handler=api_runs.finish_run, may=STOPPERS, body=bodies.OfTenant, optional=True, answer=Report,
        problems=("not_found",),
    ),
    Route(
        method="POST", path=f"{RUN}/steps", name="begin_step", summary="Begin a model turn",
        handler=api_runs.begin_step, may=AGENTS, body=bodies.BeginStep, optional=True, answer=bodies.StepView,
        problems=("not_found", "run_stopped", "key_reused"),
    ),
    Route(
        method="POST", path=f"{RUN}/steps/{{step_id}}/end", name="end_step", summary="End a model turn",
        handler=api_runs.end_step, may=AGENTS, body=bodies.EndStep, optional=True, answer=bodies.StepView,
        problems=("not_found",),
    ),
)

ROUTES: tuple[Route, ...] = (*_CALLS, *_RUNS, *_OPEN)

