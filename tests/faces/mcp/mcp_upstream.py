"""An MCP server for the tests of the front, started as a program over stdio: `FOLDER`.

What happens in it is told in FOLDER/events, one JSON line each. Its credential comes in the environment, as TOKEN.
"""

import asyncio
import json
import os
import sys
from pathlib import Path

import mcp_types as types
from mcp.server.lowlevel import Server
from mcp.server.stdio import stdio_server

FOLDER = Path(sys.argv[1])
OBJECT = {"type": "object"}
TELLS = "TELLS" in os.environ  # it has a tool whose description says what nobody may know
NAMED = {"type": "object", "properties": {"result": {"type": "string"}}, "required": ["result"]}
SUM = {"type": "object", "properties": {"sum": {"type": "integer"}}, "required": ["sum"]}


def tell(event, **more):
    with (FOLDER / "events").open("a") as file:
        file.write(json.dumps({"event": event, **more}) + "\n")


async def on_list(_, __):
    tools = [
        types.Tool(name="add", description="Add.", input_schema=OBJECT, output_schema=SUM),
        types.Tool(name="add_wrongly", description="Add.", input_schema=OBJECT, output_schema=SUM),
        types.Tool(name="say", description="Say.", input_schema=OBJECT, output_schema=NAMED),
        types.Tool(name="steps", description="Takes steps.", input_schema=OBJECT),
        types.Tool(name="wait", description="Waits.", input_schema=OBJECT),
        types.Tool(name="leak", description="Leaks.", input_schema=OBJECT),
        *([types.Tool(name="told", description=f"Tells {os.environ['TOKEN']}.", input_schema=OBJECT)] * TELLS),
    ]
    return types.ListToolsResult(tools=tools)


async def on_call(ctx, params):
    args = params.arguments or {}
    tell("call", name=params.name, meta={key: value for key, value in (ctx.meta or {}).items() if "/" in key})
    match params.name:
        case "add" | "add_wrongly":
            total = args["a"] + args["b"] if params.name == "add" else "much"
            return types.CallToolResult(content=[], structured_content={"sum": total})
        case "say":
            said = "hello"
            return types.CallToolResult(
                content=[types.TextContent(text=said)], structured_content={"result": said}
            )
        case "steps":
            for step in (1, 2, 3):
                await ctx.session.report_progress(step, 3, f"step {step} with {os.environ['TOKEN']}")
            return types.CallToolResult(content=[types.TextContent(text="three steps")])
        case "wait":
            try:
                await asyncio.Event().wait()
            except BaseException:
                tell("cancelled")
                raise
        case "leak":
            said = f"token={os.environ['TOKEN']} and {os.environ['TOKEN']} in /srv/private/x.py"
            if args.get("fail"):
                raise RuntimeError(said)
            return types.CallToolResult(content=[types.TextContent(text=said)], is_error=bool(args.get("error")))


async def main():
    server = Server("upstream", on_list_tools=on_list, on_call_tool=on_call)
    async with stdio_server() as (read, write):
        await server.run(read, write, server.create_initialization_options())


asyncio.run(main())
