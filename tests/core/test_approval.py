"""The rules of answering: who may, what counts, what an edit does."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from interlock.core.approval import Answer, Approval, Card, Standing, approve, refusal, reject

PEOPLE = ("ann", "ben", "cat")


def question(**more) -> Approval:
    fields = {"quorum": 1, "requested_by": ("bot",), **more}
    return Approval(
        approval_id="ap",
        tenant="acme",
        agent="bot",
        env="prod",
        run_id="r",
        call_id="c",
        key="c",
        tool="t",
        digest="d0",
        policy_version="v",
        card=Card("t", "", "", {}, "write", "low"),
        asked_at=0,
        expires_at=100,
        **fields,
    )


def yes(approval, by, edited=None):
    return approve(approval, Answer(by, 1, yes=True), edited, approval.digest if edited is None else f"d{edited['n']}")


def test_enough_different_people_make_a_yes():
    asked = question(quorum=2)
    one = yes(asked, "ann")
    assert (one.standing, one.approvers) == (Standing.WAITING, ("ann",))
    assert yes(one, "ben").standing is Standing.APPROVED


def test_the_same_person_counts_once():
    once = yes(question(quorum=2), "ann")
    assert "different people" in (refusal(once, "ann") or "")
    assert yes(once, "ann").standing is Standing.WAITING


def test_a_person_has_no_second_name_in_capitals():
    once = yes(question(quorum=2, requested_by=("bot", "Erin")), "ann")
    for by in ("Ann", "ANN", "erin", "BOT"):
        assert refusal(once, by) is not None
        assert yes(once, by).standing is (Standing.WAITING if by.casefold() == "ann" else Standing.APPROVED)


@pytest.mark.parametrize("by", ["bot", ""])
def test_whoever_asked_and_nobody_cannot_answer(by):
    assert refusal(question(), by) is not None


@pytest.mark.parametrize("standing", [each for each in Standing if each is not Standing.WAITING])
def test_what_is_answered_is_answered(standing):
    assert str(standing) in (refusal(replace(question(), standing=standing), "ann") or "")


def test_an_edit_starts_the_count_anew_and_keeps_what_was_asked():
    edited = yes(yes(question(quorum=2), "ann"), "ben", {"n": 1})
    assert (edited.standing, edited.approvers, edited.edited) == (Standing.WAITING, ("ben",), {"n": 1})
    assert (edited.asked_digest, edited.digest) == ("d0", "d1")
    assert refusal(edited, "ann") is None
    again = yes(edited, "ann", {"n": 2})
    assert (again.asked_digest, again.digest, again.approvers) == ("d0", "d2", ("ann",))


def test_an_edit_that_changes_nothing_is_none():
    asked = question()
    assert approve(asked, Answer("ann", 1, yes=True), {"n": 0}, "d0").edited is None


def test_one_no_is_enough():
    assert reject(yes(question(quorum=3), "ann"), Answer("ben", 2, yes=False)).standing is Standing.REJECTED


@given(st.lists(st.tuples(st.sampled_from(PEOPLE), st.none() | st.integers(1, 2)), max_size=8), st.integers(1, 3))
def test_a_yes_is_always_said_by_enough_people_to_what_will_run(answers, quorum):
    approval, said = question(quorum=quorum), {}
    for by, n in answers:
        if refusal(approval, by) is not None:
            continue
        if n is not None and f"d{n}" != approval.digest:
            said = {}
        approval = yes(approval, by, None if n is None else {"n": n})
        said[by] = approval.digest
    assert set(approval.approvers) == set(said)
    assert (approval.standing is Standing.APPROVED) == (len(said) >= quorum)
    assert set(said.values()) <= {approval.digest}


def test_the_time_that_was_frozen_does_not_count():
    assert question().expired(100, 0)
    assert not question().expired(149, 50)
    assert question().expired(150, 50)
