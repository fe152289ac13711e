"""The time that an effect has: its tool's, its run's, and what of it must be left for it to begin at all."""

import asyncio
import threading
import time
from typing import Any

import pytest

import interlock
from interlock.core.lifecycle import State
from interlock.ports import CallKey

SOON = "50ms"


def record_of(gw, run, key="c1"):
    return gw.store.load(CallKey(run.tenant, run.run_id, key))


def ask(kind, run, tool, args=None, **more) -> Any:
    if kind == "sync":
        return run.call(tool, args or {}, **more)
    return asyncio.run(run.acall(tool, args or {}, **more))


def threads_done(gw) -> None:
    """Wait until every tool's thread has ended, and told so."""
    gw._stage._pool.shutdown(wait=True)


@pytest.mark.parametrize("caller", ["sync", "async"])
@pytest.mark.parametrize(("effect", "kind"), [("read", "failed"), ("write", "unknown")])
def test_an_async_tool_is_cancelled_when_its_time_is_up(gw, start, caller, effect, kind):
    ended = threading.Event()

    @gw.tool("slow.one", effect=effect, timeout=SOON)
    async def slow() -> None:
        try:
            await asyncio.Event().wait()
        finally:
            ended.set()

    out = ask(caller, start(gw), "slow.one")
    assert out.kind == kind
    assert "longer than 0.05 s" in out.text
    assert ended.wait(10)


@pytest.mark.parametrize("caller", ["sync", "async"])
@pytest.mark.parametrize(("effect", "kind"), [("read", "failed"), ("write", "unknown")])
def test_nobody_waits_for_a_sync_tool_when_its_time_is_up(gw, start, caller, effect, kind):
    go = threading.Event()
    gw.tool("slow.one", effect=effect, timeout=SOON)(lambda: go.wait(10))
    run = start(gw)
    began = time.monotonic()
    out = ask(caller, run, "slow.one", call_id="c1")
    assert (out.kind, time.monotonic() - began < 5) == (kind, True)
    assert "longer than 0.05 s" in out.text
    go.set()
    threads_done(gw)


@pytest.mark.parametrize("caller", ["sync", "async"])
def test_a_thread_that_is_late_settles_its_own_call_once(gw, start, caller):
    go = threading.Event()

    @gw.tool("slow.one", effect="write", timeout=SOON, cost={"usd": 0.5})
    def slow() -> str:
        go.wait(10)
        return "late"

    run = start(gw, budgets={"max_usd": 2})
    assert ask(caller, run, "slow.one", call_id="c1").kind == "unknown"
    report = run.report()
    assert (report.usd.held, report.usd.used) == (0.5, 0)
    go.set()
    threads_done(gw)
    assert record_of(gw, run).state is State.DONE
    again = run.call("slow.one", {}, call_id="c1")
    assert (again.value, again.replayed) == ("late", True)
    report = run.report()
    assert (report.usd.held, report.usd.used) == (0, 0.5)
    settled = [entry.outcome for entry in gw.audit.entries(tenant="acme") if entry.kind == "settled"]
    assert settled == ["unknown", "done"]


@pytest.mark.parametrize("error", [ValueError("no"), interlock.NotDone("no")])
def test_a_late_thread_that_raises_is_told_as_it_is(gw, start, error):
    go = threading.Event()

    @gw.tool("slow.one", effect="write", timeout=SOON)
    def slow() -> None:
        go.wait(10)
        raise error

    run = start(gw)
    run.call("slow.one", {}, call_id="c1")
    go.set()
    threads_done(gw)
    assert record_of(gw, run).state is (State.FAILED if isinstance(error, interlock.NotDone) else State.UNKNOWN)


def test_what_a_person_has_said_of_an_unknown_stays_when_its_thread_comes_back(gw, start):
    go = threading.Event()

    @gw.tool("slow.one", effect="write", timeout=SOON)
    def slow() -> str:
        go.wait(10)
        return "late"

    run = start(gw)
    run.call("slow.one", {}, call_id="c1")
    gw.control.reconcile(tenant="acme", run_id=run.run_id, call_id="c1", happened=False, by="oncall")
    go.set()
    threads_done(gw)
    assert record_of(gw, run).state is State.FAILED
    assert run.report().tool_calls.used == run.report().tool_calls.held == 0
    last = list(gw.audit.entries(tenant="acme"))[-1]
    assert "came back" in last.note  # the audit tells, the record stays


@pytest.mark.parametrize("caller", ["sync", "async"])
def test_an_async_tool_without_a_time_of_its_own_ends_with_its_run(gw, start, caller):
    @gw.tool("slow.one", effect="write")
    async def slow() -> None:
        await asyncio.Event().wait()

    out = ask(caller, start(gw, budgets={"max_seconds": "50ms"}), "slow.one")
    assert out.kind == "unknown"
    assert "ran out of time" in out.text


@pytest.mark.parametrize("caller", ["sync", "async"])
def test_a_tools_own_time_out_is_its_error_like_any_other(gw, start, caller):
    @gw.tool("slow.one", effect="read", timeout="10s")
    def sync_one() -> None:
        raise TimeoutError("upstream said 504")

    @gw.tool("slow.two", effect="read", timeout="10s")
    async def async_one() -> None:
        raise TimeoutError("upstream said 504")

    run = start(gw)
    for name in ("slow.one", "slow.two"):
        out = ask(caller, run, name)
        assert (out.kind, "upstream said 504" in out.text) == ("failed", True)


def test_the_deadline_of_an_effect_lies_inside_its_lease(house, start):
    gw, seen = house.open(), []

    @gw.tool("note.write", effect="write", timeout="10s")
    def write(info: interlock.CallInfo) -> None:
        seen.append((info.deadline, record_of(gw, run, info.key).lease.until))

    @gw.tool("note.other", effect="write")
    def other(info: interlock.CallInfo) -> None:
        seen.append((info.deadline, record_of(gw, run, info.key).lease.until))

    run = start(gw, budgets={"max_seconds": 20})
    run.call("note.write", {}, call_id="c1")
    run.call("note.other", {}, call_id="c2")
    assert [deadline - house.clock.now() for deadline, _ in seen] == [10_000_000, 20_000_000]
    assert all(deadline < until for deadline, until in seen)


# --- between admission and effect ------------------------------------------------------------------------------------


class SlowVault:
    """Lends at once; but time has passed by then."""

    def __init__(self, clock, seconds: float) -> None:
        self.clock, self.seconds = clock, seconds

    def lend(self, name: str, *, tenant: str, env: str) -> str:
        self.clock.advance(self.seconds)
        return "sk-canary-0001"


class SlowBoard:
    """A switch board whose second look takes long."""

    def __init__(self, board, clock, seconds: float) -> None:
        self.board, self.clock, self.seconds, self.looks = board, clock, seconds, 0

    def __getattr__(self, name):
        return getattr(self.board, name)

    def active(self):
        self.looks += 1
        if self.looks == 2:
            self.clock.advance(self.seconds)
        return self.board.active()


@pytest.mark.parametrize("caller", ["sync", "async"])
@pytest.mark.parametrize("tool", ["sync", "threaded", "async"])
@pytest.mark.parametrize("where", ["vault", "board"])
@pytest.mark.parametrize(("seconds", "begins"), [(9.9, True), (10, False), (11, False), (13, False), (86400, False)])
def test_nothing_begins_when_its_time_is_up(house, start, clock, caller, tool, where, seconds, begins):
    if where == "vault":
        gw = house.open(vault=SlowVault(clock, seconds))
    else:
        store, board = house.parts()
        gw = house.open(store=store, board=SlowBoard(board, clock, seconds), vault=SlowVault(clock, 0))
    did = []
    # the run's time for the tool on its caller's own thread, the tool's own for the others
    said = {"effect": "write", "credential": "zendesk", "cost": {"usd": 1}}
    said |= {} if tool == "sync" else {"timeout": "10s"}
    if tool == "async":

        @gw.tool("mail.send", **said)
        async def send(key: interlock.Credential) -> None:
            did.append(1)
    else:

        @gw.tool("mail.send", **said)
        def send(key: interlock.Credential) -> None:
            did.append(1)

    run = start(gw, budgets={"max_seconds": 10 if tool == "sync" else 300, "max_usd": 5})
    out = ask(caller, run, "mail.send", call_id="c1")
    if begins:
        assert did == [1]
        return
    assert (out.kind, did) == ("denied", [])
    assert record_of(gw, run).state is State.DENIED
    report = run.report()
    assert report.usd.held == report.usd.used == report.tool_calls.held == report.tool_calls.used == 0
    settled = [entry for entry in gw.audit.entries(tenant="acme") if entry.kind == "settled"]
    assert [entry.outcome for entry in settled] == ["not_performed"]


@pytest.mark.parametrize("caller", ["sync", "async"])
def test_what_finds_no_free_thread_in_time_is_not_performed(gw, start, caller, monkeypatch):
    monkeypatch.setattr("interlock.perform.WORKERS", 1)
    go, did = threading.Event(), []
    gw.tool("slow.one", effect="write", timeout=SOON)(lambda: go.wait(10))
    gw.tool("mail.send", effect="write", timeout=SOON)(lambda: did.append(1))
    run = start(gw)
    assert run.call("slow.one", {}).kind == "unknown"
    out = ask(caller, run, "mail.send", call_id="c1")
    go.set()
    threads_done(gw)
    assert (out.kind, did, record_of(gw, run).state) == ("denied", [], State.DENIED)


def test_an_async_tool_that_calls_another_without_await_is_told_at_once_and_holds_nobody_up(house, start) -> None:
    gw = house.open()
    run = start(gw)

    @gw.tool("inner", effect="read")
    async def inner() -> str:
        return "seen"

    @gw.tool("outer", effect="read")
    async def outer(waits: bool) -> str:
        return (await run.acall("inner", {}) if waits else run.call("inner", {})).text

    assert "acall" in run.call("outer", {"waits": False}).text
    assert run.call("outer", {"waits": True}).text == "seen"
    assert run.report().tool_calls.used == 3  # what was not begun costs nothing
