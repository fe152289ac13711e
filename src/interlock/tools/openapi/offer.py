"""The tools that one line of `upstreams:` offers by its document. Nothing is connected to.

Not the pins and not the calls. Law: a method gives an operation its effect, and the owner's word goes before it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Protocol

from msgspec import Struct

from interlock.core.call import Tool
from interlock.errors import ToolError
from interlock.tools.openapi import source
from interlock.tools.openapi.document import Operation, effect_of, understood


class OpenApiSettings(Protocol):
    """One line of `upstreams:` with `openapi:`."""

    @property
    def name(self) -> str: ...
    @property
    def openapi(self) -> str | None: ...  # a URL, or a whole path
    @property
    def base_url(self) -> str | None: ...
    @property
    def allow_private(self) -> bool: ...
    @property
    def credential(self) -> str | None: ...
    @property
    def timeout(self) -> int: ...  # microseconds: of one call, where its tool declares none
    @property
    def response_bytes(self) -> int: ...


class Offer(Struct, frozen=True):
    """What a document comes to."""

    server: str
    tools: tuple[tuple[Operation, Tool], ...]
    refused: Mapping[str, str]  #: operations that are left out, and why


def offered(
    settings: OpenApiSettings, root: Mapping[str, Any], *, home: str | None = None, declare: Callable[[Tool], Tool]
) -> Offer:
    """The operations of a document that was read, as their owner declares them. Raises ToolError."""
    try:
        document = understood(
            root, base_url=settings.base_url, home=home, credential=settings.credential is not None
        )
    except ToolError as error:
        raise ToolError(f"{settings.openapi}: {error}") from None
    tools = ((each, declare(_tool(settings, each))) for each in document.operations)
    return Offer(document.server, tuple(tools), document.refused)


def in_file(settings: OpenApiSettings, declare: Callable[[Tool], Tool]) -> Offer | None:
    """The same, of a document in a file; None for one behind a URL. Raises ToolError."""
    if settings.openapi is None or is_url(settings.openapi):
        return None
    return offered(settings, source.read(Path(settings.openapi)), declare=declare)


def is_url(where: str | None) -> bool:
    """True where a document has to be fetched."""
    return where is not None and where.startswith(("http://", "https://"))


def _tool(settings: OpenApiSettings, operation: Operation) -> Tool:
    return Tool(
        name=f"{settings.name}.{operation.name}",
        effect=effect_of(operation, ours=settings.allow_private),
        schema=operation.takes.schema,
        description=operation.description,
        timeout=settings.timeout,
        credential=(settings.credential or "") if operation.lending else "",
    )
