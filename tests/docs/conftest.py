"""A gateway over a ledger in memory, as embedding.md tells people to test with."""

from collections.abc import Callable, Iterator
from typing import Any

import pytest

import interlock
from interlock.testing import ManualClock

HOME = {"agent": "bot", "tenant": "acme", "env": "prod"}
Opens = Callable[..., interlock.Gateway]


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock()


@pytest.fixture
def opens(clock: ManualClock) -> Iterator[Opens]:
    """Opens a gateway that allows everything, unless the config says otherwise."""
    opened: list[interlock.Gateway] = []

    def open_one(config: dict[str, Any] | None = None, **more: Any) -> interlock.Gateway:
        opened.append(
            interlock.open({"ledger": "memory:", "policy": {"allow": ["*"]}, **(config or {})}, clock=clock, **more)
        )
        return opened[-1]

    yield open_one
    for gateway in reversed(opened):
        gateway.close()
