"""Kill switches: every scope and mode; nothing begins once `kill()` has returned; release by scope alone."""

import asyncio
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import pytest

import interlock
from interlock.core.lifecycle import State
from interlock.errors import LedgerUnavailable
from interlock.ports import CallKey
from interlock.watch import Watch

WHO = {"by": "oncall", "reason": "incident 7"}
SCOPES = {
    "everything": {},
    "tenant": {"tenant": "acme"},
    "agent": {"agent": "bot"},
    "tool": {"tool": "mail.send"},
    "glob": {"tool": "mail.*"},
    "run": {"run": "r1"},
    "all of them": {"tenant": "acme", "agent": "bot", "run": "r1"},
}


def tools(gw):
    did = []
    gw.tool("mail.send", effect="write", dedupe="off")(lambda: did.append("send"))
    gw.tool("mail.list", effect="read")(lambda: did.append("list"))
    gw.tool("web.fetch", effect="egress")(lambda: did.append("fetch"))
    return did


def state_of(gw, run, key="c1"):
    return gw.store.load(CallKey(run.tenant, run.run_id, key)).state


# --- scopes and modes ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("scope", SCOPES)
def test_nothing_in_the_scope_is_performed_and_release_lets_go(gw, start, scope):
    did = tools(gw)
    gw.control.kill(**SCOPES[scope], **WHO)
    run = start(gw, run_id="r1")
    out = run.call("mail.send", {})
    assert did == []
    assert out.kind == ("denied" if "tool" in SCOPES[scope] else "stopped")
    assert "incident 7" not in out.text  # what operators know is not for a model
    assert "oncall" not in out.text
    gw.control.release(**SCOPES[scope], by="oncall", reason="over")
    assert gw.control.switches() == ()
    other = start(gw, run_id="r2")
    assert other.call("mail.send", {}).kind == "done"


@pytest.mark.parametrize("name", ["bot-*", "bo?", "[b]ot"])
@pytest.mark.parametrize("what", ["tenant", "agent", "run"])
def test_a_pattern_that_would_hold_for_nobody_is_refused(gw, what, name):
    with pytest.raises(interlock.Refused, match="no pattern, and would hold for nobody"):
        gw.control.kill(**{what: name}, **WHO)
    assert gw.control.switches() == ()
    with pytest.raises(interlock.Refused, match="no pattern"):
        gw.control.release(**{what: name}, by="oncall")


def test_whoever_really_bears_a_name_that_looks_like_a_pattern_can_be_killed(gw, start):
    run = start(gw, tenant="a?", agent="[b]", run_id="r*")
    for scope in ({"tenant": "a?"}, {"agent": "[b]"}, {"run": "r*"}):
        assert gw.control.kill(**scope, **WHO).scope == gw.control.release(**scope, by="oncall").scope
    gw.control.kill(run="r*", **WHO)
    assert run.call("mail.send", {}).kind == "stopped"


@pytest.mark.parametrize(
    "scope",
    [
        {"tenant": "other"},
        {"agent": "other"},
        {"tool": "mail.sen"},
        {"run": "r2"},
        {"tenant": "acme", "agent": "other"},
        {"tenant": "other", "run": "r1"},
    ],
)
def test_what_is_outside_the_scope_goes_on(gw, start, scope):
    did = tools(gw)
    gw.control.kill(**scope, **WHO)
    assert start(gw, run_id="r1").call("mail.send", {}).kind == "done"
    assert did == ["send"]


@pytest.mark.parametrize("scope", SCOPES)
def test_plain_reads_go_on_under_mode_writes(gw, start, scope):
    did = tools(gw)
    gw.control.kill(**SCOPES[scope], **WHO, mode="writes")
    run = start(gw, run_id="r1")
    assert run.call("mail.list", {}).kind == "done"
    assert run.begin_step() is not None
    out = run.call("mail.send", {})
    assert (out.kind, run.stop_reason) == ("denied", None)
    if scope not in ("tool", "glob"):
        assert run.call("web.fetch", {}).kind == "denied"  # its arguments leave the house
    assert did == ["list"]


def test_a_killed_tool_is_denied_and_the_run_goes_on(gw, start):
    did = tools(gw)
    gw.control.kill(tool="mail.*", **WHO)
    run = start(gw)
    assert run.call("mail.send", {}).kind == run.call("mail.list", {}).kind == "denied"
    assert run.call("web.fetch", {}).kind == "done"
    assert (did, run.stop_reason) == (["fetch"], None)


def test_a_killed_run_stays_stopped_when_the_switch_is_released(gw, start):
    did = tools(gw)
    run = start(gw)
    gw.control.kill(tenant="acme", **WHO)
    assert run.call("mail.send", {}).stop_reason == "killed"
    gw.control.release(tenant="acme", by="oncall")
    assert run.call("mail.send", {}).kind == "stopped"
    assert (run.stop_reason, run.status, did) == ("killed", "stopped", [])
    with pytest.raises(interlock.RunStopped):
        run.begin_step()
    assert start(gw).call("mail.send", {}).kind == "done"


def test_no_model_turn_begins_under_a_kill(gw, start):
    run = start(gw)
    gw.control.kill(agent="bot", **WHO)
    with pytest.raises(interlock.RunStopped) as stopped:
        run.begin_step()
    assert (stopped.value.reason, run.stop_reason) == ("killed", "killed")


def test_release_is_by_scope_alone(gw, start):
    tools(gw)
    gw.control.kill(**WHO)
    gw.control.kill(tenant="acme", **WHO)
    with pytest.raises(interlock.Refused, match="everything"):
        gw.control.release(agent="bot", by="oncall")
    gw.control.release(by="oncall")
    assert start(gw).call("mail.send", {}).kind == "stopped"
    assert start(gw, tenant="other").call("mail.send", {}).kind == "done"
    gw.control.release(tenant="acme", by="oncall")
    assert start(gw).call("mail.send", {}).kind == "done"


def test_killing_again_renews_the_mode_and_keeps_one_switch(gw, start):
    tools(gw)
    gw.control.kill(tenant="acme", mode="writes", **WHO)
    gw.control.kill(tenant="acme", mode="all", by="boss", reason="worse")
    assert [(switch.mode, switch.by) for switch in gw.control.switches()] == [("all", "boss")]
    assert start(gw).call("mail.list", {}).kind == "stopped"


@pytest.mark.parametrize("wrong", [{"by": ""}, {"reason": ""}, {"mode": "some"}])
def test_a_kill_names_who_and_why_or_is_refused(gw, start, wrong):
    tools(gw)
    with pytest.raises(interlock.Refused):
        gw.control.kill(**{**WHO, **wrong})
    assert gw.control.switches() == ()


def test_who_when_and_why_are_in_the_audit(gw, clock):
    gw.control.kill(tenant="acme", agent="bot", mode="writes", **WHO)
    clock.advance(5)
    gw.control.release(tenant="acme", agent="bot", by="boss", reason="over")
    gw.control.kill(tool="mail.*", **WHO)
    killed, released = gw.audit.entries(tenant="acme")
    assert (killed.kind, killed.by, killed.note, killed.detail["mode"]) == ("killed", "oncall", "incident 7", "writes")
    assert (released.kind, released.by, released.note, released.at - killed.at) == (
        "released",
        "boss",
        "over",
        5_000_000,
    )
    (of_all,) = gw.audit.entries(tenant="*")
    assert (of_all.kind, of_all.tool) == ("killed", "mail.*")
    history = gw.control.switches(active=False)
    assert [(switch.by, switch.released_by) for switch in history] == [("oncall", "boss"), ("oncall", "")]


def test_a_kill_holds_though_the_audit_cannot_be_written_and_says_so(house, start):
    store, board = house.parts()

    class Refusing:
        refuses = False

        def __getattr__(self, name):
            return getattr(store, name)

        def transact(self, units, **how):
            if self.refuses:
                raise LedgerUnavailable("the disk is full")
            return store.transact(units, **how)

    refusing = Refusing()
    gw = house.open(store=refusing, board=board)
    did, run = tools(gw), start(gw)
    refusing.refuses = True
    with pytest.raises(LedgerUnavailable, match="holds in every process"):
        gw.control.kill(**WHO)
    refusing.refuses = False
    assert run.call("mail.send", {}).kind == "stopped"
    assert did == []


def test_a_kill_outlives_the_program(house, start):
    house.open().control.kill(tenant="acme", **WHO)
    house.close()
    gw = house.open()
    did = tools(gw)
    assert start(gw).call("mail.send", {}).kind == "stopped"
    assert did == []


# --- the second look -------------------------------------------------------------------------------------------------


class Sniper:
    """A switch board that is killed through right before its n-th look."""

    def __init__(self, board, look: int, kill) -> None:
        self.board, self.look, self.kill, self.looks = board, look, kill, 0

    def __getattr__(self, name):
        return getattr(self.board, name)

    def active(self):
        self.looks += 1
        if self.looks == self.look:
            self.kill()
        return self.board.active()


@pytest.mark.parametrize("caller", ["sync", "async"])
@pytest.mark.parametrize("tool", ["sync", "threaded", "async"])
@pytest.mark.parametrize(("scope", "kind"), [({"tenant": "acme"}, "stopped"), ({"tool": "mail.*"}, "denied")])
def test_a_kill_between_admission_and_effect_is_caught(house, start, caller, tool, scope, kind):
    other = house.open()
    store, board = house.parts()
    gw = house.open(store=store, board=Sniper(board, 2, lambda: other.control.kill(**scope, **WHO)))
    did, said = [], {"effect": "write", "cost": {"usd": 1}, **({"timeout": "10s"} if tool == "threaded" else {})}
    if tool == "async":

        @gw.tool("mail.send", **said)
        async def send() -> None:
            did.append(1)
    else:
        gw.tool("mail.send", **said)(lambda: did.append(1))
    run = start(gw, budgets={"max_usd": 5})
    if caller == "sync":
        out = run.call("mail.send", {}, call_id="c1")
    else:
        out = asyncio.run(run.acall("mail.send", {}, call_id="c1"))
    assert (out.kind, did, state_of(gw, run)) == (kind, [], State.DENIED)
    assert [reason.guard for reason in out.decision.reasons] == ["killed"]
    assert run.stop_reason == ("killed" if kind == "stopped" else None)
    report = run.report()
    assert report.usd.held == report.usd.used == report.tool_calls.held == report.tool_calls.used == 0
    settled = [entry for entry in gw.audit.entries(tenant="acme") if entry.kind == "settled"]
    assert [(entry.outcome, entry.reasons[0].guard) for entry in settled] == [("not_performed", "killed")]
    if kind == "denied":
        gw.control.release(**scope, by="oncall")
        assert run.call("mail.send", {}, call_id="c1").kind == "done"
        assert did == [1]


def test_no_effect_begins_after_kill_has_returned_whoever_calls(gw, start):
    began, killed = [], threading.Event()

    @gw.tool("mail.send", effect="write", dedupe="off")
    def send() -> None:
        began.append(killed.is_set())

    def work(_):
        run = start(gw, budgets={"max_tool_calls": 10_000, "max_repeats": 10_000})
        while run.call("mail.send", {}).kind == "done":
            pass

    with ThreadPoolExecutor(8) as pool:
        ended = [pool.submit(work, n) for n in range(8)]
        while len(began) < 50:
            time.sleep(0.001)
        gw.control.kill(**WHO)
        many = len(began)
        killed.set()
        for each in ended:
            each.result()
    # an effect that had begun before `kill()` returned may have told so a moment later: one for each thread at most
    assert len(began) - many <= 8
    assert sum(began) <= 8


# --- what is in flight -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("caller", ["sync", "async"])
@pytest.mark.parametrize(("effect", "kind"), [("write", "unknown"), ("read", "failed")])
def test_an_async_tool_in_flight_is_cancelled_at_once(gw, start, caller, effect, kind):
    begun, ended = threading.Event(), threading.Event()

    @gw.tool("slow.one", effect=effect)
    async def slow() -> None:
        begun.set()
        try:
            await asyncio.Event().wait()
        finally:
            ended.set()

    run = start(gw)

    def call():
        if caller == "sync":
            return run.call("slow.one", {}, call_id="c1")
        return asyncio.run(run.acall("slow.one", {}, call_id="c1"))

    with ThreadPoolExecutor(1) as pool:
        out = pool.submit(call)
        assert begun.wait(10)
        gw.control.kill(run=run.run_id, **WHO)
        assert ended.wait(10)
        assert out.result().kind == kind
    assert "killed" in out.result().text
    assert run.stop_reason == "killed"


@pytest.mark.parametrize("caller", ["sync", "async"])
@pytest.mark.parametrize("said", [{}, {"timeout": "60s"}])
def test_a_sync_tool_in_flight_is_settled_as_it_really_ends_and_its_run_is_over(gw, start, caller, said):
    begun, go = threading.Event(), threading.Event()

    @gw.tool("mail.send", effect="write", **said)
    def send() -> str:
        begun.set()
        go.wait(10)
        return "sent"

    run = start(gw)

    def call():
        if caller == "sync":
            return run.call("mail.send", {}, call_id="c1")
        return asyncio.run(run.acall("mail.send", {}, call_id="c1"))

    with ThreadPoolExecutor(1) as pool:
        out = pool.submit(call)
        assert begun.wait(10)
        gw.control.kill(run=run.run_id, **WHO)
        go.set()
        assert (out.result().kind, out.result().value) == ("done", "sent")
    assert (state_of(gw, run), run.stop_reason) == (State.DONE, "killed")
    assert (run.report().tool_calls.used, run.report().tool_calls.held) == (1, 0)


def test_reads_in_flight_are_left_alone_by_mode_writes(gw, start):
    begun, go = threading.Event(), threading.Event()

    @gw.tool("kb.read", effect="read")
    async def read() -> str:
        begun.set()
        await asyncio.to_thread(go.wait, 10)
        return "read"

    run = start(gw)
    with ThreadPoolExecutor(1) as pool:
        out = pool.submit(run.call, "kb.read", {})
        assert begun.wait(10)
        gw.control.kill(mode="writes", **WHO)
        go.set()
        assert out.result().value == "read"


def test_a_kill_by_another_process_reaches_what_is_in_flight_here(house, start):
    gw, other = house.open(), house.open()
    begun = threading.Event()

    @gw.tool("slow.one", effect="write")
    async def slow() -> None:
        begun.set()
        await asyncio.Event().wait()

    run = start(gw)
    with ThreadPoolExecutor(1) as pool:
        out = pool.submit(run.call, "slow.one", {})
        assert begun.wait(10)
        other.control.kill(**WHO)
        Watch(gw).tend()  # what its own watch does ten times a second
        assert out.result(10).kind == "unknown"


def test_a_killed_async_tool_may_say_that_nothing_happened(gw, start):
    begun = threading.Event()

    @gw.tool("slow.one", effect="write")
    async def slow() -> None:
        begun.set()
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            raise interlock.NotDone("nothing was sent yet") from None

    run = start(gw)

    async def main():
        task = asyncio.create_task(run.acall("slow.one", {}))
        await asyncio.to_thread(begun.wait, 10)
        await asyncio.to_thread(gw.control.kill, **WHO)
        return await task

    assert asyncio.run(main()).kind == "failed"
