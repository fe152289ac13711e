"""The support agent with its tools called directly: what happens when nothing stands between a model and the world.

`python -m examples.support.direct [RUNTIME]`, from the root of the checkout, after scripts/demo_setup.sh.
"""

import asyncio
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Any, TextIO

from mcp import Client, StdioServerParameters, stdio_client
from mcp.types import TextContent, Tool
from rich.console import Console
from rich.markup import escape

from examples.support import bare
from examples.support.model import scripted
from examples.support.show import Shown
from examples.support.world import REQUEST, NotInstalled, World, build
from interlock.core.turn import Call


@asynccontextmanager
async def connected(command: list[str], errors: TextIO) -> AsyncIterator[Client]:
    """A client that stays open. One task opens, owns and closes it: mcp allows no other task to."""
    ready: asyncio.Future[Client] = asyncio.get_running_loop().create_future()
    over = asyncio.Event()

    async def own() -> None:
        server = StdioServerParameters(command=command[0], args=command[1:])
        try:
            # Both servers are of the handshake era; "auto" would ask them for server/discover first.
            async with Client(stdio_client(server, errlog=errors), mode="legacy") as client:
                ready.set_result(client)
                await over.wait()
        except BaseException as error:
            if ready.done():
                raise
            ready.set_exception(error)

    owner = asyncio.create_task(own())
    try:
        yield await ready
    finally:
        over.set()
        if ready.cancelled():  # we were, before the server answered
            owner.cancel()
        await asyncio.wait({owner})


async def use(clients: Mapping[str, Client], name: str, args: dict[str, Any]) -> str:
    """Performs a call. Nobody is asked."""
    upstream, _, tool = name.partition(".")
    result = await clients[upstream].call_tool(tool, args)
    text = "\n".join(block.text for block in result.content if isinstance(block, TextContent))
    return f"Error: {text}" if result.is_error else text


async def tools_of(clients: Mapping[str, Client]) -> list[Tool]:
    """All that they offer, each as `upstream.tool`."""
    return [
        tool.model_copy(update={"name": f"{name}.{tool.name}"})
        for name, client in clients.items() for tool in (await client.list_tools()).tools
    ]


async def run(world: World, shown: Shown, runtime: str = "plain") -> str:
    """Runs the agent in a world and shows every call. Returns what the agent says it did."""

    def show(call: Call, result: str) -> None:
        failed = result.startswith("Error")
        shown.call(call, "refused" if failed else "done", result if failed else "")

    async with AsyncExitStack() as stack:
        errors = stack.enter_context((world.root / "servers.log").open("w", encoding="utf-8"))
        clients = {
            name: await stack.enter_async_context(connected(command, errors))
            for name, command in world.commands().items()
        }
        agent, script, tools = bare.AGENTS[runtime], scripted(REQUEST, show), await tools_of(clients)
        answer = await agent(script, REQUEST, tools, lambda name, args: use(clients, name, args))
        shown.flush()
        return answer


def main() -> int:
    """Builds a world, lets the agent loose in it, and counts the damage."""
    console = Console()
    started = time.perf_counter()
    try:
        world = build(Path(tempfile.mkdtemp(prefix="interlock-direct-")))
        console.print(f"[bold]The support agent, tools called directly[/], in {world.root}", soft_wrap=True)
        answer = asyncio.run(run(world, Shown(console), *sys.argv[1:2]))
    except NotInstalled as error:
        console.print(f"[red]{escape(str(error))}[/]", soft_wrap=True)
        return 1
    damage = world.damage()
    console.print("\n[bold]The agent says:[/]")
    console.print(escape(answer), highlight=False, soft_wrap=True)
    console.print(
        f"\n[bold]The tracker says:[/] {damage.legitimate} ticket that a customer asked for, "
        f"[red]{damage.bogus} bogus tickets[/], [red]{damage.mails} mail with the customer list[/] "
        f"({time.perf_counter() - started:.1f} s)",
        highlight=False,
        soft_wrap=True,
    )
    return 0


if __name__ == "__main__":
    sys.exit(main())
