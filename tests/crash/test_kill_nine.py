"""`kill -9` at random moments under fifty concurrent callers, and the next process goes on, on the same ledger."""

from __future__ import annotations

import random
import signal
import threading
import time
from pathlib import Path

import pytest

from interlock import Gateway
from tests.crash.processes import PATIENCE, server
from tests.crash.world import AFTER_THE_LEASE, WHO, World, examine, settle_everything

CALLERS = 50
ROUNDS = 7
QUOTA = 500  #: of the tenant for a month: less than all callers want in the end
SEED = 20260102


def keep_calling(world: World, round_: int, seconds: float) -> None:
    """Fifty callers, each with runs of its own, calling what earlier rounds have called too."""
    gateway = world.open(shift=round_ * AFTER_THE_LEASE)
    until = time.monotonic() + seconds
    callers = [threading.Thread(target=calls, args=(gateway, round_, caller, until)) for caller in range(CALLERS)]
    for caller in callers:
        caller.start()
    for caller in callers:
        caller.join()
    gateway.close()


def calls(gateway: Gateway, round_: int, caller: int, until: float) -> None:
    """One caller: old calls again, and new ones, as chance has it."""
    chance = random.Random(f"{SEED} {round_} {caller}")
    run = gateway.run(**WHO, run_id=f"r{caller % 10}")
    while time.monotonic() < until:
        number = chance.randrange(6 * (round_ + 1))
        tool = ("pay", "pay", "look", "upsert")[number % 4]
        run.call(tool, {"n": 10 * number + caller // 10}, call_id=f"c{caller // 10}-{number}")


@pytest.mark.parametrize("kind", ["sqlite", "postgres"])
def test_whatever_was_killed_nothing_happens_twice_and_the_books_are_right(
    kind: str, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    url = request.getfixturevalue("postgres_url") if kind == "postgres" else ""
    budgets = {"max_tool_calls": 10_000, "max_seconds": 100_000, "tool_calls_per_month": QUOTA, "max_repeats": 10_000}
    world = World(kind=kind, place=str(tmp_path), url=url, said={"budgets": {**budgets, "max_denials": 100_000}})
    chance = random.Random(SEED)
    for round_ in range(ROUNDS):
        last = round_ == ROUNDS - 1
        process = server().Process(target=keep_calling, args=(world, round_, 1.0 if last else PATIENCE))
        process.start()
        if last:
            process.join(PATIENCE)
            assert process.exitcode == 0
        else:
            wait_for_effects(world, len(world.effects.lines()) + chance.randrange(5, 60))
            process.kill()
            process.join(PATIENCE)
            assert process.exitcode == -signal.SIGKILL, "it ended before it was killed"
        with world.open(shift=round_ * AFTER_THE_LEASE) as gateway:
            examine(gateway, world.effects)
    with world.open(shift=ROUNDS * AFTER_THE_LEASE) as gateway:
        settle_everything(gateway, world.effects)
        month = [account for key, account in gateway.store.accounts("acme") if key.window == "month"]
        assert sum(account.spent.tool_calls + account.held.tool_calls for account in month) <= QUOTA * len(month)
        assert month


def wait_for_effects(world: World, number: int) -> None:
    """Until so much has happened, so that a slow machine is killed at work too; or the quota lets no more happen."""
    until = time.monotonic() + 2.0
    while len(world.effects.lines()) < number and time.monotonic() < until:
        time.sleep(0.005)
