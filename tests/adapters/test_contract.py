"""The plain loop keeps the promises that every adapter keeps."""

from pathlib import Path

import pytest

from interlock.testing.adapter_contract import ADAPTER_CONTRACT, Play, Promise, keep
from tests.adapters.plain_driver import Plain


@pytest.mark.parametrize("promise", ADAPTER_CONTRACT, ids=lambda promise: promise.__name__)
def test_the_plain_loop(promise: Promise, tmp_path: Path) -> None:
    keep(promise, Play(Plain(), tmp_path))
