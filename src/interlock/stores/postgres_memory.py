"""What a gateway remembers of its tenants between transactions, and a session that stands on it.

Not a cache for reading: nothing is ever answered from it that the database has not confirmed in the same transaction.
Law: every transaction that writes raises the version of its tenants' heads, so a version that is unchanged proves that
nobody else has written since. A transaction may therefore run on what is remembered, and go out in ONE round trip that
begins by checking the versions; what is not remembered is guessed to be absent, and the same trip checks that too. A
guess that was wrong undoes all of it, and the transaction is repeated on what is really there.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import Any

from interlock.core.audit import Head
from interlock.core.lifecycle import State
from interlock.core.record import Record
from interlock.ports import CallKey, HeadKey, Key

REMEMBERED = 10_000  #: values kept, at most
LONGEST_PAUSE = 64  #: transactions without a guess, at most, where another gateway keeps writing to the same tenants

_UNKNOWN = object()


class Miss(Exception):
    """This question cannot be answered from memory."""


class _Tenant:
    """A tenant as it was at one version of its head. None stands for a value that was known not to exist."""

    __slots__ = ("rows", "version")

    def __init__(self, version: int) -> None:
        self.version = version
        self.rows: dict[Key, Any] = {}


class Memory:
    """What one store remembers, for one connection."""

    def __init__(self) -> None:
        self._tenants: dict[str, _Tenant] = {}
        self._size = 0
        self._generation = 0
        self._pause = 0  #: transactions still to go without a guess
        self._next_pause = 1
        self.repeated: set[tuple[str, ...]] = set()  #: fingerprints that were found before: not worth a guess

    def trusts(self, tenants: Collection[str], generation: int) -> bool:
        """True where a transaction on these tenants may stand on what is remembered. Another connection may be one to
        another server, which has lost what this one knew."""
        if generation != self._generation:
            self.forget()
            self._generation = generation
        if self._pause:
            self._pause -= 1
            return False
        return bool(tenants) and all(tenant in self._tenants for tenant in tenants)

    def version(self, tenant: str) -> int:
        """The version at which a tenant is remembered."""
        return self._tenants[tenant].version

    def head(self, tenant: str) -> Head | None:
        """The tip of a remembered tenant."""
        tip: Head | None = self._tenants[tenant].rows.get(HeadKey(tenant))
        return tip

    def recall(self, key: Key) -> Any:
        """A remembered value, None where it is known not to exist, `_UNKNOWN` else."""
        return self._tenants[key.tenant].rows.get(key, _UNKNOWN)

    def learn(self, before: Mapping[str, int], after: Mapping[str, int], seen: Mapping[Key, Any]) -> None:
        """Keep what a transaction has seen and left behind, by its tenants' versions before and after it."""
        for tenant, version in after.items():
            known = self._tenants.get(tenant)
            if known is None or known.version != before[tenant]:
                self.drop((tenant,))
                known = self._tenants[tenant] = _Tenant(version)
            known.version = version
        for key, value in seen.items():
            rows = self._tenants[key.tenant].rows
            self._size -= key in rows
            if type(key) is CallKey and value is not None and value.state is not State.LEASED:
                rows.pop(key, None)  # it will hardly be asked for again
            else:
                rows[key] = value
                self._size += 1
        if self._size > REMEMBERED or len(self.repeated) > REMEMBERED:
            self.forget()

    def drop(self, tenants: Collection[str]) -> None:
        """These were not as remembered."""
        for tenant in tenants:
            known = self._tenants.pop(tenant, None)
            self._size -= len(known.rows) if known else 0

    def forget(self) -> None:
        """Remember nothing."""
        self._tenants.clear()
        self.repeated.clear()
        self._size = 0

    def proved(self) -> None:
        """A guess was right."""
        self._next_pause = 1

    def outdated(self) -> None:
        """Somebody else had written. While that goes on, guesses are rarer and rarer."""
        self._pause = self._next_pause
        self._next_pause = min(2 * self._next_pause, LONGEST_PAUSE)


class Guess:
    """A `ports.Session` on what is remembered. It notes what it has guessed, to be checked before anything lands."""

    def __init__(self, memory: Memory, tenants: Collection[str]) -> None:
        self._memory = memory
        self._tenants = tenants
        self.absent: list[Key] = []
        self.unlike: list[tuple[str, str, str]] = []  #: tenant, run, fingerprint without a call
        self.unlike_in_tenant: list[tuple[str, str, int]] = []  #: tenant, fingerprint, since

    def load(self, keys: Sequence[Key]) -> Mapping[Key, Any]:
        found = {}
        for key in keys:
            if key.tenant not in self._tenants:
                raise Miss
            value = self._memory.recall(key)
            if value is _UNKNOWN:
                self.absent.append(key)
            elif value is not None:
                found[key] = value
        return found

    def same(self, tenant: str, run_id: str, fingerprint: str) -> Sequence[Record]:
        if (tenant, run_id, fingerprint) in self._memory.repeated or tenant not in self._tenants:
            raise Miss
        self.unlike.append((tenant, run_id, fingerprint))
        return []

    def same_in_tenant(self, tenant: str, fingerprint: str, since: int) -> Sequence[Record]:
        if (tenant, fingerprint) in self._memory.repeated or tenant not in self._tenants:
            raise Miss
        self.unlike_in_tenant.append((tenant, fingerprint, since))
        return []

    def calls_of(self, tenant: str, run_id: str) -> Sequence[Record]:  # noqa: ARG002  the port's shape
        raise Miss
