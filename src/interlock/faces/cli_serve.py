"""`interlock serve`: the gateway as a service, everything on one port.

Not the application (`faces/http/`). Law: it says where the console is and, the first time, an admin's key, once; it
does not begin where it could not keep its promises.
"""

from __future__ import annotations

import dataclasses
import os
import secrets
import signal
import sys
from collections.abc import Callable
from typing import TYPE_CHECKING, Annotated, Any

import msgspec
import typer
from msgspec import Struct

from interlock.errors import ConfigError
from interlock.faces.cli_open import imported, read_config
from interlock.faces.cli_options import BEFORE
from interlock.faces.cli_options import Config as ConfigOption
from interlock.faces.cli_print import say
from interlock.faces.mcp import STATE_KEY

if TYPE_CHECKING:
    from socket import socket

    from interlock.config import Config
    from interlock.config.serve import Serve
    from interlock.faces.http.app import App
    from interlock.gateway import Gateway
    from interlock.identity import Identity

HANDED_ON = "INTERLOCK_SERVE"  #: how a worker process learns what it serves


class Asked(Struct, frozen=True, kw_only=True):
    """What the command line says, for this process and its workers."""

    config: str | None
    host: str | None
    port: int | None
    workers: int | None
    app: str | None
    folder: str


def serve(
    config: ConfigOption = None,
    host: Annotated[str | None, typer.Option("--host", metavar="NAME", help="Where to listen.")] = None,
    port: Annotated[int | None, typer.Option("--port", min=0, max=65_535, help="0: any that is free.")] = None,
    workers: Annotated[
        int | None, typer.Option("--workers", min=1, max=64, help="Processes; several need PostgreSQL.")
    ] = None,
    app: Annotated[
        str | None,
        typer.Option("--app", metavar="MODULE:NAME", help="A program's Gateway, or what makes one."),
    ] = None,
) -> None:
    """Serve the gateway: HTTP API, MCP, model proxy and console, on one port."""
    from interlock.faces.http import doorstep, server

    given = config or BEFORE.get().config
    asked = Asked(
        config=str(given.absolute()) if given else None, host=host, port=port, workers=workers, app=app,
        folder=os.getcwd(),  # noqa: PTH109  as it stands, not resolved
    )
    gateway = gateway_of(asked)
    try:
        from interlock.keyrings import identity_of

        identity = identity_of(gateway)
        settings = gateway.config.serve
        doorstep.check(gateway, identity, settings.host, settings.workers)
        listening = server.listen(settings.host, settings.port)
        if settings.port == 0:
            gateway.config = _with(gateway.config, {"port": listening.getsockname()[1]})
        _welcome(gateway, identity.first_operator_key())
        server.allow_many_connections()
        if settings.workers == 1:
            _serve(gateway, identity, listening)
    finally:
        gateway.close()
    if settings.workers > 1:
        _supervise(asked, settings.workers, listening)


def _serve(gateway: Gateway, identity: Identity, listening: socket) -> None:
    import uvicorn

    from interlock.faces.http import logs, server, traces
    from interlock.faces.http.compose import compose

    logs.begin(gateway.redactor.redact_text)
    # uvicorn raises the signal again when it has ended: then there is still a gateway to be closed
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    signal.signal(signal.SIGINT, lambda *_: sys.exit(0))
    app = compose(gateway, identity, around=[server.settled_in(), traces.exported(gateway)])
    uvicorn.Server(server.settings_for(app)).run(sockets=[listening])


def gateway_of(asked: Asked) -> Gateway:
    """The gateway to serve: of the config, or the program's own."""
    import interlock

    said = {"host": asked.host, "port": asked.port, "workers": asked.workers}
    changed = {name: value for name, value in said.items() if value is not None}
    if asked.app is None:
        from pathlib import Path

        return interlock.open(_with(read_config(Path(asked.config) if asked.config else None), changed))
    made = _named(asked.app, asked.folder)
    gateway = made if isinstance(made, interlock.Gateway) else made()
    if not isinstance(gateway, interlock.Gateway):
        raise ConfigError(f"--app {asked.app} gives a {type(gateway).__name__}, not an interlock.Gateway")
    gateway.config = _with(gateway.config, changed)
    return gateway


def _named(app: str, folder: str) -> Any:
    found: Gateway | Callable[[], Gateway] = imported("--app", app, folder, like="shop.tools:gateway")
    if not callable(found) and not hasattr(found, "committer"):
        raise ConfigError(f"--app {app} is a {type(found).__name__}, neither a Gateway nor a function that makes one")
    return found


def _with(config: Config, changed: dict[str, Any]) -> Config:
    """The config with what the command line says of `serve:`."""
    settings: Serve = config.serve.model_copy(update=changed)
    return dataclasses.replace(config, serve=settings)


def _welcome(gateway: Gateway, key: str | None) -> None:
    from interlock.faces.http.service import url_of

    url = url_of(gateway.config.serve)
    say(f"Console and API: {url}/   (API: {url}/v1, MCP: {url}/mcp, what there is: {url}/openapi.json)")
    if key is not None:
        say("The first key, an admin's for every tenant, shown this once:")
        say(f"  {key}")
    sys.stdout.flush()


# --- several processes -----------------------------------------------------------------------------------------------


def _supervise(asked: Asked, workers: int, listening: socket) -> None:
    from uvicorn.supervisors import Multiprocess

    from interlock.faces.http import server

    os.environ[HANDED_ON] = msgspec.json.encode(asked).decode()
    os.environ.setdefault(STATE_KEY, secrets.token_hex(32))  # what one worker seals, another has to open
    settings = server.settings_for("interlock.faces.cli_serve:worker", workers=workers, factory=True)
    Multiprocess(settings, sockets=[listening]).run()


def worker() -> App:
    """The application of one worker process, with a gateway of its own, which ends with it."""
    import asyncio

    from interlock.faces.http import logs, server, traces
    from interlock.faces.http.compose import compose

    gateway = gateway_of(msgspec.json.decode(os.environ[HANDED_ON], type=Asked))
    logs.begin(gateway.redactor.redact_text)
    app = compose(gateway, around=[server.settled_in(), traces.exported(gateway)])

    async def close() -> None:
        await asyncio.to_thread(gateway.close)

    app.service.closing.insert(0, close)
    return app
