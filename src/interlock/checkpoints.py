"""Where signed checkpoints are kept, and who makes them: a file outside the database, and a thread beside the gateway.

Not the note's form (`notes.py`), and not the verification (`audit_log.py`). Law: a note, once written, is never
rewritten; no checkpoint is signed that contradicts one already in the file; and nothing here stands in a call's way:
trouble with the ledger or the disk is logged and tried again, and the gateway goes on.
"""

from __future__ import annotations

import fcntl
import io
import logging
import os
import threading
import time
from collections import deque
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO, NamedTuple

from interlock.core.audit import Head
from interlock.errors import ConfigError, InterlockError, Refused
from interlock.notes import Checkpoint, KeyFile, Note, NoteError, parse_checkpoint, parse_note
from interlock.ports import Clock, HeadKey, Store

EVERY = 100  #: entries after which a tenant's tip is signed…
SECONDS = 1.0  #: …or this long after it moved
_BREATH = 0.05  #: between two sweeps: a burst must not cost an fsync for every hundred entries
_ROUND = 60.0  #: how often everybody is looked at: another process may have died before it signed
_MAX_LINE = 8_192
_MAX_LINES = 64
_TAIL = 1_048_576  #: how far back a newly opened sink looks for the last checkpoint of each tenant
_TORN = "~ incomplete"  #: what the next writer puts behind a note that a crash cut off

log = logging.getLogger("interlock.checkpoints")


# --- reading ---------------------------------------------------------------------------------------------------------


class Torn(NamedTuple):
    """A note that a crash cut off: at the end of the file, or marked so by the next writer."""

    line: int


class Bad(NamedTuple):
    """What stands in the file and is no note."""

    line: int
    reason: str


def read_notes(file: BinaryIO, end: int | None = None) -> Iterator[Note | Torn | Bad]:
    """What stands in a file of notes, up to a byte. Streams; takes any bytes."""
    pending: list[str] = []
    begun, number, signing, torn_line = 1, 0, False, False
    while line := file.readline(_MAX_LINE if end is None else max(0, min(_MAX_LINE, end - file.tell()))):
        number += 1
        torn_line = not line.endswith(b"\n")
        if (torn_line and len(line) == _MAX_LINE) or len(pending) > _MAX_LINES:
            yield Bad(number, "it is longer than any note")
            return  # it is no file of notes: the rest is not worth reading
        text = line.decode("utf-8", "replace").removesuffix("\n")
        if text == _TORN:
            if pending:
                yield Torn(begun)
            pending, signing = [], False
            continue
        if signing and not text.startswith("— "):
            yield _note(pending, begun)
            pending, signing = [], False
        if text or pending:
            begun = begun if pending else number
            signing = signing or (text.startswith("— ") and "" in pending)
            pending.append(text)
    if any(pending):
        last = _note(pending, begun)
        cut_off = torn_line or not signing
        yield Torn(begun) if isinstance(last, Bad) and cut_off else last


def _note(lines: list[str], begun: int) -> Note | Bad:
    try:
        return parse_note("\n".join(lines))
    except NoteError as error:
        return Bad(begun, str(error))


# --- the sink --------------------------------------------------------------------------------------------------------


class Turn:
    """The file while this process alone may write it."""

    def __init__(self, last: dict[str, Head]) -> None:
        self._last = last
        self.notes: list[str] = []

    def last(self, tenant: str) -> Head:
        """The tip that the newest checkpoint of a tenant names, as far back as was looked."""
        return self._last.get(tenant, Head())

    def append(self, checkpoint: Checkpoint, note: str) -> None:
        """Write a note with the others of this turn. It is on disk when the turn is over."""
        self._last[checkpoint.tenant] = checkpoint.head
        self.notes.append(note)


class FileSink:
    """A file of notes, one behind the other, that several processes may append to."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._lock = threading.Lock()
        self._last: dict[str, Head] = {}
        self._file: tuple[int, int] | None = None
        self._read = 0

    @contextmanager
    def turn(self) -> Iterator[Turn]:
        """Exclude other writers, learn what they wrote, and append: one write and one fsync for the whole turn."""
        with self._lock:
            made = not self.path.exists()
            self.path.parent.mkdir(parents=True, exist_ok=True)
            fd = os.open(self.path, os.O_RDWR | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o644)
            try:
                fcntl.flock(fd, fcntl.LOCK_EX)
                self._catch_up(fd)
                turn = Turn(dict(self._last))
                yield turn
                if turn.notes:
                    self._write(fd, "".join(f"{note}\n" for note in turn.notes).encode(), made)
                    self._last = turn._last
            finally:
                os.close(fd)  # and with it the lock

    def read(self, end: int | None = None) -> Iterator[Note | Torn | Bad]:
        """All that stands in it, up to a byte."""
        if not self.path.exists():
            return
        with self.path.open("rb") as file:
            yield from read_notes(file, end)

    def size(self) -> int:
        """How many bytes of whole notes there are: no writer is at work at that moment."""
        if not self.path.exists():
            return 0
        with self.path.open("rb") as file:
            fcntl.flock(file, fcntl.LOCK_SH)
            return os.fstat(file.fileno()).st_size

    def tenants(self) -> set[str]:
        """The tenants that have a checkpoint here. Reads the whole file."""
        return {one.tenant for found in self.read() if (one := _checkpoint(found)) is not None}

    def _catch_up(self, fd: int) -> None:
        status = os.fstat(fd)
        if self._file != (status.st_dev, status.st_ino) or status.st_size < self._read:
            self._file, self._last = (status.st_dev, status.st_ino), {}
            self._read = max(0, status.st_size - _TAIL)
        if status.st_size > self._read:
            fresh = io.BytesIO(_read_at(fd, self._read, status.st_size))
            # a note cut through by the place where reading began is no checkpoint, and is passed over
            for one in map(_checkpoint, read_notes(fresh)):
                if one is not None:
                    self._last[one.tenant] = one.head
            self._read = status.st_size

    def _write(self, fd: int, data: bytes, made: bool) -> None:
        size = os.fstat(fd).st_size
        tail = _read_at(fd, max(0, size - _MAX_LINE), size)
        if tail and not (tail.endswith(b"\n\n") and tail.rstrip(b"\n").rpartition(b"\n")[2].startswith("— ".encode())):
            data = f"\n{_TORN}\n\n".encode() + data
        while data:
            data = data[os.write(fd, data) :]
        os.fsync(fd)
        self._read = os.fstat(fd).st_size
        if made:
            directory = os.open(self.path.parent, os.O_RDONLY)
            try:
                os.fsync(directory)
            finally:
                os.close(directory)


def _read_at(fd: int, begin: int, end: int) -> bytes:
    parts = []
    while begin < end and (part := os.pread(fd, end - begin, begin)):
        parts.append(part)
        begin += len(part)
    return b"".join(parts)


def _checkpoint(found: Note | Torn | Bad) -> Checkpoint | None:
    try:
        return parse_checkpoint(found.text) if isinstance(found, Note) else None
    except NoteError:
        return None


# --- who signs -------------------------------------------------------------------------------------------------------


class Places(NamedTuple):
    """Where the key and the checkpoints of a ledger are, if the config does not say otherwise."""

    key: Path
    sink: Path


def beside(ledger: Path) -> Places:
    """The places beside a SQLite ledger. Better is a sink on another machine's disk: say so in the config."""
    return Places(ledger.with_name(ledger.name + ".key"), ledger.with_name(ledger.name + ".checkpoints"))


class Notary:
    """Signs the tips of the ledger's chains. Any thread may call it."""

    def __init__(self, store: Store, key: KeyFile, sink: FileSink, clock: Clock) -> None:
        self.key = key
        self.sink = sink
        self._store = store
        self._clock = clock

    def checkpoint(self, tenant: str) -> str:
        """Sign the tip of a tenant's chain now. Gives the note. Raises Refused, ConfigError, LedgerUnavailable."""
        try:
            with self.sink.turn() as turn:
                head = self._store.load(HeadKey(tenant))
                if head is None or not head.seq:
                    raise Refused(f"tenant {tenant!r} has no audit entries, so there is nothing to sign")
                if (why := _contradiction(tenant, turn.last(tenant), head)) is not None:
                    raise Refused(why)
                return self._sign(turn, tenant, head)
        except OSError as error:
            raise ConfigError(f"the checkpoints in {self.sink.path} cannot be written: {error.strerror}") from error

    def sweep(self, tenants: Iterable[str], every: int = 1) -> tuple[set[str], dict[str, str]]:
        """Sign the tips that have moved on by so many entries. Gives the tenants that are still due, and those whose
        ledger contradicts its last checkpoint, with why."""
        due, wrong = set(), {}
        with self.sink.turn() as turn:
            for tenant in tenants:
                last, head = turn.last(tenant), self._store.load(HeadKey(tenant)) or Head()
                if (why := _contradiction(tenant, last, head)) is not None:
                    wrong[tenant] = why
                elif head.seq - last.seq >= every:
                    self._sign(turn, tenant, head)
                elif head.seq > last.seq:
                    due.add(tenant)
        return due, wrong

    def all_tenants(self) -> set[str]:
        """Everybody who has a chain."""
        return set(self._store.tenants())

    def _sign(self, turn: Turn, tenant: str, head: Head) -> str:
        checkpoint = Checkpoint(tenant, head, self._clock.now())
        note = self.key.signer.sign(checkpoint.text)
        turn.append(checkpoint, note)
        return note


def _contradiction(tenant: str, last: Head, head: Head) -> str | None:
    if head.seq > last.seq or head == last:
        return None
    return (
        f"the ledger's head of tenant {tenant!r} is {head.seq} {head.hash[:16]}, but {last.seq} {last.hash[:16]} was "
        "signed before: the log was cut off, edited, or restored from a backup. Verify it; if the restored one is to "
        "stay, move the file of checkpoints away"
    )


class Checkpointer:
    """The thread that signs: for each tenant at least every 100 entries or second, and when it is closed."""

    def __init__(
        self, notary: Notary, *, every: int = EVERY, seconds: float = SECONDS, breath: float = _BREATH
    ) -> None:
        self._notary = notary
        self._every = every
        self._seconds = seconds
        self._breath = breath
        self._noticed: deque[str] = deque()
        self._wake = threading.Event()
        self._closing = threading.Event()
        self._due: set[str] = set()
        self._swept = self._rounded = -_ROUND  # when all that was due was signed; when everybody was looked at
        self._said: dict[str, str] = {}
        self._trouble = ""
        self._thread = threading.Thread(target=self._run, name="interlock-checkpoints", daemon=True)
        self._thread.start()

    def noticed(self, tenant: str) -> None:
        """An entry of a tenant was committed. Costs a tenth of a microsecond, and never blocks or raises."""
        self._noticed.append(tenant)
        if len(self._noticed) >= self._every and not self._wake.is_set():
            self._wake.set()

    def close(self) -> None:
        """Sign what has moved since, and stop. Never raises for trouble with ledger or disk: it is logged."""
        if not self._closing.is_set():
            self._closing.set()
            self._wake.set()
            self._thread.join()
            self._attempt(1)

    def _run(self) -> None:
        while True:
            now = time.monotonic()
            if now - self._rounded >= _ROUND:
                self._rounded = now
                self._attempt(1, everybody=True)
            elif now - self._swept >= self._seconds:
                self._attempt(1)
            else:
                self._attempt(self._every)
            if self._closing.wait(self._breath):
                return
            self._wake.wait(max(0.0, self._swept + self._seconds - time.monotonic()))
            self._wake.clear()

    def _attempt(self, every: int, *, everybody: bool = False) -> None:
        try:
            self._sweep(every, everybody)
            self._trouble = ""
        except Exception as error:
            # whatever it is (ledger gone, disk full, key unreadable), the calls go on, and it is tried again
            self._rounded = self._rounded if not everybody else time.monotonic() - _ROUND + self._seconds
            if (trouble := f"{type(error).__name__}: {error}") != self._trouble:
                self._trouble = trouble
                say = log.warning if isinstance(error, (InterlockError, OSError)) else log.exception
                say("checkpoints cannot be written, trying again: %s", trouble)
        if every == 1:
            self._swept = time.monotonic()

    def _sweep(self, every: int, everybody: bool) -> None:
        for _ in range(len(self._noticed)):
            self._due.add(self._noticed.popleft())
        if everybody:
            self._due |= self._notary.all_tenants()
        if not self._due:
            return
        self._due, wrong = self._notary.sweep(self._due, every)
        for tenant, why in wrong.items():
            if self._said.get(tenant) != why:
                self._said[tenant] = why
                log.error("no checkpoint: %s", why)
