"""A gateway that serves elsewhere, with the surface of one that is embedded.

Not a second gateway: every decision, every booking and every line of the audit is made over there. Law: a call is sent
again after a broken connection under the same id, and so performed once; a tool that lives here is performed only with
a ticket of the gateway's, while its lease lasts, and how it ended is told to it.
"""

from __future__ import annotations

from interlock.client.gateway import RemoteGateway
from interlock.client.run import RemoteRun, Step

__all__ = ["connect", "RemoteGateway", "RemoteRun", "Step"]


def connect(url: str, key: str) -> RemoteGateway:
    """The gateway that serves at `url` (`http://127.0.0.1:8420`), for the agent whose key this is. Asks nothing yet."""
    return RemoteGateway(url, key)
