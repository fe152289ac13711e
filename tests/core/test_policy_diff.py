"""What another config decides otherwise: every loosening is called one, and nothing else is."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from interlock.config import load
from interlock.policy_diff import Way, diff

BASE: dict[str, Any] = {
    "policy": {
        "allow": ["ticket.*", "refund.create"],
        "rules": [{"id": "big", "tools": ["refund.*"], "when": "args.amount > 100.0", "then": "ask"}],
    },
    "approvals": {"required_for": ["email.send"], "quorum": 2, "expires": "1h"},
    "budgets": {"max_steps": 10, "max_usd": 1.5},
    "tools": {"refund.create": {"effect": "irreversible", "risk": "high", "timeout": "10s"}},
    "tenants": {"acme": {"budgets": {"usd_per_day": 5}}},
}


def changed(**sections: Any) -> dict[str, Any]:
    """The base with these sections over it, each merged one level deep."""
    merged = {key: {**value} for key, value in BASE.items()}
    for section, said in sections.items():
        merged[section] = {**merged.get(section, {}), **said}
    return merged


def found(new: dict[str, Any], old: dict[str, Any] | None = None) -> list[tuple[str, str, str, str]]:
    """kind, what, tenant, way of every change."""
    return [(each.kind, each.what, each.tenant, each.way) for each in diff(load(old or BASE), load(new)).changes]


def test_a_config_and_itself_decide_alike() -> None:
    compared = diff(load(BASE), load(BASE))
    assert (compared.ok, compared.changes) == (True, ())
    assert compared.old_version == compared.new_version


def test_names_reasons_and_order_are_no_change() -> None:
    rules = [{"id": "huge", "tools": ["refund.*"], "when": "args.amount > 100.0", "then": "ask", "reason": "so"}]
    assert found(changed(policy={"allow": ["refund.create", "ticket.*"], "rules": rules})) == []


@pytest.mark.parametrize(
    ("new", "said"),
    [
        (changed(policy={"allow": ["ticket.*", "refund.create", "crm.find"]}), ("tool", "crm.find", "*", "looser")),
        (changed(policy={"allow": ["ticket.*", "refund.create", "kb.*"]}), ("tool", "kb.*", "*", "looser")),
        (changed(policy={"allow": ["refund.create"]}), ("tool", "ticket.*", "*", "stricter")),
        (changed(approvals={"required_for": []}), ("tool", "email.send", "*", "stricter")),
        (changed(policy={"rules": []}), ("tool", "refund.create", "*", "looser")),
        (changed(policy={"risk": {"high": "deny"}}), ("tool", "refund.create", "*", "stricter")),
        (changed(approvals={"quorum": 1}), ("approvals", "quorum", "*", "looser")),
        (changed(approvals={"expires": "30m"}), ("approvals", "expires", "*", "stricter")),
        (changed(approvals={"on_reject": "stop"}), ("approvals", "on_reject", "*", "stricter")),
        (changed(budgets={"max_steps": 11}), ("budget", "max_steps", "*", "looser")),
        (changed(budgets={"max_usd": 1.0}), ("budget", "max_usd", "*", "stricter")),
        (changed(budgets={"max_repeats": 9}), ("budget", "max_repeats", "*", "looser")),
        (changed(tenants={"acme": {}}), ("budget", "usd_per_day", "acme", "looser")),
        (
            changed(agents={"bot": {"budgets": {"max_steps": 3}}}),
            ("budget", "agent bot: max_steps", "*", "stricter"),
        ),
        (
            changed(tools={"refund.create": {"effect": "irreversible", "risk": "medium", "timeout": "10s"}}),
            ("declaration", "refund.create: risk", "*", "looser"),
        ),
        (
            changed(tools={"refund.create": {"effect": "irreversible", "risk": "high"}}),
            ("declaration", "refund.create: timeout", "*", "looser"),
        ),
        (changed(tools={"ticket.read": {"effect": "read"}}), ("declaration", "ticket.read: effect", "*", "looser")),
        (
            changed(tools={"ticket.read": {"idempotent": True}}),
            ("declaration", "ticket.read: idempotent", "*", "looser"),
        ),
        (changed(tools={"ticket.read": {"cost": {"usd": 1}}}), ("declaration", "ticket.read: cost", "*", "unclear")),
        (
            changed(tenants={"acme": {"budgets": {"usd_per_day": 5}, "policy": {"allow": ["db.*"]}}}),
            ("tool", "db.*", "acme", "looser"),
        ),
    ],
)
def test_a_change_is_named_with_its_way(new: dict[str, Any], said: tuple[str, str, str, str]) -> None:
    told = found(new)
    assert said in told
    assert diff(load(BASE), load(new)).ok == all(way == Way.STRICTER for *_, way in told)


def test_the_way_back_of_a_loosening_is_a_tightening() -> None:
    new = changed(policy={"allow": ["ticket.*", "refund.create", "crm.*"], "rules": []}, approvals={"quorum": 1})
    there, back = found(new), found(BASE, old=new)
    assert {way for *_, way in there} == {"looser"}
    assert {way for *_, way in back} == {"stricter"}
    assert [each[:3] for each in there] == [each[:3] for each in back]


def rule(when: str, then: str = "ask", **more: Any) -> dict[str, Any]:
    return {"id": f"{then} {when}", "tools": ["refund.*"], "when": when, "then": then, **more}


@pytest.mark.parametrize(
    ("rules", "way"),
    [
        ([rule("args.amount > 200.0")], "unclear"),  # it is looser, but that takes arithmetic to know
        ([rule("args.amount > 100.0"), rule("args.to == 'x'", "deny")], "stricter"),
        ([rule("args.amount > 100.0", "deny")], "stricter"),
        ([rule("args.amount > 100.0", agents=["bot"])], "unclear"),
        ([rule("args.amount > 100.0"), rule("args.amount > 100.0", "deny", agents=["bot"])], "stricter"),
        ([], "looser"),
    ],
)
def test_conditions_are_compared_over_all_that_may_hold(rules: list[dict[str, Any]], way: str) -> None:
    new = changed(policy={"allow": ["ticket.*", "refund.create"], "rules": rules})
    assert ("tool", "refund.create", "*", way) in found(new)


def test_more_conditions_than_can_be_tried_are_unclear() -> None:
    new = changed(policy={"allow": ["refund.create"], "rules": [rule(f"args.amount > {n}.0") for n in range(20)]})
    assert ("tool", "refund.create", "*", "unclear") in found(new)


def test_a_tenant_that_is_decided_as_everyone_gets_no_line_of_its_own() -> None:
    new = changed(policy={"allow": ["ticket.*", "refund.create", "crm.find"]})
    assert found(new) == [("tool", "crm.find", "*", "looser")]


def test_a_limit_is_shown_as_people_write_it_and_once() -> None:
    changes = diff(load(BASE), load(changed(budgets={"max_usd": 2, "max_seconds": "2m", "steps_per_day": 9}))).changes
    assert [(each.what, each.old, each.new) for each in changes] == [
        ("max_seconds", "300 s", "120 s"), ("max_usd", "$1.5", "$2"), ("steps_per_day", "no limit", "9"),
    ]


def test_cases_tell_what_conditions_alone_cannot(tmp_path: Path) -> None:
    file = tmp_path / "cases.yaml"
    file.write_text(
        "- {sentence: small, tool: refund.create, args: {amount: 20.0}, expect: allow}\n"
        "- {sentence: large, tool: refund.create, args: {amount: 150.0}, expect: ask}\n"
    )
    new = changed(policy={"allow": ["ticket.*", "refund.create"], "rules": [rule("args.amount > 200.0")]})
    cases = [each for each in diff(load(BASE), load(new), [file]).changes if each.kind == "case"]
    assert [(each.old, each.new, each.way) for each in cases] == [("ask", "allow", "looser")]
    assert "large" in cases[0].what
