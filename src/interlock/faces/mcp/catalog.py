"""Which tools a principal is shown, and under which names.

Not the permission to use one: a call is weighed by the gateway whatever was listed. Law: a tool that policy surely
denies to this tenant, agent and env is not shown; what is shown of a tool is what its owner declares, never an
upstream's hints.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, NamedTuple

import msgspec
from msgspec import Raw

from interlock.check import surely_denied
from interlock.core.call import Effect, Tool, ToolCall
from interlock.core.names import MAX_PLAIN, digest_of, spelled
from interlock.core.principal import Principal
from interlock.errors import ToolError
from interlock.tools.schema import ArgumentSchema

if TYPE_CHECKING:
    from interlock.gateway import Gateway, Registered

RUNTIME = "mcp"  #: as policies know the runs of this front
PRINCIPALS = 1_024  #: whose lists are kept
OUTPUT_BYTES = 16 * 1024 * 1024
OUTPUT_DEPTH = 80


class Output:
    """What a tool declares that it gives, and how its value is put into that shape again."""

    def __init__(self, schema: Mapping[str, Any], tool: str) -> None:
        self._schema = ArgumentSchema(schema, tool=tool, max_bytes=OUTPUT_BYTES, max_depth=OUTPUT_DEPTH)
        required, properties = schema.get("required", ()), schema.get("properties", {})
        only = list(required if len(required) == 1 else properties if len(properties) == 1 else ())
        self._wrap = str(only[0]) if only else ""
        self.schema = schema

    def shaped(self, value: Any) -> dict[str, Any] | None:
        """The value as structured content, or None where it does not fit what was declared."""
        if not isinstance(value, dict) and self._wrap:  # an upstream's `{"result": text}` is kept as the text
            value = {self._wrap: value}
        return value if isinstance(value, dict) and self._schema.problem(value) is None else None


class Offer(NamedTuple):
    """One tool as clients see it."""

    registered: Registered
    wire: dict[str, Any]
    output: Output | None
    routed: bool  #: its schema wants arguments repeated in headers, which the SDK checks


class Listing(NamedTuple):
    """What one principal is shown, and the same as JSON."""

    tools: list[dict[str, Any]]
    raw: Raw


class Catalog:
    """The tools of a gateway, as this front shows them."""

    def __init__(self, gateway: Gateway) -> None:
        self._gateway = gateway
        self._seen = -1  # how far the gateway's tools had come when these were made
        self._offers: dict[str, Offer] = {}
        self._names: dict[str, str] = {}  # what a client may say → the tool's name
        self._lists: OrderedDict[tuple[str, str, str, bool], Listing] = OrderedDict()

    def shown_to(self, who: Principal, *, plain: bool = False) -> Listing:
        """The tools for one principal. `plain`: with names for clients that dislike dots."""
        self._catch_up()
        key = (who.tenant, who.agent, who.env, plain)
        found = self._lists.get(key)
        if found is None:
            tools = [self._named(offer, plain) for offer in self._usable(who)]
            found = self._lists[key] = Listing(tools, Raw(msgspec.json.encode(tools)))
            if len(self._lists) > PRINCIPALS:
                self._lists.popitem(last=False)
        return found

    def name_of(self, said: str) -> str:
        """The tool that a client means; what it said, where there is none."""
        if said in self._gateway.tools:
            return said
        self._catch_up()
        return self._names.get(said, said)

    def offer(self, name: str) -> Offer | None:
        """One tool, by its own name."""
        self._catch_up()
        return self._offers.get(name)

    def _catch_up(self) -> None:
        """Upstreams come, change and go; a change makes the lists anew."""
        if self._seen == self._gateway.shown:
            return
        self._seen, tools = self._gateway.shown, list(self._gateway.tools.values())
        known = self._offers
        self._offers = {}
        for each in tools:
            old = known.get(each.tool.name)
            unchanged = old is not None and old.registered is each and old.registered.tool is each.tool
            self._offers[each.tool.name] = old if old is not None and unchanged else _offer(each)
        self._names = {}
        for plain in (False, True):
            for name in self._offers:
                self._names.setdefault(spelled(name, plain=plain), name)
        self._lists.clear()

    def _usable(self, who: Principal) -> list[Offer]:
        wish = ToolCall(
            tenant=who.tenant, agent=who.agent, env=who.env, run_id="", tool="", args={}, call_id="", key="",
            runtime=RUNTIME,
        )
        policy = self._gateway.config.policy
        return [
            offer
            for offer in self._offers.values()
            if not offer.registered.problem and not surely_denied(policy, offer.registered.tool, wish)
        ]

    def _named(self, offer: Offer, plain: bool) -> dict[str, Any]:
        name = offer.registered.tool.name
        said = spelled(name, plain=plain)
        if self._names.get(said) != name:  # two tools would have this name
            said = f"{said[:MAX_PLAIN - 9]}-{digest_of(name)}"
            self._names[said] = name
        return offer.wire if said == offer.wire["name"] else {**offer.wire, "name": said}


def _offer(registered: Registered) -> Offer:
    tool, declared = registered.tool, getattr(registered.performer, "output_schema", None)
    output = _output(declared, tool.name)
    wire: dict[str, Any] = {
        "name": spelled(tool.name, plain=False),
        "description": tool.description,
        "inputSchema": {**tool.schema, "type": "object"},
        "annotations": hints(tool),
        "_meta": {"interlock/effect": str(tool.effect), "interlock/risk": str(tool.risk)},
    }
    if output is not None:
        wire["outputSchema"] = {**output.schema}
    return Offer(registered, wire, output, _has_key(tool.schema, "x-mcp-header"))


def hints(tool: Tool) -> dict[str, Any]:
    """MCP's hints, from the effect that is in force here."""
    said: dict[str, Any] = {"readOnlyHint": not tool.effect.writes}
    if tool.effect.writes:
        said["destructiveHint"] = tool.effect is Effect.IRREVERSIBLE
        said["idempotentHint"] = tool.idempotent
    if tool.effect is Effect.EGRESS:
        said["openWorldHint"] = True
    return said


def _output(schema: Any, tool: str) -> Output | None:
    """What is declared, where it can be held to; a declaration that cannot be compiled is not repeated."""
    if not isinstance(schema, Mapping) or schema.get("type") != "object":
        return None
    try:
        return Output(schema, tool)
    except (ToolError, TypeError, ValueError):
        return None


def _has_key(node: Any, key: str) -> bool:
    if isinstance(node, Mapping):
        return key in node or any(_has_key(child, key) for child in node.values())
    return isinstance(node, list) and any(_has_key(child, key) for child in node)
