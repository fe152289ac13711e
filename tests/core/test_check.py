import io
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from interlock.check import Report, check, render
from interlock.check_warnings import overlap
from interlock.config import load
from interlock.core.call import Effect, Risk, Tool


def tool(name: str, required: tuple[str, ...] = (), optional: tuple[str, ...] = (), **said: Any) -> Tool:
    schema = {
        "type": "object",
        "properties": {each: {} for each in (*required, *optional)},
        "required": list(required),
        "additionalProperties": False,
    }
    return Tool(name=name, schema=schema, **said)


def report(source: Any, *tools: Tool) -> Report:
    return check(load(source), {each.name: each for each in tools})


def gets(found: Report) -> dict[tuple[str, str], str]:
    return {(line.tool, line.tenant): line.verdict for line in found.lines}


def test_each_tool_is_told_what_it_gets_and_by_which_rule() -> None:
    found = report(
        {
            "policy": {
                "allow": ["a", "b", "c", "d"],
                "rules": [
                    {"id": "no", "tools": "c", "then": "deny"},
                    {"id": "halt", "tools": "d", "then": "stop"},
                ],
            },
            "approvals": {"required_for": "b"},
        },
        *(tool(name) for name in "abcde"),
    )
    assert [(line.tool, line.verdict, line.rules) for line in found.lines] == [
        ("a", "allowed", ("policy.allow[a]",)),
        ("b", "asked", ("approvals.required_for",)),
        ("c", "denied", ("no",)),
        ("d", "stopped", ("halt",)),
        ("e", "denied", ("default_deny",)),
    ]


def test_what_depends_on_the_call_is_told_with_its_condition() -> None:
    rules = [
        {"id": "big", "tools": "pay", "when": "args.sum > 100", "then": "ask", "agents": "bot"},
        {"id": "try", "tools": "draw", "when": "args.sum < 5", "then": "allow"},
    ]
    found = report({"policy": {"allow": "pay", "rules": rules}}, tool("pay", ("sum",)), tool("draw", ("sum",)))
    draw, pay = found.lines
    assert (pay.verdict, pay.otherwise) == ("depends", "allowed")
    assert [(each.verdict, each.rule, each.when) for each in pay.clauses] == [
        ("asked", "big", "agent is bot and args.sum > 100")
    ]
    assert (draw.verdict, draw.otherwise) == ("depends", "denied")


def test_tenants_have_lines_of_their_own_where_they_differ() -> None:
    found = report(
        {"policy": {"allow": "a"}, "tenants": {"acme": {"policy": {"allow": "b"}}, "globex": {}}}, tool("a"), tool("b")
    )
    assert gets(found) == {("a", "*"): "allowed", ("b", "*"): "denied", ("b", "acme"): "allowed"}


def test_without_code_the_tools_are_those_that_the_config_names() -> None:
    found = check(load({"policy": {"allow": ["a", "kb.*"]}, "approvals": {"required_for": "b"}, "tools": {"c": {}}}))
    assert gets(found) == {("a", "*"): "allowed", ("b", "*"): "asked", ("c", "*"): "denied"}
    assert found.warnings == ()


RULE = {"id": "r", "tools": "pay", "then": "ask"}


@pytest.mark.parametrize(
    ("when", "words"),
    [
        ("args.amont > 1", "rule r reads args.amont, which pay does not have (did you mean 'amount'?), so it denies"),
        ("args.note == ''", "rule r reads args.note, which a call of pay may lack, and then it denies; write has("),
        ("has(args.memo)", "reads args.memo, which pay does not have"),
    ],
)
def test_a_condition_that_reads_what_a_tool_lacks_is_warned_of(when: str, words: str) -> None:
    found = report({"policy": {"allow": "pay", "rules": [{**RULE, "when": when}]}}, tool("pay", ("amount",), ("note",)))
    assert any(words in warning for warning in found.warnings), found.warnings


@pytest.mark.parametrize("when", ["args.amount > 1", "has(args.note) && args.note == ''", "tool == 'args.nothing'"])
def test_a_condition_that_reads_what_is_there_is_not(when: str) -> None:
    found = report({"policy": {"allow": "pay", "rules": [{**RULE, "when": when}]}}, tool("pay", ("amount",), ("note",)))
    assert found.warnings == ()


def test_a_tool_whose_schema_is_not_known_is_not_warned_of() -> None:
    rules = [{**RULE, "when": "args.amount > 1"}]
    assert report({"policy": {"allow": "pay", "rules": rules}}, Tool(name="pay")).warnings == ()


@pytest.mark.parametrize(
    ("source", "words"),
    [
        (
            {"policy": {"allow": ["pay", "pya"]}},
            "policy.allow[1]: no registered tool is called 'pya'; did you mean 'pay'?",
        ),
        ({"policy": {"allow": ["pay", "kb.*"]}}, "no registered tool is called 'kb.*'"),
        ({"policy": {"allow": "pay"}, "tools": {"pays": {}}}, "tools.pays: no registered tool"),
        ({"policy": {"allow": "*"}}, "policy.allow: '*' grants every tool"),
        ({"policy": {"rules": [{"id": "all", "then": "allow"}]}}, "rule all grants every tool"),
        (
            {"policy": {"allow": "pay", "rules": [{"id": "r", "tools": "draw", "then": "ask"}]}},
            "nothing grants what it",
        ),
        (
            {"policy": {"allow": "pay", "rules": [{"id": "r", "tools": "pay", "risks": "critical", "then": "deny"}]}},
            "rule r can never apply",
        ),
        (
            {
                "policy": {
                    "rules": [{"id": "y", "tools": "pay", "then": "allow"}, {"id": "n", "tools": "p*", "then": "deny"}]
                }
            },
            "rule y can never matter: what it grants is always refused, by n",
        ),
        (
            {"approvals": {"required_for": "pay"}, "policy": {"rules": [{"id": "n", "tools": "pay", "then": "deny"}]}},
            "approvals.required_for[0]: nobody will be asked about pay: n refuses it anyway",
        ),
        (
            {"policy": {"allow": "pay"}, "budgets": {"max_steps": 5}, "tenants": {"t": {"budgets": {"max_steps": 9}}}},
            "tenants.t.budgets.max_steps: has no effect: budgets.max_steps is lower",
        ),
        (
            {"policy": {"allow": "pay"}, "tools": {"pay": {"dedupe": "10d"}}, "recording": {"keep": "7d"}},
            "tools.pay.dedupe: is longer than recording.keep, after which a call is answered as done, without",
        ),
    ],
)
def test_what_looks_like_a_mistake_is_warned_of(source: Any, words: str) -> None:
    found = report(source, tool("pay", effect=Effect.WRITE, risk=Risk.LOW), tool("draw"))
    assert any(words in warning for warning in found.warnings), found.warnings


@pytest.mark.parametrize(
    ("declared", "warnings"),
    [
        ({"mail.*": {"arguments": {"too": "destination"}}}, ["did you mean 'to'?"]),
        ({"mail.*": {"arguments": {"to": "destination", "body": "content"}}}, []),  # one of them has it
        ({"mail.send": {"arguments": {"body": "content"}}}, ["tools.mail.send.arguments.body: mail.send has no"]),
        ({"mail.send": {"cost": {"usd": "args.price"}}}, ["has no argument 'price', so every call is denied"]),
        ({"web.get": {"arguments": {"to": "destination"}}}, []),  # nothing is known of it
    ],
)
def test_a_role_or_a_cost_of_an_argument_that_no_tool_has_is_warned_of(declared: Any, warnings: list[str]) -> None:
    send, draft = tool("mail.send", required=("to",)), tool("mail.draft", required=("body",))
    source = {"policy": {"allow": ["mail.*", "web.get"]}, "tools": declared}
    found = [each for each in report(source, send, draft, Tool(name="web.get")).warnings if "tools" in each]
    assert len(found) == len(warnings)
    assert all(words in line for words, line in zip(warnings, found, strict=True))


def test_a_warning_names_file_and_line(tmp_path: Path) -> None:
    path = tmp_path / "interlock.yaml"
    path.write_text("policy:\n  allow:\n    - pay\n    - pya\n")
    assert report(path, tool("pay")).warnings[0].startswith(f"{path}:4: policy.allow[1]: ")


def test_a_sound_policy_has_no_warnings() -> None:
    source = {
        "policy": {
            "allow": ["a.*"],
            "rules": [{"id": "r", "tools": "a.x", "then": "ask"}],
            "risk": {"critical": "deny"},
        }
    }
    assert report(source, tool("a.x"), tool("a.y")).warnings == ()


def test_the_report_reads_well_in_a_terminal() -> None:
    rules = [{**RULE, "when": "args.amount > 100.0"}]
    console = Console(file=io.StringIO(), width=100)
    console.print(render(report({"policy": {"allow": ["pay", "[red]*"], "rules": rules}}, tool("pay", ("amount",)))))
    shown = console.file.getvalue()  # type: ignore[attr-defined]
    assert "allowed" in shown
    assert "r  when args.amount > 100.0" in shown
    assert "[red]*" in shown, "what stands in the file is text, never markup"


@pytest.mark.parametrize(
    ("left", "right", "meets"),
    [
        ("a.*", "a.b", True),
        ("a.*", "*.b", True),
        ("a.*", "b.*", False),
        ("a?", "ab", True),
        ("a", "ab", False),
        ("*", "", True),
        ("*" * 100 + "a", "*" * 100 + "b", False),
    ],
)
def test_globs_that_can_match_one_name_are_found(left: str, right: str, meets: bool) -> None:
    assert overlap(left, right) is meets
    assert overlap(right, left) is meets
