"""Places where a process can die: pass-throughs around a ledger, a switch board and a vault.

Not mocks: everything goes through to the real thing. Law: until a point is armed nothing differs; the armed point is
reached once, and whoever reaches it does not come back.
"""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Callable, Sequence
from typing import Any

from interlock.core.switch import Switch
from interlock.unit import Tx, Unit


class Crash(BaseException):
    """The end of the process, for a ledger that lives in this one."""


def sigkill() -> None:
    """The end of the process, for good."""
    os.kill(os.getpid(), signal.SIGKILL)
    signal.pause()  # it may take a moment to arrive


def crash() -> None:
    """The same, for a process that is only played."""
    raise Crash


class Points:
    """Where to die, and how. Transactions are counted from the arming: the first, the second…"""

    def __init__(self, die: Callable[[], None]) -> None:
        self._die = die
        self._armed = ""
        self._transactions = 0
        self._dead = False
        self.here = threading.local()

    def arm(self, point: str) -> None:
        """From now on, whoever reaches this point dies."""
        self._armed, self._transactions = point, 0

    def reach(self, point: str) -> None:
        """Die, where this is the point. A death that is only played holds: nothing comes through any more."""
        if point == self._armed:
            self._dead = True
        if self._dead:
            self._die()

    def transaction(self) -> int:
        """The number of the transaction that begins now."""
        self._transactions += 1
        return self._transactions


class CrashingStore:
    """A store with points before, inside and after each transaction."""

    def __init__(self, store: Any, points: Points) -> None:
        self._store = store
        self._points = points

    def __getattr__(self, name: str) -> Any:
        return getattr(self._store, name)

    def transact(self, units: Sequence[Unit[Any]], *, wait: bool = True) -> list[Any]:
        points, number = self._points, self._points.transaction()

        def inside(fn: Callable[[Tx], Any]) -> Callable[[Tx], Any]:
            def run(tx: Tx) -> Any:
                points.here.transacting = True
                try:
                    value = fn(tx)
                finally:
                    points.here.transacting = False
                points.reach(f"transaction {number} inside")
                return value

            return run

        points.reach(f"transaction {number} before")
        values = self._store.transact([Unit(unit.keys, inside(unit.fn)) for unit in units], wait=wait)
        points.reach(f"transaction {number} after")
        return values


class CrashingBoard:
    """A switch board with points around the second look, and around a kill."""

    def __init__(self, board: Any, points: Points) -> None:
        self._board = board
        self._points = points

    def active(self) -> tuple[Switch, ...]:
        if getattr(self._points.here, "transacting", False):  # the first look
            return self._board.active()
        self._points.reach("look before")
        found = self._board.active()
        self._points.reach("look after")
        return found

    def history(self) -> tuple[Switch, ...]:
        return self._board.history()

    def put(self, switch: Switch) -> None:
        self._points.reach("put before")
        self._board.put(switch)
        self._points.reach("put after")

    def close(self) -> None:
        self._board.close()


class CrashingVault:
    """A vault with points around a loan."""

    def __init__(self, points: Points) -> None:
        self._points = points

    def lend(self, name: str, *, tenant: str, env: str) -> str:
        self._points.reach("lend before")
        lent = f"secret-of-{tenant}-for-{name}-in-{env}"
        self._points.reach("lend after")
        return lent
