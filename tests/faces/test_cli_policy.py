import json
from functools import partial

import interlock
from interlock import pins
from interlock.unit import Unit
from tests.faces.test_cli_ground import ground, obeyed

__all__ = ["ground"]

CASES = """\
- sentence: a small refund is paid
  tool: refund.pay
  args: {amount: 5.0, to: me}
  expect: allow
- sentence: a large one waits for a person
  tool: refund.pay
  args: {amount: 500.0, to: me}
  expect: ask
  rule: big-refund
"""
WRONG = """\
- sentence: "nobody may read \\e[31m[red]tickets[/]"
  tool: ticket.read
  args: {ticket: "1"}
  expect: deny
"""


def test_check_shows_what_each_tool_gets_and_by_which_rule(ground):
    report = ground.json("check")
    assert report["ok"] is True
    assert report["policy_version"].startswith("sha256:")
    tools = {line["tool"]: line for line in report["tools"]}
    assert (tools["ticket.read"]["verdict"], tools["ticket.read"]["effect"]) == ("allowed", "read")
    refund = tools["refund.pay"]
    assert (refund["verdict"], refund["otherwise"]) == ("depends", "allowed")
    assert refund["clauses"] == [{"verdict": "asked", "rule": "big-refund", "when": "args.amount > 100.0"}]
    text = ground.cli("check")
    assert "big-refund" in text
    assert "args.amount > 100.0" in text


def test_check_takes_the_file_as_it_is_most_easily_said(ground):
    other = ground.folder / "other.yaml"
    ground.config.rename(other)
    assert (
        ground.json("check", other)
        == ground.json("check", "--config", other)
        == ground.json("--config", other, "check")
    )
    ground.cli("check", other, "--config", "third.yaml", code=2)
    assert "once" in ground.err


def test_check_reads_the_definitions_that_the_ledger_has_pinned_and_writes_nothing(ground):
    rule = {"id": "big", "tools": ["crm.pay"], "when": "args.amont > 100", "then": "ask"}
    config = {
        "ledger": "sqlite:///interlock.db", "policy": {"allow": ["crm.*"], "rules": [rule]},
        "upstreams": {"crm": {"mcp": {"command": ["crm-server"]}}}, "tools": {"crm.pay": {"effect": "read"}},
    }
    ground.config.write_text(json.dumps(config))
    assert ground.json("check")["warnings"] == []  # nothing is known of it
    assert not (ground.folder / "interlock.db").exists()
    schema = {"type": "object", "properties": {"amount": {"type": "integer"}}, "required": ["amount"]}
    pay = pins.definition(
        name="pay", description="", input_schema=schema, annotations={"readOnlyHint": False}
    )
    shown = {"crm.pay": pay, "gone.pay": pay}
    with interlock.open(str(ground.config), upstreams=False) as gateway:
        gateway.committer.run(Unit(pins.keys(shown), partial(pins.observe, definitions=shown, now=1)))
    report = ground.json("check")
    (warning,) = report["warnings"]
    assert "reads args.amont, which crm.pay does not have (did you mean 'amount'?)" in warning
    assert [(line["tool"], line["effect"]) for line in report["tools"]] == [("crm.pay", "write")]
    (ground.folder / "interlock.db").write_bytes(b"no ledger")
    assert ground.json("check")["warnings"] == []


def test_warnings_alone_are_no_failure(ground):
    ground.config.write_text("policy: {allow: ['*']}\n")
    report = ground.json("check")
    assert report["warnings"]
    assert "warning" in ground.cli("check")


def test_a_wrong_config_is_named_with_its_line(ground):
    ground.config.write_text("policy:\n  allow: [a]\n  rulez: []\n")
    assert ground.cli("check", "--json", code=2) == ""
    assert "interlock.yaml:3" in ground.err
    assert "rules" in ground.err


def test_hostile_words_in_a_config_are_spelled_out(ground):
    ground.config.write_text(
        "policy: {allow: [a], rules: [{id: r, tools: [a], when: \"args.x == '\\e[31m[red]x[/]'\", then: deny}]}\n"
    )
    assert not obeyed(ground.cli("check"))
    ground.config.write_text('"\\e[31mpolicy": {}\n')
    ground.cli("check", code=2)
    assert not obeyed(ground.err)


def test_cases_that_come_out_as_expected_are_exit_code_0(ground):
    (ground.folder / "cases.yaml").write_text(CASES)
    text = ground.cli("policy", "test", "cases.yaml")
    assert "2 passed" in text
    assert "a small refund is paid" in text
    told = ground.json("policy", "test", "cases.yaml")
    assert (told["ok"], told["passed"], told["failed"]) == (True, 2, 0)


def test_a_case_that_comes_out_otherwise_is_exit_code_1_and_says_why(ground):
    folder = ground.folder / "cases"
    folder.mkdir()
    (folder / "a.yaml").write_text(CASES)
    (folder / "b.yml").write_text(WRONG)
    text = ground.cli("policy", "test", "cases", code=1)
    assert "1 failed, 2 passed" in text
    assert "expected  deny" in text
    assert "actual    allow by policy.allow[ticket.read]" in text
    assert "b.yml:1" in text
    assert not obeyed(text)
    told = ground.json("policy", "test", "cases", code=1)
    failed = [case for case in told["cases"] if not case["passed"]]
    assert [(case["expected"], case["actual"], case["line"]) for case in failed] == [("deny", "allow", 1)]


def test_cases_that_are_not_understood_are_exit_code_2(ground):
    ground.cli("policy", "test", "nowhere.yaml", code=2)
    assert "nowhere.yaml" in ground.err
    (ground.folder / "cases.yaml").write_text("- sentence: x\n  tool: a\n  expekt: allow\n")
    ground.cli("policy", "test", "cases.yaml", code=2)
    assert "cases.yaml:" in ground.err
    (ground.folder / "empty").mkdir()
    ground.cli("policy", "test", "empty", code=2)
    (ground.folder / "bad.yaml").write_bytes(b"\xff\xfe\x00")
    ground.cli("policy", "test", "bad.yaml", code=2)


def test_diff_shows_what_gets_looser_and_fails_there(ground):
    old = ground.folder / "old.yaml"
    old.write_text(ground.config.read_text())
    assert ground.json("policy", "diff", old)["changes"] == []
    assert "nothing is decided otherwise" in ground.cli("policy", "diff", old)
    new = ground.folder / "new.yaml"
    new.write_text(json.dumps({"policy": {"allow": ["ticket.read", "db.drop"]}}))
    told = ground.json("policy", "diff", old, new, code=1)
    ways = {(each["kind"], each["what"]): each["way"] for each in told["changes"]}
    assert (told["ok"], ways["tool", "db.drop"]) == (False, "looser")
    text = ground.cli("policy", "diff", old, new, code=1)
    assert "looser" in text
    assert "db.drop" in text
    back = ground.json("policy", "diff", new, old, code=1)  # what was taken away comes back as well
    assert {each["way"] for each in back["changes"]} >= {"looser", "stricter"}
    ground.cli("policy", "diff", old, new, "--config", old, code=2)
    ground.cli("policy", "diff", ground.folder / "missing.yaml", code=2)


def test_diff_weighs_cases_by_both(ground):
    (ground.folder / "cases.yaml").write_text(CASES)
    new = ground.folder / "new.yaml"
    new.write_text(json.dumps({"policy": {"allow": ["refund.pay"]}}))
    told = ground.json("policy", "diff", ground.config, new, "--cases", ground.folder / "cases.yaml", code=1)
    (case,) = [each for each in told["changes"] if each["kind"] == "case"]
    assert (case["old"], case["new"], case["way"]) == ("ask", "allow", "looser")
