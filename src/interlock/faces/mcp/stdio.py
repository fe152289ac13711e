"""The front for one desktop client, over standard input and output.

Not a service: there is one client, and whoever started us says in the config who it is. Law: nothing but JSON-RPC is
written to standard output; when the client closes its end, or says that we shall end, the gateway is closed.
"""

from __future__ import annotations

import asyncio
import os
import secrets
import signal
import threading
from typing import TYPE_CHECKING

from mcp.server.stdio import stdio_server

from interlock.core.principal import Principal, Role, problem_with
from interlock.errors import ConfigError
from interlock.faces.http.service import Service
from interlock.faces.mcp.front import Front
from interlock.faces.mcp.sdk import Caller, Protocol
from interlock.keyrings import identity_of
from interlock.stores.memory_keys import MemoryKeyRing

if TYPE_CHECKING:
    from interlock.gateway import Gateway


def caller_of(gateway: Gateway) -> Caller:
    """Who calls, as `serve.mcp` says. Each process is a connection."""
    said = gateway.config.serve.mcp
    who = Principal(name=said.agent, roles=(Role.AGENT,), tenant=said.tenant, agent=said.agent, env=said.env)
    problem = problem_with(who)
    if problem is not None:
        raise ConfigError(f"serve.mcp: {problem}")
    return Caller(who, {}, f"stdio {os.getpid()} {secrets.token_hex(8)}")


async def speak(gateway: Gateway) -> None:
    """Serve until the client closes our input."""
    service = Service(gateway, identity_of(gateway, MemoryKeyRing(), tokens=False))  # nobody shows a key here
    front = Front(service, gateway.config.serve.url or "")
    protocol = Protocol(front, caller_of(gateway))
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, threading.Thread(target=_end, args=(gateway,)).start)
    async with stdio_server() as (read, write):
        await protocol.server.run(read, write, protocol.server.create_initialization_options())


def _end(gateway: Gateway) -> None:
    """A thread waits for our input, and nothing but the end of the process ends that."""
    gateway.close()
    os._exit(0)
