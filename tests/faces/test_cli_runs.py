import pytest

from tests.faces.test_cli_ground import ground, story

__all__ = ["ground", "story"]


def test_runs_are_listed_newest_first(story):
    listed = story.json("run", "list")
    assert [run["run_id"] for run in listed["runs"]] == ["other", story.run_id]
    assert listed["more"] is False
    first = listed["runs"][1]
    assert (first["status"], first["tenant"], first["agent"], first["env"]) == ("paused", "acme", "support-bot", "prod")
    assert first["opened_at"].endswith("Z")
    text = story.cli("run", "list")
    assert text.index("other") < text.index(story.run_id)


def test_runs_are_filtered_by_tenant_status_and_number(story):
    def ids(*args):
        return [run["run_id"] for run in story.json("run", "list", *args)["runs"]]

    assert ids("--tenant", "acme") == [story.run_id]
    assert ids("--tenant", "nobody") == []
    assert ids("--status", "completed") == ["other"]
    assert ids("--status", "failed") == []
    assert ids("--limit", "1") == ["other"]
    assert story.json("run", "list", "--limit", "1")["more"] is True
    assert "there are more" in story.cli("run", "list", "--limit", "1")
    assert "no runs" in story.cli("run", "list", "--tenant", "nobody")


def test_many_runs_are_listed_without_a_gap_or_a_double(ground, monkeypatch):
    from interlock.faces import cli_runs

    monkeypatch.setattr(cli_runs, "PAGE", 3)
    with ground.open() as gateway:
        for place in range(10):
            gateway.run(agent="a", tenant="acme", env="prod", run_id=f"r{place}")
    assert [run["run_id"] for run in ground.json("run", "list")["runs"]] == [f"r{place}" for place in range(9, -1, -1)]


def test_a_run_is_shown_with_all_that_happened_in_it(story):
    shown = story.json("run", "show", story.run_id)
    calls = {line["call_id"]: line for line in shown["timeline"] if line["kind"] == "call"}
    told = {call_id: (line["tool"], line["verdict"], line["outcome"]) for call_id, line in calls.items()}
    assert told == {
        "c1": ("ticket.read", "allow", "done"),
        "c2": ("ticket.create", "allow", "done"),
        "c3": ("crm.drop", "deny", ""),
        "c4": ("refund.pay", "allow", "unknown"),
        "c5": ("refund.pay", "ask", ""),
    }
    assert calls["c2"]["usd"] == 0.002
    assert calls["c5"]["rule"] == "big-refund"
    assert calls["c5"]["approval_id"] == story.approval_id
    assert "the line went dead" in calls["c4"]["text"]
    step = next(line for line in shown["timeline"] if line["kind"] == "step")
    assert (step["what"], step["tokens"]) == ("model gpt-5-mini", 15)
    assert shown["report"]["tool_calls"]["held"] == 1  # of the unknown
    assert shown["request"] == "Handle ticket 12"


def test_a_run_is_shown_to_people_with_its_budgets_and_what_it_waits_for(story):
    text = story.cli("run", "show", story.run_id)
    for piece in (
        "paused",
        story.approval_id,
        "Handle ticket 12",
        "erin",
        "tool calls",
        "big-refund",
        "$0.002",
        "unknown",
    ):
        assert piece in text


def test_why_a_run_stopped_is_told_in_the_operators_words(ground):
    with ground.open() as gateway:
        run = gateway.run(agent="a", tenant="acme", env="prod", run_id="short", budgets={"max_tool_calls": 1})
        run.call("ticket.read", {"ticket": "1"})
        assert run.call("ticket.read", {"ticket": "2"}).kind == "stopped"
    text = ground.cli("run", "show", "short")
    assert "max_tool_calls" in text
    assert "Raise the budget" in text
    assert ground.json("run", "show", "short")["stop_reason"] == "max_tool_calls"


def test_what_people_did_is_part_of_the_story(story):
    story.cli("approvals", "reject", story.approval_id, "--by", "bob", "--note", "not our customer")
    story.cli("reconcile", "--tenant", "acme", "--run", story.run_id, "--call", "c4", "--did-not-happen", "--by", "bob")
    text = story.cli("run", "show", story.run_id)
    assert "rejected by bob: refund.pay" in text
    assert "not our customer" in text
    assert "reconciled by bob" in text


def test_a_run_that_is_not_there_is_refused(story):
    story.cli("run", "show", "nobody", code=1)
    story.cli("run", "show", story.run_id, "--tenant", "beta", code=1)
    assert "beta" in story.err
    story.cli("run", "show", story.run_id, "--tenant", "acme")


def test_of_two_runs_with_one_name_the_tenant_decides(story):
    with story.open() as gateway:
        gateway.run(agent="a", tenant="acme", env="prod", run_id="other")
    story.cli("run", "show", "other", code=1)
    assert "--tenant" in story.err
    assert story.json("run", "show", "other", "--tenant", "acme")["agent"] == "a"


@pytest.mark.parametrize("wide", ["80", "120"])
def test_what_is_copied_is_never_broken(story, monkeypatch, wide):
    monkeypatch.setenv("COLUMNS", wide)
    assert story.run_id in story.cli("run", "list")
    assert story.approval_id in story.cli("approvals", "list")
    shown = story.cli("run", "show", story.run_id).splitlines()
    assert max(len(line) for line in shown if not line.startswith("interlock ")) <= int(wide)  # a command is copied
