"""How sure a share is that was seen in a few tries.

Not a test of anything else: the tries are taken as independent. Law: the bounds are those of Wilson's score interval
(E. B. Wilson, "Probable inference, the law of succession, and statistical inference", Journal of the American
Statistical Association 22, 1927, 209-212), which holds for few tries and for shares of 0 and 1, where the usual
"share ± z·deviation" claims to be certain.
"""

from __future__ import annotations

from math import ceil, sqrt

from msgspec import Struct


class Share(Struct, frozen=True):
    """So many of so many, with the bounds between which the true share lies at a level of confidence."""

    passed: int
    tries: int
    low: float
    high: float
    confidence: float

    def __str__(self) -> str:
        return f"{self.passed} of {self.tries}; at {self.confidence:.0%} confidence {self.low:.0%} to {self.high:.0%}"


def wilson(passed: int, tries: int, confidence: float = 0.95) -> Share:
    """The share with its bounds. Without a try nothing is known: from 0 to 1."""
    if tries == 0:
        return Share(0, 0, 0.0, 1.0, confidence)
    square = _z(confidence) ** 2
    share = passed / tries
    middle = (share + square / (2 * tries)) / (1 + square / tries)
    reach = sqrt(share * (1 - share) / tries + square / (4 * tries**2)) * sqrt(square) / (1 + square / tries)
    return Share(passed, tries, max(0.0, middle - reach), min(1.0, middle + reach), confidence)


def tries_needed(at_least: float, confidence: float = 0.95) -> int:
    """How many tries, all of them passed, put the lower bound at a share below 1."""
    return ceil(_z(confidence) ** 2 * at_least / (1 - at_least) - 1e-9)  # low = n / (n + z²) where all pass


def _z(confidence: float) -> float:
    from statistics import NormalDist  # loads much, and is seldom asked

    return NormalDist().inv_cdf((1 + confidence) / 2)
