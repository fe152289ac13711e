"""A shop whose agents are recorded, and run again: its tools, and a ledger to record in."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import interlock
from interlock import Gateway, NotDone, Usage
from interlock.adapters.plain import Agent, Call, Result, drive
from interlock.config import Config, load
from interlock.core.trace import Trace
from interlock.replays import How, replay
from interlock.scripted import script
from interlock.testing import ManualClock
from interlock.traces import export

CONFIG: Mapping[str, Any] = {
    "ledger": "memory:",
    "policy": {
        "allow": ["ticket.*", "kb.search", "shaky", "slow"],
        "rules": [{"id": "late", "tools": ["ticket.note"], "when": "now.getHours() >= 22", "then": "deny"}],
    },
    "approvals": {"required_for": ["refund.pay"]},
    "prices": {"m": {"input": 1.0, "output": 10.0}},
    "tools": {"ticket.read": {"effect": "read"}, "kb.search": {"cost": {"usd": 0.001}}},
}
USAGE = Usage(input_tokens=900, output_tokens=60)
READ, SEARCH = Call("ticket.read", {"ticket": "17"}, "c1"), Call("kb.search", {"query": "refund"}, "c2")
PAY, NOTE = Call("refund.pay", {"order": "A-17", "amount": 20.0}, "c3"), Call("ticket.note", {"text": "paid"}, "c4")
ANSWER = "20 dollars were refunded."


class Shop:
    """What its tools did, and how they are."""

    def __init__(self) -> None:
        self.did: list[str] = []
        self.on_call: Callable[[str], None] = lambda _name: None

    def tools(self, gateway: Gateway) -> None:
        """Register them. What they return differs each time: a replay that really called them would be seen."""

        def did(name: str) -> int:
            self.did.append(name)
            self.on_call(name)
            return len(self.did)

        @gateway.tool("ticket.read", effect="read")
        def read(ticket: str) -> dict[str, Any]:
            return {"ticket": ticket, "seen": did("read")}

        @gateway.tool("kb.search", effect="read")
        async def search(query: str) -> list[int]:
            return [did("search")]

        @gateway.tool("ticket.note", effect="write")
        def note(text: str) -> str:
            return f"note {did('note')}"

        @gateway.tool("refund.pay", effect="irreversible", risk="high")
        def pay(order: str, amount: float) -> dict[str, int]:
            return {"receipt": did("pay")}

        @gateway.tool("shaky", effect="write")
        def shaky(how: str) -> None:
            did("shaky")
            raise NotDone("the line was busy") if how == "busy" else OSError("the line went dead")

        @gateway.tool("slow", effect="read")
        def slow() -> None:
            did("slow")
            raise TimeoutError("nobody answered")


class Recorder:
    """Records runs of the plain loop, in a ledger in memory, at a time that stands still."""

    def __init__(self, config: Mapping[str, Any] | None = None) -> None:
        self.clock, self.shop = ManualClock(), Shop()
        self.config = {**CONFIG, **(config or {})}
        self.gateway = interlock.open(self.config, clock=self.clock)
        self.shop.tools(self.gateway)

    def run(self, run_id: str = "r1", **more: Any) -> interlock.Run:
        """A run of it."""
        who = {"agent": "bot", "tenant": "acme", "env": "prod", "request": "Handle ticket 17.", "runtime": "plain"}
        return self.gateway.run(**{**who, "run_id": run_id, **more})

    def drive(self, *lines: Any, saved: str | None = None, model: str = "m", **more: Any) -> Result:
        """Let a script run."""
        agent = Agent(script(*lines, usage=USAGE), model, 200)
        return drive(self.run(**more), agent, "Handle ticket 17.", saved=saved)

    def trace(self, run_id: str = "r1") -> Trace:
        """What was recorded of it."""
        return export(self.gateway, "acme", run_id)


class Replayer:
    """Replays traces; `shop` is the one that must not be called."""

    def __init__(self, config: Mapping[str, Any] | None = None) -> None:
        self.shop, self.clock = Shop(), ManualClock()
        self.config: Config = load({**CONFIG, **(config or {})})
        self.agent: Any = None
        self.seen: list[Gateway] = []

    def factory(self, gateway: Gateway) -> Any:
        """An agent's program, as --agent names it."""
        self.seen.append(gateway)
        self.shop.tools(gateway)
        return self.agent

    def __call__(self, trace: Trace, *, bare: bool = False, **how: Any) -> Trace:
        """What comes of it."""
        return replay(trace, self.config, None if bare else self.factory, How(**how), self.clock)
