"""A gateway, a desk of tools, a model that says what is written down, and one runtime to drive them: where the promises
of an adapter are played.

Not a mock: gateway, ledger and runtime are the real ones; the clock is moved by hand, and the model follows a script.
Law: what was seen is said in one form, whatever the runtime.
"""

# ruff: noqa: S101  assertions are what this module is made of

from __future__ import annotations

import asyncio
import inspect
import multiprocessing
import traceback
from collections.abc import Awaitable, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass, field
from pathlib import Path
from textwrap import dedent
from typing import Any, Protocol

import interlock
from interlock.core.turn import Call, Turn, Usage
from interlock.driving import Script
from interlock.gateway import Gateway
from interlock.governed import Result
from interlock.runs import Run
from interlock.testing import ManualClock
from interlock.testing.adapter_contract.desk import furnish
from interlock.testing.adapter_contract.normal import normal

USAGE = Usage(input_tokens=100, output_tokens=50)
MODEL, MOST = "m", 100  #: the scripted model's name, and what it may put out in a turn
REQUEST = "Look after ticket 7."
CONFIG: Mapping[str, Any] = {
    "policy": {
        "allow": ["desk.*"],
        "rules": [{"id": "no-secrets", "tools": ["desk.note"], "when": "args.text == 'secret'", "then": "deny"}],
    },
    "approvals": {"required_for": ["desk.pay"], "expires": "10m"},
    "prices": {MODEL: {"input": 1.0, "output": 1.0}},
}


class Refusing(Exception):
    """What the scripted model raises in place of a provider that answers 503. Each driver makes of it what its runtime
    tries again."""

    status_code = 503


class Driver(Protocol):
    """What the contract has to know of a runtime. It can be pickled."""

    @property
    def runtime(self) -> str:
        """Its name: that of the adapter."""
        ...

    @property
    def streams(self) -> bool:
        """True where it can also be driven as a stream."""
        ...

    def drive(
        self, run: Run, script: Script, request: str, *, saved: str | None, save: Any, stream: bool, retries: int
    ) -> Result | Awaitable[Result]:
        """Make an agent whose model follows the script, bind it to the run, and drive it with the runtime's own
        retries, so many of them, switched on."""
        ...


@dataclass(frozen=True)
class Fault:
    """A line of a script: the provider refuses so often before it says the next one."""

    times: int = 1


@dataclass(frozen=True)
class Late:
    """A line of a script: it takes so many seconds to be said."""

    line: Turn | str | Sequence[Call]
    seconds: float


Line = Turn | str | Sequence[Call] | Fault | Late


@dataclass
class Otherwise:
    """What a runtime honestly does otherwise than the others: why, and what is seen instead."""

    why: str
    seen: Mapping[str, Any]


@dataclass
class Play:
    """One promise played on one runtime. `folder` is empty; the ledger is a file in it."""

    driver: Driver
    folder: Path
    stream: bool = False
    lines: Sequence[Line] = ()
    config: Mapping[str, Any] = field(default_factory=dict)
    retries: int = 0
    run_id: str = "r1"
    now: int | None = None
    promise: str = ""  #: the name of what is played

    def __post_init__(self) -> None:
        self.clock = ManualClock() if self.now is None else ManualClock(self.now)
        self.told: dict[str, str] = {}
        self.results: list[Result] = []
        self._faults: dict[int, int] = {}
        self._gateway: Gateway | None = None

    # --- the desk ----------------------------------------------------------------------------------------------------

    @property
    def gateway(self) -> Gateway:
        """The gateway, opened on first use."""
        if self._gateway is None:
            ledger = {"url": f"sqlite:///{self.folder / 'ledger.db'}", "synchronous": "off"}
            self._gateway = interlock.open({**CONFIG, "ledger": ledger, **self.config}, clock=self.clock)
            furnish(self)
        return self._gateway

    def close(self) -> None:
        """Let go of the ledger."""
        if self._gateway is not None:
            self._gateway.close()
            self._gateway = None

    def did(self, what: str) -> None:
        """A tool has done this."""
        with (self.folder / "effects").open("a") as file:
            file.write(f"{what}\n")

    @property
    def effects(self) -> list[str]:
        """All that tools did, in whatever process, sorted."""
        path = self.folder / "effects"
        return sorted(path.read_text().splitlines()) if path.exists() else []

    # --- the model ---------------------------------------------------------------------------------------------------

    def script(self) -> Script:
        """What the runtime's model follows."""
        return Script(say=self._say, hear=self._hear, model=MODEL, max_output_tokens=MOST)

    def _hear(self, told: Mapping[str, str]) -> None:
        self.told = dict(told)

    def _say(self) -> Turn:
        for place, line in enumerate(self.lines):
            if isinstance(line, Fault):
                if self._faults.setdefault(place, line.times):
                    self._faults[place] -= 1
                    raise Refusing("the provider answers 503")
                continue
            turn = _turn(line.line if isinstance(line, Late) else line)
            if turn.calls and all(call.id in self.told for call in turn.calls):
                continue
            if isinstance(line, Late):
                self.clock.advance(line.seconds)
            return turn
        raise AssertionError("the script is over, and the model was asked once more")

    # --- what people and time do -------------------------------------------------------------------------------------

    def run(self) -> Run:
        """The run, taken up."""
        return self.gateway.run(
            agent="bot", tenant="acme", env="test", request=REQUEST, run_id=self.run_id, runtime=self.driver.runtime
        )

    def drive(self, saved: str | None = None) -> Result:
        """Let the agent work, from the start or from what was saved."""
        self.results.append(asyncio.run(self.driven(saved)))
        return self.results[-1]

    async def driven(self, saved: str | None = None) -> Result:
        """The same, in an event loop that runs already."""
        result = self.driver.drive(
            self.run(), self.script(), REQUEST, saved=saved, save=self.save, stream=self.stream, retries=self.retries
        )
        return await result if inspect.isawaitable(result) else result

    def drive_elsewhere(self, saved: str | None = None) -> Result | None:
        """The same in another process, with nothing but the ledger and what was saved. None where that has died."""
        self.close()
        there = Play(
            self.driver, self.folder, self.stream, self.lines, self.config, self.retries, self.run_id, self.clock.now()
        )
        with ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("spawn")) as pool:
            try:
                result, self.told = pool.submit(_there, there, saved).result()
            except BrokenProcessPool:
                return None
        self.results.append(result)
        return result

    def save(self, saved: str) -> None:
        """Keep what to go on from."""
        (self.folder / "saved").write_text(saved)

    @property
    def kept(self) -> str | None:
        """What was kept last, by whatever process."""
        path = self.folder / "saved"
        return path.read_text() if path.exists() else None

    def answer(self, *, yes: bool) -> None:
        """A person answers all that is asked."""
        control = self.gateway.control
        for approval in control.approvals("acme"):
            (control.approve if yes else control.reject)(approval.approval_id, by="joe", note="so")

    # --- what was seen -----------------------------------------------------------------------------------------------

    @property
    def audit(self) -> list[str]:
        """The run's audit in its normal form."""
        return normal(self.gateway.audit.entries("acme"), self.run_id)

    def seen(self) -> dict[str, Any]:
        """All that a promise can speak of."""
        report = self.run().report()
        told = {call_id: text.split(". ")[0] for call_id, text in self.told.items()}
        return {
            "ended": [result.status for result in self.results],
            "stop": str(report.stop_reason) if report.stop_reason else None,
            "output": self.results[-1].output,
            "effects": self.effects,
            "done": len(self.effects),
            "audit": self.audit,
            "told": told,
            "used": {"steps": report.steps.used, "tool_calls": report.tool_calls.used, "tokens": report.tokens.used},
            "held": {"steps": report.steps.held, "usd": report.usd.held},
        }

    def expect(self, **wanted: Any) -> None:
        """Hold what was seen against what every runtime promises, or what this one does instead."""
        seen = self.seen()
        exception = getattr(self.driver, "exceptions", {}).get(self.promise)
        if exception is not None:
            assert exception.seen != {key: wanted.get(key) for key in exception.seen}, "it is no exception"
            wanted = {**wanted, **exception.seen}
        if isinstance(wanted.get("audit"), str):  # as a block of text
            wanted["audit"] = dedent(wanted["audit"]).strip().splitlines()
        for key, value in wanted.items():
            assert seen[key] == value, f"{key}: {seen[key]!r} and not {value!r}; {self._trouble()}"

    def _trouble(self) -> str:
        """What a runtime has raised, for whoever reads why a promise was not kept."""
        found = [result.error for result in self.results if result.error is not None]
        return "".join(line for error in found for line in traceback.format_exception(error)[-3:])


def _there(play: Play, saved: str | None) -> tuple[Result, dict[str, str]]:
    result = play.drive(saved)
    play.close()
    return result, play.told


def _turn(line: Turn | str | Sequence[Call]) -> Turn:
    if isinstance(line, Turn):
        return line
    if isinstance(line, str):
        return Turn(line, usage=USAGE, model=MODEL)
    return Turn(calls=tuple(line), usage=USAGE, model=MODEL)
