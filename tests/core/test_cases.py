from pathlib import Path

import pytest

from interlock.cases import describe, run_cases
from interlock.config import load
from interlock.errors import ConfigError

CASES = Path(__file__).parents[1] / "cases"

POLICY = {
    "policy": {
        "allow": ["refund.*"],
        "rules": [{"id": "big-refund", "tools": "refund.*", "when": "args.amount > 100.0", "then": "ask"}],
    }
}

GOOD = """\
- sentence: refunds above 100 need a person
  tenant: acme
  agent: support-bot
  env: prod
  tool: {name: refund.create, effect: write, risk: high}
  args: {amount: 150}
  expect: ask
  rule: big-refund
- {sentence: others do not, tool: refund.create, args: {amount: 50}, expect: allow}
"""


def written(folder: Path, text: str, name: str = "cases.yaml") -> Path:
    path = folder / name
    path.write_text(text)
    return path


@pytest.mark.parametrize("topic", sorted(path.stem for path in (CASES / "policies").iterdir()))
def test_the_products_own_policy_semantics_hold_case_by_case(topic: str) -> None:
    results = run_cases(load(CASES / "policies" / f"{topic}.yaml"), [CASES / f"{topic}.yaml"])
    assert len(results) >= 20
    assert [describe(result) for result in results if not result.passed] == []


def test_a_case_that_holds_passes(tmp_path: Path) -> None:
    results = run_cases(load(POLICY), [written(tmp_path, GOOD)])
    assert [(result.passed, result.line) for result in results] == [(True, 1), (True, 9)]


def test_a_case_that_fails_shows_what_was_expected_and_what_came(tmp_path: Path) -> None:
    path = written(tmp_path, GOOD.replace("expect: ask", "expect: deny"))
    result = run_cases(load(POLICY), [path])[0]
    assert not result.passed
    shown = describe(result)
    assert f"FAILED  {path}:1  refunds above 100 need a person" in shown
    assert "expected deny by big-refund" in shown
    assert "actual   ask by big-refund" in shown


def test_the_right_verdict_by_the_wrong_rule_fails(tmp_path: Path) -> None:
    path = written(tmp_path, GOOD.replace("rule: big-refund", "rule: other"))
    assert not run_cases(load(POLICY), [path])[0].passed


def test_a_folder_gives_all_its_files_and_not_the_config_itself(tmp_path: Path) -> None:
    config = written(tmp_path, "policy: {allow: 'refund.*'}\n", "interlock.yaml")
    written(tmp_path, "- {sentence: a, tool: refund.x, expect: allow}\n", "a.yaml")
    written(tmp_path, "- {sentence: b, tool: other, expect: deny, rule: default_deny}\n", "b.yml")
    (tmp_path / "notes.txt").write_text("no cases")
    results = run_cases(load(config), [tmp_path])
    assert [(result.sentence, result.passed) for result in results] == [("a", True), ("b", True)]


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "must be a list of cases"),
        ("a: b\n", "must be a list of cases"),
        ("- {tool: x, expect: ask}\n", "cases.yaml:1: [0].sentence: is missing"),
        ("- {sentence: s, expect: ask}\n", "[0].tool: is missing"),
        ("- {sentence: s, tool: x}\n", "[0].expect: is missing"),
        ("- {sentence: s, tool: x, expect: asked}\n", "did you mean 'ask'?"),
        ("- {sentence: s, tool: x, expects: ask, expect: ask}\n", "unknown key; did you mean 'expect'?"),
        ("- {sentence: s, tool: 3, expect: ask}\n", "must be a tool's name"),
        ("- {sentence: s, tool: {effect: read}, expect: ask}\n", "tool: name must be text"),
        ("- {sentence: s, tool: {name: x, efect: read}, expect: ask}\n", "did you mean 'effect'?"),
        ("- {sentence: s, tool: x, args: [1], expect: ask}\n", "[0].args: must be a mapping"),
        ("- {sentence: s, tool: x, args: {a: .nan}, expect: ask}\n", "not a JSON number"),
        ("- {sentence: s, tool: x, now: yesterday, expect: ask}\n", "must be a time with its zone"),
        ("- {sentence: s, tool: x, expect: ask}\n- text\n", "cases.yaml:2: [1]: must be a mapping"),
        ("- {sentence: s, sentence: t, tool: x, expect: ask}\n", "duplicate key"),
        ("- [", "is not valid YAML"),
    ],
)
def test_a_file_that_is_not_understood_in_full_is_refused_with_its_line(tmp_path: Path, text: str, words: str) -> None:
    with pytest.raises(ConfigError) as caught:
        run_cases(load(POLICY), [written(tmp_path, text)])
    assert words in str(caught.value)


def test_no_cases_at_all_is_a_mistake_and_not_a_success(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="there are no policy cases"):
        run_cases(load(POLICY), [tmp_path])
    with pytest.raises(ConfigError, match="there is no such file"):
        run_cases(load(POLICY), [tmp_path / "none.yaml"])
