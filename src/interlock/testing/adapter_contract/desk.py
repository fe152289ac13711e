"""The tools of the contract: reads, writes, one that asks, some that break.

Not mocks: registered as anybody's tools are. Law: whatever one of them does to the world stands in the play's effects.
"""

from __future__ import annotations

import asyncio
import os
from typing import TYPE_CHECKING

from interlock.errors import NotDone

if TYPE_CHECKING:
    from interlock.testing.adapter_contract.play import Play


def furnish(play: Play) -> None:
    """Register them."""
    gateway = play.gateway

    @gateway.tool("desk.look", effect="read")
    def look(at: int = 0) -> str:
        play.did(f"look {at}")
        return f"seen {at}"

    @gateway.tool("desk.note", effect="write")
    async def note(text: str) -> dict[str, str]:
        play.did(f"note {text}")
        return {"noted": text}

    @gateway.tool("desk.pay", effect="irreversible")
    async def pay(amount: float) -> str:
        play.did(f"pay {amount}")
        return "paid"

    @gateway.tool("desk.break", effect="write")
    async def broken(how: str) -> None:
        play.did(f"break {how}")
        raise NotDone("the line was busy") if how == "softly" else OSError("the line went dead")

    @gateway.tool("desk.wait", effect="read")
    def wait(seconds: int) -> str:
        play.clock.advance(seconds)
        return "waited"

    @gateway.tool("desk.kill", effect="write")
    async def kill(text: str) -> str:
        play.did(f"kill {text}")
        gateway.control.kill(tenant="acme", reason="incident 7", by="oncall")
        await asyncio.sleep(3600)
        return "not killed"

    @gateway.tool("desk.die", effect="write")
    def die(text: str) -> str:
        first = f"die {text}" not in play.effects
        play.did(f"die {text}")
        if first:
            os._exit(9)
        return "lived"
