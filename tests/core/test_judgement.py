"""Many comparisons, one answer."""

from msgspec.structs import replace

from interlock.core.judgement import judge, rates
from interlock.core.parity import compare
from interlock.core.thresholds import Thresholds
from interlock.core.trace import Replayed
from tests.core.test_parity import trace

STRICT = Thresholds()


def beside(run_id="r1", *, same=True, model="recorded", baseline=False, turn=1):
    """A trace beside one of its replays."""
    made = trace()
    left = replace(made, run=replace(made.run, run_id=run_id))
    info = Replayed(
        of_tenant="acme", of_run=run_id, runtime="plain", model=model, baseline=baseline, turn=turn
    )
    right = replace(left, replay=info, calls=left.calls if same else left.calls[1:])
    return compare(left, right)


def test_a_replay_that_is_the_same_passes():
    assert judge([beside(baseline=True), beside()], STRICT).passed


def test_a_replay_that_differs_fails_and_is_named():
    found = judge([beside(baseline=True), beside(same=False)], STRICT)
    assert (found.passed, found.failed, found.baseline_failed) == (False, ("r1 on plain, recorded model",), ())


def test_a_baseline_that_fails_is_told_as_such_and_nothing_is_judged_by_it():
    found = judge([beside(baseline=True, same=False), beside(same=False)], STRICT)
    assert (found.passed, found.failed, found.baseline_failed) == (False, (), ("acme/r1",))
    assert found.words == ("baseline: acme/r1 is not reproduced by its unchanged replay",)


def test_one_broken_baseline_does_not_hide_the_others():
    found = judge([beside(baseline=True, same=False), beside("r2", baseline=True), beside("r2", same=False)], STRICT)
    assert (found.baseline_failed, found.failed) == (("acme/r1",), ("r2 on plain, recorded model",))


def test_a_live_model_passes_only_where_its_repeats_prove_it():
    baseline = beside(baseline=True)
    few = judge([baseline, *(beside(model="live", turn=n) for n in range(5))], STRICT)
    many = judge([baseline, *(beside(model="live", turn=n) for n in range(16))], STRICT)
    assert (few.passed, many.passed) == (False, True)
    assert "repeat it 16 times" in few.words[0]


def test_a_live_model_may_differ_now_and_then():
    repeats = [beside(model="live", turn=n, same=n > 0) for n in range(40)]
    assert judge([beside(baseline=True), *repeats], STRICT).passed
    assert not judge([beside(baseline=True), *repeats], Thresholds(at_least=0.95)).passed


def test_how_often_each_kind_was_seen_is_told_with_its_bounds():
    repeats = [beside(model="live", turn=n, same=n > 2) for n in range(10)]
    seen = rates([beside(baseline=True), *repeats], STRICT)
    assert {kind: (share.passed, share.tries) for kind, share in seen.items()} == {"missing": (3, 10)}


def test_of_nothing_there_is_no_parity():
    assert not judge([], STRICT).passed


def test_two_runs_that_are_no_replays_are_judged_too():
    assert judge([compare(trace(), trace())], STRICT).passed
    assert not judge([compare(trace(), trace(answer="no"))], STRICT).passed
