"""What an API answered, and what it proves.

Not how it came: see `wire.py`. Law: NotDone is raised only for a 4xx; a 5xx, a redirect of a write and a reply that was
lost prove nothing; an error's text leaves without secrets, on one line, clipped.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

import msgspec

from interlock.core.call import Effect
from interlock.errors import NotDone
from interlock.ports import Lost
from interlock.tools.openapi.arguments import is_json
from interlock.tools.text import scrub

CLIP = 300  #: characters of an error's body that are told


class Reply(msgspec.Struct, frozen=True):
    """A status and a body that was read to its end, or not."""

    status: int
    headers: Mapping[str, str]
    body: bytes
    whole: bool = True


class ApiError(Exception):
    """The API said that it failed. `text` is scrubbed; it proves nothing about the effect of a write."""

    def __init__(self, text: str) -> None:
        super().__init__(text)
        self.text = text


class ReplyLost(Lost, ConnectionError):
    """The request went out and no answer came that can be read: a write is in doubt."""


def answer(name: str, method: str, effect: Effect, attempt: int, reply: Reply, secret: str) -> Any:
    """The value of a 2xx. Raises NotDone for a 4xx, ApiError or ReplyLost for whatever else."""
    status = reply.status
    if 200 <= status < 300:
        return _value(name, method, reply)
    said = f"upstream {name} answered with HTTP {status}{_words(reply, secret)}"
    if status in (401, 403):
        said = f"upstream {name} refused the credential or what it may do: HTTP {status}{_words(reply, secret)}"
    if 400 <= status < 500:
        if effect.writes and attempt > 1:  # it proves that this attempt did nothing, and the first is still in doubt
            raise ReplyLost(f"{said}; an earlier attempt may have done it")
        raise NotDone(said)
    if status in (502, 504):  # of something between us and the API
        raise ReplyLost(said)
    if 300 <= status < 400:
        raise ApiError(f"upstream {name} sent the call elsewhere (HTTP {status}), which is not followed")
    raise ApiError(said)


def _value(name: str, method: str, reply: Reply) -> Any:
    kind = reply.headers.get("content-type", "").strip()
    media, _, parameters = kind.partition(";")
    if method == "HEAD":
        length = reply.headers.get("content-length", "")
        size = int(length) if _COUNT.fullmatch(length) else None
        return {"status": reply.status, "content_type": kind, "bytes": size}
    if not reply.whole:
        raise ReplyLost(f"upstream {name} answered with HTTP {reply.status} and more than {len(reply.body)} bytes")
    if not reply.body:
        return None
    if reply.headers.get("content-encoding", "identity").lower() != "identity":
        raise ReplyLost(f"upstream {name} answered with HTTP {reply.status} and a compressed body, which is not read")
    if is_json(media.strip()):
        try:
            return msgspec.json.decode(reply.body)
        except (msgspec.DecodeError, RecursionError):
            return reply.body.decode("utf-8", "replace")
    if media.strip().lower().startswith("text/") or media.strip().lower() in _TEXTS or not media:
        latin = "iso-8859-1" in parameters.lower()
        return reply.body.decode("latin-1" if latin else "utf-8", "replace")
    return {"content_type": kind, "bytes": len(reply.body)}


_COUNT = re.compile(r"[0-9]{1,15}")
_TEXTS = frozenset({"application/xml", "application/x-ndjson", "application/yaml", "application/x-www-form-urlencoded"})


def _words(reply: Reply, secret: str) -> str:
    """What an error's body says, made harmless."""
    if reply.headers.get("content-encoding", "identity").lower() != "identity":
        return ""
    text = scrub(reply.body[:8_000].decode("utf-8", "replace"), secret, CLIP)
    return f": {text}" if text else ""
