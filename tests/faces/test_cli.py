import os
import pty
import signal
import subprocess
import time

import pytest

import interlock
from tests.faces.test_cli_ground import HOSTILE, PROGRAM, ground, obeyed, story

__all__ = ["ground", "story"]

LOOKING = [
    ("run", "list"), ("run", "show", "other"), ("approvals", "list"), ("approvals", "show", "ap_1"), ("switches",),
    ("audit", "verify"), ("audit", "export", "--tenant", "acme"), ("audit", "checkpoint", "--tenant", "acme"),
    ("tools", "list"), ("tools", "show", "ticket.read"),
]
ACTING = [
    ("approvals", "approve", "ap_1", "--by", "bob"), ("approvals", "reject", "ap_1", "--by", "bob"),
    ("kill", "--everything", "--reason", "x", "--by", "bob"), ("release", "--everything", "--by", "bob"),
    ("reconcile", "--tenant", "acme", "--run", "r", "--call", "c", "--happened", "--by", "bob"),
    ("top-up", "--tenant", "acme", "--run", "r", "--steps", "1", "--by", "bob"),
    ("tools", "accept", "x.y", "--by", "bob"),
]


# --- usage -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "args",
    [
        ("--nonsense",), ("run", "list", "--nonsense"), ("nonsense",), ("run", "nonsense"),
        ("run", "show"),
        ("run", "list", "--limit", "0"), ("run", "list", "--limit", "many"), ("run", "list", "--status", "asleep"),
        ("approvals", "approve", "ap_1"), ("audit", "export"), ("policy", "test"),
        ("kill", "--everything", "--by", "bob"),
        ("run", "list", "--config"), ("run", "show", "a\x1b[31mb"), ("approvals", "show", "\udcff"),
    ],
)
def test_a_wrong_command_line_is_exit_code_2_with_one_line_that_says_what_and_where_to_look(ground, args):
    assert ground.cli(*args, code=2) == ""
    assert ground.err.startswith("interlock: ")
    assert ground.err.count("\n") == 1
    assert "--help" in ground.err
    assert not obeyed(ground.err)


@pytest.mark.parametrize("args", [(), ("run",), ("approvals",), ("audit",), ("policy",), ("tools",)])
def test_a_group_alone_shows_its_commands_once(ground, args):
    assert ground.cli(*args, code=2).count("Usage:") == 1


@pytest.mark.parametrize("act", ACTING, ids=lambda act: " ".join(act[:2]))
def test_who_acts_is_never_guessed(ground, monkeypatch, act):
    monkeypatch.setenv("USER", "somebody")
    place = act.index("--by")
    ground.cli(*act[:place], *act[place + 2 :], code=2)
    assert "--by" in ground.err
    ground.cli(*act[:place], "--by", "", *act[place + 2 :], code=2)
    ground.cli(*act[:place], "--by", "bob\x1b[2J", *act[place + 2 :], code=2)
    assert not obeyed(ground.err)


# --- config and ledger -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("args", [*LOOKING, *ACTING], ids=lambda args: " ".join(args[:2]))
def test_a_ledger_that_is_not_there_is_said_and_not_made(ground, args):
    ground.cli(*args, code=1)
    assert "there is no ledger" in ground.err
    assert sorted(path.name for path in ground.folder.iterdir()) == ["interlock.yaml"]


@pytest.mark.parametrize("args", [*LOOKING, *ACTING, ("check",)], ids=lambda args: " ".join(args[:2]))
def test_a_config_that_is_missing_or_wrong_is_exit_code_2(ground, args):
    ground.config.write_text("policy: [what\n")
    ground.cli(*args, code=2)
    assert "interlock.yaml:" in ground.err
    ground.config.write_text("polizy: {}\n")
    ground.cli(*args, code=2)
    assert "policy" in ground.err
    ground.config.unlink()
    ground.cli(*args, code=2)
    assert "there is no such file" in ground.err


def test_a_config_may_stand_before_the_command_or_behind_it(story):
    elsewhere = story.folder / "elsewhere.yaml"
    story.config.rename(elsewhere)
    story.cli("run", "list", code=2)
    assert "other" in story.cli("--config", elsewhere, "run", "list")
    assert "other" in story.cli("run", "list", "--config", elsewhere)
    assert "other" in story.cli("--json", "-c", elsewhere, "run", "list")
    story.cli("--config", "nowhere.yaml", "run", "list", "--config", elsewhere)


def test_a_ledger_in_memory_cannot_be_looked_at_from_outside(ground):
    ground.config.write_text("ledger: 'memory:'\n")
    ground.cli("run", "list", code=1)
    assert "memory" in ground.err


def test_a_file_that_is_no_ledger_is_refused(ground):
    (ground.folder / "interlock.db").write_bytes(b"not a database" * 1000)
    ground.cli("run", "list", code=1)
    assert "restore it from a backup" in ground.err


def test_a_row_that_was_edited_by_hand_is_no_traceback(story):
    import sqlite3

    connection = sqlite3.connect(story.folder / "interlock.db")
    connection.execute("UPDATE runs SET body = '{\"tenant\": 3}' WHERE run_id = 'other'")
    connection.commit()
    connection.close()
    story.cli("run", "list", code=1)
    assert "restore it from a backup" in story.err


@pytest.mark.parametrize("args", LOOKING[:1] + LOOKING[2:3] + LOOKING[4:6], ids=lambda args: " ".join(args))
def test_looking_writes_nothing(story, args):
    def state():
        return {path.name: path.read_bytes() for path in story.folder.iterdir()}

    before = state()
    story.cli(*args)
    assert state() == before


def test_looking_works_while_a_gateway_runs_on_the_same_file(story):
    with story.open() as gateway:
        run = gateway.run(agent="support-bot", tenant="acme", env="prod", run_id="now")
        run.call("ticket.read", {"ticket": "3"})
        assert b"now" in story.program("run", "list").stdout
        shown = story.program("run", "show", "now")
        assert (shown.returncode, shown.stderr) == (0, b"")
        assert story.program("audit", "verify").returncode == 0
        assert run.call("ticket.read", {"ticket": "4"}).kind == "done"


# --- the program -----------------------------------------------------------------------------------------------------


def test_the_program_gives_the_exit_codes_and_no_traceback(story):
    assert story.program("run", "list").returncode == 0
    refused = story.program("run", "show", "nobody")
    assert (refused.returncode, refused.stdout) == (1, b"")
    assert refused.stderr == b"interlock: there is no run 'nobody': see interlock run list\n"
    assert story.program("run", "list", "--config", "nowhere.yaml").returncode == 2
    assert story.program("--version").stdout.startswith(b"interlock ")


def test_the_command_line_starts_fast(story):
    story.program("run", "list")
    fastest = min(_timed(story) for _ in range(3))
    assert fastest < 2.0  # a third of a second on an idle machine


def _timed(story):
    began = time.perf_counter()
    story.program("run", "list")
    return time.perf_counter() - began


@pytest.mark.parametrize("args", [("audit", "export", "--tenant", "acme"), ("run", "list"), ("run", "list", "--json")])
def test_a_reader_that_goes_away_is_no_trouble(story, args):
    reading, writing = os.pipe()
    os.close(reading)
    ended = subprocess.run(
        [*PROGRAM, *args], cwd=story.folder, stdout=writing, stderr=subprocess.PIPE, timeout=60, check=False
    )
    os.close(writing)
    assert (ended.returncode, ended.stderr) == (141, b"")


def test_an_interrupt_is_exit_code_130(story):
    with story.open() as gateway:
        for place in range(240):
            if place % 12 == 0:
                run = gateway.run(agent="a", tenant="acme", env="prod")
            run.call("ticket.create", {"title": f"{place} " + "x" * 500})
    # nobody reads, so the export waits in the middle
    with subprocess.Popen(
        [*PROGRAM, "audit", "export", "--tenant", "acme"],
        cwd=story.folder,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    ) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        process.stdout.read(1)
        process.send_signal(signal.SIGINT)
        assert process.wait(30) == 130
        assert process.stderr.read() == b""


def test_a_closed_standard_output_is_no_traceback(story):
    ended = subprocess.run(
        ["/bin/sh", "-c", '"$@" >&-', "sh", *PROGRAM, "run", "list"],
        cwd=story.folder, stderr=subprocess.PIPE, timeout=60, check=False,
    )
    assert b"Traceback" not in ended.stderr


def test_a_terminal_that_knows_only_ascii_gets_what_it_can_show(story):
    shown = story.program("approvals", "show", story.approval_id, env={"PYTHONIOENCODING": "ascii"})
    assert (shown.returncode, shown.stderr) == (0, b"")
    assert b"refund.pay" in shown.stdout


@pytest.mark.parametrize("columns", ["80", "120"])
def test_on_a_terminal_nothing_that_a_model_wrote_is_obeyed(story, columns):
    """On a real terminal there are colours: ours. What a model wrote is spelled out."""
    for args in (("run", "show", story.run_id), ("approvals", "show", story.approval_id), ("audit", "verify")):
        master, slave = pty.openpty()
        environ = {**os.environ, "COLUMNS": columns, "TERM": "xterm-256color"}
        with subprocess.Popen([*PROGRAM, *args], cwd=story.folder, env=environ, stdout=slave, stderr=slave) as process:
            os.close(slave)
            shown = _all_of(master)
        assert process.returncode == 0
        assert "\x1b[" in shown
        for sign in ("\x1b]", "\x07", "\u202e", "\x9b", "\x1b[31m[bold"):
            assert sign not in shown


def _all_of(master):
    read = b""
    while True:
        try:
            piece = os.read(master, 65536)
        except OSError:
            piece = b""
        if not piece:
            os.close(master)
            return read.decode()
        read += piece


@pytest.mark.parametrize("wide", ["40", "80", "120"])
def test_what_a_model_wrote_is_spelled_out_for_people_and_for_programs(story, monkeypatch, wide):
    monkeypatch.setenv("COLUMNS", wide)
    for args in (
        ("run", "show", story.run_id), ("approvals", "show", story.approval_id), ("approvals", "list", "--all"),
        ("run", "list"), ("tools", "list"), ("audit", "verify"), ("switches", "--all"),
    ):
        assert not obeyed(story.cli(*args))
        assert not obeyed(story.cli(*args, "--json"))
    timeline = story.json("run", "show", story.run_id)["timeline"]
    assert next(line for line in timeline if line["call_id"] == "c2")["args"] == {"title": HOSTILE}
    assert story.json("approvals", "show", story.approval_id)["card"]["arguments"]["to"].endswith(HOSTILE)


# --- init and demo ---------------------------------------------------------------------------------------------------


def test_init_writes_a_config_that_loads_and_denies_what_nobody_allowed(ground):
    ground.config.unlink()
    assert "interlock.yaml is written" in ground.cli("init")
    report = ground.json("check")
    assert report["warnings"] == []
    with interlock.open(ground.config) as gateway:
        assert gateway.config.budgets.limits.steps == 25
        run = gateway.run(agent="a", tenant="acme", env="prod")
        assert run.call("anything", {}).kind == "denied"


def test_init_overwrites_nothing_unless_told_so(ground):
    before = ground.config.read_text()
    ground.cli("init", code=2)
    assert "--force" in ground.err
    assert ground.config.read_text() == before
    ground.cli("init", "--force")
    assert ground.config.read_text() != before
    assert ground.json("--config", "other.yaml", "init") == {"written": "other.yaml"}
    ground.cli("init", "--config", "nowhere/interlock.yaml", code=2)
    assert "cannot be written" in ground.err


def test_the_demo_of_an_installed_package_says_where_to_get_it(ground, monkeypatch):
    from interlock.faces import cli_start

    monkeypatch.setattr(cli_start, "__file__", str(ground.folder / "a" / "b" / "c" / "d" / "cli_start.py"))
    ground.cli("demo", code=1)
    assert "make demo" in ground.err


def test_the_demo_of_a_checkout_is_run_and_its_failure_is_ours(ground, monkeypatch):
    from interlock.faces import cli_start

    script = ground.folder / "scripts" / "demo.sh"
    script.parent.mkdir()
    script.write_text("#!/bin/sh\ntouch ran\nexit ${DEMO_CODE:-0}\n")
    script.chmod(0o755)
    monkeypatch.setattr(cli_start, "__file__", str(ground.folder / "src" / "interlock" / "faces" / "cli_start.py"))
    ground.cli("demo")
    assert (ground.folder / "ran").exists()
    monkeypatch.setenv("DEMO_CODE", "3")
    ground.cli("demo", code=1)
