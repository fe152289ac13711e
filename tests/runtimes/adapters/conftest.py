"""A gateway with two tools, and runs on it."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack
from typing import Any

import pytest

import interlock
from interlock import Gateway, Run, Usage
from interlock.core.turn import Call, Turn
from interlock.driving import Script

CONFIG: Mapping[str, Any] = {"ledger": "memory:", "policy": {"allow": ["desk.*"]}, "budgets": {"max_steps": 5}}
USAGE = Usage(input_tokens=100, output_tokens=50)
LOOK = Call("desk.look", {"at": 1}, "c1")


@pytest.fixture
def open_gateway() -> Iterator[Callable[..., Gateway]]:
    """Opens a gateway: `open_gateway(architecture={…})`."""
    with ExitStack() as opened:

        def open_(**more: Any) -> Gateway:
            gateway = opened.enter_context(interlock.open({**CONFIG, **more}))

            @gateway.tool("desk.look", effect="read")
            async def look(at: int) -> str:
                """Look at something."""
                return f"seen {at}"

            @gateway.tool("desk.note", effect="write")
            async def note(text: str) -> str:
                return f"noted {text}"

            return gateway

        yield open_


@pytest.fixture
def gateway(open_gateway: Callable[..., Gateway]) -> Gateway:
    return open_gateway()


@pytest.fixture
def run(gateway: Gateway) -> Run:
    return gateway.run(agent="bot", tenant="acme", env="test")


@pytest.fixture
def let_pass(open_gateway: Callable[..., Gateway]) -> Callable[..., Run]:
    """A run on a gateway whose config lets these pass around it."""

    def letting(*names: str) -> Run:
        gateway = open_gateway(architecture={"ungoverned": [*names]})
        return gateway.run(agent="bot", tenant="acme", env="test")

    return letting


@pytest.fixture
def says() -> Callable[..., Script]:
    """A script of these lines: a text, or calls."""

    def script(*lines: str | list[Call], usage: Usage | None = USAGE) -> Script:
        turns = iter(
            Turn(line, usage=usage, model="m") if isinstance(line, str) else Turn(None, tuple(line), usage, "m")
            for line in lines
        )
        return Script(say=lambda: next(turns), model="m", max_output_tokens=100)

    return script
