"""What may be a name (of a tenant, an agent, an env, a runtime, a tool), how those who take fewer letters spell it, and
what may be said in words.

Not whether anything is called so. Law: a name can be shown to a person, stored by every store and written into the
audit as it is; no name can pass for the chain of the whole system.
"""

from __future__ import annotations

import hashlib
import re

from interlock.core.audit import SYSTEM

MAX_LENGTH = 200
MAX_NAME = 128  #: characters of a tool's name, as MCP has it
MAX_PLAIN = 64  #: likewise, as the providers of models have it

_FORBIDDEN = re.compile(r"[^A-Za-z0-9_./-]")
_NOT_PLAIN = re.compile(r"[^A-Za-z0-9_-]")


def problem_of_name(name: object, what: str = "name") -> str | None:
    """Why this cannot be the name of a `what`, or None where it can. The words do not repeat the name."""
    if not isinstance(name, str):
        return f"{what} must be text, not {type(name).__name__}"
    if not name:
        return f"{what} must not be empty"
    if len(name) > MAX_LENGTH:
        return f"{what} must have at most {MAX_LENGTH} characters, it has {len(name)}"
    # also refuses lone surrogates, which no store can encode, and marks that turn text around before a person's eyes
    if not name.isprintable():
        return f"{what} must not hold control characters or invisible ones"
    if name != name.strip():
        return f"{what} must not begin or end with a space"
    if what == "tenant" and name == SYSTEM:
        return f"{what} must not be {SYSTEM!r}, which stands for the whole system"
    return None


def shown(said: object) -> str:
    """What was said instead of a name, in a spelling that can be shown and kept, and that is nobody's name."""
    return ascii(said)[:80] if isinstance(said, str) else f"<{type(said).__name__}>"


def problem_of_words(said: object, what: str) -> str | None:
    """Why this cannot be kept as a note, a reason or a request, or None where it can: a ledger that took it could not
    be read again."""
    if not isinstance(said, str):
        return f"{what} must be text, not {type(said).__name__}"
    if any("\ud800" <= char <= "\udfff" for char in said):
        return f"{what} must be valid Unicode, and holds a lone surrogate"
    return None


def spelled(name: str, *, plain: bool) -> str:
    """A tool's name as MCP allows it, or as those do that take letters, digits, _ and - alone."""
    said = (_NOT_PLAIN if plain else _FORBIDDEN).sub("_", name)
    limit = MAX_PLAIN if plain else MAX_NAME
    lossy = len(said) > limit or bool(_FORBIDDEN.search(name))
    return f"{said[: limit - 9]}-{digest_of(name)}" if lossy else said


def digest_of(name: str) -> str:
    """Eight hexadecimal digits that tell apart what is spelled alike."""
    return hashlib.sha256(name.encode()).hexdigest()[:8]
