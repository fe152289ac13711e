"""The run that a W3C baggage names: the way that needs no hook in a runtime, where traces are on.

Not whether it is the caller's. Source: W3C Baggage, member `interlock.run_id`.
"""

from __future__ import annotations

from urllib.parse import unquote

RUN_MEMBER = "interlock.run_id"
MAX_BAGGAGE = 8_192  #: bytes, as the recommendation has it


def run_in_baggage(baggage: str) -> str:
    """The run id in it, or ""."""
    if RUN_MEMBER not in baggage or len(baggage) > MAX_BAGGAGE:
        return ""
    for member in baggage.split(","):
        name, _, value = member.partition(";")[0].partition("=")
        if name.strip() == RUN_MEMBER:
            return unquote(value.strip())
    return ""
