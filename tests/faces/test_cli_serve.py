"""`interlock serve`: a real process on a free port; what it prints, what it refuses, how it ends."""

from __future__ import annotations

import gzip
import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
import uvicorn

import interlock
from interlock.core.principal import Role
from interlock.faces.http import server
from interlock.faces.http.compose import compose
from tests.faces.serving import Process, Wire, key_of

CONFIG = 'policy: {allow: ["*"]}\nledger: {url: "sqlite:///interlock.db", synchronous: "off"}\n'
TOOLS = '''
import time
import interlock

def gateway():
    gw = interlock.open("interlock.yaml")

    @gw.tool("slow", effect="write")
    def slow() -> str:
        with open("begun", "w"):
            pass
        time.sleep(1.0)
        return "it happened"

    return gw
'''


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "interlock.yaml").write_text(CONFIG)
    (tmp_path / "tools.py").write_text(TOOLS)
    return tmp_path


def refused(folder: Path, *more: str, **env: str) -> tuple[int, str]:
    """What a command that must not begin says."""
    command = [sys.executable, "-m", "interlock", "serve", "--port", "0", *more]
    done = subprocess.run(
        command, cwd=folder, capture_output=True, text=True, timeout=30, check=False,
        env={**os.environ, **env},
    )
    return done.returncode, " ".join(done.stderr.split())


def test_it_says_where_it_is_and_the_first_key_once(folder: Path) -> None:
    first = Process(folder)
    key = first.key()
    ready = first.ask("GET", "/readyz")
    runs = first.ask("GET", "/v1/runs?tenant=acme", key)
    nobody = first.ask("GET", "/v1/runs?tenant=acme")[0]
    assert first.end() == 0
    second = Process(folder)
    again = second.ask("GET", "/v1/runs?tenant=acme", key)[0]
    assert second.end(signal.SIGINT) == 0
    assert first.url.startswith("http://127.0.0.1:")
    assert ready == (200, {"ready": True, "troubles": []})
    assert (runs[0], nobody, again) == (200, 401, 200)
    assert key not in "".join(file.read_text("latin-1") for file in folder.iterdir() if file.is_file())


def test_a_call_in_flight_is_settled_before_the_process_goes(folder: Path) -> None:
    serving = Process(folder, "--app", "tools:gateway")
    admin = serving.key()
    key = key_of(folder, Role.AGENT)
    assert serving.ask("POST", "/v1/runs", key, {"run_id": "r1"})[0] == 200
    answers: list[Any] = []
    call = {"tool": "slow", "call_id": "c1"}
    calling = threading.Thread(target=lambda: answers.append(serving.ask("POST", "/v1/runs/r1/calls", key, call)))
    calling.start()
    while not (folder / "begun").exists():
        time.sleep(0.005)
    assert serving.end() == 0
    calling.join(20)
    assert answers[0][0] == 200
    assert answers[0][1]["value"] == "it happened"
    with interlock.open(folder / "interlock.yaml", upstreams=False) as after:
        assert [record.state for record in after.store.calls_of("acme", "r1")] == ["done"]
    assert admin.startswith("ilk_")


@pytest.mark.parametrize("wanted", [True, False])
def test_each_call_and_each_stop_is_a_line_of_json_on_standard_error(folder: Path, wanted: bool) -> None:
    told = f"logging: {{tool_calls: {json.dumps(wanted)}, stop_reasons: {json.dumps(wanted)}}}\n"
    (folder / "interlock.yaml").write_text(CONFIG + told)
    serving, key = Process(folder), key_of(folder, Role.AGENT)
    serving.ask("POST", "/v1/runs", key, {"run_id": "r1"})
    serving.ask("POST", "/v1/runs/r1/calls", key, {"tool": "nowhere", "call_id": "c1"})
    serving.ask("POST", "/v1/runs/r1/stop", key)
    assert serving.end() == 0
    lines = [json.loads(line) for line in serving.log.read_text().splitlines()]
    if not wanted:
        assert lines == []
        return
    call, stop = lines
    assert (call["logger"], call["level"], call["event"]) == ("interlock.calls", "info", "tool_call")
    assert (call["run_id"], call["call_id"], call["tool"], call["outcome"]) == ("r1", "c1", "nowhere", "denied")
    assert (stop["logger"], stop["run_id"], stop["stop_reason"]) == ("interlock.stops", "r1", "cancelled")
    assert call["at"].endswith("Z")
    assert call["at"] <= stop["at"]


class Collector(BaseHTTPRequestHandler):
    """Takes spans, as OTLP over HTTP has them."""

    came: list[bytes]

    def do_POST(self) -> None:
        raw = self.rfile.read(int(self.headers["content-length"]))
        self.came.append(gzip.decompress(raw) if self.headers["content-encoding"] == "gzip" else raw)
        self.send_response(200)
        self.send_header("content-length", "0")
        self.end_headers()

    def log_message(self, *_: object) -> None:
        """Nobody reads it."""


@pytest.mark.parametrize("wanted", [True, False])
def test_calls_are_spans_below_their_callers_where_the_environment_names_a_collector(
    folder: Path, wanted: bool
) -> None:
    (folder / "interlock.yaml").write_text(f"{CONFIG}telemetry: {{traces: {json.dumps(wanted)}}}\n")
    Collector.came = []
    with ThreadingHTTPServer(("127.0.0.1", 0), Collector) as collector:
        listening = threading.Thread(target=collector.serve_forever, args=(0.01,))
        listening.start()
        serving = Process(folder, env={"OTEL_EXPORTER_OTLP_ENDPOINT": f"http://127.0.0.1:{collector.server_port}"})
        key, trace_id = key_of(folder, Role.AGENT), "4bf92f3577b34da6a3ce929d0e0e4736"
        serving.ask("POST", "/v1/runs", key, {"run_id": "r1"})
        with Wire(serving.port, key) as wire:
            said = {"tool": "nowhere", "call_id": "c1"}
            wire.ask("POST", "/v1/runs/r1/calls", said, traceparent=f"00-{trace_id}-00f067aa0ba902b7-01")
        assert serving.end() == 0
        collector.shutdown()
        listening.join()
    told = b"".join(Collector.came)
    assert (b"execute_tool nowhere" in told) is wanted
    assert (bytes.fromhex(trace_id) in told) is wanted
    assert serving.log.read_text().count("\n") == 1  # the call's line, and no complaint


def test_a_public_address_without_a_key_is_refused(folder: Path) -> None:
    code, said = refused(folder, "--host", "0.0.0.0")
    assert code == 2
    assert "there is no key yet" in said
    assert "interlock keys create" in said


def test_several_workers_without_postgresql_are_refused(folder: Path) -> None:
    code, said = refused(folder, "--workers", "2")
    assert (code, "PostgreSQL" in said) == (2, True)


@pytest.mark.parametrize("secret", ["short", "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa", ""])
def test_a_weak_secret_is_refused_and_not_shown(folder: Path, secret: str) -> None:
    webhook = 'approvals: {webhook: {url: "https://hook.example/x", secret: "env:HOOK"}}\n'
    (folder / "interlock.yaml").write_text(CONFIG + webhook)
    code, said = refused(folder, HOOK=secret)
    assert code == 2
    assert "approvals.webhook.secret" in said
    assert not secret or secret not in said.replace("too short", "")


def test_a_ledger_that_cannot_be_written_is_refused(folder: Path) -> None:
    (folder / "interlock.yaml").write_text('policy: {allow: ["*"]}\nledger: "sqlite:///missing/interlock.db"\n')
    code, said = refused(folder)
    assert code == 1
    assert "missing" in said


def test_a_port_that_is_taken_is_named(folder: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        code, said = refused(folder, "--port", str(taken.getsockname()[1]))
    assert code == 2
    assert "cannot listen on 127.0.0.1" in said


@pytest.mark.parametrize(
    ("app", "said"), [("tools", "MODULE:NAME"), ("nowhere:gateway", "nowhere"), ("tools:time", "neither a Gateway")]
)
def test_a_program_that_gives_no_gateway_is_refused(folder: Path, app: str, said: str) -> None:
    code, told = refused(folder, "--app", app)
    assert code == 2
    assert said in told


def test_several_processes_serve_one_ledger_on_postgresql(folder: Path, postgres_url: str) -> None:
    (folder / "interlock.yaml").write_text(f'policy: {{allow: ["*"]}}\nledger: "{postgres_url}"\n')
    serving = Process(folder, "--workers", "2")
    key, bot = serving.key(), key_of(folder, Role.AGENT)
    try:
        answers = [serving.ask("GET", "/v1/runs?tenant=acme", key) for _ in range(8)]
        serving.ask("POST", "/v1/runs", bot, {"run_id": "r1"})
        serving.ask("POST", "/v1/runs/r1/calls", bot, {"tool": "nowhere"})
    finally:
        code = serving.end()
    assert answers == [(200, {"runs": [], "next": None})] * 8
    assert code == 0
    (line,) = serving.log.read_text().splitlines()
    assert json.loads(line)["tool"] == "nowhere"


# --- the wire --------------------------------------------------------------------------------------------------------


@pytest.fixture
def wire(monkeypatch: pytest.MonkeyPatch) -> Iterator[tuple[str, int]]:
    """A service behind the real protocol, whose patience with headers is short."""
    monkeypatch.setattr(server, "HEADER_SECONDS", 0.3)
    listening = server.listen("127.0.0.1", 0)
    with interlock.open({"ledger": "memory:", "policy": {"allow": ["*"]}}) as gateway:
        serving = uvicorn.Server(server.settings_for(compose(gateway)))
        thread = threading.Thread(target=serving.run, args=([listening],))
        thread.start()
        yield listening.getsockname()[:2]
        serving.should_exit = True
        thread.join()
    listening.close()


def everything(connection: socket.socket) -> bytes:
    """All that comes until the other side closes."""
    found = b""
    connection.settimeout(10)
    while piece := connection.recv(65_536):
        found += piece
    return found


def test_headers_that_never_end_are_not_kept(wire: tuple[str, int]) -> None:
    with socket.create_connection(wire) as connection:
        connection.sendall(b"GET /healthz HTTP/1.1\r\nhost: x\r\n" + b"x: " + b"a" * 40_000)
        assert everything(connection).startswith(b"HTTP/1.1 431 ")


def test_headers_that_come_too_slowly_are_not_waited_for(wire: tuple[str, int]) -> None:
    with socket.create_connection(wire) as silent, socket.create_connection(wire) as slow:
        slow.sendall(b"GET /healthz HTTP/1.1\r\n")
        assert everything(silent).startswith(b"HTTP/1.1 408 ")
        assert everything(slow).startswith(b"HTTP/1.1 408 ")


def test_a_connection_is_kept_for_the_next_request(wire: tuple[str, int]) -> None:
    with socket.create_connection(wire) as connection:
        for _ in range(2):
            connection.sendall(b"GET /healthz HTTP/1.1\r\nhost: x\r\n\r\n")
            answer = b""
            while not answer.endswith(b'"troubles":[]}'):
                answer += connection.recv(65_536)
            time.sleep(0.4)  # longer than headers may take: between requests is another matter
        connection.sendall(b"GET /healthz HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n")
        assert everything(connection).startswith(b"HTTP/1.1 200 ")
