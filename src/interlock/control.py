"""What people do: approve, reject, reconcile, top up, accept; and, by `kill_switches.py`, kill and release.

Not a decision about a call. Law: every act names who did it and lands in the audit in the transaction that does it; an
act that is not possible changes nothing and raises Refused.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeVar

from msgspec import Raw
from msgspec.structs import replace

from interlock import bookings, pins
from interlock.acts import commit, words
from interlock.core import approval as rules
from interlock.core.approval import Answer, Approval, Standing
from interlock.core.audit import SYSTEM, Entry, Kind, clipped
from interlock.core.budget import NOTHING, UNITS, Account, AccountKey, Amounts, Window
from interlock.core.call import MICROS, Effect, fingerprint
from interlock.core.canonical import canonical, digest
from interlock.core.decide import killed_by
from interlock.core.lifecycle import Event, State, move
from interlock.core.names import problem_of_name
from interlock.core.record import NO_RESULT, Record
from interlock.core.verdict import StopReason
from interlock.errors import KeyReused, Refused
from interlock.kill_switches import KillSwitches
from interlock.ports import ApprovalKey, CallKey, HeadKey, Pin, PinKey, RunKey
from interlock.quotas import unlimited
from interlock.results import encode_result
from interlock.unit import Tx

T = TypeVar("T")

MOST = 2**53  #: of one unit, in one top-up
LOOKED_AT = 1_000  #: runs, for somebody whose name looks like a pattern


class Control(KillSwitches):
    """The people's side of a gateway: `gw.control`."""

    # --- approvals ---------------------------------------------------------------------------------------------------

    def approvals(self, tenant: str | None = None, *, waiting: bool = True) -> Sequence[Approval]:
        """What waits for an answer, oldest first; with `waiting=False` all that was ever asked."""
        return self._gateway.store.approvals(tenant, Standing.WAITING if waiting else None)

    def approve(
        self, approval_id: str, *,
        by: str, note: str = "", args: Mapping[str, Any] | None = None, tenant: str | None = None, seen: str = "",
    ) -> Approval:
        """Say yes; with `args`, to these arguments instead. The call runs when it is sent again. `seen`: the digest
        that the person was shown (`Approval.digest`), so that what was edited since is not approved unseen.

        Raises Refused: no such approval (for this tenant), answered already, expired, frozen by a kill switch, asked by
        the same person, or by a run that has stopped.
        """

        def answer(tx: Tx, approval: Approval, now: int, said: str) -> Approval:
            if seen and seen != approval.digest:
                raise Refused("the arguments were edited since they were shown; look again")
            bound, edited = approval.digest, None
            if args is not None:
                bound = self._bound(tx, approval, args)
                edited = dict(args)
            answered = rules.approve(approval, Answer(by, now, yes=True, note=said), edited, bound)
            if answered.standing is Standing.APPROVED:
                answered = replace(answered, expires_at=now + self._gateway.config.approvals.expires)
                key = CallKey(approval.tenant, approval.run_id, approval.key)
                record = tx.get(key)
                if record is not None and record.state is State.WAITING:
                    tx.put(key, replace(record, state=move(record.state, Event.APPROVE)))
            return answered

        return self._answer(approval_id, by, note, tenant, Kind.APPROVED, answer)

    def reject(self, approval_id: str, *, by: str, note: str = "", tenant: str | None = None) -> Approval:
        """Say no. One no is enough. Raises Refused as `approve` does."""

        def answer(tx: Tx, approval: Approval, now: int, said: str) -> Approval:
            rejected = rules.reject(approval, Answer(by, now, yes=False, note=said))
            bookings.close_question(tx, rejected, now)
            run = tx.get(RunKey(approval.tenant, approval.run_id))
            if run is not None and self._gateway.config.approvals.on_reject == "stop":
                why = f"{approval.tool}: rejected by {by}{f': {said}' if said else ''}"
                bookings.stop(tx, run, StopReason.APPROVAL_REJECTED, why, now, by)
            return rejected

        return self._answer(approval_id, by, note, tenant, Kind.REJECTED, answer)

    def _answer(
        self, approval_id: str, by: str, note: str, tenant: str | None, kind: Kind,
        answer: Callable[[Tx, Approval, int, str], Approval],
    ) -> Approval:
        note = words(self._gateway, by, note)
        found = self._gateway.store.find_approval(approval_id)
        if found is None or (tenant is not None and found.tenant != tenant):
            raise Refused(f"there is no approval {approval_id!r}; see: interlock approvals list")
        key = ApprovalKey(found.tenant, approval_id)

        def act(tx: Tx) -> Approval:
            now, approval = self._gateway.clock.now(), tx.get(key) or found
            self._refuse_frozen(approval)
            if approval.standing is Standing.WAITING and bookings.is_over(approval, self._gateway.board, now):
                raise Refused(f"approval {approval_id} has expired; the agent has to ask again in a new call")
            run = tx.get(RunKey(found.tenant, found.run_id))
            asked_in_vain = approval.standing is Standing.WITHDRAWN or kind is Kind.APPROVED
            if asked_in_vain and run is not None and run.stop_reason is not None:
                raise Refused(f"run {run.run_id} has stopped ({run.stop_reason}); what it asked for runs no more")
            refusal = rules.refusal(approval, by, yes=kind is Kind.APPROVED)
            if refusal is not None:
                raise Refused(refusal)
            answered = answer(tx, approval, now, note)
            tx.put(key, answered)
            tx.append(
                Entry(
                    tenant=approval.tenant, at=now, kind=kind, run_id=approval.run_id, call_id=approval.call_id,
                    key=approval.key, agent=approval.agent, env=approval.env, tool=approval.tool,
                    approval_id=approval_id, by=by, note=note, policy_version=approval.policy_version,
                    outcome=answered.standing,
                    args=Raw(canonical(clipped(answered.edited))) if answered.edited is not None else Raw(b"{}"),
                    detail={"digest": answered.digest, "asked_digest": answered.asked_digest or approval.digest},
                )
            )
            return answered

        return commit(self._gateway, (HeadKey(found.tenant), key, RunKey(found.tenant, found.run_id)), act)

    def _bound(self, tx: Tx, approval: Approval, args: Mapping[str, Any]) -> str:
        """What an edited approval is bound to. The new arguments have to fit as the old ones had to."""
        record = tx.get(CallKey(approval.tenant, approval.run_id, approval.key))
        registered = self._gateway.tools.get(approval.tool)
        if record is None or registered is None:
            raise Refused(f"{approval.tool} is not registered here, so its arguments cannot be edited here")
        problem = registered.performer.problem(args)
        if self._gateway.redactor.holds_secret(args):  # whatever else is wrong with them, that may name it
            problem = "they hold a credential"
        if problem is not None:
            raise Refused(f"the edited arguments cannot be taken: {problem}")
        return fingerprint(record.call, registered.tool.schema_digest, canonical(args))

    def _refuse_frozen(self, approval: Approval) -> None:
        switches = self._gateway.board.active()
        reason = killed_by(
            switches, tenant=approval.tenant, agent=approval.agent, run=approval.run_id, tool=approval.tool,
            effect=Effect(approval.card.effect),
        )
        if reason is not None:
            raise Refused(f"approval {approval.approval_id} is frozen: {reason.text}; release it first")

    # --- unknowns and budgets ----------------------------------------------------------------------------------------

    def reconcile(
        self, *, tenant: str, run_id: str, call_id: str, happened: bool, by: str, value: Any = None, note: str = ""
    ) -> Record:
        """End an unknown: a person has looked, and it happened (with this value), or it did not.

        What was held is spent, or returned. Raises Refused where the call is not unknown.
        """
        if not by:
            raise Refused("say who has looked: by=")
        if not isinstance(happened, bool):
            raise Refused(f"happened= is True or False, not {happened!r}: say what you found when you looked")
        key, note = self._key_of(tenant, run_id, call_id), words(self._gateway, by, note)

        def act(tx: Tx) -> Record:
            now, record = self._gateway.clock.now(), tx.get(key)
            if record is None:
                raise Refused(f"run {run_id!r} of tenant {tenant!r} has no call {call_id!r}")
            if record.state is State.LEASED and record.lease is not None and record.lease.until <= now:
                record = bookings.lapse(tx, record, now, writes=record.writes)
            if record.state is not State.UNKNOWN:
                raise Refused(f"call {call_id!r} is {record.state}, not unknown: there is nothing to reconcile")
            event = Event.HAPPENED if happened else Event.DID_NOT_HAPPEN
            result = encode_result(value, self._gateway.config.limits.result_bytes, self._gateway.redactor.redact)
            spent = record.hold.amounts if record.hold is not None and happened else NOTHING
            bookings.let_go(tx, record.hold, spent)
            ended = replace(
                record, state=move(record.state, event), settled_at=now, hold=None,
                error="" if happened else f"{by} has looked: it did not happen{f' ({note})' if note else ''}",
                result=Raw(result) if happened else NO_RESULT,
            )
            tx.put(key, ended)
            tx.append(
                bookings.entry_of(
                    ended, Kind.RECONCILED, now, outcome=ended.state, by=by, note=note, usd=spent.usd,
                    result_digest=digest(result) if happened else "",
                )
            )
            return ended

        return commit(self._gateway, (HeadKey(tenant), key), act)

    def top_up(
        self, *, tenant: str, by: str, note: str = "",
        run_id: str = "", agent: str = "", tool: str = "", window: str = "run",
        steps: int = 0, tool_calls: int = 0, usd: float = 0.0, tokens: int = 0, once: str = "",
    ) -> Account:
        """Raise the limits of a run, or of the window that runs now for an agent, a tool or the tenant.

        `once`: with the same word, the same thing is topped up once. A run that has stopped stays stopped. Raises
        Refused for amounts that are not positive, KeyReused where the word stands for other amounts.
        """
        numbers = all(type(count) is int for count in (steps, tool_calls, tokens)) and type(usd) in (int, float)
        micros = round(usd * MICROS) if numbers and math.isfinite(usd) else -1
        amounts = Amounts(steps=steps, tool_calls=tool_calls, usd=micros, tokens=tokens)
        if not by or amounts == NOTHING or not all(0 <= getattr(amounts, unit) < MOST for unit in UNITS):
            raise Refused("a top-up needs by= and at least one positive amount: steps=, tool_calls=, usd=, tokens=")
        if window not in tuple(Window) or bool(run_id) != (window == Window.RUN):
            raise Refused(f"name a run (run_id=), or a window: one of {', '.join(list(Window)[1:])}")
        named = [(scope, name) for scope, name in (("run", run_id), ("agent", agent), ("tool", tool)) if name]
        if len(named) > 1:
            raise Refused("top up one thing at a time: run_id=, agent=, tool=, or none of them for the tenant")
        for what, name in (("tenant", tenant), *named):
            problem = problem_of_name(name, what)
            if problem is not None:
                raise Refused(problem)
        scope, subject = named[0] if named else ("tenant", tenant)
        if not run_id:
            useless = unlimited(
                self._gateway.config, amounts, Window(window), tenant=tenant, agent=agent, tool=tool
            )
            if useless is not None:
                raise Refused(useless)
        note = words(self._gateway, by, note)

        def act(tx: Tx) -> Account:
            now = self._gateway.clock.now()
            if run_id and tx.get(RunKey(tenant, run_id)) is None:
                raise Refused(f"there is no run {run_id!r} of tenant {tenant!r}")
            key = AccountKey(tenant, scope, subject, Window(window), Window(window).start(now))
            if once:  # an account of its own, which nothing is booked on, remembers it
                mark = AccountKey(tenant, "topped_up", digest(once, scope, subject, window), Window.RUN, 0)
                before = tx.get(mark)
                if before is not None and before.extra != amounts:
                    raise KeyReused(f"{once!r:.80} stands for another top-up of {scope} {subject!r:.80}")
                if before is not None:
                    return tx.get(key) or Account()
                tx.put(mark, Account(extra=amounts))
            account = (tx.get(key) or Account()).top_up(amounts)
            tx.put(key, account)
            added = {unit: getattr(amounts, unit) for unit in UNITS}
            detail = {"scope": scope, "subject": subject, "window": window, **added}
            tx.append(
                Entry(tenant=tenant, at=now, kind=Kind.TOPPED_UP, run_id=run_id, by=by, note=note, detail=detail)
            )
            return account

        return commit(self._gateway, (HeadKey(tenant),), act)

    # --- tools of upstreams ------------------------------------------------------------------------------------------

    def pins(self) -> Sequence[Pin]:
        """The accepted definitions of upstreams' tools; `offered` is set where an upstream shows another one now."""
        return self._gateway.store.pins()

    def accept(self, tool: str, *, by: str, note: str = "", offered: str = "") -> Pin:
        """Accept the changed definition of an upstream's tool.

        `offered`: the digest of the definition that was looked at (`Pin.offered_digest`), so that one that has changed
        since is not accepted unseen. Raises Refused where nothing has changed, or something else has.
        """
        now, note = self._gateway.clock.now(), words(self._gateway, by, note)
        pin = commit(self._gateway,
            (HeadKey(SYSTEM), PinKey(SYSTEM, tool)),
            lambda tx: pins.accept(tx, tool, by, now, offered=offered, note=note),
        )
        self._gateway.judged(tool, "")
        return pin

    # --- the ledger --------------------------------------------------------------------------------------------------

    def _key_of(self, tenant: str, run_id: str, call_id: str) -> CallKey:
        """A call by its id: its key, unless an explicit idempotency key went before it."""
        calls = self._gateway.store.calls_of(tenant, run_id)
        found = [record for record in calls if call_id in (record.call.call_id, record.call.key)]
        if not found:
            raise Refused(f"run {run_id!r} of tenant {tenant!r} has no call {call_id!r}")
        doubtful = (record for record in found if record.state in (State.UNKNOWN, State.LEASED))
        return bookings.call_key(next(doubtful, found[0]))
