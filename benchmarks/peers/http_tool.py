"""The HTTP tool behind both gates: `python -m benchmarks.peers.http_tool PORT SECRET`. Raw ASGI, next to no work.

`POST /tools/open` opens a ticket for whoever shows the secret, which only a gate has. `GET /opened` says how many.
"""

from __future__ import annotations

import sys
from typing import Any

import msgspec
import uvicorn

DOCUMENT = {
    "openapi": "3.1.0",
    "info": {"title": "desk", "version": "1"},
    "security": [{"key": []}],
    "components": {"securitySchemes": {"key": {"type": "http", "scheme": "bearer"}}},
    "paths": {"/tools/open": {"post": {
        "operationId": "open",
        "summary": "Open a ticket.",
        "requestBody": {"required": True, "content": {"application/json": {"schema": {
            "type": "object",
            "properties": {"title": {"type": "string"}, "body": {"type": "string"}, "priority": {"type": "integer"}},
            "required": ["title", "body", "priority"],
        }}}},
        "responses": {"200": {"description": "The ticket."}},
    }}},
}


class Desk:
    """An ASGI application that counts what it opened."""

    def __init__(self, secret: str) -> None:
        self._shown, self._opened = f"Bearer {secret}".encode(), 0

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        """One request."""
        if scope["type"] != "http":
            return
        status, answer = 404, {}
        if scope["path"] == "/opened":
            status, answer = 200, {"opened": self._opened}
        elif scope["path"] == "/tools/open":
            body, more = b"", True
            while more:
                part = await receive()
                body += part.get("body", b"")
                more = part.get("more_body", False)
            status = 200 if (b"authorization", self._shown) in scope["headers"] else 401
            if status == 200:
                self._opened += 1
                answer = {"ticket": msgspec.json.decode(body)["priority"], "state": "open"}
        raw = msgspec.json.encode(answer)
        headers = [(b"content-type", b"application/json"), (b"content-length", str(len(raw)).encode())]
        await send({"type": "http.response.start", "status": status, "headers": headers})
        await send({"type": "http.response.body", "body": raw})


if __name__ == "__main__":
    port, secret = int(sys.argv[1]), sys.argv[2]
    uvicorn.run(Desk(secret), port=port, lifespan="off", log_level="error", access_log=False, timeout_keep_alive=600)
