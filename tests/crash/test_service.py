"""A service that is killed with -9 in the middle of everything, again and again, and started again on its port.

Calls over HTTP and over MCP, tickets of the agents' own process, people who are waited for, streams of models: each
client does what a good client does, which is to ask again with the same ids until it is answered.
"""

from __future__ import annotations

import http.client
import itertools
import json
import os
import random
import socket
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import msgspec
import pytest

import interlock
from interlock.core.approval import Standing
from interlock.core.audit import Kind
from interlock.core.principal import Role
from tests.crash.world import AFTER_THE_LEASE, TENANT, WHO, Line, World, entries, examine, records, settle_everything
from tests.faces.serving import PATIENCE, Process, Wire, key_of

ROOT = Path(__file__).resolve().parents[2]
SEED = 20261128
KILLS = 4
PAIRS = 2  #: of clients of each kind
APP = '''
import interlock
from tests.crash.world import Effects, register

def gateway():
    gw = interlock.open("interlock.yaml")
    register(gw, Effects("effects"))
    return gw
'''
USAGE = {"prompt_tokens": 1000, "completion_tokens": 200, "total_tokens": 1200}
TURN = 3_000  #: micro-dollars that this usage costs
META = {
    "io.modelcontextprotocol/protocolVersion": "2026-07-28",
    "io.modelcontextprotocol/clientInfo": {"name": "hand", "version": "1"},
    "io.modelcontextprotocol/clientCapabilities": {},
}
SAID: dict[str, Any] = {
    "budgets": {
        "max_steps": 10_000, "max_tool_calls": 10_000, "max_seconds": 100_000, "max_usd": 1000, "max_denials": 1000,
        "max_repeats": 1000,
    },
    "credentials": {"safe": "env:SAFE", "model": "env:SAFE"},
    "prices": {"m": {"input": 1.0, "output": 10.0}},
    "tools": {"note": {"effect": "write", "dedupe": "off"}},
}


class Provider(BaseHTTPRequestHandler):
    """A model that speaks slowly, so that a kill finds it speaking."""

    protocol_version = "HTTP/1.1"

    def do_POST(self) -> None:
        self.rfile.read(int(self.headers["content-length"]))
        self.send_response(200)
        self.send_header("content-type", "text/event-stream")
        self.send_header("transfer-encoding", "chunked")
        self.end_headers()
        try:
            for word in ("a", "long", "answer"):
                self._event({"choices": [{"index": 0, "delta": {"content": word}}]})
                time.sleep(0.03)
            self._event({"choices": [], "usage": USAGE})
            self._piece(b"data: [DONE]\n\n")
            self._piece(b"")
        except OSError:  # whoever asked is gone
            self.close_connection = True

    def _event(self, said: Mapping[str, Any]) -> None:
        told = {"id": "x", "object": "chat.completion.chunk", "created": 1, "model": "m", **said}
        self._piece(b"data: " + json.dumps(told).encode() + b"\n\n")

    def _piece(self, piece: bytes) -> None:
        self.wfile.write(b"%x\r\n%b\r\n" % (len(piece), piece))
        self.wfile.flush()

    def log_message(self, *_: object) -> None:
        """Nobody reads it."""


@pytest.fixture
def provider() -> Iterator[str]:
    with ThreadingHTTPServer(("127.0.0.1", 0), Provider) as server:
        server.daemon_threads = True
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        yield f"http://127.0.0.1:{server.server_address[1]}/v1"
        server.shutdown()
        thread.join()


class Clients:
    """All who ask. What each was answered is told in `answers`: (run, call) → kind."""

    def __init__(self, folder: Path, port: int, key: str) -> None:
        self.folder, self.port, self.key = folder, port, key
        self.over = threading.Event()
        self.answers: dict[tuple[str, str], str] = {}
        self.asked: list[str] = []  #: approvals that are waited for, or were
        self.streams = Counter[str]()
        self.troubles: list[BaseException] = []
        self._threads: list[threading.Thread] = []

    def start(self, work: Callable[[str], None], run_id: str) -> None:
        """One client with a run of its own."""

        def runs() -> None:
            try:
                self.insist("POST", "/v1/runs", {"run_id": run_id})
                work(run_id)
            except BaseException as error:
                self.troubles.append(error)

        self._threads.append(threading.Thread(target=runs, name=run_id))
        self._threads[-1].start()

    @property
    def are_busy(self) -> bool:
        """True while anybody has not been answered."""
        return any(thread.is_alive() for thread in self._threads)

    def end(self) -> None:
        """Let everybody finish what they have begun."""
        self.over.set()
        for thread in self._threads:
            thread.join(PATIENCE)
            assert not thread.is_alive(), f"{thread.name} was never answered"
        if self.troubles:
            raise self.troubles[0]

    # --- who asks ----------------------------------------------------------------------------------------------------

    def calls(self, run_id: str) -> None:
        """Calls over HTTP."""
        for number in self._numbers():
            said = {"tool": ("pay", "look")[number % 2], "args": {"n": number}, "call_id": f"c{number}"}
            self.answers[run_id, said["call_id"]] = self.insist("POST", f"/v1/runs/{run_id}/calls", said)["kind"]

    def speaks_mcp(self, run_id: str) -> None:
        """Calls over MCP."""
        headers = {
            "mcp-protocol-version": "2026-07-28", "mcp-method": "tools/call", "mcp-name": "pay",
            "accept": "application/json, text/event-stream", "content-type": "application/json",
        }
        for number in self._numbers():
            meta = {**META, "interlock/run_id": run_id, "interlock/call_id": f"c{number}"}
            params = {"name": "pay", "arguments": {"n": number}, "_meta": meta}
            request = {"jsonrpc": "2.0", "id": number, "method": "tools/call", "params": params}
            said = self.insist("POST", "/mcp", request, **headers)
            self.answers[run_id, f"c{number}"] = said["result"]["_meta"]["interlock/outcome"]

    def performs_itself(self, run_id: str) -> None:
        """Tickets: admitted there, performed here, settled there, whoever was killed in between."""
        for number in self._numbers():
            url, call_id = f"/v1/runs/{run_id}/calls", f"c{number}"
            said = {"tool": "note", "args": {"n": number}, "call_id": call_id, "owner": f"{run_id} is my secret name"}
            admitted = self.insist("POST", f"{url}/admit", said)
            ticket = admitted["ticket"]
            if ticket is not None:
                line = Line("note", run_id, ticket["key"], ticket["attempt"], int(time.time() * 1e6))
                file = os.open(self.folder / "effects", os.O_WRONLY | os.O_CREAT | os.O_APPEND)
                os.write(file, msgspec.json.encode(line) + b"\n")
                os.close(file)
                settled = {"lease_id": ticket["lease_id"], "outcome": "done", "value": number}
                admitted["outcome"] = self.insist("POST", f"{url}/{call_id}/settle", settled)
            self.answers[run_id, call_id] = admitted["outcome"]["kind"]

    def waits(self, run_id: str) -> None:
        """Calls that people are asked about: asked, waited for with a long poll, and sent again."""
        for number in self._numbers():
            said = {"tool": "sign", "args": {"n": number}, "call_id": f"c{number}"}
            asked = self.insist("POST", f"/v1/runs/{run_id}/calls", said)
            if asked["kind"] == "pending":
                self.asked.append(asked["approval_id"])
                where = f"/v1/approvals/{asked['approval_id']}?wait=30"
                while self.insist("GET", where)["standing"] == Standing.WAITING:
                    pass
                asked = self.insist("POST", f"/v1/runs/{run_id}/calls", said)
            self.answers[run_id, f"c{number}"] = asked["kind"]

    def thinks(self, run_id: str) -> None:
        """Turns of a model, streamed through the proxy. One that broke off is asked for anew."""
        body = {"model": "m", "messages": [{"role": "user", "content": "hi"}], "max_completion_tokens": 200}
        for _ in self._numbers():
            try:
                with Wire(self.port, self.key) as wire:
                    raw = json.dumps({**body, "stream": True}).encode()
                    headers = {**wire.headers, "interlock-run-id": run_id, "content-type": "application/json"}
                    wire.connection.request("POST", "/openai/v1/chat/completions", raw, headers)
                    said = wire.connection.getresponse().read()
            except (OSError, http.client.HTTPException):
                self.streams["broken"] += 1
                time.sleep(0.02)
            else:
                self.streams["whole" if said.endswith(b"data: [DONE]\n\n") else "ended"] += 1

    def _numbers(self) -> Iterator[int]:
        for number in itertools.count():
            if self.over.is_set():
                return
            yield number

    def insist(self, method: str, path: str, body: Any = None, key: str = "", **headers: str) -> Any:
        """Ask until there is an answer."""
        give_up = time.monotonic() + PATIENCE
        while True:
            try:
                with Wire(self.port, key or self.key) as wire:
                    status, said = wire.ask(method, path, body, **headers)
                assert status == 200, (method, path, status, said)
                return said
            except (OSError, http.client.HTTPException):
                assert time.monotonic() < give_up, f"{method} {path} was never answered"
                time.sleep(0.02)


class House:
    """A world whose gateway is a service."""

    def __init__(self, world: World, provider: str) -> None:
        self.world, self.folder = world, Path(world.place)
        serve = {
            "models": {"openai": {"url": provider, "credential": "model"}},
            "cooperative": {"note": {"input_schema": {"type": "object"}}},
        }
        config = {**world.config(), **SAID, "serve": serve}
        (self.folder / "interlock.yaml").write_text(json.dumps(config))
        (self.folder / "served.py").write_text(APP)
        with socket.create_server(("127.0.0.1", 0)) as free:
            self.port = free.getsockname()[1]
        self.person = key_of(self.folder, Role.APPROVER, Role.OPERATOR, Role.AUDITOR, name="ann")
        self.clients = Clients(self.folder, self.port, key_of(self.folder, Role.AGENT))

    def start(self) -> Process:
        """The same service on the same port."""
        more = ["--workers", "2"] if self.world.kind == "postgres" else []
        env = {"SAFE": "sk-0a1b2c3d4e5f60718293", "PYTHONPATH": str(ROOT)}
        return Process(self.folder, "--app", "served:gateway", *more, port=self.port, env=env)

    def ask(self, method: str, path: str, body: Any = None) -> Any:
        """As a person."""
        return self.clients.insist(method, path, body, self.person)

    def waiting(self) -> list[str]:
        """What people are asked."""
        return sorted(each["approval_id"] for each in self.ask("GET", "/v1/approvals")["approvals"])


def until(holds: Callable[[], bool], clients: Clients) -> None:
    """It has to come to that."""
    give_up = time.monotonic() + PATIENCE
    while not holds():
        assert time.monotonic() < give_up, "it never came to that"
        assert not clients.troubles, clients.troubles
        time.sleep(0.005)


@pytest.mark.parametrize("kind", ["sqlite", "postgres"])
def test_a_service_that_is_killed_in_the_middle_of_everything_loses_nothing(
    kind: str, tmp_path: Path, provider: str, request: pytest.FixtureRequest
) -> None:
    url = request.getfixturevalue("postgres_url") if kind == "postgres" else ""
    house = House(World(kind=kind, place=str(tmp_path), url=url), provider)
    clients, effects, chance = house.clients, house.world.effects, random.Random(SEED)
    serving = house.start()
    for number in range(PAIRS):
        for work in (clients.calls, clients.speaks_mcp, clients.performs_itself, clients.waits):
            clients.start(work, f"{work.__name__}-{number}")
        clients.start(clients.thinks, f"thinks-{number}")
    for killed in range(KILLS):
        aim = len(effects.lines()) + chance.randrange(10, 40)
        until(lambda aim=aim: len(effects.lines()) >= aim and len(house.waiting()) == PAIRS, clients)  # type: ignore[misc]
        waiting, streams = house.waiting(), clients.streams["whole"]
        until(lambda streams=streams: clients.streams["whole"] > streams, clients)  # type: ignore[misc]
        if killed % 2:  # a yes that is answered, and whose call may have begun
            house.ask("POST", f"/v1/approvals/{waiting[0]}/approve", {"note": "fine"})
        serving.kill()
        serving = house.start()
        still = house.waiting()
        assert set(waiting[killed % 2 :]) <= set(still), "somebody was asked, and it is forgotten"
        for each in waiting[killed % 2 :]:
            house.ask("POST", f"/v1/approvals/{each}/approve", {"note": "after the restart"})
    clients.over.set()
    while clients.are_busy:
        for each in house.waiting():
            house.ask("POST", f"/v1/approvals/{each}/approve", {})
    clients.end()
    assert serving.end() == 0

    with house.world.open() as gateway:
        examine(gateway, effects)
        known = {(record.call.run_id, record.call.call_id): record for record in records(gateway)}
        for (run_id, call_id), kind_ in clients.answers.items():
            assert known[run_id, call_id].state == kind_, f"{run_id} {call_id} was answered {kind_}"
        notes = Counter(line.run_id + line.key for line in effects.lines() if line.tool == "note")
        assert set(notes.values()) == {1}
        assert {known[line.run_id, line.key].state for line in effects.lines() if line.tool == "note"} == {"done"}
        asked = {each.approval_id: each for each in gateway.control.approvals(TENANT, waiting=False)}
        assert set(clients.asked) <= set(asked)
        assert {each.standing for each in asked.values()} == {Standing.CONSUMED}
    with house.world.open(shift=AFTER_THE_LEASE) as gateway:
        books_of_the_turns(gateway)
        settle_everything(gateway, effects)
    assert {kind_ for _, kind_ in clients.answers.items()} <= {"done", "unknown"}
    for work in ("calls", "speaks_mcp", "performs_itself", "waits"):
        assert any(run_id.startswith(work) and kind_ == "done" for (run_id, _), kind_ in clients.answers.items()), work
    assert clients.streams["whole"] > KILLS
    assert clients.streams["broken"] >= KILLS


def books_of_the_turns(gateway: interlock.Gateway) -> None:
    """What was booked for a turn is what it came to; one whose gateway died holds its worst case until its run ends,
    and then that is booked."""
    for number in range(PAIRS):
        run = gateway.run(**WHO, run_id=f"thinks-{number}")
        ended = [entry for entry in entries(gateway, Kind.STEP_ENDED) if entry.run_id == run.run_id]
        began = [entry for entry in entries(gateway, Kind.STEP_BEGAN) if entry.run_id == run.run_id]
        left = {entry.step_id for entry in began} - {entry.step_id for entry in ended}
        booked = sum(entry.usd for entry in ended)
        held = sum(entry.detail["held_usd"] for entry in began if entry.step_id in left)
        report = run.report()
        assert {entry.usd for entry in ended if not entry.detail.get("lost")} == {TURN}
        assert (round(report.usd.used * 1e6), round(report.usd.held * 1e6)) == (booked, held)
        assert left, "no stream was cut off"
        run.stop("cancelled")
        report = run.report()
        assert (round(report.usd.used * 1e6), report.usd.held) == (booked + held, 0)
