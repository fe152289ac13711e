"""Whether the process lives, whether it can do its work, and what there is to be asked.

Not for people. Law: `readyz` tells the truth: it writes, and reads what it needs; it says what is wrong in a few words
of its own, because anybody may ask.
"""

from __future__ import annotations

from collections.abc import AsyncIterator

from interlock.core.audit import SYSTEM
from interlock.core.budget import Account, AccountKey, Window
from interlock.errors import InterlockError
from interlock.faces.http.bodies.shared import Health
from interlock.faces.http.problems import Problem
from interlock.faces.http.routing import TEXT, Request, Stream
from interlock.gateway import Gateway
from interlock.ports import HeadKey
from interlock.unit import Tx, Unit

FRESH = 1_000_000  #: microseconds that an answer holds, so that nobody can keep the ledger busy with asking

_PROBE = AccountKey(SYSTEM, "probe", "ready", Window.RUN, 0)


async def healthz(request: Request) -> Health:  # noqa: ARG001
    """It answers, so it lives."""
    return Health(ready=True, troubles=[])


async def readyz(request: Request) -> Health:
    """Whether a call could be performed and recorded now."""
    service = request.service
    now = service.gateway.clock.now()
    if service.ready is None or not 0 <= now - service.ready[0] < FRESH:
        troubles = await service.blocking(troubles_of, service.gateway)
        service.ready = (now, troubles)
    return Health(ready=not service.ready[1], troubles=list(service.ready[1]))


def troubles_of(gateway: Gateway) -> tuple[str, ...]:
    """What stands in the way of a call: a missing schema, a ledger that cannot be written, switches that cannot be
    read."""
    found = []
    for what, check in (("the ledger cannot be written", _write), ("the kill switches cannot be read", _read)):
        try:
            check(gateway)
        except InterlockError as error:
            found.append(what)
            gateway.telemetry.trouble(f"not ready: {what}", error)
        except Exception as error:
            found.append(what)
            gateway.telemetry.trouble(f"not ready: {what}", error)
    return tuple(found)


def _write(gateway: Gateway) -> None:
    """A row of nobody's account, put as it is."""

    def put(tx: Tx) -> None:
        tx.put(_PROBE, tx.get(_PROBE) or Account())

    gateway.committer.run(Unit((HeadKey(SYSTEM), _PROBE), put))


def _read(gateway: Gateway) -> None:
    gateway.board.active()


async def metrics(request: Request) -> Stream:
    """In Prometheus' text format, of all tenants: for a credential that is of none."""
    service = request.service
    if not request.principal.sees(SYSTEM):
        await service.refuse(request.principal, "metrics: concern every tenant")
        raise Problem(403, "forbidden", "the metrics concern every tenant", remedy="use a credential of no tenant")
    if service.metrics is None:
        raise Problem(404, "not_found", "this gateway counts nothing")
    page = await service.blocking(service.metrics.page)

    async def whole() -> AsyncIterator[bytes]:
        yield page

    return Stream(f"{TEXT}; version=0.0.4; charset=utf-8", whole())


async def openapi(request: Request) -> dict[str, object]:
    """This document."""
    from interlock.faces.http.openapi import document

    return document(request.service.url)
