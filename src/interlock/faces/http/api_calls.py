"""Calls over HTTP: perform one, and read what is recorded of one.

Not the road of a call (`gateway.py`), and no rule. Law: a refused call is an answer with status 200; only a call that
cannot be taken at all is a problem.
"""

from __future__ import annotations

import secrets
from typing import Any

import msgspec

from interlock.core.outcome import Outcome
from interlock.core.record import Record
from interlock.core.run import Run
from interlock.faces.http.bodies.calls import Calls, CallView, OutcomeView, PerformCall, decision_view
from interlock.faces.http.problems import Problem
from interlock.faces.http.routing import Request
from interlock.faces.http.service import Service
from interlock.ports import CallKey
from interlock.redaction import Redactor
from interlock.tools.cooperative import is_cooperative


async def perform_call(request: Request) -> OutcomeView:
    """Use a tool, or hear why not. The same `call_id` or `Idempotency-Key` is performed once; sent again, it is
    answered from the record."""
    service, said = request.service, request.body
    run = await service.opened(request.principal, request.path["run_id"])
    registered = service.gateway.tools.get(said.tool)
    if registered is not None and is_cooperative(registered.performer):
        raise Problem(
            409, "cooperative", f"{said.tool} lives in the agent's own process",
            remedy=f"POST /v1/runs/{run.run_id}/calls/admit", run_id=run.run_id,
        )
    call_id = call_id_of(request, said)
    outcome = await service.perform(
        run, said.tool, said.args, call_id=call_id, key=request.key, step_id=step_id_of(request, run)
    )
    return outcome_view(run.run_id, outcome)


def call_id_of(request: Request, said: PerformCall) -> str:
    """As the body has it, else the key's; a call that has neither is another one each time."""
    call_id: str = said.call_id or request.key
    return call_id or f"call_{secrets.token_hex(8)}"


def step_id_of(request: Request, run: Run) -> str:
    """Raises Problem 422 for what can be no name."""
    step_id: str = request.body.step_id
    problem = request.service.gateway.redactor.problem_of_id(step_id, "step_id") if step_id else None
    if problem is not None:
        raise Problem(422, "bad_request", problem, run_id=run.run_id)
    return step_id


async def read_call(request: Request) -> CallView:
    """One call, by its id or its key."""
    service, call_id = request.service, request.path["call_id"]
    run = await service.run_of(request.principal, request.path["run_id"], request.query.tenant)
    record = await service.blocking(find_record, service, run, call_id)
    if record is None:
        raise Problem(404, "not_found", f"this run has no call {call_id!r:.80}", run_id=run.run_id)
    return call_view(record, service.gateway.redactor)


def find_record(service: Service, run: Run, call_id: str) -> Record | None:
    """A call of a run, by its key or its id."""
    store = service.gateway.store
    by_key: Record | None = store.load(CallKey(run.tenant, run.run_id, call_id))
    if by_key is not None:
        return by_key
    calls = store.calls_of(run.tenant, run.run_id)
    return next((record for record in calls if record.call.call_id == call_id), None)


async def list_calls(request: Request) -> Calls:
    """All calls of a run, oldest first."""
    service = request.service
    run = await service.run_of(request.principal, request.path["run_id"], request.query.tenant)
    records = await service.blocking(service.gateway.store.calls_of, run.tenant, run.run_id)
    return Calls([call_view(record, service.gateway.redactor) for record in records])


def outcome_view(run_id: str, outcome: Outcome) -> OutcomeView:
    """An outcome for the wire."""
    return OutcomeView(
        kind=outcome.kind,  # type: ignore[arg-type]
        run_id=run_id, call_id=outcome.call_id, text=outcome.text, value=outcome.value, replayed=outcome.replayed,
        approval_id=outcome.approval_id, stop_reason=outcome.stop_reason, decision=decision_view(outcome.decision),
    )


def call_view(record: Record, redactor: Redactor) -> CallView:
    """A record for the wire: nothing in it was ever lent."""
    call = record.call
    result: Any = msgspec.json.decode(record.result) if bytes(record.result) else None
    return CallView(
        call_id=call.call_id, key=call.key, run_id=call.run_id, step_id=call.step_id, tool=call.tool,
        state=record.state, args=redactor.redact(record.args), edited=record.edited is not None,
        decision=decision_view(record.decision), approval_id=record.approval_id, result=redactor.redact(result),
        error=redactor.redact_text(record.error), of=record.of, attempts=record.attempts, asked_at=record.asked_at,
        settled_at=record.settled_at,
    )
