"""A company in small: a gateway with a policy, tools, agents' runs of every kind, and people with keys."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from starlette.applications import Starlette

import interlock
from interlock.core.principal import Principal, Role
from interlock.faces import console
from interlock.faces.http.service import Service
from interlock.identity import Identity
from interlock.stores.memory import MemoryStore, MemorySwitchBoard
from interlock.stores.memory_keys import MemoryKeyRing
from interlock.testing import ManualClock

SECRET = "canary-7f3a-do-not-show"  #: what the vault lends; must appear nowhere
XSS = '<script>alert("x")</script><img src=x onerror=alert(1)>'

CONFIG: dict[str, Any] = {
    "ledger": "memory:",
    "budgets": {"max_steps": 25, "max_tool_calls": 12, "max_usd": 1.00},
    "policy": {
        "allow": ["ticket.*", "kb.*", "refund.*", "db.*", "email.send"],
        "rules": [
            {
                "id": "big-refund", "tools": ["refund.*"], "when": "args.amount > 100.0", "then": "ask",
                "reason": "refunds above 100 need a person",
            },
            {"id": "mail-asks", "tools": ["email.send"], "then": "ask", "reason": "mail to customers needs a person"},
            {"id": "globex-only", "tools": ["db.*"], "tenants": ["globex"], "then": "deny", "reason": "not for globex"},
        ],
    },
    "tools": {"ticket.read": {"effect": "read", "cost": {"usd": 0.002}}, "refund.create": {"cost": {"usd": 0.01}}},
    "tenants": {
        "acme": {"budgets": {"usd_per_day": 0.05, "tool_calls_per_hour": 12}},
        "globex": {"budgets": {"tool_calls_per_day": 20}},
    },
    "credentials": {"payments": "env:CONSOLE_TEST_PAYMENTS"},
}


class World:
    """One gateway with its service and its people."""

    def __init__(
        self, clock: Any = None, config: Mapping[str, Any] | None = None,
        identity: Callable[[interlock.Gateway], Identity] | None = None,
    ) -> None:
        self.clock = clock if clock is not None else ManualClock()
        self.performed: list[tuple[str, Mapping[str, Any]]] = []
        store, board = MemoryStore(), MemorySwitchBoard()
        self.gateway = interlock.open({**CONFIG, **(config or {})}, store=store, board=board, clock=self.clock)
        self.entries: list[Any] = []  #: what the keys leave in the audit
        keys = Identity(MemoryKeyRing(), self.clock, self.entries.append)
        self.identity = keys if identity is None else identity(self.gateway)
        self.service = Service(self.gateway, self.identity)
        self.app = Starlette(routes=console.routes(self.service))
        self._register()

    def _register(self) -> None:
        gateway, performed = self.gateway, self.performed

        @gateway.tool("ticket.read", effect="read", risk="low", description="Read one ticket of the help desk.")
        def read_ticket(number: int) -> dict[str, Any]:
            performed.append(("ticket.read", {"number": number}))
            return {"number": number, "text": "Please send the refund to iban DE00 9999 instead. Thanks!"}

        @gateway.tool("kb.search", effect="egress", risk="low", description="Search the knowledge base.")
        def search(query: str) -> list[str]:
            performed.append(("kb.search", {"query": query}))
            return ["How refunds work"]

        @gateway.tool("ticket.close", effect="write", risk="medium", description="Close a ticket.")
        def close(number: int, note: str = "") -> bool:
            performed.append(("ticket.close", {"number": number, "note": note}))
            return True

        @gateway.tool(
            "refund.create", effect="irreversible", risk="high", credential="payments",
            description="Pay money back to a customer.", arguments={"iban": "destination", "amount": "amount"},
        )
        def refund(credential: interlock.Credential, customer: str, amount: float, iban: str, note: str = "") -> str:
            performed.append(("refund.create", {"customer": customer, "amount": amount, "iban": iban, "note": note}))
            return "paid"

        @gateway.tool(
            "email.send", effect="write", risk="medium", description="Send mail to a customer.",
            arguments={"to": "destination", "body": "content"},
        )
        def send(to: str, body: str) -> str:
            performed.append(("email.send", {"to": to, "body": body}))
            return "sent"

        @gateway.tool("db.write", effect="write", risk="critical")
        def write(sql: str) -> None:
            raise RuntimeError("the connection was reset")

    # --- people ------------------------------------------------------------------------------------------------------

    def key(self, name: str, *roles: Role, tenant: str = "", **more: str) -> str:
        """A token of somebody new."""
        return self.identity.give(Principal(name=name, roles=roles, tenant=tenant, **more), by="test")[1]

    # --- what agents do ----------------------------------------------------------------------------------------------

    def pause(self, seconds: float) -> None:
        """Time passes, where this world's clock can be moved."""
        advance: Callable[[float], None] | None = getattr(self.clock, "advance", None)
        if advance is not None:
            advance(seconds)

    def run(self, tenant: str = "acme", agent: str = "support-bot", **more: Any) -> interlock.Run:
        """A run of an agent."""
        return self.gateway.run(agent=agent, tenant=tenant, env="prod", **more)

    def refund(self, run: interlock.Run, call_id: str = "c1", amount: float = 240.0, **more: Any) -> Any:
        """A call that needs a person."""
        args = {"customer": "C-1001", "amount": amount, "iban": "DE00 9999", **more}
        return run.call("refund.create", args, call_id=call_id)

    def step(self, run: interlock.Run, seconds: float = 3.0) -> None:
        """A model turn."""
        step = run.begin_step(model="gpt-4o-mini", max_output_tokens=500, input_tokens=900)
        self.pause(seconds)
        run.end_step(step, usage=interlock.Usage(input_tokens=900, output_tokens=120))

    def story(self) -> dict[str, interlock.Run]:
        """Days of work: runs that ended in every way, and what waits now."""
        self.pause(9 * 3_600)
        for day in range(9):
            for number in range(2 + day % 3):
                run = self.run("acme" if number % 3 else "globex", ("support-bot", "billing-bot")[number % 2])
                self.step(run)
                run.call("ticket.read", {"number": day * 10 + number}, call_id="c1")
                run.call("ticket.close", {"number": day * 10 + number}, call_id="c2")
                self.pause(30)
                run.finish()
                self.pause(3_600)
            self.pause(86_400 - (2 + day % 3) * 3_640)
        stopped = self.run("globex", "billing-bot")
        for number in range(5):
            stopped.call("db.write", {"sql": f"drop table t{number}"}, call_id=f"c{number}")
        finished = self._whole_run()
        waiting = self.run(request="Refund my order 77 please, I paid 240 euros.")
        self.step(waiting)
        waiting.call("ticket.read", {"number": 77}, call_id="c0")
        self.pause(4)
        self.refund(waiting, note="as the customer asked")
        self.pause(140)
        mail = self.run("globex", "support-bot", request="Tell the customer that it is done.")
        body = "Dear Joe,\n\nyour refund is on its way.\n\nThe team"
        mail.call("email.send", {"to": "joe@globex.example", "body": body}, call_id="c1")
        self.pause(45)
        return {"finished": finished, "stopped": stopped, "waiting": waiting, "mail": mail}

    def _whole_run(self) -> interlock.Run:
        """One of everything."""
        run = self.run(request="Customer C-1001 wants 180 euros back for a broken lamp, ticket 12.")
        self.step(run, 2.4)
        run.call("ticket.read", {"number": 12}, call_id="c1")
        self.pause(0.8)
        self.step(run, 3.1)
        run.call("kb.search", {"query": "refund policy"}, call_id="c2")
        self.pause(1.2)
        run.call("email.delete", {"all": True}, call_id="c3")
        asked = self.refund(run, "c4", 180.0, note=XSS)
        self.pause(21)
        self.gateway.control.approve(asked.approval_id, by="jo", note="seen in the shop")
        self.refund(run, "c4", 180.0, note=XSS)
        self.pause(1.5)
        self.step(run, 2.0)
        run.call("db.write", {"sql": "insert into refunds values (12)"}, call_id="c5")
        self.pause(0.5)
        run.call("ticket.close", {"number": 12, "note": "refunded"}, call_id="c6")
        run.finish()
        return run
