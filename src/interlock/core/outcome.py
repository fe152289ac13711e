"""The six ways in which a call ends, for whoever made it.

Not an exception, whatever happened. Law: `text` is all that a model may see; it says what happened to the world, and
what the model may do now.
"""

from __future__ import annotations

from typing import Any

from msgspec import Struct

from interlock.core.verdict import Decision, StopReason


class Outcome(Struct, frozen=True, gc=False, kw_only=True, tag_field="kind"):
    """What became of a call."""

    call_id: str
    decision: Decision
    text: str
    value: Any = None  #: what the tool returned, as JSON has it
    replayed: bool = False  #: answered from the record: nothing was performed or spent now
    approval_id: str | None = None
    stop_reason: StopReason | None = None

    @property
    def kind(self) -> str:
        """done, failed, unknown, denied, pending or stopped."""
        return str(self.__struct_config__.tag)


class Done(Outcome, frozen=True, gc=False, kw_only=True, tag="done"):
    """Performed, once."""


class Failed(Outcome, frozen=True, gc=False, kw_only=True, tag="failed"):
    """Tried, and known not to have happened (for a read: it gave nothing)."""


class Unknown(Outcome, frozen=True, gc=False, kw_only=True, tag="unknown"):
    """It may have happened or not. It is never tried again on its own; a person reconciles it."""


class Denied(Outcome, frozen=True, gc=False, kw_only=True, tag="denied"):
    """Not performed; the run goes on."""


class Pending(Outcome, frozen=True, gc=False, kw_only=True, tag="pending"):
    """Not performed yet: a person is asked. The same call, sent again after the answer, is weighed afresh."""


class Stopped(Outcome, frozen=True, gc=False, kw_only=True, tag="stopped"):
    """Not performed: the run is over, for `stop_reason`."""
