"""The promises of `ports.SwitchBoard`, as functions that anybody's switch board can be held to.

Not a test framework, and used like `conformance.py`: each function takes `open_board`. Law: a board that is used with
Interlock passes all of `BOARD_CONTRACT`, and of `SHARED_BOARD_CONTRACT` where several processes may open it.
"""

# ruff: noqa: S101  assertions are what this module is made of

from __future__ import annotations

from collections.abc import Callable
from contextlib import closing

from msgspec.structs import replace

from interlock.ports import SwitchBoard
from interlock.testing import samples
from interlock.testing.conformance import processes
from interlock.testing.samples import BIG, HOSTILE

OpenBoard = Callable[[], SwitchBoard]


def a_switch_holds_until_it_is_released(open_board: OpenBoard) -> None:
    with closing(open_board()) as board:
        first, second = samples.switch("w2", at=1), samples.switch("w1", at=2)
        board.put(second)
        board.put(first)
        assert board.active() == board.history() == (first, second)
        released = replace(first, released_at=BIG, released_by="mia", release_reason="over")
        board.put(released)
        assert board.active() == (second,)
        assert board.history() == (released, second)
    with closing(open_board()) as board:
        assert board.active() == (second,)
        assert board.history() == (released, second)


def hostile_switches_are_kept_apart(open_board: OpenBoard) -> None:
    with closing(open_board()) as board:
        switches = tuple(samples.switch(name, at=at) for at, name in enumerate(HOSTILE))
        for each in switches:
            board.put(each)
        assert board.active() == switches


def a_switch_is_seen_by_every_board_at_once(open_board: OpenBoard) -> None:
    with closing(open_board()) as one, closing(open_board()) as other:
        assert one.active() == ()
        for number in range(20):
            other.put(samples.switch("w", at=number))
            assert [each.at for each in one.active()] == [number]
            other.put(samples.switch("w", at=number, released_at=number))
            assert one.active() == ()


def a_switch_is_seen_in_every_process_at_once(open_board: OpenBoard) -> None:
    with closing(open_board()) as board, processes() as pool:
        assert board.active() == ()
        for number in range(5):
            pool.submit(_throw, open_board, number).result()
            assert [each.at for each in board.active()] == [number]


def _throw(open_board: OpenBoard, number: int) -> None:
    with closing(open_board()) as board:
        board.put(samples.switch("w", at=number))


BOARD_CONTRACT: tuple[Callable[[OpenBoard], None], ...] = (
    a_switch_holds_until_it_is_released,
    hostile_switches_are_kept_apart,
    a_switch_is_seen_by_every_board_at_once,
)
SHARED_BOARD_CONTRACT: tuple[Callable[[OpenBoard], None], ...] = (a_switch_is_seen_in_every_process_at_once,)
