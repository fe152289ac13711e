"""The run, and the call, that a W3C baggage names: the way that needs no hook in a runtime, where traces are on.

Not whether they are the caller's. Source: W3C Baggage, members `interlock.run_id` and `interlock.call_id`.
"""

from __future__ import annotations

from urllib.parse import unquote

RUN_MEMBER = "interlock.run_id"
CALL_MEMBER = "interlock.call_id"
MAX_BAGGAGE = 8_192  #: bytes, as the recommendation has it


def run_in_baggage(baggage: str) -> str:
    """The run id in it, or ""."""
    return _member(baggage, RUN_MEMBER)


def call_in_baggage(baggage: str) -> str:
    """The call id in it, or ""."""
    return _member(baggage, CALL_MEMBER)


def _member(baggage: str, wanted: str) -> str:
    if wanted not in baggage or len(baggage) > MAX_BAGGAGE:
        return ""
    for member in baggage.split(","):
        name, _, value = member.partition(";")[0].partition("=")
        if name.strip() == wanted:
            return unquote(value.strip())
    return ""
