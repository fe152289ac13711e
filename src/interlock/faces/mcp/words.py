"""Outcomes in MCP's words: the result of `tools/call`.

Not an error of JSON-RPC, ever: that would end the run of a client that could go on. Law: all that a model may see of an
outcome is its text; what a program may want to know of it stands in `_meta`.
"""

from __future__ import annotations

from typing import Any

import msgspec

from interlock.core.outcome import Outcome
from interlock.faces.http.problems import Problem
from interlock.faces.mcp.catalog import Output

APPROVAL_REQUIRED = (
    "APPROVAL_REQUIRED {id}. Not executed. A person has to approve this call first{where}. Do not send it in other"
    " words; once it is approved, send the same call again, and it is done once."
)
MISFIT = "DONE, but what it gave does not fit what the tool declares, so it is shown as text alone: "


def result_of(outcome: Outcome, run_id: str, output: Output | None, page: str) -> dict[str, Any]:
    """The result of one call. `page`: where people answer approvals, or ""."""
    meta: dict[str, Any] = {
        "interlock/outcome": outcome.kind, "interlock/run_id": run_id, "interlock/call_id": outcome.call_id,
    }
    if outcome.stop_reason is not None:
        meta["interlock/stop_reason"] = str(outcome.stop_reason)
    if outcome.approval_id is not None:
        meta["interlock/approval_id"] = outcome.approval_id
    if outcome.replayed:
        meta["interlock/replayed"] = True
    if outcome.kind == "pending":
        where = f", at {page}/approvals/{outcome.approval_id}" if page else ""
        return _refusal(APPROVAL_REQUIRED.format(id=outcome.approval_id, where=where), meta)
    if outcome.kind != "done":
        return _refusal(outcome.text, meta)
    value = outcome.value
    if output is not None:
        shaped = output.shaped(value)
        if shaped is None:  # a client would refuse the whole answer over it, and the model would think it undone
            return _refusal(MISFIT + outcome.text, meta)
        return {**_said(outcome.text), "structuredContent": shaped, "isError": False, "_meta": meta}
    blocks = blocks_of(value)
    if blocks is not None:
        return {"content": blocks, "isError": False, "_meta": meta}
    if isinstance(value, dict):
        return {**_said(outcome.text), "structuredContent": value, "isError": False, "_meta": meta}
    return {**_said(outcome.text), "isError": False, "_meta": meta}


def blocks_of(value: Any) -> list[dict[str, Any]] | None:
    """MCP's own content, where a tool has given that: `{"blocks": […]}`, with a `text` before them or without."""
    if not isinstance(value, dict) or not isinstance(value.get("blocks"), list) or value.keys() - {"text", "blocks"}:
        return None
    try:
        blocks = msgspec.convert(value["blocks"], list[_Picture | _Sound | _Resource | _Text])
        said = [_Text(text=msgspec.convert(value["text"], str))] if value.get("text") else []
    except msgspec.ValidationError:  # as with what an upstream gave: a summary of its blocks, not their bytes
        return None
    return msgspec.to_builtins([*said, *blocks])  # type: ignore[no-any-return]


class _Picture(msgspec.Struct, frozen=True, tag="image", rename="camel", forbid_unknown_fields=True):
    data: str
    mime_type: str


class _Sound(msgspec.Struct, frozen=True, tag="audio", rename="camel", forbid_unknown_fields=True):
    data: str
    mime_type: str


class _Text(msgspec.Struct, frozen=True, tag="text", forbid_unknown_fields=True):
    text: str


class _Contents(msgspec.Struct, frozen=True, rename="camel", forbid_unknown_fields=True, omit_defaults=True):
    uri: str
    mime_type: str = ""
    text: str = ""
    blob: str = ""


class _Resource(msgspec.Struct, frozen=True, tag="resource", forbid_unknown_fields=True):
    resource: _Contents


def result_of_problem(problem: Problem, run_id: str) -> dict[str, Any]:
    """What could not even be asked of the gateway."""
    meta = {"interlock/problem": problem.code} | ({"interlock/run_id": run_id} if run_id else {})
    remedy = f" ({problem.remedy})" if problem.remedy else ""
    return _refusal(f"NOT DONE: {problem.detail}{remedy}", meta)


def _said(text: str) -> dict[str, Any]:
    return {"content": [{"type": "text", "text": text}]}


def _refusal(text: str, meta: dict[str, Any]) -> dict[str, Any]:
    return {**_said(text), "isError": True, "_meta": meta}
