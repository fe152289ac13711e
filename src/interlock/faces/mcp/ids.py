"""Which run and which call a request is about, as its client says.

Not whether that run is this client's (`which_run.py`). Law: what is said nearer to the call counts before what is said
of the connection: `_meta`, the baggage in it, the header of ours, the baggage header. A call is named in `_meta` alone.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from msgspec import Struct

from interlock.core.names import problem_of_name
from interlock.faces.http.baggage import call_in_baggage, run_in_baggage
from interlock.faces.http.problems import Problem

RUN_HEADER = "interlock-run-id"

CALL_IDS = ("interlock/call_id", "claudecode/toolUseId")


class Ids(Struct, frozen=True, gc=False):
    """What a client says of a call. "" where it says nothing."""

    run_id: str = ""
    call_id: str = ""
    key: str = ""


def ids_of(meta: Mapping[str, Any], headers: Mapping[str, str]) -> Ids:
    """Raises Problem 422 for what can be no name."""
    baggage = _said(meta, "baggage")
    run_id = (
        _said(meta, "interlock/run_id")
        or run_in_baggage(baggage)
        or headers.get(RUN_HEADER, "").strip()
        or run_in_baggage(headers.get("baggage", ""))
    )
    call_id = next((said for name in CALL_IDS if (said := _said(meta, name))), "") or call_in_baggage(baggage)
    key = _said(meta, "interlock/idempotency_key")
    for what, name in (("run_id", run_id), ("call_id", call_id), ("idempotency_key", key)):
        problem = problem_of_name(name, what) if name else None
        if problem is not None:
            raise Problem(422, "bad_request", problem)
    return Ids(run_id, call_id, key)


def _said(meta: Mapping[str, Any], name: str) -> str:
    said = meta.get(name)
    if said is None:
        return ""
    if not isinstance(said, str):
        raise Problem(422, "bad_request", f"_meta {name} must be text")
    return said
