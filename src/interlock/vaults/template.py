"""Names of credentials with places for tenant and env, so made that two tenants never get the same name.

Not the looking up. Law: from the name that comes out, tenant and env can be told, both.

`{tenant}` and `{env}` stand as they are. `{TENANT}` and `{ENV}` stand in upper case with "-" as "_"; they take only
what can be told from the result: lower-case letters and digits, in groups joined by single "-" (`acme-corp`, but not
`acme_corp` or `Acme-Corp`, which would come to the same name). Where a template has both places, the text between them
must hold a divider: "/" in a file's path, which no value may hold; "_" in a variable's name, which the env may not hold
(the tenant is what is left); or "__", which neither may hold, nor begin or end with "_".
"""

from __future__ import annotations

import re
from typing import NamedTuple

from interlock.errors import ConfigError, CredentialError

_PLACE = re.compile(r"\{([^{}]*)\}")
_UPPER = re.compile(r"[a-z0-9]+(-[a-z0-9]+)*")
_RAW = re.compile(r"[^/\\\x00-\x1f\x7f={}]+")
_KINDS = {"tenant": "tenant", "env": "env", "TENANT": "tenant", "ENV": "env"}


class Template(NamedTuple):
    """A checked template."""

    text: str
    places: tuple[str, ...]  #: as they are written
    divider: str  #: what parts two values: no value may hold it ("" where there is one place, or none)

    def filled(self, name: str, *, tenant: str, env: str) -> str:
        """The name for one tenant and env. Raises CredentialError for a value that cannot stand there safely."""
        values = {"tenant": tenant, "env": env}
        spelled = {place: self._spelled(name, place, values[_KINDS[place]]) for place in self.places}
        return _PLACE.sub(lambda found: spelled[found[1]], self.text)

    def _spelled(self, name: str, place: str, value: str) -> str:
        kind = _KINDS[place]
        if place.isupper():
            if not _UPPER.fullmatch(value):
                raise CredentialError(
                    f"credential {name!r}: {kind} {value!r} has no name of its own in upper case (another could "
                    f"share it); use {{{kind}}} in the template, or names of lower-case letters, digits and single '-'"
                )
            value = value.upper().replace("-", "_")
        elif not _RAW.fullmatch(value) or value in (".", ".."):
            raise CredentialError(f"credential {name!r}: {kind} {value!r} cannot be part of a name")
        self._refuse_divider(name, kind, value)
        return value

    def _refuse_divider(self, name: str, kind: str, value: str) -> None:
        """With "_" it is enough that the env has none: the tenant is what is left."""
        if self.divider == "_" and kind == "tenant":
            return
        at_an_edge = self.divider == "__" and (value[0] == "_" or value[-1] == "_")
        if self.divider and (self.divider in value or at_an_edge):
            raise CredentialError(
                f"credential {name!r}: {kind} {value!r} holds {self.divider!r}, which parts tenant from env"
            )


def template(name: str, text: str, dividers: tuple[str, ...]) -> Template:
    """Check a template, once. The first of `dividers` that stands between its two places is the one in force."""
    places = tuple(found[1] for found in _PLACE.finditer(text))
    literals = _PLACE.split(text)[::2]
    for place in places:
        if place not in _KINDS:
            known = "{tenant}, {env}, {TENANT} and {ENV}"
            raise ConfigError(f"credential {name!r}: there is no {{{place}}}; there are {known}")
    if any("{" in literal or "}" in literal for literal in literals) or not text:
        raise ConfigError(f"credential {name!r}: its template {text!r} is empty, or has an open brace")
    if len({_KINDS[place] for place in places}) < len(places):
        raise ConfigError(f"credential {name!r}: tenant and env may stand in a template once each")
    if len(places) < 2:
        return Template(text, places, "")
    divider = next((each for each in dividers if each in literals[1]), None)
    if divider is None:
        wanted = " or ".join(repr(each) for each in dividers)
        raise ConfigError(f"credential {name!r}: put {wanted} between {{{places[0]}}} and {{{places[1]}}}")
    return Template(text, places, divider)
