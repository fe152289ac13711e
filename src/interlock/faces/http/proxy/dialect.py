"""What the proxy asks of a protocol: to check a request, to find the usage in an answer, to word a refusal.

Not one of them. Law: a dialect is pure: it reads and writes JSON, and knows neither the run nor the network.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal, Protocol

from msgspec import Struct

from interlock.config.serve import ModelProvider, Models
from interlock.core.principal import Principal
from interlock.core.run import Asking
from interlock.core.turn import Usage
from interlock.faces.http.problems import Problem
from interlock.faces.http.proxy.asked import Asked
from interlock.faces.http.proxy.recording import Redact
from interlock.faces.http.proxy.sse import Event
from interlock.faces.http.receive import Receive, Send


class Call(Struct, kw_only=True):
    """A request of somebody who may ask, before its body was read."""

    method: str
    params: Mapping[str, str]  #: what stands in the path
    headers: dict[str, str]
    provider: ModelProvider
    who: Principal
    run_id: str  #: that was named, or ""
    receive: Receive
    send: Send


class Malformed(Exception):
    """A stream that is not what its protocol says."""


class Reader(Protocol):
    """Follows one stream. What it says of the usage is final."""

    usage: Usage | None
    ended: bool  #: the last event has come
    failed: bool  #: the provider says that it went wrong
    began: bool  #: there was output

    def heard(self, redact: Redact) -> Asking | None:
        """What was asked and said; None where it did not come to its end."""
        ...

    def read(self, event: Event) -> bool:
        """Take in one event; True where the client is to see it. Raises Malformed."""
        ...


class Dialect(Protocol):
    """One way to talk to a model."""

    provider: Literal["openai", "anthropic"]
    path: str  #: behind the provider's base URL

    def asked(self, body: dict[str, Any], settings: Models) -> Asked:
        """A request that may be sent on. Raises Problem 400."""
        ...

    def capped(self, asked: Asked, output: int) -> dict[str, Any]:
        """The body with this limit on what is put out."""
        ...

    def usage(self, answer: Mapping[str, Any]) -> Usage | None:
        """What a whole answer says that it used; None where it does not say, or says it in a way that has no price."""
        ...

    def heard(self, asked: Asked, answer: Mapping[str, Any], redact: Redact) -> Asking:
        """What was asked and said, for replay."""
        ...

    def failed(self, answer: Mapping[str, Any]) -> bool:
        """True where an answer with status 200 says that it went wrong."""
        ...

    def reader(self, asked: Asked) -> Reader:
        """For one stream."""
        ...

    def error(self, problem: Problem) -> dict[str, Any]:
        """A refusal as the clients of this protocol know it."""
        ...

    def last_word(self, problem: Problem) -> bytes:
        """The same, as an event in the middle of a stream."""
        ...
