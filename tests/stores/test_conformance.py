"""Every store keeps every promise of the ports."""

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from interlock.stores.memory import MemoryStore, MemorySwitchBoard
from interlock.stores.postgres import PostgresStore
from interlock.stores.postgres_switches import PostgresSwitchBoard
from interlock.testing import BOARD_CONTRACT, SHARED_BOARD_CONTRACT, SHARED_STORE_CONTRACT, STORE_CONTRACT


def name(promise: Any) -> str:
    return str(promise.__name__)


@pytest.fixture(params=["memory", "sqlite", "postgres"])
def kind(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture(params=["sqlite", "postgres"])
def shared_kind(request: pytest.FixtureRequest) -> str:
    return str(request.param)


def opener(kind: str, request: pytest.FixtureRequest, *, board: bool) -> Callable[[], Any]:
    if kind == "memory":
        only = MemorySwitchBoard() if board else MemoryStore()
        return lambda: only
    if kind == "postgres":
        return partial(PostgresSwitchBoard if board else PostgresStore, request.getfixturevalue("postgres_url"))
    from interlock.stores.sqlite import SqliteStore
    from interlock.stores.sqlite_switches import SqliteSwitchBoard

    folder: Path = request.getfixturevalue("tmp_path")
    return partial(SqliteSwitchBoard, folder / "board.db") if board else partial(SqliteStore, folder / "ledger.db")


@pytest.mark.parametrize("promise", STORE_CONTRACT, ids=name)
def test_store(promise: Callable[[Any], None], kind: str, request: pytest.FixtureRequest) -> None:
    promise(opener(kind, request, board=False))


@pytest.mark.parametrize("promise", SHARED_STORE_CONTRACT, ids=name)
def test_store_between_processes(
    promise: Callable[[Any], None], shared_kind: str, request: pytest.FixtureRequest
) -> None:
    promise(opener(shared_kind, request, board=False))


@pytest.mark.parametrize("promise", BOARD_CONTRACT, ids=name)
def test_board(promise: Callable[[Any], None], kind: str, request: pytest.FixtureRequest) -> None:
    promise(opener(kind, request, board=True))


@pytest.mark.parametrize("promise", SHARED_BOARD_CONTRACT, ids=name)
def test_board_between_processes(
    promise: Callable[[Any], None], shared_kind: str, request: pytest.FixtureRequest
) -> None:
    promise(opener(shared_kind, request, board=True))
