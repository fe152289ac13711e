"""Interlock: the control layer that a team owns between its AI agents and the world.

A newcomer learns four words: `Gateway` (made by `open()`), `Run`, policy (interlock.yaml) and `Outcome`. The rest is
errors, and what a tool may ask for in its signature.
"""

from interlock.assemble import open  # noqa: A004  reads as interlock.open()
from interlock.client import connect
from interlock.core.outcome import Denied, Done, Failed, Outcome, Pending, Stopped, Unknown
from interlock.core.turn import Turn as Turn  # for whoever writes an adapter, so not among the names below
from interlock.core.turn import Usage
from interlock.core.verdict import StopReason
from interlock.errors import (
    ConfigError,
    CredentialError,
    InterlockError,
    KeyReused,
    LedgerUnavailable,
    NotDone,
    Refused,
    RunStopped,
    ToolError,
)
from interlock.gateway import Gateway
from interlock.ports import CallInfo
from interlock.reports import Report
from interlock.runs import Run
from interlock.tools.python import Credential

__all__ = [
    "CallInfo",
    "ConfigError",
    "Credential",
    "CredentialError",
    "Denied",
    "Done",
    "Failed",
    "Gateway",
    "InterlockError",
    "KeyReused",
    "LedgerUnavailable",
    "NotDone",
    "Outcome",
    "Pending",
    "Refused",
    "Report",
    "Run",
    "RunStopped",
    "StopReason",
    "Stopped",
    "ToolError",
    "Unknown",
    "Usage",
    "connect",
    "open",
]
