"""What `gw.audit` promises: it streams, it finds every change in ledger, export and checkpoints, and says what it did
not check."""

import tracemalloc
from collections.abc import Callable, Iterator
from pathlib import Path

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from interlock.audit_log import MAX_LINE, AuditLog, verify_file
from interlock.checkpoints import FileSink, Notary, beside
from interlock.core.audit import Entry, Head, Kind, Sealed, encode, hash_of, seal
from interlock.core.verify import Verification
from interlock.errors import ConfigError, InterlockError, Refused
from interlock.notes import KeyFile, PublicKey, Signer


class Ledger:
    """The audit verbs of a ledger, over a list."""

    def __init__(self, *tenants: str, length: int = 10) -> None:
        self.rows: dict[str, list[Sealed]] = {tenant: [] for tenant in tenants}
        self.heads: dict[str, Head] = {}
        for tenant in tenants:
            self.append(tenant, length)

    def append(self, tenant: str, length: int = 1, by: str = "") -> None:
        for _ in range(length):
            head = self.heads.get(tenant, Head())
            run = f"r{head.seq % 2}"
            entry = Entry(tenant=tenant, at=head.seq, kind=Kind.DECIDED, run_id=run, by=by, detail={"é": 1.5})
            sealed, self.heads[tenant] = seal(entry, head)
            self.rows[tenant].append(sealed)

    def rebuild(self, tenant: str, by: str) -> None:
        length, self.rows[tenant], self.heads[tenant] = len(self.rows[tenant]), [], Head()
        self.append(tenant, length, by)

    def load(self, key):
        return self.heads.get(key.tenant)

    def tenants(self):
        return sorted(self.rows)

    def entries(self, tenant: str, after: int = 0, limit: int | None = None) -> Iterator[Sealed]:
        found = [one for one in self.rows.get(tenant, []) if one.seq > after]
        yield from found[:limit]


class Clock:
    def now(self) -> int:
        return 1_700_000_000_000_000


@pytest.fixture
def ledger() -> Ledger:
    return Ledger("acme", "other")


@pytest.fixture
def audit(ledger: Ledger, tmp_path: Path) -> AuditLog:
    places = beside(tmp_path / "interlock.db")
    return AuditLog(ledger, Notary(ledger, KeyFile(places.key), FileSink(places.sink), Clock()))


@pytest.fixture
def sink(tmp_path: Path) -> Path:
    return beside(tmp_path / "interlock.db").sink


def exported(audit: AuditLog, path: Path, tenant: str = "acme") -> Path:
    path.write_bytes(b"".join(audit.export(tenant)))
    return path


def found(verification: Verification) -> tuple[int, str]:
    assert not verification.ok
    assert verification.problem is not None
    return verification.problem.seq, verification.problem.reason


# --- reading


def test_entries_are_read_in_order_by_run_and_by_page(audit: AuditLog) -> None:
    assert [one.seq for one in audit.entries("acme")] == list(range(1, 11))
    assert [one.seq for one in audit.entries("acme", after=3, limit=2)] == [4, 5]
    assert [one.seq for one in audit.entries("acme", run_id="r1")] == [2, 4, 6, 8, 10]
    assert [one.seq for one in audit.entries("acme", run_id="r1", after=3, limit=2)] == [4, 6]
    assert list(audit.entries("acme", run_id="")) == list(audit.entries("nobody")) == []
    assert list(audit.entries("acme", limit=0)) == []


def test_no_tenant_is_shown_another_one(audit: AuditLog) -> None:
    assert {one.tenant for one in audit.entries("acme")} == {"acme"}
    assert all(b"other" not in line for line in audit.export("acme"))
    assert audit.tenants() == ["acme", "other"]


def test_an_entry_that_cannot_be_read_is_named(audit: AuditLog, ledger: Ledger) -> None:
    ledger.rows["acme"][3] = Sealed("acme", 4, b"\xff", hash_of(b"\xff"))
    with pytest.raises(InterlockError, match="entry 4 of tenant 'acme'"):
        list(audit.entries("acme"))


# --- the ledger


def test_an_intact_ledger_agrees_with_all_its_checkpoints(audit: AuditLog, ledger: Ledger) -> None:
    for _ in range(3):
        audit.checkpoint("acme")
        audit.checkpoint("other")
        ledger.append("acme", 5)
    verification = audit.verify("acme")
    assert (verification.ok, verification.entries, verification.checkpoints) == (True, 25, 3)
    assert verification.text.startswith("'acme': intact, 25 entries, head 25 ")
    assert verification.text.endswith("3 checkpoints agreed with")


def test_what_could_not_be_seen_is_said(audit: AuditLog, ledger: Ledger) -> None:
    assert "would not be seen" in audit.verify("acme").text
    assert "would not be seen" in AuditLog(ledger).verify("acme").text
    ledger.rebuild("acme", by="nobody")
    assert AuditLog(ledger).verify("acme").ok


def test_a_ledger_chained_anew_is_seen_with_a_checkpoint(audit: AuditLog, ledger: Ledger) -> None:
    audit.checkpoint("acme")
    ledger.rebuild("acme", by="nobody")
    seq, reason = found(audit.verify("acme"))
    assert seq == 10
    assert reason.startswith("chained anew from an edit in entries 1 to 10: the checkpoint of 2023-11-14T22:13:20")


def test_a_ledger_whose_tail_and_head_were_cut_is_seen_with_a_checkpoint(audit: AuditLog, ledger: Ledger) -> None:
    audit.checkpoint("acme")
    ledger.rows["acme"] = ledger.rows["acme"][:6]
    ledger.heads["acme"] = Head(6, ledger.rows["acme"][-1].hash)
    assert AuditLog(ledger).verify("acme").ok
    assert found(audit.verify("acme"))[0] == 7
    assert "truncated" in audit.verify("acme").text
    with pytest.raises(Refused, match="cut off"):
        audit.checkpoint("acme")


def test_a_tenant_that_was_deleted_whole_is_seen_with_a_checkpoint(audit: AuditLog, ledger: Ledger) -> None:
    audit.checkpoint("acme")
    del ledger.rows["acme"], ledger.heads["acme"]
    assert audit.tenants() == ["acme", "other"]
    assert found(audit.verify("acme"))[0] == 1


def test_a_missing_head_row_is_seen(audit: AuditLog, ledger: Ledger) -> None:
    del ledger.heads["acme"]
    assert found(audit.verify("acme"))[0] == 1


def test_entries_that_come_while_the_log_is_verified_are_no_problem(audit: AuditLog, ledger: Ledger) -> None:
    audit.checkpoint("acme")
    read = ledger.entries

    def entries(tenant: str, after: int = 0, limit: int | None = None) -> Iterator[Sealed]:
        ledger.append("acme", 5)
        audit.checkpoint("acme")
        yield from read(tenant, after, 12)
        ledger.append("acme", 5)

    ledger.entries = entries
    verification = audit.verify("acme")
    assert (verification.ok, verification.entries) == (True, 12)


@pytest.mark.parametrize("spoil", ["signature", "text", "forged", "rearranged", "junk"])
def test_checkpoints_that_were_tampered_with_are_a_problem(
    audit: AuditLog, ledger: Ledger, sink: Path, spoil: str
) -> None:
    first = audit.checkpoint("acme")
    ledger.append("acme")
    second = audit.checkpoint("acme")
    last = second.rstrip("\n")[-20]
    forged = Signer.new().sign(second.rpartition("\n\n")[0] + "\n")
    notes = {
        "signature": [first, second[:-21] + ("A" if last != "A" else "B") + second[-20:]],
        "text": [first, second.replace("2023", "2022")],
        "forged": [first, forged],
        "rearranged": [second, first],
        "junk": [first, "some other text\n", second],
    }[spoil]
    sink.write_text("".join(f"{note}\n" for note in notes))
    assert not audit.verify("acme").ok


def test_a_checkpoint_that_a_crash_cut_off_is_passed_over_and_told(audit: AuditLog, sink: Path) -> None:
    audit.checkpoint("acme")
    with sink.open("a") as file:
        file.write("interlock/acme\n12\nAb")
    for _ in range(2):
        verification = audit.verify("acme")
        assert verification.ok
        assert "1 incomplete checkpoint(s)" in verification.text
        audit.checkpoint("acme")
    assert audit.verify("acme").checkpoints == 3


def test_only_the_tail_behind_a_trusted_checkpoint_is_read(audit: AuditLog, ledger: Ledger) -> None:
    ledger.append("acme", 5)
    note = audit.checkpoint("acme")
    trusted = audit.verify("acme").head
    ledger.append("acme", 5)
    audit.checkpoint("acme")
    ledger.rows["acme"][2] = ledger.rows["acme"][3]  # in the part that is trusted: not read again
    for since in (note, trusted):
        verification = audit.verify("acme", since=since)
        assert (verification.ok, verification.entries, verification.checkpoints) == (True, 5, 2)
    assert not audit.verify("acme").ok
    assert found(audit.verify("acme", since=Head(15, "f" * 64)))[0] == 15
    for wrong in ("", "junk", note.replace("\n15\n", "\n14\n"), audit.checkpoint("other")):
        with pytest.raises(ConfigError, match="since"):
            audit.verify("acme", since=wrong)


def test_a_ledger_without_a_key_cannot_sign(ledger: Ledger) -> None:
    with pytest.raises(ConfigError, match="no checkpoint key"):
        AuditLog(ledger).checkpoint("acme")


# --- exports


def test_an_export_can_be_verified_without_its_ledger(audit: AuditLog, sink: Path, tmp_path: Path) -> None:
    note = tmp_path / "note"
    note.write_text(audit.checkpoint("acme"))
    path = exported(audit, tmp_path / "acme.jsonl")
    key = sink.with_name("interlock.db.key.pub")
    alone = verify_file(path)
    assert (alone.ok, alone.entries, alone.tenant, alone.checkpoints) == (True, 10, "acme", 0)
    assert "would not be seen" in alone.text
    for checked in (
        verify_file(path, sink),  # the key is found beside it
        verify_file(path, note, key),
        verify_file(str(path), str(note), key.read_text().strip()),
    ):
        assert (checked.ok, checked.checkpoints, checked.remarks) == (True, 1, ())


def test_a_checkpoint_whose_signature_was_not_verified_proves_nothing(audit: AuditLog, tmp_path: Path) -> None:
    note, path = tmp_path / "note", exported(audit, tmp_path / "acme.jsonl")
    true = audit.checkpoint("acme")
    for signed in (true, Signer.new().sign(true.rpartition("\n\n")[0] + "\n")):
        note.write_text(signed)
        unproven = verify_file(path, note)
        assert (unproven.ok, unproven.problem, unproven.checkpoints) == (False, None, 0)
        assert "NOT proven" in unproven.text
        assert "could NOT be checked" in unproven.text
    note.write_text(true)
    trusted = verify_file(path, note, trusted=True)  # whoever says so has kept it
    assert (trusted.ok, trusted.checkpoints) == (True, 1)
    assert "taken on trust" in trusted.text


def test_a_ledger_whose_checkpoints_no_key_can_verify_is_not_proven(audit: AuditLog, sink: Path) -> None:
    audit.checkpoint("acme")
    assert audit.verify("acme").ok
    for key in (sink.with_name("interlock.db.key"), sink.with_name("interlock.db.key.pub")):
        key.unlink()
    assert not audit.verify("acme").ok


def test_a_first_key_that_is_made_meanwhile_puts_nothing_in_doubt(ledger: Ledger, tmp_path: Path) -> None:
    class MadeMeanwhile(KeyFile):
        def public_keys(self) -> tuple[PublicKey, ...]:
            known = super().public_keys()
            notary.checkpoint("acme")  # as the thread that signs may do at any moment
            return known

    places = beside(tmp_path / "interlock.db")
    notary = Notary(ledger, MadeMeanwhile(places.key), FileSink(places.sink), Clock())
    assert [AuditLog(ledger, notary).verify("acme").checkpoints for _ in range(2)] == [0, 1]


def test_a_cut_that_an_unverified_checkpoint_shows_is_named(audit: AuditLog, tmp_path: Path) -> None:
    note, path = tmp_path / "note", tmp_path / "x"
    note.write_text(audit.checkpoint("acme"))
    lines = list(audit.export("acme"))
    path.write_bytes(b"".join(lines[:8]))
    assert found(verify_file(path, note))[1].startswith("truncated")


def test_an_export_holds_the_bytes_that_were_hashed(audit: AuditLog, ledger: Ledger) -> None:
    lines = list(audit.export("acme"))
    assert lines[0] == b'{"interlock_audit":1,"tenant":"acme"}\n'
    assert msgspec.json.decode(lines[-1]) == {"entries": 10, "hash": ledger.heads["acme"].hash}
    for line, sealed in zip(lines[1:-1], ledger.rows["acme"], strict=True):
        fields = msgspec.json.decode(line, type=dict[str, msgspec.Raw])
        assert hash_of(bytes(fields["body"])) == msgspec.json.decode(fields["hash"]) == sealed.hash


def test_an_export_of_a_tenant_without_entries_is_intact(audit: AuditLog, tmp_path: Path) -> None:
    verification = verify_file(exported(audit, tmp_path / "x", "nobody"))
    assert (verification.ok, verification.entries) == (True, 0)


def test_a_cut_off_ledger_shows_in_its_export(audit: AuditLog, ledger: Ledger, tmp_path: Path) -> None:
    ledger.rows["acme"].pop()
    seq, reason = found(verify_file(exported(audit, tmp_path / "x")))
    assert seq == 10
    assert reason.startswith("truncated")


def test_an_export_cut_off_with_its_last_line_mended_is_seen_with_a_checkpoint(
    audit: AuditLog, ledger: Ledger, sink: Path, tmp_path: Path
) -> None:
    audit.checkpoint("acme")
    lines = list(audit.export("acme"))
    last = encode({"entries": 7, "hash": ledger.rows["acme"][6].hash}) + b"\n"
    (tmp_path / "x").write_bytes(b"".join([*lines[:8], last]))
    assert verify_file(tmp_path / "x").ok
    seq, reason = found(verify_file(tmp_path / "x", sink))
    assert seq == 8
    assert reason.startswith("truncated: the entries end at 7, but the checkpoint of")


def test_an_export_chained_anew_is_seen_with_a_checkpoint(
    audit: AuditLog, ledger: Ledger, sink: Path, tmp_path: Path
) -> None:
    audit.checkpoint("acme")
    ledger.rebuild("acme", by="nobody")
    path = exported(audit, tmp_path / "x")
    assert verify_file(path).ok
    assert "chained anew" in found(verify_file(path, sink))[1]


def test_an_export_is_not_measured_by_the_checkpoint_of_another_tenant(audit: AuditLog, tmp_path: Path) -> None:
    note = tmp_path / "note"
    note.write_text(audit.checkpoint("other"))
    path = exported(audit, tmp_path / "x")
    assert "holds no checkpoint of tenant 'acme'" in found(verify_file(path, note))[1]


def test_an_export_with_a_forged_checkpoint_is_a_problem(audit: AuditLog, sink: Path, tmp_path: Path) -> None:
    note = tmp_path / "note"
    note.write_text(Signer.new().sign(audit.checkpoint("acme").rpartition("\n\n")[0] + "\n"))
    path = exported(audit, tmp_path / "x")
    key = sink.with_name("interlock.db.key.pub")
    assert "signed with no key that is known" in found(verify_file(path, note, key))[1]


@pytest.fixture(scope="module")
def intact() -> list[bytes]:
    return list(AuditLog(Ledger("acme", length=6)).export("acme"))


def spoiled(path: Path, content: bytes) -> Verification:
    path.write_bytes(content)
    return verify_file(path)


@settings(max_examples=400, deadline=None)
@given(place=st.integers(0), change=st.integers(1, 255))
def test_an_export_with_one_byte_changed_is_a_problem(intact: list[bytes], tmp_path_factory, place, change) -> None:
    raw = bytearray(b"".join(intact))
    raw[place % len(raw)] ^= change
    assert not spoiled(tmp_path_factory.getbasetemp() / "byte", bytes(raw)).ok


@given(place=st.integers(0))
def test_an_export_with_a_byte_more_or_less_is_a_problem(intact: list[bytes], tmp_path_factory, place) -> None:
    raw, path = b"".join(intact), tmp_path_factory.getbasetemp() / "bytes"
    at = place % len(raw)
    assert not spoiled(path, raw[:at] + raw[at + 1 :]).ok
    assert not spoiled(path, raw[:at]).ok
    for more in (b" ", b"\n", b"}", b"\x00"):
        assert not spoiled(path, raw[:at] + more + raw[at:]).ok
        assert not spoiled(path, raw + more).ok


@given(st.data())
def test_an_export_whose_lines_were_moved_is_a_problem(intact: list[bytes], tmp_path_factory, data) -> None:
    path, count = tmp_path_factory.getbasetemp() / "lines", len(intact)
    a = data.draw(st.integers(0, count - 1))
    b = data.draw(st.integers(0, count - 1).filter(lambda number: number != a))
    assert not spoiled(path, b"".join(line for number, line in enumerate(intact) if number != a)).ok
    swapped = list(intact)
    swapped[a], swapped[b] = swapped[b], swapped[a]
    assert not spoiled(path, b"".join(swapped)).ok
    assert not spoiled(path, b"".join([*intact[:b], intact[a], *intact[b:]])).ok


@pytest.mark.parametrize("place", range(1, 7))
def test_the_first_bad_line_of_an_export_is_named(intact: list[bytes], tmp_path: Path, place: int) -> None:
    edited = [line.replace(b'"at":', b'"at":1', 1) if n == place else line for n, line in enumerate(intact)]
    assert found(spoiled(tmp_path / "x", b"".join(edited))) == (place, "edited: its bytes do not give its hash")
    missing = [line for n, line in enumerate(intact) if n != place]
    assert found(spoiled(tmp_path / "x", b"".join(missing)))[0] == place
    doubled = [*intact[: place + 1], *intact[place:]]
    assert found(spoiled(tmp_path / "x", b"".join(doubled)))[0] == place


@pytest.mark.parametrize("place", range(1, 7))
def test_an_entry_edited_and_hashed_anew_is_named(intact: list[bytes], tmp_path: Path, place: int) -> None:
    body = intact[place][83:-2].replace(b'"at":', b'"at":1', 1)
    lines = [*intact]
    lines[place] = b'{"hash":"' + hash_of(body).encode() + b'","body":' + body + b"}\n"
    assert found(spoiled(tmp_path / "x", b"".join(lines)))[0] == place


@pytest.mark.parametrize(
    "content",
    [
        b"", b"\n", b"\x00" * 1000, b"\x89PNG\r\n\x1a\n" * 100, b"{}\n", b"null\n", b"[" * 200_000,
        b'{"interlock_audit":2,"tenant":"acme"}\n', b'{"interlock_audit":1,"tenant":5}\n',
        b'{"interlock_audit":1,"interlock_audit":1,"tenant":"acme"}\n', b'{"interlock_audit":' + b"9" * 5_000 + b"}\n",
        b"\xef\xbb\xbf" + b'{"interlock_audit":1,"tenant":"acme"}\n', b'{"interlock_audit":1,"tenant":"\xff"}\n',
    ],
)
def test_a_file_that_is_no_export_is_a_problem_and_no_crash(tmp_path: Path, content: bytes) -> None:
    assert "not an audit export" in spoiled(tmp_path / "x", content).text


@pytest.mark.parametrize(
    "line",
    [
        b"", b"junk", b"{}", b"\xff" * 500, b"[" * 200_000, b'{"hash":"', b'{"hash":"' + b"0" * 64 + b'","body":}',
        b'{"hash":"' + b"\xff" * 64 + b'","body":{}}', b'{"hash":"' + b"0" * 64 + b'","body":' + b"[" * 99_999 + b"}",
        b'{"entries":' + b"9" * 30 + b',"hash":"x"}', b'{"entries":-5,"hash":"x"}', b'{"entries":"1","hash":"x"}',
    ],
)
def test_a_hostile_line_is_a_problem_and_no_crash(tmp_path: Path, line: bytes) -> None:
    verification = spoiled(tmp_path / "x", b'{"interlock_audit":1,"tenant":"acme"}\n' + line + b"\n")
    assert found(verification)[0] <= 1


def peak(act: Callable[[], object]) -> int:
    tracemalloc.start()
    act()
    _, most = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    return most


def test_an_endless_line_is_not_read_into_memory(tmp_path: Path) -> None:
    for begin in (b"", b'{"interlock_audit":1,"tenant":"acme"}\n'):
        path = tmp_path / "x"
        path.write_bytes(begin)
        with path.open("r+b") as file:
            file.truncate(2_000_000_000)  # a hole: it takes no room on the disk
        assert peak(lambda path=path: verify_file(path)) < 4 * MAX_LINE
        assert not verify_file(path).ok
        assert not verify_file(path, path).ok


@pytest.mark.parametrize("missing", ["export", "checkpoint", "key"])
def test_a_file_that_is_not_there_is_the_callers_mistake(audit: AuditLog, tmp_path: Path, missing: str) -> None:
    note = tmp_path / "note"
    note.write_text(audit.checkpoint("acme"))
    files = {"export": exported(audit, tmp_path / "x"), "checkpoint": note, "key": tmp_path / "interlock.db.key.pub"}
    files[missing] = tmp_path / "nowhere"
    with pytest.raises(ConfigError, match="nowhere"):
        verify_file(files["export"], files["checkpoint"], files["key"])
    files[missing] = tmp_path
    with pytest.raises(ConfigError, match="read"):
        verify_file(files["export"], files["checkpoint"], files["key"])


@pytest.mark.parametrize("key", ["a+b+c", "interlock+00000000+AAAA", "++"])
def test_a_key_that_is_none_is_the_callers_mistake(audit: AuditLog, sink: Path, tmp_path: Path, key: str) -> None:
    audit.checkpoint("acme")
    with pytest.raises(ConfigError, match="public key"):
        verify_file(exported(audit, tmp_path / "x"), sink, key)


def test_memory_does_not_grow_with_the_export(tmp_path: Path) -> None:
    def most(length: int) -> int:
        path = tmp_path / str(length)
        with path.open("wb") as file:
            file.writelines(AuditLog(Ledger("acme", length=length)).export("acme"))
        return peak(lambda: verify_file(path))

    most(10)
    assert most(20_000) < most(500) + 20_000
