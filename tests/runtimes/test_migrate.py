"""docs/migrate.md is done, from its first block to its last, in one folder: what it says is printed is printed."""

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from interlock.config import load
from tests.docs.pages import ROOT, Block, blocks

PAGE = ROOT / "docs/migrate.md"
SECONDS = 300
ENV = {**os.environ, "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}", "COLUMNS": "80"}


def commands(block: Block) -> list[tuple[str, str]]:
    """Each command of a console, with what is shown beneath it."""
    found = re.findall(r"^\$ (.+)\n((?:(?!\$ ).*\n)*)", block.text, re.MULTILINE)
    assert "".join(f"$ {command}\n{shown}" for command, shown in found) == block.text
    return found


def done(command: str, folder: Path) -> subprocess.CompletedProcess[str]:
    if command.startswith("make demo"):  # where nobody's own demo is
        command, folder = f"{command} ARGS={folder.name}", ROOT
    return subprocess.run(
        ["bash", "-c", command], check=False, timeout=SECONDS, capture_output=True, text=True, cwd=folder, env=ENV
    )


def as_shown(shown: str, printed: str) -> bool:
    """Line by line; … stands for anything."""
    pattern = ".*".join(re.escape(part) for part in shown.strip().split("…"))
    text = "\n".join(line.rstrip() for line in printed.strip().splitlines())
    return re.fullmatch(pattern, text, re.DOTALL) is not None


@pytest.fixture
def folder(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    made = tmp_path_factory.mktemp("migrate")
    yield made
    shutil.rmtree(ROOT / ".demo" / made.name, ignore_errors=True)


def test_the_way_from_one_runtime_to_another_and_back_is_as_the_page_has_it(folder: Path) -> None:
    ran = 0
    for block in blocks(PAGE):
        where = f"{PAGE.name}:{block.line}"
        if block.kind != "console":
            assert block.name, f"{where}: which file is this?"
            (folder / block.name).write_text(block.text, "utf-8")
            if block.kind == "yaml":
                load(folder / block.name)
            continue
        for command, shown in commands(block):
            result = done(command, folder)
            told = f"{where}: {command}\n{result.stdout}{result.stderr}"
            assert result.returncode == shown.endswith("FAIL\n"), told
            assert as_shown(shown, result.stdout), told
            ran += 1
    assert ran >= 20


def test_the_config_was_changed_in_one_line_each_way() -> None:
    swaps = re.findall(r"^\$ sed -i (.+) interlock\.yaml$", PAGE.read_text("utf-8"), re.MULTILINE)
    assert swaps == [
        """'s/runtime: "openai_agents"/runtime: "plain"/'""", """'s/runtime: "plain"/runtime: "openai_agents"/'"""
    ]
