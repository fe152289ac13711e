"""What has to be in order before the service listens.

Not the service. Law: an address that others can reach is not served without a way to know who calls, secrets that can
be guessed are none, and a ledger that cannot be written is found out now, not by the first call.
"""

from __future__ import annotations

from ipaddress import ip_address
from typing import TYPE_CHECKING

from interlock.errors import ConfigError, CredentialError, LedgerUnavailable
from interlock.faces.http.api_health import troubles_of
from interlock.vaults import Vaults

if TYPE_CHECKING:
    from interlock.config import Config
    from interlock.gateway import Gateway
    from interlock.identity import Identity

SHORTEST = 16  #: characters of a secret that signs
DIFFERENT = 6  #: characters in it that are not the same


def check(gateway: Gateway, identity: Identity, host: str, workers: int) -> None:
    """Raises ConfigError, CredentialError, LedgerUnavailable."""
    config = gateway.config
    if workers > 1 and not config.ledger.startswith("postgresql://"):
        raise ConfigError(
            f"{workers} workers need PostgreSQL (ledger: postgresql://…): a SQLite ledger has one writer, "
            "and one process serves it faster than several"
        )
    if is_public(host) and config.serve.oidc is None and not identity.has_usable_key():
        raise ConfigError(
            f"{host} can be reached by others, and there is no key yet and no serve.oidc: "
            "make one first (interlock keys create), or serve on 127.0.0.1"
        )
    for place, reference in _secrets(config):
        _check_secret(place, reference)
    troubles = troubles_of(gateway)
    if troubles:
        raise LedgerUnavailable(f"{'; '.join(troubles)}: see the log, and the ledger: of {config.name}")


def is_public(host: str) -> bool:
    """True where more than this machine can reach it."""
    if host == "localhost":
        return False
    try:
        return not ip_address(host).is_loopback
    except ValueError:
        return True


def _secrets(config: Config) -> list[tuple[str, str]]:
    """Where in the config a secret of ours stands."""
    serve = config.serve
    named = (
        ("approvals.webhook.secret", config.approvals.webhook_secret),
        ("serve.slack.signing_secret", serve.slack.signing_secret if serve.slack else None),
        ("serve.oidc.client_secret", serve.oidc.client_secret if serve.oidc else None),
    )
    return [(place, reference) for place, reference in named if reference]


def _check_secret(place: str, reference: str) -> None:
    if "{" in reference:  # a tenant's own: there is none to be asked for yet
        return
    try:
        secret = Vaults({place: reference}).lend(place, tenant="", env="")
    except CredentialError as error:
        raise ConfigError(f"{place}: {error}") from None
    if len(secret) < SHORTEST or len(set(secret)) < DIFFERENT:
        raise ConfigError(
            f"{place} is too weak: it needs at least {SHORTEST} characters that nobody guesses: openssl rand -hex 32"
        )
