"""A service for each test, over a ledger in memory; its clock stands still."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest

import interlock
from interlock.stores.memory import MemoryStore, MemorySwitchBoard
from interlock.testing import ManualClock
from tests.faces.http.house import House

Open = Callable[..., House]


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock()


@pytest.fixture
def open_house(clock: ManualClock) -> Iterator[Open]:
    """Opens services; with `store` and `board` on the ledger of one that was there before."""
    gateways: list[interlock.Gateway] = []

    def open_one(config: dict[str, Any] | None = None, **more: Any) -> House:
        more.setdefault("clock", clock)
        if "store" not in more:
            more["store"], more["board"] = MemoryStore(), MemorySwitchBoard()
        said = {"ledger": "memory:", "policy": {"allow": ["*"]}, **(config or {})}
        gateway = interlock.open(said, **more)
        gateways.append(gateway)

        @gateway.tool("add", effect="read")
        def add(a: int, b: int) -> int:
            return a + b

        return House(gateway)

    yield open_one
    for gateway in gateways:
        gateway.close()


@pytest.fixture
def house(open_house: Open) -> House:
    return open_house()


@pytest.fixture
def anyio_backend() -> str:
    """Tests that are marked `anyio` run in asyncio, which is what serves."""
    return "asyncio"
