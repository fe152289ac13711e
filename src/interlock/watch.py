"""What has to happen while nobody calls: leases renewed, kill switches of other processes obeyed, what is over closed,
what was recorded forgotten in time.

Not on the road of any call. Law: each thing that it does is right when it is done twice, late, or by two processes; and
trouble with the ledger never ends it.
"""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING

from interlock import bookings, pins
from interlock.core.approval import Approval, Standing
from interlock.core.audit import SYSTEM
from interlock.core.call import MICROS
from interlock.core.lifecycle import State
from interlock.core.record import Record
from interlock.core.verdict import Reason, Verdict
from interlock.ports import ApprovalKey, HeadKey, PinKey, RunKey
from interlock.retention import Retention
from interlock.settlement import renew
from interlock.unit import Tx, Unit
from interlock.wish import MARGIN

if TYPE_CHECKING:
    from interlock.gateway import Gateway, Registered

TICK = 0.1  #: seconds between looks at the switches, while calls are in flight
LATE = 30 * MICROS  #: an act of a person that the audit has not got after so long will not come by itself
SWEEP = 50  #: ticks between looks for leases and approvals that are over


class Watch:
    """One daemon thread for each gateway."""

    def __init__(self, gateway: Gateway) -> None:
        self._gateway = gateway
        self._retention = Retention(gateway)
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._work, name="interlock-watch", daemon=True)

    def start(self) -> None:
        """Begin to watch."""
        self._thread.start()

    def close(self) -> None:
        """Stop watching."""
        self._over.set()
        self._thread.join()

    def _work(self) -> None:
        ticks = 0
        while not self._over.wait(TICK):
            ticks += 1
            try:
                if len(self._gateway.flights):
                    self.tend()
                if ticks % SWEEP == 1:
                    self.sweep()
                    self._retention.page()
            except Exception as error:  # whatever it is, the next round may be better
                self._gateway.telemetry.trouble("the watch was held up; it goes on trying", error)

    def tend(self) -> None:
        """Renew the leases of calls that take long, and cancel what a kill switch, or a lost lease, forbids."""
        gateway = self._gateway
        switches = gateway.board.active()
        if switches:
            gateway.flights.kill(switches)
        now, length = gateway.clock.now(), gateway.config.lease
        for flight in gateway.flights:
            left = flight.lease_until - MARGIN - now
            if left > length // 2 or flight.lease_until >= flight.ticket.deadline + MARGIN:
                continue
            until = min(flight.ticket.deadline, now + length) + MARGIN
            try:
                if gateway.committer.run(renew(flight.ticket, until)):
                    flight.lease_until = until
            finally:
                if flight.lease_until - now <= MARGIN:
                    flight.kill(Reason("leased", Verdict.DENY, "its lease could not be renewed"))

    def sweep(self) -> int:
        """Close what is over: dead leases, unanswered approvals. Gives how many. Acts that the audit missed follow."""
        gateway = self._gateway
        now, closed = gateway.clock.now(), 0
        for switch in gateway.board.history():
            if switch.recorded < switch.acts and (switch.released_at or switch.at) < now - LATE:
                gateway.control.record_switch(switch)
        for registered in list(gateway.tools.values()):
            if registered.problem:  # a person may have accepted its definition since, here or in another process
                gateway.judged(registered.tool.name, self._still_wrong(registered))
        for record in gateway.store.lapsed(now):
            closed += gateway.committer.run(self._lapse(record))
        for approval in gateway.store.approvals(standing=Standing.WAITING):
            if approval.expired(now, 0):
                closed += gateway.committer.run(self._expire(approval))
        return closed

    def _still_wrong(self, registered: Registered) -> str:
        pin = self._gateway.store.load(PinKey(SYSTEM, registered.tool.name))
        digest = getattr(registered.performer, "digest", None)
        return registered.problem if pin is None or digest is None else pins.problem(pin, digest) or ""

    def _lapse(self, seen: Record) -> Unit[int]:
        key = bookings.call_key(seen)

        def close(tx: Tx) -> int:
            now, record = self._gateway.clock.now(), tx.get(key)
            if record is None or record.state is not State.LEASED or record.lease is None or record.lease.until > now:
                return 0
            bookings.lapse(tx, record, now, writes=record.writes)
            return 1

        return Unit((HeadKey(key.tenant), key), close)

    def _expire(self, seen: Approval) -> Unit[int]:
        key = ApprovalKey(seen.tenant, seen.approval_id)

        def close(tx: Tx) -> int:
            now, approval = self._gateway.clock.now(), tx.get(key)
            if approval is None or approval.standing is not Standing.WAITING:
                return 0
            if not bookings.is_over(approval, self._gateway.board, now):
                return 0
            bookings.expire(tx, approval, now, stops=self._gateway.config.approvals.on_reject == "stop")
            return 1

        return Unit((HeadKey(key.tenant), key, RunKey(seen.tenant, seen.run_id)), close)
