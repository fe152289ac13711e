"""What checkpoints promise: signed by the specification, never rewritten or contradicted, never in a call's way."""

import logging
import multiprocessing
import os
import stat
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from interlock.checkpoints import Bad, Checkpointer, FileSink, Notary, Torn, beside
from interlock.core.audit import Head
from interlock.errors import ConfigError, LedgerUnavailable, Refused
from interlock.notes import (
    Checkpoint,
    KeyFile,
    Note,
    NoteError,
    Signer,
    parse_checkpoint,
    parse_note,
    parse_private_key,
    parse_public_key,
)

CHECKPOINT = Checkpoint("acme", Head(5, "ab" * 32), 1_700_000_000_000_001)


class Heads:
    """The two verbs of a ledger that a notary uses."""

    def __init__(self, **heads: Head) -> None:
        self.heads = heads
        self.trouble: Exception | None = None

    def load(self, key):
        if self.trouble:
            raise self.trouble
        return self.heads.get(key.tenant)

    def tenants(self):
        return sorted(self.heads)


class Clock:
    def now(self) -> int:
        return 1_700_000_000_000_000


def head(seq: int) -> Head:
    return Head(seq, f"{seq:064x}")


@pytest.fixture
def ledger() -> Heads:
    return Heads(acme=head(7))


@pytest.fixture
def notary(ledger: Heads, tmp_path: Path) -> Notary:
    places = beside(tmp_path / "interlock.db")
    return Notary(ledger, KeyFile(places.key), FileSink(places.sink), Clock())


def written(notary: Notary, tenant: str = "acme") -> list[int]:
    found = list(notary.sink.read())
    assert all(isinstance(one, Note) for one in found)
    checkpoints = [parse_checkpoint(one.text) for one in found]
    assert all(key.signed(one) is not False for one in found for key in notary.key.public_keys())
    return [one.head.seq for one in checkpoints if one.tenant == tenant]


def eventually(true: Callable[[], bool]) -> None:
    until = time.monotonic() + 10
    while not true():
        assert time.monotonic() < until
        time.sleep(0.005)


# --- notes


def test_a_note_that_others_signed_verifies() -> None:
    text = (
        "This is an example message.\n\n— example.com/foo "
        "Uw2QOkn8srV1yJGh2VYRlL1Tnagv1YEq6TfXppzi2ONncAlTgK7Ztg1ERYNZXsYjOBH3mFXmRKuwHjG1Yu72IneyaQM=\n"
    )
    key = parse_public_key("example.com/foo+530d903a+AekyeRrm56hApGFkyQR4ZCbV54Id2LKaANYcrnKv3U2k")
    assert key.signed(parse_note(text)) is True
    assert key.signed(parse_note(text.replace("example message", "another message"))) is False
    assert Signer.new("example.com/foo").public.signed(parse_note(text)) is None


def test_a_checkpoint_is_signed_in_the_form_of_the_specification() -> None:
    signer = Signer(bytes(range(32)))
    note = signer.sign(CHECKPOINT.text)
    body, _, below = note.rpartition("\n\n")
    assert body.split("\n") == [
        "interlock/acme", "5", "q6urq6urq6urq6urq6urq6urq6urq6urq6urq6urq6s=", "2023-11-14T22:13:20.000001Z",
    ]
    assert below.startswith("— interlock ")
    assert signer.public.signed(parse_note(note)) is True
    assert signer.public.signed(parse_note(note.rstrip("\n"))) is True  # people paste notes
    assert parse_checkpoint(parse_note(note).text) == CHECKPOINT


@given(st.text(st.characters(codec="utf-8"), min_size=1), st.integers(1, 2**62))
def test_any_tenant_has_an_origin_of_its_own(tenant: str, seq: int) -> None:
    checkpoint = Checkpoint(tenant, Head(seq, "0f" * 32), 0)
    assert parse_checkpoint(parse_note(Signer(b"1" * 32).sign(checkpoint.text)).text) == checkpoint


def test_keys_survive_their_spelling_and_show_nothing() -> None:
    signer = Signer.new()
    assert parse_private_key(signer.line).public == signer.public
    assert parse_public_key(signer.public.line) == signer.public
    assert signer.line not in repr(signer) + str(vars(signer.public))


@given(st.integers(0), st.integers(1, 255))
def test_a_note_with_one_byte_changed_is_not_believed(place: int, change: int) -> None:
    signer = Signer(b"1" * 32)
    raw = bytearray(signer.sign(CHECKPOINT.text).encode())
    raw[place % (len(raw) - 1)] ^= change  # all but the last line break, which is forgiven
    try:
        assert signer.public.signed(parse_note(raw.decode())) is not True
    except (NoteError, UnicodeDecodeError):
        pass


@given(st.text() | st.text("—+ \n0aZ="))
def test_what_is_no_note_no_checkpoint_and_no_key_is_refused(text: str) -> None:
    for parse in (parse_note, parse_checkpoint, parse_public_key, parse_private_key):
        with pytest.raises(NoteError):
            parse(text)


# --- keys in files


def test_a_key_is_made_on_first_use_for_its_owner_alone(tmp_path: Path) -> None:
    file = KeyFile(tmp_path / "new" / "audit.key")
    assert file.public_keys() == ()
    assert not file.path.exists()
    signer = file.signer
    assert stat.S_IMODE(file.path.stat().st_mode) == 0o600
    assert file.public_path.read_text() == signer.public.line + "\n"
    assert KeyFile(file.path).signer.public == signer.public
    assert sorted(one.name for one in file.path.parent.iterdir()) == ["audit.key", "audit.key.pub"]


@pytest.mark.parametrize("mode", [0o604, 0o640, 0o644, 0o602])
def test_a_key_that_others_may_read_is_refused(tmp_path: Path, mode: int) -> None:
    path = tmp_path / "audit.key"
    file = KeyFile(path)
    assert file.signer
    path.chmod(mode)
    with pytest.raises(ConfigError, match="chmod 600"):
        KeyFile(path)
    path.chmod(0o600)
    later = KeyFile(path)
    path.chmod(mode)
    with pytest.raises(ConfigError, match="chmod 600"):
        assert later.signer


@pytest.mark.parametrize("content", [b"", b"\xff\xfe", b"PRIVATE+KEY+a+b+c", b"-----BEGIN PRIVATE KEY-----"])
def test_a_file_that_holds_no_key_is_refused_without_showing_it(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "audit.key"
    path.write_bytes(content)
    path.chmod(0o600)
    with pytest.raises(ConfigError, match=r"audit\.key does not hold a checkpoint key") as caught:
        assert KeyFile(path).signer
    assert "a+b+c" not in str(caught.value)


def test_old_checkpoints_verify_after_the_key_was_changed(tmp_path: Path) -> None:
    file = KeyFile(tmp_path / "audit.key")
    old = file.signer.sign(CHECKPOINT.text)
    file.path.unlink()
    again = KeyFile(file.path)
    assert again.signer.public != file.signer.public
    assert [key.signed(parse_note(old)) for key in again.public_keys()] == [True, None]


def test_many_who_make_the_key_at_once_get_the_same(tmp_path: Path) -> None:
    keys: list[str] = []
    threads = [
        threading.Thread(target=lambda: keys.append(KeyFile(tmp_path / "audit.key").signer.line)) for _ in range(8)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(keys) == 8
    assert len(set(keys)) == 1


# --- the sink


def test_notes_are_appended_and_never_rewritten(notary: Notary, ledger: Heads) -> None:
    first = notary.checkpoint("acme")
    before = notary.sink.path.read_bytes()
    ledger.heads["acme"] = head(9)
    second = notary.checkpoint("acme")
    assert notary.sink.path.read_bytes() == before + second.encode() + b"\n"
    assert before.decode() == first + "\n"
    assert written(notary) == [7, 9]


def test_a_checkpoint_that_contradicts_an_older_one_is_not_signed(notary: Notary, ledger: Heads) -> None:
    notary.checkpoint("acme")
    for wrong in (head(6), Head(7, "f" * 64), Head()):
        ledger.heads["acme"] = wrong
        for one in (notary, Notary(ledger, notary.key, FileSink(notary.sink.path), Clock())):
            with pytest.raises(Refused, match=r"signed before|nothing to sign"):
                one.checkpoint("acme")
    assert written(notary) == [7]


def test_there_is_nothing_to_sign_where_there_are_no_entries(notary: Notary) -> None:
    with pytest.raises(Refused, match="no audit entries"):
        notary.checkpoint("nobody")


@pytest.mark.parametrize("cut", range(1, 260, 3))
def test_a_note_that_a_crash_cut_off_is_passed_over_and_the_next_one_stands(tmp_path: Path, cut: int) -> None:
    sink, signer = FileSink(tmp_path / "sink"), Signer(b"1" * 32)
    notes = [Checkpoint("acme", head(n), n) for n in (1, 2, 3)]
    for one in notes[:2]:
        with sink.turn() as turn:
            turn.append(one, signer.sign(one.text))
    os.truncate(sink.path, max(sink.path.stat().st_size // 2, sink.path.stat().st_size - cut))
    assert not any(isinstance(one, Bad) for one in sink.read())
    again = FileSink(sink.path)
    with again.turn() as turn:
        turn.append(notes[2], signer.sign(notes[2].text))
    found = list(again.read())
    assert not any(isinstance(one, Bad) for one in found)
    assert sum(isinstance(one, Torn) for one in found) <= 1
    seqs = [parse_checkpoint(one.text).head.seq for one in found if isinstance(one, Note)]
    assert seqs in ([1, 3], [1, 2, 3])
    assert all(signer.public.signed(one) for one in found if isinstance(one, Note))


@given(st.binary(max_size=400), st.integers(0, 400))
def test_any_bytes_can_be_read_as_a_sink(tmp_path_factory: pytest.TempPathFactory, junk: bytes, end: int) -> None:
    path = tmp_path_factory.mktemp("sink") / "sink"
    path.write_bytes(junk)
    list(FileSink(path).read())
    list(FileSink(path).read(end))
    with FileSink(path).turn() as turn:
        assert turn.last("acme") == Head()


def test_an_endless_line_is_not_read_as_a_note(tmp_path: Path) -> None:
    path = tmp_path / "sink"
    path.write_bytes(b"a" * 5_000_000)
    assert [type(one) for one in FileSink(path).read()] == [Bad]


def test_what_another_process_signed_is_known_to_this_one(notary: Notary, ledger: Heads) -> None:
    other = Notary(ledger, notary.key, FileSink(notary.sink.path), Clock())
    notary.checkpoint("acme")
    assert other.sweep(["acme"]) == (set(), {})
    assert written(notary) == [7]


def test_a_long_sink_is_taken_up_from_its_end(notary: Notary, ledger: Heads) -> None:
    with notary.sink.turn() as turn:
        for n in range(1, 8_000):
            checkpoint = Checkpoint("acme", head(n), n)
            turn.append(checkpoint, notary.key.signer.sign(checkpoint.text))
    assert notary.sink.path.stat().st_size > 1_500_000
    ledger.heads["acme"] = head(7_998)
    with pytest.raises(Refused, match="signed before"):
        Notary(ledger, notary.key, FileSink(notary.sink.path), Clock()).checkpoint("acme")


def _append(path: Path, tenant: str) -> None:
    sink, signer = FileSink(path), Signer(b"1" * 32)
    for n in range(1, 41):
        with sink.turn() as turn:
            checkpoint = Checkpoint(tenant, head(n), n)
            turn.append(checkpoint, signer.sign(checkpoint.text))


def test_processes_that_append_at_once_break_no_note(tmp_path: Path) -> None:
    spawn = multiprocessing.get_context("spawn")
    processes = [spawn.Process(target=_append, args=(tmp_path / "sink", f"t{n}")) for n in range(4)]
    for process in processes:
        process.start()
    for process in processes:
        process.join()
    found = list(FileSink(tmp_path / "sink").read())
    assert all(isinstance(one, Note) for one in found)
    for n in range(4):
        mine = [one for one in map(parse_checkpoint, [one.text for one in found]) if one.tenant == f"t{n}"]
        assert [one.head.seq for one in mine] == list(range(1, 41))


# --- the thread


@pytest.fixture
def start(notary: Notary) -> Iterator[Callable[..., Checkpointer]]:
    started: list[Checkpointer] = []

    def begin(**options: float) -> Checkpointer:
        started.append(Checkpointer(notary, **options))
        return started[-1]

    yield begin
    for one in started:
        one.close()


def test_what_a_process_before_left_unsigned_is_signed_at_once(notary: Notary, start) -> None:
    start()
    eventually(lambda: notary.sink.path.exists() and written(notary) == [7])


def test_a_hundred_entries_are_signed_without_waiting_for_the_second(notary: Notary, ledger: Heads, start) -> None:
    checkpointer = start(seconds=3_600)
    eventually(lambda: written(notary) == [7])
    ledger.heads["acme"] = head(107)
    for _ in range(100):
        checkpointer.noticed("acme")
    eventually(lambda: written(notary) == [7, 107])


def test_less_than_a_hundred_are_signed_when_the_time_is_up(notary: Notary, ledger: Heads, start) -> None:
    checkpointer = start(seconds=0.1)
    eventually(lambda: written(notary) == [7])
    ledger.heads["acme"] = head(8)
    checkpointer.noticed("acme")
    eventually(lambda: written(notary) == [7, 8])


def test_a_quiet_tenant_is_signed_beside_a_busy_one(notary: Notary, ledger: Heads, start) -> None:
    checkpointer = start(seconds=0.2)
    eventually(lambda: written(notary) == [7])
    ledger.heads["quiet"] = head(1)
    checkpointer.noticed("quiet")

    def busy() -> bool:
        ledger.heads["acme"] = head(ledger.heads["acme"].seq + 100)
        for _ in range(100):
            checkpointer.noticed("acme")
        return written(notary, "quiet") == [1]

    eventually(busy)


def test_the_last_entries_are_signed_at_the_end(notary: Notary, ledger: Heads, start) -> None:
    checkpointer = start(seconds=3_600)
    eventually(lambda: written(notary) == [7])
    ledger.heads["acme"] = head(8)
    checkpointer.noticed("acme")
    checkpointer.close()
    assert written(notary) == [7, 8]
    checkpointer.close()


def test_trouble_with_the_ledger_is_outlived(notary: Notary, ledger: Heads, start, caplog) -> None:
    ledger.trouble = LedgerUnavailable("gone")
    with caplog.at_level(logging.WARNING):
        checkpointer = start(seconds=0.05, breath=0.01)
        eventually(lambda: "gone" in caplog.text)
        ledger.heads["late"] = head(3)
        checkpointer.noticed("late")
        time.sleep(0.3)
    assert caplog.text.count("gone") == 1  # said once, not at every attempt
    ledger.trouble = None
    eventually(lambda: written(notary, "late") == [3] and written(notary) == [7])


def test_trouble_with_the_disk_is_outlived(notary: Notary, start, caplog) -> None:
    notary.sink.path.mkdir()
    with caplog.at_level(logging.WARNING):
        start(seconds=0.05, breath=0.01)
        eventually(lambda: "trying again" in caplog.text)
    notary.sink.path.rmdir()
    eventually(lambda: notary.sink.path.exists() and written(notary) == [7])


def test_a_ledger_that_contradicts_its_checkpoints_is_told_of(notary: Notary, ledger: Heads, start, caplog) -> None:
    notary.checkpoint("acme")
    ledger.heads["acme"] = head(3)
    with caplog.at_level(logging.ERROR):
        checkpointer = start(seconds=0.05, breath=0.01)
        for _ in range(20):
            checkpointer.noticed("acme")
            time.sleep(0.02)
    assert caplog.text.count("was cut off, edited, or restored") == 1
    assert written(notary) == [7]
