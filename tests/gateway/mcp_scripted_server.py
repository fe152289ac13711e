"""An MCP server of the newest revision whose every answer to `tools/call` is a script: bytes, closings and pauses.

It lives in a thread of the test. What it hears is kept: one `Heard` for each `tools/call`, bytes that came or not.
"""

import asyncio
import json
import ssl
import threading
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any

Script = Callable[[int, asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


@dataclass
class Heard:
    """One `tools/call` that arrived: over which connection, with which headers, saying what."""

    connection: int
    headers: dict[str, str]
    body: dict[str, Any]


def http(body: bytes, *, status: int = 200, kind: str = "application/json", more: str = "") -> bytes:
    head = f"HTTP/1.1 {status} X\r\ncontent-type: {kind}\r\ncontent-length: {len(body)}\r\n{more}\r\n"
    return head.encode() + body


def answer_of(number: int, result: Any) -> bytes:
    return json.dumps({"jsonrpc": "2.0", "id": number, "result": result}).encode()


def says(make: Callable[[int], bytes], *, close: bool = False) -> Script:
    """Answers with these bytes."""

    async def script(number: int, _: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(make(number))
        if close:
            writer.close()

    return script


class ScriptedServer:
    """Listens on a free port of loopback until it is closed."""

    def __init__(self, tls: ssl.SSLContext | None = None) -> None:
        self.scripts: dict[str, Script] = {}
        self.schemas: dict[str, Any] = {}
        self.heard: list[Heard] = []
        self.gone: list[int] = []  #: connections that ended
        self.connections = 0
        self._tls = tls
        self._started = threading.Event()
        self._thread = threading.Thread(target=lambda: asyncio.run(self._run()))
        self._thread.start()
        self._started.wait()

    def close(self) -> None:
        self._loop.call_soon_threadsafe(self._over.set)
        self._thread.join()

    def drop(self) -> None:
        """Close every connection that is open, as a server does with idle ones."""
        done = threading.Event()

        def close() -> None:
            for writer in self._writers:
                writer.close()
            self._loop.call_soon(self._loop.call_soon, done.set)

        self._loop.call_soon_threadsafe(close)
        done.wait()

    async def _run(self) -> None:
        self._loop, self._over = asyncio.get_running_loop(), asyncio.Event()
        self._writers: set[asyncio.StreamWriter] = set()
        server = await asyncio.start_server(self._serve, "127.0.0.1", 0, ssl=self._tls)
        self.port: int = server.sockets[0].getsockname()[1]
        self._started.set()
        await self._over.wait()
        server.close()
        for writer in self._writers:
            writer.close()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        number = self.connections
        self._writers.add(writer)
        try:
            while True:
                head = (await reader.readuntil(b"\r\n\r\n")).decode().split("\r\n")
                headers = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in head[1:])}
                body = json.loads(await reader.readexactly(int(headers.get("content-length", "0"))) or b"{}")
                await self._answer(number, headers, body, reader, writer)
                await writer.drain()
        except (asyncio.IncompleteReadError, ConnectionError):
            pass
        finally:
            self.gone.append(number)
            self._writers.discard(writer)
            writer.close()

    async def _answer(
        self, connection: int, headers: dict[str, str], body: dict[str, Any],
        reader: asyncio.StreamReader, writer: asyncio.StreamWriter,
    ) -> None:
        match body.get("method"):
            case "server/discover":
                result: Any = {"supportedVersions": ["2026-07-28"], "capabilities": {"tools": {}}}
            case "tools/list":
                tools = [
                    {"name": name, "inputSchema": self.schemas.get(name, {"type": "object"})} for name in self.scripts
                ]
                result = {"tools": tools}
            case "tools/call":
                self.heard.append(Heard(connection, headers, body))
                await self.scripts[body["params"]["name"]](body["id"], reader, writer)
                return
            case _:
                error = {"code": -32601, "message": "no such method"}
                said = json.dumps({"jsonrpc": "2.0", "id": body.get("id"), "error": error}).encode()
                writer.write(http(said, status=404))
                return
        common = {"resultType": "complete", "ttlMs": 0, "cacheScope": "private"}
        writer.write(http(answer_of(body["id"], result | common)))
