"""Tools that live in MCP servers: one client that stays open, and one task that owns it, for each upstream.

Not the governing of them: effects are declared by their owner, definitions are pinned by `pins.py`. What a server says
is hostile text. Law: a call is sent only over a connection whose newest listing shows the tool exactly as the gateway
knows it; NotDone is raised only where it is proven that nothing was sent, or that the server refused before acting.
Imports `mcp`, which takes most of a second: import this package only where an upstream is configured.
"""

from __future__ import annotations

from interlock.tools.mcp.health import Health, State
from interlock.tools.mcp.reply import ReplyLost, UpstreamError
from interlock.tools.mcp.settings import SHARED, Scope, UpstreamSettings
from interlock.tools.mcp.tool import McpTool
from interlock.tools.mcp.upstream import McpUpstream

__all__ = [
    "McpUpstream",
    "McpTool",
    "UpstreamSettings",
    "UpstreamError",
    "ReplyLost",
    "State",
    "Health",
    "Scope",
    "SHARED",
]
