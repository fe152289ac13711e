"""T1: read the facts, decide, and write down what was decided, in one transaction.

Not the effect, and not the rules. Law: nothing is performed that has not been admitted here; an admitted call has its
hold, its lease and its `decided` entry before its effect begins, or none of them.
"""

from __future__ import annotations

import secrets
from typing import Any

import msgspec
from msgspec import Raw, Struct
from msgspec.structs import replace

from interlock import answers, bookings
from interlock.bookings import run_account
from interlock.config import Config
from interlock.core import provenance
from interlock.core.approval import Approval, Card, Standing
from interlock.core.audit import Entry, Kind, clipped
from interlock.core.budget import NOTHING, AccountKey, Amounts, Hold, Limits, Line
from interlock.core.call import Tool, ToolCall, price_of
from interlock.core.canonical import canonical, digest, problem_of
from interlock.core.decide import Facts, decide
from interlock.core.lifecycle import Event, State, move
from interlock.core.outcome import Outcome
from interlock.core.record import Lease, Record
from interlock.core.run import Run
from interlock.core.verdict import Decision, StopReason, Verdict
from interlock.edits import as_edited, performed_alike
from interlock.errors import KeyReused, Refused
from interlock.ports import ApprovalKey, CallKey, Clock, HeadKey, Key, RunKey, SwitchBoard
from interlock.redaction import Redactor
from interlock.results import text_for_model
from interlock.unit import Tx, Unit
from interlock.wish import MARGIN, Running, Ticket, Wish, away_lease_id, new_lease_id

SHOWN = 2_000  #: bytes of arguments that an audit entry shows; longer texts in them are clipped

_NO_ARGS = Raw(b"{}")

Accounts = list[tuple[AccountKey, Limits | None]]
"""Accounts with their limits; None: the run's own, which stand in the run."""


class _Weighed(Struct, frozen=True, gc=False, kw_only=True):
    """Everything known of one call inside its transaction, once it was weighed."""

    wish: Wish
    call: ToolCall  #: with the arguments that would be performed
    facts: Facts
    decision: Decision

    @property
    def run(self) -> Run:
        return self.facts.run

    @property
    def prior(self) -> Record | None:
        return self.facts.prior

    def record(self, event: Event, **changes: Any) -> Record:
        """The record after an event: the prior one moved on, or a new one."""
        prior, call = self.facts.prior, self.wish.call
        if prior is not None:  # with the fingerprint of now: its tool's schema may have changed since
            known_as = self.wish.fingerprint or prior.fingerprint
            state = move(prior.state, event)
            return replace(prior, state=state, decision=self.decision, fingerprint=known_as, **changes)
        return Record(
            call=call, fingerprint=self.wish.fingerprint, state=move(State.NEW, event), decision=self.decision,
            asked_at=self.facts.now, tenant_wide=_tenant_wide(self.wish.tool), **changes,
        )


class Admission:
    """What T1 needs beside the transaction."""

    def __init__(self, config: Config, board: SwitchBoard, clock: Clock, redactor: Redactor) -> None:
        self._config = config
        self._board = board
        self._clock = clock
        self._redactor = redactor

    def unit(self, wish: Wish) -> Unit[Ticket | Running | Outcome]:
        """The transaction that admits one call, or says why not."""
        call = wish.call
        accounts = self._accounts(call)
        keys: list[Key] = [HeadKey(call.tenant), RunKey(call.tenant, call.run_id)]
        keys += [CallKey(call.tenant, call.run_id, call.key), *(key for key, _ in accounts)]
        return Unit(keys, lambda tx: self._admit(tx, wish, accounts))

    def _admit(self, tx: Tx, wish: Wish, accounts: Accounts) -> Ticket | Running | Outcome:
        weighed = self._weigh(tx, wish, accounts)
        verdict = weighed.decision.verdict
        if verdict is Verdict.ALLOW:
            return self._allow(tx, weighed)
        if verdict is Verdict.ASK:
            return self._ask(tx, weighed)
        if verdict is Verdict.REPLAY:
            return self._replay(tx, weighed)
        if verdict is Verdict.WAIT:
            return _running(_answering(weighed))
        return self._refuse(tx, weighed)

    # --- the facts ---------------------------------------------------------------------------------------------------

    def _weigh(self, tx: Tx, wish: Wish, accounts: Accounts) -> _Weighed:
        now, call = self._clock.now(), wish.call
        prior = tx.get(CallKey(call.tenant, call.run_id, call.key))
        if prior is not None:
            _refuse_reuse(prior, wish)
            prior = self._caught_up(tx, prior, now)
            if prior.state is State.DENIED and prior.fingerprint != wish.fingerprint:
                prior = None  # another wish in the place of a refused one: nothing of the old one is performed
        same = self._same(tx, wish, now)  # before the run is read: an approval that is over may stop it
        run = tx.get(RunKey(call.tenant, call.run_id))
        if run is None:
            raise Refused(f"there is no run {call.run_id!r} of tenant {call.tenant!r}; open it with gw.run()")
        run = run.resumed(now)
        approval = _approval(tx, prior, same, wish.tool)
        performed, bound = as_edited(wish, prior, approval)
        same += performed_alike(tx, wish, run, bound, now)
        problem, price = wish.problem, 0
        if wish.tool is not None and not problem:
            try:
                price = price_of(wish.tool, performed.args)
            except ValueError as error:
                problem = str(error)
        held = prior is not None and prior.hold is not None
        facts = Facts(
            now=now, policy=self._config.policy, run=run, tool=wish.tool, problem=problem, prior=prior, same=same,
            approval=approval, digest=bound, switches=tx.once(self._board.active),
            cost=NOTHING if held else Amounts(tool_calls=1, usd=price), lines=_lines(tx, run, accounts),
            provenance=self._provenance(tx, performed, run) if self._config.policy.reads_provenance else {},
        )
        return _Weighed(wish=wish, call=performed, facts=facts, decision=decide(performed, facts))

    def _accounts(self, call: ToolCall) -> Accounts:
        """Where a call is booked: the run's own account, and the quotas of the windows in which it comes in."""
        found: Accounts = [(run_account(call.tenant, call.run_id), None)]
        quotas = self._config.quotas(call.tenant, call.agent, call.tool)
        if quotas:
            now = self._clock.now()
            found += [
                (AccountKey(call.tenant, each.scope, each.subject, each.window, each.window.start(now)), each.limits)
                for each in quotas
            ]
        return found

    def _same(self, tx: Tx, wish: Wish, now: int) -> tuple[Record, ...]:
        """Other calls with this fingerprint: in the run, and in the tenant as far back as the tool dedupes."""
        call, tool = wish.call, wish.tool
        if not wish.fingerprint or tool is None:
            return ()
        found = tx.same(call.tenant, call.run_id, wish.fingerprint)
        if tool.deduping.scope == "tenant":
            wide = tx.same_in_tenant(call.tenant, wish.fingerprint, now - tool.deduping.window)
            found += (record for record in wide if record.call.run_id != call.run_id)
        own = call.key
        return tuple(
            self._caught_up(tx, record, now)
            for record in found
            if record.call.key != own or record.call.run_id != call.run_id
        )

    def _caught_up(self, tx: Tx, record: Record, now: int) -> Record:
        """The record as it stands at this moment: a lease may have run out, an approval may have expired."""
        if record.state is State.LEASED and record.lease is not None and record.lease.until <= now:
            return bookings.lapse(tx, record, now, writes=record.writes)
        if record.state in (State.WAITING, State.APPROVED) and record.approval_id:
            approval = tx.get(ApprovalKey(record.call.tenant, record.approval_id))
            if approval is not None and bookings.is_over(approval, self._board, now):
                approval = bookings.expire(tx, approval, now, stops=self._config.approvals.on_reject == "stop")
            if approval is not None:  # the answer may have come under another key that shared the question
                return bookings.answered_no(tx, approval, bookings.call_key(record), now) or record
        return record

    def _provenance(self, tx: Tx, call: ToolCall, run: Run) -> dict[str, str]:
        told = []
        for record in tx.calls_of(call.tenant, call.run_id):
            if record.state is State.DONE:
                text = text_for_model(msgspec.json.decode(record.result))
                told.append((record.call.tool, record.trusted, text))
        return provenance.trace(call.args, run.request, told)

    # --- the four ways out -------------------------------------------------------------------------------------------

    def _allow(self, tx: Tx, weighed: _Weighed) -> Ticket:
        facts, tool = weighed.facts, weighed.wish.tool
        if tool is None:
            raise AssertionError("decide() allows no unknown tool")
        now, run, prior = facts.now, facts.run, facts.prior
        hold = prior.hold if prior is not None and prior.hold is not None else None
        if hold is None:
            hold = Hold(facts.cost, tuple(line.key for line in facts.lines))
            bookings.take(tx, hold)
        deadline = run.deadline if tool.timeout is None else min(run.deadline, now + tool.timeout)
        attempts, owner = (prior.attempts if prior else 0) + 1, weighed.wish.owner
        lease_id = new_lease_id() if owner is None else away_lease_id(owner, attempts, deadline)
        lease = Lease(lease_id, min(deadline, now + self._config.lease) + MARGIN)
        if facts.approval is not None:
            self._close_approval(tx, facts.approval, facts.digest)
            run = run.asks_no_more(facts.approval.approval_id)
        edited = weighed.call.args if weighed.call is not weighed.wish.call else None
        if edited is not None and weighed.wish.call.key not in run.edited:
            run = replace(run, edited=(*run.edited, weighed.wish.call.key))
        record = weighed.record(
            Event.ALLOW, lease=lease, hold=hold, attempts=attempts,
            error="", settled_at=None,
            edited=edited,
            writes=tool.effect.writes, trusted=tool.trusted,
            approval_id=facts.approval.approval_id if facts.approval else None,
        )
        self._write(tx, weighed, record)
        if run is not tx.get(RunKey(run.tenant, run.run_id)):
            tx.put(RunKey(run.tenant, run.run_id), run)
        return Ticket(wish=weighed.wish, record=record, run=run, lease=lease, deadline=deadline)

    def _ask(self, tx: Tx, weighed: _Weighed) -> Outcome:
        facts, call, prior, run = weighed.facts, weighed.wish.call, weighed.prior, weighed.run
        approval = facts.approval
        if approval is not None and approval.standing is Standing.WAITING and approval.digest == facts.digest:
            paused = tx.get(RunKey(call.tenant, call.run_id))
            if prior is not None and prior.state is State.WAITING and paused is not None and paused.paused_at:
                return answers.pending(call.call_id, call.tool, weighed.decision, approval.approval_id)
        else:
            if approval is not None:
                self._close_approval(tx, approval, facts.digest)
                run = run.asks_no_more(approval.approval_id)
            approval = self._question(tx, weighed)
            tx.put(ApprovalKey(approval.tenant, approval.approval_id), approval)
        record = weighed.record(Event.ASK, approval_id=approval.approval_id)
        self._write(tx, weighed, record)
        tx.put(RunKey(call.tenant, call.run_id), run.asks(approval.approval_id, facts.now))
        return answers.pending(call.call_id, call.tool, weighed.decision, approval.approval_id)

    def _refuse(self, tx: Tx, weighed: _Weighed) -> Outcome:
        call, facts, decision = weighed.wish.call, weighed.facts, weighed.decision
        if weighed.wish.fingerprint:
            self._write(tx, weighed, weighed.record(Event.DENY))
        else:  # what cannot be taken is not kept either
            self._note(tx, weighed, None)
        run = facts.run
        if decision.verdict is Verdict.STOP:
            run = bookings.stop(tx, run, decision.stop or StopReason.POLICY_STOP, decision.text, facts.now)
        if weighed.prior is not None and weighed.prior.state is State.UNKNOWN:  # not tried again now, and unknown still
            return answers.recorded(weighed.prior, run, call.call_id, replayed=True)
        if decision.verdict is Verdict.STOP:
            return answers.refused(call.call_id, call.tool, decision)
        run = replace(run, denials=run.denials + 1).idle(facts.now)
        tx.put(RunKey(run.tenant, run.run_id), run)
        if run.denials >= run.max_denials:
            bookings.stop(tx, run, StopReason.MAX_DENIALS, f"denied {run.denials} times", facts.now)
            return answers.denied(call.call_id, call.tool, decision, StopReason.MAX_DENIALS)
        return answers.refused(call.call_id, call.tool, decision)

    def _replay(self, tx: Tx, weighed: _Weighed) -> Running | Outcome:
        call, known = weighed.wish.call, _answering(weighed)
        if known.state is State.REPEATED:
            known = tx.get(CallKey(call.tenant, known.of_run or call.run_id, known.of)) or known
        elif known is not weighed.prior:
            if weighed.prior is not None and weighed.facts.approval is not None:  # its own question is moot
                self._close_approval(tx, weighed.facts.approval, "")
                tx.put(RunKey(call.tenant, call.run_id), weighed.run.asks_no_more(weighed.facts.approval.approval_id))
            record = weighed.record(Event.REPEAT, of=known.call.key, of_run=known.call.run_id)
            self._write(tx, weighed, record)
        if known.state is State.LEASED:
            return _running(known)
        return answers.recorded(known, weighed.run, call.call_id, replayed=True)

    # --- what they write ---------------------------------------------------------------------------------------------

    def _write(self, tx: Tx, weighed: _Weighed, record: Record) -> None:
        tx.put(bookings.call_key(record), record)
        self._note(tx, weighed, record)

    def _note(self, tx: Tx, weighed: _Weighed, record: Record | None) -> None:
        """The `decided` entry."""
        wish, call, decision = weighed.wish, weighed.wish.call, weighed.decision
        tx.append(
            Entry(
                tenant=call.tenant, at=weighed.facts.now, kind=Kind.DECIDED, run_id=call.run_id, step_id=call.step_id,
                call_id=call.call_id, key=call.key, tool=call.tool,
                agent=call.agent, env=call.env, runtime=call.runtime,
                verdict=decision.verdict.word, reasons=decision.reasons, policy_version=decision.policy_version,
                args=self._shown(weighed), args_digest=_digest_of(weighed),
                schema_digest=wish.tool.schema_digest if wish.tool else "",
                approval_id=(record.approval_id or "") if record else "", attempt=record.attempts if record else 0,
            )
        )

    def _shown(self, weighed: _Weighed) -> Raw:
        """The arguments as an auditor may see them: redacted, and clipped where they are long."""
        arguments = weighed.wish.arguments
        if not arguments:
            return _NO_ARGS
        if weighed.call is weighed.wish.call and len(arguments) <= SHOWN:
            return Raw(arguments)  # `problem_with` refuses arguments that hold a credential
        return Raw(canonical(clipped(weighed.call.args)))

    def _close_approval(self, tx: Tx, approval: Approval, bound: str) -> None:
        """An approval that is used up, or that is not about what would run now."""
        used = approval.standing is Standing.APPROVED and approval.digest == bound
        if used or approval.standing in (Standing.WAITING, Standing.APPROVED):
            standing = Standing.CONSUMED if used else Standing.WITHDRAWN
            tx.put(ApprovalKey(approval.tenant, approval.approval_id), replace(approval, standing=standing))

    def _question(self, tx: Tx, weighed: _Weighed) -> Approval:
        call, facts, tool, settings = weighed.call, weighed.facts, weighed.wish.tool, self._config.approvals
        if tool is None:
            raise AssertionError("decide() asks for no unknown tool")
        origins = facts.provenance or self._provenance(tx, call, facts.run)
        card = Card(
            tool=call.tool, rule=weighed.decision.rule, reason=weighed.decision.text,
            arguments=self._redactor.redact(call.args),
            effect=tool.effect, risk=tool.risk, description=tool.description,
            suspicious=provenance.suspicious(origins), request=self._redactor.redact_text(facts.run.request),
            cost_usd=facts.cost.usd,
        )
        asked_by = tuple(name for name in (call.agent, facts.run.requested_by) if name)
        return Approval(
            approval_id=f"ap_{secrets.token_hex(8)}", tenant=call.tenant, agent=call.agent, env=call.env,
            run_id=call.run_id, call_id=call.call_id, key=call.key, tool=call.tool, digest=facts.digest,
            policy_version=facts.policy.version, card=card, asked_at=facts.now, expires_at=facts.now + settings.expires,
            quorum=settings.quorum, requested_by=asked_by,
        )


def _running(record: Record) -> Running:
    return Running(bookings.call_key(record), record.lease.until if record.lease else 0)


def _answering(weighed: _Weighed) -> Record:
    """The record that answers for a call that the ledger knows already."""
    prior = weighed.prior
    if prior is not None and prior.state not in (State.DENIED, State.WAITING, State.APPROVED):
        return prior
    return next(other for other in weighed.facts.same if other.state in (State.LEASED, State.DONE, State.UNKNOWN))


def _approval(tx: Tx, prior: Record | None, same: tuple[Record, ...], tool: Tool | None) -> Approval | None:
    """The approval that speaks of this call: its own, or that of the same wish under another key of the run."""
    asked = prior if prior is not None and prior.approval_id else None
    if asked is None and tool is not None and tool.deduping.scope != "off":
        asked = next((other for other in same if other.state in (State.WAITING, State.APPROVED)), None)
    if asked is None or not asked.approval_id:
        return None
    return tx.get(ApprovalKey(asked.call.tenant, asked.approval_id))


def _refuse_reuse(prior: Record, wish: Wish) -> None:
    """The same key with another wish is somebody's mistake. A tool's schema may have changed since, arguments not."""
    if prior.fingerprint == wish.fingerprint or prior.state is State.DENIED:
        return
    if prior.call.tool != wish.call.tool or _as_canonical(wish) != canonical(prior.call.args):
        raise KeyReused(
            f"key {wish.call.key!r} of run {wish.call.run_id!r} stands for another call ({prior.call.tool}):"
            " give each call a call_id of its own"
        )


def _as_canonical(wish: Wish) -> bytes:
    """The arguments, also where the tool that is registered now, or none, could not take them."""
    return wish.arguments or (canonical(wish.call.args) if problem_of(wish.call.args) is None else b"")


def _lines(tx: Tx, run: Run, accounts: Accounts) -> tuple[Line, ...]:
    return tuple(
        [Line(key, run.limits if limits is None else limits, tx.get(key) or bookings.EMPTY) for key, limits in accounts]
    )


def _digest_of(weighed: _Weighed) -> str:
    """Of the arguments that would be performed."""
    if not weighed.wish.arguments:
        return ""
    return digest(weighed.wish.arguments if weighed.call is weighed.wish.call else canonical(weighed.call.args))


def _tenant_wide(tool: Tool | None) -> bool:
    return tool is not None and tool.deduping.scope == "tenant"
