"""Admit → perform → settle: six outcomes, for sync and async tools, from sync and async callers."""

import asyncio
import math
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

import pytest

import interlock
from interlock.core.lifecycle import State
from interlock.ports import CallKey

KINDS = ("sync", "async")


class Ask:
    """One caller: sync or async."""

    def __init__(self, kind: str) -> None:
        self.kind = kind

    def __call__(self, run: interlock.Run, tool: str, args: Any = None, **more: Any) -> interlock.Outcome:
        if self.kind == "sync":
            return run.call(tool, args or {}, **more)
        return asyncio.run(run.acall(tool, args or {}, **more))


@pytest.fixture(params=KINDS)
def ask(request) -> Ask:
    return Ask(request.param)


@pytest.fixture(params=KINDS)
def tool(request):
    """Register a function as a sync or as an async tool."""

    def register(gw, name, function, **said):
        if request.param == "sync":

            def performed() -> Any:
                return function()
        else:

            async def performed() -> Any:
                await asyncio.sleep(0)
                return function()

        performed.__name__ = "performed"
        gw.tool(name, **said)(performed)

    return register


def raising(error: BaseException):
    def fail() -> None:
        raise error

    return fail


def state_of(gw, run, key) -> State:
    return gw.store.load(CallKey(run.tenant, run.run_id, key)).state


# --- six outcomes ----------------------------------------------------------------------------------------------------


def test_a_tool_that_returns_is_done(gw, start, tool, ask):
    tool(gw, "note.write", lambda: {"id": 7}, effect="write")
    out = ask(start(gw), "note.write", call_id="c1")
    assert isinstance(out, interlock.Done)
    assert (out.kind, out.value, out.text, out.replayed, out.call_id) == ("done", {"id": 7}, '{"id":7}', False, "c1")


@pytest.mark.parametrize("effect", ["write", "irreversible"])
def test_a_write_that_raises_is_unknown(gw, start, tool, ask, effect):
    tool(gw, "mail.send", raising(ConnectionError("reset by peer")), effect=effect)
    run = start(gw)
    out = ask(run, "mail.send", call_id="c1")
    assert out.kind == "unknown"
    assert "reset by peer" in out.text
    assert state_of(gw, run, "c1") is State.UNKNOWN


@pytest.mark.parametrize("effect", ["read", "egress"])
def test_a_read_that_raises_is_failed(gw, start, tool, ask, effect):
    tool(gw, "kb.search", raising(ConnectionError("reset by peer")), effect=effect)
    out = ask(start(gw), "kb.search")
    assert out.kind == "failed"
    assert "reset by peer" in out.text


def test_a_write_that_says_not_done_is_failed(gw, start, tool, ask):
    tool(gw, "mail.send", raising(interlock.NotDone("the mailbox is full")), effect="write")
    out = ask(start(gw), "mail.send")
    assert out.kind == "failed"
    assert "the mailbox is full" in out.text


def test_a_write_that_raises_is_failed_where_its_owner_says_that_errors_mean_so(gw, start, tool, ask):
    tool(gw, "mail.send", raising(ValueError("no such address")), effect="write", errors="failed")
    assert ask(start(gw), "mail.send").kind == "failed"


def test_what_nothing_allows_is_denied_and_not_performed(house, start, tool, ask):
    gw, did = house.open({"policy": {"allow": []}}), []
    tool(gw, "mail.send", lambda: did.append(1), effect="write")
    out = ask(start(gw), "mail.send")
    assert (out.kind, did) == ("denied", [])
    assert [reason.guard for reason in out.decision.reasons] == ["default_deny"]


def test_what_a_person_has_to_approve_is_pending(house, start, tool, ask):
    gw, did = house.open({"approvals": {"required_for": ["mail.send"]}}), []
    tool(gw, "mail.send", lambda: did.append(1), effect="write")
    out = ask(start(gw), "mail.send")
    assert (out.kind, did) == ("pending", [])
    assert out.approval_id == gw.control.approvals()[0].approval_id


def test_a_run_that_has_stopped_performs_nothing(gw, start, tool, ask):
    did = []
    tool(gw, "mail.send", lambda: did.append(1), effect="write")
    run = start(gw)
    run.stop("cancelled")
    out = ask(run, "mail.send")
    assert (out.kind, out.stop_reason, did) == ("stopped", interlock.StopReason.CANCELLED, [])


def test_a_tool_that_nobody_registered_is_denied(gw, start, ask):
    out = ask(start(gw), "no.such")
    assert out.kind == "denied"
    assert "no.such" in out.text


@pytest.mark.parametrize("error", [SystemExit(3), GeneratorExit(), asyncio.CancelledError()], ids=repr)
def test_a_tool_that_tries_to_end_the_program_is_a_tool_that_failed(gw, start, tool, ask, error):
    tool(gw, "mail.send", raising(error), effect="write")
    tool(gw, "mail.read", lambda: "ok", effect="read")
    run = start(gw)
    out = ask(run, "mail.send", call_id="c1")
    assert out.kind == "unknown"
    assert "time" not in out.text
    assert state_of(gw, run, "c1") is State.UNKNOWN
    assert ask(run, "mail.read").kind == "done"  # the gateway is alive


def test_an_interrupt_of_the_caller_is_settled_and_comes_out(gw, start):
    gw.tool("mail.send", effect="write")(raising(KeyboardInterrupt()))
    run = start(gw)
    with pytest.raises(KeyboardInterrupt):
        run.call("mail.send", {}, call_id="c1")
    assert state_of(gw, run, "c1") is State.UNKNOWN
    assert len(gw.flights) == 0


# --- results ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("value", [0, "", [], None, False, {}, 0.0], ids=repr)
def test_falsy_results_are_replayed_whole(gw, start, tool, ask, value):
    did = []

    def give():
        did.append(1)
        return value

    tool(gw, "note.write", give, effect="write")
    run = start(gw)
    first, second = (ask(run, "note.write", call_id="c1") for _ in range(2))
    assert (first.kind, second.kind, len(did)) == ("done", "done", 1)
    assert (first.replayed, second.replayed) == (False, True)
    assert repr(first.value) == repr(second.value) == repr(value)
    assert first.text == second.text


class Odd:
    def __repr__(self) -> str:
        return "<odd>"


@pytest.mark.parametrize(
    "value",
    [
        datetime(2026, 1, 1, tzinfo=UTC),
        Decimal("1.10"),
        (1, 2),
        {1: "a", "1": "b"},
        b"\xff",
        math.nan,
        {3, 1, 2},
        Odd(),
        "\udc80",
        2**80,
        {"deep": [{"er": (1,)}]},
    ],
    ids=repr,
)
def test_values_are_made_json_in_the_same_way_at_first_and_at_replay(gw, start, ask, value):
    gw.tool("note.write", effect="write")(lambda: value)
    run = start(gw)
    first, second = (ask(run, "note.write", call_id="c1") for _ in range(2))
    assert (first.kind, second.kind) == ("done", "done")
    assert first.value == second.value
    assert first.text == second.text


def test_a_result_over_the_size_limit_is_cut_and_says_so(house, start, ask):
    gw = house.open({"limits": {"result_bytes": 1000}})
    gw.tool("note.write", effect="write")(lambda: "x" * 5000)
    run = start(gw)
    first, second = (ask(run, "note.write", call_id="c1") for _ in range(2))
    assert first.kind == "done"
    assert first.value["interlock"] == "truncated"
    assert first.value == second.value


# --- what is lent and told -------------------------------------------------------------------------------------------


def test_a_tool_may_know_of_its_call(gw, start, ask, clock):
    seen = []

    @gw.tool("note.write", effect="write", timeout="10s")
    def write(info: interlock.CallInfo) -> None:
        seen.append(info)

    run = start(gw)
    ask(run, "note.write", call_id="c1", idempotency_key="k1")
    info = seen[0]
    assert (info.tenant, info.agent, info.env, info.run_id) == ("acme", "bot", "prod", run.run_id)
    assert (info.call_id, info.key, info.attempt) == ("c1", "k1", 1)
    assert info.deadline == clock.now() + 10_000_000


def test_a_call_without_an_id_is_given_one(gw, start, ask):
    gw.tool("kb.read", effect="read")(lambda: 1)
    run = start(gw)
    first, second = ask(run, "kb.read"), ask(run, "kb.read")
    assert first.call_id != second.call_id


BAD_NAMES = ["", " a", "a\n", "\u202e", "\ud800", "x" * 201, None, 5, ["kb.read"]]


@pytest.mark.parametrize("bad", BAD_NAMES)
def test_a_key_that_cannot_be_one_is_a_mistake_of_the_program(gw, start, bad):
    if bad is not None:
        with pytest.raises(interlock.ConfigError):
            start(gw).call("kb.read", {}, idempotency_key=bad)


@pytest.mark.parametrize("caller", ["sync", "async"])
@pytest.mark.parametrize("what", ["tool", "call_id"])
@pytest.mark.parametrize("bad", BAD_NAMES)
def test_a_name_or_an_id_that_a_model_made_up_is_denied_and_audited_and_counts(gw, start, bad, what, caller):
    did = []
    gw.tool("kb.read", effect="read")(lambda: did.append(1))
    said = {"tool": bad} if what == "tool" else {"tool": "kb.read", "call_id": bad}
    if said == {"tool": "kb.read", "call_id": None}:
        return  # no id was said: it is given one
    run = start(gw, budgets={"max_denials": 2})
    outs = [
        run.call(args={}, **said) if caller == "sync" else asyncio.run(run.acall(args={}, **said)) for _ in range(3)
    ]
    assert ([out.kind for out in outs], did) == (["denied", "denied", "stopped"], [])
    assert (run.stop_reason, outs[0].call_id != outs[1].call_id) == ("max_denials", True)
    assert outs[0].text.startswith("NOT DONE: ")
    assert {"tool": "the name of a tool must", "call_id": "call_id must"}[what] in outs[0].text
    decided = [entry for entry in gw.audit.entries("acme", run.run_id) if entry.kind == "decided"]
    assert [entry.verdict for entry in decided] == ["deny", "deny", "stop"]
    for entry in decided:
        assert entry.tool.isprintable()
        assert len(entry.tool) <= 80
        assert (entry.tool == "kb.read") == (what == "call_id")
    assert gw.audit.verify(tenant="acme").ok


def test_a_name_that_cannot_be_one_is_not_taken_for_the_tool_that_it_looks_like(gw, start):
    gw.tool("kb.read", effect="read")(lambda: 1)
    run = start(gw)
    assert run.call(" kb.read", {}).kind == "denied"
    assert [entry.tool for entry in gw.audit.entries("acme", run.run_id) if entry.tool] == ["' kb.read'"]


def test_a_refusal_names_what_was_missing_in_words_that_a_model_can_act_on(house, start):
    rule = {"id": "big", "tools": ["pay"], "when": "args.amount > 100", "then": "ask"}
    gw = house.open({"policy": {"allow": ["pay"], "rules": [rule]}})
    gw.tool("pay", effect="write")(lambda to, amount=0: (to, amount))
    run = start(gw)
    lacking = run.call("pay", {"to": "ann"})
    assert 'rule big cannot be evaluated (it reads "amount", which the call does not have)' in lacking.text
    assert 'must be an object, as in {"to": …, "amount": …}, not []' in run.call("pay", []).text


def test_invalid_arguments_are_denied_before_anything_else_and_the_model_is_told(gw, start, ask):
    did = []

    @gw.tool("note.write", effect="write")
    def write(title: str, size: int = 1) -> None:
        did.append(title)

    run = start(gw, budgets={"max_denials": 50})
    for args in (
        {},
        {"title": 1},
        {"title": "a", "size": math.nan},
        {"title": "a", "nope": 1},
        {"title": "a", "size": "1"},
    ):
        out = ask(run, "note.write", args)
        assert out.kind == "denied", args
        assert "note.write" in out.text
    assert did == []
    assert run.report().tool_calls.used == 0


# --- many at once ----------------------------------------------------------------------------------------------------


def test_calls_of_many_threads_and_tasks_are_each_performed_once(gw, start):
    did, lock = [], threading.Lock()

    @gw.tool("note.write", effect="write")
    def write(n: int) -> int:
        with lock:
            did.append(n)
        return n

    run = start(gw, budgets={"max_tool_calls": 200})
    with ThreadPoolExecutor(20) as pool:
        outs = list(pool.map(lambda n: run.call("note.write", {"n": n}, call_id=f"t{n}"), range(40)))

    async def all_of_them():
        return await asyncio.gather(*(run.acall("note.write", {"n": n}, call_id=f"a{n}") for n in range(40, 80)))

    outs += asyncio.run(all_of_them())
    assert [out.value for out in outs] == list(range(80))
    assert sorted(did) == list(range(80))
    assert gw.audit.verify(tenant="acme").ok


# --- an async caller that is cancelled -------------------------------------------------------------------------------


class Held:
    """A store that lets go of a transaction only when told: to stand in a phase of a call."""

    quick = False  # nor would a loop wait for one like it

    def __init__(self, store: Any) -> None:
        self._store = store
        self.closed = threading.Event()
        self.reached = threading.Event()
        self.closed.set()

    def __getattr__(self, name: str) -> Any:
        return getattr(self._store, name)

    def transact(self, units, **how):
        if not self.closed.is_set():
            self.reached.set()
            self.closed.wait(10)
        return self._store.transact(units, **how)


def held_gateway(house):
    store, board = house.parts()
    held = Held(store)
    return house.open(store=held, board=board), held


async def until(holds: Callable[[], object]) -> None:
    while not holds():  # noqa: ASYNC110  the tool may run in another loop
        await asyncio.sleep(0.001)


async def reached(event: threading.Event) -> None:
    assert await asyncio.to_thread(event.wait, 10)


def test_a_caller_cancelled_during_admission_has_its_call_settled_as_not_performed(house, start):
    gw, store = held_gateway(house)
    did = []
    gw.tool("mail.send", effect="write")(lambda: did.append(1))
    run = start(gw)

    async def main():
        store.closed.clear()
        task = asyncio.create_task(run.acall("mail.send", {}, call_id="c1"))
        await reached(store.reached)
        task.cancel()
        await asyncio.sleep(0)
        store.closed.set()
        with pytest.raises(asyncio.CancelledError):
            await task

    asyncio.run(main())
    assert (did, state_of(gw, run, "c1")) == ([], State.DENIED)
    assert run.report().tool_calls.used == run.report().tool_calls.held == 0


@pytest.mark.parametrize(("effect", "state"), [("read", State.FAILED), ("write", State.UNKNOWN)])
def test_a_caller_cancelled_during_an_async_effect_has_its_call_settled(gw, start, effect, state):
    began = []

    @gw.tool("slow.one", effect=effect)
    async def slow() -> None:
        began.append(1)
        await asyncio.Event().wait()

    run = start(gw)

    async def main():
        task = asyncio.create_task(run.acall("slow.one", {}, call_id="c1"))
        await until(lambda: began)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    asyncio.run(main())
    assert state_of(gw, run, "c1") is state
    assert len(gw.flights) == 0


def test_a_caller_cancelled_during_a_sync_effect_hears_so_and_the_thread_settles_its_own_call(gw, start):
    began, go = threading.Event(), threading.Event()

    @gw.tool("slow.one", effect="write")
    def slow() -> str:
        began.set()
        go.wait(10)
        return "late"

    run = start(gw)

    async def main():
        task = asyncio.create_task(run.acall("slow.one", {}, call_id="c1"))
        await reached(began)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    asyncio.run(main())
    assert state_of(gw, run, "c1") is State.UNKNOWN
    go.set()
    gw._stage.close()
    gw._stage._pool.shutdown(wait=True)
    assert state_of(gw, run, "c1") is State.DONE
    assert run.call("slow.one", {}, call_id="c1").value == "late"
    assert (run.report().tool_calls.used, run.report().tool_calls.held) == (1, 0)


def test_a_caller_cancelled_during_settlement_has_its_call_settled_as_it_ended(house, start):
    gw, store = held_gateway(house)

    @gw.tool("mail.send", effect="write")
    async def send() -> str:
        store.closed.clear()
        return "sent"

    run = start(gw)

    async def main():
        task = asyncio.create_task(run.acall("mail.send", {}, call_id="c1"))
        await reached(store.reached)
        task.cancel()
        await asyncio.sleep(0)
        store.closed.set()
        with pytest.raises(asyncio.CancelledError):
            await task

    asyncio.run(main())
    assert state_of(gw, run, "c1") is State.DONE


def test_a_caller_cancelled_while_somebody_else_performs_its_call_is_let_go_at_once(gw, start):
    began, go = threading.Event(), threading.Event()

    @gw.tool("mail.send", effect="write")
    def send() -> str:
        began.set()
        go.wait(10)
        return "sent"

    run = start(gw)
    with ThreadPoolExecutor(1) as pool:
        first = pool.submit(run.call, "mail.send", {}, call_id="c1")
        assert began.wait(10)

        async def main():
            task = asyncio.create_task(run.acall("mail.send", {}, call_id="c1"))
            await asyncio.sleep(0.02)
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task

        asyncio.run(main())
        assert state_of(gw, run, "c1") is State.LEASED
        go.set()
        assert first.result().value == "sent"


def test_a_caller_cancelled_twice_still_has_its_call_settled(gw, start):
    began = []

    @gw.tool("stubborn.one", effect="write")
    async def stubborn() -> str:
        began.append(1)
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            began.append(2)
            await asyncio.sleep(0.05)
        return "done after all"

    run = start(gw)

    async def main():
        task = asyncio.create_task(run.acall("stubborn.one", {}, call_id="c1"))
        for many in (1, 2):
            await until(lambda many=many: len(began) >= many)
            task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    asyncio.run(main())
    assert state_of(gw, run, "c1") in (State.DONE, State.UNKNOWN)
    assert len(gw.flights) == 0
