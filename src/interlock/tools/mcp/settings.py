"""What is configured of an upstream, and for whom a connection is.

Not its check: `config/` reads `upstreams:`, and McpUpstream refuses what cannot work. Law: no secret stands here,
only the name of a credential and the place where it goes.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Protocol

PLACEHOLDER = "{credential}"  #: in `env:` of an upstream with a command: here goes its credential

Scope = tuple[str, str]
SHARED: Scope = ("*", "*")  #: tenant and env of the connection that belongs to nobody in particular


class UpstreamSettings(Protocol):
    """One line of `upstreams:`, as `config/` hands it over."""

    @property
    def name(self) -> str: ...
    @property
    def command(self) -> tuple[str, ...] | None: ...
    @property
    def url(self) -> str | None: ...
    @property
    def env(self) -> Mapping[str, str]: ...
    @property
    def cwd(self) -> str | None: ...
    @property
    def timeout(self) -> int: ...  # microseconds: of one request, where its tool declares none
    @property
    def credential(self) -> str | None: ...
