"""One tool of an upstream, as the gateway sees it.

Not the road to its server: see `upstream.py`. Law: a tool is its definition, and a definition that changes makes
another tool; what its server says of it can only make it stricter.
"""

from __future__ import annotations

from collections.abc import Awaitable, Mapping
from typing import TYPE_CHECKING, Any

import mcp_types as types
from mcp.shared.inbound import find_invalid_x_mcp_header, x_mcp_header_map
from msgspec.structs import replace

from interlock import pins
from interlock.core.call import Effect, Tool
from interlock.ports import Invocation
from interlock.tools.schema import ArgumentSchema
from interlock.tools.text import cleaned

if TYPE_CHECKING:  # they hold each other
    from interlock.tools.mcp.upstream import McpUpstream


class McpTool:
    """One tool of an upstream: a `ports.Performer`. A definition that changes makes another object."""

    __slots__ = ("_schema", "_upstream", "definition", "digest", "remote_name", "routed", "tool")

    def __init__(self, upstream: McpUpstream, tool: Tool, definition: pins.Definition, digest: str) -> None:
        self._upstream = upstream
        self._schema = ArgumentSchema(tool.schema, tool=tool.name)
        self.tool = tool
        self.definition = definition  #: raw, for `pins.observe`
        self.digest = digest  #: for `pins.problem`
        self.remote_name: str = definition["name"]
        self.routed = find_invalid_x_mcp_header(tool.schema) is not None or bool(x_mcp_header_map(tool.schema))

    @property
    def output_schema(self) -> Mapping[str, Any] | None:
        """JSON Schema of what it gives, where its server declares one, its prose made harmless."""
        declared = self.definition["output_schema"]
        return None if declared is None else cleaned(declared)

    @property
    def is_async(self) -> bool:
        """Always: `perform` gives an awaitable, for any event loop."""
        return True

    def problem(self, args: Mapping[str, Any]) -> str | None:
        """Why these arguments do not fit the tool's JSON Schema, or None."""
        return self._schema.problem(args)

    def ready(self, invocation: Invocation) -> Awaitable[None]:
        """Wait for the connection, without sending. Await this before the last look at the kill switches, so that
        `perform` has nothing left to wait for behind it. Raises NotDone."""
        return self._upstream.ready(invocation)

    def perform(self, invocation: Invocation) -> Awaitable[Any]:
        """Send it; where the connection is not ready, wait for it first. Raises NotDone, UpstreamError or ReplyLost.

        Cancelling the task that awaits it cancels the request upstream.
        """
        return self._upstream.call(self, invocation)


def tightened(tool: Tool, annotations: Mapping[str, Any]) -> Tool:
    """The tool as its owner declares it, or stricter where its server itself says so. Never milder."""
    effect = tool.effect
    if annotations.get("readOnlyHint") is False and not effect.writes:
        effect = Effect.WRITE
    if annotations.get("destructiveHint") is True:
        effect = Effect.IRREVERSIBLE
    return tool if effect is tool.effect else replace(tool, effect=effect)


def meta_for(invocation: Invocation) -> dict[str, str]:
    """What goes along with a call."""
    info = invocation.info
    return {
        "interlock/run_id": info.run_id,
        "interlock/call_id": info.call_id,
        "interlock/idempotency_key": info.key,
    }


def request_for(tool: McpTool, invocation: Invocation) -> types.CallToolRequest:
    meta: Any = meta_for(invocation)
    params = types.CallToolRequestParams(name=tool.remote_name, arguments=dict(invocation.args), _meta=meta)
    return types.CallToolRequest(params=params)
