"""A run's audit entries as a story: what was wished, what became of it, what people did.

Not the audit, and nothing that proves anything: for reading. Law: nothing of the run is left out; what is told of one
attempt of one call stands on one line.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import msgspec
from msgspec import Struct

from interlock.core.audit import Entry, Kind
from interlock.faces.cli_print import dollars, moment


class Happening(Struct, kw_only=True):
    """One line of the story."""

    at: int
    kind: str  #: call, step, or the kind of the audit entry
    seq: int
    what: str  #: the tool, the model, or what was done
    step_id: str = ""
    tool: str = ""
    call_id: str = ""
    key: str = ""
    args: Any = None  #: as the audit shows them: redacted
    verdict: str = ""
    rule: str = ""  #: of the policy, or the guard that spoke
    outcome: str = ""
    usd: int = 0
    tokens: int = 0
    approval_id: str = ""
    by: str = ""
    text: str = ""
    ended_at: int | None = None

    @property
    def is_call(self) -> bool:
        """True for a wish to use a tool."""
        return self.kind == "call"

    @property
    def spent(self) -> str:
        """For people."""
        told = [dollars(self.usd)] if self.usd else []
        return ", ".join([*told, f"{self.tokens} tokens"] if self.tokens else told)

    def plain(self) -> dict[str, Any]:
        """For programs."""
        told: dict[str, Any] = msgspec.structs.asdict(self)
        return {**told, "at": moment(self.at), "ended_at": moment(self.ended_at), "usd": self.usd / 1e6}


def story(entries: Iterable[Entry]) -> list[Happening]:
    """The lines of a run, in the order in which they began."""
    told: list[Happening] = []
    open_calls: dict[str, Happening] = {}
    open_steps: dict[str, Happening] = {}
    for entry in entries:
        if entry.kind is Kind.DECIDED:
            told.append(_decided(entry))
            open_calls[entry.key] = told[-1]
        elif entry.kind is Kind.SETTLED and entry.key in open_calls:
            _settle(open_calls.pop(entry.key), entry)
        elif entry.kind is Kind.STEP_BEGAN:
            model = str(entry.detail.get("model") or "not named")
            told.append(_line(entry, kind="step", what=f"model {model}"))
            open_steps[entry.step_id] = told[-1]
        elif entry.kind is Kind.STEP_ENDED and entry.step_id in open_steps:
            step = open_steps.pop(entry.step_id)
            step.usd, step.tokens, step.ended_at = entry.usd, entry.tokens, entry.at
            if not entry.detail.get("priced"):
                step.text = "unpriced"
        else:
            told.append(_act(entry))
    return told


def _decided(entry: Entry) -> Happening:
    strongest = max((reason.verdict for reason in entry.reasons), default=None)
    leading = [reason for reason in entry.reasons if reason.verdict == strongest]
    rule = next((reason.rule for reason in leading if reason.rule), "")
    guards = ", ".join(dict.fromkeys(reason.guard for reason in leading))
    # a grant explains itself by its rule
    text = "" if entry.verdict == "allow" else "; ".join(reason.text for reason in leading)
    return _line(entry, kind="call", what=entry.tool, rule=rule or guards, text=text)


def _settle(call: Happening, entry: Entry) -> None:
    call.outcome, call.usd, call.ended_at = entry.outcome, entry.usd, entry.at
    call.text = "; ".join(filter(None, (call.text, entry.error)))


def _act(entry: Entry) -> Happening:
    by = f" by {entry.by}" if entry.by else ""
    about = entry.tool or entry.call_id
    what = entry.kind.replace("_", " ") + by + (f": {about}" if about else "")
    scope = str(entry.detail.get("scope") or "")
    text = "; ".join(filter(None, (entry.note, entry.error, scope)))
    return _line(entry, kind=entry.kind, what=what, text=text)


def _line(entry: Entry, *, kind: str, what: str, rule: str = "", text: str = "") -> Happening:
    return Happening(
        at=entry.at, kind=kind, seq=entry.seq, what=what, step_id=entry.step_id, tool=entry.tool, call_id=entry.call_id,
        key=entry.key, args=msgspec.json.decode(entry.args), verdict=entry.verdict, rule=rule, outcome=entry.outcome,
        usd=entry.usd, tokens=entry.tokens, approval_id=entry.approval_id, by=entry.by, text=text,
    )
