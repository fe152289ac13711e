"""Refusals in the shapes that the SDKs of the providers know.

Not what is refused. Law: a stopped run is 402 and never 429 or 5xx, which the SDKs would try again; every shape names
the stable code, the reason and the remedy.
"""

from __future__ import annotations

from typing import Any

from interlock.core.run import STOP_TEXTS
from interlock.core.verdict import StopReason
from interlock.errors import CredentialError, LedgerUnavailable
from interlock.faces.http.problems import Problem, problem_of_error

REASON, RUN_ID, RETRY = "interlock-stop-reason", "interlock-run-id", "x-should-retry"


class RunIsOver(Problem):
    """The run has a stop reason: no model is asked any more."""

    def __init__(self, run_id: str, reason: str) -> None:
        said = STOP_TEXTS[StopReason(reason)].model
        headers = {REASON: reason, RUN_ID: run_id, RETRY: "false"}
        super().__init__(402, "run_stopped", f"the run has stopped: {reason}. {said}", run_id=run_id, headers=headers)
        self.reason = reason


def problem_of(error: Exception, run_id: str) -> Problem:
    """What an exception means to a client of a model."""
    if isinstance(error, Problem):
        return error
    if isinstance(error, CredentialError):  # its words name the variable, or the file
        detail = "the gateway has no credential for this provider"
        return Problem(503, "no_credential", detail, run_id=run_id, headers={RETRY: "false"})
    if isinstance(error, LedgerUnavailable):
        return Problem(503, "ledger_unavailable", "the ledger cannot be written", remedy="try again", run_id=run_id)
    return problem_of_error(error, run_id)


def of_status(status: int, run_id: str) -> Problem | None:
    """What of a provider's answers is not passed on: a redirect, which is not followed; an error about our credential,
    which may show a part of it."""
    if status >= 400 and status != 401:
        return None
    code, what = "provider_redirects", f"answered with status {status}, which is not followed"
    if status == 401:
        code, what = "provider_refused", "does not take the gateway's credential"
    return Problem(502, code, f"the model's provider {what}", run_id=run_id, headers={RETRY: "false"})


def openai_error(problem: Problem) -> dict[str, Any]:
    """The shape of chat completions and responses."""
    kind = "run_stopped" if isinstance(problem, RunIsOver) else _OPENAI.get(problem.status, "invalid_request_error")
    code = problem.reason if isinstance(problem, RunIsOver) else problem.code
    return {"error": {"message": _message(problem), "type": kind, "param": None, "code": code}}


def anthropic_error(problem: Problem) -> dict[str, Any]:
    """The shape of messages."""
    kind = _ANTHROPIC.get(problem.status, "api_error" if problem.status >= 500 else "invalid_request_error")
    code = problem.reason if isinstance(problem, RunIsOver) else problem.code
    return {"type": "error", "error": {"type": kind, "message": _message(problem), "code": code}}


def _message(problem: Problem) -> str:
    remedy = f" ({problem.remedy})" if problem.remedy else ""
    run = f" [{problem.run_id}]" if problem.run_id else ""
    return f"{problem.detail}{remedy}{run}"


_OPENAI = {500: "server_error", 502: "server_error", 503: "server_error", 504: "server_error"}
_ANTHROPIC = {
    401: "authentication_error",
    402: "billing_error",
    403: "permission_error",
    404: "not_found_error",
    413: "request_too_large",
    504: "timeout_error",
}
