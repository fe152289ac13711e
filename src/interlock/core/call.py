"""A tool, and one wish to use it.

Not the act of using it: that is `gateway.py`. Law: tenant, agent and env come from authentication or from the program
that embeds Interlock, never from a model; a tool's effect is declared by its owner, never by an upstream.
"""

from __future__ import annotations

from collections.abc import Mapping
from decimal import Decimal
from enum import StrEnum
from math import ceil
from typing import Any, Literal

from msgspec import Struct
from msgspec.structs import force_setattr

from interlock.core.canonical import canonical, digest

MICROS = 1_000_000  #: times are microseconds since 1970 in UTC, money is micro-dollars: integers both


class _Ranked(StrEnum):
    """A closed set whose members are declared from the mildest to the strictest."""

    @property
    def rank(self) -> int:
        """The place in the order of declaration, 0 for the mildest."""
        return _RANKS[self]

    def at_least(self, other: _Ranked) -> bool:
        """True where this member is as strict as the other, or stricter."""
        return _RANKS[self] >= _RANKS[other]


class Effect(_Ranked):
    """What a tool does to the world."""

    READ = "read"  #: looks, changes nothing
    EGRESS = "egress"  #: a read whose arguments leave the house: a URL fetched, a search sent out
    WRITE = "write"  #: changes something that can be changed back
    IRREVERSIBLE = "irreversible"  #: destroys, pays, publishes, changes credentials

    @property
    def writes(self) -> bool:
        """True where a lost reply leaves a doubt about the world."""
        return self is Effect.WRITE or self is Effect.IRREVERSIBLE


class Risk(_Ranked):
    """A tool's tier, given by its owner."""

    LOW = "low"  #: harmless
    MEDIUM = "medium"  #: the default
    HIGH = "high"  #: worth a second look
    CRITICAL = "critical"  #: worth a refusal, unless something says otherwise


_RANKS: dict[str, int] = {member: rank for kind in (Effect, Risk) for rank, member in enumerate(kind)}


class Role(StrEnum):
    """What an argument of a tool is."""

    DESTINATION = "destination"  #: where something goes: an address, a URL, an account
    OBJECT = "object"  #: what is acted upon
    AMOUNT = "amount"  #: how much
    COMMITMENT = "commitment"  #: what is promised or agreed to
    CONTENT = "content"  #: free text or data


class Cost(Struct, frozen=True, gc=False, forbid_unknown_fields=True):
    """What one call of a tool costs, beside the call itself."""

    usd: int = 0  #: micro-dollars; the fixed price, or the most that a tool which reports its cost may report
    argument: str = ""  #: the name of the argument that holds the price in dollars; "" where the price is fixed
    reported: bool = False  #: True: the tool reports what it cost, up to `usd`; unreported, all of it is spent


class Dedupe(Struct, frozen=True, gc=False):
    """Where a second call with the same fingerprint is answered from the record of the first."""

    scope: Literal["run", "tenant", "off"] = "off"
    window: int = 0  #: microseconds, for scope `tenant`


class Tool(Struct, frozen=True, gc=False, kw_only=True):
    """What the owner says of a tool. A tool that is declared nowhere counts as irreversible."""

    name: str
    effect: Effect = Effect.IRREVERSIBLE
    risk: Risk = Risk.MEDIUM
    schema: Mapping[str, Any] = {}  #: JSON Schema of the arguments
    description: str = ""
    timeout: int | None = None  #: microseconds; None: until the run's deadline
    dedupe: Dedupe | None = None  #: None: by effect
    idempotent: bool = False  #: the tool dedupes on our key, so an unknown may be performed again with the same key
    errors_mean_failed: bool = False  #: an exception of this write proves that nothing happened
    cost: Cost = Cost()
    credential: str = ""  #: name of the credential it is lent
    arguments: Mapping[str, Role] = {}
    trusted: bool = False  #: may what it returns be trusted as the user's own words are?
    schema_digest: str = ""

    def __post_init__(self) -> None:
        if not self.schema_digest:
            force_setattr(self, "schema_digest", digest(canonical(self.schema)))

    @property
    def deduping(self) -> Dedupe:
        """The dedupe in force: as declared, else within the run for writes and not at all for reads."""
        if self.dedupe is not None:
            return self.dedupe
        return DEDUPE_IN_RUN if self.effect.writes else DEDUPE_OFF


DEDUPE_IN_RUN = Dedupe("run")
DEDUPE_OFF = Dedupe("off")


class ToolCall(Struct, frozen=True, gc=False, kw_only=True):
    """One wish to use one tool, as the adapter, the face or the user's own loop brings it."""

    tenant: str
    agent: str
    env: str
    run_id: str
    tool: str
    args: Mapping[str, Any]
    call_id: str
    key: str
    runtime: str = ""
    step_id: str = ""


def fingerprint(call: ToolCall, schema_digest: str, arguments: bytes) -> str:
    """What makes two calls the same wish: tenant, env, tool, canonical arguments, tool schema. Never truncated.

    An approval is bound to the same digest.
    """
    return digest(call.tenant, call.env, call.tool, schema_digest, arguments)


def price_of(tool: Tool, args: Mapping[str, Any]) -> int:
    """What a call has to set aside, in micro-dollars, rounded up. Raises ValueError where an argument is no price."""
    if not tool.cost.argument:
        return tool.cost.usd
    price = args.get(tool.cost.argument)
    if isinstance(price, bool) or not isinstance(price, (int, float)) or not 0 <= price < float("inf"):
        raise ValueError(f"{tool.cost.argument!r} is the price of {tool.name} in dollars and must be a number from 0")
    return ceil(Decimal(str(price)) * MICROS)
