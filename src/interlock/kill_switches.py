"""What people do with kill switches: throw them, and let go of them.

Not what a switch forbids (`core/decide.py`), nor where they are kept. Law: a switch holds before its audit entry is
written, and whether or not that can be written; whoever throws one is never left to believe that it holds when it
cannot.
"""

from __future__ import annotations

import secrets
from typing import TYPE_CHECKING

from msgspec.structs import replace

from interlock.acts import commit, words
from interlock.core.audit import SYSTEM, Entry, Kind
from interlock.core.names import problem_of_name
from interlock.core.switch import Mode, Scope, Switch
from interlock.errors import LedgerUnavailable, Refused
from interlock.ports import HeadKey
from interlock.unit import Tx

if TYPE_CHECKING:
    from interlock.gateway import Gateway

LOOKED_AT = 1_000  #: runs, for somebody whose name looks like a pattern


class KillSwitches:
    """The half of `gw.control` that is about kill switches."""

    def __init__(self, gateway: Gateway) -> None:
        self._gateway = gateway

    def kill(
        self, *, reason: str, by: str,
        tenant: str = "", agent: str = "", tool: str = "", run: str = "", mode: str = "all",
    ) -> Switch:
        """Stop it now. A scope that names several things holds where all of them do; naming nothing is everything.

        Returns when no process that reads this ledger can begin another effect in the scope; calls in flight have been
        told to end. `mode="writes"` lets plain reads go on. Killing what is killed already renews the reason; of the
        two modes the stricter stays. `tool` may be a glob. Raises Refused where another name looks like one: whoever
        throws a switch believes that it holds.
        """
        if not by or not reason:
            raise Refused("say who kills, and why: by=, reason=")
        named = {"tenant": tenant, "agent": agent, "tool": tool, "run_id": run}
        for what, name in named.items():
            problem = problem_of_name(name, what) if name != "" else None
            if problem is not None:
                raise Refused(f"{problem}; to kill everything, name nothing")
        if mode not in tuple(Mode):
            raise Refused(f"mode is {' or '.join(Mode)}, not {mode!r}")
        reason = words(self._gateway, by, reason, "reason")
        self._refuse_pattern(tenant, agent, run)
        scope = Scope(tenant=tenant, agent=agent, tool=tool, run=run)
        known = next((each for each in self._gateway.board.active() if each.scope == scope), None)
        now = self._gateway.clock.now()
        switch_id, since = (known.switch_id, known.at) if known else (f"sw_{secrets.token_hex(8)}", now)
        strict = Mode.ALL if known is not None and known.mode is Mode.ALL else Mode(mode)
        switch = Switch(switch_id, scope, strict, by, reason, since)
        self._gateway.board.put(switch)
        self._gateway.flights.kill((switch,))
        self.record_switch(switch)
        return switch

    def release(
        self, *, by: str, reason: str = "", tenant: str = "", agent: str = "", tool: str = "", run: str = ""
    ) -> Switch:
        """Let go of just this scope; every other switch stays. Raises Refused where nothing of this scope is killed."""
        scope = Scope(tenant=tenant, agent=agent, tool=tool, run=run)
        known = [each for each in self._gateway.board.active() if each.scope == scope]
        if not known:
            self._refuse_pattern(tenant, agent, run)
            others = "; ".join(str(each.scope) for each in self._gateway.board.active()) or "nothing"
            raise Refused(f"no kill switch holds for {scope}; what is killed: {others}")
        if not by:
            raise Refused("say who releases: by=")
        now, reason = self._gateway.clock.now(), words(self._gateway, by, reason, "reason")
        released = [replace(each, released_at=now, released_by=by, release_reason=reason) for each in known]
        for each in released:  # more than one where two processes killed the same scope at once
            self._gateway.board.put(each)
        for each in released:
            self.record_switch(each)
        return released[0]

    def switches(self, *, active: bool = True) -> tuple[Switch, ...]:
        """The switches in force, or with `active=False` all that ever were."""
        return self._gateway.board.active() if active else self._gateway.board.history()

    def _refuse_pattern(self, tenant: str, agent: str, run: str) -> None:
        """Only tools go by patterns: elsewhere one would hold for nobody, unless somebody really bears that name."""
        for what, name in (("tenant", tenant), ("agent", agent), ("run", run)):
            if any(mark in name for mark in "*?[") and not self._is_known(what, name, tenant):
                raise Refused(f"{what} {name!r} is no pattern, and would hold for nobody; only tool= may be one")

    def _is_known(self, what: str, name: str, tenant: str) -> bool:
        store = self._gateway.store
        try:
            if what == "tenant":
                return name in store.tenants()
            return any(name in (run.agent, run.run_id) for run in store.runs(tenant or None, limit=LOOKED_AT))
        except LedgerUnavailable:  # a switch does not wait for the ledger
            return True

    def record_switch(self, switch: Switch) -> None:
        """Put into the audit what is not there yet of a switch: in the chain of its tenant, or of the whole system.

        The switch holds already, so this may be late, but never lost: the watch calls it again. A crash in between may
        record an act twice.
        """
        tenant = switch.scope.tenant or SYSTEM
        acts = (
            (Kind.KILLED, switch.by, switch.reason),
            (Kind.RELEASED, switch.released_by, switch.release_reason),
        )
        now = self._gateway.clock.now()
        told = {"switch": switch.switch_id, "scope": str(switch.scope), "mode": switch.mode, "since": switch.at}
        entries = [
            Entry(
                tenant=tenant, at=now, kind=kind, by=by, note=reason, run_id=switch.scope.run, agent=switch.scope.agent,
                tool=switch.scope.tool, detail=told,
            )
            for kind, by, reason in acts[switch.recorded : switch.acts]
        ]

        def append(tx: Tx) -> None:
            for entry in entries:
                tx.append(entry)

        try:
            commit(self._gateway, (HeadKey(tenant),), append)
        except LedgerUnavailable as error:
            done = "released" if switch.released_at else "killed"
            raise LedgerUnavailable(
                f"{switch.scope}: {done}, and that holds in every process; "
                f"its audit entry waits for the ledger: {error}"
            ) from error
        self._gateway.board.put(replace(switch, recorded=switch.acts))
