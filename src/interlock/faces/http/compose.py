"""All faces as one application.

Not the faces. Law: here alone it is said what is served beside the API; each is a factory that takes the `Service`.
"""

from __future__ import annotations

from collections.abc import Iterable
from contextlib import AbstractAsyncContextManager
from typing import TYPE_CHECKING

from starlette.routing import BaseRoute

from interlock.core.call import Tool
from interlock.faces import console, mcp
from interlock.faces.http import proxy, slack
from interlock.faces.http.app import App
from interlock.faces.http.service import Service
from interlock.keyrings import identity_of
from interlock.metrics import Metrics
from interlock.tools.cooperative import RemoteTool

if TYPE_CHECKING:
    from interlock.gateway import Gateway
    from interlock.identity import Identity


def register_cooperative(gateway: Gateway) -> None:
    """The tools that the config says live in the agents' processes. Raises ToolError."""
    limits = gateway.config.limits
    for name, said in gateway.config.serve.cooperative.items():
        tool = Tool(name=name, description=said.description, schema=said.input_schema)
        remote = RemoteTool(tool, max_depth=limits.argument_depth, max_bytes=limits.argument_bytes)
        gateway.register(remote, said=())


def compose(
    gateway: Gateway, identity: Identity | None = None, *, around: Iterable[AbstractAsyncContextManager[None]] = ()
) -> App:
    """The application of a gateway, which it does not close. `around`: what is to be entered before it serves."""
    register_cooperative(gateway)
    service = Service(gateway, identity or identity_of(gateway))
    service.metrics = Metrics(gateway)
    front = mcp.app(service)
    mounted: list[BaseRoute] = [
        *front.routes, *proxy.routes(service), *slack.routes(service), *console.routes(service)
    ]
    return App(service, mounted=mounted, lifespans=[*around, front.lifespan()])
