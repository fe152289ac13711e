"""The only place that chooses where keys are kept, and whose tokens are taken beside them.

Not a rule of who is who. Law: keys stand beside the ledger that they open, never in it, so that a revocation waits for
none of its writers; what is opened here is closed by `Gateway.close()`.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from interlock.assemble import ledger_file
from interlock.core.audit import Entry
from interlock.errors import LedgerUnavailable
from interlock.identity import Identity, Provider
from interlock.ports import HeadKey, KeyRing
from interlock.unit import Tx, Unit

if TYPE_CHECKING:
    from interlock.config import Config
    from interlock.gateway import Gateway


def keys_file(config: Config) -> Path | None:
    """The file of the keys beside a SQLite ledger; None for the others."""
    path = ledger_file(config)
    return path.with_name(path.name + ".keys") if path is not None else None


def key_ring(config: Config) -> KeyRing:
    """Where the keys of this config's ledger are. Raises LedgerUnavailable, ConfigError."""
    if config.ledger.startswith("postgresql://"):
        from interlock.stores.postgres_keys import PostgresKeyRing

        return PostgresKeyRing(config.ledger)
    path = keys_file(config)
    if path is None:
        from interlock.stores.memory_keys import MemoryKeyRing

        return MemoryKeyRing()
    if not path.parent.is_dir():
        raise LedgerUnavailable(f"keys {path.name}: the folder {path.parent} does not exist; create it")
    from interlock.stores.sqlite_keys import SqliteKeyRing

    return SqliteKeyRing(path)


def identity_of(gateway: Gateway, ring: KeyRing | None = None, *, tokens: bool = True) -> Identity:
    """Who is who at the faces of this gateway. A gateway on a ledger of its host's has to be given its `ring`.

    `tokens=False`: keys alone; an identity provider's tokens are not taken.
    """

    def record(entry: Entry) -> None:
        def append(tx: Tx) -> None:
            tx.append(entry)

        gateway.committer.run(Unit((HeadKey(entry.tenant),), append))
        gateway.noticed(entry.tenant)

    if ring is None:
        ring = key_ring(gateway.config)
        gateway.closing.insert(0, ring.close)  # the last to go
    return Identity(ring, gateway.clock, record, _provider(gateway) if tokens else None)


def _provider(gateway: Gateway) -> Provider | None:
    settings = gateway.config.serve.oidc
    if settings is None:
        return None
    from interlock.oidc import OidcProvider
    from interlock.oidc_keys import SigningKeys, source

    keys = SigningKeys(source(settings, gateway.config.base), gateway.clock, gateway.telemetry.trouble)
    return OidcProvider(settings, keys, gateway.clock)
