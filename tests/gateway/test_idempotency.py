"""A call's key and fingerprint: an effect happens once, and whoever asks again is told what became of it."""

import asyncio
import threading
from concurrent.futures import ThreadPoolExecutor

import pytest

import interlock

N = 40


def counted(gw, name="mail.send", result=lambda n: n, **said):
    """A tool that counts its performances."""
    did, lock = [], threading.Lock()

    @gw.tool(name, **{"effect": "write", **said})
    def perform(to: str = "a@example.org", n: int = 0):
        with lock:
            did.append((to, n))
            return result(len(did))

    return did


def lost(_n):
    raise ConnectionError("lost")


def test_the_same_key_with_the_same_arguments_is_answered_from_the_record(gw, start):
    did, run = counted(gw), start(gw)
    first = run.call("mail.send", {"to": "a", "n": 1}, call_id="c1")
    second = run.call("mail.send", {"n": 1, "to": "a"}, call_id="c1")
    assert (first.value, second.value, second.replayed, len(did)) == (1, 1, True, 1)
    assert run.report().tool_calls.used == 1


@pytest.mark.parametrize("change", [{"args": {"to": "b"}}, {"args": {"n": 1.5}}, {"args": {}}, {"tool": "mail.other"}])
def test_the_same_key_for_another_wish_is_a_mistake_and_never_a_hit(gw, start, change):
    did, other, run = counted(gw), counted(gw, "mail.other"), start(gw)
    run.call("mail.send", {"to": "a"}, call_id="c1")
    with pytest.raises(interlock.KeyReused):
        run.call(change.get("tool", "mail.send"), change.get("args", {"to": "a"}), call_id="c1")
    assert (len(did), other) == (1, [])


def test_a_refused_call_does_not_lend_its_arguments_to_the_next_under_its_key(house, start):
    rule = {"id": "few", "tools": ["mail.send"], "when": "args.n > 10", "then": "deny"}
    gw = house.open({"policy": {"allow": ["*"], "rules": [rule]}})
    did, run = counted(gw), start(gw)
    assert run.call("mail.send", {"n": 1000}, call_id="c1").kind == "denied"
    try:
        out = run.call("mail.send", {"n": 1}, call_id="c1")
        assert out.kind == "done"
    except interlock.KeyReused:
        pass
    assert ("a@example.org", 1000) not in did
    assert [n for _, n in did] in ([], [1])


def test_an_explicit_key_goes_before_the_call_id(gw, start):
    did, run = counted(gw, dedupe="off"), start(gw)
    first = run.call("mail.send", {}, call_id="c1", idempotency_key="k")
    second = run.call("mail.send", {}, call_id="c2", idempotency_key="k")
    third = run.call("mail.send", {}, call_id="c1", idempotency_key="other")
    assert (first.replayed, second.replayed, third.replayed, len(did)) == (False, True, False, 2)
    assert (second.call_id, second.value) == ("c2", 1)


@pytest.mark.parametrize("keys", ["one key", "many keys"])
@pytest.mark.parametrize("callers", ["threads", "tasks"])
@pytest.mark.parametrize("kind", ["sync", "async"])
def test_concurrent_duplicates_perform_once_and_all_get_the_outcome(gw, start, callers, keys, kind):
    did, begun, go = [], threading.Event(), threading.Event()
    if kind == "sync":

        @gw.tool("mail.send", effect="write")
        def send() -> str:
            did.append(1)
            begun.set()
            go.wait(10)
            return "sent"
    else:

        @gw.tool("mail.send", effect="write")
        async def send() -> str:
            did.append(1)
            begun.set()
            await asyncio.to_thread(go.wait, 10)
            return "sent"

    run = start(gw, budgets={"max_repeats": 1000})
    names = ["c" if keys == "one key" else f"c{n}" for n in range(N)]
    threading.Thread(target=lambda: (begun.wait(10), go.set()), daemon=True).start()
    if callers == "threads":
        with ThreadPoolExecutor(N) as pool:
            outs = list(pool.map(lambda name: run.call("mail.send", {}, call_id=name), names))
    else:

        async def main():
            return await asyncio.gather(*(run.acall("mail.send", {}, call_id=name) for name in names))

        outs = asyncio.run(main())
    assert len(did) == 1
    assert {(out.kind, out.value) for out in outs} == {("done", "sent")}
    assert sum(not out.replayed for out in outs) == 1
    assert [out.call_id for out in outs] == names
    assert run.report().tool_calls.used == 1


# --- dedupe by fingerprint -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("effect", ["write", "irreversible"])
def test_a_write_is_deduped_within_its_run(gw, start, effect):
    did, run, other = counted(gw, effect=effect), start(gw), start(gw)
    outs = [run.call("mail.send", {}, call_id="c1"), run.call("mail.send", {}, call_id="c2")]
    assert [(out.value, out.replayed) for out in outs] == [(1, False), (1, True)]
    assert other.call("mail.send", {}, call_id="c1").value == 2
    assert len(did) == 2


def test_a_repeat_is_answered_by_the_same_record_when_it_comes_again(gw, start):
    did, run = counted(gw), start(gw)
    for call_id in ("c1", "c2", "c2", "c1"):
        assert run.call("mail.send", {}, call_id=call_id).value == 1
    assert len(did) == 1
    with pytest.raises(interlock.KeyReused):
        run.call("mail.send", {"to": "b"}, call_id="c2")


@pytest.mark.parametrize("said", [{"effect": "read"}, {"effect": "egress"}, {"dedupe": "off"}])
def test_reads_and_tools_with_dedupe_off_are_performed_each_time(gw, start, said):
    did, run = counted(gw, **said), start(gw)
    for n in range(3):
        assert run.call("mail.send", {}, call_id=f"c{n}").replayed is False
    assert len(did) == 3


def test_a_window_dedupes_across_the_runs_of_a_tenant_for_its_time(gw, start, clock):
    did = counted(gw, dedupe="10m")
    assert start(gw).call("mail.send", {}, call_id="c1").value == 1
    clock.advance(599)
    again = start(gw).call("mail.send", {}, call_id="c1")
    assert (again.value, again.replayed) == (1, True)
    assert start(gw, tenant="other").call("mail.send", {}).value == 2
    assert start(gw, env="staging").call("mail.send", {}).value == 3
    clock.advance(2)
    assert start(gw).call("mail.send", {}, call_id="c1").value == 4
    assert len(did) == 4


def test_equal_numbers_are_the_same_wish_whatever_their_spelling(gw, start):
    did = []

    @gw.tool("pay.out", effect="irreversible")
    def pay(amount: float) -> int:
        did.append(amount)
        return len(did)

    run = start(gw)
    for n, amount in enumerate((100, 100.0, 1e2)):
        assert run.call("pay.out", {"amount": amount}, call_id=f"c{n}").value == 1
    assert run.call("pay.out", {"amount": 100.5}, call_id="c9").value == 2


def test_what_failed_is_not_repeated_under_its_key_and_may_be_tried_under_another(gw, start):
    answers = iter([interlock.NotDone("busy")])

    @gw.tool("mail.send", effect="write")
    def send() -> str:
        for error in answers:
            raise error
        return "sent"

    run = start(gw)
    assert run.call("mail.send", {}, call_id="c1").kind == "failed"
    again = run.call("mail.send", {}, call_id="c1")
    assert (again.kind, again.replayed) == ("failed", True)
    assert run.call("mail.send", {}, call_id="c2").value == "sent"


def test_what_is_unknown_is_not_tried_again_under_any_key(gw, start):
    did, run = counted(gw, result=lost), start(gw)
    first = run.call("mail.send", {}, call_id="c1")
    for call_id in ("c1", "c2"):
        again = run.call("mail.send", {}, call_id=call_id)
        assert (again.kind, again.replayed, again.text) == ("unknown", True, first.text)
    assert len(did) == 1


def test_a_tool_that_dedupes_on_our_key_is_tried_again_with_the_same_key(gw, start):
    seen = []

    @gw.tool("pay.out", effect="irreversible", idempotent=True)
    def pay(info: interlock.CallInfo) -> str:
        seen.append((info.key, info.attempt))
        if len(seen) == 1:
            raise ConnectionError("lost")
        return "paid"

    run = start(gw)
    assert run.call("pay.out", {}, call_id="c1").kind == "unknown"
    assert run.call("pay.out", {}, call_id="c2").kind == "unknown"  # another key could pay twice
    assert run.report().tool_calls.held == 1
    out = run.call("pay.out", {}, call_id="c1")
    assert (out.kind, out.value) == ("done", "paid")
    assert seen == [("c1", 1), ("c1", 2)]
    assert (run.report().tool_calls.used, run.report().tool_calls.held) == (1, 0)
    assert run.call("pay.out", {}, call_id="c2").value == "paid"


def test_an_unknown_is_told_as_unknown_even_where_it_may_not_be_tried_again_now(gw, start):
    counted(gw, result=lost, idempotent=True)
    run = start(gw)
    run.call("mail.send", {}, call_id="c1")
    run.stop("cancelled")
    assert run.call("mail.send", {}, call_id="c1").kind == "unknown"


def test_a_known_call_is_answered_when_the_run_has_stopped_and_the_budget_is_gone(gw, start):
    did = counted(gw)
    run = start(gw, budgets={"max_tool_calls": 1})
    run.call("mail.send", {"n": 1}, call_id="c1")
    assert run.call("mail.send", {"n": 2}, call_id="c2").kind == "stopped"
    assert run.stop_reason == "max_tool_calls"
    gw.control.kill(reason="x", by="ops")
    again = run.call("mail.send", {"n": 1}, call_id="c1")
    assert (again.kind, again.value, again.replayed, len(did)) == ("done", 1, True, 1)


def test_a_known_call_is_answered_by_a_program_that_was_started_again(house, start):
    gw = house.open()
    counted(gw)
    run = start(gw, run_id="r1")
    run.call("mail.send", {"n": 1}, call_id="c1")
    house.close()
    gw = house.open()
    did = counted(gw)
    again = start(gw, run_id="r1").call("mail.send", {"n": 1}, call_id="c1")
    assert (again.kind, again.replayed, did) == ("done", True, [])


def test_a_known_call_is_answered_where_its_tool_is_not_registered_any_more(house, start):
    gw = house.open()
    counted(gw)
    start(gw, run_id="r1").call("mail.send", {"n": 1}, call_id="c1")
    house.close()
    gw = house.open()
    run = start(gw, run_id="r1")
    again = run.call("mail.send", {"n": 1}, call_id="c1")
    assert (again.kind, again.value, again.replayed) == ("done", 1, True)
    with pytest.raises(interlock.KeyReused):
        run.call("mail.send", {"n": 2}, call_id="c1")


def test_a_known_call_is_answered_where_its_tool_takes_other_arguments_now(house, start):
    gw = house.open()
    counted(gw)
    start(gw, run_id="r1").call("mail.send", {"n": 1}, call_id="c1")
    house.close()
    gw, did = house.open(), []

    @gw.tool("mail.send", effect="write")
    def send(recipients: list[str]) -> None:
        did.append(recipients)

    again = start(gw, run_id="r1").call("mail.send", {"n": 1}, call_id="c1")
    assert (again.kind, again.value, again.replayed, did) == ("done", 1, True, [])


def test_a_changed_schema_is_another_wish_for_dedupe(house, start):
    gw = house.open()
    counted(gw)
    start(gw, run_id="r1").call("mail.send", {"n": 1}, call_id="c1")
    house.close()
    gw, did = house.open(), []

    @gw.tool("mail.send", effect="write")
    def send(n: int, urgent: bool = False) -> str:
        did.append(n)
        return "new"

    assert start(gw, run_id="r1").call("mail.send", {"n": 1}, call_id="c2").value == "new"


# --- loops -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("effect", ["read", "write"])
def test_the_same_call_too_often_is_a_loop_and_stops_the_run(gw, start, effect):
    did = counted(gw, effect=effect)
    run = start(gw, budgets={"max_repeats": 3})
    outs = [run.call("mail.send", {}, call_id=f"c{n}") for n in range(4)]
    assert [out.kind for out in outs] == ["done", "done", "done", "stopped"]
    assert outs[3].stop_reason == run.stop_reason == "loop_detected"
    assert len(did) == (3 if effect == "read" else 1)
    assert run.call("mail.send", {}, call_id="c0").replayed is True


def test_a_caller_that_only_asks_again_is_no_loop(gw, start):
    counted(gw)
    run = start(gw, budgets={"max_repeats": 2})
    assert {run.call("mail.send", {}, call_id="c1").kind for _ in range(10)} == {"done"}
    assert run.stop_reason is None


def test_other_arguments_are_no_loop(gw, start):
    counted(gw, effect="read")
    run = start(gw, budgets={"max_repeats": 2})
    assert {run.call("mail.send", {"n": n}).kind for n in range(8)} == {"done"}


# --- separation ------------------------------------------------------------------------------------------------------


def test_a_key_belongs_to_its_tenant_and_its_run(gw, start):
    did = counted(gw, dedupe="off")
    runs = [start(gw, run_id="r1"), start(gw, run_id="r1", tenant="other"), start(gw, run_id="r2")]
    assert [run.call("mail.send", {}, call_id="c1").value for run in runs] == [1, 2, 3]
    assert len(did) == 3
