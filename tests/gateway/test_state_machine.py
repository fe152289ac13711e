"""Whatever people, models, crashes and clocks do in whatever order, the ledger does what a simple model says.

The model knows no transactions, no digests and no SQL: dicts of calls, approvals and sums. It predicts the outcome of
every act before it is done; after each step the books, the audit and the effects are compared.
"""

from __future__ import annotations

import shutil
import tempfile
from collections import Counter
from typing import Any

import pytest
from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)

import interlock
from interlock import CallInfo, Gateway, KeyReused, NotDone, Refused, Run, RunStopped
from interlock.core.call import MICROS
from interlock.core.run import Step
from interlock.testing import ManualClock
from interlock.watch import Watch
from tests.crash.points import Crash, CrashingBoard, CrashingStore, Points, crash
from tests.crash.world import TENANT, WHO, World, records

RUNS = ("r0", "r1", "r2")
KEYS = ("k0", "k1", "k2", "k3", "k4")
TOOLS = ("pay", "mail", "look", "sign", "fail", "lost")
NARROW: list[dict[str, str]] = [{"tool": "pay"}, {"tool": "sign"}]
BROAD: list[dict[str, str]] = [{}, {"tenant": TENANT}, {"run": "r0"}, {"agent": "bot"}]
DEDUPED = ("mail", "sign", "fail", "lost")
CALLS_OF_A_RUN, STEPS_OF_A_RUN, CALLS_OF_A_MONTH = 8, 6, 18
LEASE, EXPIRES = 12.0, 3600.0  #: seconds; the lease with its margin
CRASHES = ("transaction 1 inside", "transaction 1 after", "effect after", "transaction 2 after")
CONFIG = {
    "lease": "10s",
    "budgets": {
        "max_steps": STEPS_OF_A_RUN, "max_tool_calls": CALLS_OF_A_RUN, "tool_calls_per_month": CALLS_OF_A_MONTH,
        "max_seconds": 5_000_000, "max_denials": 1000, "max_repeats": 1000,
    },
    "policy": {"allow": ["*"], "rules": [{"id": "people", "tools": ["sign"], "then": "ask"}]},
}
OPEN = ("denied", "lapsed", "waiting", "approved")
POINT = st.sampled_from([""] * 8 + [*CRASHES])
RARELY = st.integers(0, 15).map(lambda number: number == 11)
PERFORMED = {"pay": "done", "mail": "done", "look": "done", "sign": "done", "fail": "failed", "lost": "unknown"}
SHOWN = {"done": "done", "failed": "failed", "unknown": "unknown", "rejected": "denied"}


class Call:
    """What the model knows of a call."""

    def __init__(self, run: str, key: str, tool: str, n: int, at: float) -> None:
        self.run, self.key, self.tool, self.n, self.at = run, key, tool, n, at
        self.state = ""
        self.approval = ""
        self.until = 0.0  #: of its lease
        self.of: Call | None = None
        self.edited: int | None = None  #: what was performed in its place
        self.stop = ""  #: rejected, and that ended the run

    def same_wish(self, tool: str, n: int) -> bool:
        return (self.tool, self.n) == (tool, n)


class Question:
    """What the model knows of an approval."""

    def __init__(self, call: Call, now: float) -> None:
        self.call, self.n = call, call.n
        self.standing = "waiting"
        self.asked, self.expires = now, now + EXPIRES


class Machine(RuleBasedStateMachine):
    """The model, and a real gateway beside it."""

    kind = "memory"
    on_reject = "deny"

    def __init__(self) -> None:
        super().__init__()
        self.place = tempfile.mkdtemp(prefix="interlock-")
        self.world = World(kind=self.kind, place=self.place)
        self.clock = ManualClock()
        self.clock.advance(10 * 86400)
        self.happened: list[tuple[str, str, str, int]] = []  # run, key, tool, n: what the tools have really done
        self.expected: list[tuple[str, str, str, int]] = []
        self.calls: dict[tuple[str, str], Call] = {}
        self.questions: dict[str, Question] = {}
        self.stopped: dict[str, str] = {}
        self.held: Counter[str] = Counter()
        self.spent: Counter[str] = Counter()
        self.extra: Counter[str] = Counter()
        self.steps: dict[str, list[Step]] = {run: [] for run in RUNS}
        self.began: Counter[str] = Counter()
        self.switches: dict[tuple[tuple[str, str], ...], str] = {}
        self.ever_killed = False
        self.points = Points(crash)
        self.gateway: Gateway | None = None

    # --- the real one ------------------------------------------------------------------------------------------------

    @initialize()
    def begin(self) -> None:
        self.reopen()

    def reopen(self) -> None:
        """Close the gateway, as it stands, and open the next one on the same ledger."""
        if self.gateway is not None:
            self.gateway.close()
        self.points = Points(crash)
        store, board = self.world.stores()
        config = {**self.world.config(), **CONFIG, "approvals": {"on_reject": self.on_reject}}
        self.gateway = gateway = interlock.open(
            config, store=CrashingStore(store, self.points), board=CrashingBoard(board, self.points), clock=self.clock
        )
        gateway.closing.pop()()  # the watch: here it looks when it is told to
        self.register(gateway)
        self.runs: dict[str, Run] = {run_id: gateway.run(**WHO, run_id=run_id) for run_id in RUNS}

    def register(self, gateway: Gateway) -> None:
        happened, points = self.happened, self.points

        def tool(name: str, **said: Any) -> None:
            def act(n: int, info: CallInfo) -> int:
                if name == "fail":
                    raise NotDone("not today")
                happened.append((info.run_id, info.key, name, n))
                points.reach("effect after")
                if name == "lost":
                    raise ConnectionError("the line is dead")
                return n

            gateway.tool(name, **said)(act)

        tool("pay", effect="write", dedupe="off")
        tool("look", effect="read")
        for name in DEDUPED:
            tool(name, effect="write")

    def teardown(self) -> None:
        if self.gateway is not None:
            self.gateway.close()
        shutil.rmtree(self.place)

    @property
    def gw(self) -> Gateway:
        assert self.gateway is not None
        return self.gateway

    @property
    def now(self) -> float:
        return self.clock.now() / MICROS

    # --- the model ---------------------------------------------------------------------------------------------------

    def others(self, call: Call) -> list[Call]:
        """The same wish under other keys of the run, oldest first."""
        found = [
            each for each in self.calls.values()
            if each.run == call.run and each.key != call.key and each.same_wish(call.tool, call.n)
        ]
        return sorted(found, key=lambda each: (each.at, each.key))

    def alike(self, call: Call, known: Call | None) -> list[Call]:
        """What was performed as this call would be, where people have edited the one or the other."""
        asked = known if known is not None and known.approval else None
        asked = asked or next((each for each in self.others(call) if each.state in ("waiting", "approved")), None)
        question = self.questions.get(asked.approval) if asked is not None else None
        n = call.n if question is None or question.standing not in ("waiting", "approved") else question.n
        if known is not None and known.edited is not None:
            n = known.edited
        mine = [each for each in self.calls.values() if (each.run, each.tool) == (call.run, call.tool)]
        found = [each for each in mine if n != call.n and each.n == n]
        found += [each for each in mine if each.edited == n]
        return [each for each in found if each.key != call.key]

    def killed(self, run: str, tool: str | None) -> str:
        """What the switches say to a call, or to a step: "", "denied" or "stopped"."""
        found = ""
        for scope, mode in self.switches.items():
            named = dict(scope)
            if named.get("run", run) != run or named.get("tool", tool) != tool:
                continue
            if mode == "writes" and tool in ("look", None):
                continue
            if mode == "all" and "tool" not in named:
                return "stopped"
            found = "denied"
        return found

    def stop(self, run: str, reason: str) -> None:
        """The latch; what open steps held is spent."""
        if run not in self.stopped:
            self.stopped[run] = reason
            for _ in self.steps[run]:
                self.end_of_step(run)
            self.steps[run] = []
            for question in self.questions.values():  # nobody is asked for what will not be done
                if question.call.run == run and question.standing == "waiting":
                    question.standing = "withdrawn"

    def end_of_step(self, run: str) -> None:
        self.held[f"{run} steps"] -= 1
        self.spent[f"{run} steps"] += 1

    def hold(self, call: Call, by: int) -> None:
        self.held[call.run] += by
        self.held["month"] += by

    def spend(self, call: Call) -> None:
        self.spent[call.run] += 1
        self.spent["month"] += 1

    def lapse(self) -> None:
        """What has run out by now."""
        for call in self.calls.values():
            if call.state == "leased" and call.until < self.now:
                call.state = "unknown"
                if call.tool == "look":
                    call.state = "lapsed"
                    self.hold(call, -1)
                    self.spend(call)
        for _, question in sorted(self.questions.items(), key=lambda each: (each[1].asked, each[0])):
            if question.standing == "waiting" and question.expires <= self.now:
                self.expire(question)

    def expire(self, question: Question) -> None:
        question.standing = "expired"
        if question.call.state in ("waiting", "approved"):
            question.call.state = "rejected"
        if self.on_reject == "stop":
            self.stop(question.call.run, "approval_expired")

    def predict(self, call: Call, known: Call | None, *, problem: bool) -> tuple[str, bool]:
        """The kind of the outcome, and whether it is a replay; moves the model, up to the effect ("perform")."""
        others = self.others(call)
        for each in [*([known] if known else []), *([] if problem else others)]:
            question = self.questions.get(each.approval)
            if each.state in ("waiting", "approved") and question is not None:
                if question.standing in ("waiting", "approved") and question.expires <= self.now:
                    self.expire(question)
                if question.standing in ("rejected", "expired"):  # whoever shared the question hears the answer
                    each.state = "rejected"
        if known is not None and known.state in ("done", "failed", "unknown", "rejected", "repeated"):
            return self.replay(known)
        if call.tool in DEDUPED and not problem and (known is None or known.state != "lapsed"):
            performed = [*others, *self.alike(call, known)]
            first = next((each for each in performed if each.state in ("done", "unknown")), None)
            if first is not None:
                question = self.questions.get(known.approval) if known is not None else None
                if question is not None and question.standing in ("waiting", "approved"):
                    question.standing = "withdrawn"
                known = self.keep(call, known, "repeated")
                known.of = first
                return self.replay(known)
        return self.weigh(call, known, others, problem=problem)

    def weigh(self, call: Call, known: Call | None, others: list[Call], *, problem: bool) -> tuple[str, bool]:
        run = call.run
        switched = self.killed(run, call.tool)
        poor = self.held[run] + self.spent[run] + 1 > CALLS_OF_A_RUN + self.extra[run]
        month = self.held["month"] + self.spent["month"] + 1 > CALLS_OF_A_MONTH + self.extra["month"]
        if run in self.stopped or switched == "stopped" or poor:
            if not problem:
                self.keep(call, known, "denied")
            self.stop(run, "killed" if switched == "stopped" else "max_tool_calls")
            return "stopped", False
        if problem or switched or month or any(each.state == "rejected" for each in others if not problem):
            if not problem:
                self.keep(call, known, "denied")
            return "denied", False
        if call.tool == "sign":
            asked = known if known is not None and known.approval else None
            asked = asked or next((each for each in others if each.state in ("waiting", "approved")), None)
            question = self.questions.get(asked.approval) if asked is not None else None
            if question is None or question.standing != "approved":
                kept = self.keep(call, known, "waiting")
                shared = asked is not None and question is not None and question.standing == "waiting"
                kept.approval = asked.approval if asked is not None and shared else ""
                return "pending", False
            question.standing = "consumed"
            call.approval = asked.approval if asked else ""
            return f"perform {question.n}", False
        return f"perform {call.n}", False

    def keep(self, call: Call, known: Call | None, state: str) -> Call:
        """The call in the ledger, in its new state; a refusal leaves what is further along where it is."""
        if known is None:
            known = self.calls[call.run, call.key] = call
        if state != "denied" or known.state in ("", "denied"):
            known.state = state
        return known

    def replay(self, known: Call) -> tuple[str, bool]:
        known = known.of or known
        if known.state == "rejected" and self.stopped.get(known.run) in ("approval_rejected", "approval_expired"):
            return "stopped", True
        return SHOWN[known.state], True

    # --- what models and programs do ---------------------------------------------------------------------------------

    @rule(
        run=st.sampled_from(RUNS), key=st.sampled_from(KEYS), tool=st.sampled_from(TOOLS), n=st.integers(0, 1),
        bad=st.sampled_from([False] * 9 + [True]), point=POINT,
    )
    def call_a_tool(self, run: str, key: str, tool: str, n: int, bad: bool, point: str) -> None:
        self.call(run, key, tool, n, bad, point)

    @rule(run=st.sampled_from(RUNS), key=st.sampled_from(KEYS), n=st.integers(0, 1), point=POINT)
    def ask_people(self, run: str, key: str, n: int, point: str) -> None:
        self.call(run, key, "sign", n, False, point)

    @precondition(lambda self: self.calls)
    @rule(data=st.data(), key=st.sampled_from(["", "", "", *KEYS]), point=POINT)
    def call_again(self, data: st.DataObject, key: str, point: str) -> None:
        call = self.calls[data.draw(st.sampled_from(sorted(self.calls)))]
        self.call(call.run, key or call.key, call.tool, call.n, False, point)

    @precondition(lambda self: any(call.edited is not None for call in self.calls.values()))
    @rule(data=st.data(), key=st.sampled_from(KEYS), point=POINT)
    def ask_for_what_was_edited(self, data: st.DataObject, key: str, point: str) -> None:
        """What people have made of one call is wished for by itself."""
        edited = [place for place, call in sorted(self.calls.items()) if call.edited is not None]
        call = self.calls[data.draw(st.sampled_from(edited))]
        self.call(call.run, key, call.tool, call.edited or 0, False, point)

    @precondition(lambda self: any(call.state in OPEN for call in self.calls.values()))
    @rule(data=st.data(), point=POINT)
    def go_on(self, data: st.DataObject, point: str) -> None:
        """What is not at its end goes on; under the key of a refused call comes another wish."""
        places = [place for place, call in sorted(self.calls.items()) if call.state in OPEN]
        call = self.calls[data.draw(st.sampled_from(places))]
        n = 1 - call.n if call.state == "denied" else call.n
        self.call(call.run, call.key, call.tool, n, False, point)

    @rule(run=st.sampled_from(RUNS), key=st.sampled_from(KEYS), point=st.sampled_from(CRASHES[1:3]))
    def die_reading(self, run: str, key: str, point: str) -> None:
        self.call(run, key, "look", 0, False, point)

    def call(self, run: str, key: str, tool: str, n: int, bad: bool, point: str) -> None:
        """One call, predicted; a crash on its road, where there is a point."""
        call, known = Call(run, key, tool, n, self.now), self.calls.get((run, key))
        if known is not None and known.state == "denied" and (bad or not known.same_wish(tool, n)):
            known = None  # a refused call's key is free for another wish
        concerned = [*self.others(call), *self.alike(call, known), *([known] if known else [])]
        if any(each.state == "leased" for each in concerned):
            return  # it would wait for the lease, which here only runs out when the clock is told so
        args = {"n": "many"} if bad else {"n": n}
        if known is not None and (bad or not known.same_wish(tool, n)):
            with pytest.raises(KeyReused):
                self.runs[run].call(tool, args, call_id=key)
            return
        kind, replayed = self.predict(call, known, problem=bad)
        if not kind.startswith("perform"):
            out = self.runs[run].call(tool, args, call_id=key)
            replayed_too = kind == "stopped" or out.replayed == replayed  # a stop is a stop
            assert out.kind == kind, (kind, replayed, out)
            assert replayed_too, (kind, replayed, out)
            if kind == "pending":
                kept = self.calls[run, key]
                assert out.approval_id
                assert kept.approval in ("", out.approval_id)
                kept.approval = out.approval_id
                self.questions.setdefault(out.approval_id, Question(kept, self.now))
            return
        self.perform(call, known, int(kind.split()[1]), args, point)

    def perform(self, call: Call, known: Call | None, n: int, args: dict[str, Any], point: str) -> None:
        if point == "effect after" and call.tool == "fail":
            point = ""
        if point == "transaction 1 inside" and call.approval:
            self.questions[call.approval].standing = "approved"  # nothing of it has landed
        if point != "transaction 1 inside":
            approval = call.approval
            call = self.keep(call, known, "leased")
            call.approval, call.until = approval, self.now + LEASE
            call.edited = n if n != call.n else call.edited
            self.hold(call, 1)
        happens = point in ("", "effect after", "transaction 2 after") and call.tool != "fail"
        if happens:
            self.expected.append((call.run, call.key, call.tool, n))
        if point:
            self.points.arm(point)
            with pytest.raises(Crash):
                self.runs[call.run].call(call.tool, args, call_id=call.key)
        else:
            out = self.runs[call.run].call(call.tool, args, call_id=call.key)
            assert (out.kind, out.replayed) == (PERFORMED[call.tool], False), out.text
            assert out.value == (n if out.kind == "done" else None)
        if point in ("", "transaction 2 after"):
            call.state = PERFORMED[call.tool]
            if call.state != "unknown":
                self.hold(call, -1)
                self.spend(call)
        if point:
            self.reopen()

    @rule(run=st.sampled_from(RUNS), wanted=st.booleans())
    def begin_step(self, run: str, wanted: bool) -> None:
        if not wanted:
            return
        switched = self.killed(run, None)
        full = self.began[run] + 1 > STEPS_OF_A_RUN + self.extra[f"{run} steps"]
        if run in self.stopped or switched == "stopped" or full:
            self.stop(run, "killed" if switched == "stopped" else "max_steps")
            with pytest.raises(RunStopped):
                self.runs[run].begin_step("m")
            return
        self.steps[run].append(self.runs[run].begin_step("m"))
        self.began[run] += 1
        self.held[f"{run} steps"] += 1

    @rule(run=st.sampled_from(RUNS), twice=st.booleans())
    def end_step(self, run: str, twice: bool) -> None:
        if self.steps[run]:
            step = self.steps[run].pop(0)
            for _ in range(1 + twice):
                self.runs[run].end_step(step)
            self.end_of_step(run)

    @rule(run=st.sampled_from(RUNS), really=RARELY)
    def stop_a_run(self, run: str, really: bool) -> None:
        if really:
            self.runs[run].stop("cancelled")
            self.stop(run, "cancelled")

    @rule()
    def restart(self) -> None:
        self.reopen()

    # --- what people do ----------------------------------------------------------------------------------------------

    @precondition(lambda self: self.questions)
    @rule(data=st.data(), yes=st.booleans(), edit=st.sampled_from([None, None, 0, 1, 7]))
    def answer(self, data: st.DataObject, yes: bool, edit: int | None) -> None:
        approval_id = list(self.questions)[data.draw(st.integers(0, len(self.questions) - 1))]  # the ids are random
        question = self.questions[approval_id]
        call, control = question.call, self.gw.control
        if question.standing != "waiting" or self.killed(call.run, "sign"):
            with pytest.raises(Refused):
                control.approve(approval_id, by="ann") if yes else control.reject(approval_id, by="ann")
            return
        if yes:
            control.approve(approval_id, by="ann", args=None if edit is None else {"n": edit})
            question.standing, question.expires = "approved", self.now + EXPIRES
            question.n = call.n if edit is None else edit
            if call.state == "waiting":
                call.state = "approved"
            return
        control.reject(approval_id, by="ann")
        question.standing = "rejected"
        if call.state == "waiting":
            call.state = "rejected"
        if self.on_reject == "stop":
            self.stop(call.run, "approval_rejected")

    @rule(narrow=st.sampled_from(NARROW), broad=st.sampled_from(BROAD), everything=RARELY, really=RARELY)
    def kill(self, narrow: dict[str, str], broad: dict[str, str], everything: bool, really: bool) -> None:
        scope = broad if everything or really else narrow
        mode = "all" if really else "writes"
        self.gw.control.kill(**scope, mode=mode, reason="drill", by="ann")
        if self.switches.get(tuple(scope.items())) != "all":  # of two modes the stricter stays
            self.switches[tuple(scope.items())] = mode
        self.ever_killed = True

    @precondition(lambda self: self.switches)
    @rule(data=st.data())
    def release(self, data: st.DataObject) -> None:
        scope = data.draw(st.sampled_from(sorted(self.switches)))
        self.gw.control.release(**dict(scope), by="ann")
        del self.switches[scope]

    @rule(happened=st.booleans(), number=st.integers(0, 20))
    def reconcile(self, happened: bool, number: int) -> None:
        unknown = [call for call in self.calls.values() if call.state == "unknown"]
        if not unknown:
            return
        call = unknown[number % len(unknown)]
        self.gw.control.reconcile(tenant=TENANT, run_id=call.run, call_id=call.key, happened=happened, by="ann")
        call.state = "done" if happened else "failed"
        self.hold(call, -1)
        if happened:
            self.spend(call)

    @rule(run=st.sampled_from([*RUNS, "month"]), more=st.integers(1, 3), steps=st.booleans())
    def top_up(self, run: str, more: int, steps: bool) -> None:
        if run == "month":
            self.gw.control.top_up(tenant=TENANT, window="month", tool_calls=more, by="ann")
        elif steps:
            self.gw.control.top_up(tenant=TENANT, run_id=run, steps=more, by="ann")
        else:
            self.gw.control.top_up(tenant=TENANT, run_id=run, tool_calls=more, by="ann")
        self.extra[f"{run} steps" if steps and run != "month" else run] += more

    # --- what time does ----------------------------------------------------------------------------------------------

    @rule(seconds=st.sampled_from([0.000123, 1.7, 5.3, 12.9, 400.1, 1900.7, 3700.9, 8000.3]))
    def wait(self, seconds: float) -> None:
        for question in self.questions.values():
            if self.killed(question.call.run, "sign"):
                question.expires += seconds  # its clock stands still too
        self.clock.advance(seconds)
        self.lapse()
        Watch(self.gw).sweep()

    @precondition(lambda self: not self.ever_killed)
    @rule(seconds=st.sampled_from([0.3, 3.1, 700.0]))
    def clock_is_set_back(self, seconds: float) -> None:
        self.clock.advance(-seconds)
        Watch(self.gw).sweep()

    # --- what holds after each step ----------------------------------------------------------------------------------

    @invariant()
    def the_effects_are_those_predicted_and_no_write_happens_twice(self) -> None:
        assert self.happened == self.expected
        writes = Counter(each[:2] for each in self.happened if each[2] != "look")
        assert not [each for each, times in writes.items() if times > 1]

    @invariant()
    def the_books_are_right(self) -> None:
        if self.gateway is None:
            return
        found: Counter[str] = Counter()
        for key, account in self.gw.store.accounts(TENANT):
            name = "month" if key.window == "month" else key.subject
            found[f"{name} held"], found[f"{name} spent"] = account.held.tool_calls, account.spent.tool_calls
            found[f"{name} steps held"], found[f"{name} steps spent"] = account.held.steps, account.spent.steps
        for name in (*RUNS, "month", *(f"{run} steps" for run in RUNS)):
            assert (found[f"{name} held"], found[f"{name} spent"]) == (self.held[name], self.spent[name]), name

    @invariant()
    def calls_approvals_and_latches_stand_as_predicted(self) -> None:
        if self.gateway is None:
            return
        found = {(each.call.run_id, each.call.key): str(each.state) for each in records(self.gw)}
        assert found == {place: call.state for place, call in self.calls.items()}
        standings = {each.approval_id: str(each.standing) for each in self.gw.control.approvals(waiting=False)}
        assert standings == {name: question.standing for name, question in self.questions.items()}
        for run in RUNS:
            assert self.runs[run].stop_reason == self.stopped.get(run)

    @invariant()
    def the_audit_verifies(self) -> None:
        if self.gateway is not None:
            assert self.gw.audit.verify(TENANT).ok


@pytest.mark.parametrize("on_reject", ["deny", "stop"])
@pytest.mark.parametrize(("kind", "examples"), [("memory", 120), ("sqlite", 25)])
def test_the_ledger_does_what_the_model_says(kind: str, examples: int, on_reject: str) -> None:
    machine = type("Machine", (Machine,), {"kind": kind, "on_reject": on_reject})
    run_state_machine_as_test(
        machine,
        settings=settings(
            # shown as it was found: to shrink one of these takes longer than a run of all tests
            phases=(Phase.explicit, Phase.generate), max_examples=examples, stateful_step_count=40, deadline=None,
            derandomize=True, print_blob=False, suppress_health_check=list(HealthCheck), database=None,
        ),
    )
