"""What an upstream says, made harmless: its names, prose and errors.

Not a judgement of it: what a schema demands and what a tool gave stay as they are. Law: whatever leaves has no
invisible character in its prose, no credential that it is told of, and an end; and no text takes long to clean.
"""

from __future__ import annotations

import re
from typing import Any

_INVISIBLE = re.compile(
    "[\x00-\x09\x0b-\x1f\x7f-\x9f\xad\u061c\u180e\u200b-\u200f\u2028-\u202e\u2060-\u206f\ufeff\ufff9-\ufffb\U000e0000-\U000e007f\ud800-\udfff]"
)
# Every repetition has an end or a clear stop: the text is hostile, and some of it is long.
_TRACE = re.compile(r'(?m)^(?:Traceback \(most recent call last\):| *File "[^"\n]*", line \d+.*(?:\n +.*)?| +at .+)\n?')
_SECRET = re.compile(
    r"(?i)\b(bearer|basic)\s+[\w.~+/=-]{8,}"
    r"|\b([\w-]{0,40}(?:api[_-]?key|token|secret|passw(?:or)?d|authorization))\b[\"']?\s{0,3}[:=]\s{0,3}"
    r"[\"']?(?:(?:bearer|basic)\s+)?[^\s\"',;]+"
    r"|\b(?:sk|pk|rk|ghp|gho|ghs|github_pat|xox[abprs]|glpat)[-_][\w-]{8,}|\bAKIA[0-9A-Z]{16}\b|\beyJ[\w-]{8,}[\w.-]*"
    r"|(?<=://)[^\s/@:]+:[^\s/@]+(?=@)"
)
_PATH = re.compile(r"(?<![\w:/.])(?:~|\.{1,2}|[A-Za-z]:)?[/\\](?:[^\s/\\'\":]+[/\\])+")


def clean(text: str, limit: int) -> str:
    """Text without control and invisible characters, at most so long."""
    text = _INVISIBLE.sub("", text.replace("\t", " ").replace("\r\n", "\n"))
    return text if len(text) <= limit else f"{text[: limit - 1]}…"


def scrub(text: str, secret: str = "", limit: int = 500) -> str:
    """An error's text without what its server should not have told: secrets, stack traces, folders. One line."""
    text = clean(text.replace(secret, "[redacted]") if secret else text, 4_000)
    text = _SECRET.sub(lambda found: f"{found[1] or found[2] or ''} [redacted]".strip(), _TRACE.sub("", text))
    return clean(" ".join(_PATH.sub("", text).split()), limit)


def without(value: Any, secret: str) -> Any:
    """A result in which the connection's own credential does not stand."""
    if isinstance(value, str):
        return value.replace(secret, "[redacted]")
    if isinstance(value, dict):
        return {without(key, secret): without(child, secret) for key, child in value.items()}
    return [without(child, secret) for child in value] if isinstance(value, list) else value


def cleaned(schema: Any) -> Any:
    """A schema whose prose is harmless; what it demands stays as it is."""
    if isinstance(schema, list):
        return [cleaned(child) for child in schema]
    if not isinstance(schema, dict):
        return schema
    return {
        key: clean(child, 2_000)
        if key in ("description", "title", "$comment") and isinstance(child, str)
        else child
        if key in ("enum", "const", "default", "examples")
        else cleaned(child)
        for key, child in schema.items()
    }
