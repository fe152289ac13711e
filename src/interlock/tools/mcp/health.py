"""How a connection stands.

Not a probe, and nothing decides by it: a call asks the connection itself. Law: the error in it is scrubbed.
"""

from __future__ import annotations

from enum import StrEnum

from msgspec import Struct


class State(StrEnum):
    """How a connection stands."""

    CONNECTING = "connecting"  #: not ready yet, for the first time
    READY = "ready"  #: open, and its tools are listed
    DOWN = "down"  #: it failed, and is tried again


class Health(Struct, frozen=True):
    """How an upstream stands, since when (microseconds), and what went wrong last (scrubbed)."""

    state: State
    since: int
    error: str = ""
