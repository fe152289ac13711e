"""Values that were lent, taken out of whatever leaves: results, errors, audit, logs, traces, approvals.

Not a search for things that look like secrets: it knows what was lent, and takes out that. Law: a remembered value
never leaves whole, in any of the spellings below, in a text, a key or a number; where something cannot be looked
through, all of it is replaced.

Spellings: as it is; its lines, where it has several (PEM); escaped as JSON, once or twice, with \\/ too; URL-quoted;
HTML-escaped; hex; base64 and its URL-safe form wherever in the encoded bytes it stands (three alignments, together with
the letters at the seams that hold a part of it). Not found: a value cut in pieces, compressed, encrypted, or spelled
otherwise. A value shorter than 4 characters is refused: it cannot be taken out without taking words apart.

How it finds them: a text is cut into chunks and each chunk is looked up, so that the time depends on the text and not
on how many values are known. The last 4,096 values that were lent are known.
"""

from __future__ import annotations

import base64
import html
import json
import re
import threading
from collections.abc import Iterable, Iterator, Mapping
from typing import Any
from urllib.parse import quote, quote_plus

from interlock.core.names import problem_of_name
from interlock.errors import CredentialError

MARK = "[redacted]"
SHORTEST = 4
MOST = 4_096
MAX_DEPTH = 100
MAX_NODES = 1_000_000


class Redactor:
    """What was lent by this process, and how to keep it in. Safe to use from any thread."""

    def __init__(self, most: int = MOST) -> None:
        self._most = most
        self._lock = threading.Lock()
        self._known: dict[str, None] = {}  #: the least recently lent first
        self._index = _Index()
        self._digits = False  #: True where a value may stand as a number

    def __len__(self) -> int:
        return len(self._known)

    def __repr__(self) -> str:
        return f"Redactor({len(self._known)} values)"

    def remember(self, value: str | bytes) -> None:
        """Take this value out of everything from now on. Raises CredentialError where that cannot be done."""
        text = value if isinstance(value, str) else value.decode("utf-8", "surrogateescape")
        text = str.__str__(text)
        with self._lock:
            if text in self._known:
                self._known[text] = self._known.pop(text)
                return
            if len(text.strip()) < SHORTEST:
                raise CredentialError(f"a credential shorter than {SHORTEST} characters cannot be kept out of texts")
            if text.strip() in MARK:
                raise CredentialError(f"a credential that is part of {MARK!r} cannot be told from it")
            self._known[text] = None
            if len(self._known) > self._most:
                self._forget_oldest()
            else:
                self._index.add(_spellings(text))
            self._digits = self._digits or text.strip().lstrip("-").replace(".", "").isdecimal()

    def _forget_oldest(self) -> None:
        """An eighth at once, so that building anew is rare."""
        for old in list(self._known)[: max(1, self._most // 8)]:
            del self._known[old]
        fresh = _Index()
        for text in self._known:
            fresh.add(_spellings(text))
        self._index = fresh

    def redact_text(self, text: str) -> str:
        """The text without any known value."""
        if not self._known:
            return text
        return self._index.cleaned(text) if self._index.may_be_in(text) else text

    def redact(self, value: Any) -> Any:
        """A JSON value without any known value, in the same shape; itself where there was none."""
        if not self._known:
            return value
        texts = _texts(value, self._digits)
        if texts is None:
            return MARK
        return self._rebuilt(value) if self._index.may_be_in("\n".join(texts)) else value

    def holds_secret(self, value: Any) -> bool:
        """True where a known value stands somewhere in a JSON value, or where it cannot be looked through."""
        if not self._known:
            return False
        texts = _texts(value, self._digits)
        if texts is None:
            return True
        return self._index.may_be_in("\n".join(texts)) and any(self._index.found(text) for text in texts)

    def problem_of_id(self, said: object, what: str) -> str | None:
        """Why this cannot be the id of a call, which is kept as it is, or None where it can."""
        problem = problem_of_name(said, what)
        return problem or (f"{what} must not hold a credential" if self.holds_secret(said) else None)

    def _rebuilt(self, value: Any) -> Any:
        if isinstance(value, str):
            return self.redact_text(value)
        if isinstance(value, Mapping):
            out: dict[Any, Any] = {}
            for key, child in value.items():
                name = self._rebuilt(key)
                while name in out:
                    name = f"{name}+"
                out[name] = self._rebuilt(child)
            return out
        if isinstance(value, (list, tuple)):
            return [self._rebuilt(child) for child in value]
        if isinstance(value, (bytes, bytearray)):
            return self.redact_text(_text_of(value)).encode("utf-8", "surrogateescape")
        if isinstance(value, (int, float)) and not isinstance(value, bool) and self._digits:
            return MARK if self._index.found(_digits_of(value)) else value
        return value


def _texts(value: Any, numbers: bool) -> list[str] | None:
    """Every text in a value, keys too; None where there is too much of it, or it is too deep."""
    out: list[str] = []
    stack, left = [(value, 0)], MAX_NODES
    while stack:
        node, depth = stack.pop()
        left -= 1
        if depth > MAX_DEPTH or left < 0:
            return None
        kind = type(node)
        if kind is str:
            out.append(node)
        elif node is None or kind is bool or (not numbers and (kind is int or kind is float)):
            continue
        elif kind is dict or isinstance(node, Mapping):
            stack.extend((key, depth + 1) for key in node)
            stack.extend((child, depth + 1) for child in node.values())
        elif isinstance(node, str):
            out.append(str.__str__(node))
        elif isinstance(node, (list, tuple)):
            stack.extend((child, depth + 1) for child in node)
        elif isinstance(node, (bytes, bytearray)):
            out.append(_text_of(node))
        elif numbers and isinstance(node, (int, float)):
            out.append(_digits_of(node))
    return out


def _digits_of(number: float) -> str:
    try:
        return repr(number)
    except ValueError:  # an integer of more than 4,300 digits is no credential
        return ""


def _text_of(raw: bytes | bytearray) -> str:
    return raw.decode("utf-8", "surrogateescape")


# --- finding ---------------------------------------------------------------------------------------------------------


class _Index:
    """Needles, found by their chunks. A needle of at least `size + step - 1` characters covers, wherever it stands, a
    chunk of `size` characters that begins at a multiple of `step`; all the chunks that this can be are known."""

    def __init__(self) -> None:
        self._levels = (_Level(8, 8), _Level(4, 4), _Level(4, 1))

    def add(self, needles: Mapping[str, str]) -> None:
        """Needle → the pattern to take it out by."""
        for needle, pattern in needles.items():
            next(level for level in self._levels if len(needle) >= level.size + level.step - 1).add(needle, pattern)

    def may_be_in(self, text: str) -> bool:
        """False where surely none is in the text."""
        return any(level.hits(text) for level in self._levels)

    def found(self, text: str) -> dict[str, str]:
        """The needles that are in the text, with their patterns."""
        found: dict[str, str] = {}
        for level in self._levels:
            for chunk in level.hits(text):
                found.update((needle, pattern) for needle, pattern in level.needles.get(chunk, ()) if needle in text)
        return found

    def cleaned(self, text: str) -> str:
        """The text with the mark in place of every needle."""
        for _ in range(4):  # what is left of one may make up another
            found = self.found(text)
            if not found:
                return text
            longest_first = sorted(found, key=len, reverse=True)
            text = re.sub("|".join(found[needle] for needle in longest_first), MARK, text)
        return MARK


class _Level:
    """The needles of one class of length."""

    __slots__ = ("chunks", "needles", "size", "step")

    def __init__(self, size: int, step: int) -> None:
        self.size = size
        self.step = step
        self.needles: dict[str, list[tuple[str, str]]] = {}
        self.chunks: set[str] = set()  #: the keys of `needles`: two sets meet faster than a dict and a set

    def add(self, needle: str, pattern: str) -> None:
        for start in range(self.step):
            chunk = needle[start : start + self.size]
            self.needles.setdefault(chunk, []).append((needle, pattern))
            self.chunks.add(chunk)

    def hits(self, text: str) -> set[str]:
        if not self.chunks:
            return _NO_HITS
        size = self.size
        return {text[at : at + size] for at in range(0, len(text) - size + 1, self.step)} & self.chunks


_NO_HITS: set[str] = set()


# --- spelling --------------------------------------------------------------------------------------------------------


def _spellings(secret: str) -> dict[str, str]:
    """Needle → pattern, for every spelling of a value that is looked for."""
    raw = secret.encode("utf-8", "surrogateescape")
    needles = dict(_base64(raw))
    for text in {secret, secret.strip(), secret.replace("\r\n", "\n"), *_lines(secret)}:
        for spelled in _escaped(text):
            needles[spelled] = re.escape(spelled)
    for spelled in (raw.hex(), raw.hex().upper()):
        needles[spelled] = re.escape(spelled)
    return {needle: pattern for needle, pattern in needles.items() if len(needle) >= SHORTEST}


def _lines(secret: str) -> Iterator[str]:
    """The lines of a key in PEM form: an error text may show one of them."""
    lines = secret.splitlines()
    if len(lines) > 1:
        yield from (line.strip() for line in lines if len(line.strip()) >= 16 and not line.startswith("-----"))


def _escaped(text: str) -> Iterable[str]:
    safe = text.encode("utf-8", "surrogateescape")
    quoted = {quote(safe, safe=kept) for kept in ("", "/", "!~*'()", ";,/?:@&=+$!*'()#~")} | {quote_plus(safe)}
    once = {json.dumps(text)[1:-1], json.dumps(text, ensure_ascii=False)[1:-1]}
    twice = {json.dumps(each)[1:-1] for each in once} | {json.dumps(each, ensure_ascii=False)[1:-1] for each in once}
    slashed = {each.replace("/", "\\/") for each in once}
    quoted.add(re.sub("[_.~-]", lambda found: f"%{ord(found[0]):02X}", quote(safe, safe="")))
    lowered = {re.sub("%..", lambda found: found[0].lower(), each) for each in quoted}
    marked_up = {html.escape(text), html.escape(text, quote=False)}
    return {text, *quoted, *lowered, *once, *twice, *slashed, *marked_up, repr(text)[1:-1]}


def _base64(raw: bytes) -> Iterator[tuple[str, str]]:
    """The letters that a value surely gives, at each place where it can begin in the encoded bytes. The pattern takes
    the letters at the seams as well, which hold bits of it."""
    for offset in range(3):
        encoded = base64.b64encode(bytes(offset) + raw).decode()
        first, end = (0, 2, 3)[offset], (offset + len(raw)) * 8 // 6
        core = encoded[first:end]
        head = _LETTER if offset else ""
        tail = _LETTER + "={0,2}" if (offset + len(raw)) % 3 else ""
        for spelled in {core, core.replace("+", "-").replace("/", "_")}:
            yield spelled, head + re.escape(spelled) + tail


_LETTER = "[A-Za-z0-9+/_-]?"
