"""The seams between Interlock and what it stands on: ledger, switch board, vault, tool, clock.

Not an implementation of any. Law: a store keeps and finds, it decides nothing; each verb says here what it promises,
and the conformance suite in `testing.py` holds every store to it.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable, Iterator, Mapping, Sequence
from contextvars import ContextVar
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol

from msgspec import Raw, Struct

from interlock.core.approval import Standing
from interlock.core.audit import Sealed
from interlock.core.budget import AccountKey
from interlock.core.call import Tool
from interlock.core.principal import AccessKey
from interlock.core.record import NO_RESULT
from interlock.core.run import Run
from interlock.core.switch import Switch
from interlock.core.verdict import Reason

if TYPE_CHECKING:
    from interlock.core.approval import Approval
    from interlock.core.record import Record
    from interlock.core.run import Step
    from interlock.unit import Unit


# --- keys: what a row is found by. `tenant` leads every one; `kind` keeps equal names of different kinds apart --------


class HeadKey(NamedTuple):
    """The tip of a tenant's audit chain (`Head`). Whoever holds its row holds the tenant."""

    tenant: str
    kind: str = "head"


class RunKey(NamedTuple):
    """A run (`Run`)."""

    tenant: str
    run_id: str
    kind: str = "run"


class StepKey(NamedTuple):
    """A model turn (`Step`)."""

    tenant: str
    run_id: str
    step_id: str
    kind: str = "step"


class CallKey(NamedTuple):
    """A call (`Record`), by the key that makes it the same call when it comes again."""

    tenant: str
    run_id: str
    key: str
    kind: str = "call"


class ApprovalKey(NamedTuple):
    """An approval (`Approval`)."""

    tenant: str
    approval_id: str
    kind: str = "approval"


class PinKey(NamedTuple):
    """The accepted definition of an upstream's tool (`Pin`). Its tenant is `audit.SYSTEM`."""

    tenant: str
    tool: str
    kind: str = "pin"


class DefinitionKey(NamedTuple):
    """What a tool or a policy said (`Definition`), by its digest. Its tenant is `audit.SYSTEM`."""

    tenant: str
    name: str
    digest: str
    kind: str = "definition"


Key = HeadKey | RunKey | StepKey | CallKey | AccountKey | ApprovalKey | PinKey | DefinitionKey
"""Every kind of key; each kind has one kind of value, a frozen msgspec struct."""


class Pin(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """A tool's definition as it was accepted, and as its upstream shows it now where that differs."""

    tool: str
    digest: str
    definition: Mapping[str, Any]
    accepted_at: int
    accepted_by: str
    offered_digest: str = ""  #: "" where the upstream still shows what was accepted
    offered: Mapping[str, Any] = {}


class Definition(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What a tool or a policy said, kept so that a run can be read, and decided again, without the program."""

    name: str  #: of the tool; "" for a policy
    digest: str  #: of the tool's schema; for a policy its version
    at: int  #: when it was seen like this
    tool: Tool | None = None  #: as its code has it, before the config
    said: tuple[str, ...] | None = None  #: the fields that its code really gave; None: effect and risk
    policy: Raw = NO_RESULT  #: its canonical form


class Session(Protocol):
    """One open transaction of a store, as the unit of work (`unit.Tx`) sees it."""

    def load(self, keys: Sequence[Key]) -> Mapping[Key, Any]:
        """The values of those keys that exist, as committed by anyone before, and locked against other writers."""
        ...

    def same(self, tenant: str, run_id: str, fingerprint: str) -> Sequence[Record]:
        """The committed calls of one run that have this fingerprint, oldest first."""
        ...

    def same_in_tenant(self, tenant: str, fingerprint: str, since: int) -> Sequence[Record]:
        """The committed calls of a tenant with this fingerprint that are `tenant_wide` and were asked since a time,
        oldest first."""
        ...

    def calls_of(self, tenant: str, run_id: str) -> Sequence[Record]:
        """All committed calls of a run, oldest first."""
        ...


class Busy(Exception):
    """Somebody else is writing, and whoever asked would not wait. Nothing has begun."""


class Store(Protocol):
    """The ledger: runs, calls, accounts, approvals, and the audit.

    Every method may raise LedgerUnavailable, and nothing else, for trouble outside the program. All methods may be
    called from any thread.
    """

    @property
    def quick(self) -> bool:
        """True where a transaction waits for nothing but this machine's disk, and may be made on an event loop."""
        ...

    def transact(self, units: Sequence[Unit[Any]], *, wait: bool = True) -> list[Any]:
        """Run units of work in order, in ONE durable transaction, and give their values. `wait=False`: raises Busy at
        once where another process is writing.

        A later unit sees what an earlier one wrote. When this returns, all of it is durable. If a unit raises, or the
        commit fails, nothing lands and the exception comes out. Transactions on the same tenant exclude one another,
        between processes too.
        """
        ...

    def load(self, key: Key) -> Any | None:
        """The committed value of one key, outside any transaction."""
        ...

    def runs(self, tenant: str | None = None, *, limit: int = 100, before: int | None = None) -> Sequence[Run]:
        """Runs, the newest first; `before` (microseconds) pages on."""
        ...

    def calls_of(self, tenant: str, run_id: str) -> Sequence[Record]:
        """The calls of a run, oldest first."""
        ...

    def steps_of(self, tenant: str, run_id: str) -> Sequence[Step]:
        """The steps of a run, in the order in which they began."""
        ...

    def approvals(self, tenant: str | None = None, standing: Standing | None = None) -> Sequence[Approval]:
        """Approvals, oldest first."""
        ...

    def find_approval(self, approval_id: str) -> Approval | None:
        """One approval, by its id alone."""
        ...

    def lapsed(self, now: int, limit: int = 100) -> Sequence[Record]:
        """Calls that are leased, and whose lease ran out before `now`."""
        ...

    def accounts(self, tenant: str, since: int = 0) -> Iterable[tuple[AccountKey, Any]]:
        """The accounts of a tenant whose window began at or after a time."""
        ...

    def pins(self) -> Sequence[Pin]:
        """All pinned definitions."""
        ...

    def definitions(self) -> Sequence[Definition]:
        """All definitions, by name, the oldest first."""
        ...

    def tenants(self) -> Sequence[str]:
        """The tenants that have an audit chain, sorted; `audit.SYSTEM` among them once it has one."""
        ...

    def entries(self, tenant: str, after: int = 0, limit: int | None = None) -> Iterator[Sealed]:
        """The audit of a tenant in order, from the entry behind `after`. Streams: never holds the log in memory."""
        ...

    def close(self) -> None:
        """Let go of files and connections. What was committed stays."""
        ...


class SwitchBoard(Protocol):
    """Kill switches, apart from the ledger, so that they never queue behind its writers."""

    def active(self) -> tuple[Switch, ...]:
        """The switches in force, read uncached: a switch that any process has put before this began is in it."""
        ...

    def history(self) -> tuple[Switch, ...]:
        """All switches, released ones too, oldest first."""
        ...

    def put(self, switch: Switch) -> None:
        """Insert or replace one switch. When this returns, it is durable and `active()` shows it in every process."""
        ...

    def close(self) -> None:
        """Let go of files and connections."""
        ...


class KeyRing(Protocol):
    """Keys of agents and people, apart from the ledger, so that a revocation never queues behind its writers."""

    @property
    def waits(self) -> bool:
        """True where `find` may wait for a network, and is to be asked away from an event loop."""
        ...

    def find(self, key_id: str) -> AccessKey | None:
        """One key, read uncached: a revocation that any process has put before this began is in it."""
        ...

    def put(self, key: AccessKey) -> None:
        """Insert or replace one key. When this returns, it is durable and `find()` shows it in every process."""
        ...

    def keys(self) -> Sequence[AccessKey]:
        """All keys, revoked ones too, oldest first."""
        ...

    def close(self) -> None:
        """Let go of files and connections."""
        ...


class Clock(Protocol):
    """Where the time comes from."""

    def now(self) -> int:
        """Microseconds since 1970, UTC."""
        ...


class Vault(Protocol):
    """Where credentials come from. One that may have to wait for somebody else has `waits(name)` as well: where that is
    true, no event loop is kept waiting for it."""

    def lend(self, name: str, *, tenant: str, env: str) -> str:
        """The credential of that name for one call. Raises CredentialError; never logs or keeps the value."""
        ...


class Lost(Exception):
    """The effect began, and nobody will hear how it ended: whatever a tool declares of its errors, this is a doubt."""


class NotBegun(Exception):
    """Caught right before the effect."""

    def __init__(self, reason: Reason, detail: str = "") -> None:
        super().__init__(detail or reason.text)  # the detail is for operators
        self.reason = reason


Progress = Callable[[float, float | None, str], None]
"""Told how far an effect has come: so much, of so much where that is known, and words. Called from any thread."""

LISTENER: ContextVar[Progress | None] = ContextVar("interlock_progress", default=None)
"""Whoever makes a call and wants to hear of its progress sets this around it. A call that is replayed tells nothing."""


class CallInfo(Struct, frozen=True, kw_only=True):
    """What a tool may know of the call that it performs."""

    tenant: str
    agent: str
    env: str
    run_id: str
    step_id: str
    call_id: str
    key: str  #: the idempotency key to pass on: the same for every attempt of this call
    deadline: int  #: microseconds since 1970; the effect must be over by then
    attempt: int
    report_cost: Callable[[float], None]  #: dollars, for a tool with `cost: {reported: true}`
    listener: Progress | None = None

    def report_progress(self, progress: float, total: float | None = None, message: str = "") -> None:
        """Say how far it has come, to whoever made the call and listens."""
        if self.listener is not None:
            self.listener(progress, total, message)


class Invocation(Struct, frozen=True, kw_only=True):
    """One performance of one tool. Its credential is in no repr."""

    args: Mapping[str, Any]
    info: CallInfo
    credential: str | None = None

    def __repr__(self) -> str:
        return f"Invocation(run={self.info.run_id!r}, call={self.info.call_id!r})"


class Performer(Protocol):
    """Where a tool lives: a Python function, an MCP server, an HTTP API."""

    @property
    def tool(self) -> Tool:
        """What is said of the tool."""
        ...

    @property
    def is_async(self) -> bool:
        """True where `perform` gives an awaitable, to be awaited in an event loop; False where it blocks a thread."""
        ...

    def problem(self, args: Mapping[str, Any]) -> str | None:
        """Why these arguments do not fit the tool's JSON Schema, in words that a model can act on, or None."""
        ...

    def perform(self, invocation: Invocation) -> Any | Awaitable[Any]:
        """Do it. Raises NotDone to say that nothing happened; whatever else it raises leaves a write in doubt.

        A performer may have `async def ready(invocation)` beside it: awaited before the last look at the kill switches,
        it does all that may take long before anything begins (a connection, say). What it raises is not begun.
        """
        ...
