"""What an adapter adds can be measured. Its figures are not tested: a shared machine would decide."""

from benchmarks.__main__ import measure_of
from benchmarks.adapters import shapes_of, solved
from benchmarks.bare_runtimes import BARE
from benchmarks.figures import Size


def test_the_cost_of_a_call_a_turn_and_a_drive_comes_out_of_three_shapes_of_runs() -> None:
    call, turn, drive = 7.0, 11.0, 500.0
    shapes = shapes_of(Size())
    adds = {(turns, calls): drive + (turns + 1) * turn + turns * calls * call for turns, calls in shapes}
    assert solved(adds, *shapes) == (call, turn, drive)


def test_every_adapter_that_hosts_an_agent_here_is_measured() -> None:
    found = [each.name for each in measure_of("adapters")(Size(quick=True))]
    assert found == [f"{name}: the adapter adds to a {what}" for name in BARE for what in ("tool call", "model turn")]
