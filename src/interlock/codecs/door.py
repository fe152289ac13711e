"""A door to a model, for one program that cannot be handed one: an API of Anthropic's form on 127.0.0.1.

Not a model, and not the model proxy, which is a service: it lasts as long as the program does. Law: whoever has not its
key is told nothing; once it is shut, what is asked is answered 402, and what is still being asked is broken off.
"""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Mapping
from contextlib import aclosing, asynccontextmanager
from typing import Any

from aiohttp import web

from interlock.codecs.messages import failure

Asked = Callable[[dict[str, Any], Mapping[str, str]], AsyncGenerator[bytes, None]]
MOST = 1 << 30  #: bytes of a question: a whole conversation


class Refused(Exception):
    """The provider has answered with an error."""

    def __init__(self, status: int, said: bytes = b"", headers: Mapping[str, str] | None = None) -> None:
        super().__init__(f"the provider answers {status}: {said.decode(errors='replace'):.300}")
        self.status_code, self.said, self.headers = status, said, dict(headers or {})


class Door:
    """`answers` is given the body of a question and its headers, and yields the answer as a stream of events, or raises
    `Refused`. `failed` is told of whatever else it raises."""

    def __init__(self, answers: Asked, failed: Callable[[Exception], None]) -> None:
        self.key = secrets.token_urlsafe(32)
        self.shut = False
        self._answers, self._failed = answers, failed
        self._asking: set[asyncio.Task[Any]] = set()

    @asynccontextmanager
    async def open(self) -> AsyncIterator[str]:
        """The address under which the program finds its model."""
        app = web.Application(client_max_size=MOST)
        app.router.add_post("/v1/messages", self._asked)
        runner = web.AppRunner(app, access_log=None, shutdown_timeout=1)  # 0 would be for ever
        await runner.setup()
        try:
            await web.TCPSite(runner, "127.0.0.1", 0).start()
            yield f"http://127.0.0.1:{runner.addresses[0][1]}"
        finally:
            self.shut = True
            for task in self._asking:
                task.cancel()
            await asyncio.gather(*self._asking, return_exceptions=True)
            await runner.cleanup()

    async def _asked(self, request: web.Request) -> web.StreamResponse:
        if not secrets.compare_digest(request.headers.get("x-api-key", ""), self.key):
            return web.json_response(failure("this is somebody else's model"), status=401)
        if self.shut:  # a program goes on for as long as it takes to end it
            return web.json_response(failure("it is over"), status=402)
        task = asyncio.current_task()
        assert task is not None  # noqa: S101  a handler runs in one
        self._asking.add(task)
        try:
            return await self._answered(request)
        finally:
            self._asking.discard(task)

    async def _answered(self, request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse(headers={"content-type": "text/event-stream"})
        try:
            async with aclosing(self._answers(await request.json(), request.headers)) as parts:
                async for part in parts:
                    if not response.prepared:
                        await response.prepare(request)
                    await response.write(part)
        except Refused as error:
            return web.Response(status=error.status_code, body=error.said, headers=error.headers)
        except Exception as error:
            self._failed(error)
            return response if response.prepared else web.json_response(failure(str(error)), status=402)
        return response
