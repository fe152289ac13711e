"""A figure, and the arithmetic behind one.

Not the measuring. Law: a figure keeps its rounds, so that a reader can see how steady it was.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from statistics import median

from msgspec import Struct


class Wrong(Exception):
    """The load was not correct, so its speed means nothing."""


class CannotRun(Exception):
    """Something that a measure needs is not here; the message says what."""


class Size(Struct, frozen=True):
    """How much to measure."""

    quick: bool = False

    def of(self, full: int, quick: int) -> int:
        """One of two numbers."""
        return quick if self.quick else full

    @property
    def rounds(self) -> int:
        """How often everything is measured again."""
        return self.of(5, 3)


class Figure(Struct, kw_only=True):
    """One number of the table."""

    name: str
    value: float
    unit: str = "×"
    must: float | None = None  #: what the project has promised
    stretch: float | None = None
    at_least: bool = False  #: larger is better
    rounds: list[float] = []
    seen: dict[str, float] = {}  #: the absolute numbers behind it; valid inside this run only
    note: str = ""

    @property
    def met(self) -> bool | None:
        """Whether the promise is kept; None where there is none."""
        return self._reaches(self.must)

    @property
    def met_stretch(self) -> bool | None:
        """The same of the further aim."""
        return self._reaches(self.stretch)

    def _reaches(self, aim: float | None) -> bool | None:
        if aim is None:
            return None
        return self.value >= aim if self.at_least else self.value <= aim


def figure(
    name: str, rounds: Sequence[float], *, unit: str = "×", at_most: float | None = None, at_least: float | None = None,
    stretch: float | None = None, larger: bool = False, seen: Mapping[str, float] | None = None, note: str = "",
) -> Figure:
    """The median of its rounds."""
    return Figure(
        name=name, value=median(rounds), unit=unit, must=at_least if at_least is not None else at_most, stretch=stretch,
        at_least=at_least is not None or larger, rounds=[round(each, 6) for each in rounds],
        seen={key: round(value, 4) for key, value in (seen or {}).items()}, note=note,
    )


def percentile(values: Sequence[float], share: float) -> float:
    """The value that this share of all does not exceed."""
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(share * len(ordered)))]


def require(holds: bool, what: str) -> None:
    """Raises Wrong where it does not hold."""
    if not holds:
        raise Wrong(what)
