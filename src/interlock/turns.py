"""A model's turn on its way into the ledger: cut to size, without any credential that was lent.

Not the turn itself (`core/turn.py`), and not the booking (`steps.py`). Law: whatever a runtime hands in is kept as far
as JSON has it, and never raises: a recording must not hold up an agent.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable

import msgspec

from interlock.core.run import Asking, Wanted
from interlock.core.turn import Turn
from interlock.redaction import Redactor
from interlock.results import as_json

KEPT = 262_144  #: characters of what was asked, and of what was said
MOST_CALLS = 128
NAMED = 200  #: characters of a name or an id that somebody else has made up

Redact = Callable[[str], str]


def kept(turn: Turn, redactor: Redactor) -> Asking:
    """What a step keeps of a turn."""
    calls = [
        Wanted(_text(each.id), _text(each.name), _text(each.raw) or _json(redactor.redact(as_json(dict(each.args)))))
        for each in turn.calls
    ]
    return asking("", turn.text or "", calls, turn.model, turn.response_id, redactor.redact_text)


def asking(asked: str, text: str, calls: Iterable[Wanted], model: str, answer_id: str, redact: Redact) -> Asking:
    """What was asked and said, cut to size and redacted."""
    asked, said = redact(_text(asked)), redact(_text(text))
    wanted: list[Wanted] = []
    size = len(said)
    for call in calls:
        size += len(call.args)
        if size > KEPT or len(wanted) == MOST_CALLS:
            size = KEPT + 1
            break
        wanted.append(Wanted(redact(call.call_id)[:NAMED], redact(call.tool)[:NAMED], redact(call.args)))
    return Asking(
        asked=asked[:KEPT], text=said[:KEPT], calls=tuple(wanted), model=redact(_text(model))[:NAMED],
        answer_id=redact(_text(answer_id))[:NAMED], cut=len(asked) > KEPT or size > KEPT,
    )


def _json(args: object) -> str:
    return msgspec.json.encode(args).decode()


def _text(said: object) -> str:
    """Whatever stands where a text should, as one that every store takes."""
    if isinstance(said, str) and said.isascii():
        return said
    return str(said).encode("utf-8", "backslashreplace").decode()
