"""The definitions of upstreams' tools, pinned by digest.

Not the denial itself, which is a fact for `decide`, and no listing of tools. Law: the first definition seen is accepted
as it is, once; every other one counts only after a person has accepted it; what a person accepts is what was shown.
"""

from __future__ import annotations

import difflib
import json
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from typing import Any

from msgspec.structs import replace

from interlock.core.audit import SYSTEM, Entry, Kind
from interlock.core.call import MICROS
from interlock.core.canonical import canonical, digest
from interlock.errors import Refused
from interlock.ports import HeadKey, Key, Pin, PinKey
from interlock.unit import Tx

FIRST_SIGHT = "first sight"  #: who accepted a definition that no person was asked about

Definition = Mapping[str, Any]


def definition(
    *,
    name: str,
    description: str,
    input_schema: Mapping[str, Any],
    output_schema: Mapping[str, Any] | None = None,
    annotations: Mapping[str, Any] | None = None,
    title: str = "",
) -> Definition:
    """All that an upstream says of a tool and a model or a rule may go by, as one JSON value. Raw, not cleaned."""
    said = {"name": name, "title": title, "description": description, "annotations": dict(annotations or {})}
    return {**said, "input_schema": dict(input_schema), "output_schema": output_schema and dict(output_schema)}


def definition_digest(definition: Definition) -> str:
    """What a definition is known by. Raises ValueError or TypeError for what is not JSON."""
    return digest("tool definition", canonical(definition))


def keys(tools: Iterable[str]) -> tuple[Key, ...]:
    """The rows that `observe` and `accept` read, for the unit of work."""
    return (HeadKey(SYSTEM), *(PinKey(SYSTEM, tool) for tool in sorted(tools)))


def observe(tx: Tx, definitions: Mapping[str, Definition], now: int) -> dict[str, Pin]:
    """Take note of what upstreams show now, by the tool's full name. Gives the pins as they stand after it.

    What is unchanged writes nothing; a definition that was offered already is not told again; a tool that is gone keeps
    its pin, so that it cannot come back as another.
    """
    return {tool: _observe(tx, tool, shown, now) for tool, shown in definitions.items()}


def _observe(tx: Tx, tool: str, shown: Definition, now: int) -> Pin:
    key, seen = PinKey(SYSTEM, tool), definition_digest(shown)
    pin = tx.get(key)
    if pin is None:
        pin = Pin(tool=tool, digest=seen, definition=shown, accepted_at=now, accepted_by=FIRST_SIGHT)
        entry = _entry(Kind.PINNED, tool, now, detail={"definition": seen})
    elif seen == pin.digest:
        if not pin.offered_digest:
            return pin
        entry = _entry(
            Kind.CHANGED,
            tool,
            now,
            note="the upstream shows the accepted definition again",
            detail={"accepted": pin.digest, "withdrawn": pin.offered_digest},
        )
        pin = replace(pin, offered_digest="", offered={})  # nobody shall accept what is no longer shown
    elif seen == pin.offered_digest:
        return pin
    else:
        pin = replace(pin, offered_digest=seen, offered=shown)
        entry = _entry(Kind.CHANGED, tool, now, detail={"accepted": pin.digest, "offered": seen})
    tx.put(key, pin)
    tx.append(entry)
    return pin


def accept(tx: Tx, tool: str, by: str, now: int, *, offered: str = "", note: str = "") -> Pin:
    """A person's yes to the definition that is offered. Raises Refused where there is none.

    `offered` is the digest that the person was shown: what has changed since they looked is not accepted.
    """
    key = PinKey(SYSTEM, tool)
    pin = tx.get(key)
    if not by:
        raise Refused("say who accepts: by=")
    if pin is None:
        raise Refused(f"no definition of {tool} is pinned: no upstream has shown a tool of that name")
    if not pin.offered_digest:
        raise Refused(f"there is nothing to accept: {tool} is as it was accepted on {_day(pin)}")
    if offered and offered != pin.offered_digest:
        raise Refused(f"the definition of {tool} has changed again since it was shown; look at it once more")
    detail = {"accepted": pin.offered_digest, "replaced": pin.digest}
    pin = Pin(tool=tool, digest=pin.offered_digest, definition=pin.offered, accepted_at=now, accepted_by=by)
    tx.put(key, pin)
    tx.append(_entry(Kind.ACCEPTED, tool, now, by=by, note=note, detail=detail))
    return pin


def problem(pin: Pin, seen: str) -> str | None:
    """Why a tool with this definition digest cannot be used, or None."""
    if seen == pin.digest:
        return None
    return (
        f"the definition of {pin.tool} has changed since it was accepted on {_day(pin)}; "
        f"a person can accept it with: interlock tools accept {pin.tool}"
    )


def diff(pin: Pin) -> str:
    """What would change if the offered definition were accepted, for a person to read; "" where nothing is offered.

    Everything but plain ASCII is spelled out: this text is hostile, and a terminal obeys control characters.
    """
    if not pin.offered_digest:
        return ""
    return _compared(_folded(pin.definition), _folded(pin.offered)) or _compared(pin.definition, pin.offered)


def _compared(before: Any, after: Any) -> str:
    return "\n".join(difflib.unified_diff(_lines(before), _lines(after), "accepted", "offered", n=3, lineterm=""))


def _lines(shown: Any) -> list[str]:
    text = json.dumps(shown, indent=2, sort_keys=True, ensure_ascii=True)
    return text.replace("\x7f", "\\u007f").split("\n")


def _folded(value: Any) -> Any:
    """The value with each text of several lines as a list of its lines, so that a change in one shows as that line."""
    if isinstance(value, Mapping):
        return {key: _folded(child) for key, child in value.items()}
    if isinstance(value, (list, tuple)):
        return [_folded(child) for child in value]
    return value.split("\n") if isinstance(value, str) and "\n" in value else value


def _entry(kind: Kind, tool: str, now: int, *, by: str = "", note: str = "", detail: Mapping[str, Any]) -> Entry:
    return Entry(tenant=SYSTEM, at=now, kind=kind, tool=tool, by=by, note=note, detail=detail)


def _day(pin: Pin) -> str:
    return f"{datetime.fromtimestamp(pin.accepted_at // MICROS, UTC):%Y-%m-%d %H:%M} UTC"
