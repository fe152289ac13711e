import sqlite3
from pathlib import Path

import pytest

import interlock
from interlock.stores.migrate import TABLE
from tests.faces.test_cli_ground import CONFIG, HOSTILE, ground, obeyed, story

__all__ = ["ground", "story"]

NAMES = [
    "ledger", "gateway_owned", "default_deny", "budgets", "stop_reasons", "traces", "approvals", "kill_switch",
    "canary", "replay_baseline",
]
WELL = """\
ledger: {url: "LEDGER", synchronous: "off"}
policy: {allow: ["ticket.read"]}
budgets: {max_usd: 1.00}
prices: {small: {input: 0.25, output: 2.00}}
doctor: {baseline: traces}
"""


def states(found) -> dict[str, str]:
    return {each["name"]: each["state"] for each in found["checks"]}


def named(found, name: str):
    return next(each for each in found["checks"] if each["name"] == name)


def files(folder: Path) -> dict[str, bytes]:
    return {each.name: each.read_bytes() for each in folder.iterdir() if not each.name.endswith(("-shm", "-wal"))}


def make_well(ground, ledger: str) -> None:
    """A gateway that is used as it should be."""
    from interlock.adapters.plain import Agent, drive
    from interlock.core.turn import Call
    from interlock.scripted import script

    ground.config.write_text(WELL.replace("LEDGER", ledger))
    with interlock.open(ground.config) as gateway:
        gateway.tool("ticket.read", effect="read")(lambda ticket="": f"text of {ticket}")
        usage = interlock.Usage(input_tokens=9, output_tokens=4)
        agent = Agent(script([Call("ticket.read", {"ticket": "17"}, "c1")], "It is read.", usage=usage), "small", 500)
        run = gateway.run(agent="bot", tenant="acme", env="prod", run_id="r17", runtime="plain")
        drive(run, agent, "Read ticket 17.")
    (ground.folder / "traces").mkdir()
    ground.cli("run", "export", "r17", "--out", "traces/r17.json", silent=False)
    drill = ("--tool", "drill.nothing", "--reason", "drill", "--by", "ann")
    ground.cli("kill", *drill, silent=False)
    ground.cli("release", *drill, silent=False)


def test_a_gateway_that_is_used_as_it_should_be_passes(ground):
    make_well(ground, "sqlite:///interlock.db")
    found = ground.json("doctor")
    assert found["ok"] is True
    assert states(found) == {**dict.fromkeys(NAMES, "ok"), "canary": "warn"}
    assert list(states(found)) == NAMES
    assert all(each["to_do"] == [] for each in found["checks"] if each["name"] != "canary")
    assert "9 ok, 1 warn" in ground.cli("doctor")


def test_it_reads_a_ledger_in_postgresql_and_tells_no_password(ground, postgres_url):
    make_well(ground, postgres_url)
    found = ground.json("doctor")
    assert states(found) == {**dict.fromkeys(NAMES, "ok"), "canary": "warn"}
    where = named(found, "ledger")["looked_at"][0]
    assert where.startswith("postgresql://")
    assert "@" not in where
    assert "1 tenant; 1 run looked at" in where


def test_a_database_without_a_ledger_is_a_point_that_fails_and_gets_none(ground, postgres_url):
    ground.config.write_text(f'ledger: "{postgres_url}"\n')
    found = ground.json("doctor", code=1)
    assert "holds no ledger yet" in named(found, "ledger")["looked_at"][0]
    ground.json("doctor", code=1)
    assert "holds no ledger yet" in named(found, "ledger")["looked_at"][0]


def test_one_point_that_fails_is_exit_code_1_and_each_says_what_was_looked_at_and_what_to_do(story):
    found = story.json("doctor", code=1)
    assert found["ok"] is False
    assert list(states(found)) == NAMES
    assert states(found)["budgets"] == "fail"
    assert named(found, "budgets")["to_do"][0] == "budgets: {max_usd: 1.00}"
    assert named(found, "budgets")["looked_at"][0] == "for everybody: max_steps 25, max_tool_calls 12, max_seconds 300"
    assert any("1 call unknown: acme/" in each for each in named(found, "traces")["looked_at"])
    assert any("ticket.create (write)" in each for each in named(found, "approvals")["looked_at"])
    assert all(each["looked_at"] for each in found["checks"])
    assert all(each["to_do"] for each in found["checks"] if each["state"] == "fail")


def test_the_days_that_are_looked_at_can_be_chosen(story):
    assert "all of the last 7 days" in story.cli("doctor", "--days", "7", code=1)
    story.cli("doctor", "--days", "0", code=2)


def test_a_config_that_is_wrong_is_exit_code_2(ground):
    ground.config.write_text("doctor: {unasked: 7}\n")
    ground.cli("doctor", code=2)
    assert "interlock.yaml:1" in ground.err
    ground.cli("doctor", "--config", "nowhere.yaml", code=2)


def test_where_there_is_no_ledger_it_says_so_and_makes_none(ground):
    found = ground.json("doctor", code=1)
    assert "there is no ledger at" in named(found, "ledger")["looked_at"][0]
    assert states(found)["kill_switch"] == states(found)["traces"] == "fail"
    assert [each.name for each in ground.folder.iterdir()] == ["interlock.yaml"]


def test_a_ledger_in_memory_cannot_be_looked_at_from_outside_and_that_is_said(ground):
    ground.config.write_text('ledger: "memory:"\n')
    assert "is memory" in named(ground.json("doctor", code=1), "ledger")["looked_at"][0]


def test_looking_changes_nothing(story):
    before = files(story.folder)
    story.json("doctor", code=1)
    assert files(story.folder) == before


def test_an_older_ledger_is_not_migrated_but_told_of(story):
    with sqlite3.connect("interlock.db") as ledger:
        ledger.execute(f"DELETE FROM {TABLE} WHERE number = (SELECT max(number) FROM {TABLE})")
    ledger.close()
    before = files(story.folder)
    found = story.json("doctor", code=1)
    assert "brings it up to date" in named(found, "ledger")["looked_at"][0]
    assert files(story.folder) == before


@pytest.mark.parametrize(
    ("spoil", "told"),
    [
        (lambda: Path("interlock.db").write_bytes(b"not a database, " * 400), "restore it from a backup"),
        (lambda: Path("interlock.db.switches").unlink(), "there is no switch board interlock.db.switches"),
    ],
)
def test_a_ledger_that_cannot_be_read_is_a_point_that_fails_and_says_what_to_do(story, spoil, told):
    spoil()
    names = {each.name for each in story.folder.iterdir()}
    found = story.json("doctor", code=1)
    assert told in named(found, "ledger")["looked_at"][0]
    assert {each.name for each in story.folder.iterdir()} == names


def test_a_row_that_cannot_be_read_is_a_point_that_fails(story):
    with sqlite3.connect("interlock.db") as ledger:
        ledger.execute("UPDATE runs SET body = '{'")
    ledger.close()
    assert states(story.json("doctor", code=1))["ledger"] == "fail"


def test_it_reads_well_on_a_narrow_terminal_and_nothing_in_it_is_obeyed(story, monkeypatch):
    story.config.write_text(CONFIG + 'budgets: {max_usd: 1.00}\n')
    with story.open() as gateway:
        gateway.control.kill(agent="bot", reason=HOSTILE.replace("\x1b", " ").replace("\x07", " "), by="ann")
    monkeypatch.setenv("COLUMNS", "80")
    text = story.cli("doctor", code=1)
    assert obeyed(text) == []
    assert max(len(line) for line in text.splitlines()) <= 80
    assert text.splitlines()[-1].endswith("fail")
    assert "→ interlock unknowns, then interlock reconcile" in text


def test_without_a_terminal_there_is_no_colour(story):
    done = story.program("doctor")
    assert done.returncode == 1
    assert b"\x1b" not in done.stdout
    assert done.stderr == b""
