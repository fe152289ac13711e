"""`make demo RUNTIME=…`: the incident on every runtime, and the same audit."""

import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.runtimes.test_pairs import FIVE

ROOT = Path(__file__).resolve().parents[2]
SECONDS = 300  # the first time, for installing; a demo that is set up takes a few


@pytest.fixture
def folder() -> Iterator[Path]:
    (ROOT / ".demo").mkdir(exist_ok=True)
    made = Path(tempfile.mkdtemp(prefix="test-", dir=ROOT / ".demo"))
    yield made
    shutil.rmtree(made, ignore_errors=True)


@pytest.mark.parametrize("runtime", [each for each in FIVE if each != "plain"])  # that is tests/test_demo.py
def test_the_incident_leaves_the_same_audit_on_every_runtime(runtime: str, folder: Path) -> None:
    shown = subprocess.run(
        [str(ROOT / "scripts/demo.sh"), runtime, folder.name], check=False, timeout=SECONDS, capture_output=True,
        text=True, env={**os.environ, "COLUMNS": "80"},
    )
    assert (shown.returncode, shown.stderr) == (0, ""), shown.stdout
    assert "Without ids and times, it is the same on every runtime" in " ".join(shown.stdout.split())
    left = folder / "governed"
    assert (left / "audit.txt").read_text() == (ROOT / "examples/support/audit.txt").read_text()
    assert f"runtime: {runtime}}}" in (left / "interlock.yaml").read_text()
    story = shown.stdout.partition("Look for yourself:")[0]
    assert max(map(len, story.splitlines())) <= 80


def test_a_runtime_that_there_is_not_is_named(folder: Path) -> None:
    command = [str(ROOT / "scripts/demo.sh"), "llamagraph", folder.name]
    shown = subprocess.run(command, check=False, timeout=SECONDS, capture_output=True, text=True)
    assert shown.returncode == 1
    assert "there is no adapter 'llamagraph'" in shown.stdout
