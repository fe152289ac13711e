"""Credentials in HashiCorp Vault, or OpenBao: the KV secrets engine, version 2, over HTTP.

Not a client of Vault in general, and no login: the token comes from the environment, or from the file that an agent of
Vault keeps. Law: a template names the path as Vault's own API and policies do; an error names the path and the remedy,
never a value and never the token; what was lent is known for a minute, and then Vault says it again or nothing is lent.

`vault:secret/data/{tenant}/zendesk#token` is the field `token` of the secret `{tenant}/zendesk` in the engine `secret`.
Read from the environment: VAULT_ADDR, VAULT_TOKEN or VAULT_TOKEN_FILE, VAULT_NAMESPACE, VAULT_CACERT.
"""

from __future__ import annotations

import os
import ssl
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Mapping
from http.client import HTTPException
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import quote, urlsplit

import msgspec

from interlock.errors import ConfigError, CredentialError
from interlock.vaults.file import read_private
from interlock.vaults.template import Template, template

KEPT = 60.0  #: seconds that a secret is lent without Vault being asked again
TIMEOUT = 5.0  #: seconds for one answer
PAUSE = 1.0  #: seconds in which a Vault that could not be reached is not asked again, so that nobody queues up for it
MAX_BYTES = 1_048_576

_REMEDIES = {
    400: "it does not take the request; is VAULT_NAMESPACE right?",
    403: "the token may not read it, or is no longer valid; look at its policy, and at VAULT_TOKEN or VAULT_TOKEN_FILE",
    404: "there is no such secret, or its newest version is deleted; a path of KV version 2 has /data/ in it",
    429: "it is asked too often",
    473: "it is a standby that does not answer reads; let VAULT_ADDR name the active one",
    503: "it is sealed, or in maintenance",
}


class Place(NamedTuple):
    """Where one credential is: the path of a secret, and the field in it."""

    path: Template
    field: str


class _NoRedirect(urllib.request.HTTPRedirectHandler):
    """The token goes to the address that was named, and to no other."""

    def redirect_request(self, *_: object, **__: object) -> None:
        return None


class HashicorpVault:
    """Credential name → `MOUNT/data/PATH#FIELD`, with `{tenant}` and `{env}` among the parts of PATH."""

    waits = True  #: see `ports.Vault`

    def __init__(
        self, templates: Mapping[str, str], environ: Mapping[str, str] | None = None, *,
        kept: float = KEPT, timeout: float = TIMEOUT, pause: float = PAUSE,
    ) -> None:
        self._places = {name: _place(name, text) for name, text in templates.items()}
        self._environ = os.environ if environ is None else environ
        self._kept, self._timeout, self._pause = kept, timeout, pause
        self._lock = threading.Lock()
        self._known: dict[str, tuple[float, Mapping[str, Any]]] = {}  # path → until when, its fields
        self._down_until = float("-inf")

    def __repr__(self) -> str:  # what is known stays inside
        return f"HashicorpVault({', '.join(self._places)})"

    def lend(self, name: str, *, tenant: str, env: str) -> str:
        """The field of the secret, as it is now or was within the last minute. Waits for Vault. Raises
        CredentialError."""
        place = self._places.get(name)
        if place is None:
            raise CredentialError(f"there is no credential {name!r} in Vault")
        path = place.path.filled(name, tenant=tenant, env=env)
        fields = self._fields(name, path)
        value = fields.get(place.field)
        if not isinstance(value, str) or not value.strip():
            raise CredentialError(f"credential {name!r}: {path} has no text under {place.field!r} in Vault")
        return value

    def _fields(self, name: str, path: str) -> Mapping[str, Any]:
        with self._lock:
            until, known = self._known.get(path, (float("-inf"), {}))
            now = time.monotonic()
            if now < until:
                return known
            self._known.pop(path, None)
            down = now < self._down_until
        if down:
            raise CredentialError(f"credential {name!r}: Vault could not be reached a moment ago; try again")
        fields = self._read(name, path)
        with self._lock:
            self._known[path] = (time.monotonic() + self._kept, fields)
        return fields

    # --- one request -------------------------------------------------------------------------------------------------

    def _read(self, name: str, path: str) -> Mapping[str, Any]:
        request = self._request(name, path)
        handlers: list[urllib.request.BaseHandler] = [_NoRedirect(), urllib.request.ProxyHandler({})]
        try:
            if request.type == "https":
                context = ssl.create_default_context(cafile=self._environ.get("VAULT_CACERT") or None)
                handlers.append(urllib.request.HTTPSHandler(context=context))
            with urllib.request.build_opener(*handlers).open(request, timeout=self._timeout) as answer:
                raw = answer.read(MAX_BYTES + 1)
        except urllib.error.HTTPError as error:
            with error:
                remedy = _REMEDIES.get(error.code, "see Vault's own log")
            if 300 <= error.code < 400:
                remedy = "it leads elsewhere, and the token is not sent there; let VAULT_ADDR name the active one"
            raise CredentialError(f"credential {name!r}: Vault answers {error.code} for {path}: {remedy}") from None
        except (OSError, HTTPException) as error:
            with self._lock:
                self._down_until = time.monotonic() + self._pause
            reason = getattr(error, "reason", error)
            why = getattr(reason, "strerror", None) or type(reason).__name__
            raise CredentialError(
                f"credential {name!r}: Vault cannot be reached ({why}); see VAULT_ADDR and VAULT_CACERT"
            ) from None
        return _fields_of(raw, name, path)

    def _request(self, name: str, path: str) -> urllib.request.Request:
        """Raises CredentialError where the environment does not say enough."""
        address = self._environ.get("VAULT_ADDR", "").rstrip("/")
        parts = urlsplit(address)
        near = parts.scheme == "http" and parts.hostname in ("localhost", "127.0.0.1", "::1")
        if not parts.hostname or not (parts.scheme == "https" or near) or parts.username:
            raise CredentialError(
                f"credential {name!r}: VAULT_ADDR must name Vault, like https://vault.example:8200 "
                "(http:// is for this machine alone)"
            )
        headers = {"X-Vault-Token": self._token(name), "X-Vault-Request": "true", "User-Agent": "interlock"}
        if namespace := self._environ.get("VAULT_NAMESPACE", ""):
            headers["X-Vault-Namespace"] = namespace
        url = f"{address}/v1/{'/'.join(quote(part, safe='') for part in path.split('/'))}"
        return urllib.request.Request(url, headers=headers)  # noqa: S310  http(s), looked at above

    def _token(self, name: str) -> str:
        """Read anew each time: an agent renews it."""
        token, file = self._environ.get("VAULT_TOKEN", "").strip(), self._environ.get("VAULT_TOKEN_FILE", "")
        if file and not token:
            try:
                token = read_private(Path(file)).decode("ascii").strip()
            except (OSError, UnicodeDecodeError) as error:
                why = getattr(error, "strerror", None) or "cannot be read"
                raise CredentialError(f"credential {name!r}: VAULT_TOKEN_FILE {file}: {why}") from None
        if not token or not token.isascii() or not token.isprintable():
            raise CredentialError(f"credential {name!r}: set VAULT_TOKEN, or VAULT_TOKEN_FILE for an agent's token")
        return token


def _fields_of(raw: bytes, name: str, path: str) -> Mapping[str, Any]:
    """`data.data` of an answer: version 2 wraps what version 1 has in `data`."""
    try:
        said = msgspec.json.decode(raw) if len(raw) <= MAX_BYTES else None
    except msgspec.DecodeError:
        said = None
    for key in ("data", "data"):
        said = said.get(key) if isinstance(said, dict) else None
    if not isinstance(said, dict):
        raise CredentialError(
            f"credential {name!r}: {path} is no secret of the KV engine, version 2; is its path right?"
        )
    return said


def _place(name: str, text: str) -> Place:
    path, hash_, field = text.partition("#")
    parts = path.split("/")
    if not hash_ or not field or "data" not in parts[1:-1] or any(part in ("", ".", "..") for part in parts):
        raise ConfigError(f"credential {name!r}: vault: takes MOUNT/data/PATH#FIELD, not {text!r}")
    return Place(template(name, path, ("/",)), field)
