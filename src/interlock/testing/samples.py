"""One value of every kind that a ledger keeps, hard ones among them.

Not realistic: chosen to break a store that quotes, truncates, rounds or confuses.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from msgspec import Raw

from interlock.core.approval import Answer, Approval, Card, Standing
from interlock.core.audit import Entry, Kind
from interlock.core.budget import Account, AccountKey, Amounts, Hold, Limits, Window
from interlock.core.call import Tool, ToolCall
from interlock.core.lifecycle import State
from interlock.core.record import Lease, Record
from interlock.core.run import Asking, Run, Step, Wanted
from interlock.core.switch import Mode, Scope, Switch
from interlock.core.verdict import Decision, Reason, Verdict
from interlock.ports import CallKey, Definition, HeadKey, Pin
from interlock.unit import Tx, Unit

#: names that a store must keep apart and give back as they were
HOSTILE = (
    "o'hara", 'say "hi"', "a\\b", "{a,b}", "NULL", "", " ", "%", "_", "a%", "é", "e\u0301", "İstanbul", "🧨", "a\nb",
    "';DROP TABLE runs;--", "$1", "?", ":x", "\t", "\u200b", "\ufeff", "ﬁ", "SELECT", "\x7f", "\uffff", "\U0010ffff",
    "x" * 900,
)
BIG = 2**63 - 1
ARGS: Mapping[str, Any] = {
    "text": "Grüße 🧨 \u0000 \" ' \\ \u2028", "big": 2**70, "low": -(2**63), "tiny": 5e-324, "half": 0.1, "none": None,
    "yes": True, "nested": {"": [[], {}, [None, 0, False, ""]]},
}
DECISION = Decision(Verdict.ALLOW, (Reason("allowed", Verdict.ALLOW, "allowed by 'kb.*'", "kb"),), "v1")


def run(tenant: str = "acme", run_id: str = "r1", *, opened_at: int = 1, **more: Any) -> Run:
    """A run."""
    fields: dict[str, Any] = {"deadline": BIG, "max_seconds": 300, "max_denials": 5, "max_repeats": 3, **more}
    return Run(
        tenant=tenant, run_id=run_id, agent="bot", env="prod", opened_at=opened_at, limits=Limits(tool_calls=12),
        policy_version="v1", **fields,
    )


def step(tenant: str = "acme", run_id: str = "r1", step_id: str = "s1") -> Step:
    """A step."""
    said = Asking(asked='[{"role": "user"}]', text="yes\x00 é", calls=(Wanted("k1", "ticket.read", "{"),), cut=True)
    return Step(
        tenant=tenant, run_id=run_id, step_id=step_id, began_at=1, hold=Hold(Amounts(steps=1), ()), model="m",
        asking=said,
    )


def record(
    tenant: str = "acme", run_id: str = "r1", key: str = "k1", *, fingerprint: str = "f1", asked_at: int = 1,
    lease_until: int | None = None, state: State = State.DONE, **more: Any,
) -> Record:
    """A call; leased where it has a lease."""
    call = ToolCall(tenant=tenant, agent="bot", env="prod", run_id=run_id, tool="t", args=ARGS, call_id=key, key=key)
    lease = None if lease_until is None else Lease("lease", lease_until)
    hold = Hold(Amounts(1, 1, BIG, 1), (AccountKey(tenant, "run", run_id, Window.RUN, 0),))
    return Record(
        call=call, fingerprint=fingerprint, state=State.LEASED if lease else state, decision=DECISION,
        asked_at=asked_at, lease=lease, hold=hold, result=Raw(b'{"a": [0, "", false, null]}'), **more,
    )


def call_key(of: Record) -> CallKey:
    """The key of a call."""
    return CallKey(of.call.tenant, of.call.run_id, of.call.key)


def approval(
    tenant: str = "acme", approval_id: str = "a1", *, standing: Standing = Standing.WAITING, asked_at: int = 1
) -> Approval:
    """An approval."""
    card = Card("t", "rule", "why?", ARGS, "write", "high", suspicious={"to": "kb 🧨"})
    return Approval(
        approval_id=approval_id, tenant=tenant, agent="bot", env="prod", run_id="r1", call_id="c1", key="k1", tool="t",
        digest="d", policy_version="v1", card=card, asked_at=asked_at, expires_at=BIG, quorum=2, standing=standing,
        requested_by=("mia",), answers=(Answer("ann", 2, yes=True, note="ok 'then'"),), edited={"amount": 2**65},
    )


def pin(tool: str = "crm.find") -> Pin:
    """A pinned definition."""
    return Pin(tool=tool, digest="d", definition=ARGS, accepted_at=1, accepted_by="mia")


def definition(name: str = "crm.find", digest: str = "d", *, at: int = 1) -> Definition:
    """What a tool said."""
    return Definition(name=name, digest=digest, at=at, tool=Tool(name="crm.find", schema=ARGS), said=("effect",))


def entry(tenant: str = "acme", number: int = 1, **more: Any) -> Entry:
    """An entry, not sealed yet."""
    return Entry(tenant=tenant, at=number, kind=Kind.DECIDED, key=str(number), args=Raw(b'{"to":"x"}'), **more)


def switch(switch_id: str = "w1", *, at: int = 1, scope: Scope | None = None, **more: Any) -> Switch:
    """A kill."""
    return Switch(switch_id, scope or Scope(tenant="acme"), Mode.ALL, "mia", "incident 'é' 🧨", at, **more)


ACCOUNT = Account(held=Amounts(1, 2, BIG, 4), spent=Amounts(usd=2**40), extra=Amounts(tokens=1))


def writes(tenant: str, *pairs: tuple[Any, Any]) -> Unit[None]:
    """A unit that puts these pairs of key and value, and names none of them but the tenant's head."""

    def put(tx: Tx) -> None:
        for key, value in pairs:
            tx.put(key, value)

    return Unit([HeadKey(tenant)], put)


def appends(tenant: str, *numbers: int) -> Unit[None]:
    """A unit that appends an entry for each number."""

    def append(tx: Tx) -> None:
        for number in numbers:
            tx.append(entry(tenant, number))

    return Unit([HeadKey(tenant)], append)


def counts(key: AccountKey) -> Unit[int]:
    """A unit that adds one to an account, and one entry."""

    def count(tx: Tx) -> int:
        account = (tx.get(key) or Account()).hold(Amounts(tool_calls=1))
        tx.put(key, account)
        tx.append(entry(key.tenant))
        return account.held.tool_calls

    return Unit([HeadKey(key.tenant), key], count)
