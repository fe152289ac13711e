"""`make demo`, for real: its own set-up, real MCP servers, and the command line on the ledger that it leaves."""

import json
import os
import re
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import pytest

ROOT = Path(__file__).resolve().parents[1]
SECONDS = 300  # the first time, for installing; a demo that is set up takes a few


class Shown(NamedTuple):
    """What a demo printed, and where it left its worlds."""

    folder: Path
    printed: str
    errors: str
    code: int


@pytest.fixture(scope="module")
def demo() -> Iterator[Shown]:
    """One demo, in a folder of its own."""
    (ROOT / ".demo").mkdir(exist_ok=True)
    folder = Path(tempfile.mkdtemp(prefix="test-", dir=ROOT / ".demo"))
    made = subprocess.run(
        [str(ROOT / "scripts/demo.sh"), "plain", folder.name], check=False, timeout=SECONDS, capture_output=True,
        text=True, env={**os.environ, "COLUMNS": "80"},
    )
    yield Shown(folder, made.stdout, made.stderr, made.returncode)
    shutil.rmtree(folder, ignore_errors=True)


def interlock(demo: Shown, *command: str) -> str:
    config = demo.folder / "governed" / "interlock.yaml"
    done = subprocess.run(
        [str(ROOT / ".venv/bin/interlock"), *command, "--config", str(config)], check=False,
        timeout=60, capture_output=True, text=True, cwd=ROOT,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def row(demo: Shown, label: str) -> list[str]:
    """The cells of one line of the table."""
    line = next(line for line in demo.printed.splitlines() if line.startswith(f"│ {label}"))
    return [cell.strip() for cell in line.strip("│").split("│")][1:]


def test_the_demo_keeps_its_promises(demo: Shown) -> None:
    assert (demo.code, demo.errors) == (0, ""), demo.printed
    assert row(demo, "tickets asked for") == ["1", "1", "1"]
    assert row(demo, "bogus tickets") == ["9", "0", "0"]
    assert row(demo, "customer list leaked") == ["1", "0", "0"]
    assert row(demo, "a person was asked") == ["never", "2 ×", "9 ×"]
    assert row(demo, "stop reason") == ["none", "approval_rejected", "completed"]
    assert re.fullmatch(r"not metered \$0\.00\d\d \$0\.00\d\d", " ".join(row(demo, "model cost")))


def test_the_demo_shows_what_a_person_is_asked_and_what_is_denied(demo: Shown) -> None:
    assert "came partly from files.read_text_file (untrusted)" in demo.printed
    assert "maria approves" in demo.printed
    assert "maria rejects" in demo.printed
    text = " ".join(demo.printed.split())
    assert "nothing in the policy allows files.write_file" in text
    assert "stopped because a person refused an action that it needed" in text
    assert re.search(r"Audit of 'acme': intact, \d+ entries, .* checkpoints? agreed with", text)
    assert "Without ids and times, it is the same on every runtime" in text


def test_the_demo_fits_a_narrow_terminal(demo: Shown) -> None:
    story = demo.printed.partition("Look for yourself:")[0]
    assert max(map(len, story.splitlines())) <= 80
    assert len(story.splitlines()) < 100


def test_the_commands_that_the_demo_names_work(demo: Shown) -> None:
    named = re.findall(r"^  \.venv/bin/interlock (.+) --config (\S+)$", demo.printed, re.MULTILINE)
    assert len(named) == 3
    for command, config in named:
        assert (ROOT / config) == demo.folder / "governed" / "interlock.yaml"
        assert interlock(demo, *command.split())


def test_its_ledger_can_be_read(demo: Shown) -> None:
    listed: dict[str, Any] = json.loads(interlock(demo, "run", "list", "--json"))
    assert [run["run_id"] for run in listed["runs"]] == ["second", "first"]
    assert "approval_rejected" in interlock(demo, "run", "show", "first")
    assert "intact" in interlock(demo, "audit", "verify", "--tenant", "acme")
    assert "files.write_file" in interlock(demo, "run", "show", "second", "--json")
