"""Every ring of keys keeps every promise of `ports.KeyRing`."""

from __future__ import annotations

import os
import sqlite3
import stat
import subprocess
import sys
import threading
from collections.abc import Callable
from functools import partial
from pathlib import Path

import pytest
from msgspec.structs import replace

from interlock.core.principal import AccessKey, Principal, Role
from interlock.errors import ConfigError, LedgerUnavailable
from interlock.ports import KeyRing
from interlock.stores.memory_keys import MemoryKeyRing
from interlock.stores.postgres_keys import PostgresKeyRing
from interlock.stores.sqlite_keys import SqliteKeyRing

OpenRing = Callable[[], KeyRing]


def a_key(key_id: str = "ab", created_at: int = 5, **more: object) -> AccessKey:
    who = Principal(name="ops \N{SNOWMAN} '\";--", roles=(Role.OPERATOR, Role.AUDITOR), tenant="acme", key_id=key_id)
    return AccessKey(key_id=key_id, digest="d" * 64, principal=who, created_at=created_at, created_by="me", **more)


@pytest.fixture(params=["memory", "sqlite", "postgres"])
def open_ring(request: pytest.FixtureRequest) -> OpenRing:
    return opener(request.param, request)


@pytest.fixture(params=["sqlite", "postgres"])
def open_shared(request: pytest.FixtureRequest) -> OpenRing:
    return opener(request.param, request)


def opener(kind: str, request: pytest.FixtureRequest) -> OpenRing:
    if kind == "memory":
        only = MemoryKeyRing()
        return lambda: only
    if kind == "postgres":
        return partial(PostgresKeyRing, request.getfixturevalue("postgres_url"))
    folder: Path = request.getfixturevalue("tmp_path")
    return partial(SqliteKeyRing, folder / "ledger.db.keys")


def test_what_was_put_is_found_as_it_was(open_ring: OpenRing) -> None:
    ring = open_ring()
    assert ring.find("ab") is None
    assert ring.keys() == []
    key = a_key(expires_at=2**53, revoked_at=7, revoked_by="x", audited=True)
    ring.put(key)
    assert ring.find("ab") == key
    assert ring.find("AB") is None
    assert ring.find("' OR 1=1 --") is None
    ring.close()


def test_keys_are_listed_oldest_first_and_each_once(open_ring: OpenRing) -> None:
    ring = open_ring()
    for key in (a_key("c", 3), a_key("b", 1), a_key("a", 3), replace(a_key("b", 1), revoked_at=9)):
        ring.put(key)
    listed = ring.keys()
    assert [(key.key_id, key.revoked_at) for key in listed] == [("b", 9), ("a", None), ("c", None)]
    ring.close()


def test_a_revocation_by_another_process_holds_at_once(open_shared: OpenRing) -> None:
    mine, theirs = open_shared(), open_shared()
    mine.put(a_key())
    for number in range(20):
        found = theirs.find("ab")
        assert found is not None
        assert found.revoked_at == (None if number == 0 else number)
        mine.put(replace(a_key(), revoked_at=number + 1))
    assert theirs.find("other") is None
    mine.put(a_key("other"))
    assert theirs.find("other") is not None
    mine.close()
    theirs.close()


def test_keys_outlive_the_process(open_shared: OpenRing) -> None:
    first = open_shared()
    first.put(a_key())
    first.close()
    second = open_shared()
    assert second.find("ab") == a_key()
    second.close()


def test_many_threads_that_look_at_once_each_find_their_own(open_ring: OpenRing) -> None:
    ring = open_ring()
    for number in range(8):
        ring.put(a_key(f"k{number}", number))
    wrong: list[object] = []

    def look(number: int) -> None:
        for _ in range(50):
            found = ring.find(f"k{number}")
            if found is None or found.created_at != number:
                wrong.append(found)
            if ring.find("nobody") is not None:
                wrong.append("nobody")

    threads = [threading.Thread(target=look, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert wrong == []
    ring.close()


def test_no_look_that_begins_after_a_revocation_sees_the_key_as_it_was(open_ring: OpenRing) -> None:
    ring = open_ring()
    ring.put(a_key())
    revoked, late = threading.Event(), []

    def look() -> None:
        for _ in range(200):
            before = revoked.is_set()
            found = ring.find("ab")
            if before and found is not None and found.revoked_at is None:
                late.append(found)

    threads = [threading.Thread(target=look) for _ in range(4)]
    for thread in threads:
        thread.start()
    ring.put(a_key(revoked_at=8))
    revoked.set()
    for thread in threads:
        thread.join()
    assert late == []
    ring.close()


def test_a_ring_that_was_closed_finds_nobody(open_shared: OpenRing) -> None:
    ring = open_shared()
    ring.put(a_key())
    ring.close()
    with pytest.raises(LedgerUnavailable):
        ring.find("ab")


# --- the file --------------------------------------------------------------------------------------------------------


def test_the_file_is_its_owners_alone(tmp_path: Path) -> None:
    ring = SqliteKeyRing(tmp_path / "ledger.db.keys")
    ring.put(a_key())
    modes = {path.name: stat.S_IMODE(path.stat().st_mode) for path in tmp_path.iterdir()}
    assert set(modes.values()) == {0o600}, modes
    ring.close()


def test_a_file_that_others_can_read_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "ledger.db.keys"
    SqliteKeyRing(path).close()
    path.chmod(0o640)
    with pytest.raises(ConfigError, match="chmod 600"):
        SqliteKeyRing(path)


def test_a_file_that_was_replaced_is_noticed(tmp_path: Path) -> None:
    path = tmp_path / "ledger.db.keys"
    ring = SqliteKeyRing(path)
    ring.put(a_key())
    path.rename(tmp_path / "elsewhere")
    with pytest.raises(LedgerUnavailable, match="deleted or replaced"):
        ring.find("ab")
    ring.close()


def test_a_file_that_is_no_ring_is_refused_in_words(tmp_path: Path) -> None:
    path = tmp_path / "ledger.db.keys"
    path.write_bytes(b"not a database, and long enough to be read as one" * 40)
    path.chmod(0o600)
    with pytest.raises(LedgerUnavailable, match="restore it from a backup"):
        SqliteKeyRing(path)
    with pytest.raises(LedgerUnavailable, match="unable to open"):
        SqliteKeyRing(tmp_path / "nowhere" / "ledger.db.keys")


def test_a_writer_of_the_ring_that_stands_still_holds_up_no_look(tmp_path: Path) -> None:
    path = tmp_path / "ledger.db.keys"
    ring = SqliteKeyRing(path)
    ring.put(a_key())
    other = sqlite3.connect(path, isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    other.execute("DELETE FROM keys")
    assert ring.find("ab") == a_key()
    other.execute("ROLLBACK")
    other.close()
    ring.close()


def test_a_revocation_in_another_program_is_seen_without_opening_anew(tmp_path: Path) -> None:
    path = tmp_path / "ledger.db.keys"
    ring = SqliteKeyRing(path)
    ring.put(a_key())
    assert ring.find("ab") == a_key()
    program = (
        "import sys; from msgspec.structs import replace; from interlock.stores.sqlite_keys import SqliteKeyRing\n"
        "ring = SqliteKeyRing(sys.argv[1]); ring.put(replace(ring.find('ab'), revoked_at=77)); ring.close()"
    )
    subprocess.run([sys.executable, "-c", program, str(path)], check=True, env=dict(os.environ))
    found = ring.find("ab")
    assert found is not None
    assert found.revoked_at == 77
    ring.close()
