"""An MCP server on the SDK, over Streamable HTTP: `python -m benchmarks.mcp_upstream PORT`. Its one tool gives back."""

from __future__ import annotations

import sys
from typing import Any

import mcp_types as types
import uvicorn
from mcp.server.lowlevel import Server

SCHEMA = {"type": "object", "properties": {"text": {"type": "string"}}, "required": ["text"]}


async def on_list(_: Any, __: Any) -> types.ListToolsResult:
    """The one tool."""
    return types.ListToolsResult(tools=[types.Tool(name="echo", description="Gives back.", input_schema=SCHEMA)])


async def on_call(_: Any, params: types.CallToolRequestParams) -> types.CallToolResult:
    """What was said."""
    return types.CallToolResult(content=[types.TextContent(text=str((params.arguments or {}).get("text", "")))])


if __name__ == "__main__":
    server = Server("peer", on_list_tools=on_list, on_call_tool=on_call)
    uvicorn.run(server.streamable_http_app(), port=int(sys.argv[1]), log_level="error", access_log=False)
