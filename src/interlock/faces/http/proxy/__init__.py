"""The model proxy: for runtimes where nothing but a base URL can be set.

Not a router between providers, and no cache. Law: a turn is counted and paid for before the provider is asked, and what
the provider says that it used is what is booked; the provider's key stays here, and the caller's goes no further.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from interlock.faces.http.problems import Problem
from interlock.faces.http.proxy.chat import Chat
from interlock.faces.http.proxy.dialect import Call, Dialect
from interlock.faces.http.proxy.door import Ask, Door, Fetch
from interlock.faces.http.proxy.messages import Messages
from interlock.faces.http.proxy.responses import Responses
from interlock.faces.http.proxy.upstream import Upstream

if TYPE_CHECKING:
    from starlette.routing import BaseRoute

    from interlock.faces.http.service import Service

__all__ = ["routes"]


class Nowhere(Door):
    """What the proxy does not pass on, in words that a client of that protocol understands."""

    async def _answer(self, call: Call) -> None:
        detail = f"the model proxy has no {call.method} {call.params.get('rest', '')!r:.200}"
        raise Problem(404, "not_found", detail, remedy="docs/model-proxy.md lists what it has")


def routes(service: Service) -> list[BaseRoute]:
    """`/openai/v1` and `/anthropic/v1`, to be mounted at the root. The app closes what `service.closing` names."""
    from starlette.routing import Route

    upstream = Upstream(service.gateway)
    service.closing.append(upstream.close)

    def ask(at: str, dialect: Dialect) -> BaseRoute:
        return Route(at, Ask(service, upstream, dialect), methods=["POST"])

    def fetch(at: str, dialect: Dialect, path: str, method: str = "GET") -> BaseRoute:
        return Route(at, Fetch(service, upstream, dialect, path), methods=[method])

    chat, responses, messages = Chat(), Responses(), Messages()
    return [
        ask("/openai/v1/chat/completions", chat),
        ask("/openai/v1/responses", responses),
        fetch("/openai/v1/models", chat, "/models"),
        fetch("/openai/v1/models/{model:path}", chat, "/models"),
        ask("/anthropic/v1/messages", messages),
        fetch("/anthropic/v1/messages/count_tokens", messages, "/v1/messages/count_tokens", "POST"),
        fetch("/anthropic/v1/models", messages, "/v1/models"),
        fetch("/anthropic/v1/models/{model:path}", messages, "/v1/models"),
        Route("/openai/{rest:path}", Nowhere(service, upstream, chat)),
        Route("/anthropic/{rest:path}", Nowhere(service, upstream, messages)),
    ]
