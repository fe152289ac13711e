"""What the model of a contract says: the calls of its tools, in short.

Not the tools (`desk.py`).
"""

from __future__ import annotations

from interlock.core.turn import Call
from interlock.testing.adapter_contract.play import Line


def look(at: object, call_id: str = "") -> Call:
    return Call("desk.look", {"at": at}, call_id or f"look-{at}")


def note(text: str, call_id: str = "") -> Call:
    return Call("desk.note", {"text": text}, call_id or f"note-{text}")


def pay(amount: float, call_id: str = "") -> Call:
    return Call("desk.pay", {"amount": amount}, call_id or f"pay-{amount}")


def break_(how: str) -> Call:
    return Call("desk.break", {"how": how}, f"break-{how}")


MIXED: tuple[Line, ...] = ([look(1), note("secret"), look("one"), pay(2.5), note("a")], [look(2)], "done")
