"""Where credentials come from: one name, one template, one value for one call.

Not a store of values: nothing lent is kept here, logged, or named in an error. Law: the value that is lent depends on
tenant and env alone where the template names them, and two tenants are never lent the same one by a collision of names.
"""

from __future__ import annotations

import difflib
from collections.abc import Callable, Mapping

from interlock.errors import ConfigError, CredentialError
from interlock.ports import Vault
from interlock.vaults.env import EnvVault
from interlock.vaults.file import FileVault
from interlock.vaults.hashicorp import HashicorpVault

SCHEMES: dict[str, Callable[[Mapping[str, str]], Vault]] = {
    "env": EnvVault, "file": FileVault, "vault": HashicorpVault,
}


class Vaults:
    """The credentials of a config (name → `scheme:template`) as one vault. A bad template raises ConfigError."""

    def __init__(self, credentials: Mapping[str, str]) -> None:
        by_scheme: dict[str, dict[str, str]] = {}
        for name, template in credentials.items():
            scheme, colon, rest = template.partition(":")
            if not colon or scheme not in SCHEMES:
                known = " or ".join(f"{each}:…" for each in SCHEMES)
                raise ConfigError(f"credential {name!r}: its value is {known}, never the secret itself")
            by_scheme.setdefault(scheme, {})[name] = rest
        self._vaults: dict[str, Vault] = {}
        for scheme, templates in by_scheme.items():
            self._vaults.update(dict.fromkeys(templates, SCHEMES[scheme](templates)))

    @property
    def names(self) -> tuple[str, ...]:
        """The names that can be lent."""
        return tuple(self._vaults)

    def waits(self, name: str) -> bool:
        """See `ports.Vault`."""
        return bool(getattr(self._vaults.get(name), "waits", False))

    def lend(self, name: str, *, tenant: str, env: str) -> str:
        """The credential of that name for one call. Raises CredentialError."""
        vault = self._vaults.get(name)
        if vault is None:
            near = difflib.get_close_matches(name, self._vaults, 1)
            hint = f" (did you mean {near[0]!r}?)" if near else ""
            raise CredentialError(f"there is no credential {name!r}; add it under credentials:{hint}")
        return vault.lend(name, tenant=tenant, env=env)
