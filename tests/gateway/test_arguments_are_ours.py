"""Whose arguments are performed: the gateway's own copy."""

from __future__ import annotations

from typing import Any

import interlock

CONFIG = {"ledger": "memory:", "policy": {"allow": ["note.*"]}, "approvals": {"required_for": ["note.keep"]}}


def test_arguments_that_a_tool_changes_are_not_changed_in_the_ledger() -> None:
    with interlock.open(CONFIG) as gw:

        @gw.tool("note.add", effect="write")
        def add(note: dict[str, Any]) -> int:
            note["lines"].append("forged")
            return len(note["lines"])

        run = gw.run(agent="bot", tenant="acme", env="prod")
        assert run.call("note.add", {"note": {"lines": ["a"]}}, call_id="c1").value == 2
        assert gw.store.calls_of("acme", run.run_id)[0].args == {"note": {"lines": ["a"]}}


def test_arguments_that_the_caller_changes_after_asking_are_not_what_is_performed() -> None:
    with interlock.open(CONFIG) as gw:
        kept: list[Any] = []

        @gw.tool("note.keep", effect="write")
        def keep(note: dict[str, Any]) -> None:
            kept.append(note)

        run = gw.run(agent="bot", tenant="acme", env="prod")
        args = {"note": {"lines": ["a"]}}
        asked = run.call("note.keep", args, call_id="c1")
        args["note"]["lines"].append("more")
        assert gw.control.approvals("acme")[0].card.arguments == {"note": {"lines": ["a"]}}
        gw.control.approve(asked.approval_id or "", by="oncall")
        assert run.call("note.keep", {"note": {"lines": ["a"]}}, call_id="c1").kind == "done"
        assert kept == [{"lines": ["a"]}]
