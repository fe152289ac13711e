"""The bench works and writes what it says. Its figures are not tested: a shared machine would decide."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from benchmarks import table
from benchmarks.figures import Wrong, figure, percentile, require

HERE = Path(__file__).resolve().parent.parent


@pytest.fixture(scope="module")
def result(tmp_path_factory: pytest.TempPathFactory) -> dict:
    """Of one quick run."""
    file = tmp_path_factory.mktemp("bench") / "result.json"
    order = [sys.executable, "-m", "benchmarks", "--quick", "--json", file, "decision", "sync", "import"]
    ran = subprocess.run(order, cwd=HERE, capture_output=True, text=True, check=False)
    assert ran.returncode == 0, ran.stdout + ran.stderr
    assert "governed call" in " ".join(ran.stdout.split())
    return json.loads(file.read_text())


def test_a_quick_run_writes_every_figure_with_its_rounds_and_its_target(result: dict) -> None:
    assert [measure["name"] for measure in result["measures"]] == ["decision", "sync", "import"]
    for measure in result["measures"]:
        assert measure["figures"]
        assert (measure["missing"], measure["wrong"]) == ("", "")
        assert 0 <= measure["foreign_cpu"] <= 1
        for each in measure["figures"]:
            assert each["name"]
            assert isinstance(each["value"], int | float)
            assert min(each["rounds"]) <= each["value"] + 1e-6
            assert each["value"] <= max(each["rounds"]) + 1e-6
            assert each["met"] in (True, False)


def test_the_result_names_the_machine(result: dict) -> None:
    assert set(result["machine"]) >= {"cpu", "cores", "kernel", "python", "sqlite", "filesystem", "date"}
    assert result["quick"] is True


def test_the_page_takes_the_figures_between_its_marks_and_keeps_the_rest(
    result: dict, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    page = tmp_path / "performance.md"
    page.write_text(f"before\n{table.BEGIN}\nold\n{table.END}\nafter\n")
    monkeypatch.setattr(table, "PAGE", page)
    for _ in range(2):  # the second time changes nothing
        table.write_docs(result)
        text = page.read_text()
        assert text.startswith(f"before\n{table.BEGIN}")
        assert text.endswith(f"{table.END}\nafter\n")
        assert "old" not in text
        assert text.count("| a decision with 10 rules |") == 1
    assert "A quick run" in text


def test_the_real_page_has_the_marks() -> None:
    text = table.PAGE.read_text()
    assert text.count(table.BEGIN) == text.count(table.END) == 1


def test_an_unknown_measure_is_refused() -> None:
    ran = subprocess.run(
        [sys.executable, "-m", "benchmarks", "nosuch"], cwd=HERE, capture_output=True, text=True, check=False
    )
    assert ran.returncode == 2
    assert "there is no measure 'nosuch'" in ran.stderr


def test_a_figure_is_the_median_of_its_rounds_and_knows_whether_it_reaches_its_aim() -> None:
    low = figure("low", [3.0, 1.0, 2.0], at_most=2.0, stretch=1.5)
    assert (low.value, low.met, low.met_stretch) == (2.0, True, False)
    high = figure("high", [3.0, 1.0, 2.0], at_least=2.5)
    assert (high.value, high.met, high.met_stretch) == (2.0, False, None)
    assert percentile(list(range(100)), 0.99) == 99


def test_a_load_that_is_not_correct_is_said_loudly() -> None:
    with pytest.raises(Wrong, match="2 effects for 1 call"):
        require(1 == 2, "2 effects for 1 call")  # noqa: PLR0133
