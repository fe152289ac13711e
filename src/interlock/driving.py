"""What a runtime's adapter offers, so that its agents can be run again: `drive`, and a model that follows a script.

Not an adapter: each is a module of `interlock.adapters` (or any module that is named whole), and these two functions of
it are all that replay needs. Law: an adapter translates; where a turn comes from, and who answers a tool, it cannot
tell: the model is a function, the tools are the gateway's.
"""

from __future__ import annotations

import asyncio
import importlib
import inspect
from collections.abc import Awaitable, Callable, Mapping
from types import ModuleType
from typing import TYPE_CHECKING, Any, Protocol, cast, runtime_checkable

from msgspec import Struct

from interlock.core.turn import Turn
from interlock.core.verdict import StopReason
from interlock.errors import ConfigError

if TYPE_CHECKING:
    from interlock.runs import Run

PACKAGE = "interlock.adapters"


class NoMoreTurns(Exception):
    """The model is asked once more than was recorded."""


class Script(Struct, frozen=True, kw_only=True):
    """A model that says what was recorded, in order, however it is asked."""

    say: Callable[[], Turn]  #: what it says now: to be called once, when the runtime asks its model. Raises NoMoreTurns
    hear: Callable[[Mapping[str, str]], object] = dict  #: called before: what each call was answered so far, by its id
    model: str = ""  #: under which its steps are begun
    max_output_tokens: int | None = None  #: likewise


class Driven(Protocol):
    """How a drive ended."""

    @property
    def status(self) -> str:
        """completed, paused, stopped or failed."""
        ...

    @property
    def stop_reason(self) -> StopReason | None:
        """Why the run has stopped, or None."""
        ...

    @property
    def output(self) -> str | None:
        """What the model said last, where it came to an end."""
        ...

    @property
    def saved(self) -> str | None:
        """What to go on from, where the run waits for people."""
        ...


@runtime_checkable
class Runtime(Protocol):
    """An adapter, as a module: a runtime whose agents can be driven, and be given another model."""

    def drive(self, run: Run, agent: Any, request: str = "", *, saved: str | None = None) -> Driven | Awaitable[Driven]:
        """Let an agent work on a request until it is done, is stopped, or waits for people. `saved` goes before
        `request`: what an earlier drive of the same run has saved. Every turn is handed to `run.end_step(turn=…)`."""
        ...

    def speaking(self, agent: Any, script: Script) -> Any:
        """The agent with its model replaced by a script. `agent` None: a bare one, whose tools are all the run's."""
        ...


def runtime_of(name: str) -> Runtime:
    """The adapter of that name: `plain`, or a module named whole. Raises ConfigError."""
    path = name if "." in name else f"{PACKAGE}.{name}"
    try:
        found: ModuleType = importlib.import_module(path)
    except ModuleNotFoundError as error:
        missing = error.name or path
        if path == missing or path.startswith(f"{missing}."):
            known = "name one of interlock.adapters, or a module of your own"
            raise ConfigError(f"there is no adapter {name!r}; {known}") from None
        raise ConfigError(f"adapter {name!r} needs {missing}, which is not installed") from error
    if not isinstance(found, Runtime):
        raise ConfigError(f"adapter {name!r} cannot be replayed on: it has no drive() or no speaking()")
    return cast("Runtime", found)


def drive(runtime: Runtime, run: Run, agent: Any, request: str = "", *, saved: str | None = None) -> Driven:
    """`runtime.drive(…)`, whether it is async or not: for programs that have no event loop of their own."""
    driven = runtime.drive(run, agent, request, saved=saved)
    return asyncio.run(_awaited(driven)) if inspect.isawaitable(driven) else driven


async def _awaited(driven: Awaitable[Driven]) -> Driven:
    return await driven
