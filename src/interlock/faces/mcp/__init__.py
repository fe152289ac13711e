"""The MCP front: every MCP client is a client of the gateway, over Streamable HTTP and over stdio.

Not an MCP server with tools of its own. Law: what is listed is a courtesy, what is called is weighed; who calls comes
from the credential; a credential never goes further than the door. Imports `mcp`, which takes most of a second: import
what is in here only where it is served.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from interlock.faces.http.service import Service
    from interlock.faces.mcp.door import McpFront

STATE_KEY = "INTERLOCK_STATE_KEY"  #: the variable with what processes that serve one address seal their states with


def app(service: Service) -> McpFront:
    """The ASGI application: mount its `routes`, and enter its `lifespan()` once."""
    from interlock.faces.mcp.door import McpFront

    return McpFront(service)
