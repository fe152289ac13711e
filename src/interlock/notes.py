"""Signed notes and checkpoints: the C2SP forms signed-note and tlog-checkpoint, signed with Ed25519.

Not where they are kept, nor when they are made (`checkpoints.py`). One difference from tlog-checkpoint: the log is a
chain and not a tree, so the third line is the hash of the last entry, and consistency is proven by reading the entries.
Law: nothing of a note is believed before its signature is; what is parsed is exactly what would have been written.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import os
import secrets
import stat
from datetime import UTC, datetime, timedelta
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple
from urllib.parse import quote, unquote

from msgspec import Struct

from interlock.core.audit import Head
from interlock.errors import ConfigError

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

KEY_NAME = "interlock"
ORIGIN = "interlock/"
MAX_SIGNATURES = 16
_ED25519 = b"\x01"
_DASH = "— "
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_PRIVATE = "PRIVATE+KEY+"


class NoteError(ValueError):
    """Text that is not a note, a checkpoint or a key."""


# --- checkpoints -----------------------------------------------------------------------------------------------------


class Checkpoint(Struct, frozen=True):
    """A statement of the tip of one tenant's chain at a time (microseconds)."""

    tenant: str
    head: Head
    at: int

    @property
    def time(self) -> str:
        """When, as RFC 3339."""
        return (_EPOCH + timedelta(microseconds=self.at)).strftime("%Y-%m-%dT%H:%M:%S.%fZ")

    @property
    def text(self) -> str:
        """What is signed: origin, size, hash, and the time as an extension line."""
        tip = base64.b64encode(bytes.fromhex(self.head.hash)).decode()
        return f"{ORIGIN}{quote(self.tenant, safe='')}\n{self.head.seq}\n{tip}\n{self.time}\n"


def parse_checkpoint(text: str) -> Checkpoint:
    """The checkpoint that a note's text is. Raises NoteError."""
    lines = text.split("\n")
    if len(lines) != 5 or lines[4] or not lines[0].startswith(ORIGIN):
        raise NoteError("not a checkpoint: it needs an origin, a size, a hash and a time")
    size, tip = lines[1], _unbase64(lines[2], 32)
    if not (size.isascii() and size.isdigit() and len(size) <= 19):
        raise NoteError("the size of a checkpoint is not a number")
    try:
        at = (datetime.fromisoformat(lines[3]) - _EPOCH) // timedelta(microseconds=1)
        found = Checkpoint(unquote(lines[0][len(ORIGIN) :], errors="strict"), Head(int(size), tip.hex()), at)
        spelled = found.text
    except (ValueError, TypeError, OverflowError) as error:
        raise NoteError(f"not a checkpoint: {error}") from None
    if spelled != text:
        raise NoteError("not a checkpoint: it is not spelled as one")
    return found


# --- notes -----------------------------------------------------------------------------------------------------------


class Signature(NamedTuple):
    """One line below a note."""

    name: str
    key_id: bytes
    raw: bytes


class Note(Struct, frozen=True):
    """Text that somebody signed. Nothing in it is to be believed before `PublicKey.signed` says True."""

    text: str
    signatures: tuple[Signature, ...]


def parse_note(raw: str) -> Note:
    """A note from its text. Raises NoteError. A missing last line break is forgiven: people paste notes."""
    text, found, below = raw.rpartition("\n\n")
    lines = below.removesuffix("\n").split("\n")
    if not found or not text:
        raise NoteError("not a signed note: it has no signature below a blank line")
    if any(char < " " and char != "\n" for char in raw):
        raise NoteError("not a signed note: it holds control characters")
    if len(lines) > MAX_SIGNATURES:
        raise NoteError(f"a note with more than {MAX_SIGNATURES} signatures")
    return Note(f"{text}\n", tuple(map(_signature, lines)))


def _signature(line: str) -> Signature:
    parts = line.removeprefix(_DASH).split(" ")
    if not line.startswith(_DASH) or len(parts) != 2 or not _is_name(parts[0]):
        raise NoteError("not a signed note: a line below the text is not a signature")
    raw = _unbase64(parts[1])
    if len(raw) <= 4:
        raise NoteError("a signature is too short")
    return Signature(parts[0], raw[:4], raw[4:])


# --- keys ------------------------------------------------------------------------------------------------------------


class PublicKey(Struct, frozen=True, dict=True):
    """What a signature is checked with."""

    name: str
    raw: bytes

    @cached_property
    def key_id(self) -> bytes:
        """Which key: the first four bytes of a hash, by the specification. A hint, no proof."""
        return hashlib.sha256(self.name.encode() + b"\n" + _ED25519 + self.raw).digest()[:4]

    @property
    def line(self) -> str:
        """The key as signed-note verifiers take it: name+id+key."""
        return f"{self.name}+{self.key_id.hex()}+{base64.b64encode(_ED25519 + self.raw).decode()}"

    @cached_property
    def _key(self) -> Ed25519PublicKey:
        from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

        return Ed25519PublicKey.from_public_bytes(self.raw)

    def signed(self, note: Note) -> bool | None:
        """True or False for a note that says it is of this key; None for one that does not."""
        from cryptography.exceptions import InvalidSignature

        mine = [one.raw for one in note.signatures if one.name == self.name and one.key_id == self.key_id]
        try:
            for raw in mine:
                self._key.verify(raw, note.text.encode())
        except InvalidSignature:
            return False
        return True if mine else None


def parse_public_key(line: str) -> PublicKey:
    """A public key from its line. Raises NoteError."""
    name, key_id, encoded = _fields(line.strip())
    raw = _unbase64(encoded, 33)
    key = PublicKey(name, raw[1:])
    if raw[:1] != _ED25519 or key_id != key.key_id.hex():
        raise NoteError("not an Ed25519 public key of a signed note, or its id does not fit it")
    return key


class Signer:
    """An Ed25519 key that signs notes. Its seed is in no repr."""

    def __init__(self, seed: bytes, name: str = KEY_NAME) -> None:
        from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

        self._seed = seed
        self._key: Ed25519PrivateKey = Ed25519PrivateKey.from_private_bytes(seed)
        self.public = PublicKey(name, self._key.public_key().public_bytes_raw())

    @classmethod
    def new(cls, name: str = KEY_NAME) -> Signer:
        """A key that nobody had before."""
        return cls(secrets.token_bytes(32), name)

    def sign(self, text: str) -> str:
        """The note of a text. The text ends with a line break."""
        raw = self.public.key_id + self._key.sign(text.encode())
        return f"{text}\n{_DASH}{self.public.name} {base64.b64encode(raw).decode()}\n"

    def derived(self, purpose: str) -> bytes:
        """A secret for another purpose: from it nobody learns the key, nor the secret of any other purpose."""
        from cryptography.hazmat.primitives.hashes import SHA256
        from cryptography.hazmat.primitives.kdf.hkdf import HKDF

        return HKDF(SHA256(), 32, salt=None, info=purpose.encode()).derive(self._seed)

    @property
    def line(self) -> str:
        """The private key, in the spelling of signed-note tools."""
        public, encoded = self.public, base64.b64encode(_ED25519 + self._seed).decode()
        return f"{_PRIVATE}{public.name}+{public.key_id.hex()}+{encoded}"


def parse_private_key(line: str) -> Signer:
    """A signer from its line. Raises NoteError, which never holds the key."""
    line = line.strip()
    if not line.startswith(_PRIVATE):
        raise NoteError("not the private key of a signed note")
    name, key_id, encoded = _fields(line.removeprefix(_PRIVATE))
    raw = _unbase64(encoded, 33)
    signer = Signer(raw[1:], name)
    if raw[:1] != _ED25519 or key_id != signer.public.key_id.hex():
        raise NoteError("not an Ed25519 private key of a signed note, or its id does not fit it")
    return signer


class KeyFile:
    """A private key in a file that its owner alone may read, and the public key beside it in `<path>.pub`.

    Made on first use. After a rotation `.pub` keeps the lines of the old keys, so that old checkpoints still verify.
    """

    def __init__(self, path: Path, name: str = KEY_NAME) -> None:
        self.path = path
        self.public_path = path.with_name(path.name + ".pub")
        self._name = name
        if path.exists():
            self._refuse_if_shared()

    @cached_property
    def signer(self) -> Signer:
        """The key. Raises ConfigError."""
        try:
            if not self.path.exists():
                self._make()
            self._refuse_if_shared()
            signer = parse_private_key(self.path.read_text("ascii"))
            self._publish(signer.public)
        except (NoteError, UnicodeError) as error:
            raise ConfigError(f"{self.path} does not hold a checkpoint key: {error}") from None
        except OSError as error:
            raise ConfigError(f"the checkpoint key {self.path} cannot be used: {error.strerror}") from error
        return signer

    def public_keys(self) -> tuple[PublicKey, ...]:
        """The keys that checkpoints may be signed with; none where no key was ever made. Raises ConfigError."""
        if not self.public_path.exists():
            return (self.signer.public,) if self.path.exists() else ()
        return read_public_keys(self.public_path)

    def _make(self) -> None:
        self.path.parent.mkdir(parents=True, exist_ok=True)
        draft = self._draft(self.path, Signer.new(self._name).line + "\n", 0o600)
        try:
            os.link(draft, self.path)  # whole or not at all, and only the first of several processes makes it
        except FileExistsError:
            pass
        finally:
            draft.unlink()

    def _draft(self, path: Path, text: str, mode: int) -> Path:
        draft = path.with_name(f".{path.name}.{secrets.token_hex(8)}")
        with os.fdopen(os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode), "w", encoding="utf-8") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        return draft

    def _refuse_if_shared(self) -> None:
        mode = self.path.stat().st_mode
        if not stat.S_ISREG(mode) or mode & 0o077:
            raise ConfigError(f"the checkpoint key {self.path} must be a file of its owner alone: chmod 600 it")

    def _publish(self, key: PublicKey) -> None:
        known = self.public_path.read_text("utf-8") if self.public_path.exists() else ""
        if key.line not in known.splitlines():  # whoever reads it meanwhile, or after a crash, reads it whole
            self._draft(self.public_path, known + key.line + "\n", 0o644).replace(self.public_path)


def read_public_keys(path: Path) -> tuple[PublicKey, ...]:
    """The public keys of a file, one on a line. Raises ConfigError."""
    try:
        if path.stat().st_size > 1_000_000:
            raise NoteError("it is too large")
        lines = path.read_text("utf-8").splitlines()
        keys = tuple(parse_public_key(line) for line in lines if line.strip())
    except OSError as error:
        raise ConfigError(f"the public key {path} cannot be read: {error.strerror}") from error
    except ValueError as error:
        raise ConfigError(f"{path} does not hold a public key: {error}") from None
    if not keys:
        raise ConfigError(f"{path} does not hold a public key: it is empty")
    return keys


def _fields(line: str) -> tuple[str, str, str]:
    parts = line.split("+", 2)  # base64 has pluses of its own
    if len(parts) != 3 or not _is_name(parts[0]):
        raise NoteError("not a key of a signed note: it must read name+id+key")
    return parts[0], parts[1], parts[2]


def _is_name(name: str) -> bool:
    return bool(name) and "+" not in name and not any(char.isspace() for char in name)


def _unbase64(text: str, length: int | None = None) -> bytes:
    try:
        raw = binascii.a2b_base64(text.encode("ascii"), strict_mode=True)
    except ValueError as error:
        raise NoteError(f"not base64: {error}") from None
    if base64.b64encode(raw).decode() != text or (length is not None and len(raw) != length):
        raise NoteError("not base64 of the right length")
    return raw
