import shlex

from interlock.testing import ManualClock
from tests.faces.test_cli_ground import CONFIG, ground, story

__all__ = ["ground", "story"]


def test_the_calls_of_which_nobody_knows_are_listed_across_runs(story):
    with story.open() as gateway:
        second = gateway.run(agent="bot", tenant="beta", env="prod", run_id="second")
        assert second.call("refund.pay", {"amount": 1.0, "to": "DE90"}, call_id="b1").kind == "unknown"
    listed = story.json("unknowns")
    told = [(each["tenant"], each["run_id"], each["call_id"], each["tool"]) for each in listed["unknowns"]]
    assert told == [("beta", "second", "b1", "refund.pay"), ("acme", story.run_id, "c4", "refund.pay")]
    assert listed["more"] is False
    assert listed["unknowns"][0]["args"] == {"amount": 1.0, "to": "DE90"}
    assert listed["unknowns"][0]["held"] == {"tool_calls": 1, "usd": 0.0}
    assert "the line went dead" in listed["unknowns"][0]["why"]
    assert [each["call_id"] for each in story.json("unknowns", "--tenant", "acme")["unknowns"]] == ["c4"]
    assert story.json("unknowns", "--limit", "1")["more"] is True
    text = story.cli("unknowns", "--limit", "1")
    assert "b1" in text
    assert "c4" not in text
    assert "there are more" in text


def test_the_command_that_is_shown_ends_an_unknown_once_it_says_what_was_found(story):
    shown = story.cli("unknowns").splitlines()[-1]
    assert f"--tenant acme --run {story.run_id} --call c4" in shown
    args = shlex.split(shown.replace("NAME", "ann"))[1:]
    story.cli(*args, code=2)
    assert "--happened or --did-not-happen" in story.err
    assert [each["call_id"] for each in story.json("unknowns")["unknowns"]] == ["c4"]
    story.cli(*args, "--did-not-happen")
    assert story.json("unknowns")["unknowns"] == []
    assert "no call is unknown" in story.cli("unknowns")


def test_a_write_whose_owner_died_is_listed_though_nobody_has_swept(ground):
    import interlock

    clock = ManualClock()
    gateway = interlock.open(ground.config, clock=clock)

    @gateway.tool("ticket.create", effect="write")
    def create(title: str) -> str:
        found.extend(ground.json("unknowns")["unknowns"])  # its lease has run out by the clock of the command line
        return "made"

    found: list[dict[str, object]] = []
    gateway.run(agent="bot", tenant="acme", env="prod", run_id="r").call("ticket.create", {"title": "x"}, call_id="c1")
    gateway.close()
    assert [(each["call_id"], each["why"]) for each in found] == [
        ("c1", "whoever performed it was not heard of before its lease ran out")
    ]


def test_a_run_is_shown_with_the_ids_of_its_calls_and_what_to_do_about_its_unknowns(story, monkeypatch):
    for columns in ("200", "80"):
        monkeypatch.setenv("COLUMNS", columns)
        text = story.cli("run", "show", story.run_id)
        for call_id in ("c1", "c2", "c3", "c4", "c5"):
            assert call_id in text.split()
        assert text.splitlines()[-1] == (
            f"interlock reconcile --tenant acme --run {story.run_id} --call c4 --by NAME"
        )
    story.cli("reconcile", "--tenant", "acme", "--run", story.run_id, "--call", "c4", "--by", "ann", "--happened")
    assert "interlock reconcile" not in story.cli("run", "show", story.run_id)


def test_looking_for_unknowns_needs_a_ledger_and_makes_none(ground):
    ground.config.write_text(CONFIG)
    ground.cli("unknowns", code=1)
    assert "there is no ledger" in ground.err
    assert not (ground.folder / "interlock.db").exists()
