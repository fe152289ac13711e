"""Every adapter keeps the promises of the contract, streamed and not."""

from pathlib import Path

import pytest

from interlock.testing.adapter_contract import ADAPTER_CONTRACT, Play, Promise, keep
from tests.runtimes.adapters.drivers import DRIVERS, RuntimeDriver

PLAYED = [(driver(), stream) for driver in DRIVERS for stream in (False, True)[: 1 + driver.streams]]
IDS = [f"{driver}{'-streamed' if stream else ''}" for driver, stream in PLAYED]


@pytest.mark.parametrize("promise", ADAPTER_CONTRACT, ids=lambda promise: promise.__name__)
@pytest.mark.parametrize(("driver", "stream"), PLAYED, ids=IDS)
def test_an_adapter(promise: Promise, driver: RuntimeDriver, stream: bool, tmp_path: Path) -> None:
    keep(promise, Play(driver, tmp_path, stream))
