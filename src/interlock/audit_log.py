"""The audit as people use it, `gw.audit`: read it, verify it, sign its tip, carry it away and verify it elsewhere.

Not the chain's rules (`core/audit.py`, `core/verify.py`). Law: everything streams; a file is hostile until the last
byte of it has been weighed; what could not be checked is said, in words, in the result.

An export is JSON lines. Its first line names the tenant, its last one the tip; between them stands each entry as
`{"hash":"…","body":…}`, where the body is the very bytes that the hash was taken of.
"""

from __future__ import annotations

import heapq
from collections import deque
from collections.abc import Iterable, Iterator
from operator import attrgetter
from pathlib import Path

import msgspec
from msgspec import Struct

from interlock.checkpoints import Bad, Notary, Torn, read_notes
from interlock.core.audit import Entry, Head, decode, encode
from interlock.core.verify import Anchor, Problem, Verification, Verifier
from interlock.errors import ConfigError, InterlockError
from interlock.notes import Note, NoteError, PublicKey, parse_checkpoint, parse_note, parse_public_key, read_public_keys
from interlock.ports import HeadKey, Store

FORMAT = 1
MAX_LINE = 16 * 1_048_576  #: of an export; an entry holds 256 KiB of arguments at most
_BEFORE, _BETWEEN, _AFTER = b'{"hash":"', b'","body":', b"}\n"
_BODY = len(_BEFORE) + 64 + len(_BETWEEN)
_TIP = "the last line of the export"
_CHAIN_ALONE = "no checkpoint was compared: a cut-off end, or a log chained anew from an edit, would not be seen"


class _First(Struct, frozen=True, forbid_unknown_fields=True):
    interlock_audit: int
    tenant: str


class _Last(Struct, frozen=True, forbid_unknown_fields=True):
    entries: int
    hash: str


class AuditLog:
    """The audit of one ledger. Without a notary it has no checkpoints, and says so."""

    def __init__(self, store: Store, notary: Notary | None = None) -> None:
        self._store = store
        self._notary = notary

    def tenants(self) -> list[str]:
        """Who has an audit log, or had one when a checkpoint was signed."""
        signed = self._notary.sink.tenants() if self._notary is not None else set()
        return sorted({*self._store.tenants(), *signed})

    def entries(
        self, tenant: str, run_id: str | None = None, after: int = 0, limit: int | None = None
    ) -> Iterator[Entry]:
        """The entries of a tenant, or of one run of it, in order. Streams."""
        left = limit
        mark = b"" if run_id is None else b'"run_id":' + msgspec.json.encode(run_id)  # most are passed over unread
        for sealed in self._store.entries(tenant, after, limit if run_id is None else None):
            if left is not None and left <= 0:
                return
            if mark not in sealed.body:
                continue
            entry = _decoded(tenant, sealed.seq, sealed.body)
            if run_id is None or entry.run_id == run_id:
                yield entry
                left = None if left is None else left - 1

    def verify(self, tenant: str, since: Head | str | None = None) -> Verification:
        """Weigh the chain, the ledger's head and every checkpoint of a tenant.

        `since`: a head that is trusted, or the text of a checkpoint's note; then only what came after it is read.
        """
        try:
            return self._verify(tenant, since)
        except OSError as error:
            raise ConfigError(f"the checkpoints in {error.filename} cannot be read: {error.strerror}") from error

    def _verify(self, tenant: str, since: Head | str | None) -> Verification:
        # before the head, and before the keys: no note of the future, and none that was signed with a key made since
        end = self._notary.sink.size() if self._notary is not None else 0
        seen = _Seen(tenant, self._notary.key.public_keys() if self._notary is not None else ())
        head = self._store.load(HeadKey(tenant)) or Head()
        start = self._trusted(tenant, since)
        notes = seen.anchors(self._notary.sink.read(end), start.seq) if self._notary is not None else iter(())
        stored = Anchor(head.seq, head.hash, "the ledger's head")
        verifier = Verifier(tenant, start, heapq.merge(notes, [stored], key=attrgetter("seq")))
        for sealed in self._store.entries(tenant, start.seq):
            if verifier.feed(sealed) is not None and not verifier.wants_more:
                break
        verifier.finish(self._store.load(HeadKey(tenant)) or Head())
        return verifier.result(seen.remarks(compared=verifier.checkpoints), proven=not seen.doubtful)

    def checkpoint(self, tenant: str) -> str:
        """Sign the tip now, append the note to the sink, and give its text: keep it where the ledger is not."""
        if self._notary is None:
            raise ConfigError("this ledger has no checkpoint key; name one under `audit:` in the config")
        return self._notary.checkpoint(tenant)

    def checkpoints(self, tenant: str, newest: int) -> list[str]:
        """The text of the newest checkpoints of a tenant, the newest first. Reads the whole sink, and keeps few."""
        kept: deque[str] = deque(maxlen=newest)
        for one in self._notary.sink.read() if self._notary is not None else ():
            if isinstance(one, Note) and _tenant_of(one) == tenant:
                kept.append(one.text)
        return list(reversed(kept))

    def export(self, tenant: str) -> Iterator[bytes]:
        """The lines of an export, each with its line break. Streams."""
        head = self._store.load(HeadKey(tenant)) or Head()
        last = Head()
        yield encode(_First(FORMAT, tenant)) + b"\n"
        for sealed in self._store.entries(tenant):
            last = Head(sealed.seq, sealed.hash)
            yield b"".join((_BEFORE, sealed.hash.encode(), _BETWEEN, sealed.body, _AFTER))
        tip = head if head.seq > last.seq else last  # a ledger that was cut off shows it in its exports
        yield encode(_Last(tip.seq, tip.hash)) + b"\n"

    def _trusted(self, tenant: str, since: Head | str | None) -> Head:
        if not isinstance(since, str):
            return since or Head()
        try:
            note = parse_note(since)
            checkpoint = parse_checkpoint(note.text)
        except NoteError as error:
            raise ConfigError(f"`since` is no checkpoint: {error}") from None
        keys = self._notary.key.public_keys() if self._notary is not None else ()
        if checkpoint.tenant != tenant or _signed(keys, note) is not True:
            raise ConfigError(f"`since` is not a checkpoint of tenant {tenant!r}, signed with this ledger's key")
        return checkpoint.head


def verify_file(
    path: Path | str, checkpoint: Path | str | None = None, public_key: Path | str | None = None, *,
    trusted: bool = False,
) -> Verification:
    """Weigh an export without its ledger, and compare it with a checkpoint, or with a file of them.

    `public_key` is a file, or a key's line; left out, it is looked for beside the checkpoint. Without one, checkpoints
    prove nothing, unless their file is `trusted`: it was kept where nobody else writes. Raises ConfigError where a file
    cannot be read; whatever is in the export is an answer, not an exception.
    """
    path, checkpoint = Path(path), None if checkpoint is None else Path(checkpoint)
    for file in (path, *([checkpoint] if checkpoint else [])):
        if not file.is_file():
            raise ConfigError(f"{file} cannot be read: there is no such file")
    try:
        return _verify_export(path, checkpoint, _keys(checkpoint, public_key), trusted)
    except OSError as error:
        raise ConfigError(f"{error.filename or path} cannot be read: {error.strerror}") from error


def _verify_export(path: Path, checkpoint: Path | None, keys: tuple[PublicKey, ...], trusted: bool) -> Verification:
    with path.open("rb") as file:
        tenant = _tenant(file.readline(MAX_LINE))
        if tenant is None:
            problem = Problem(1, "the file is not an audit export: its first line does not say so")
            return Verification(ok=False, tenant="", entries=0, head=Head(), problem=problem)
        seen = _Seen(tenant, keys, trusted=trusted)
        notes = checkpoint.open("rb") if checkpoint else None
        try:
            verifier = Verifier(tenant, Head(), seen.anchors(read_notes(notes), 0) if notes else ())
            _fold(verifier, iter(lambda: file.readline(MAX_LINE), b""))
        finally:
            if notes:
                notes.close()
    if checkpoint is not None and verifier.problem is None and not (verifier.checkpoints or seen.doubtful):
        verifier.problem = Problem(verifier.head.seq + 1, f"{checkpoint} holds no checkpoint of tenant {tenant!r}")
    return verifier.result(seen.remarks(compared=verifier.checkpoints), proven=not seen.doubtful)


def _fold(verifier: Verifier, lines: Iterable[bytes]) -> None:
    last: _Last | None = None
    for line in lines:
        seq = verifier.head.seq + 1
        if last is not None:
            verifier.problem = Problem(seq, "inserted: a line stands behind the last one")
        elif line.startswith(_BEFORE) and line.endswith(_AFTER) and line[_BODY - len(_BETWEEN) : _BODY] == _BETWEEN:
            verifier.feed_bytes(line[_BODY : -len(_AFTER)], line[len(_BEFORE) : len(_BEFORE) + 64].decode("latin-1"))
        elif (last := _tip(line)) is None and verifier.problem is None:
            verifier.problem = Problem(seq, _unreadable(line))
        if verifier.problem is not None and not verifier.wants_more:
            return
    tip = Head(last.entries, last.hash) if last is not None else None
    if verifier.finish(tip, _TIP) is not None:
        return
    if tip is None:
        verifier.problem = Problem(verifier.head.seq + 1, "truncated: the export has no last line")
    elif tip != verifier.head:
        what = "truncated" if tip.seq > verifier.head.seq else "edited"
        reason = f"{what}: the entries end at {verifier.head.seq}, but {_TIP} names {tip.seq} {tip.hash[:16]}"
        verifier.problem = Problem(min(tip.seq, verifier.head.seq + 1), reason)


class _Seen:
    """The checkpoints of one tenant, on their way from a file into the verifier, and what is to be said of them."""

    def __init__(self, tenant: str, keys: tuple[PublicKey, ...], *, trusted: bool = False) -> None:
        self._tenant = tenant
        self._keys = keys
        self._trusted = trusted  #: their file is, whoever signed them
        self._torn = 0
        self._unchecked = 0
        self._named = 0

    def anchors(self, found: Iterable[Note | Torn | Bad], since: int) -> Iterator[Anchor | Problem]:
        """What each checkpoint says; a note that cannot be believed is a Problem."""
        for one in found:
            if isinstance(one, Torn):
                self._torn += 1
            elif isinstance(one, Bad):
                yield Problem(0, f"line {one.line} of the file of checkpoints begins no checkpoint: {one.reason}")
            elif (anchor := self._anchor(one, since)) is not None:
                yield anchor

    def _anchor(self, note: Note, since: int) -> Anchor | Problem | None:
        try:
            checkpoint = parse_checkpoint(note.text)
        except NoteError as error:
            return Problem(0, f"the file of checkpoints holds another note: {error}")
        seq, what = checkpoint.head.seq, f"the checkpoint of {checkpoint.time}"
        if checkpoint.tenant != self._tenant or seq < since:
            return None
        if not self._keys:
            self._unchecked += 1
            what += "" if self._trusted else " (its signature was not checked)"
        elif not (signed := _signed(self._keys, note)):
            why = "does not bear a true signature" if signed is False else "is signed with no key that is known"
            return Problem(seq, f"{what}, which names {seq}, {why}: it was forged or edited")
        self._named += 1
        return Anchor(seq, checkpoint.head.hash, what, signed=not self.doubtful)

    @property
    def doubtful(self) -> bool:
        """True where anybody may have written what was to prove it."""
        return bool(self._unchecked) and not self._trusted

    def remarks(self, *, compared: int) -> tuple[str, ...]:
        """What a reader must know."""
        found = [] if compared or self._named else [_CHAIN_ALONE]
        if self.doubtful:
            found.append(
                "the signatures of the checkpoints could NOT be checked, so that anybody may have written them: "
                "no public key was given, nor found beside them"
            )
        elif self._unchecked:
            found.append("the checkpoints were taken on trust: their signatures were not checked")
        if self._torn:
            found.append(f"{self._torn} incomplete checkpoint(s), cut off by a crash, passed over")
        return tuple(found)


def _tenant_of(note: Note) -> str:
    try:
        return parse_checkpoint(note.text).tenant
    except NoteError:
        return ""


def _signed(keys: Iterable[PublicKey], note: Note) -> bool | None:
    """True where a known key signed, False where one is said to have and did not, None where none is named."""
    answers = [key.signed(note) for key in keys]
    return False if False in answers else True if True in answers else None


def _keys(checkpoint: Path | None, public_key: Path | str | None) -> tuple[PublicKey, ...]:
    if isinstance(public_key, str) and public_key.count("+") >= 2 and not Path(public_key).exists():
        try:
            return (parse_public_key(public_key),)
        except NoteError as error:
            raise ConfigError(f"the public key is not one: {error}") from None
    if public_key is not None:
        return read_public_keys(Path(public_key))
    if checkpoint is None:
        return ()
    name = checkpoint.name
    beside = (f"{name.removesuffix('.checkpoints')}.key.pub", f"{name}.pub")
    return next((read_public_keys(file) for one in beside if (file := checkpoint.with_name(one)).is_file()), ())


def _tenant(line: bytes) -> str | None:
    try:
        first = msgspec.json.decode(line, type=_First)
        return first.tenant if first.interlock_audit == FORMAT and encode(first) + b"\n" == line else None
    except (msgspec.MsgspecError, ValueError, RecursionError):
        return None


def _tip(line: bytes) -> _Last | None:
    try:
        last = msgspec.json.decode(line, type=_Last)
        return last if last.entries >= 0 and encode(last) + b"\n" == line else None
    except (msgspec.MsgspecError, ValueError, RecursionError):
        return None


def _unreadable(line: bytes) -> str:
    if line.endswith(b"\n"):
        return "edited: the line is not one of an export"
    return f"longer than {MAX_LINE} bytes" if len(line) == MAX_LINE else "truncated: the file ends within a line"


def _decoded(tenant: str, seq: int, body: bytes) -> Entry:
    try:
        return decode(body)
    except (msgspec.MsgspecError, ValueError, RecursionError) as error:
        raise InterlockError(f"entry {seq} of tenant {tenant!r} is no entry ({error}): verify the audit") from None
