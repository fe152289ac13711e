"""A gateway with two tools, and runs on it."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
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
def gateway() -> Iterator[Gateway]:
    with interlock.open(CONFIG) as opened:

        @opened.tool("desk.look", effect="read")
        async def look(at: int) -> str:
            """Look at something."""
            return f"seen {at}"

        @opened.tool("desk.note", effect="write")
        async def note(text: str) -> str:
            return f"noted {text}"

        yield opened


@pytest.fixture
def run(gateway: Gateway) -> Run:
    return gateway.run(agent="bot", tenant="acme", env="test")


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
