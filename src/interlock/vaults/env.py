"""Credentials in environment variables.

Not a cache: each call reads the variable as it is now. Law: empty is unset; an error names the variable, never the
value. How tenants become names, and why some are refused: `vaults/template.py`.
"""

from __future__ import annotations

import os
from collections.abc import Mapping

from interlock.errors import CredentialError
from interlock.vaults.template import template


class EnvVault:
    """Credential name → template of a variable's name, such as `ZENDESK_{TENANT}_{ENV}`."""

    def __init__(self, templates: Mapping[str, str], environ: Mapping[str, str] | None = None) -> None:
        self._templates = {name: template(name, text, ("__", "_")) for name, text in templates.items()}
        self._environ = os.environ if environ is None else environ

    def lend(self, name: str, *, tenant: str, env: str) -> str:
        """The value of the variable, without newlines at its end. Raises CredentialError where it is unset or empty."""
        found = self._templates.get(name)
        if found is None:
            raise CredentialError(f"there is no credential {name!r} in the environment vault")
        variable = found.filled(name, tenant=tenant, env=env)
        value = self._environ.get(variable, "").rstrip("\r\n")
        if not value.strip():
            raise CredentialError(f"credential {name!r}: the environment variable {variable} is not set, or empty")
        return value
