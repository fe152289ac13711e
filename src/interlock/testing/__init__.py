"""What the tests of Interlock stand on, for the tests of its users too.

Not imported by anything that runs in production. Law: a twin keeps the promises of what it stands for; nothing here is
a mock.
"""

from __future__ import annotations

from interlock.core.call import MICROS
from interlock.testing.conformance import SHARED_STORE_CONTRACT, STORE_CONTRACT
from interlock.testing.conformance_boards import BOARD_CONTRACT, SHARED_BOARD_CONTRACT

__all__ = ["ManualClock", "STORE_CONTRACT", "SHARED_STORE_CONTRACT", "BOARD_CONTRACT", "SHARED_BOARD_CONTRACT"]


class ManualClock:
    """A `ports.Clock` that stands still until it is told to move."""

    def __init__(self, now: int = 1_767_225_600 * MICROS) -> None:  # 2026-01-01
        self._now = now

    def now(self) -> int:
        """Microseconds since 1970, UTC."""
        return self._now

    def advance(self, seconds: float) -> None:
        """Let time pass."""
        self._now += round(seconds * MICROS)

    def set(self, now: int) -> None:
        """Jump to a moment, backwards too: clocks do."""
        self._now = now
