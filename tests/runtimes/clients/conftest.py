"""The office, and each client in turn."""

from __future__ import annotations

import asyncio
import importlib
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from tests.runtimes.clients.expectations import CLIENTS, Expected
from tests.runtimes.clients.office import ENVIRONMENT, LIMIT, Office
from tests.runtimes.clients.script import Call, Elsewhere, Script, Way

BY_MODULE = {each.module: each for each in CLIENTS}
OpenOffice = Callable[..., Office]


class Ran:
    """What came of one run of an agent."""

    def __init__(self, script: Script, said: str, error: BaseException | None) -> None:
        self.said = said  #: its last words
        self.told = script.told
        self.offered = {name.replace("_", ".") for name in script.offered}
        kind = error.kind if isinstance(error, Elsewhere) else type(error).__name__
        self.ends = kind if error is not None else ""  #: the exception that ended it
        self.error = error


class Client:
    """One client of the gateway: a real runtime, with a scripted model."""

    def __init__(self, expected: Expected) -> None:
        self.expects = expected
        self._drive = importlib.import_module(f"tests.runtimes.clients.with_{expected.module}").drive

    def run(
        self, office: Office, *turns: Any, run_id: str = "r1", key: str = "", person: Callable[[], str] | None = None,
        adjust: Callable[[Any], None] = lambda _: None,
    ) -> Ran:
        """One run of an agent, whose model says `turns`. `adjust`: otherwise than the docs advise."""
        script = Script(*([turn] if isinstance(turn, Call) else turn for turn in turns))
        way = Way(office.url, key or office.key, run_id, person, office.provider, adjust)

        async def limited() -> str:
            async with asyncio.timeout(LIMIT):
                said: str = await self._drive(way, script)
                return said

        try:
            return Ran(script, asyncio.run(limited()), None)
        except AssertionError:
            raise
        except Exception as error:
            while isinstance(error, ExceptionGroup) and len(error.exceptions) == 1:
                error = error.exceptions[0]
            return Ran(script, "", error)


@pytest.fixture(params=list(BY_MODULE))
def client(request: pytest.FixtureRequest) -> Client:
    return Client(BY_MODULE[request.param])


@pytest.fixture
def crewai() -> Client:
    return Client(BY_MODULE["crewai"])


@pytest.fixture
def open_office(monkeypatch: pytest.MonkeyPatch) -> Iterator[OpenOffice]:
    """Opens an office, with an open run r1; `open_office(config…)`."""
    offices: list[Office] = []
    for name, value in ENVIRONMENT.items():
        monkeypatch.setenv(name, value)

    def open_(**config: Any) -> Office:
        offices.append(Office(**config))
        offices[-1].open_run("r1")
        return offices[-1]

    yield open_
    for office in offices:
        office.close()


@pytest.fixture
def office(open_office: OpenOffice) -> Office:
    return open_office()
