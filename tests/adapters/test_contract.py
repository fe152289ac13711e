"""The plain loop keeps the promises that every adapter keeps; and what does not keep them fails."""

from collections.abc import Mapping
from pathlib import Path

import pytest

from interlock.testing.adapter_contract import ADAPTER_CONTRACT, Otherwise, Play, Promise, keep, stops
from tests.adapters.plain_driver import Plain


@pytest.mark.parametrize("promise", ADAPTER_CONTRACT, ids=lambda promise: promise.__name__)
def test_the_plain_loop(promise: Promise, tmp_path: Path) -> None:
    keep(promise, Play(Plain(), tmp_path))


class Excused(Plain):
    """The plain loop, said to do something otherwise that it does like everybody."""

    def __init__(self, seen: Mapping[str, object]) -> None:
        self.exceptions = {"steps_are_limited": Otherwise("It is slow.", seen)}


@pytest.mark.parametrize("seen", [{"done": 3}, {"stop": "max_seconds"}])
def test_an_exception_that_is_not_so_fails(seen: Mapping[str, object], tmp_path: Path) -> None:
    with pytest.raises(AssertionError, match=f"{next(iter(seen))}: "):
        keep(stops.steps_are_limited, Play(Excused(seen), tmp_path))


def test_an_exception_that_says_what_everybody_does_is_none(tmp_path: Path) -> None:
    with pytest.raises(AssertionError, match="it is no exception"):
        keep(stops.steps_are_limited, Play(Excused({"done": 2}), tmp_path))
