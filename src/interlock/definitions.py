"""What tools and the policy say, kept in the ledger by digest, before the first run that they are used in.

Not on the road of any call: it is looked at when a run opens, and mostly nothing is new. Law: what is kept of a tool is
what its code has said, so that another config can be asked about it; who re-registers a tool is seen at the next run.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from msgspec import Raw

from interlock.core.audit import SYSTEM
from interlock.core.call import Tool
from interlock.ports import Definition, DefinitionKey, HeadKey
from interlock.unit import Tx, Unit

if TYPE_CHECKING:
    from interlock.gateway import Gateway

POLICY = ""  #: the name of a policy's definition; no tool is called so


class Definitions:
    """Of one gateway."""

    def __init__(self, gateway: Gateway) -> None:
        self._gateway = gateway
        self._kept: dict[str, Tool] = {}
        self._policy = ""
        self._shown = -1

    def keep(self, _tenant: str = "", _env: str = "") -> None:
        """Write down what is new. Raises LedgerUnavailable."""
        shown, policy = self._gateway.shown, self._gateway.config.policy
        if self._shown == shown and self._policy == policy.version:
            return
        tools = dict(self._gateway.tools)
        fresh = [name for name, registered in tools.items() if self._kept.get(name) is not registered.tool]
        now = self._gateway.clock.now()
        seen = [Definition(name=POLICY, digest=policy.version, at=now, policy=Raw(policy.text))]
        for name in fresh:
            own, said = tools[name].performer.tool, tools[name].said
            seen.append(Definition(name=name, digest=own.schema_digest, at=now, tool=own, said=said))
        keys = [DefinitionKey(SYSTEM, each.name, each.digest) for each in seen]
        self._gateway.committer.run(Unit((HeadKey(SYSTEM), *keys), lambda tx: _write(tx, seen)))
        self._kept |= {name: tools[name].tool for name in fresh}
        self._policy, self._shown = policy.version, shown


def _write(tx: Tx, seen: list[Definition]) -> None:
    for each in seen:
        key = DefinitionKey(SYSTEM, each.name, each.digest)
        known = tx.get(key)
        if known is None or (known.tool, known.said, bytes(known.policy)) != (each.tool, each.said, bytes(each.policy)):
            tx.put(key, each)
