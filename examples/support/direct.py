"""The support agent with its tools called directly: what happens when nothing stands between a model and the world.

`python -m examples.support.direct [FOLDER]`, from the root of the checkout, after scripts/demo_setup.sh.
"""

import asyncio
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import TextIO

from mcp import Client, StdioServerParameters, stdio_client
from mcp.types import TextContent
from rich.console import Console
from rich.markup import escape

from examples.support.model import model
from examples.support.show import Shown
from examples.support.world import REQUEST, NotInstalled, World, build
from interlock.adapters.plain import Call, Message

MAX_STEPS = 50


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


async def use(clients: Mapping[str, Client], call: Call) -> str:
    """Performs a call. Nobody is asked."""
    upstream, _, tool = call.name.partition(".")
    result = await clients[upstream].call_tool(tool, dict(call.args))
    text = "\n".join(block.text for block in result.content if isinstance(block, TextContent))
    return f"Error: {text}" if result.is_error else text


async def converse(perform: Callable[[Call], Awaitable[str]], show: Callable[[Call, str], None]) -> str:
    """The smallest agent loop: ask the model, use the tool, tell the model."""
    messages = [Message("user", REQUEST)]
    for _ in range(MAX_STEPS):
        turn = model(messages)
        messages.append(Message("assistant", turn.text or "", turn.calls))
        if not turn.calls:
            return turn.text or ""
        for call in turn.calls:
            result = await perform(call)
            messages.append(Message("tool", result, call_id=call.id, name=call.name))
            show(call, result)
    raise RuntimeError(f"the model did not finish in {MAX_STEPS} steps")


async def run(world: World, shown: Shown) -> str:
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
        answer = await converse(lambda call: use(clients, call), show)
        shown.flush()
        return answer


def main() -> int:
    """Builds a world, lets the agent loose in it, and counts the damage."""
    console = Console()
    started = time.perf_counter()
    try:
        world = build(Path(sys.argv[1] if len(sys.argv) > 1 else tempfile.mkdtemp(prefix="interlock-direct-")))
        console.print(f"[bold]The support agent, tools called directly[/], in {world.root}", soft_wrap=True)
        answer = asyncio.run(run(world, Shown(console)))
    except (FileExistsError, NotInstalled) as error:
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
