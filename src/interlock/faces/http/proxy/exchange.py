"""One request to a model and its answer, whole or streamed.

Not who may ask (`door.py`). Law: the turn is booked before the client sees the end of the answer, so that the next
request finds it booked; what the client sees was looked through for our credential, event by event.
"""

from __future__ import annotations

import asyncio
from contextlib import suppress
from typing import TYPE_CHECKING, Any

import msgspec

from interlock.core.call import MICROS
from interlock.core.run import Run
from interlock.faces.http.problems import Problem
from interlock.faces.http.proxy.asked import Asked
from interlock.faces.http.proxy.dialect import Call, Dialect, Malformed, Reader
from interlock.faces.http.proxy.errors import RUN_ID, of_status
from interlock.faces.http.proxy.sse import Event, Events, TooLong
from interlock.faces.http.proxy.turn import NOTHING, Turn
from interlock.faces.http.proxy.upstream import BrokenOff, NotSent, Upstream, address, read, sent
from interlock.faces.http.receive import as_headers

if TYPE_CHECKING:
    import aiohttp

    from interlock.faces.http.service import Service

LAST_WORD = 5.0  #: seconds for a client to take it


class Exchange:
    """Made for one request."""

    def __init__(self, service: Service, upstream: Upstream, dialect: Dialect, call: Call, run: Run) -> None:
        self._service = service
        self._upstream = upstream
        self._dialect = dialect
        self._call = call
        self._send = call.send
        self._run = run
        self._models = service.gateway.config.serve.models
        self._records = self._models.record and service.gateway.config.recording_of(run.tenant).turns
        self._redact = service.gateway.redactor.redact_text
        self.answering = False  #: the client has been told a status

    async def go(self, asked: Asked) -> None:
        """Raises Problem where the client has not been told anything yet; LedgerUnavailable, CredentialError."""
        turn = await Turn.begun(self._service, self._run, asked)
        try:
            async with asyncio.timeout(self._call.provider.timeout / MICROS):
                await self._ask(turn, asked)
        except NotSent:
            await turn.end(NOTHING)
            raise self._gone_wrong(502, "provider_unreachable", "the model's provider cannot be reached") from None
        except TimeoutError:
            await turn.broke()
            problem = self._gone_wrong(504, "provider_too_slow", "the model's provider took too long")
            await self._break_off(problem)
        except (Malformed, TooLong, BrokenOff):
            await turn.broke()
            problem = self._gone_wrong(502, "provider_broke_off", "the model's provider broke off its answer")
            await self._break_off(problem)
        except Problem:
            await turn.end(NOTHING)  # raised before anything was sent, or of an answer that is an error
            raise
        except BaseException:
            await turn.broke()
            raise

    async def _ask(self, turn: Turn, asked: Asked) -> None:
        provider, who = self._call.provider, self._call.who
        try:
            credential = await self._service.blocking(self._upstream.lent, provider.credential, who)
        except BaseException:
            await turn.end(NOTHING)
            raise
        body = asked.body if turn.cap is None else self._dialect.capped(asked, turn.cap)
        headers = sent(self._call.headers, self._dialect.provider, credential)
        url, raw = address(provider, self._dialect.path), msgspec.json.encode(body)
        async with self._upstream.request("POST", url, headers, raw) as answer:
            if answer.status != 200:
                await self._pass_error(turn, answer)
            elif answer.content_type == "text/event-stream":
                await self._pass_stream(turn, asked, answer)
            else:
                await self._pass_whole(turn, asked, answer)

    # --- whole -------------------------------------------------------------------------------------------------------

    async def _pass_error(self, turn: Turn, answer: aiohttp.ClientResponse) -> None:
        """Nothing was put out, so nothing was charged. An error about our own credential is ours to keep: it may show
        a part of it."""
        if answer.status < 300:
            raise Malformed("a status that no model answers with")
        await turn.end(NOTHING)
        problem = of_status(answer.status, self._run.run_id)
        if problem is not None:
            raise problem
        await self._send_whole(answer.status, answer, await read(answer, self._models.answer_bytes))

    async def _pass_whole(self, turn: Turn, asked: Asked, answer: aiohttp.ClientResponse) -> None:
        raw = await read(answer, self._models.answer_bytes)
        try:
            said: Any = msgspec.json.decode(raw)
        except (msgspec.MsgspecError, ValueError, RecursionError):
            said = None
        if not isinstance(said, dict):
            await turn.end(None)
        else:
            usage, failed = self._dialect.usage(said), self._dialect.failed(said)
            heard = self._dialect.heard(asked, said, self._redact) if self._records and not failed else None
            await turn.end(usage, lost=usage is None and failed, asking=heard)
        await self._send_whole(200, answer, raw)

    async def _send_whole(self, status: int, answer: aiohttp.ClientResponse, raw: bytes) -> None:
        clean = self._upstream.cleaned(raw)
        await self._start(status, answer, ("content-length", str(len(clean))))
        await self._send({"type": "http.response.body", "body": clean})

    # --- streamed ----------------------------------------------------------------------------------------------------

    async def _pass_stream(self, turn: Turn, asked: Asked, answer: aiohttp.ClientResponse) -> None:
        await self._start(200, answer, ("cache-control", "no-store"), ("x-accel-buffering", "no"))
        events, reader = Events(self._models.answer_bytes), self._dialect.reader(asked)
        async for chunk in answer.content.iter_any():
            seen = b""
            try:
                for each in events.feed(chunk):
                    seen += self._passes(reader, each)
            finally:  # what came before an event that nobody can read was whole
                if seen and not reader.ended:
                    await self._send({"type": "http.response.body", "body": seen, "more_body": True})
            if reader.ended:
                break
        else:
            last = events.close()
            seen = b"" if last is None else self._passes(reader, last)
        await self._book(turn, reader)
        await self._send({"type": "http.response.body", "body": seen})

    def _passes(self, reader: Reader, event: Event) -> bytes:
        """What the client is to see of an event. What comes after the last one is nobody's."""
        return self._upstream.cleaned(event.raw) if not reader.ended and reader.read(event) else b""

    async def _book(self, turn: Turn, reader: Reader) -> None:
        heard = reader.heard(self._redact) if self._records and not reader.failed else None
        if reader.usage is not None:
            await turn.end(reader.usage, asking=heard)
        elif reader.failed:
            await turn.end(None if reader.began else NOTHING, lost=reader.began)
        elif reader.ended:
            await turn.end(None, asking=heard)
        else:
            raise Malformed("a stream that stops before its end")

    # --- words -------------------------------------------------------------------------------------------------------

    async def _start(self, status: int, answer: aiohttp.ClientResponse, *more: tuple[str, str]) -> None:
        headers = [*self._upstream.passed(answer.headers), (RUN_ID, self._run.run_id), *more]
        self.answering = True
        await self._send({"type": "http.response.start", "status": status, "headers": as_headers(headers)})

    async def _break_off(self, problem: Problem) -> None:
        """In the middle of a stream there is no status left to say it with."""
        if not self.answering:
            raise problem
        with suppress(TimeoutError):  # a client that does not read will not hear it
            async with asyncio.timeout(LAST_WORD):
                await self._send({"type": "http.response.body", "body": self._dialect.last_word(problem)})

    def _gone_wrong(self, status: int, code: str, what: str) -> Problem:
        return Problem(status, code, what, run_id=self._run.run_id)
