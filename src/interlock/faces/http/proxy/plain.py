"""A request to a provider that asks no model: it costs nothing, and holds nothing.

Not a turn (`exchange.py`). Law: the same headers, the same credential, the same limits.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from interlock.core.call import MICROS
from interlock.faces.http.problems import Problem
from interlock.faces.http.proxy.dialect import Call, Dialect
from interlock.faces.http.proxy.errors import of_status
from interlock.faces.http.proxy.sse import TooLong
from interlock.faces.http.proxy.upstream import BrokenOff, NotSent, Upstream, address, read, sent
from interlock.faces.http.receive import as_headers

if TYPE_CHECKING:
    from interlock.faces.http.service import Service


class Plain:
    """Made for one request."""

    def __init__(self, service: Service, upstream: Upstream, dialect: Dialect, call: Call) -> None:
        self._service = service
        self._upstream = upstream
        self._dialect = dialect
        self._call = call

    async def go(self, path: str, body: bytes | None) -> None:
        """Raises Problem, CredentialError; nothing has been sent then."""
        call, provider = self._call, self._call.provider
        credential = await self._service.blocking(self._upstream.lent, provider.credential, call.who)
        url, most = address(provider, path), self._service.gateway.config.serve.models.answer_bytes
        ours = sent(call.headers, self._dialect.provider, credential)
        try:
            async with (
                asyncio.timeout(provider.timeout / MICROS),
                self._upstream.request(call.method, url, ours, body) as answer,
            ):
                raw, status = await read(answer, most), answer.status
                passed = list(self._upstream.passed(answer.headers))
        except TimeoutError:
            raise Problem(504, "provider_too_slow", "the model's provider took too long") from None
        except (NotSent, BrokenOff, TooLong):
            raise Problem(502, "provider_unreachable", "the model's provider cannot be reached") from None
        problem = of_status(status, "") if status >= 300 else None
        if problem is not None:
            raise problem
        clean = self._upstream.cleaned(raw)
        pairs = [*passed, ("content-length", str(len(clean)))]
        await call.send({"type": "http.response.start", "status": status, "headers": as_headers(pairs)})
        await call.send({"type": "http.response.body", "body": clean})
