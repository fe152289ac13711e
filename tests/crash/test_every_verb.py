"""The process dies at each point between the gateway and the ledger; whoever comes after finds everything in order."""

from __future__ import annotations

import signal
import threading
from pathlib import Path

import pytest

from interlock import Outcome
from interlock.core.lifecycle import State
from interlock.watch import Watch
from tests.crash.acts import ACTS, CALL_ID, RUN_ID, call
from tests.crash.points import Crash, Points, crash, sigkill
from tests.crash.processes import PATIENCE, server
from tests.crash.world import AFTER_THE_LEASE, WHO, ShiftedClock, World, examine, records, settle_everything

BEFORE_T1 = ("transaction 1 before", "transaction 1 inside")
BEFORE_EFFECT = ("transaction 1 after", "lend before", "lend after", "look before", "look after", "effect before")
AFTER_EFFECT = ("effect inside", "effect after", "transaction 2 before", "transaction 2 inside")
AFTER_T2 = ("transaction 2 after",)
ON_THE_ROAD = (*BEFORE_T1, *BEFORE_EFFECT, *AFTER_EFFECT, *AFTER_T2)
IN_A_TRANSACTION = ("transaction 1 inside", "transaction 1 after")
WHO_ELSE = {**WHO, "run_id": "r0"}
PEOPLE = [(act, point) for act in ACTS for point in IN_A_TRANSACTION if act not in ("pay", "upsert", "look", "consume")]
PEOPLE += [(act, point) for act in ("kill", "release") for point in ("put before", "put after")]


@pytest.fixture(params=["memory", "sqlite", "postgres"])
def world(request: pytest.FixtureRequest, tmp_path: Path) -> World:
    url = request.getfixturevalue("postgres_url") if request.param == "postgres" else ""
    return World(kind=request.param, place=str(tmp_path), url=url)


def live_and_die(world: World, act: str, point: str) -> None:
    """The life of the process: it prepares, arms, acts, and does not come back."""
    points = Points(crash if world.kind == "memory" else sigkill)
    gateway = world.open(points=points)
    try:
        ACTS[act].prepare(gateway)
        points.arm(point)
        ACTS[act].act(gateway)
    finally:
        if world.kind == "memory":
            gateway.close()


def die(world: World, act: str, point: str) -> None:
    """Let a process die there."""
    if world.kind == "memory":  # does not survive a process, so the process is only played
        with pytest.raises(Crash):
            live_and_die(world, act, point)
        return
    process = server().Process(target=live_and_die, args=(world, act, point))
    process.start()
    process.join(PATIENCE)
    assert process.exitcode == -signal.SIGKILL, f"it came through {point} and ended with {process.exitcode}"


def retry(world: World, tool: str) -> Outcome:
    """The same call at once, from another process; if it has to wait, until the lease has run out."""
    found: list[Outcome] = []
    with world.open() as gateway:
        clock = gateway.clock
        assert isinstance(clock, ShiftedClock)
        waits = any(record.state is State.LEASED for record in records(gateway))
        before = world.effects.lines()
        again = threading.Thread(target=lambda: found.append(call(gateway, tool)))
        again.start()
        if waits:
            again.join(0.03)
            assert again.is_alive(), "it did not wait for the one who may be performing it"
            assert world.effects.lines() == before, "performed while the lease of another one ran"
            clock.shift += AFTER_THE_LEASE
        again.join(PATIENCE)
        assert found, "the retry did not come back"
        examine(gateway, world.effects)
    return found[0]


def afterwards(world: World, tool: str) -> Outcome:
    """The same call once more, when everything is long over; then people end what is unknown."""
    with world.open(shift=2 * AFTER_THE_LEASE) as gateway:
        again = call(gateway, tool)
        settle_everything(gateway, world.effects)
    return again


@pytest.mark.parametrize(
    ("act", "point"),
    [("pay", point) for point in ON_THE_ROAD] + [("consume", point) for point in (*IN_A_TRANSACTION, "effect after")],
)
def test_a_write_whose_process_died_is_never_performed_again(world: World, act: str, point: str) -> None:
    tool = "pay" if act == "pay" else "sign"
    die(world, act, point)
    happened = len(world.effects.lines())
    assert happened == (point in AFTER_EFFECT + AFTER_T2)
    first, second = retry(world, tool), afterwards(world, tool)
    if point in BEFORE_T1:
        assert (first.kind, first.replayed, second.kind, second.replayed) == ("done", False, "done", True)
        assert len(world.effects.lines()) == 1
    else:
        kind = "done" if point in AFTER_T2 else "unknown"
        assert (first.kind, first.replayed, second.kind, second.replayed) == (kind, True, kind, True)
        assert len(world.effects.lines()) == happened


@pytest.mark.parametrize("point", ["transaction 1 after", "look after", "effect after", "transaction 2 inside"])
@pytest.mark.parametrize("act", ["look", "upsert"])
def test_what_may_be_performed_again_is_and_with_the_same_key(world: World, act: str, point: str) -> None:
    die(world, act, point)
    happened = world.effects.lines()
    assert len(happened) == (point in AFTER_EFFECT)
    first, second = retry(world, act), afterwards(world, act)
    assert (first.kind, first.replayed, second.kind, second.replayed) == ("done", False, "done", True)
    lines = world.effects.lines()
    assert len(lines) == len(happened) + 1
    assert {(line.run_id, line.key) for line in lines} == {(RUN_ID, CALL_ID)}


@pytest.mark.parametrize(("act", "point"), PEOPLE)
def test_what_people_do_is_done_whole_or_not_at_all(world: World, act: str, point: str) -> None:
    die(world, act, point)
    with world.open(shift=AFTER_THE_LEASE) as gateway:
        examine(gateway, world.effects)
        ACTS[act].act(gateway)
        ACTS[act].check(gateway)
        settle_everything(gateway, world.effects)


def test_a_dead_owner_is_noticed_though_nobody_calls_again(world: World) -> None:
    die(world, "pay", "effect after")
    with world.open(shift=AFTER_THE_LEASE) as gateway:  # opening looks for leases that have run out
        (record,) = records(gateway)
        assert record.state is State.UNKNOWN
        settle_everything(gateway, world.effects)


def test_a_dead_owner_is_noticed_behind_a_hundred_calls_that_are_long_settled(world: World) -> None:
    with world.open(shift=-3600) as gateway:
        run = gateway.run(**WHO_ELSE)
        for number in range(120):
            run.call("look", {"n": number})
    die(world, "pay", "effect after")
    with world.open(shift=AFTER_THE_LEASE) as gateway:
        assert [each.state for each in records(gateway) if each.call.call_id == CALL_ID] == [State.UNKNOWN]
        settle_everything(gateway, world.effects)


def test_an_owner_that_only_slept_settles_its_own_call_late(world: World) -> None:
    with world.open() as slow, world.open() as other:
        run = slow.run(**WHO_ELSE)

        @slow.tool("doze", effect="write")
        def doze() -> str:
            for gateway in (slow, other):
                assert isinstance(gateway.clock, ShiftedClock)
                gateway.clock.shift = AFTER_THE_LEASE
            assert Watch(other).sweep() == 1  # to everybody else its owner is dead
            return "awake"

        first, second = run.call("doze", {}, call_id="c9"), run.call("doze", {}, call_id="c9")
        assert [(out.kind, out.value, out.replayed) for out in (first, second)] == [
            ("done", "awake", False),
            ("done", "awake", True),
        ]
        settle_everything(slow, world.effects)
