"""The plain loop: governed on both planes, and taken up again after a pause or a death with nothing done twice."""

import json
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest

import interlock
from interlock import ConfigError, Gateway, LedgerUnavailable, NotDone, Run, StopReason, Usage
from interlock.adapters.plain import Call, Message, Model, Result, Turn, drive
from interlock.assemble import SystemClock
from interlock.core.call import MICROS
from interlock.scripted import script
from interlock.stores.memory import MemoryStore, MemorySwitchBoard
from interlock.testing import ManualClock
from interlock.unit import Unit

CONFIG: Mapping[str, Any] = {
    "ledger": "memory:",
    "policy": {"allow": ["look", "note", "shaky"]},
    "approvals": {"required_for": ["pay"]},
    "prices": {"m": {"input": 1.0, "output": 1.0}},
}
USAGE = Usage(input_tokens=100, output_tokens=50)


class Crash(BaseException):
    """The end of the process, as far as one that lives on can have it."""


class Desk:
    """A gateway on a memory ledger, and what its tools have done."""

    def __init__(self, config: Mapping[str, Any] = CONFIG, store: MemoryStore | None = None) -> None:
        self.clock = ManualClock()
        self.store = store or MemoryStore()
        self.board = MemorySwitchBoard()
        self.config = config
        self.done: list[str] = []
        self.gateways: list[Gateway] = []
        self.gateway = self.open()

    def open(self) -> Gateway:
        """A gateway as another process would open it on the same ledger."""
        gateway = interlock.open(self.config, store=self.store, board=self.board, clock=self.clock)
        self.gateways.append(gateway)

        @gateway.tool("look", effect="read")
        def look(at: int) -> int:
            self.done.append(f"look {at}")
            return at

        @gateway.tool("note", effect="write")
        def note(text: str) -> str:
            self.done.append(f"note {text}")
            return f"noted {text}"

        @gateway.tool("pay", effect="irreversible")
        def pay(amount: float | None) -> str:
            self.done.append(f"pay {amount}")
            return "paid"

        @gateway.tool("shaky", effect="write")
        def shaky(how: str) -> None:
            self.done.append(f"shaky {how}")
            if how == "nothing happened":
                raise NotDone("the line was busy")
            if how == "interrupted":
                raise KeyboardInterrupt
            if how == "slow":
                self.clock.advance(1000)
            raise OSError("the line went dead")

        return gateway

    def run(self, run_id: str = "r1", gateway: Gateway | None = None) -> Run:
        return (gateway or self.gateway).run(agent="bot", tenant="acme", env="test", request="do it", run_id=run_id)

    def drive(self, *lines: Any, usage: Usage | None = USAGE, **how: Any) -> Result:
        how = {"model_name": "m", "max_output_tokens": 100, **how}
        return drive(self.run(), script(*lines, usage=usage), "do it", **how)

    def answers(self, result: Result, *, yes: bool) -> None:
        assert result.report is not None
        for approval_id in result.report.pending:
            (self.gateway.control.approve if yes else self.gateway.control.reject)(approval_id, by="joe", note="so")

    def states(self) -> dict[str, str]:
        return {record.call.call_id: str(record.state) for record in self.store.calls_of("acme", "r1")}


@pytest.fixture
def desks() -> Iterator[Callable[..., Desk]]:
    made: list[Desk] = []

    def desk(store: MemoryStore | None = None, **changes: Any) -> Desk:
        made.append(Desk({**CONFIG, **changes}, store))
        return made[-1]

    yield desk
    for each in made:
        for gateway in each.gateways:
            gateway.close()


@pytest.fixture
def desk(desks: Callable[..., Desk]) -> Desk:
    return desks()


PAY = Call("pay", {"amount": 5.0}, "c-pay")
LOOK = Call("look", {"at": 1}, "c-look")
NOTE = Call("note", {"text": "a"}, "c-note")


def told(result: Result) -> dict[str, str]:
    """What the model was told of each call, as it was saved."""
    assert result.saved is not None
    messages = json.loads(result.saved)["messages"]
    return {each["call_id"]: each["content"] for each in messages if each["role"] == "tool"}


def hearing(*lines: Any) -> tuple[Model, list[Sequence[Message]]]:
    """A script, and the conversations that it was shown."""
    said, heard = script(*lines, usage=USAGE), list[Sequence[Message]]()

    def model(messages: Sequence[Message]) -> Turn:
        heard.append(messages)
        return said(messages)

    return model, heard


# --- the way through --------------------------------------------------------------------------------------------------


def test_a_text_without_calls_completes_the_run(desk: Desk) -> None:
    result = desk.drive(LOOK, "it is 1")
    assert (result.status, result.output, result.saved) == ("completed", "it is 1", None)
    assert result.report is not None
    assert (result.report.steps.used, result.report.tool_calls.used, result.report.steps.held) == (2, 1, 0)
    assert result.report.usd.used == pytest.approx(0.0003)


def test_the_model_is_shown_what_every_call_came_to(desk: Desk) -> None:
    calls = [
        LOOK,
        Call("look", {"at": "one"}, "bad-args"),
        Call("delete", {}, "no-tool"),
        Call("shaky", {"how": "x"}, "unknown"),
        Call("shaky", {"how": "nothing happened"}, "failed"),
    ]
    model, heard = hearing(calls, "done")
    assert drive(desk.run(), model, "do it").status == "completed"
    answers = {message.call_id: message.content for message in heard[-1] if message.role == "tool"}
    assert list(answers) == [call.id for call in calls]
    assert answers["c-look"] == "1"
    assert answers["bad-args"].startswith("NOT DONE: look was refused: look: 'at' must be an integer")
    assert answers["no-tool"].startswith("NOT DONE: delete was refused")
    assert answers["unknown"].startswith("UNKNOWN: ")
    assert answers["failed"].startswith("FAILED: ")


def test_siblings_of_a_pending_call_run_before_the_loop_is_left(desk: Desk) -> None:
    result = desk.drive([PAY, LOOK, Call("look", {}, "bad")], "done")
    assert (result.status, result.output, desk.done) == ("paused", None, ["look 1"])
    assert sorted(told(result)) == ["bad", "c-look"]
    desk.clock.advance(3000)  # the run's clock stands still while it waits for people
    desk.answers(result, yes=True)
    result = desk.drive([PAY, LOOK, Call("look", {}, "bad")], "done", saved=result.saved)
    assert (result.status, result.output, desk.done) == ("completed", "done", ["look 1", "pay 5.0"])
    assert result.report is not None
    assert result.report.denials == 1  # the bad one was not sent again


def test_a_run_that_waits_may_be_driven_again_before_the_answer(desk: Desk) -> None:
    first = desk.drive([PAY, LOOK], "done")
    again = desk.drive([PAY, LOOK], "done", saved=first.saved)
    assert (again.status, again.saved, desk.done) == ("paused", first.saved, ["look 1"])


def test_a_rejection_is_told_to_the_model(desk: Desk) -> None:
    result = desk.drive(PAY, "then not")
    desk.answers(result, yes=False)
    model, heard = hearing(PAY, "then not")
    result = drive(desk.run(), model, saved=result.saved)
    assert (result.status, result.output, desk.done) == ("completed", "then not", [])
    assert heard[-1][-1].content.startswith("NOT DONE: a person refused pay: rejected by joe: so")


def test_a_rejection_may_stop_the_run(desks: Callable[..., Desk]) -> None:
    desk = desks(approvals={"required_for": ["pay"], "on_reject": "stop"})
    result = desk.drive(PAY, "never said")
    desk.answers(result, yes=False)
    result = desk.drive(PAY, "never said", saved=result.saved)
    assert (result.status, result.stop_reason, result.saved) == ("stopped", "approval_rejected", None)


def test_two_questions_of_one_turn_may_be_answered_one_by_one(desk: Desk) -> None:
    lines = ([PAY, Call("pay", {"amount": 7.0}, "c-other")], "done")
    result = desk.drive(*lines)
    asked = {approval.call_id: approval.approval_id for approval in desk.gateway.control.approvals("acme")}
    desk.gateway.control.approve(asked["c-other"], by="joe")
    result = desk.drive(*lines, saved=result.saved)
    assert (result.status, desk.done) == ("paused", ["pay 7.0"])
    desk.answers(result, yes=True)
    result = desk.drive(*lines, saved=result.saved)
    assert (result.status, desk.done) == ("completed", ["pay 7.0", "pay 5.0"])


def test_what_was_saved_may_be_taken_up_twice(desk: Desk) -> None:
    paused = desk.drive([PAY, NOTE], LOOK, "done")
    desk.answers(paused, yes=True)
    first = desk.drive([PAY, NOTE], LOOK, "done", saved=paused.saved)
    second = desk.drive([PAY, NOTE], LOOK, "done", saved=paused.saved)
    assert (first.status, second.status, second.stop_reason) == ("completed", "completed", StopReason.COMPLETED)
    assert sorted(desk.done) == ["look 1", "note a", "pay 5.0"]


def test_two_loops_that_drive_the_same_run_do_nothing_twice(desk: Desk) -> None:
    paused = desk.drive([PAY, NOTE], "done")
    desk.answers(paused, yes=True)
    how = {"args": ([PAY, NOTE], "done"), "kwargs": {"saved": paused.saved}}
    loops = [threading.Thread(target=desk.drive, **how) for _ in range(2)]  # type: ignore[arg-type]
    for loop in loops:
        loop.start()
    for loop in loops:
        loop.join()
    assert sorted(desk.done) == ["note a", "pay 5.0"]


# --- what a model may get wrong ---------------------------------------------------------------------------------------


def test_calls_that_share_an_id_are_calls_of_their_own(desk: Desk) -> None:
    calls = [Call("look", {"at": at}, name) for at, name in ((1, "a~3"), (2, "a"), (3, "a"), (4, ""))]
    model, heard = hearing(calls, [Call("look", {"at": 5}, "")], "done")
    assert drive(desk.run(), model, "do it").status == "completed"
    assert desk.done == [f"look {at}" for at in range(1, 6)]
    ids = [call.id for message in heard[-1] for call in message.calls]
    assert ids[:2] == ["a~3", "a"]
    assert len(set(ids)) == 5
    assert [message.call_id for message in heard[-1] if message.role == "tool"] == ids


def test_a_name_that_cannot_be_one_is_told_to_the_model(desk: Desk) -> None:
    model, heard = hearing([Call("lo\nok", {}, "c1"), Call("look", {"at": 1}, "c" * 300)], "done")
    assert drive(desk.run(), model, "do it").status == "completed"
    assert [message.content[:8] for message in heard[-1] if message.role == "tool"] == ["NOT DONE", "NOT DONE"]


def test_nan_stays_nan_when_it_is_saved(desk: Desk) -> None:
    result = desk.drive([PAY, Call("pay", {"amount": float("nan")}, "nan")], "done")
    assert told(result)["nan"].startswith("NOT DONE")
    assert "NaN" in (result.saved or "")


@pytest.mark.parametrize(
    "line",
    [
        ValueError("no quota"),
        Turn(text=5),  # type: ignore[arg-type]
        Turn(calls=(Call("look", {"at": object()}),)),
        Turn(calls=(Call("look", ["at"]),)),  # type: ignore[arg-type]
    ],
    ids=["raises", "text", "arguments", "list"],
)
@pytest.mark.parametrize("budgets", [{}, {"max_usd": 1.0}], ids=["", "usd"])
def test_a_model_that_fails_stops_the_run(desks: Callable[..., Desk], line: Any, budgets: Any) -> None:
    desk = desks(budgets=budgets)
    result = desk.drive(LOOK, line)
    assert (result.status, result.stop_reason, result.output, result.saved) == ("failed", "model_error", None, None)
    assert result.report is not None
    assert result.report.detail
    assert (result.report.usd.held, result.report.steps.held) == (0, 0)


def test_a_model_that_returns_something_else_stops_the_run(desk: Desk) -> None:
    result = drive(desk.run(), lambda _: "hello", "do it")  # type: ignore[arg-type,return-value]
    assert result.stop_reason == "model_error"


# --- budgets and stops ------------------------------------------------------------------------------------------------


def looks(count: int) -> list[Call]:
    return [Call("look", {"at": at}, f"c{at}") for at in range(count)]


@pytest.mark.parametrize(
    ("budgets", "lines", "reason", "done"),
    [
        ({"max_steps": 2}, looks(5), "max_steps", 2),
        ({"max_tool_calls": 2}, [looks(5)], "max_tool_calls", 2),
        ({"max_usd": 0.0002}, looks(5), "max_usd", 1),
        ({"max_tokens": 290}, looks(5), "max_tokens", 2),
        ({"max_denials": 2}, [[Call("no", {"n": n}, f"n{n}") for n in range(4)], *looks(1)], "max_denials", 0),
        ({"max_repeats": 2}, [Call("look", {"at": 0}, f"c{n}") for n in range(5)], "loop_detected", 2),
        ({"max_seconds": 900}, [Call("shaky", {"how": "slow"}), LOOK], "max_seconds", 1),
    ],
    ids=lambda value: next(iter(value)) if isinstance(value, dict) else "",
)
def test_a_budget_ends_the_loop(
    desks: Callable[..., Desk], budgets: Any, lines: list[Any], reason: str, done: int
) -> None:
    desk = desks(budgets=budgets)
    result = desk.drive(*lines, "never said")
    assert (result.status, result.stop_reason, result.saved) == ("stopped", reason, None)
    assert len(desk.done) == done
    assert result.report is not None
    assert result.report.texts is not None
    assert (result.report.usd.held, result.report.steps.held) == (0, 0)
    for used in (result.report.steps, result.report.tool_calls):
        assert used.limit is None or used.used <= used.limit


@pytest.mark.parametrize(
    ("usage", "how"),
    [(None, {}), (USAGE, {"model_name": "nobody-knows-it"}), (USAGE, {"max_output_tokens": None})],
    ids=["usage", "price", "worst case"],
)
def test_where_dollars_count_a_turn_that_cannot_be_priced_stops_the_run(
    desks: Callable[..., Desk], usage: Usage | None, how: dict[str, Any]
) -> None:
    desk = desks(budgets={"max_usd": 1.0})
    result = desk.drive(NOTE, "done", usage=usage, **how)
    assert (result.status, result.stop_reason, desk.done) == ("stopped", "unpriced", [])


def test_a_missing_usage_is_no_matter_where_no_dollars_count(desk: Desk) -> None:
    assert desk.drive(NOTE, "done", usage=None).status == "completed"


def test_a_kill_in_the_middle_ends_the_loop(desk: Desk) -> None:
    said = script([NOTE, LOOK], "done")

    def model(messages: Sequence[Message]) -> Turn:
        desk.gateway.control.kill(tenant="acme", reason="incident 7", by="oncall")
        return said(messages)

    result = drive(desk.run(), model, "do it")
    assert (result.status, result.stop_reason, desk.done) == ("stopped", "killed", [])


def test_ctrl_c_cancels_the_run_and_is_passed_on(desks: Callable[..., Desk]) -> None:
    for line in (KeyboardInterrupt(), Call("shaky", {"how": "interrupted"})):
        desk = desks(budgets={"max_usd": 1.0})
        with pytest.raises(KeyboardInterrupt):
            desk.drive(line, "never said")
        report = desk.run().report()
        assert (report.status, report.stop_reason) == ("stopped", "cancelled")
        assert report.usd.held == 0


# --- what was saved ---------------------------------------------------------------------------------------------------


def test_what_save_raises_is_passed_on_before_any_call(desk: Desk) -> None:
    def save(text: str) -> None:
        raise OSError("the disk is full")

    with pytest.raises(OSError, match="the disk is full"):
        desk.drive(NOTE, "done", save=save)
    assert desk.done == []


def test_save_is_handed_every_turn_before_its_calls(desk: Desk) -> None:
    saved: list[str] = []
    seen: list[int] = []

    def save(text: str) -> None:
        saved.append(text)
        seen.append(len(desk.done))

    assert desk.drive(NOTE, LOOK, "done", save=save).status == "completed"
    assert seen == [0, 1, 2]


@pytest.mark.parametrize("saved", ["", "{}", "[1]", "hello", '{"interlock_plain": 2, "tenant": "acme"}'])
def test_a_text_that_was_not_saved_by_drive_is_refused(desk: Desk, saved: str) -> None:
    with pytest.raises(ConfigError, match="saved="):
        desk.drive("done", saved=saved)


def test_the_conversation_of_another_run_is_refused(desk: Desk) -> None:
    result = desk.drive(PAY, "done")
    with pytest.raises(ConfigError, match="is of run 'r1' of tenant 'acme'"):
        drive(desk.run("r2"), script("done"), saved=result.saved)


class Failing(MemoryStore):
    """A ledger that fails from the nth transaction of the main thread on, or dies there, before or after it landed."""

    def __init__(self) -> None:
        super().__init__()
        self.left: int | None = None
        self.error: BaseException = Crash()
        self.late = False

    def transact(self, units: Sequence[Unit[Any]], *, wait: bool = True) -> list[Any]:
        if self.left is None or threading.current_thread() is not threading.main_thread():
            return super().transact(units, wait=wait)
        self.left -= 1
        if self.left < 0 and isinstance(self.error, LedgerUnavailable):
            raise self.error
        if self.left == 0:
            if self.late:
                super().transact(units)
            raise self.error
        return super().transact(units, wait=wait)


def test_a_ledger_that_is_gone_gives_an_honest_result(desks: Callable[..., Desk]) -> None:
    store = Failing()
    desk = desks(store)
    store.error = LedgerUnavailable("the disk is gone")

    def model(messages: Sequence[Message]) -> Turn:
        store.left = 1  # the end of the step still lands
        return script(NOTE, "done", usage=USAGE)(messages)

    result = drive(desk.run(), model, "do it")
    assert (result.status, result.stop_reason, result.report) == ("failed", "ledger_unavailable", None)
    assert (result.trouble, desk.done) == ("the disk is gone", [])
    store.left = None
    result = desk.drive(NOTE, "done", saved=result.saved)
    assert (result.status, desk.done) == ("completed", ["note a"])


# --- deaths -----------------------------------------------------------------------------------------------------------

STORY = ([LOOK, NOTE], Call("note", {"text": "b"}, "c-note-b"), "done")
EFFECTS = ["note a", "note b"]


def writes(done: Sequence[str]) -> list[str]:
    return [each for each in done if each.startswith("note")]


@pytest.mark.parametrize("late", [False, True], ids=["before", "after"])
def test_a_crash_at_any_transaction_does_nothing_twice(desks: Callable[..., Desk], late: bool) -> None:
    for place in range(1, 100):
        store = Failing()
        desk = desks(store)
        run, saved = desk.run(), list[str]()
        store.left, store.late = place, late
        try:
            drive(run, script(*STORY, usage=USAGE), "do it", save=saved.append)
            break
        except Crash:
            store.left = None
        desk.clock.advance(60)  # past every lease
        again = drive(
            desk.run(gateway=desk.open()), script(*STORY, usage=USAGE), "do it", saved=saved[-1] if saved else None
        )
        assert (place, again.status) == (place, "completed")
        # what died between its two transactions is unknown, whether it had happened or not; nothing happens twice
        unknown = {call_id for call_id, state in desk.states().items() if state != "done"}
        assert unknown <= {"c-note", "c-note-b"}
        assert len(unknown) <= 1
        assert writes(desk.done) == EFFECTS or (unknown and writes(desk.done) in (EFFECTS[:1], EFFECTS[1:]))
        assert again.report is not None
        assert again.report.tool_calls.used + again.report.tool_calls.held <= 4  # a look that died may be made again
    else:
        pytest.fail("the story has no end")
    assert place > 12


@pytest.mark.parametrize("place", range(1, 7))
def test_a_crash_of_model_or_save_does_nothing_twice(desk: Desk, place: int) -> None:
    left, saved = place, list[str]()

    def count() -> None:
        nonlocal left
        left -= 1
        if left == 0:
            raise Crash

    def model(messages: Sequence[Message]) -> Turn:
        count()
        return script(*STORY, usage=USAGE)(messages)

    def save(text: str) -> None:
        count()
        saved.append(text)

    with pytest.raises(Crash):
        drive(desk.run(), model, "do it", save=save)
    result = drive(
        desk.run(gateway=desk.open()), model, "do it", saved=saved[-1] if saved else None, save=save
    )
    assert (result.status, writes(desk.done)) == ("completed", EFFECTS)


MORTAL = """
import os, signal, sys
from pathlib import Path
import interlock
from interlock.adapters.plain import Call, drive
from interlock.scripted import script

point, folder = sys.argv[1], Path(sys.argv[2])

def reached(name):
    with (folder / "points").open("a") as file:
        file.write(name + "\\n")
    if name == point:
        os.kill(os.getpid(), signal.SIGKILL)

gateway = interlock.open(folder / "interlock.yaml")

@gateway.tool("note", effect="write")
def note(text: str) -> str:
    reached("before " + text)
    with (folder / "notes").open("a") as file:
        file.write(text + "\\n")
    reached("after " + text)
    return text

said = script(Call("note", {"text": "a"}, "c1"), Call("note", {"text": "b"}, "c2"), "done")

def model(messages):
    turn = said(messages)
    reached(f"model {len(messages)}")
    return turn

def save(text):
    reached(f"save {len(text)}"[:6])
    (folder / "saved").write_text(text)
    reached("saved")

run = gateway.run(agent="bot", tenant="acme", env="test", run_id="r1")
drive(run, model, "do it", save=save)
gateway.close()
"""


class Later(SystemClock):
    """The machine's clock, a while later: the leases of the dead have run out."""

    def now(self) -> int:
        return super().now() + 60 * MICROS


@pytest.mark.parametrize(
    "point", ["model 1", "saved", "before a", "after a", "model 3", "before b", "after b", "model 5"]
)
def test_a_loop_that_is_shot_is_taken_up_again(tmp_path: Path, point: str) -> None:
    (tmp_path / "interlock.yaml").write_text("policy: {allow: [note]}\n", "utf-8")
    dead = subprocess.run([sys.executable, "-c", MORTAL, point, str(tmp_path)], check=False, timeout=60)
    assert dead.returncode == -signal.SIGKILL
    saved, notes = tmp_path / "saved", tmp_path / "notes"
    with interlock.open(tmp_path / "interlock.yaml", clock=Later()) as gateway:

        @gateway.tool("note", effect="write")
        def note(text: str) -> str:
            with notes.open("a") as file:
                file.write(text + "\n")
            return text

        run = gateway.run(agent="bot", tenant="acme", env="test", run_id="r1")
        said = script(Call("note", {"text": "a"}, "c1"), Call("note", {"text": "b"}, "c2"), "done")
        result = drive(run, said, "do it", saved=saved.read_text() if saved.exists() else None)
        assert result.status == "completed"
        assert gateway.audit.verify("acme").ok
    written = notes.read_text().split()
    # what died right before its effect is unknown, and is left to a person; nothing is ever written twice
    assert written == {"before a": ["b"], "before b": ["a"]}.get(point, ["a", "b"])


# --- scripts ----------------------------------------------------------------------------------------------------------


def test_a_script_reads_its_place_off_the_conversation() -> None:
    model = script("one", "two")
    assert model([Message("user", "go")]).text == "one"
    assert model([Message("user", "go"), Message("assistant", "one")]).text == "two"
    with pytest.raises(AssertionError, match="2 lines"):
        model([Message("assistant", "one"), Message("assistant", "two")])
