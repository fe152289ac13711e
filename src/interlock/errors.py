"""What Interlock raises.

A refusal is a value (`Denied`, `Pending`, `Stopped`), never one of these. An exception is somebody's mistake, or the
ledger being gone; its message names the thing and the remedy.

    InterlockError
    ├── ConfigError          interlock.yaml, a policy, a policy case or an argument of `open()` is wrong
    ├── ToolError            a tool cannot be registered as declared
    ├── KeyReused            one idempotency key, two different calls
    ├── CredentialError      a vault cannot, or must not, lend what a tool needs
    ├── LedgerUnavailable    the ledger cannot commit or be read; nothing new is performed
    ├── Refused              a person's act cannot be carried out (no such approval, already answered, own request…)
    ├── RunStopped           raised by `begin_step` alone: the run has a stop reason
    └── NotDone              raised by a *tool*: nothing happened, it is safe to say so
"""

from __future__ import annotations


class InterlockError(Exception):
    """The root of everything that Interlock raises."""


class ConfigError(InterlockError):
    """A file, a dict or an argument is not what it must be. The message names file, line, problem and nearest name."""


class ToolError(InterlockError):
    """A tool cannot be registered as declared: name taken, type hints without a JSON Schema, a generator…"""


class KeyReused(InterlockError):
    """The same key of the same run came with another tool or other arguments. Never answered from the record."""


class CredentialError(InterlockError):
    """A credential could not be lent: unset, unreadable, or a file that others may read. Never holds the value."""


class LedgerUnavailable(InterlockError):
    """The ledger cannot commit or be read. Where this is raised by a call, its effect was not begun,
    unless the message says that it was: then the call is settled as unknown when its lease runs out."""


class Refused(InterlockError):
    """A person's act (approve, reject, release, reconcile, top up, accept) is not possible; nothing was changed."""


class RunStopped(InterlockError):
    """The run has a stop reason; no further step begins. `reason` is the `StopReason`."""

    def __init__(self, reason: str, detail: str = "") -> None:
        super().__init__(f"the run has stopped: {reason}{f' ({detail})' if detail else ''}")
        self.reason = reason
        self.detail = detail


class NotDone(InterlockError):
    """A tool raises this to say that nothing happened: the call is `failed`, not `unknown`, and may be tried again."""
