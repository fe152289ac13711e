"""Tools in the agent's own process over HTTP: admit, renew, settle.

Not the road (`gateway.py`, `away.py`). Law: a ticket is taken back from nobody but who shows its lease; a call that was
settled is answered from the record.
"""

from __future__ import annotations

from interlock import answers, away
from interlock.core.call import MICROS
from interlock.core.outcome import Outcome
from interlock.core.record import Record
from interlock.core.run import Run
from interlock.errors import Refused
from interlock.faces.http.api_calls import call_id_of, find_record, outcome_view, step_id_of
from interlock.faces.http.bodies.calls import Admitted, OutcomeView, Renewed, TicketView
from interlock.faces.http.problems import Problem
from interlock.faces.http.routing import Request
from interlock.gateway import Registered
from interlock.settlement import renew
from interlock.tools.cooperative import is_cooperative
from interlock.wish import Running, Ticket


async def admit_call(request: Request) -> Admitted:
    """A ticket for one performance in the client's own process, or the outcome. The client performs with the arguments
    of the ticket, renews its lease meanwhile, and settles."""
    service, said = request.service, request.body
    run = await service.opened(request.principal, request.path["run_id"])
    registered = service.gateway.tools.get(said.tool)
    if registered is not None and not is_cooperative(registered.performer):
        raise Problem(
            409, "refused", f"the gateway performs {said.tool}", remedy=f"POST /v1/runs/{run.run_id}/calls",
            run_id=run.run_id,
        )
    call_id = call_id_of(request, said)
    call = service.call_of(
        run, said.tool, said.args, call_id=call_id, key=request.key, step_id=step_id_of(request, run)
    )
    admitted = await service.gateway.aadmit(call, owner=said.owner)
    if isinstance(admitted, Running):
        raise Problem(
            409, "running", f"call {call_id!r:.80} is being performed by somebody else",
            remedy="ask again later", run_id=run.run_id, headers={"retry-after": "5"},
        )
    if isinstance(admitted, Outcome):
        return Admitted(call_id=call_id, ticket=None, outcome=outcome_view(run.run_id, admitted))
    return Admitted(call_id=call_id, ticket=_ticket_view(admitted, service.gateway.clock.now()), outcome=None)


def _ticket_view(ticket: Ticket, now: int) -> TicketView:
    record, until = ticket.record, ticket.lease.until
    return TicketView(
        lease_id=ticket.lease.lease_id, lease_until=until, lease_seconds=max(0, until - now) / MICROS,
        deadline=ticket.deadline, seconds=max(0, ticket.deadline - now) / MICROS, tool=record.call.tool,
        args=record.args, key=record.call.key, attempt=record.attempts,
    )


async def renew_call(request: Request) -> Renewed:
    """The heartbeat, and a look at the kill switches: right before the effect it is the last one."""
    service = request.service
    ticket, registered = await _held(request)
    gateway = service.gateway
    if ticket.record.state not in away.OPEN:
        return Renewed(go=False, lease_until=0, lease_seconds=0, reason=f"the call is {ticket.record.state} already")
    now = gateway.clock.now()
    reason = await service.blocking(
        away.forbidden, ticket, registered and registered.tool, gateway.board, now
    )
    until = away.renewed_until(ticket, now, gateway.config.lease)
    if reason is None and await service.blocking(gateway.committer.run, renew(ticket, until)):
        return Renewed(go=True, lease_until=until, lease_seconds=(until - now) / MICROS, reason="")
    words = reason.text if reason is not None else "the lease has run out, and cannot be renewed"
    return Renewed(go=False, lease_until=ticket.lease.until, lease_seconds=0, reason=words)


async def settle_call(request: Request) -> OutcomeView:
    """How it ended, as its owner says. Sent again, it is answered from the record."""
    service, said, gateway = request.service, request.body, request.service.gateway
    ticket, registered = await _held(request)
    record, run = ticket.record, ticket.run
    if record.state not in away.OPEN:
        return outcome_view(run.run_id, answers.recorded(record, run, record.call.call_id, replayed=True))
    tool = registered.tool if registered is not None else None
    reason = await service.blocking(away.forbidden, ticket, tool, gateway.board, gateway.clock.now())
    performed = away.performed(
        said.outcome, said.value, said.error, said.usd, tool=tool, writes=record.writes,
        limit=gateway.config.limits.result_bytes, redactor=gateway.redactor,
        caught=reason if reason is not None and reason.guard == "killed" else None,
    )
    return outcome_view(run.run_id, await gateway.asettle(ticket, performed))


async def _held(request: Request) -> tuple[Ticket, Registered | None]:
    """The ticket that this request shows. Raises Problem 404, Refused."""
    service, call_id = request.service, request.path["call_id"]
    run = await service.run_of(request.principal, request.path["run_id"])
    record = await service.blocking(find_record, service, run, call_id)
    if record is None:
        raise Problem(404, "not_found", f"this run has no call {call_id!r:.80}", run_id=run.run_id)
    ticket = _shown(record, run, request.body.lease_id)
    if ticket is None:
        raise Refused(f"this is not the ticket of call {call_id!r:.80} that counts now; it is {record.state}")
    return ticket, service.gateway.tools.get(record.call.tool)


def _shown(record: Record, run: Run, lease_id: str) -> Ticket | None:
    if record.lease is None or record.lease.lease_id != lease_id:
        return None
    return away.ticket_of(record, run)


