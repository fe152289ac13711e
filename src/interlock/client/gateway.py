"""The connection to a gateway that serves elsewhere.

Not a run (`run.py`). Law: a request is sent again after a broken connection, and everything that is asked here is safe
to repeat; a problem comes out as the exception that an embedded gateway would raise.
"""

from __future__ import annotations

import asyncio
import concurrent.futures
import secrets
from collections.abc import Callable, Coroutine, Mapping
from contextlib import suppress
from typing import Any, Self, TypeVar

import msgspec
from msgspec import Struct

from interlock.client.run import RemoteRun
from interlock.errors import ConfigError, InterlockError, KeyReused, LedgerUnavailable, Refused, RunStopped
from interlock.loops import LoopThread
from interlock.tools.python import PythonTool

F = TypeVar("F", bound=Callable[..., Any])
T = TypeVar("T")

TRIES = 4  #: of one request, while the connection breaks
PAUSE = 0.2  #: seconds before the second try; twice that before each further one
TIMEOUT = 330.0  #: seconds that one request may take; a call lasts as long as its tool


class _Problem(Struct, frozen=True):
    """What the gateway says where it cannot do it."""

    code: str
    title: str = ""
    detail: str = ""
    remedy: str = ""


class RemoteGateway:
    """A context manager. Tenant, agent and env are the key's."""

    def __init__(self, url: str, key: str) -> None:
        if not url.startswith(("http://", "https://")):
            raise ConfigError(f"a gateway is named by its URL, like http://127.0.0.1:8420, not {url!r:.80}")
        self._url = url.rstrip("/")
        self._key = key
        self._loop = LoopThread("interlock-client")
        self._session: Any = None
        self.tools: dict[str, PythonTool] = {}

    def __repr__(self) -> str:
        return f"RemoteGateway({self._url!r})"

    def tool(self, name: str, **said: Any) -> Callable[[F], F]:
        """Perform this tool here. The gateway still decides, books and records; it grades the tool `cooperative`.

        What it does and what it is worth is said in the gateway's own config; `effect` here tells what an exception
        leaves behind: of a write, a doubt.
        """

        def register(function: F) -> F:
            self.tools[name] = PythonTool(function, name=name, **said)
            return function

        return register

    def run(
        self, *, request: str = "", run_id: str | None = None, budgets: Mapping[str, Any] | None = None,
        labels: Mapping[str, str] | None = None, runtime: str = "", requested_by: str = "",
        agent: str = "", tenant: str = "", env: str = "",
    ) -> RemoteRun:
        """Open a run, or take an existing one up again. `agent`, `tenant` and `env` may be left out: they are the
        key's, and said otherwise they are refused. Raises Refused, ConfigError, LedgerUnavailable."""
        said = {
            "run_id": run_id or f"run_{secrets.token_hex(16)}", "request": request, "budgets": dict(budgets or {}),
            "labels": dict(labels or {}), "runtime": runtime, "requested_by": requested_by,
            "agent": agent, "tenant": tenant, "env": env,
        }
        opened = self.wait(self.ask("POST", "/v1/runs", said))
        return RemoteRun(self, opened["run_id"], opened["tenant"], opened["agent"], opened["env"])

    def close(self) -> None:
        """Let go of the connections."""
        if self._session is not None:
            with suppress(RuntimeError):
                self._loop.submit(self._session.close()).result(5)
        self._loop.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    # --- the wire ----------------------------------------------------------------------------------------------------

    def wait(self, answer: Coroutine[Any, Any, T]) -> T:
        """For sync callers."""
        return self._loop.submit(answer).result()

    async def awaited(self, answer: Coroutine[Any, Any, T]) -> T:
        """For callers on an event loop of their own. Who is cancelled lets go of the request: it can be repeated."""
        return await asyncio.wrap_future(self._loop.submit(answer))

    def start(self, work: Coroutine[Any, Any, T]) -> concurrent.futures.Future[T]:
        """Run it beside the caller."""
        return self._loop.submit(work)

    async def ask(self, method: str, path: str, body: Any = None, more: Mapping[str, str] | None = None) -> Any:
        """One request, tried again while the connection breaks: all that is asked here is safe to repeat."""
        import aiohttp

        if self._session is None:
            self._session = aiohttp.ClientSession(
                timeout=aiohttp.ClientTimeout(total=TIMEOUT), trust_env=False, auto_decompress=True
            )
        headers = {"Authorization": f"Bearer {self._key}", "Content-Type": "application/json", **(more or {})}
        data = None if body is None else msgspec.json.encode(body)
        trouble = ""
        for attempt in range(TRIES):
            if attempt:
                await asyncio.sleep(PAUSE * 2 ** (attempt - 1))
            try:
                async with self._session.request(
                    method, self._url + path, data=data, headers=headers, allow_redirects=False
                ) as answer:
                    raw = await answer.read()
                    if answer.status < 300:
                        return msgspec.json.decode(raw)
                    raise _error_of(answer.status, raw)
            except (aiohttp.ClientError, TimeoutError) as error:
                trouble = type(error).__name__
        raise LedgerUnavailable(f"no gateway answers at {self._url} ({trouble}); start it, or correct the URL")


def _error_of(status: int, raw: bytes) -> InterlockError:
    """A problem as the exception that the embedded gateway would raise."""
    try:
        problem = msgspec.json.decode(raw, type=_Problem)
    except msgspec.DecodeError:
        return LedgerUnavailable(f"the gateway answered {status} and no more; is there another server at its URL?")
    words = "; ".join(each for each in (problem.detail or problem.title, problem.remedy) if each)
    if problem.code == "run_stopped":
        return RunStopped(problem.detail)
    return _ERRORS.get(problem.code, ConfigError if status in (400, 413, 422) else Refused)(words)


_ERRORS: dict[str, type[InterlockError]] = {
    "key_reused": KeyReused,
    "ledger_unavailable": LedgerUnavailable,
    "internal": LedgerUnavailable,
}
