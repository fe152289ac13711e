"""Runs: the list, one run with all that became of it, and what a person may do about it.

Not the run (`runs.py` of the gateway). Law: nothing of another tenant is read; a call's arguments and results are shown
as an auditor may see them: redacted.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import msgspec
from msgspec import Struct
from starlette.responses import Response

from interlock.core.approval import Approval
from interlock.core.lifecycle import State
from interlock.core.record import Record
from interlock.core.run import Run, Step
from interlock.errors import InterlockError
from interlock.faces.console.desk import Visit
from interlock.faces.console.standing import stands
from interlock.faces.console.timeline import LOOKS, picture
from interlock.ports import ApprovalKey
from interlock.reports import Report, Used, report_of

if TYPE_CHECKING:
    from interlock.gateway import Gateway

PAGE = 50
SCANNED = 2_000  #: runs that are looked through for one page, where a filter passes over most
SHOWN = 300  #: calls, and steps, of one run on its page
STATUSES = ("running", "paused", "completed", "stopped", "failed")
CLIP = 4_000  #: characters of a result


class Told(Struct, frozen=True, kw_only=True):
    """One call, for the page."""

    record: Record
    look: str
    sign: str
    word: str
    args: str
    result: str
    reasons: tuple[tuple[str, str, str], ...]  #: verdict, whose word it is, words
    doubtful: bool


async def listed(visit: Visit) -> Response:
    """The newest runs, filtered."""
    tenant, agent, status = await visit.tenant(), visit.asked("agent"), visit.asked("status")
    before = visit.number("before")
    runs, more = await visit.blocking(_sifted, visit.gateway, tenant, agent, status, before)
    return visit.page(
        "runs.html", runs=runs, more=more, tenant=tenant, agent=agent, wanted=status, before=before,
        tenants=await visit.tenants(), statuses=STATUSES, now=visit.gateway.clock.now(),
    )


def _sifted(
    gateway: Gateway, tenant: str, agent: str, status: str, before: int | None
) -> tuple[list[Run], int | None]:
    """One page of runs, and where the next one begins."""
    found: list[Run] = []
    for _ in range(0, SCANNED, PAGE * 4):
        some = gateway.store.runs(tenant or None, limit=PAGE * 4, before=before)
        for run in some:
            before = run.opened_at
            if (not agent or run.agent == agent) and (not status or run.status == status):
                found.append(run)
                if len(found) == PAGE:
                    return found, before
        if len(some) < PAGE * 4:
            return found, None
    return found, before


async def one(visit: Visit) -> Response:
    """One run."""
    return await _shown(visit, await _found(visit, visit.asked("tenant"), visit.asked("id")))


async def reconcile(visit: Visit) -> Response:
    """A person has looked: an unknown call happened, or it did not."""
    form = visit.form
    run = await _found(visit, form.get("tenant", ""), form.get("run", ""))
    if form.get("happened") not in ("yes", "no"):
        return await _shown(visit, run, "Say whether it happened.", 422)
    try:
        await visit.blocking(
            visit.gateway.control.reconcile, tenant=run.tenant, run_id=run.run_id, call_id=form.get("call", ""),
            happened=form["happened"] == "yes", by=visit.principal.name, note=form.get("note", ""),
        )
    except InterlockError as error:
        return await _shown(visit, run, str(error), 409)
    return visit.go("/run", tenant=run.tenant, id=run.run_id, done="reconciled")


async def top_up(visit: Visit) -> Response:
    """More of a budget, for one run."""
    form = visit.form
    run = await _found(visit, form.get("tenant", ""), form.get("run", ""))
    try:
        more = _amounts(form.get("unit", ""), form.get("more", ""))
        await visit.blocking(
            visit.gateway.control.top_up, tenant=run.tenant, run_id=run.run_id, by=visit.principal.name,
            note=form.get("note", ""), **more,
        )
    except (InterlockError, ValueError) as error:
        return await _shown(visit, run, str(error), 409)
    return visit.go("/run", tenant=run.tenant, id=run.run_id, done="topped-up")


def _amounts(unit: str, said: str) -> dict[str, Any]:
    if unit not in ("steps", "tool_calls", "usd", "tokens"):
        raise ValueError("Say of what there shall be more.")
    try:
        return {unit: float(said) if unit == "usd" else int(said)}
    except ValueError:
        raise ValueError("Say how much more, as a number.") from None


async def _found(visit: Visit, tenant: str, run_id: str) -> Run:
    if tenant:
        await visit.service.see(visit.principal, tenant, f"run {run_id!r:.80}")
    return await visit.service.run_of(visit.principal, run_id, tenant)


async def _shown(visit: Visit, run: Run, problem: str = "", status: int = 200) -> Response:
    names = await visit.blocking(_told, visit, run)
    return visit.page("run.html", status, run=run, problem=problem, **names)


def _told(visit: Visit, run: Run) -> dict[str, Any]:
    gateway = visit.gateway
    report, now = report_of(gateway, run), gateway.clock.now()
    records = gateway.store.calls_of(run.tenant, run.run_id)
    calls, steps = records[-SHOWN:], _steps(gateway, run)
    ids = dict.fromkeys([*(each.approval_id for each in calls if each.approval_id), *run.asking])
    approvals: dict[str, Approval] = {}
    for approval_id in ids:
        found = gateway.store.load(ApprovalKey(run.tenant, approval_id))
        if found is not None:
            approvals[approval_id] = found
    return {
        "report": report,
        "gauges": _gauges(report, run),
        "picture": picture(run, steps, calls, approvals, now),
        "calls": [_call(gateway, record) for record in calls],
        "left_out": len(records) - len(calls),
        "nameless": max(0, run.denials - sum(record.state == State.DENIED for record in records)),
        "approvals": [stands(gateway, each, visit.principal) for each in approvals.values()],
        "tokens": sum(step.input_tokens + step.output_tokens for step in steps),
        "request": gateway.redactor.redact_text(run.request),
        "took": (run.stopped_at or now) - run.opened_at,
    }


def _steps(gateway: Gateway, run: Run) -> Sequence[Step]:
    return gateway.store.steps_of(run.tenant, run.run_id)[-SHOWN:]


def _gauges(report: Report, run: Run) -> list[tuple[str, str, Any]]:
    names = {"steps": "Steps", "tool_calls": "Tool calls", "seconds": "Time", "usd": "USD", "tokens": "Tokens"}
    gauges = [(unit, name, getattr(report, unit)) for unit, name in names.items()]
    gauges = [each for each in gauges if each[2].limit is not None or each[2].used or each[2].held]
    denials = Used(report.denials, 0, max(0, run.max_denials - report.denials), run.max_denials)
    return [*gauges, ("denials", "Denials", denials)]


def _call(gateway: Gateway, record: Record) -> Told:
    look, sign, word = LOOKS.get(record.state, ("denied", "·", str(record.state)))
    redact = gateway.redactor.redact
    result = ""
    if bytes(record.result):
        plain = msgspec.json.decode(record.result)
        result = msgspec.json.format(msgspec.json.encode(redact(plain)), indent=2).decode()
    reasons = tuple(
        (reason.verdict.word, reason.rule or reason.guard, reason.text) for reason in record.decision.reasons
    )
    return Told(
        record=record, look=look, sign=sign, word=word,
        args=msgspec.json.format(msgspec.json.encode(redact(dict(record.args))), indent=2).decode(),
        result=result if len(result) <= CLIP else f"{result[:CLIP]}… ({len(result) - CLIP} characters more)",
        reasons=reasons, doubtful=record.state == "unknown",
    )

