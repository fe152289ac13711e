"""An HTTP client that costs next to nothing, so that what is measured is the server."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Mapping
from typing import Any


class Wire:
    """One kept connection. One request at a time."""

    def __init__(self, host: str, port: int, headers: dict[str, str]) -> None:
        self._host, self._port = host, port
        self._head = "".join(f"{name}: {value}\r\n" for name, value in headers.items())
        self._reader: asyncio.StreamReader | None = None
        self._writer: asyncio.StreamWriter | None = None

    async def send(
        self, method: str, path: str, body: Any = None, headers: Mapping[str, str] | None = None
    ) -> tuple[int, bytes]:
        """Status and body. What is already bytes is sent as it is."""
        if self._writer is None:
            self._reader, self._writer = await asyncio.open_connection(self._host, self._port)
        raw = b"" if body is None else body if isinstance(body, bytes) else json.dumps(body).encode()
        more = "".join(f"{name}: {value}\r\n" for name, value in (headers or {}).items())
        said = f"{method} {path} HTTP/1.1\r\nHost: {self._host}:{self._port}\r\n{self._head}{more}"
        self._writer.write(f"{said}Content-Type: application/json\r\nContent-Length: {len(raw)}\r\n\r\n".encode() + raw)
        assert self._reader is not None
        head = await self._reader.readuntil(b"\r\n\r\n")
        lines = head.decode("latin-1").split("\r\n")
        fields = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in lines[1:])}
        if fields.get("transfer-encoding") == "chunked":
            return int(lines[0].split(" ")[1]), await self._chunks()
        return int(lines[0].split(" ")[1]), await self._reader.readexactly(int(fields.get("content-length", "0")))

    async def _chunks(self) -> bytes:
        assert self._reader is not None
        whole = b""
        while size := int(await self._reader.readline(), 16):
            whole += await self._reader.readexactly(size)
            await self._reader.readline()
        await self._reader.readline()
        return whole

    async def begin(self, method: str, path: str) -> None:
        """Send a request without a body, and do not wait for the answer."""
        self._reader, self._writer = await asyncio.open_connection(self._host, self._port)
        self._writer.write(f"{method} {path} HTTP/1.1\r\nHost: {self._host}\r\n{self._head}\r\n".encode())
        await self._writer.drain()

    def close(self) -> None:
        """Let go."""
        if self._writer is not None:
            self._writer.close()
