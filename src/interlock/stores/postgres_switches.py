"""The switch board in PostgreSQL: a table and a connection of its own.

Not the ledger: no transaction of it touches this table, so a kill never waits for one. Law: one statement, one round
trip; what was put is seen by whoever reads after it, in every process.
"""

from __future__ import annotations

import msgspec

from interlock.core.switch import Switch
from interlock.stores.postgres_tables import statement
from interlock.stores.wire import Statement, Step, Wire, bigint, boolean, text

_ACTIVE = statement("active", "SELECT body FROM switches WHERE active ORDER BY at, switch_id")
_HISTORY = statement("history", "SELECT body FROM switches ORDER BY at, switch_id")
_PUT = statement(
    "put",
    "INSERT INTO switches (switch_id, at, active, body) VALUES ($1::text, $2::bigint, $3::boolean, $4::text)"
    " ON CONFLICT (switch_id) DO UPDATE SET at = excluded.at, active = excluded.active, body = excluded.body",
)

_encode = msgspec.json.Encoder().encode
_as_switch = msgspec.json.Decoder(Switch).decode


class PostgresSwitchBoard:
    """A `ports.SwitchBoard` on a connection and a table of its own, which no ledger transaction touches."""

    def __init__(self, url: str) -> None:
        self._wire = Wire(url)
        self._wire.migrate("postgres")

    def active(self) -> tuple[Switch, ...]:
        """See `ports.SwitchBoard`. One statement, one round trip."""
        return self._read(_ACTIVE)

    def history(self) -> tuple[Switch, ...]:
        """See `ports.SwitchBoard`."""
        return self._read(_HISTORY)

    def put(self, switch: Switch) -> None:
        """See `ports.SwitchBoard`."""
        values = (text(switch.switch_id), bigint(switch.at), boolean(switch.active), _encode(switch))
        with self._wire:
            self._wire.trip([Step(_PUT, values)], again=True)

    def close(self) -> None:
        """See `ports.SwitchBoard`."""
        self._wire.close()

    def _read(self, query: Statement) -> tuple[Switch, ...]:
        with self._wire:
            rows = self._wire.trip([Step(query)], again=True)[0]
        return tuple([_as_switch(body or b"") for (body,) in rows])
