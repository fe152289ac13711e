"""CrewAI, in an environment and a process of its own. Its model is asked through the gateway's model proxy."""

from __future__ import annotations

import asyncio
import atexit
import json
import os
import subprocess
import tempfile
from functools import cache
from pathlib import Path
from typing import Any

from tests.docs.pages import ROOT, blocks
from tests.runtimes.clients.script import Elsewhere, Script, Way

PYTHON = ROOT / ".venv-crewai/bin/python"
ALONE = {
    "CREWAI_DISABLE_TELEMETRY": "true", "CREWAI_TRACING_ENABLED": "false", "OTEL_SDK_DISABLED": "true",
    "PATH": os.environ["PATH"],
}  # fmt: skip


def shown(page: str) -> str:
    """The example of a page. It is executed where CrewAI is, and by nobody else."""
    (found,) = [block.text for block in blocks(ROOT / page) if block.name == "crewai"]
    return found


class Child:
    """The process. It is started once, for CrewAI takes seconds to be imported. Its home is empty, and goes with us."""

    def __init__(self) -> None:
        assert PYTHON.exists(), "CrewAI is not here: make crewai"
        self._home = tempfile.TemporaryDirectory(prefix="crewai-")
        home = self._home.name
        with (Path(home) / "stderr").open("wb") as stderr:
            self._process = subprocess.Popen(
                [PYTHON, "-P", Path(__file__).with_name("crew.py")], stdin=subprocess.PIPE, stdout=subprocess.PIPE,
                stderr=stderr, text=True, cwd=home,
                env={**ALONE, "HOME": home, "XDG_DATA_HOME": home, "CREWAI_STORAGE_DIR": "crewai"},
            )  # fmt: skip
        atexit.register(self._home.cleanup)
        atexit.register(self.end)

    def end(self) -> None:
        with self._process:
            self._process.kill()

    def ask(self, order: dict[str, Any]) -> dict[str, Any]:
        """What came of it."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(json.dumps(order) + "\n")
        self._process.stdin.flush()
        line = self._process.stdout.readline()
        assert line, f"CrewAI is gone: {(Path(self._home.name) / 'stderr').read_text()[-4000:]}"
        answer: dict[str, Any] = json.loads(line)
        return answer


@cache
def child() -> Child:
    return Child()


def end() -> None:
    """End the process. The next run starts another."""
    ended = child()
    child.cache_clear()
    ended.end()


async def drive(way: Way, script: Script) -> str:
    """One run of a crew. Gives its last words."""
    way.provider.script = script
    order: dict[str, Any] = {
        "texts": [shown("docs/mcp-clients.md")], "adjust": {},
        "way": {"url": way.url, "key": way.key, "run_id": way.run_id},
    }
    way.adjust(order)
    try:
        answer = await asyncio.to_thread(child().ask, order)
    except asyncio.CancelledError:
        end()
        raise
    assert answer["abroad"] == []
    if answer["kind"]:
        raise Elsewhere(answer["kind"], answer["error"])
    said: str = answer["said"]
    return said
