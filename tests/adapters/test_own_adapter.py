"""An adapter that is made, and held to the contract, as docs/runtimes.md shows it."""

from pathlib import Path

import pytest

from interlock.testing.adapter_contract import ADAPTER_CONTRACT, Play, Promise, keep
from tests.adapters.own_driver import Mine


@pytest.mark.parametrize("promise", ADAPTER_CONTRACT, ids=lambda promise: promise.__name__)
def test_an_adapter_of_ones_own(promise: Promise, tmp_path: Path) -> None:
    keep(promise, Play(Mine(), tmp_path))
