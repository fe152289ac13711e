"""What an adapter adds can be measured. Its figures are not tested: a shared machine would decide."""

from benchmarks.__main__ import measure_of
from benchmarks.bare_runtimes import BARE
from benchmarks.figures import Size


def test_every_adapter_that_hosts_an_agent_here_is_measured() -> None:
    figures = list(measure_of("adapters")(Size(quick=True)))
    turns, calls = figures[::2], figures[1::2]
    assert [each.name for each in turns] == [f"{name}: the adapter adds to a model turn with one call" for name in BARE]
    assert [each.name for each in calls] == [f"{name}: to each further call of a turn" for name in BARE]
    for each in turns:
        alone, by_hand, adapter = (each.seen[f"{side}_us"] for side in ("alone", "by_hand", "adapter"))
        assert 0 < alone < by_hand
        assert adapter > alone
