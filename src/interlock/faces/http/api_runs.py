"""Runs and model turns, for the agents whose they are and the people of their tenant.

Not the run itself (`runs.py`, `steps.py`). Law: an agent sees its own runs alone.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec
from msgspec.structs import replace

from interlock import runs, steps
from interlock.core.canonical import digest
from interlock.core.principal import Principal
from interlock.core.run import Asking, Run, Step
from interlock.core.turn import Call, Turn, Usage
from interlock.core.verdict import StopReason
from interlock.errors import KeyReused, RunStopped
from interlock.faces.http.bodies.runs import ListRuns, OpenRun, Runs, RunView, StepView, TurnBody, UsageBody
from interlock.faces.http.problems import Problem
from interlock.faces.http.routing import Request
from interlock.ports import RunKey, StepKey
from interlock.reports import Report, report_of
from interlock.turns import kept

if TYPE_CHECKING:
    from interlock.gateway import Gateway

PAGE = 200
LOOKED_AT = 5_000  #: runs that one request goes through, at most


async def open_run(request: Request) -> RunView:
    """With an `Idempotency-Key`, the same request opens one run, however often it is sent."""
    service, who, said = request.service, request.principal, request.body
    run_id = said.run_id or _named_by(who, request.key)
    if said.run_id and request.key and await _taken_otherwise(request, said.run_id):
        raise KeyReused(f"run {said.run_id!r} was opened with another request")

    def opened() -> Run:
        run = service.gateway.run(
            agent=who.agent, tenant=who.tenant, env=who.env, request=said.request, run_id=run_id or None,
            budgets=said.budgets, labels=said.labels, runtime=said.runtime, requested_by=said.requested_by,
        )
        return _loaded(service.gateway, run.tenant, run.run_id)

    found = await service.blocking(opened)
    if request.key and not said.run_id and _differs(found, said, request):
        raise KeyReused(f"this Idempotency-Key has opened run {found.run_id!r} with another request")
    return view(found)


def _loaded(gateway: Gateway, tenant: str, run_id: str) -> Run:
    """A run that is known to be there."""
    found: Run | None = gateway.store.load(RunKey(tenant, run_id))
    if found is None:
        raise Problem(404, "not_found", f"there is no run {run_id!r:.80}")
    return found


def _named_by(who: Principal, key: str) -> str:
    """The run that an idempotency key stands for: of this agent alone."""
    if not key:
        return ""
    return f"run_{digest(who.tenant, who.agent, who.env, key)[-32:]}"


async def _taken_otherwise(request: Request, run_id: str) -> bool:
    known = await request.service.blocking(request.service.gateway.store.load, RunKey(request.tenant, run_id))
    return known is not None and _differs(known, request.body, request)


def _differs(run: Run, said: OpenRun, request: Request) -> bool:
    redactor = request.service.gateway.redactor
    wanted = (redactor.redact_text(said.request), said.runtime, said.requested_by, redactor.redact(dict(said.labels)))
    return (run.request, run.runtime, run.requested_by, dict(run.labels)) != wanted


async def list_runs(request: Request) -> Runs:
    """The newest first."""
    who, asked = request.principal, request.query
    if who.is_agent:
        asked = ListRuns(
            tenant=who.tenant, agent=who.agent, env=who.env, status=asked.status, limit=asked.limit, before=asked.before
        )
    found, reached = await request.service.blocking(_page, request, request.tenant, asked)
    return Runs([view(run) for run in found], reached)


def _page(request: Request, tenant: str, asked: ListRuns) -> tuple[list[Run], int | None]:
    """Runs that fit, and where the next page begins."""
    found: list[Run] = []
    before, seen = asked.before, 0
    while seen < LOOKED_AT:
        page = request.service.gateway.store.runs(tenant, limit=PAGE, before=before)
        for run in page:
            before, seen = run.opened_at, seen + 1
            if _fits(run, asked):
                found.append(run)
                if len(found) == asked.limit:
                    return found, before
        if len(page) < PAGE:
            return found, None
    return found, before


def _fits(run: Run, asked: ListRuns) -> bool:
    return (
        asked.agent in ("", run.agent) and asked.env in ("", run.env) and asked.status in ("", run.status)
    )


async def read_run(request: Request) -> RunView:
    """One run."""
    return view(await _run(request))


async def report_run(request: Request) -> Report:
    """How it stands, or ended."""
    run = await _run(request)
    return await request.service.blocking(report_of, request.service.gateway, run)


async def stop_run(request: Request) -> Report:
    """Throw the latch. The first reason stays, so that stopping twice is stopping once."""
    return await _ended(request, request.body.reason, request.body.detail)


async def finish_run(request: Request) -> Report:
    """The agent is done."""
    return await _ended(request, StopReason.COMPLETED, "")


async def _ended(request: Request, reason: StopReason, detail: str) -> Report:
    run, gateway = await _run(request), request.service.gateway
    by = "" if request.principal.is_agent else request.principal.name

    def end() -> Report:
        runs.Run(gateway, run).stop(reason, detail, by=by)
        return report_of(gateway, _loaded(gateway, run.tenant, run.run_id))

    return await request.service.blocking(end)


# --- model turns -----------------------------------------------------------------------------------------------------


async def begin_step(request: Request) -> StepView:
    """Counts the turn and sets aside its worst case; a run that has stopped answers 409 `run_stopped`."""
    run, said, gateway = await _run(request), request.body, request.service.gateway
    unit = steps.begin(
        gateway, RunKey(run.tenant, run.run_id), said.model, said.max_output_tokens, said.input_tokens,
        step_id=f"s-{request.key}" if request.key else "",
    )
    begun = await request.service.blocking(gateway.committer.run, unit)
    if isinstance(begun, RunStopped):
        raise begun
    return step_view(begun)


async def end_step(request: Request) -> StepView:
    """Books what it used. Ending it twice changes nothing."""
    run, gateway = await _run(request), request.service.gateway
    key = StepKey(run.tenant, run.run_id, request.path["step_id"])
    step: Step | None = await request.service.blocking(gateway.store.load, key)
    if step is None:
        raise Problem(404, "not_found", f"there is no step {key.step_id!r:.80} of this run", run_id=run.run_id)
    usage = None if request.body.usage is None else _usage(request.body.usage)
    asking = None if request.body.turn is None else _asking(request.body.turn, gateway)
    unit = steps.end(gateway, step, usage, asking=asking, lost=request.body.lost)
    ended = await request.service.blocking(gateway.committer.run, unit)
    return step_view(ended.step)


def _asking(said: TurnBody, gateway: Gateway) -> Asking:
    calls = tuple([Call(each.name, each.args, each.id, each.raw) for each in said.calls])
    turn = Turn(said.text, calls, model=said.model, response_id=said.response_id)
    asking = kept(turn, gateway.redactor)
    return replace(asking, cut=True) if said.cut else asking


def _usage(said: UsageBody) -> Usage:
    return Usage(**msgspec.structs.asdict(said))


# --- what they look like ---------------------------------------------------------------------------------------------


async def _run(request: Request) -> Run:
    said = getattr(request.query, "tenant", "") or getattr(request.body, "tenant", "")
    return await request.service.run_of(request.principal, request.path["run_id"], said)


def view(run: Run) -> RunView:
    """A run for the wire."""
    return RunView(
        run_id=run.run_id, tenant=run.tenant, agent=run.agent, env=run.env, status=run.status,
        stop_reason=run.stop_reason, detail=run.stop_detail, opened_at=run.opened_at, stopped_at=run.stopped_at,
        deadline=run.deadline, runtime=run.runtime, request=run.request, requested_by=run.requested_by,
        labels=run.labels, steps=run.steps, denials=run.denials, policy_version=run.policy_version,
    )


def step_view(step: Step) -> StepView:
    """A turn for the wire."""
    return StepView(
        step_id=step.step_id, run_id=step.run_id, model=step.model, began_at=step.began_at, ended_at=step.ended_at,
        held=step.hold.amounts, usd=step.usd, input_tokens=step.input_tokens, output_tokens=step.output_tokens,
    )


