"""What HashiCorp Vault answers to reads of the KV engine, version 2: token, namespaces, deleted versions, sealed."""

from __future__ import annotations

import json
import threading
from collections.abc import Mapping
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Self
from urllib.parse import unquote

TOKEN = "hvs.stub-token-0001"


class VaultStub:
    """A context manager. `secrets`: path behind /v1/ → its fields; `forbidden`: what its policy lacks."""

    def __init__(self, secrets: Mapping[str, Mapping[str, Any]]) -> None:
        self.secrets = dict(secrets)
        self.deleted: set[str] = set()
        self.forbidden: set[str] = set()
        self.namespace = ""
        self.sealed = False
        self.leads_to = ""
        self.asked: list[tuple[str, dict[str, str]]] = []
        stub = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                stub.asked.append((self.path, {name.lower(): value for name, value in self.headers.items()}))
                status, said = stub.answer(unquote(self.path), self.headers)
                raw = json.dumps(said).encode()
                self.send_response(status)
                if status == 307:
                    self.send_header("location", stub.leads_to)
                self.send_header("content-length", str(len(raw)))
                self.end_headers()
                self.wfile.write(raw)

            def log_message(self, *_: object) -> None:
                """Nobody reads it."""

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.01,))
        self.address = f"http://127.0.0.1:{self._server.server_address[1]}"

    @property
    def environ(self) -> dict[str, str]:
        """What a process needs to know of it."""
        return {"VAULT_ADDR": self.address, "VAULT_TOKEN": TOKEN}

    def answer(self, path: str, headers: Any) -> tuple[int, dict[str, Any]]:
        """Status and body."""
        if self.sealed:
            return 503, {"errors": ["Vault is sealed"]}
        if self.leads_to:
            return 307, {}
        if headers.get("x-vault-namespace", "") != self.namespace:
            return 404, {"errors": ["no handler for route"]}
        path = path.removeprefix("/v1/")
        if headers.get("x-vault-token") != TOKEN or path in self.forbidden:
            return 403, {"errors": ["1 error occurred:\n\t* permission denied\n\n"]}
        if path in self.deleted:
            return 404, {"data": {"data": None, "metadata": {"deletion_time": "2026-01-02T03:04:05Z", "version": 3}}}
        if path not in self.secrets:
            return 404, {"errors": []}
        wrapped = {"data": self.secrets[path], "metadata": {"version": 3, "destroyed": False, "deletion_time": ""}}
        return 200, {"request_id": "r", "lease_id": "", "renewable": False, "data": wrapped, "wrap_info": None}

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()
