"""A run as a value: its latch, its pauses, its status."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from interlock.core.budget import Limits
from interlock.core.run import FAILURES, STOP_TEXTS, Run
from interlock.core.verdict import StopReason

RUN = Run(
    tenant="acme",
    run_id="r",
    agent="bot",
    env="prod",
    opened_at=0,
    deadline=100,
    max_seconds=100,
    limits=Limits(),
    max_denials=5,
    max_repeats=3,
    policy_version="v",
)


def test_every_stop_reason_has_its_texts():
    assert set(STOP_TEXTS) == set(StopReason)


def test_the_first_reason_stays():
    stopped = RUN.stopped(StopReason.KILLED, "x", 5).stopped(StopReason.COMPLETED, "y", 6)
    assert (stopped.stop_reason, stopped.stop_detail, stopped.stopped_at) == (StopReason.KILLED, "x", 5)


@pytest.mark.parametrize("reason", StopReason)
def test_a_status_follows_from_the_reason(reason):
    expected = "completed" if reason == "completed" else "failed" if reason in FAILURES else "stopped"
    assert RUN.stopped(reason, "", 1).status == expected


def test_a_stopped_run_neither_pauses_nor_resumes():
    stopped = RUN.stopped(StopReason.KILLED, "x", 5)
    assert stopped.paused(6) is stopped
    assert stopped.resumed(7) is stopped
    assert stopped.idle(8) is stopped
    assert RUN.paused(1).stopped(StopReason.KILLED, "x", 5).paused_at is None


def test_a_pause_moves_the_deadline_by_its_length():
    paused = RUN.paused(10)
    assert (paused.status, paused.paused(20)) == ("paused", paused)
    assert (paused.resumed(40).deadline, paused.resumed(40).status) == (130, "running")
    assert paused.resumed(5).deadline == 100  # a clock that went backwards takes nothing away


def test_a_run_that_still_asks_goes_on_waiting():
    asking = RUN.asks("a", 10).resumed(20)
    assert (asking.asking, asking.status) == (("a",), "running")
    assert asking.asks("a", 30).asking == ("a",)
    assert asking.idle(30).paused_at == 30
    assert asking.asks_no_more("a").idle(30).paused_at is None
    assert asking.asks_no_more("b") is asking


@given(st.lists(st.tuples(st.sampled_from(["ask", "answer", "work"]), st.integers(0, 9)), max_size=20))
def test_the_time_that_counts_is_the_time_that_it_worked(acts):
    """`work`: something begins, lasts, and ends; between acts, nothing of the run goes on."""
    run, now, worked, idle = RUN, 0, 0, 0
    for act, length in acts:
        now += length  # between acts
        if not run.asking:
            idle += length
        if act == "ask":
            run = run.resumed(now).asks("a", now)
        elif act == "answer":
            run = run.resumed(now).asks_no_more("a")
        else:
            run = run.resumed(now)
            now += length
            worked += length
            run = run.idle(now)
    assert run.resumed(now).deadline - now == 100 - worked - idle
