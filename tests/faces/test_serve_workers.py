"""Several processes that serve one ledger on PostgreSQL: what one of them says holds in all of them."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from itertools import count
from pathlib import Path
from typing import Any

import pytest
from msgspec import Struct

from interlock.core.principal import Role
from tests.faces.serving import Process, Wire, key_of

WORKERS = 3
CLIENTS = 16
BUDGETS = "{max_tool_calls: 1000000, max_seconds: 100000, max_denials: 1000000, max_repeats: 1000000}"
TOOLS = '''
import os
import interlock

def gateway():
    gw = interlock.open("interlock.yaml")
    effects = os.open("effects", os.O_WRONLY | os.O_CREAT | os.O_APPEND)

    @gw.tool("pay", effect="write", dedupe="off")
    async def pay(call: interlock.CallInfo) -> str:
        os.write(effects, f"{call.run_id} {call.call_id}\\n".encode())
        return "paid"

    return gw
'''


class Call(Struct, frozen=True):
    """One call of one client, and how it ended."""

    run_id: str
    call_id: str
    after: bool  #: it was sent when the kill had been answered
    served_by: str
    kind: str


class House(Struct, frozen=True):
    """What serves, and who asks."""

    folder: Path
    serving: Process
    agent: str
    operator: str

    def effects(self) -> set[str]:
        """What has happened, as `RUN CALL`."""
        return set((self.folder / "effects").read_text().splitlines())

    def workers(self) -> list[str]:
        """What the processes call themselves."""
        found: set[str] = set()
        while len(found) < WORKERS:
            with self.wire("") as wire:
                found.add(wire.served_by)
        return sorted(found)

    def wire(self, key: str, to: str = "") -> Wire:
        """A connection, to this process where one is named."""
        while True:
            wire = Wire(self.serving.port, key)
            assert wire.ask("GET", "/healthz")[0] == 200
            if to in ("", wire.served_by):
                return wire
            wire.connection.close()


@pytest.fixture
def house(tmp_path: Path, postgres_url: str) -> Iterator[House]:
    (tmp_path / "tools.py").write_text(TOOLS)
    (tmp_path / "effects").touch()
    config = f'policy: {{allow: ["*"]}}\nledger: "{postgres_url}"\nbudgets: {BUDGETS}\n'
    (tmp_path / "interlock.yaml").write_text(config + "logging: {tool_calls: false, stop_reasons: false}\n")
    keys = key_of(tmp_path, Role.AGENT), key_of(tmp_path, Role.OPERATOR, tenant="")
    serving = Process(tmp_path, "--workers", str(WORKERS), "--app", "tools:gateway")
    yield House(tmp_path, serving, *keys)
    assert serving.end() == 0


def calling(house: House, worker: str, told: list[Call], killed: threading.Event, begun: threading.Barrier) -> None:
    """One client, until it has called often enough after the kill: over the connection that it has, and over others."""
    wire, late = house.wire(house.agent, worker), 0
    run_id = wire.ask("POST", "/v1/runs", {})[1]["run_id"]
    begun.wait()
    for number in count():
        after = killed.is_set()
        status, said = wire.ask("POST", f"/v1/runs/{run_id}/calls", {"tool": "pay", "call_id": f"c{number}"})
        assert status == 200, said
        told.append(Call(run_id, f"c{number}", after, wire.served_by, said["kind"]))
        late += after
        if late == 6:
            break
        if late == 3:
            wire.connection.close()
            wire = house.wire(house.agent)
    wire.connection.close()


@pytest.mark.parametrize(
    "scope", [{"tenant": "acme"}, {"tenant": "acme", "agent": "bot"}, {"tenant": "acme", "tool": "p*"}, {}], ids=str
)
def test_no_call_is_admitted_after_a_kill_was_answered_whichever_worker_answers(
    house: House, scope: dict[str, Any]
) -> None:
    workers = house.workers()
    told: list[Call] = []
    killed, begun = threading.Event(), threading.Barrier(CLIENTS + 1)
    clients = [
        threading.Thread(target=calling, args=(house, workers[number % WORKERS], told, killed, begun))
        for number in range(CLIENTS)
    ]
    for client in clients:
        client.start()
    begun.wait()
    with house.wire(house.operator, workers[0]) as oncall:
        while len(told) < 5 * CLIENTS:  # all of them are at work
            assert oncall.ask("GET", "/healthz")[0] == 200
        status, said = oncall.ask("POST", "/v1/switches/kill", {**scope, "reason": "incident 7"})
        killed.set()
        happened = house.effects()
    for client in clients:
        client.join()
    assert (status, said["reason"]) == (200, "incident 7")
    late = [call for call in told if call.after]
    assert {call.kind for call in late} == {"denied" if "tool" in scope else "stopped"}
    assert len(late) == 6 * CLIENTS
    assert {call.served_by for call in told if not call.after and call.kind == "done"} == set(workers)
    assert {call.served_by for call in late} == set(workers)
    assert house.effects() == happened, "an effect began after the answer"
    assert {f"{call.run_id} {call.call_id}" for call in told if call.kind == "done"} <= happened
