"""The right to perform one call once: renewed while its owner lives, over when it does not; a write is then unknown."""

import asyncio
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor

import pytest

import interlock
from interlock.core.lifecycle import State
from interlock.errors import LedgerUnavailable
from interlock.ports import CallKey
from interlock.watch import Watch

MINUTE = 60


def record_of(gw, run, key="c1"):
    return gw.store.load(CallKey(run.tenant, run.run_id, key))


class Mortal:
    """A store whose process dies before a transaction of ours: the n-th and all that follow are never made."""

    def __init__(self, store, lives: int) -> None:
        self.store, self.lives = store, lives

    def __getattr__(self, name):
        return getattr(self.store, name)

    def transact(self, units, **how):
        if self.lives <= 0:
            raise LedgerUnavailable("the process is gone")
        self.lives -= 1
        return self.store.transact(units, **how)


@pytest.fixture
def died(house, start, monkeypatch):
    """A call whose process died between the effect and its settlement. Gives the run's id and what was done."""
    monkeypatch.setattr("interlock.gateway.SETTLE_TRIES", 1)

    def die(**said):
        store, board = house.parts()
        gw, did = house.open(store=Mortal(store, 3), board=board), []  # definitions, the run, the admission
        gw.tool("mail.send", cost={"usd": 1}, **said)(lambda: did.append(1))
        run = start(gw, run_id="r1", budgets={"max_usd": 5})
        with pytest.raises(LedgerUnavailable, match="ended with succeed"):
            run.call("mail.send", {}, call_id="c1")
        fresh = house.open()
        fresh.tool("mail.send", cost={"usd": 1}, **said)(lambda: did.append(2) or "again")
        return fresh, start(fresh, run_id="r1"), did

    return die


def test_a_write_whose_owner_died_is_unknown_once_its_lease_is_over_and_keeps_its_hold(died, clock):
    gw, run, did = died(effect="write", timeout="10s")
    assert record_of(gw, run).state is State.LEASED
    clock.advance(MINUTE)
    out = run.call("mail.send", {}, call_id="c1")
    assert (out.kind, out.replayed, did) == ("unknown", True, [1])
    report = run.report()
    assert (report.usd.held, report.usd.used, report.tool_calls.held) == (1, 0, 1)


def test_a_sweep_closes_dead_leases_without_any_call(died, clock):
    gw, run, did = died(effect="write", timeout="10s")
    assert Watch(gw).sweep() == 0
    clock.advance(MINUTE)
    assert (Watch(gw).sweep(), Watch(gw).sweep()) == (1, 0)
    assert (record_of(gw, run).state, did) == (State.UNKNOWN, [1])


def test_a_program_that_starts_sweeps_what_the_last_one_left(died, clock, house):
    gw, run, _ = died(effect="write", timeout="10s")
    clock.advance(MINUTE)
    house.open()
    assert record_of(gw, run).state is State.UNKNOWN


def test_a_read_whose_owner_died_is_performed_again(died, clock):
    _, run, did = died(effect="read", timeout="10s")
    clock.advance(MINUTE)
    out = run.call("mail.send", {}, call_id="c1")
    assert (out.kind, out.value, out.replayed, did) == ("done", "again", False, [1, 2])
    report = run.report()
    assert (report.usd.held, report.usd.used) == (0, 2)  # it was probably made twice


def test_a_tool_that_dedupes_on_our_key_is_performed_again_under_the_same_hold(died, clock):
    _, run, did = died(effect="write", timeout="10s", idempotent=True)
    clock.advance(MINUTE)
    out = run.call("mail.send", {}, call_id="c1")
    assert (out.kind, did) == ("done", [1, 2])
    report = run.report()
    assert (report.usd.held, report.usd.used, report.tool_calls.used) == (0, 1, 1)


@pytest.mark.parametrize(("happened", "state", "used"), [(True, State.DONE, 1), (False, State.FAILED, 0)])
def test_a_person_ends_an_unknown_and_its_hold_with_it(died, clock, happened, state, used):
    gw, run, did = died(effect="write", timeout="10s")
    clock.advance(MINUTE)  # nobody has swept yet
    gw.control.reconcile(
        tenant="acme",
        run_id="r1",
        call_id="c1",
        happened=happened,
        value={"id": 7},
        by="oncall",
        note="seen in the CRM",
    )
    assert record_of(gw, run).state is state
    report = run.report()
    assert (report.usd.held, report.usd.used, report.tool_calls.used) == (0, used, used)
    out = run.call("mail.send", {}, call_id="c1")
    assert (out.kind, out.value) == (("done", {"id": 7}) if happened else ("failed", None))
    entry = [entry for entry in gw.audit.entries(tenant="acme") if entry.kind == "reconciled"][-1]
    assert (entry.by, entry.note, entry.outcome) == ("oncall", "seen in the CRM", state)
    assert did == [1]
    with pytest.raises(interlock.Refused, match="not unknown"):
        gw.control.reconcile(tenant="acme", run_id="r1", call_id="c1", happened=True, by="oncall")


def test_what_did_not_happen_may_be_tried_again_under_another_key(died, clock):
    gw, run, did = died(effect="write", timeout="10s")
    clock.advance(MINUTE)
    assert run.call("mail.send", {}, call_id="c2").kind == "unknown"
    gw.control.reconcile(tenant="acme", run_id="r1", call_id="c1", happened=False, by="oncall")
    assert run.call("mail.send", {}, call_id="c3").kind == "done"
    assert did == [1, 2]


def test_reconcile_finds_a_call_by_its_call_id_where_it_had_a_key_of_its_own(gw, start):
    @gw.tool("mail.send", effect="write", dedupe="off")
    def send(n: int) -> None:
        if n:
            raise ConnectionError("lost")

    run = start(gw)
    run.call("mail.send", {"n": 0}, call_id="c1", idempotency_key="k0")
    run.call("mail.send", {"n": 1}, call_id="c1", idempotency_key="k1")
    ended = gw.control.reconcile(tenant="acme", run_id=run.run_id, call_id="c1", happened=True, by="oncall")
    assert ended.call.key == "k1"


@pytest.mark.parametrize("who", [{"tenant": "other"}, {"run_id": "nope"}, {"call_id": "nope"}, {"by": ""}])
def test_reconcile_refuses_what_it_cannot_find(died, clock, who):
    gw, _, _ = died(effect="write", timeout="10s")
    clock.advance(MINUTE)
    with pytest.raises(interlock.Refused):
        gw.control.reconcile(**{"tenant": "acme", "run_id": "r1", "call_id": "c1", "happened": True, "by": "x", **who})


def test_an_owner_that_had_only_paused_settles_its_own_call_once(gw, start, clock):
    @gw.tool("mail.send", effect="write", timeout="10s")
    def send() -> str:
        clock.advance(MINUTE)  # the machine slept
        Watch(gw).sweep()
        assert record_of(gw, run).state is State.UNKNOWN
        return "sent"

    run = start(gw)
    out = run.call("mail.send", {}, call_id="c1")
    assert (out.kind, out.value, record_of(gw, run).state) == ("done", "sent", State.DONE)
    assert (run.report().tool_calls.held, run.report().tool_calls.used) == (0, 1)


def test_an_owner_that_wakes_after_its_read_was_performed_anew_changes_nothing(house, start, clock):
    slow, fast = house.open(), house.open()

    @slow.tool("kb.read", effect="read")
    def slow_read() -> str:
        clock.advance(MINUTE)
        assert other.call("kb.read", {}, call_id="c1").value == "fast"
        return "slow"

    fast.tool("kb.read", effect="read", timeout="10s")(lambda: "fast")
    run, other = start(slow, run_id="r1"), start(fast, run_id="r1")
    out = run.call("kb.read", {}, call_id="c1")
    assert (out.kind, out.value) == ("done", "fast")


@pytest.mark.parametrize("error", [None, ValueError("oops")])
def test_an_owner_that_wakes_while_its_read_is_performed_anew_is_told_what_it_saw(house, start, clock, error):
    slow, fast = house.open(), house.open()
    begun, go = threading.Event(), threading.Event()

    @slow.tool("kb.read", effect="read")
    def slow_read() -> str:
        clock.advance(MINUTE)
        anew.append(pool.submit(other.call, "kb.read", {}, call_id="c1"))
        assert begun.wait(10)
        if error is not None:
            raise error
        return "slow"

    @fast.tool("kb.read", effect="read")
    def fast_read() -> str:
        begun.set()
        go.wait(10)
        return "fast"

    run, other, anew = start(slow, run_id="r1"), start(fast, run_id="r1"), []
    with ThreadPoolExecutor(1) as pool:
        out = run.call("kb.read", {}, call_id="c1")
        go.set()
        assert (out.kind, out.value) == (("done", "slow") if error is None else ("failed", None))
        assert anew[0].result().value == "fast"
    assert run.call("kb.read", {}, call_id="c1").value == "fast"


def test_the_lease_of_a_call_that_takes_long_is_renewed(gw, start, clock):
    seen = []

    @gw.tool("slow.one", effect="write")
    def slow() -> str:
        for _ in range(10):
            clock.advance(20)
            Watch(gw).tend()
            seen.append(record_of(gw, run).lease.until - clock.now())
        assert Watch(gw).sweep() == 0
        return "done"

    run = start(gw)
    assert run.call("slow.one", {}, call_id="c1").kind == "done"
    assert min(seen) > 0


def test_no_lease_is_renewed_past_the_deadline_of_its_effect(gw, start, clock):
    @gw.tool("slow.one", effect="write", timeout="100s")
    def slow() -> str:
        for _ in range(20):
            clock.advance(10)
            Watch(gw).tend()
        assert Watch(gw).sweep() == 1
        return "done"

    run = start(gw)
    out = run.call("slow.one", {}, call_id="c1")
    assert out.kind == "done"  # it came back, and nobody had performed it anew


def test_an_async_effect_whose_lease_cannot_be_renewed_is_cancelled(house, start, clock):
    store, board = house.parts()
    mortal = Mortal(store, 100)
    gw = house.open(store=mortal, board=board)
    begun, ended = threading.Event(), threading.Event()

    @gw.tool("slow.one", effect="write")
    async def slow() -> None:
        begun.set()
        try:
            await asyncio.Event().wait()
        finally:
            ended.set()

    run = start(gw)
    with ThreadPoolExecutor(1) as pool:
        out = pool.submit(run.call, "slow.one", {}, call_id="c1")
        assert begun.wait(10)
        mortal.lives = 0
        clock.advance(MINUTE)
        with pytest.raises(LedgerUnavailable):
            Watch(gw).tend()
        assert ended.wait(10)
        mortal.lives = 100
        assert out.result().kind == "unknown"


# --- a ledger that refuses -------------------------------------------------------------------------------------------


def test_a_ledger_that_refuses_to_append_performs_nothing(house, start):
    store, board = house.parts()
    mortal = Mortal(store, 100)
    gw, did = house.open(store=mortal, board=board), []
    gw.tool("mail.send", effect="write")(lambda: did.append(1))
    run = start(gw)
    mortal.lives = 0
    for _ in range(2):
        with pytest.raises(LedgerUnavailable):
            run.call("mail.send", {}, call_id="c1")
        with pytest.raises(LedgerUnavailable):
            asyncio.run(run.acall("mail.send", {}, call_id="c1"))
        with pytest.raises(LedgerUnavailable):
            run.begin_step()
    assert (did, record_of(gw, run)) == ([], None)
    mortal.lives = 100
    assert run.call("mail.send", {}, call_id="c1").kind == "done"


def test_a_settlement_that_cannot_be_written_is_tried_again(house, start):
    store, board = house.parts()
    mortal = Mortal(store, 100)
    gw, did = house.open(store=mortal, board=board), []

    @gw.tool("mail.send", effect="write")
    def send() -> str:
        did.append(1)
        mortal.lives = 0
        threading.Timer(0.02, lambda: setattr(mortal, "lives", 100)).start()
        return "sent"

    run = start(gw)
    assert run.call("mail.send", {}, call_id="c1").value == "sent"
    assert asyncio.run(run.acall("mail.send", {}, call_id="c1")).value == "sent"
    assert did == [1]


@pytest.mark.parametrize("caller", ["sync", "async"])
def test_who_cannot_be_told_the_outcome_is_told_that_it_was_performed(house, start, clock, monkeypatch, caller):
    monkeypatch.setattr("interlock.gateway.SETTLE_TRIES", 2)
    store, board = house.parts()
    mortal = Mortal(store, 3)  # definitions, the run, the admission
    gw, did = house.open(store=mortal, board=board), []
    gw.tool("mail.send", effect="write", timeout="10s")(lambda: did.append(1))
    run = start(gw)

    def call():
        if caller == "sync":
            return run.call("mail.send", {}, call_id="c1")
        return asyncio.run(run.acall("mail.send", {}, call_id="c1"))

    with pytest.raises(LedgerUnavailable, match=r"mail\.send ended with succeed.*reconcile"):
        call()
    assert (did, len(gw.flights)) == ([1], 0)
    mortal.lives = 100
    clock.advance(MINUTE)
    assert run.call("mail.send", {}, call_id="c1").kind == "unknown"


def test_a_caller_cancelled_between_two_tries_still_has_its_outcome_written(house, start):
    store, board = house.parts()
    mortal = Mortal(store, 100)
    gw = house.open(store=mortal, board=board)
    tried = threading.Event()

    class Telling(Mortal):
        def transact(self, units, **how):
            try:
                return super().transact(units, **how)
            except LedgerUnavailable:
                tried.set()
                raise

    mortal.__class__ = Telling

    @gw.tool("mail.send", effect="write")
    async def send() -> str:
        mortal.lives = 0
        return "sent"

    run = start(gw)

    async def main():
        task = asyncio.create_task(run.acall("mail.send", {}, call_id="c1"))
        await asyncio.to_thread(tried.wait, 10)
        await asyncio.sleep(0)
        task.cancel()
        mortal.lives = 100
        with pytest.raises(asyncio.CancelledError):
            await task

    asyncio.run(main())
    assert record_of(gw, run).state is State.DONE


def test_a_closed_gateway_performs_nothing_and_says_so(house, start):
    gw, did = house.open(), []
    gw.tool("mail.send", effect="write")(lambda: did.append(1))
    run = start(gw)
    gw.close()
    with pytest.raises(LedgerUnavailable, match="closed"):
        run.call("mail.send", {})
    with pytest.raises(LedgerUnavailable, match="closed"):
        asyncio.run(run.acall("mail.send", {}))
    assert did == []
    gw.close()


FORKS = """
import os
from interlock.wish import new_lease_id
child = os.fork()
os.write(1, f"{new_lease_id()}\\n".encode())
if child:
    os.waitpid(child, 0)
"""


def test_a_forked_child_is_another_owner():
    said = subprocess.run([sys.executable, "-c", FORKS], capture_output=True, text=True, check=True).stdout.split()
    assert len(set(said)) == 2
