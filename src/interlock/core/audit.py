"""The audit log as data: entries, each bound to the one before it.

Not the writer's transaction, not a store, and not the verifier, which is `verify.py`. Law: an
entry's hash is SHA-256 over its canonical bytes, which hold every attested field and the hash of the entry before it;
there is one chain for each tenant, numbered from 1 without gaps.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from enum import StrEnum
from typing import Any

import msgspec
from msgspec import Raw, Struct

from interlock.core.verdict import Reason

VERSION = 1
GENESIS = "0" * 64  #: what the first entry of a chain has before it
CLIP = 160  #: characters of a text, and members of a list, that are shown where there are too many
SYSTEM = "*"  #: the chain of what concerns no single tenant; no tenant can be called so


class Kind(StrEnum):
    """What an entry tells."""

    DECIDED = "decided"  #: a call was weighed
    SETTLED = "settled"  #: a call came to its end, or to not knowing it
    RUN_OPENED = "run_opened"
    RUN_STOPPED = "run_stopped"
    STEP_BEGAN = "step_began"
    STEP_ENDED = "step_ended"
    APPROVED = "approved"  #: one person's yes
    REJECTED = "rejected"  #: one person's no
    EXPIRED = "expired"  #: nobody answered in time
    KILLED = "killed"
    RELEASED = "released"
    RECONCILED = "reconciled"  #: a person ended an unknown
    TOPPED_UP = "topped_up"
    PINNED = "pinned"  #: a tool's definition was seen for the first time
    CHANGED = "changed"  #: an upstream shows another definition than the accepted one
    ACCEPTED = "accepted"  #: a person accepted a changed definition
    FORGOTTEN = "forgotten"  #: what was recorded of a run is not kept any more
    TURNED_AWAY = "turned_away"  #: somebody known asked at a face for what is not theirs
    KEY_GIVEN = "key_given"  #: a key was made
    KEY_REVOKED = "key_revoked"


class Entry(Struct, frozen=True, gc=False, kw_only=True, omit_defaults=True):
    """One line of the audit log. Every field here is attested: this list is what the hash covers, and nothing else is.

    Arguments and results stand as digests and a redacted view; a credential never does.
    """

    tenant: str
    seq: int = 0
    at: int  #: microseconds
    kind: Kind
    prev: str = ""  #: hash of the entry before
    v: int = 1  #: a default is not written, so an entry without it is of version 1 for ever; `seal` sets it
    run_id: str = ""
    step_id: str = ""
    call_id: str = ""
    key: str = ""
    agent: str = ""
    env: str = ""
    runtime: str = ""
    tool: str = ""
    verdict: str = ""
    reasons: tuple[Reason, ...] = ()
    policy_version: str = ""
    outcome: str = ""  #: of a settled call: done, failed, unknown, not_performed
    args: Raw = Raw(b"{}")
    args_digest: str = ""
    result_digest: str = ""
    schema_digest: str = ""
    error: str = ""
    approval_id: str = ""
    attempt: int = 0
    usd: int = 0  #: micro-dollars, spent
    tokens: int = 0
    by: str = ""  #: the person who acted
    note: str = ""
    detail: Mapping[str, Any] = {}  #: of a person's act: its scope, its amounts


class Head(Struct, frozen=True, gc=False):
    """The tip of a tenant's chain."""

    seq: int = 0
    hash: str = GENESIS


class Sealed(Struct, frozen=True, gc=False):
    """An entry as it is stored: its canonical bytes, and their hash."""

    tenant: str
    seq: int
    body: bytes
    hash: str


encode = msgspec.json.Encoder(order="sorted").encode  #: the canonical bytes of an entry
decode = msgspec.json.Decoder(Entry).decode  #: an entry from its bytes; what it lets pass, `verify.py` does not


def seal(entry: Entry, head: Head) -> tuple[Sealed, Head]:
    """Bind an entry to the tip of its chain. Gives what to store, and the new tip."""
    seq = head.seq + 1
    body = encode(msgspec.structs.replace(entry, seq=seq, prev=head.hash, v=VERSION))
    digest = hash_of(body)
    return Sealed(entry.tenant, seq, body, digest), Head(seq, digest)


def hash_of(body: bytes) -> str:
    """The hash of an entry's canonical bytes. Hex, 64 digits."""
    return hashlib.sha256(body).hexdigest()


def clipped(value: Any) -> Any:
    """A JSON value with its long texts cut short and its long lists ended early, for people to look at."""
    if isinstance(value, str):
        return value if len(value) <= CLIP else f"{value[:CLIP]}… (+{len(value) - CLIP} characters)"
    if isinstance(value, Mapping):
        return {clipped(key): clipped(child) for key, child in list(value.items())[:CLIP]}
    if isinstance(value, list):
        return [clipped(child) for child in value[:CLIP]]
    return value
