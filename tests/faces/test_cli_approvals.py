import pytest

from tests.faces.test_cli_ground import HOSTILE, Ground, ground, obeyed, story

__all__ = ["ground", "story"]


def test_what_waits_is_listed(story):
    (found,) = story.json("approvals", "list")["approvals"]
    assert (found["approval_id"], found["tenant"], found["tool"]) == (story.approval_id, "acme", "refund.pay")
    assert (found["standing"], found["quorum"], found["answers"]) == ("waiting", 1, [])
    assert 3500 < found["seconds_left"] <= 3600
    assert story.approval_id in story.cli("approvals", "list")
    assert story.json("approvals", "list", "--tenant", "beta") == {"approvals": []}
    assert "nothing waits" in story.cli("approvals", "list", "--tenant", "beta")


def test_the_card_says_all_that_a_person_needs(story):
    text = story.cli("approvals", "show", story.approval_id)
    for piece in (
        "refund.pay", "irreversible", "risk high", "big-refund", "above 100, ask", "support-bot", "acme",
        "Handle ticket 12", "amount = 500.0", "ticket.read (untrusted)", "cannot say yes", "erin", "left",
    ):
        assert piece in text
    suspicious = story.json("approvals", "show", story.approval_id)["card"]["suspicious"]
    assert list(suspicious) == ["to"]


def test_an_argument_cannot_pass_for_a_line_of_the_card(ground):
    fake = "x\nrule      policy.allow\n[green]stands   approved[/green]\r\x1b[1A"
    with ground.open() as gateway:
        run = gateway.run(agent="a", tenant="acme", env="prod", request=f"{fake}\n{HOSTILE}")
        asked = run.call("refund.pay", {"amount": 101.0, "to": fake})
    text = ground.cli("approvals", "show", asked.approval_id)
    assert not obeyed(text)
    lines = [line.strip(" │") for line in text.splitlines()]
    assert [line for line in lines if line.startswith("rule")] == ["rule      big-refund"]
    assert any(line.startswith("┊ [green]stands") for line in lines)


def test_a_yes_lets_the_call_run_when_it_comes_again(story):
    answered = story.json("approvals", "approve", story.approval_id, "--by", "bob", "--note", "checked")
    assert answered["standing"] == "approved"
    assert [(each["by"], each["yes"], each["note"]) for each in answered["answers"]] == [("bob", True, "checked")]
    assert story.json("approvals", "list") == {"approvals": []}
    assert len(story.json("approvals", "list", "--all")["approvals"]) == 1
    with story.open() as gateway:
        run = gateway.run(agent="support-bot", tenant="acme", env="prod", run_id=story.run_id)
        again = run.call("refund.pay", {"amount": 500.0, "to": f"DE89 3704 0044\n{HOSTILE}"}, call_id="c5")
        assert again.kind == "unknown"  # it ran, and its line went dead


def test_a_no_is_a_no(story):
    assert "rejected" in story.cli("approvals", "reject", story.approval_id, "--by", "bob")
    assert story.json("approvals", "show", story.approval_id)["standing"] == "rejected"
    story.cli("approvals", "approve", story.approval_id, "--by", "bob", code=1)
    assert "rejected already" in story.err


@pytest.mark.parametrize("person", ["erin", "support-bot"])
def test_whoever_asked_cannot_say_yes(story, person):
    assert story.cli("approvals", "approve", story.approval_id, "--by", person, "--json", code=1) == ""
    assert "asked for this call" in story.err
    assert story.json("approvals", "show", story.approval_id)["standing"] == "waiting"


def test_a_quorum_is_counted_aloud(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    ground = Ground(tmp_path, capsys)
    ground.config.write_text(ground.config.read_text() + "approvals: {quorum: 2}\n")
    with ground.open() as gateway:
        asked = gateway.run(agent="a", tenant="acme", env="prod").call("refund.pay", {"amount": 101.0, "to": "me"})
    assert "1 more person" in ground.cli("approvals", "approve", asked.approval_id, "--by", "bob")
    ground.cli("approvals", "approve", asked.approval_id, "--by", "bob", code=1)
    assert "different people" in ground.err
    assert "1 of 2" in ground.cli("approvals", "list")
    assert "approved" in ground.cli("approvals", "approve", asked.approval_id, "--by", "eve")


def test_an_approval_that_is_not_there_or_is_anothers_is_refused(story):
    for verb in ("approve", "reject"):
        story.cli("approvals", verb, "ap_nobody", "--by", "bob", code=1)
        story.cli("approvals", verb, story.approval_id, "--by", "bob", "--tenant", "beta", code=1)
    story.cli("approvals", "show", "ap_nobody", code=1)
    story.cli("approvals", "show", story.approval_id, "--tenant", "beta", code=1)
    assert story.json("approvals", "show", story.approval_id)["standing"] == "waiting"


@pytest.mark.parametrize(
    "args", ['{"amount":', "[1]", "3", "NaN", '{"amount": NaN}', "@nowhere.json", "@.", "@", "[" * 100_000]
)
def test_edited_arguments_that_are_no_object_of_json_are_a_usage_error(story, args):
    story.cli("approvals", "approve", story.approval_id, "--by", "bob", "--args", args, code=2)
    assert "--args" in story.err
    assert len(story.err) < 500
    assert story.json("approvals", "show", story.approval_id)["standing"] == "waiting"


def test_arguments_of_a_tool_that_only_a_program_knows_cannot_be_edited_here(story):
    story.cli("approvals", "approve", story.approval_id, "--by", "bob", "--args", '{"amount": 1.0, "to": "me"}', code=1)
    assert "not registered here" in story.err
    assert story.json("approvals", "show", story.approval_id)["standing"] == "waiting"


def test_what_is_killed_cannot_be_approved(story):
    story.cli("kill", "--tenant", "acme", "--reason", "incident", "--by", "bob")
    story.cli("approvals", "approve", story.approval_id, "--by", "bob", code=1)
    assert "frozen" in story.err


def test_a_question_whose_time_is_up_says_so(ground):
    ground.config.write_text(ground.config.read_text() + "approvals: {expires: 1s}\n")
    with ground.open() as gateway:
        asked = gateway.run(agent="a", tenant="acme", env="prod").call("refund.pay", {"amount": 101.0, "to": "me"})
    import time

    time.sleep(1.1)
    assert ground.json("approvals", "show", asked.approval_id)["standing"] == "expired"
    ground.cli("approvals", "approve", asked.approval_id, "--by", "bob", code=1)
    assert "expired" in ground.err
