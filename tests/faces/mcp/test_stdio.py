"""`interlock mcp --stdio`, started as a desktop client starts it."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from mcp import Client, StdioServerParameters

import interlock
from tests.faces.mcp.conftest import run

CONFIG = """\
ledger: sqlite:///ledger.db
policy: {allow: ["up.*"]}
approvals: {required_for: ["up.wait"]}
tools: {up.add: {effect: read}, up.say: {effect: read}}
credentials: {up: "env:UP_TOKEN"}
upstreams:
  up: {mcp: {command: [%s, %s, %s], env: {TOKEN: "{credential}"}}, credential: up}
serve: {mcp: {agent: desk, tenant: home, env: laptop}}
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    upstream = Path(__file__).with_name("mcp_upstream.py")
    words = tuple(json.dumps(str(each)) for each in (sys.executable, upstream, tmp_path))
    (tmp_path / "interlock.yaml").write_text(CONFIG % words)
    return tmp_path


def parameters(folder: Path) -> StdioServerParameters:
    command = ["-m", "interlock", "--config", str(folder / "interlock.yaml"), "mcp", "--stdio"]
    return StdioServerParameters(command=sys.executable, args=command, env={"UP_TOKEN": "canary"}, cwd=folder)


@pytest.mark.parametrize("mode", ["auto", "legacy"])
def test_a_desktop_client_lists_and_calls_as_the_agent_that_the_config_names(folder: Path, mode: str) -> None:
    async def go() -> Any:
        async with Client(parameters(folder), mode=mode) as client:
            names = {tool.name for tool in (await client.list_tools()).tools}
            assert names == {f"up.{name}" for name in ("add", "add_wrongly", "say", "steps", "wait", "leak")}
            added = await client.call_tool("up.add", {"a": 1, "b": 2})
            assert added.structured_content == {"sum": 3}
            pending = await client.call_tool("up.wait", {})
            assert pending.content[0].text.startswith("APPROVAL_REQUIRED ap_")
            return added.meta["interlock/run_id"]

    run_id = run(go())
    with interlock.open(folder / "interlock.yaml", upstreams=False) as gateway:
        (opened,) = gateway.store.runs("home")
        assert (opened.run_id, opened.agent, opened.env) == (run_id, "desk", "laptop")


def test_standard_output_holds_nothing_but_the_protocol_and_the_process_ends_when_it_is_told(folder: Path) -> None:
    said = parameters(folder)
    process = subprocess.Popen(
        [said.command, *said.args], cwd=folder, env={"UP_TOKEN": "canary", "PATH": "/usr/bin:/bin"},
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
    )
    assert process.stdin is not None
    assert process.stdout is not None
    first = {
        "jsonrpc": "2.0", "id": 1, "method": "initialize",
        "params": {"protocolVersion": "2025-11-25", "capabilities": {}, "clientInfo": {"name": "x", "version": "1"}},
    }
    process.stdin.write(json.dumps(first).encode() + b"\n")
    process.stdin.flush()
    line = process.stdout.readline()
    assert json.loads(line)["result"]["serverInfo"]["name"] == "interlock"
    process.send_signal(signal.SIGTERM)
    rest, _ = process.communicate(timeout=30)
    assert rest == b""
    assert process.returncode == 0


def test_without_stdio_it_says_where_mcp_over_http_is(folder: Path) -> None:
    ended = subprocess.run(
        [sys.executable, "-m", "interlock", "mcp"], cwd=folder, capture_output=True, text=True, check=False, timeout=60
    )
    assert ended.returncode == 2
    assert "interlock serve" in ended.stderr
    assert ended.stdout == ""
