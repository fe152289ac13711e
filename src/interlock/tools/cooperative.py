"""A tool that lives in the agent's own process: the gateway decides, sets aside and records, the client performs.

Not a way to perform it here. Law: whatever reaches `perform` was not begun; such a tool is admitted and settled over
HTTP (`…/calls/admit`, `…/settle`), and the gateway has no more than the client's word for what became of it.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NoReturn

from interlock.core.call import Tool
from interlock.errors import NotDone
from interlock.ports import Invocation, Performer
from interlock.tools.schema import ArgumentSchema


class RemoteTool:
    """A `ports.Performer` that performs nothing. Register it with a gateway that serves."""

    is_async = False

    def __init__(self, tool: Tool, *, max_depth: int = 32, max_bytes: int = 262_144) -> None:
        self.tool = tool
        self._schema = ArgumentSchema(tool.schema, tool=tool.name, max_depth=max_depth, max_bytes=max_bytes)

    def problem(self, args: Mapping[str, Any]) -> str | None:
        """See `ports.Performer`."""
        return self._schema.problem(args)

    def perform(self, invocation: Invocation) -> NoReturn:  # noqa: ARG002  nothing is done with it
        """Say that nothing happened."""
        raise NotDone(f"{self.tool.name} lives in the agent's own process: admit it, perform it there, settle it")

    def __repr__(self) -> str:
        return f"RemoteTool({self.tool.name!r})"


def is_cooperative(performer: Performer) -> bool:
    """True where the agent's process performs: what it says of the effect is all that is known."""
    return isinstance(performer, RemoteTool)
