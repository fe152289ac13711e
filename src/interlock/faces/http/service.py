"""What every HTTP face shares: the gateway, who asks, and the handles of the runs that are in use.

Not a route. Law: a face never says who somebody is: it asks `principal`; nothing of a tenant is read before
`Principal.sees` has said yes, and a thing of another tenant is answered as one that does not exist.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, TypeVar

from interlock.core.audit import SYSTEM, Entry, Kind
from interlock.core.call import MICROS, ToolCall
from interlock.core.canonical import digest
from interlock.core.names import problem_of_name
from interlock.core.outcome import Outcome
from interlock.core.principal import Principal, Role
from interlock.core.run import Run
from interlock.errors import LedgerUnavailable
from interlock.faces.http.problems import REMEDIES, Problem
from interlock.faces.http.waiting import Waiting
from interlock.identity import Identity, Unauthenticated
from interlock.ports import HeadKey, RunKey
from interlock.unit import Tx, Unit

if TYPE_CHECKING:
    from interlock.config.serve import Serve
    from interlock.gateway import Gateway
    from interlock.metrics import Metrics

T = TypeVar("T")

REMEMBERED = 20_000  #: runs whose owner a process knows without asking the ledger


def url_of(serve: Serve) -> str:
    """How others reach what listens so."""
    host = f"[{serve.host}]" if ":" in serve.host else serve.host
    return str(serve.url or f"http://{host}:{serve.port}").rstrip("/")


def run_of_day(who: Principal, now: int, runtime: str) -> str:
    """What the run is called of a caller who names none: one for each key (or identity, where no key of ours stands
    behind it), day in UTC and runtime, because rules may go by the runtime of a run."""
    name = digest(who.tenant, who.agent, who.env, who.name, who.key_id)[-20:]
    return f"{runtime or 'day'}_{datetime.fromtimestamp(now // MICROS, UTC):%Y%m%d}_{name}"


class Service:
    """One for each process that serves."""

    def __init__(self, gateway: Gateway, identity: Identity) -> None:
        self.gateway = gateway
        self.identity = identity
        self.closing: list[Callable[[], Awaitable[None]]] = []  #: what the app lets go of, last in, first out
        self.ready: tuple[int, tuple[str, ...]] | None = None  #: when `/readyz` was last answered, with what troubles
        self.metrics: Metrics | None = None  #: of whoever serves
        self.waiting = Waiting(gateway)
        self._opened: dict[RunKey, Run] = {}  # as each was when it was first asked for

    @property
    def url(self) -> str:
        """How others reach it."""
        return url_of(self.gateway.config.serve)

    # --- who asks ----------------------------------------------------------------------------------------------------

    async def principal(self, headers: Mapping[str, str]) -> Principal:
        """Who stands behind a request, by its `Authorization: Bearer …`. Raises Problem 401."""
        scheme, _, token = headers.get("authorization", "").partition(" ")
        try:
            if scheme.lower() != "bearer":
                raise Unauthenticated("no bearer token was sent")
            return await self.identity.principal_of(token.strip())
        except Unauthenticated as error:
            raise Problem(
                401, "unauthenticated", str(error), remedy=REMEDIES["unauthenticated"],
                headers={"www-authenticate": 'Bearer realm="interlock"'},
            ) from None

    async def require(self, principal: Principal, *roles: Role, what: str) -> None:
        """Raises Problem 403, and leaves an audit entry, where the principal holds none of these roles."""
        if principal.may(*roles):
            return
        await self.refuse(principal, f"{what}: needs the role {' or '.join(roles)}")
        raise Problem(403, "forbidden", f"{what} needs the role {' or '.join(roles)}")

    async def see(self, principal: Principal, tenant: str, what: str) -> None:
        """Raises Problem 404, and leaves an audit entry, where this belongs to another tenant."""
        if principal.sees(tenant):
            return
        await self.refuse(principal, f"{what}: belongs to another tenant")
        raise Problem(404, "not_found", f"there is no {what}")

    async def refuse(self, principal: Principal, what: str) -> None:
        """Somebody known was turned away: that is worth an entry in the audit of their own tenant."""
        tenant, now = principal.tenant or SYSTEM, self.gateway.clock.now()
        entry = Entry(
            tenant=tenant, at=now, kind=Kind.TURNED_AWAY, by=principal.name, agent=principal.agent, env=principal.env,
            note=self.gateway.redactor.redact_text(what)[:500],
        )

        def append(tx: Tx) -> None:
            tx.append(entry)

        try:
            await self.blocking(self.gateway.committer.run, Unit((HeadKey(tenant),), append))
        except LedgerUnavailable as error:  # turned away all the same
            self.gateway.telemetry.trouble("an entry about somebody who was turned away could not be written", error)

    # --- what they do ------------------------------------------------------------------------------------------------

    async def blocking(self, fn: Callable[..., T], *args: Any, **kwargs: Any) -> T:
        """Run something that waits for the ledger, away from the event loop."""
        return await asyncio.to_thread(fn, *args, **kwargs)

    async def run_of(self, principal: Principal, run_id: str, tenant: str = "") -> Run:
        """A run that this principal may see: an agent its own ones, a person those of their tenant (`tenant` says
        which, where a person serves several). Raises Problem 404."""
        tenant = principal.tenant or tenant
        what = f"run {run_id!r:.80}"
        if not tenant or problem_of_name(run_id, "run_id"):
            raise Problem(404, "not_found", f"there is no {what}", remedy="" if tenant else "say ?tenant=")
        run: Run | None = await self.blocking(self.gateway.store.load, RunKey(tenant, run_id))
        if run is None or (principal.is_agent and (run.agent, run.env) != (principal.agent, principal.env)):
            await self.refuse(principal, f"{what}: none of theirs")
            raise Problem(404, "not_found", f"there is no {what}")
        return run

    async def opened(self, principal: Principal, run_id: str) -> Run:
        """An agent's own run, for what never changes of a run: whose it is, its env and runtime. Remembered, so that a
        call need not ask the ledger; how the run stands is weighed by the admission. Raises Problem 404."""
        key = RunKey(principal.tenant, run_id)
        run = self._opened.get(key)
        if run is None or (run.agent, run.env) != (principal.agent, principal.env):
            run = await self.run_of(principal, run_id)
            if len(self._opened) >= REMEMBERED:
                self._opened.clear()
            self._opened[key] = run
        return run

    async def default_run(self, principal: Principal, *, runtime: str = "", run_id: str = "") -> Run:
        """The run of what names none: the one of its day, or what the face calls it."""
        run_id = run_id or run_of_day(principal, self.gateway.clock.now(), runtime)
        await self.blocking(self._taken_up, principal, run_id, runtime)
        return await self.run_of(principal, run_id)

    def _taken_up(self, who: Principal, run_id: str, runtime: str) -> None:
        if self.gateway.store.load(RunKey(who.tenant, run_id)) is None:
            self.gateway.run(agent=who.agent, tenant=who.tenant, env=who.env, run_id=run_id, runtime=runtime)
        else:  # opened by another process, or before this one: what tenants need is prepared where a run is opened
            for prepare in self.gateway.opening:
                prepare(who.tenant, who.env)

    async def commit(self, unit: Unit[T]) -> tuple[T, bool]:
        """What a unit of work came to, once it is durable; and whether the caller was cancelled meanwhile."""
        promise = self.gateway.committer.submit(unit, asyncio.get_running_loop())
        value: T = await promise.outcome()
        return value, promise.cancelled

    async def perform(
        self, run: Run, tool: str, args: Mapping[str, Any], *, call_id: str, key: str = "", step_id: str = ""
    ) -> Outcome:
        """One call of a run. Raises KeyReused, LedgerUnavailable, Problem 422 for ids that cannot be. A name that no
        tool can have is refused by the gateway: models make them up."""
        call = self.call_of(run, tool, args, call_id=call_id, key=key, step_id=step_id)
        return await self.gateway.acall(call, self.gateway.telemetry.served)

    def call_of(
        self, run: Run, tool: str, args: Mapping[str, Any], *, call_id: str, key: str = "", step_id: str = ""
    ) -> ToolCall:
        """What a client wishes, as this run's. Raises Problem 422 for ids that cannot be."""
        for what, name in (("call_id", call_id), ("idempotency_key", key or call_id)):
            problem = self.gateway.redactor.problem_of_id(name, what)
            if problem is not None:
                raise Problem(422, "bad_request", problem, run_id=run.run_id)
        return ToolCall(
            tenant=run.tenant, agent=run.agent, env=run.env, run_id=run.run_id, tool=tool, args=args,
            call_id=call_id, key=key or call_id, runtime=run.runtime, step_id=step_id,
        )
