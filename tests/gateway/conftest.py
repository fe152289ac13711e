"""A gateway through its public face, over a ledger in memory and over one in a SQLite file; its clock stands still."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

import interlock
from interlock.stores.memory import MemoryStore, MemorySwitchBoard
from interlock.testing import ManualClock

HOME = {"agent": "bot", "tenant": "acme", "env": "prod"}


class House:
    """Opens gateways on one ledger, again and again, as a program that restarts does."""

    def __init__(self, kind: str, folder: Path, clock: ManualClock) -> None:
        self.kind = kind
        self.folder = folder
        self.clock = clock
        self._memory = (MemoryStore(), MemorySwitchBoard())
        self._opened: list[interlock.Gateway] = []

    @property
    def config(self) -> dict[str, Any]:
        if self.kind == "memory":
            return {"ledger": "memory:", "policy": {"allow": ["*"]}}
        url = f"sqlite:///{self.folder / 'ledger.db'}"
        return {"ledger": {"url": url, "synchronous": "off"}, "policy": {"allow": ["*"]}}

    def open(self, config: dict[str, Any] | None = None, **more: Any) -> interlock.Gateway:
        """A gateway that allows everything, unless the config says otherwise."""
        more.setdefault("clock", self.clock)
        if self.kind == "memory" and "store" not in more:
            more["store"], more["board"] = self._memory
        gateway = interlock.open({**self.config, **(config or {})}, **more)
        self._opened.append(gateway)
        return gateway

    def parts(self) -> tuple[Any, Any]:
        """The store and the switch board that a gateway of this house would have."""
        if self.kind == "memory":
            return self._memory
        from interlock.stores.sqlite import SqliteStore
        from interlock.stores.sqlite_switches import SqliteSwitchBoard

        path = self.folder / "ledger.db"
        board = SqliteSwitchBoard(path.with_name(path.name + ".switches"))
        return SqliteStore(path, synchronous="off"), board

    def close(self) -> None:
        for gateway in reversed(self._opened):
            gateway.close()
        self._opened.clear()


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock()


@pytest.fixture(params=["memory", "sqlite"])
def house(request: pytest.FixtureRequest, tmp_path: Path, clock: ManualClock) -> Iterator[House]:
    opened = House(request.param, tmp_path, clock)
    yield opened
    opened.close()


@pytest.fixture
def one_house(tmp_path: Path, clock: ManualClock) -> Iterator[House]:
    """Over SQLite alone, where the promise does not depend on the ledger."""
    opened = House("sqlite", tmp_path, clock)
    yield opened
    opened.close()


@pytest.fixture
def gw(house: House) -> interlock.Gateway:
    return house.open()


@pytest.fixture
def start() -> Callable[..., interlock.Run]:
    """A run of `bot` for `acme` in `prod`, unless told otherwise."""

    def open_run(gateway: interlock.Gateway, **more: Any) -> interlock.Run:
        return gateway.run(**{**HOME, **more})

    return open_run
