"""The audit, searched backwards from its tip; verified, and signed.

Not the log (`audit_log.py`). Law: a search is bounded, and says where it has stopped; what was found is for reading,
and proves nothing: the verifier does.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import msgspec
from msgspec import Struct
from starlette.responses import Response

from interlock.core.audit import SYSTEM, Entry, Head, Kind, Sealed, decode
from interlock.errors import InterlockError
from interlock.faces.console.desk import Visit
from interlock.faces.console.words import pretty
from interlock.faces.http.problems import Problem
from interlock.ports import HeadKey

if TYPE_CHECKING:
    from interlock.gateway import Gateway

PAGE = 100
CHUNK = 500
SCANNED = 20_000  #: entries that one search looks through
NOTES = 20
VERIFIERS = asyncio.Semaphore(1)  #: reading a whole log keeps a core busy: one at a time in each process


class Found(Struct, frozen=True, kw_only=True):
    """One entry, for the page."""

    seq: int
    at: int
    entry: Entry | None  #: None where it cannot be read
    hash: str
    raw: str


class Query(Struct, frozen=True, kw_only=True):
    """What is looked for."""

    tenant: str
    kind: str = ""
    run: str = ""
    text: str = ""

    def fits(self, sealed: Sealed) -> bool:
        """True for an entry that is looked for. Most are passed over without being decoded."""
        body = sealed.body
        if self.kind and b'"kind":' + msgspec.json.encode(self.kind) not in body:
            return False
        if self.run and b'"run_id":' + msgspec.json.encode(self.run) not in body:
            return False
        return not self.text or self.text.casefold() in body.decode("utf-8", "replace").casefold()


async def search(visit: Visit) -> Response:
    """The newest entries that fit."""
    return await _page(visit)


async def verify(visit: Visit) -> Response:
    """Weigh the chain, the head and the checkpoints of one tenant."""
    tenant = await _tenant(visit, visit.form.get("tenant", ""))
    if VERIFIERS.locked():
        return await _page(visit, problem="A verification is running already. Try again when it is done.", status=409)
    async with VERIFIERS:
        try:
            found = await visit.blocking(visit.gateway.audit.verify, tenant)
        except InterlockError as error:
            return await _page(visit, problem=str(error), status=409)
    return await _page(visit, verified=found)


async def checkpoints(visit: Visit) -> Response:
    """The newest signed statements of a tenant's tip."""
    tenant = await _tenant(visit, visit.asked("tenant"))
    notes = await visit.blocking(visit.gateway.audit.checkpoints, tenant, NOTES)
    return visit.page("checkpoints.html", tenant=tenant, notes=notes)


async def checkpoint(visit: Visit) -> Response:
    """Sign the tip now."""
    tenant = await _tenant(visit, visit.form.get("tenant", ""))
    try:
        note = await visit.blocking(visit.gateway.audit.checkpoint, tenant)
    except InterlockError as error:
        return await _page(visit, problem=str(error), status=409)
    return visit.page("checkpoints.html", tenant=tenant, notes=[note], just_signed=True)


async def _tenant(visit: Visit, said: str) -> str:
    if said:
        await visit.service.see(visit.principal, said, f"audit of {said!r:.80}")
        return said
    if visit.principal.tenant:
        return visit.principal.tenant
    known = await visit.blocking(visit.gateway.audit.tenants)
    return next((each for each in known if each != SYSTEM), SYSTEM)


async def _page(visit: Visit, *, problem: str = "", verified: Any = None, status: int = 200) -> Response:
    tenant = await _tenant(visit, visit.form.get("tenant", "") or visit.asked("tenant"))
    kind = visit.asked("kind")
    if kind and kind not in tuple(Kind):
        raise Problem(400, "bad_request", "there are no entries of that kind")
    query = Query(tenant=tenant, kind=kind, run=visit.asked("run"), text=visit.asked("text"))
    entries, reached = await visit.blocking(_search, visit.gateway, query, visit.number("before"))
    tenants = await visit.blocking(visit.gateway.audit.tenants)
    return visit.page(
        "audit.html", status, query=query, entries=entries, reached=reached, kinds=sorted(Kind), problem=problem,
        verified=verified, tenants=[each for each in tenants if visit.principal.sees(each)], SYSTEM=SYSTEM,
    )


def _search(gateway: Gateway, query: Query, before: int | None) -> tuple[list[Found], int]:
    """The newest entries that fit, and the number that the search has come down to: 0 where it has seen all."""
    head = gateway.store.load(HeadKey(query.tenant)) or Head()
    top = head.seq if before is None else min(head.seq, before - 1)
    found: list[Found] = []
    lowest = top
    for sealed in _backwards(gateway, query.tenant, top):
        if len(found) == PAGE or top - lowest >= SCANNED:
            return found, lowest
        lowest = sealed.seq
        if query.fits(sealed):
            found.append(_found(gateway, sealed))
    return found, 1


def _backwards(gateway: Gateway, tenant: str, top: int) -> Iterator[Sealed]:
    while top > 0:
        start = max(0, top - CHUNK)
        yield from reversed(list(gateway.store.entries(tenant, start, top - start)))
        top = start


def _found(gateway: Gateway, sealed: Sealed) -> Found:
    raw = sealed.body.decode("utf-8", "replace")
    try:
        entry: Entry | None = decode(sealed.body)
        raw = pretty(gateway.redactor.redact(msgspec.json.decode(sealed.body)))
    except (msgspec.MsgspecError, ValueError, RecursionError):
        entry = None
    return Found(seq=sealed.seq, at=entry.at if entry else 0, entry=entry, hash=sealed.hash, raw=raw)
