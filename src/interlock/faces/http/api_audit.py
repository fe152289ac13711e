"""The audit over HTTP: read it, verify it, sign its tip, carry it away.

Not the audit (`audit_log.py`). Law: an export streams, so that a log of any length costs no memory, and a reader that
is slow holds a connection and no thread.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator

from interlock.core.audit import SYSTEM
from interlock.core.names import problem_of_name
from interlock.errors import ConfigError
from interlock.faces.http.bodies.audit import Checkpoint, Checkpoints, Entries, Verified, entry_view
from interlock.faces.http.problems import Problem
from interlock.faces.http.routing import LINES, Request, Stream

Gone = Callable[[], Awaitable[None]]

PIECE = 65_536  #: bytes that are read before they are sent


async def list_entries(request: Request) -> Entries:
    """In order. `tenant=*` is the chain of what concerns no single tenant, for those who serve all of them."""
    tenant, asked = _tenant(request), request.query
    audit = request.service.gateway.audit
    found = await request.service.blocking(lambda: list(audit.entries(tenant, asked.run_id, asked.after, asked.limit)))
    return Entries([entry_view(each) for each in found], found[-1].seq if len(found) == asked.limit else None)


async def export_audit(request: Request) -> Stream:
    """JSON lines, which `interlock audit verify --file` weighs without the ledger."""
    tenant = _tenant(request)
    name = re.sub(r"[^A-Za-z0-9_.-]", "_", tenant)
    lines = request.service.gateway.audit.export(tenant)
    return Stream(LINES, _pieces(lines, request.gone), f"audit-{name}.jsonl")


async def _pieces(lines: Iterator[bytes], gone: Gone) -> AsyncIterator[bytes]:
    left = asyncio.ensure_future(_until(gone))
    try:
        while piece := await asyncio.to_thread(_piece, lines):
            if left.done():  # nobody reads it any more: an export that ends early has no last line
                return
            yield piece
    finally:
        left.cancel()


async def _until(gone: Gone) -> None:
    await gone()


def _piece(lines: Iterator[bytes]) -> bytes:
    found, size = [], 0
    for line in lines:
        found.append(line)
        size += len(line)
        if size >= PIECE:
            break
    return b"".join(found)


async def verify_audit(request: Request) -> Verified:
    """Weigh the chain, the ledger's head and every checkpoint of a tenant, now."""
    found = await request.service.blocking(request.service.gateway.audit.verify, _tenant(request))
    return Verified(
        ok=found.ok, tenant=found.tenant, entries=found.entries, head=found.head.hash, text=found.text,
        first_bad=found.problem.seq if found.problem is not None else None, remarks=list(found.remarks),
    )


async def list_checkpoints(request: Request) -> Checkpoints:
    """The newest first."""
    audit = request.service.gateway.audit
    return Checkpoints(await request.service.blocking(audit.checkpoints, _tenant(request), request.query.limit))


async def sign_checkpoint(request: Request) -> Checkpoint:
    """Sign the tip now: keep the note where the ledger is not."""
    audit = request.service.gateway.audit
    try:
        return Checkpoint(await request.service.blocking(audit.checkpoint, _tenant(request)))
    except ConfigError as error:
        raise Problem(409, "refused", str(error)) from None


def _tenant(request: Request) -> str:
    """Whose chain; the system's for nobody who is of one tenant."""
    tenant = request.tenant
    if tenant != SYSTEM and (problem := problem_of_name(tenant, "tenant")):
        raise Problem(422, "bad_request", problem)
    return tenant
