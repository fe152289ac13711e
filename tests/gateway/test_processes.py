"""Four processes on one ledger: budgets, dedupe, keys, approvals and kill switches are exact between them."""

from __future__ import annotations

import asyncio
import threading
import time
from collections import Counter
from collections.abc import Callable
from multiprocessing.pool import Pool
from pathlib import Path
from typing import Any

import pytest

from interlock import Gateway
from interlock.assemble import SystemClock
from interlock.core.audit import Kind
from interlock.core.call import MICROS
from tests.crash.points import Points
from tests.crash.processes import PATIENCE, server
from tests.crash.world import TENANT, WHO, World, entries, examine, records, settle_everything

PROCESSES = 4
LIMIT = 37  #: of 4 × 25 calls
TOLERANCE = 0.05  #: seconds between an effect's own stamp and its beginning, on a machine that has much to do


@pytest.fixture(params=["sqlite", "postgres"])
def world(request: pytest.FixtureRequest, tmp_path: Path) -> World:
    url = request.getfixturevalue("postgres_url") if request.param == "postgres" else ""
    return World(kind=request.param, place=str(tmp_path), url=url)


def at_once(world: World, act: Callable[..., Any], *args: Any) -> list[Any]:
    """The same act in four processes, begun when all of them are ready; what each gives."""
    context = server()
    barrier = context.Barrier(PROCESSES)
    with context.Pool(PROCESSES, _begin, (world, barrier)) as pool:
        return _given(pool, act, args)


def _given(pool: Pool, act: Callable[..., Any], args: tuple[Any, ...]) -> list[Any]:
    waiting = [pool.apply_async(_act, (act, number, args)) for number in range(PROCESSES)]
    return [each.get(PATIENCE) for each in waiting]


_HERE: dict[str, Any] = {}


def _begin(world: World, barrier: Any) -> None:
    _HERE.update(gateway=world.open(), barrier=barrier)


def _act(act: Callable[..., Any], number: int, args: tuple[Any, ...]) -> Any:
    _HERE["barrier"].wait(PATIENCE)  # each process takes one act
    return act(_HERE["gateway"], number, *args)


# --- budgets ---------------------------------------------------------------------------------------------------------


def call_25_times(gateway: Gateway, number: int, own_run: bool) -> Counter[str]:
    run = gateway.run(**WHO, run_id=f"r{number}" if own_run else "r")
    found: Counter[str] = Counter()

    def five(first: int) -> None:
        for place in range(first, first + 5):
            found[run.call("pay", {"n": 100 * number + place}, call_id=f"c{number}-{place}").kind] += 1

    threads = [threading.Thread(target=five, args=(first,)) for first in range(0, 25, 5)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return found


@pytest.mark.parametrize("own_run", [False, True], ids=["of one run", "of the tenant's month"])
def test_a_hundred_calls_of_four_processes_use_a_budget_of_37_exactly(world: World, own_run: bool) -> None:
    cap = {"tool_calls_per_month" if own_run else "max_tool_calls": LIMIT}
    world.said = {"budgets": {"max_denials": 1000, "max_seconds": 1000, "max_steps": 10, "max_tool_calls": 1000, **cap}}
    kinds = sum(at_once(world, call_25_times, own_run), Counter[str]())
    assert kinds == {"done": LIMIT, "denied" if own_run else "stopped": 100 - LIMIT}
    assert len(world.effects.lines()) == LIMIT
    with world.open() as gateway:
        settle_everything(gateway, world.effects)
        assert len(entries(gateway, Kind.DECIDED)) == 100
        assert sum(run.call("look", {"n": 1}).kind != "done" for run in [gateway.run(**WHO, run_id="r")]) == 1


# --- keys and dedupe -------------------------------------------------------------------------------------------------


def call_the_same(gateway: Gateway, number: int, run_id: str, call_id: str) -> tuple[str, Any, bool]:
    run = gateway.run(**WHO, run_id=run_id.format(number))
    out = run.call("sleepy", {"n": 1}, call_id=call_id.format(number))
    return out.kind, out.value["attempt"], out.replayed


def test_the_same_call_of_four_processes_is_performed_once_and_all_hear_how_it_ended(world: World) -> None:
    world.said = {"tools": {"sleepy": {"timeout": "20s"}}}
    told = at_once(world, call_the_same, "r", "c1")
    assert Counter(told) == {("done", 1, False): 1, ("done", 1, True): 3}
    assert len(world.effects.lines()) == 1
    with world.open() as gateway:
        settle_everything(gateway, world.effects)


@pytest.mark.parametrize("dedupe", ["run", "10m"])
def test_the_same_wish_under_four_keys_is_performed_once(world: World, dedupe: str) -> None:
    world.said = {"tools": {"sleepy": {"dedupe": dedupe}}}
    told = at_once(world, call_the_same, "r" if dedupe == "run" else "r{}", "c{}")
    assert Counter(told) == {("done", 1, False): 1, ("done", 1, True): 3}
    assert len(world.effects.lines()) == 1
    with world.open() as gateway:
        assert Counter(str(record.state) for record in records(gateway)) == {"done": 1, "repeated": 3}
        settle_everything(gateway, world.effects)


# --- approvals -------------------------------------------------------------------------------------------------------


def sign(gateway: Gateway, number: int) -> tuple[str, bool]:
    out = gateway.run(**WHO, run_id="r").call("sign", {"n": 1}, call_id=f"c{number}")
    return out.kind, out.replayed


def test_an_approval_is_used_up_by_one_of_four_processes(world: World) -> None:
    with world.open() as gateway:
        out = gateway.run(**WHO, run_id="r").call("sign", {"n": 1}, call_id="c0")
        gateway.control.approve(out.approval_id or "", by="ann")
        assert Counter(at_once(world, sign)) == {("done", False): 1, ("done", True): 3}
        assert [approval.standing for approval in gateway.control.approvals(TENANT, waiting=False)] == ["consumed"]
        assert len(world.effects.lines()) == 1
        settle_everything(gateway, world.effects)


def answer(gateway: Gateway, number: int, approval_id: str) -> str:
    try:
        gateway.control.approve(approval_id, by=f"person {number}")
    except Exception as error:  # told to the parent
        return type(error).__name__
    return "approved"


def test_of_four_people_who_approve_at_once_one_does(world: World) -> None:
    with world.open() as gateway:
        out = gateway.run(**WHO, run_id="r").call("sign", {"n": 1}, call_id="c0")
        assert Counter(at_once(world, answer, out.approval_id)) == {"approved": 1, "Refused": 3}
        assert len(entries(gateway, Kind.APPROVED)) == 1


# --- kill switches ---------------------------------------------------------------------------------------------------


def call_until_stopped(gateway: Gateway, number: int) -> list[str]:
    run, kinds = gateway.run(**WHO, run_id=f"r{number}"), []
    until = time.monotonic() + PATIENCE
    while time.monotonic() < until and "stopped" not in kinds:
        kinds.append(run.call("pay", {"n": len(kinds)}).kind)
    return kinds


def test_no_process_begins_an_effect_after_kill_has_returned(world: World) -> None:
    context = server()
    barrier = context.Barrier(PROCESSES)
    with world.open() as gateway, context.Pool(PROCESSES, _begin, (world, barrier)) as pool:
        told: list[list[str]] = []
        callers = threading.Thread(target=lambda: told.extend(_given(pool, call_until_stopped, ())))
        callers.start()
        wait_for_effects_of_all(world)
        gateway.control.kill(tenant=TENANT, reason="drill", by="ann")
        returned = SystemClock().now()
        callers.join(PATIENCE)
        lines = world.effects.lines()
        assert [line for line in lines if line.at > returned + TOLERANCE * MICROS] == []
        assert [kinds[-1] for kinds in told] == ["stopped"] * PROCESSES
        assert sum(kinds.count("done") for kinds in told) == len(lines)
        examine(gateway, world.effects)
        settle_everything(gateway, world.effects)
        assert {gateway.run(**WHO, run_id=f"r{number}").stop_reason for number in range(PROCESSES)} == {"killed"}
        late = [entry for entry in entries(gateway, Kind.DECIDED) if entry.verdict == "allow" and entry.at > returned]
        assert late == []


@pytest.mark.parametrize("how", ["on the caller's thread", "on a thread of its own", "awaited"])
@pytest.mark.parametrize("point", ["transaction 1 after", "lend after", "look before"])
def test_a_kill_between_admission_and_effect_leaves_it_not_performed(world: World, point: str, how: str) -> None:
    world.said = {"tools": {"pay": {"timeout": "20s"}}} if how == "on a thread of its own" else {}
    killed: list[object] = []
    one = threading.Lock()  # the watch's thread gets here too; whoever does waits until the kill has returned

    def kill() -> None:
        with one:
            if not killed:
                killed.append(other.control.kill(tenant=TENANT, reason="drill", by="ann"))

    points = Points(kill)
    with world.open() as other, world.open(points=points) as gateway:
        run = gateway.run(**WHO, run_id="r")
        points.arm(point)
        if how == "awaited":
            out = asyncio.run(run.acall("pay", {"n": 1}, call_id="c1"))
        else:
            out = run.call("pay", {"n": 1}, call_id="c1")
        assert (out.kind, len(killed)) == ("stopped", 1)
        assert world.effects.lines() == []
        settle_everything(gateway, world.effects)
        assert run.report().tool_calls.used == 0


def wait_for_effects_of_all(world: World) -> None:
    """Until each process has performed something."""
    until = time.monotonic() + PATIENCE
    while len({line.run_id for line in world.effects.lines()}) < PROCESSES and time.monotonic() < until:
        time.sleep(0.01)
