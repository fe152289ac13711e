"""The verifier: a fold over the sealed entries of one tenant that finds the first bad one and says why.

Not the writer, and not a reader of any store or file: entries are fed to it, one by one. Law: its memory does not grow
with the log; whatever is not exactly what `seal` would have made is a problem; and what a hash chain alone cannot show
(a cut-off tail, a log chained anew from an edit) it compares with anchors from outside: signed checkpoints and the
ledger's own head.
"""

from __future__ import annotations

from collections.abc import Iterable
from hashlib import sha256
from typing import NamedTuple

import msgspec
from msgspec import Struct

from interlock.core.audit import Entry, Head, Sealed, decode, encode

KNOWN_VERSIONS = frozenset({1})
BEGINNING = Head()


class Problem(Struct, frozen=True, gc=False):
    """The first entry that is not as it was sealed, and what is wrong with it."""

    seq: int
    reason: str


class Anchor(NamedTuple):
    """What somebody outside the log says its tip was at a number."""

    seq: int
    hash: str
    what: str  #: who says so, as it stands in a sentence
    signed: bool = False  #: a checkpoint, not just a row beside the entries


class Verification(Struct, frozen=True, gc=False, kw_only=True):
    """What a verification found."""

    ok: bool
    tenant: str
    entries: int  #: how many were read and found good
    head: Head  #: the last good one; trust it, and the next verification may begin there
    problem: Problem | None = None
    checkpoints: int = 0  #: signed statements that the log agrees with
    remarks: tuple[str, ...] = ()  #: no proof of harm, but what a reader must know

    @property
    def text(self) -> str:
        """All of it in one line."""
        if self.problem is not None:
            said = f"NOT intact, first bad entry {self.problem.seq}: {self.problem.reason} ({self.entries} good before)"
        else:
            tip = f", head {self.head.seq} {self.head.hash[:16]}" if self.head.seq else ""
            said = "intact" if self.ok else "NOT proven, though the chain holds"
            said += f", {_count(self.entries, 'entry', 'entries')}{tip}"
            said += f", {_count(self.checkpoints, 'checkpoint', 'checkpoints')} agreed with"
        return "; ".join((f"{self.tenant!r}: {said}", *self.remarks))


class Verifier:
    """Feed it every entry in order, then `finish`. After a problem it may be fed one entry more: that tells what the
    problem was (a dropped entry from a swapped one); only its first answer's place may sharpen, never its verdict."""

    def __init__(self, tenant: str, start: Head = BEGINNING, anchors: Iterable[Anchor | Problem] = ()) -> None:
        self.tenant = tenant
        self.head = start
        self.entries = 0
        self.checkpoints = 0
        self.problem: Problem | None = None
        self._start = start
        self._anchors = iter(anchors)  # in order of their numbers; a Problem stands for an anchor that cannot be used
        self._proven = start.seq  # nothing up to here is in doubt: it was trusted, or an anchor vouched for it
        self._stray: tuple[Entry, str] | None = None  # the intact entry, with its hash, that stands where it should not
        self._last_at = 0
        self._went_back = 0
        self._anchor: Anchor | Problem | None = None
        self._next_anchor()
        self._meet()

    def feed(self, sealed: Sealed) -> Problem | None:
        """Weigh the next entry. The first problem stays the answer."""
        if self.problem is not None:
            self._look_again(sealed)
            return self.problem
        head, body, entry = self.head, sealed.body, _read(sealed.body)
        seq, digest = head.seq + 1, sha256(body).hexdigest()
        if (
            entry is not None
            and digest == sealed.hash
            and entry.prev == head.hash
            and entry.seq == seq == sealed.seq
            and entry.tenant == self.tenant == sealed.tenant
            and entry.v in KNOWN_VERSIONS
        ):
            self.head = Head(seq, digest)
            self.entries += 1
            if entry.at < self._last_at:
                self._went_back += 1
            self._last_at = entry.at
            if self._anchor is not None and self._anchor.seq <= seq:
                self._meet()
        else:
            self.problem = self._diagnose(sealed, entry, digest)
        return self.problem

    def feed_bytes(self, body: bytes, digest: str) -> Problem | None:
        """Weigh the next entry of a file, which has no columns beside the body."""
        return self.feed(Sealed(self.tenant, self.head.seq + 1, body, digest))

    def finish(self, stored: Head | None = None, what: str = "the ledger's head") -> Problem | None:
        """There are no more entries. `stored` is the tip as it is told beside them, read after them."""
        if self._stray is not None:
            self._look_again(None, stored)
        if self.problem is None and stored is not None and stored.seq < self.head.seq:
            self.problem = Problem(stored.seq + 1, self._behind(stored, what))
        if self.problem is None and self._anchor is not None:
            self.problem = self._beyond(self._anchor)
        return self.problem

    @property
    def wants_more(self) -> bool:
        """True where one entry more would sharpen the problem."""
        return self._stray is not None

    def result(self, remarks: tuple[str, ...] = (), *, proven: bool = True) -> Verification:
        """What was found. `proven=False`: something that was to prove it could not be weighed."""
        if self._went_back:
            # several processes write one chain, each by its own clock: no proof of anything
            remarks = (*remarks, f"the clock stood back {_count(self._went_back, 'time', 'times')}")
        return Verification(
            ok=self.problem is None and proven,
            tenant=self.tenant,
            entries=self.entries,
            head=self.head,
            problem=self.problem,
            checkpoints=self.checkpoints,
            remarks=remarks,
        )

    # --- what anchors say ------------------------------------------------------------------------------------------

    def _next_anchor(self) -> None:
        self._anchor = next(self._anchors, None)
        while isinstance(self._anchor, Anchor) and self._anchor.seq < self._start.seq:
            self._anchor = next(self._anchors, None)  # of the part that is trusted already, and not read

    def _meet(self) -> None:
        """Compare the tip with every anchor that speaks of it."""
        while self.problem is None and (anchor := self._anchor) is not None and anchor.seq <= self.head.seq:
            if isinstance(anchor, Problem):
                self.problem = anchor
            elif anchor.seq < self.head.seq:
                self.problem = Problem(anchor.seq, f"{anchor.what} stands behind a later one: its file was rearranged")
            elif anchor.hash != self.head.hash:
                self.problem = Problem(anchor.seq, self._anew(anchor))
            else:
                self._proven = anchor.seq
                self.checkpoints += anchor.signed
                self._next_anchor()

    def _anew(self, anchor: Anchor) -> str:
        if not anchor.signed:
            return f"{anchor.what} names another entry: the head was edited, or the log was chained anew from an edit"
        first, where = self._proven + 1, f"entry {anchor.seq}"
        if first < anchor.seq:
            where = f"entries {first} to {anchor.seq}"
        return f"chained anew from an edit in {where}: {anchor.what} names another entry here"

    def _behind(self, stored: Head, what: str) -> str:
        if stored.seq < self._start.seq:
            return f"truncated: {what} names {stored.seq}, but {self._start.seq} is trusted"
        return f"inserted, or the head edited: the entries end at {self.head.seq}, but {what} names {stored.seq}"

    def _beyond(self, anchor: Anchor | Problem) -> Problem:
        if isinstance(anchor, Problem):
            return anchor
        return Problem(
            self.head.seq + 1,
            f"truncated: the entries end at {self.head.seq}, but {anchor.what} names {anchor.seq}",
        )

    # --- what is wrong with an entry -------------------------------------------------------------------------------

    def _diagnose(self, sealed: Sealed, entry: Entry | None, digest: str) -> Problem:
        seq = self.head.seq + 1
        intact = entry is not None and digest == sealed.hash
        if sealed.seq > seq and not intact:
            return Problem(seq, f"dropped: entry {sealed.seq} follows entry {seq - 1}")
        if digest != sealed.hash:
            return Problem(seq, "edited: its bytes do not give its hash")
        if entry is None:
            return Problem(seq, "edited: its bytes are not the canonical form of an entry, though its hash fits them")
        if entry.v not in KNOWN_VERSIONS:
            return Problem(seq, f"of version {entry.v}, which this verifier does not know")
        if entry.tenant != self.tenant:
            return Problem(seq, f"inserted: it is an entry of tenant {entry.tenant!r}")
        if entry.seq < seq:
            return Problem(entry.seq, f"inserted: an entry {entry.seq} stands again behind entry {seq - 1}")
        if entry.seq > seq:
            self._stray = entry, digest
            return Problem(seq, _dropped(seq, entry.seq))
        if sealed.tenant != self.tenant or sealed.seq != seq:
            return Problem(seq, f"edited: it is stored as entry {sealed.seq} of {sealed.tenant!r}, which it is not")
        if seq - 1 == self._proven:
            return Problem(seq, f"edited, or put in another's place: it is not bound to {_before(seq)}")
        self._stray = entry, digest
        return Problem(seq, "edited: it is not bound to the entry before it")

    def _look_again(self, after: Sealed | None, stored: Head | None = None) -> None:
        """Sharpen the problem by the entry behind the stray one, or by what stands where there is none."""
        if self._stray is None:
            return
        (stray, digest), self._stray = self._stray, None
        seq, follower = self.head.seq + 1, _read(after.body) if after is not None else None
        if stray.seq > seq:
            if follower is not None and follower.seq != stray.seq + 1:
                self.problem = Problem(seq, f"swapped: entry {stray.seq} stands in its place")
        elif follower is not None and follower.seq == seq and follower.prev == self.head.hash:
            self.problem = Problem(seq, "inserted: the true entry of this number stands behind it")
        elif self._vouched(Head(seq, digest), stored) if follower is None else follower.prev == digest:
            # what follows holds the stray one to be true, so it is the one before it that has changed
            self.problem = Problem(seq - 1, f"edited, and hashed anew: entry {seq} is not bound to it")

    def _vouched(self, head: Head, stored: Head | None) -> bool:
        while isinstance(self._anchor, Anchor) and self._anchor.seq < head.seq:
            self._next_anchor()
        anchor = self._anchor
        return stored == head or (isinstance(anchor, Anchor) and (anchor.seq, anchor.hash) == (head.seq, head.hash))


def _read(body: bytes) -> Entry | None:
    """The entry, where the bytes are exactly its canonical form."""
    try:
        entry = decode(body)
        # a raw part (the arguments) is copied as it stands, so line breaks, which would split an export, are refused
        return entry if encode(entry) == body and b"\n" not in body else None
    except (msgspec.MsgspecError, ValueError, RecursionError):
        return None


def _dropped(first: int, found: int) -> str:
    gone = f"entry {first} is" if found == first + 1 else f"entries {first} to {found - 1} are"
    return f"dropped: {gone} missing, entry {found} stands there"


def _before(seq: int) -> str:
    return "the beginning of the chain" if seq == 1 else f"entry {seq - 1}"


def _count(number: int, one: str, many: str) -> str:
    return f"{number} {one if number == 1 else many}"
