import json
import os
import pty
import sqlite3
import subprocess

import pytest

from interlock.notes import Signer
from tests.faces.test_cli_ground import PROGRAM, ground, story

__all__ = ["ground", "story"]


def edit(story, statement):
    connection = sqlite3.connect(story.folder / "interlock.db")
    connection.execute(statement)
    connection.commit()
    connection.close()


def export(story, tenant="acme"):
    done = story.program("audit", "export", "--tenant", tenant)
    assert (done.returncode, done.stderr) == (0, b"")
    path = story.folder / f"{tenant}.jsonl"
    path.write_bytes(done.stdout)
    return path


def test_an_intact_ledger_is_said_to_be_so_tenant_by_tenant(story):
    verified = story.json("audit", "verify")
    assert verified["ok"] is True
    assert [(each["tenant"], each["ok"], each["problem"]) for each in verified["tenants"]] == [
        ("acme", True, None), ("beta", True, None),
    ]
    acme = verified["tenants"][0]
    assert acme["entries"] == acme["head"]["seq"] > 5
    assert acme["checkpoints"] >= 1
    assert story.cli("audit", "verify", "--tenant", "beta").startswith("ok   'beta': intact, 4 entries")


def test_the_first_bad_entry_is_named_with_the_reason(story):
    edit(
        story,
        "UPDATE audit SET body = replace(body, 'ticket.create', 'ticket.delete')"
        " WHERE hash = (SELECT hash FROM audit_entries WHERE tenant = 'acme' AND seq = 6)",
    )
    told = story.json("audit", "verify", code=1)
    assert told["ok"] is False
    bad = told["tenants"][0]
    assert bad["problem"]["seq"] == 6
    assert bad["problem"]["reason"].startswith("edited")
    assert told["tenants"][1]["ok"] is True
    assert story.err == ""
    assert "first bad entry 6: edited" in story.cli("audit", "verify", "--tenant", "acme", code=1)
    story.cli("audit", "verify", "--tenant", "beta")


def test_a_log_that_was_cut_off_is_seen(story):
    edit(story, "DELETE FROM audit WHERE hash IN (SELECT hash FROM audit_entries WHERE tenant = 'acme' AND seq > 3)")
    assert "truncated" in story.cli("audit", "verify", code=1)


def test_a_checkpoint_that_shows_the_cut_counts_as_compared(story):
    path, note = export(story), story.folder / "tip.note"
    note.write_bytes(story.program("audit", "checkpoint", "--tenant", "acme").stdout)
    path.write_bytes(b"".join(path.read_bytes().splitlines(keepends=True)[:-3]))
    told = story.cli("audit", "verify", "--file", path, "--checkpoint", note, code=1)
    assert "but the checkpoint of" in told
    assert "no checkpoint was compared" not in told


def test_an_export_is_proven_without_its_ledger(story):
    path = export(story)
    note = story.folder / "tip.note"
    note.write_bytes(story.program("audit", "checkpoint", "--tenant", "acme").stdout)
    public = story.folder / "interlock.db.key.pub"
    verified = story.json("audit", "verify", "--file", path, "--checkpoint", note, "--public-key", public)
    assert verified["ok"] is True
    assert verified["tenants"][0]["remarks"] == []
    with_line = ("--public-key", public.read_text().strip())
    assert story.json("audit", "verify", "--file", path, "--checkpoint", note, *with_line)["ok"] is True
    story.config.unlink()  # neither config nor ledger is needed
    (story.folder / "interlock.db").unlink()
    assert "no checkpoint was compared" in story.cli("audit", "verify", "--file", path)


def test_an_export_that_was_touched_is_exit_code_1(story):
    path = export(story)
    lines = path.read_bytes().splitlines(keepends=True)
    path.write_bytes(b"".join(lines[:5] + lines[6:]))
    assert "first bad entry 5: dropped" in story.cli("audit", "verify", "--file", path, code=1)
    path.write_bytes(b"".join(lines[:5]))
    assert "truncated" in story.cli("audit", "verify", "--file", path, code=1)


def test_a_file_that_is_no_export_is_exit_code_2(story):
    path = story.folder / "tip.note"
    for content in (b"\x1b[2J\xff not an export", b"", b"{}\n", story.config.read_bytes()):
        path.write_bytes(content)
        story.cli("audit", "verify", "--file", path, code=2)
        assert "tip.note is no audit export; make one with" in story.err


def test_a_checkpoint_that_anybody_may_have_signed_is_exit_code_1(story):
    path, note = export(story), story.folder / "elsewhere" / "tip.note"
    note.parent.mkdir()
    told = story.program("audit", "checkpoint", "--tenant", "acme").stdout.decode()
    note.write_text(Signer.new().sign(told.rpartition("\n\n")[0] + "\n"))
    said = story.cli("audit", "verify", "--file", path, "--checkpoint", note, code=1)
    assert "NOT proven" in said
    assert "0 checkpoints agreed with" in said
    story.cli("audit", "verify", "--file", path, "--checkpoint", note, "--trust-checkpoint")
    story.cli("audit", "verify", "--file", path, "--trust-checkpoint", code=2)


def test_files_that_cannot_be_read_are_exit_code_2(story):
    path = export(story)
    story.cli("audit", "verify", "--file", "nowhere.jsonl", code=2)
    assert "nowhere.jsonl" in story.err
    story.cli("audit", "verify", "--file", ".", code=2)
    story.cli("audit", "verify", "--file", path, "--checkpoint", "nowhere.note", code=2)
    story.cli("audit", "verify", "--file", path, "--public-key", "nowhere.pub", code=2)
    story.cli("audit", "verify", "--file", path, "--public-key", "a+b+c", code=2)


def test_what_contradicts_itself_is_a_usage_error(story):
    story.cli("audit", "verify", "--checkpoint", "x.note", code=2)
    assert "--file" in story.err
    story.cli("audit", "verify", "--public-key", "x.pub", code=2)
    story.cli("audit", "verify", "--file", export(story), "--tenant", "acme", code=2)


@pytest.mark.parametrize("verb", ["verify", "export", "checkpoint"])
def test_a_tenant_without_an_audit_is_refused_and_the_nearest_named(story, verb):
    assert story.cli("audit", verb, "--tenant", "acmee", code=1) == ""
    assert "did you mean 'acme'?" in story.err


def test_an_export_is_lines_of_json_from_the_first_to_the_tip(story):
    first, *entries, last = map(json.loads, export(story).read_bytes().splitlines())
    assert first["tenant"] == "acme"
    assert [entry["body"]["seq"] for entry in entries] == list(range(1, last["entries"] + 1))


def test_a_checkpoint_is_a_note_and_is_kept_in_the_sink(story):
    note = story.json("audit", "checkpoint", "--tenant", "acme")["note"]
    assert note.startswith("interlock/acme\n")
    assert note in (story.folder / "interlock.db.checkpoints").read_text()


def test_nothing_yet_is_no_failure(ground):
    with ground.open():
        pass
    assert "nothing has happened yet" in ground.cli("audit", "verify")
    assert ground.json("audit", "verify") == {"ok": True, "tenants": []}


def test_progress_is_shown_on_a_terminal_and_taken_away_again(monkeypatch):
    from interlock.faces import cli_print

    master, slave = pty.openpty()
    with os.fdopen(slave, "w") as terminal:
        monkeypatch.setattr("sys.stderr", terminal)
        progress = cli_print.Progress("verify \x1b[2Jacme", 2000)
        monkeypatch.setattr(progress, "_due", 0.0)
        progress.tick(499)
        progress.tick(500)
        progress.close()
    shown = b""
    while not shown.endswith(b"\x1b[K"):  # a terminal hands over what it has, not what was written at once
        shown += os.read(master, 1000)
    assert shown == b"\rverify \\x1b[2Jacme: 500 of 2,000 entries \r\x1b[K"
    os.close(master)


def test_an_export_may_be_read_in_part(story):
    ended = subprocess.run(
        ["/bin/bash", "-c", 'set -o pipefail; "$@" | head -c 1', "sh", *PROGRAM, "audit", "export", "--tenant", "acme"],
        cwd=story.folder, capture_output=True, timeout=60, check=False,
    )
    assert ended.stdout == b"{"
    assert ended.stderr == b""
