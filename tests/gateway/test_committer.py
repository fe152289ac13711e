"""Group commit: on the caller's own thread where that is quick, on a thread of its own where somebody would wait."""

import asyncio
import sqlite3
import threading
import time

import pytest

from interlock.committer import BATCH, SLOW_TURNS, Committer
from interlock.core.run import Run
from interlock.errors import LedgerUnavailable
from interlock.ports import HeadKey, RunKey
from interlock.stores.memory import MemoryStore
from interlock.stores.sqlite import SqliteStore
from interlock.testing.samples import run
from interlock.unit import Unit

HEAD = HeadKey("acme")


def opening(run_id):
    """A unit that opens a run, and gives its id."""
    opened = run(tenant="acme", run_id=run_id)

    def open_(tx):
        tx.put(RunKey("acme", run_id), opened)
        return run_id

    return Unit((HEAD, RunKey("acme", run_id)), open_)


def failing():
    def fail(tx):
        raise KeyError("this one")

    return Unit((HEAD,), fail)


class Watched:
    """A memory store that tells of its transactions: how many units, and on which thread."""

    quick = True

    def __init__(self, seconds=0.0):
        self.store, self.seconds = MemoryStore(), seconds
        self.seen = []

    def transact(self, units, *, wait=True):
        time.sleep(self.seconds)
        self.seen.append((len(units), threading.current_thread().name))
        return self.store.transact(units, wait=wait)

    def load(self, key) -> Run | None:
        return self.store.load(key)


async def committed(committer, unit):
    return await committer.submit(unit, asyncio.get_running_loop()).outcome()


def test_what_is_asked_in_one_turn_of_a_loop_lands_in_one_transaction_on_that_loop():
    store = Watched()
    committer = Committer(store)

    async def main():
        return await asyncio.gather(*(committed(committer, opening(f"r{number}")) for number in range(20)))

    assert asyncio.run(main()) == [f"r{number}" for number in range(20)]
    assert store.seen == [(20, threading.current_thread().name)]


def test_where_several_callers_share_a_loop_a_batch_waits_until_a_turn_brings_no_more():
    store = Watched()
    committer = Committer(store)

    async def later(turns, run_id):
        for _ in range(turns):
            await asyncio.sleep(0)
        return await committed(committer, opening(run_id))

    async def main():
        await asyncio.gather(later(0, "a1"), later(0, "a2"))
        return await asyncio.gather(*(later(turns, f"b{turns}") for turns in range(4)))

    assert asyncio.run(main()) == ["b0", "b1", "b2", "b3"]
    assert [units for units, _ in store.seen] == [2, 4]


def test_more_than_a_batch_holds_is_several_batches():
    store = Watched()
    committer = Committer(store)

    async def main():
        await asyncio.gather(*(committed(committer, opening(f"r{number}")) for number in range(BATCH + 1)))

    asyncio.run(main())
    committer.close()
    assert [units for units, _ in store.seen] == [BATCH, 1]


def test_a_unit_that_raises_fails_alone():
    store = Watched()
    committer = Committer(store)

    async def main():
        asked = [opening("r1"), failing(), opening("r2")]
        return await asyncio.gather(*(committed(committer, unit) for unit in asked), return_exceptions=True)

    first, second, third = asyncio.run(main())
    assert (first, third) == ("r1", "r2")
    assert isinstance(second, KeyError)
    assert store.load(RunKey("acme", "r1"))
    assert store.load(RunKey("acme", "r2"))


def test_a_store_that_keeps_a_loop_waiting_is_waited_for_on_a_thread_and_tried_again_later():
    store = Watched(seconds=0.005)
    committer = Committer(store)

    async def main():
        for number in range(SLOW_TURNS + 3):
            await committed(committer, opening(f"r{number}"))

    asyncio.run(main())
    committer.close()
    here, threads = threading.current_thread().name, [name for _, name in store.seen]
    assert threads[:2] == [here, here]
    assert threads[2 : SLOW_TURNS + 2] == ["interlock-committer"] * SLOW_TURNS
    assert threads[SLOW_TURNS + 2] == here


def test_a_store_that_waits_for_a_network_never_holds_up_a_loop():
    store = Watched()
    store.quick = False
    committer = Committer(store)
    asyncio.run(committed(committer, opening("r1")))
    committer.close()
    assert [name for _, name in store.seen] == ["interlock-committer"]


def test_a_loop_goes_on_while_another_process_writes_to_the_file(tmp_path):
    store = SqliteStore(tmp_path / "ledger.db")
    committer = Committer(store)
    other = sqlite3.connect(tmp_path / "ledger.db", isolation_level=None)
    other.execute("BEGIN IMMEDIATE")

    async def main():
        waiting = asyncio.create_task(committed(committer, opening("r1")))
        for _ in range(20):
            await asyncio.sleep(0.001)
        assert not waiting.done()
        other.execute("ROLLBACK")
        return await waiting

    try:
        assert asyncio.run(main()) == "r1"
        assert store.load(RunKey("acme", "r1")) is not None
    finally:
        committer.close()
        other.close()
        store.close()


def test_closing_commits_what_a_loop_has_gathered_and_takes_nothing_more():
    store = Watched()
    committer = Committer(store)

    async def main():
        loop = asyncio.get_running_loop()
        promise = committer.submit(opening("r1"), loop)
        committer.close()
        with pytest.raises(LedgerUnavailable, match="closed"):
            committer.submit(opening("r2"), loop)
        return await promise.outcome()

    assert asyncio.run(main()) == "r1"
    assert store.load(RunKey("acme", "r1")) is not None


def test_loops_and_threads_side_by_side_lose_nothing():
    store = Watched()
    committer = Committer(store)

    async def several(name):
        async def one(number):
            for turn in range(10):
                await committed(committer, opening(f"{name}-{number}-{turn}"))

        await asyncio.gather(*(one(number) for number in range(8)))

    def serial(name):
        for turn in range(40):
            committer.run(opening(f"{name}-{turn}"))

    threads = [threading.Thread(target=lambda name=name: asyncio.run(several(name))) for name in ("a", "b")]
    threads += [threading.Thread(target=serial, args=(name,)) for name in ("c", "d")]
    for each in threads:
        each.start()
    for each in threads:
        each.join()
    committer.close()
    assert sum(units for units, _ in store.seen) == 2 * 80 + 2 * 40
    assert len(store.store.runs("acme", limit=1_000)) == 2 * 80 + 2 * 40
