"""Credentials in files, one file each.

Not a cache: each call reads the file as it is now. Law: a file that anyone but its owner can read lends nothing, nor
one that is not ours or root's; what is checked is the opened file, not the path. An error names the file, never the
value.

Symbolic links are followed where Kubernetes needs it: the file may be a link to one of the same name under its own
directory. A link to another name, or a link among the directories that tenant and env name, is refused: it could lend
one tenant the credential of another. The directory above the file must not be writable by others.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Mapping
from pathlib import Path

from interlock.errors import ConfigError, CredentialError
from interlock.vaults.template import Template, template

MAX_BYTES = 65_536


class FileVault:
    """Credential name → template of an absolute path, such as `/run/secrets/{tenant}/zendesk`."""

    def __init__(self, templates: Mapping[str, str]) -> None:
        self._templates: dict[str, Template] = {}
        for name, text in templates.items():
            path = text.removeprefix("//") if text.startswith("///") else text
            if not path.startswith("/") or ".." in path.split("/"):
                raise ConfigError(f"credential {name!r}: file: takes an absolute path without '..', not {text!r}")
            self._templates[name] = template(name, path, ("/",))

    def lend(self, name: str, *, tenant: str, env: str) -> str:
        """The text of the file, without newlines at its end. Raises CredentialError."""
        found = self._templates.get(name)
        if found is None:
            raise CredentialError(f"there is no credential {name!r} in the file vault")
        path = found.filled(name, tenant=tenant, env=env)
        try:
            raw = read_private(_followed(path, _fixed_part(found.text)))
        except OSError as error:
            raise CredentialError(f"credential {name!r}: {path}: {error.strerror or 'cannot be read'}") from None
        try:
            value = raw.decode().rstrip("\r\n")
        except UnicodeDecodeError:
            raise CredentialError(f"credential {name!r}: {path} is not UTF-8 text") from None
        if not value.strip():
            raise CredentialError(f"credential {name!r}: {path} is empty")
        return value


def _fixed_part(text: str) -> str:
    """The directories of a template before its first place: the operator's own, links and all."""
    return os.path.dirname(text.partition("{")[0])  # noqa: PTH120  a text with braces, not a path yet


def _followed(path: str, fixed: str) -> Path:
    """Where the path leads. Raises OSError where a link leads away from what tenant and env name."""
    home = Path(os.path.realpath(fixed)) / os.path.relpath(path, fixed)
    real = Path(os.path.realpath(path))
    if real.name != home.name or not real.is_relative_to(home.parent):
        raise OSError(0, "is, or stands behind, a symbolic link to elsewhere")
    return real


def read_private(path: Path) -> bytes:
    """The bytes of a file that is only its owner's. Raises OSError."""
    descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NONBLOCK)
    try:
        _refuse_shared(os.fstat(descriptor), path)
        raw = b""
        while len(raw) <= MAX_BYTES and (more := os.read(descriptor, MAX_BYTES + 1 - len(raw))):
            raw += more
    finally:
        os.close(descriptor)
    if len(raw) > MAX_BYTES:
        raise OSError(0, f"is larger than {MAX_BYTES} bytes")
    return raw


def _refuse_shared(found: os.stat_result, path: Path) -> None:
    if not stat.S_ISREG(found.st_mode):
        raise OSError(0, "is not a file")
    if found.st_mode & 0o077:
        raise OSError(0, f"can be read by others (mode {stat.S_IMODE(found.st_mode):04o}); run chmod 600 on it")
    if found.st_uid not in (0, os.geteuid()):
        raise OSError(0, "belongs to another user; it must be this process's own, or root's")
    above = path.parent.stat()
    if above.st_mode & 0o022 and not above.st_mode & stat.S_ISVTX:
        raise OSError(0, f"stands in a directory that others can write to (mode {stat.S_IMODE(above.st_mode):04o})")
