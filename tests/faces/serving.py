"""`interlock serve` as a process of its own, and clients of it: for tests that kill, share or starve it."""

from __future__ import annotations

import http.client
import json
import os
import signal
import subprocess
import sys
import urllib.parse
from pathlib import Path
from typing import Any, Self

import interlock
from interlock.core.principal import Principal, Role
from interlock.keyrings import identity_of

PATIENCE = 60.0  #: seconds until a test gives up; nothing depends on how fast things are


class Process:
    """One `interlock serve`."""

    def __init__(self, folder: Path, *more: str, port: int = 0, env: dict[str, str] | None = None) -> None:
        self.log = folder / "serve.log"
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "interlock", "serve", "--port", str(port), *more], cwd=folder, text=True,
                stdout=subprocess.PIPE, stderr=log, env={**os.environ, **(env or {})}, start_new_session=True,
            )
        assert self.process.stdout is not None
        self.said = self.process.stdout.readline()
        self.url = self.said.partition("Console and API: ")[2].split("/ ")[0].rstrip("/")
        self.port = urllib.parse.urlsplit(self.url).port or 0

    def key(self) -> str:
        """The first key, as it is printed."""
        assert self.process.stdout is not None
        assert "shown this once" in self.process.stdout.readline()
        return self.process.stdout.readline().strip()

    def ask(self, method: str, path: str, key: str = "", body: Any = None) -> tuple[int, Any]:
        """One request over a connection of its own: status and answer."""
        with Wire(self.port, key) as wire:
            return wire.ask(method, path, body)

    def end(self, how: int = signal.SIGTERM) -> int:
        """Its exit code."""
        self.process.send_signal(how)
        return self._ended()

    def kill(self) -> None:
        """`kill -9` of it and of all of its workers."""
        os.killpg(self.process.pid, signal.SIGKILL)
        assert self._ended() == -signal.SIGKILL

    def _ended(self) -> int:
        code = self.process.wait(PATIENCE)
        assert self.process.stdout is not None
        self.process.stdout.close()
        return code


class Wire:
    """One kept connection of one client."""

    def __init__(self, port: int, key: str = "") -> None:
        self.headers = {"authorization": f"Bearer {key}"} if key else {}
        self.connection = http.client.HTTPConnection("127.0.0.1", port, timeout=PATIENCE)
        self.served_by = ""  #: the process that answered last

    def ask(self, method: str, path: str, body: Any = None, **headers: str) -> tuple[int, Any]:
        """Status and answer. Raises OSError or HTTPException where the connection broke."""
        raw = None if body is None else json.dumps(body).encode()
        self.connection.request(method, path, raw, {**self.headers, **headers})
        answer = self.connection.getresponse()
        self.served_by = answer.headers.get("x-request-id", "").partition("-")[0]
        return answer.status, json.loads(answer.read() or b"null")

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.connection.close()


def key_of(folder: Path, *roles: Role, tenant: str = "acme", name: str = "") -> str:
    """A key for an agent or a person, made beside what serves."""
    agent = {"agent": "bot", "env": "prod"} if roles == (Role.AGENT,) else {}
    who = Principal(name=name or str(roles[0]), roles=roles, tenant=tenant, **agent)
    with interlock.open(folder / "interlock.yaml", upstreams=False) as beside:
        return identity_of(beside).give(who, by="test")[1]
