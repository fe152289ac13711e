"""Every route of the API, once.

Not how they are found (`routing.py`) nor what they do (`api_*.py`). Law: a route that is not in this table does not
exist; who may is said here and nowhere else.
"""

from __future__ import annotations

from typing import Any

from interlock.core.principal import Role
from interlock.faces.http import (
    api_approvals,
    api_audit,
    api_away,
    api_calls,
    api_control,
    api_health,
    api_runs,
    api_tools,
)
from interlock.faces.http.bodies import approvals, audit, calls, control, runs, shared, tools
from interlock.faces.http.routing import AGENTS, AUDITORS, EVENTS, EVERYBODY, LINES, OPERATORS, PEOPLE, TEXT, Route
from interlock.reports import Report

RUN = "/v1/runs/{run_id}"
APPROVERS = (Role.APPROVER,)
STOPPERS = (*AGENTS, *OPERATORS)

_OPEN = (
    Route(
        method="GET", path="/healthz", name="healthz", summary="The process lives", handler=api_health.healthz, may=(),
        answer=shared.Health,
    ),
    Route(
        method="GET", path="/readyz", name="readyz", summary="A call could be performed and recorded now",
        handler=api_health.readyz, may=(), answer=shared.Health,
    ),
    Route(
        method="GET", path="/openapi.json", name="openapi", summary="This document", handler=api_health.openapi, may=(),
        answer=dict[str, Any],
    ),
)

_CALLS = (
    Route(
        method="POST", path=f"{RUN}/calls", name="perform_call", summary="Use a tool, or hear why not",
        handler=api_calls.perform_call, may=AGENTS, body=calls.PerformCall, answer=calls.OutcomeView,
        problems=("not_found", "key_reused", "cooperative"),
    ),
    Route(
        method="POST", path=f"{RUN}/calls/admit", name="admit_call",
        summary="A ticket to perform one call in the client's own process, or its outcome",
        handler=api_away.admit_call, may=AGENTS, body=calls.AdmitCall, answer=calls.Admitted,
        problems=("not_found", "key_reused", "refused", "running"),
    ),
    Route(
        method="POST", path=f"{RUN}/calls/{{call_id}}/renew", name="renew_call",
        summary="The heartbeat of whoever performs a call", handler=api_away.renew_call, may=AGENTS,
        body=calls.RenewCall, answer=calls.Renewed, problems=("not_found", "refused"),
    ),
    Route(
        method="POST", path=f"{RUN}/calls/{{call_id}}/settle", name="settle_call", summary="How a call ended",
        handler=api_away.settle_call, may=AGENTS, body=calls.SettleCall, answer=calls.OutcomeView,
        problems=("not_found", "refused"),
    ),
    Route(
        method="GET", path=f"{RUN}/calls", name="list_calls", summary="The calls of a run, oldest first",
        handler=api_calls.list_calls, may=EVERYBODY, query=shared.OfTenant, answer=calls.Calls,
        problems=("not_found",),
    ),
    Route(
        method="GET", path=f"{RUN}/calls/{{call_id}}", name="read_call", summary="One call as it is recorded",
        handler=api_calls.read_call, may=EVERYBODY, query=shared.OfTenant, answer=calls.CallView,
        problems=("not_found",),
    ),
)

_RUNS = (
    Route(
        method="POST", path="/v1/runs", name="open_run", summary="Open a run, or take one up again by its run_id",
        handler=api_runs.open_run, may=AGENTS, body=runs.OpenRun, optional=True, answer=runs.RunView,
        problems=("refused", "key_reused"),
    ),
    Route(
        method="GET", path="/v1/runs", name="list_runs", summary="Runs, the newest first", handler=api_runs.list_runs,
        may=EVERYBODY, query=runs.ListRuns, answer=runs.Runs,
    ),
    Route(
        method="GET", path=RUN, name="read_run", summary="One run", handler=api_runs.read_run, may=EVERYBODY,
        query=shared.OfTenant, answer=runs.RunView, problems=("not_found",),
    ),
    Route(
        method="GET", path=f"{RUN}/report", name="report_run", summary="How a run stands, or ended",
        handler=api_runs.report_run, may=EVERYBODY, query=shared.OfTenant, answer=Report, problems=("not_found",),
    ),
    Route(
        method="POST", path=f"{RUN}/stop", name="stop_run", summary="Stop a run; the first reason stays",
        handler=api_runs.stop_run, may=STOPPERS, body=runs.StopRun, optional=True, answer=Report,
        problems=("not_found",),
    ),
    Route(
        method="POST", path=f"{RUN}/finish", name="finish_run", summary="The agent is done",
        handler=api_runs.finish_run, may=STOPPERS, body=shared.OfTenant, optional=True, answer=Report,
        problems=("not_found",),
    ),
    Route(
        method="POST", path=f"{RUN}/steps", name="begin_step", summary="Begin a model turn",
        handler=api_runs.begin_step, may=AGENTS, body=runs.BeginStep, optional=True, answer=runs.StepView,
        problems=("not_found", "run_stopped", "key_reused"),
    ),
    Route(
        method="POST", path=f"{RUN}/steps/{{step_id}}/end", name="end_step", summary="End a model turn",
        handler=api_runs.end_step, may=AGENTS, body=runs.EndStep, optional=True, answer=runs.StepView,
        problems=("not_found",),
    ),
)

_APPROVALS = (
    Route(
        method="GET", path="/v1/approvals", name="list_approvals", summary="What people are asked, the newest first",
        handler=api_approvals.list_approvals, may=PEOPLE, query=approvals.ListApprovals, answer=approvals.Approvals,
    ),
    Route(
        method="GET", path="/v1/approvals/events", name="approval_events",
        summary="Server-sent events: what waits, and what becomes of it", handler=api_approvals.approval_events,
        may=PEOPLE, query=shared.OfTenant, media=EVENTS, problems=("busy",),
    ),
    Route(
        method="GET", path="/v1/approvals/{approval_id}", name="read_approval",
        summary="One approval, or the answer to it once it has come", handler=api_approvals.read_approval,
        may=EVERYBODY, query=approvals.WaitApproval, answer=approvals.ApprovalView, problems=("not_found",),
    ),
    Route(
        method="POST", path="/v1/approvals/{approval_id}/approve", name="approve", summary="Say yes",
        handler=api_approvals.approve, may=APPROVERS, body=approvals.Approve, optional=True,
        answer=approvals.ApprovalView, problems=("not_found", "refused"),
    ),
    Route(
        method="POST", path="/v1/approvals/{approval_id}/reject", name="reject", summary="Say no",
        handler=api_approvals.reject, may=APPROVERS, body=approvals.Reject, optional=True,
        answer=approvals.ApprovalView, problems=("not_found", "refused"),
    ),
)

_CONTROL = (
    Route(
        method="GET", path="/v1/switches", name="list_switches", summary="The kill switches in force",
        handler=api_control.list_switches, may=PEOPLE, query=control.ListSwitches, answer=control.Switches,
    ),
    Route(
        method="POST", path="/v1/switches/kill", name="kill", summary="Stop it now", handler=api_control.kill,
        may=OPERATORS, body=control.Kill, answer=control.SwitchView, problems=("refused",),
    ),
    Route(
        method="POST", path="/v1/switches/release", name="release", summary="Let go of just this scope",
        handler=api_control.release, may=OPERATORS, body=control.Release, optional=True, answer=control.SwitchView,
        problems=("refused",),
    ),
    Route(
        method="POST", path=f"{RUN}/calls/{{call_id}}/reconcile", name="reconcile",
        summary="End an unknown: it happened, or it did not", handler=api_control.reconcile, may=OPERATORS,
        body=control.Reconcile, answer=calls.CallView, problems=("not_found", "refused"),
    ),
    Route(
        method="GET", path="/v1/budgets", name="list_accounts", summary="What is held, spent and left",
        handler=api_control.list_accounts, may=PEOPLE, query=control.ListAccounts, answer=control.Accounts,
        problems=("not_found",),
    ),
    Route(
        method="POST", path="/v1/budgets/top-up", name="top_up", summary="Raise the limits of a run or a window",
        handler=api_control.top_up, may=OPERATORS, body=control.TopUp, answer=control.AccountView,
        problems=("not_found", "refused", "key_reused"),
    ),
)

_AUDIT = (
    Route(
        method="GET", path="/v1/audit/entries", name="list_entries", summary="Entries of the audit, in order",
        handler=api_audit.list_entries, may=AUDITORS, query=audit.ListEntries, answer=audit.Entries,
    ),
    Route(
        method="GET", path="/v1/audit/export", name="export_audit", summary="The whole audit of a tenant, streamed",
        handler=api_audit.export_audit, may=AUDITORS, query=shared.OfTenant, media=LINES,
    ),
    Route(
        method="POST", path="/v1/audit/verify", name="verify_audit", summary="Weigh the audit of a tenant now",
        handler=api_audit.verify_audit, may=AUDITORS, body=shared.OfTenant, optional=True, answer=audit.Verified,
    ),
    Route(
        method="GET", path="/v1/audit/checkpoints", name="list_checkpoints", summary="Signed statements of the tip",
        handler=api_audit.list_checkpoints, may=AUDITORS, query=audit.ListCheckpoints, answer=audit.Checkpoints,
    ),
    Route(
        method="POST", path="/v1/audit/checkpoints", name="sign_checkpoint", summary="Sign the tip now",
        handler=api_audit.sign_checkpoint, may=AUDITORS, body=shared.OfTenant, optional=True,
        answer=audit.Checkpoint, problems=("refused",),
    ),
)

_TOOLS = (
    Route(
        method="GET", path="/v1/tools", name="list_tools", summary="Tools with their schemas, effects and grades",
        handler=api_tools.list_tools, may=EVERYBODY, answer=tools.Tools,
    ),
    Route(
        method="POST", path="/v1/tools/{tool}/accept", name="accept_tool",
        summary="Accept the changed definition of an upstream's tool", handler=api_tools.accept_tool, may=OPERATORS,
        body=tools.AcceptTool, optional=True, answer=tools.Accepted, problems=("not_found", "refused"),
    ),
    Route(
        method="GET", path="/v1/policy", name="read_policy", summary="The rules in force",
        handler=api_tools.read_policy, may=PEOPLE, answer=tools.PolicyView,
    ),
    Route(
        method="POST", path="/v1/policy/check", name="check_policy", summary="What would this call get?",
        handler=api_tools.check_policy, may=PEOPLE, body=tools.CheckCall, answer=calls.DecisionView,
    ),
    Route(
        method="GET", path="/metrics", name="metrics", summary="Numbers for Prometheus", handler=api_health.metrics,
        may=AUDITORS, media=TEXT,
    ),
)

ROUTES: tuple[Route, ...] = (*_CALLS, *_RUNS, *_APPROVALS, *_CONTROL, *_AUDIT, *_TOOLS, *_OPEN)

