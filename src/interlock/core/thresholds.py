"""What two runs may differ in before parity fails.

Not the comparing (`parity.py`). Law: strict by itself: nothing may differ that is not said here.
"""

from __future__ import annotations

from msgspec import Struct


class Thresholds(Struct, frozen=True, kw_only=True):
    """So many divergences of each kind in a run, so many steps more, so much dearer."""

    missing: int = 0
    extra: int = 0
    arguments: int = 0
    order: int = 0
    verdict: int = 0
    outcome: int = 0
    stop_reason: int = 0
    answer: int = 0
    steps: int = 0
    usd: float = 0.0  #: a share: 0.1 allows a tenth more
    compare: str = "words"  #: how final answers are compared: see `answers.py`
    at_least: float = 0.8  #: the share of repeats on a live model that must surely pass
    confidence: float = 0.95
