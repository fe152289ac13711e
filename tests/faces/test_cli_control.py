import pytest

from tests.faces.test_cli_ground import ground, story

__all__ = ["ground", "story"]

BY = ("--by", "bob")
WHY = ("--reason", "incident 7", *BY)


# --- kill switches ---------------------------------------------------------------------------------------------------


def test_a_kill_holds_in_a_gateway_that_is_running_and_a_release_lets_go(story):
    with story.open() as gateway:
        run = gateway.run(agent="support-bot", tenant="acme", env="prod", run_id="now")
        assert run.call("ticket.read", {"ticket": "3"}).kind == "done"
        killed = story.program("kill", "--tenant", "acme", *WHY)
        assert (killed.returncode, killed.stderr) == (0, b"")
        assert b"killed: tenant acme" in killed.stdout
        assert b"interlock release --tenant acme" in killed.stdout
        assert run.call("ticket.read", {"ticket": "4"}).kind == "stopped"
        assert story.program("release", "--tenant", "acme", *BY).returncode == 0
        fresh = gateway.run(agent="support-bot", tenant="acme", env="prod")
        assert fresh.call("ticket.read", {"ticket": "5"}).kind == "done"


def test_a_kill_says_what_it_stops(story):
    killed = story.json("kill", "--tenant", "acme", "--mode", "writes", *WHY)
    assert (killed["scope"]["tenant"], killed["mode"], killed["by"], killed["reason"]) == (
        "acme",
        "writes",
        "bob",
        "incident 7",
    )
    assert (killed["active"], killed["open_runs"]) == (True, 1)
    assert story.json("kill", "--everything", *WHY)["open_runs"] == 1
    assert story.json("kill", "--tool", "refund.*", "--agent", "nobody", *WHY)["open_runs"] == 0
    assert "plain reads go on" in story.cli("kill", "--run", story.run_id, "--mode", "writes", *WHY)


def test_everything_is_said_in_so_many_words(story):
    for verb in (("kill", *WHY), ("release", *BY)):
        story.cli(*verb, code=2)
        assert "--everything" in story.err
        story.cli(*verb, "--everything", "--tenant", "acme", code=2)
        assert "contradict" in story.err
    assert story.json("switches") == {"switches": []}


@pytest.mark.parametrize(
    "scope",
    [
        ("--tenant", "*"),
        ("--tenant", "ac*"),
        ("--agent", "bot-*"),
        ("--run", "run_?"),
        ("--tenant", ""),
        ("--tool", " "),
    ],
)
def test_a_switch_that_could_hold_for_nobody_is_refused(story, scope):
    story.cli("kill", *scope, *WHY, code=2)
    assert story.json("switches") == {"switches": []}


@pytest.mark.parametrize(
    "extra", [("--mode", "some"), ("--reason", "\udcff"), ("--reason", "a\x1b[2Jb"), ("--reason", "x" * 3000)]
)
def test_a_kill_that_is_wrongly_said_changes_nothing(story, extra):
    story.cli("kill", "--everything", *WHY, *extra, code=2)
    assert story.json("switches") == {"switches": []}


def test_an_empty_reason_is_none(story):
    story.cli("kill", "--everything", "--reason", "", *BY, code=1)
    assert "why" in story.err


def test_release_is_of_just_this_scope(story):
    story.cli("kill", "--tenant", "acme", *WHY)
    story.cli("kill", "--tenant", "acme", "--agent", "support-bot", *WHY)
    story.cli("release", "--everything", *BY, code=1)
    assert "what is killed: tenant acme" in story.err
    released = story.json("release", "--tenant", "acme", "--reason", "over", *BY)
    assert released["still_killed"] == ["tenant acme, agent support-bot"]
    assert released["release_reason"] == "over"
    assert "still killed" not in story.cli("release", "--tenant", "acme", "--agent", "support-bot", *BY)


def test_switches_are_listed_and_on_request_those_that_were_released(story):
    assert "nothing is killed" in story.cli("switches")
    story.cli("kill", "--tenant", "acme", *WHY)
    story.cli("kill", "--everything", *WHY)
    assert "incident 7" in story.cli("switches")
    story.cli("release", "--everything", *BY)
    assert [each["scope"]["tenant"] for each in story.json("switches")["switches"]] == ["acme"]
    assert [each["active"] for each in story.json("switches", "--all")["switches"]] == [True, False]
    assert "by bob" in story.cli("switches", "--all")


def test_who_killed_is_in_the_audit_and_the_audit_is_intact(story):
    story.cli("kill", "--tenant", "acme", *WHY)
    story.cli("kill", "--everything", *WHY)
    verified = story.json("audit", "verify")
    assert verified["ok"]
    assert {each["tenant"] for each in verified["tenants"]} == {"*", "acme", "beta"}
    assert all(each["checkpoints"] for each in verified["tenants"])  # what a person did is signed when they are done


def test_a_kill_that_cannot_be_signed_holds_all_the_same(story):
    (story.folder / "interlock.db.key").write_text("no key")
    assert "killed" in story.cli("kill", "--everything", *WHY, silent=False)
    assert "it is done, but no checkpoint could be signed" in story.err
    assert len(story.json("switches")["switches"]) == 1


# --- unknowns --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("found", "state"), [("--happened", "done"), ("--did-not-happen", "failed")])
def test_an_unknown_is_ended(story, found, state):
    unknown = ("reconcile", "--tenant", "acme", "--run", story.run_id, "--call", "c4", *BY)
    ended = story.json(*unknown, found, "--note", "seen in the bank")
    assert (ended["state"], ended["call_id"], ended["tool"]) == (state, "c4", "refund.pay")
    assert story.json("run", "show", story.run_id)["report"]["tool_calls"]["held"] == 0
    story.cli(*unknown, found, code=1)
    assert f"is {state}, not unknown" in story.err


def test_what_happened_may_come_with_its_value(story):
    (story.folder / "value.json").write_text('{"id": "r-1"}')
    story.cli(
        "reconcile",
        "--tenant",
        "acme",
        "--run",
        story.run_id,
        "--call",
        "c4",
        "--happened",
        "--value",
        "@value.json",
        *BY,
    )
    with story.open() as gateway:
        run = gateway.run(agent="support-bot", tenant="acme", env="prod", run_id=story.run_id)
        again = run.call("refund.pay", {"amount": 5.0, "to": "somebody"}, call_id="c4")
        assert (again.kind, again.value, again.replayed) == ("done", {"id": "r-1"}, True)


def test_a_reconciliation_that_is_wrongly_said_changes_nothing(story):
    named = ("reconcile", "--tenant", "acme", "--run", story.run_id, "--call", "c4", *BY)
    story.cli(*named, code=2)
    assert "--did-not-happen" in story.err
    story.cli(*named, "--did-not-happen", "--value", "1", code=2)
    story.cli(*named, "--happened", "--value", "{", code=2)
    story.cli("reconcile", "--tenant", "acme", "--run", story.run_id, "--call", "c9", "--happened", *BY, code=1)
    story.cli("reconcile", "--tenant", "beta", "--run", story.run_id, "--call", "c4", "--happened", *BY, code=1)
    story.cli("reconcile", "--tenant", "acme", "--run", story.run_id, "--call", "c1", "--happened", *BY, code=1)
    assert "done, not unknown" in story.err
    assert story.json("run", "show", story.run_id)["report"]["calls"]["unknown"] == 1


# --- budgets ---------------------------------------------------------------------------------------------------------


def test_a_run_is_topped_up(story):
    raised = story.json("top-up", "--tenant", "acme", "--run", story.run_id, "--steps", "5", "--usd", "0.25", *BY)
    assert raised["extra"] == {"steps": 5, "tool_calls": 0, "usd": 0.25, "tokens": 0}
    assert story.json("run", "show", story.run_id)["report"]["steps"]["limit"] == 30
    again = story.cli("top-up", "--tenant", "acme", "--run", story.run_id, "--steps", "1", "--note", "more", *BY)
    assert "steps 6" in again
    assert "$0.25" in again


def test_a_window_is_topped_up(story):
    limits = "budgets: {usd_per_month: 1}\nagents: {support-bot: {budgets: {tool_calls_per_day: 1}}}\n"
    story.config.write_text(story.config.read_text() + limits)
    raised = story.json(
        "top-up", "--tenant", "acme", "--agent", "support-bot", "--window", "day", "--tool-calls", "3", *BY
    )
    assert (raised["agent"], raised["window"], raised["extra"]["tool_calls"]) == ("support-bot", "day", 3)
    assert "tenant acme" in story.cli("top-up", "--tenant", "acme", "--window", "month", "--usd", "5", *BY)
    story.cli("top-up", "--tenant", "acme", "--agent", "nosuch", "--window", "day", "--tool-calls", "3", *BY, code=1)
    assert "tool_calls per day of agent support-bot" in " ".join(story.err.split())


@pytest.mark.parametrize(
    ("args", "code"),
    [
        ((), 1), (("--steps", "0"), 1), (("--steps", "-1"), 2), (("--steps", "9" * 30), 2), (("--usd", "nan"), 2),
        (("--usd", "inf"), 2), (("--usd", "-0.5"), 2), (("--usd", "1e300"), 2), (("--usd", "much"), 2),
        (("--steps", "1", "--window", "day"), 1), (("--steps", "1", "--window", "year"), 2),
        (("--steps", "1", "--agent", "a"), 1),
    ],
)
def test_a_top_up_that_makes_no_sense_changes_nothing(story, args, code):
    story.cli("top-up", "--tenant", "acme", "--run", story.run_id, *args, *BY, code=code)
    assert story.json("run", "show", story.run_id)["report"]["steps"]["limit"] == 25


def test_a_run_that_is_not_there_cannot_be_topped_up(story):
    story.cli("top-up", "--tenant", "beta", "--run", story.run_id, "--steps", "1", *BY, code=1)
    story.cli("top-up", "--tenant", "acme", "--steps", "1", *BY, code=1)
    assert "name a run" in story.err
