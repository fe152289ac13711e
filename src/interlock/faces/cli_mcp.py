"""`interlock mcp --stdio`: the gateway as an MCP server that a desktop client starts.

Not the MCP front over HTTP, which is part of `interlock serve`. Law: whatever goes wrong is said on standard error:
standard output belongs to the protocol.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import sys
from typing import Annotated

import typer

from interlock.errors import ConfigError
from interlock.faces.cli_options import BEFORE
from interlock.faces.cli_options import Config as ConfigOption


def mcp(
    config: ConfigOption = None,
    stdio: Annotated[bool, typer.Option("--stdio", help="Speak over standard input and output.")] = False,
    app: Annotated[
        str | None,
        typer.Option("--app", metavar="MODULE:NAME", help="A program's Gateway, or what makes one."),
    ] = None,
) -> None:
    """Be an MCP server for a desktop client, which starts this. Who it is stands in the config, under serve.mcp."""
    if not stdio:
        raise ConfigError("say --stdio; over HTTP, MCP is part of: interlock serve")
    from interlock.faces.cli_serve import Asked, gateway_of

    given = config or BEFORE.get().config
    asked = Asked(
        config=str(given.absolute()) if given else None, host=None, port=None, workers=None, app=app,
        folder=os.getcwd(),  # noqa: PTH109  as it stands, not resolved
    )
    with contextlib.redirect_stdout(sys.stderr):  # a program that is imported may print
        gateway = gateway_of(asked)
    try:
        from interlock.faces.mcp.stdio import speak

        asyncio.run(speak(gateway))
    finally:
        gateway.close()
