"""The ledger is locked, full, read-only, gone, damaged or cut off: nothing is performed without it, the error says what
to do, nothing is lost, and everything works again when the trouble is over."""

from __future__ import annotations

import os
import pwd
import resource
import shutil
import signal
import sqlite3
import tempfile
import threading
from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest

import interlock.gateway
import interlock.stores.sqlite_file
from interlock import Gateway, LedgerUnavailable
from interlock.core.lifecycle import State
from tests.crash.points import Points
from tests.crash.processes import PATIENCE, server
from tests.crash.world import AFTER_THE_LEASE, TENANT, WHO, ShiftedClock, World, examine, records, settle_everything
from tests.postgres_server import as_superuser


@pytest.fixture(params=["memory", "sqlite", "postgres"])
def world(request: pytest.FixtureRequest, tmp_path: Path) -> World:
    url = request.getfixturevalue("postgres_url") if request.param == "postgres" else ""
    return World(kind=request.param, place=str(tmp_path), url=url)


@pytest.fixture
def sqlite_world(tmp_path: Path) -> World:
    return World(kind="sqlite", place=str(tmp_path))


@pytest.fixture(autouse=True)
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Waits that are long in production, so that a person may notice and help, are short here."""
    monkeypatch.setattr(interlock.stores.sqlite_file, "BUSY_SECONDS", 0.2)
    monkeypatch.setattr(interlock.gateway, "SETTLE_TRIES", 2)


def refuse() -> None:
    raise LedgerUnavailable("this ledger does not want to")


def becomes_unknown(gateway: Gateway, world: World, call_id: str) -> None:
    """After its lease the call is unknown, is not performed again, and can be reconciled."""
    happened = len(world.effects.lines())
    assert isinstance(gateway.clock, ShiftedClock)
    gateway.clock.shift += AFTER_THE_LEASE
    again = gateway.run(**WHO, run_id="r").call("pay", {"n": 1}, call_id=call_id)
    assert (again.kind, again.replayed) == ("unknown", True)
    assert len(world.effects.lines()) == happened
    settle_everything(gateway, world.effects)


# --- any ledger ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("point", ["transaction 1 before", "transaction 1 inside"])
def test_a_ledger_that_refuses_to_append_performs_nothing(world: World, point: str) -> None:
    points = Points(refuse)
    with world.open(points=points) as gateway:
        run = gateway.run(**WHO, run_id="r")
        points.arm(point)
        with pytest.raises(LedgerUnavailable, match="does not want to"):
            run.call("pay", {"n": 1}, call_id="c1")
        assert world.effects.lines() == []
    with world.open() as gateway:
        assert records(gateway) == []
        assert gateway.run(**WHO, run_id="r").call("pay", {"n": 1}, call_id="c1").kind == "done"
        settle_everything(gateway, world.effects)


def test_a_switch_board_that_cannot_be_read_again_performs_nothing(world: World) -> None:
    points = Points(refuse)
    with world.open(points=points) as gateway:
        run = gateway.run(**WHO, run_id="r")
        points.arm("look before")
        with pytest.raises(LedgerUnavailable):  # it is dead for everybody from then on, also for the settling
            run.call("pay", {"n": 1}, call_id="c1")
    assert world.effects.lines() == []
    with world.open() as gateway:
        becomes_unknown(gateway, world, "c1")


def test_an_effect_that_could_not_be_written_down_is_unknown_and_never_performed_again(world: World) -> None:
    points = Points(refuse)
    with world.open(points=points) as gateway:
        run = gateway.run(**WHO, run_id="r")
        points.arm("transaction 2 inside")
        with pytest.raises(LedgerUnavailable, match="becomes unknown when its lease runs out: reconcile it"):
            run.call("pay", {"n": 1}, call_id="c1")
        assert len(world.effects.lines()) == 1
    with world.open() as gateway:
        becomes_unknown(gateway, world, "c1")


# --- a locked file ---------------------------------------------------------------------------------------------------


def hold_the_lock(path: str, held: object, over: object) -> None:
    """Another process, which writes for a long time."""
    connection = sqlite3.connect(path, isolation_level=None)
    connection.execute("BEGIN IMMEDIATE")
    held.set()  # type: ignore[attr-defined]
    over.wait(PATIENCE)  # type: ignore[attr-defined]
    connection.execute("ROLLBACK")
    connection.close()


class Lock:
    """The write lock of a SQLite ledger, held by another process."""

    def __init__(self, world: World) -> None:
        context = server()
        self._held, self._over = context.Event(), context.Event()
        path = str(Path(world.place) / "ledger.db")
        self._process = context.Process(target=hold_the_lock, args=(path, self._held, self._over))
        self._process.start()
        assert self._held.wait(PATIENCE)

    def release(self) -> None:
        self._over.set()
        self._process.join(PATIENCE)


def test_a_locked_ledger_performs_nothing_says_what_to_do_and_works_again(sqlite_world: World) -> None:
    with sqlite_world.open() as gateway:
        run = gateway.run(**WHO, run_id="r")
        lock = Lock(sqlite_world)
        with pytest.raises(LedgerUnavailable, match=r"ledger\.db.*locked.*another process.*end it"):
            run.call("pay", {"n": 1}, call_id="c1")
        gateway.control.switches()  # is not kept waiting
        with pytest.raises(LedgerUnavailable, match="holds in every process"):
            gateway.control.kill(run="another", reason="drill", by="ann")
        lock.release()
        assert sqlite_world.effects.lines() == []
        assert run.call("pay", {"n": 1}, call_id="c1").kind == "done"
        settle_everything(gateway, sqlite_world.effects)


def test_a_lock_that_goes_away_in_time_costs_no_outcome(sqlite_world: World) -> None:
    with sqlite_world.open() as gateway:
        run = gateway.run(**WHO, run_id="r")

        @gateway.tool("slow", effect="write")
        def slow() -> str:
            lock = Lock(sqlite_world)
            threading.Timer(0.1, lock.release).start()
            return "done all the same"

        assert run.call("slow", {}, call_id="c1").value == "done all the same"
        settle_everything(gateway, sqlite_world.effects)


def test_a_lock_that_stays_after_the_effect_leaves_it_unknown(sqlite_world: World) -> None:
    with sqlite_world.open() as gateway:
        run, locks = gateway.run(**WHO, run_id="r"), []

        @gateway.tool("slow", effect="write")
        def slow() -> str:
            locks.append(Lock(sqlite_world))
            return "nobody hears of it"

        with pytest.raises(LedgerUnavailable, match=r"slow ended with succeed, but that could not be written.*locked"):
            run.call("slow", {}, call_id="c1")
        locks[0].release()
        assert isinstance(gateway.clock, ShiftedClock)
        gateway.clock.shift += AFTER_THE_LEASE
        assert run.call("slow", {}, call_id="c1").kind == "unknown"
        assert len(locks) == 1
        settle_everything(gateway, sqlite_world.effects)


# --- a full disk -----------------------------------------------------------------------------------------------------


def fill_and_free(world: World, told: object) -> None:
    """In a process that may not make any file larger, until it may."""
    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    gateway = world.open()
    run = gateway.run(**WHO, run_id="r")
    run.call("pay", {"n": 0}, call_id="c0")
    before = len(records(gateway))
    size = (Path(world.place) / "ledger.db-wal").stat().st_size
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size + 5000, hard))
    errors = []
    for number in range(1, 6):
        try:
            run.call("pay", {"n": 1}, call_id=f"c{number}")
        except LedgerUnavailable as error:
            errors.append(str(error))
    happened = len(world.effects.lines())
    resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    later = run.call("pay", {"n": 9}, call_id="c9").kind
    told.put((before, errors, happened, later))  # type: ignore[attr-defined]
    gateway.close()


def test_a_full_disk_performs_nothing_more_and_loses_nothing(sqlite_world: World) -> None:
    context = server()
    told = context.SimpleQueue()
    process = context.Process(target=fill_and_free, args=(sqlite_world, told))
    process.start()
    process.join(PATIENCE)
    assert process.exitcode == 0
    before, errors, happened, later = told.get()
    assert before == 1
    assert len(errors) >= 4, errors
    assert all(error.startswith(("ledger ledger.db:", "pay ended with")) for error in errors), errors
    assert later == "done"
    with sqlite_world.open(shift=AFTER_THE_LEASE) as gateway:
        known = {record.call.call_id: record.state for record in records(gateway)}
        assert (known["c0"], known["c9"]) == (State.DONE, State.DONE)
        assert len(sqlite_world.effects.lines()) == happened + 1
        settle_everything(gateway, sqlite_world.effects)


def test_a_ledger_that_may_not_grow_says_that_the_disk_is_full(sqlite_world: World) -> None:
    with sqlite_world.open() as gateway:
        run = gateway.run(**WHO, run_id="r")
        writer: sqlite3.Connection = gateway.store._writer  # the only way to fill a disk that is not there
        pages = writer.execute("PRAGMA page_count").fetchone()[0]
        writer.execute(f"PRAGMA max_page_count = {pages}")
        done: list[str] = []

        def look_on() -> None:
            while len(done) < 1000:
                done.append(run.call("look", {"n": len(done)}, call_id=f"c{len(done)}").kind)

        with pytest.raises(LedgerUnavailable, match=r"full.*free some space; what was committed is safe"):
            look_on()
        assert set(done) == {"done"}
        writer.execute(f"PRAGMA max_page_count = {pages * 1000}")
        assert run.call("pay", {"n": 1}, call_id="p1").kind == "done"
        assert isinstance(gateway.clock, ShiftedClock)
        gateway.clock.shift += AFTER_THE_LEASE
        assert run.call("look", {"n": len(done)}, call_id=f"c{len(done)}").kind == "done"
        settle_everything(gateway, sqlite_world.effects)


# --- a file that may not be written, is gone, or is damaged -----------------------------------------------------------


@pytest.fixture
def open_folder() -> Iterator[Path]:
    """A folder that other users can enter."""
    folder = Path(tempfile.mkdtemp(prefix="interlock-"))
    folder.chmod(0o755)
    yield folder
    shutil.rmtree(folder)


def open_as_nobody(world: World, told: object) -> None:
    """As somebody who may read the ledger and no more."""
    if os.geteuid() == 0:
        os.setgid(pwd.getpwnam("nobody").pw_gid)
        os.setuid(pwd.getpwnam("nobody").pw_uid)
    try:
        world.open()
    except LedgerUnavailable as error:
        told.put(str(error))  # type: ignore[attr-defined]


def test_a_ledger_that_may_not_be_written_says_so(open_folder: Path) -> None:
    world = World(kind="sqlite", place=str(open_folder))
    with world.open() as gateway:
        gateway.run(**WHO, run_id="r")
    for file in open_folder.iterdir():
        file.chmod(0o444)
    open_folder.chmod(0o555)
    context = server()
    told = context.SimpleQueue()
    process = context.Process(target=open_as_nobody, args=(world, told))
    process.start()
    process.join(PATIENCE)
    open_folder.chmod(0o755)
    assert process.exitcode == 0
    assert "writable" in told.get()


@pytest.mark.parametrize("files", ["ledger.db*", "ledger.db.switches*"])
def test_a_ledger_that_was_deleted_performs_nothing(sqlite_world: World, files: str) -> None:
    with sqlite_world.open() as gateway:
        run = gateway.run(**WHO, run_id="r")
        for file in Path(sqlite_world.place).glob(files):
            file.unlink()
        with pytest.raises(LedgerUnavailable, match=r"deleted or replaced.*open the gateway again"):
            run.call("pay", {"n": 1}, call_id="c1")
        assert sqlite_world.effects.lines() == []


def test_a_ledger_begun_anew_is_seen_by_the_verifier(sqlite_world: World) -> None:
    with sqlite_world.open() as gateway:
        gateway.run(**WHO, run_id="r").call("pay", {"n": 1}, call_id="c1")
        gateway.audit.checkpoint(TENANT)
    for file in Path(sqlite_world.place).glob("ledger.db*"):
        file.unlink()
    with sqlite_world.open() as gateway:
        assert not gateway.audit.verify(TENANT).ok


def test_a_file_that_is_no_ledger_is_refused_with_the_remedy(sqlite_world: World) -> None:
    (Path(sqlite_world.place) / "ledger.db").write_bytes(b"this is not what you think it is" * 1000)
    with pytest.raises(LedgerUnavailable, match=r"ledger\.db.*restore it from a backup"):
        sqlite_world.open()


@pytest.mark.parametrize("seed", range(8))
def test_a_damaged_ledger_gives_ledger_unavailable_and_no_other_error(sqlite_world: World, seed: int) -> None:
    with sqlite_world.open() as gateway:
        run = gateway.run(**WHO, run_id="r")
        for number in range(30):
            run.call("look", {"n": number}, call_id=f"c{number}")
    path = Path(sqlite_world.place) / "ledger.db"
    body = bytearray(path.read_bytes())
    page = (seed * 3 + 1) * 4096 % len(body)
    body[page : page + 4096] = bytes([seed * 37 % 256]) * 4096
    path.write_bytes(body)
    happened = len(sqlite_world.effects.lines())
    trouble = ""
    try:
        with sqlite_world.open() as gateway:
            run = gateway.run(**WHO, run_id="r")
            for number in range(30, 33):
                assert run.call("pay", {"n": number}, call_id=f"c{number}").kind == "done"
    except LedgerUnavailable as error:
        trouble = str(error)
    assert not trouble or "backup" in trouble or "could not be written" in trouble
    assert len(sqlite_world.effects.lines()) <= happened + 3


# --- a server that goes away -----------------------------------------------------------------------------------------


def cut_off(url: str) -> None:
    """End all connections to this database but our own."""
    with psycopg.connect(as_superuser(url), autocommit=True) as connection:
        connection.execute(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
            " WHERE datname = current_database() AND pid <> pg_backend_pid()"
        )


def test_connections_that_are_cut_cost_no_effect_and_no_outcome(postgres_url: str, tmp_path: Path) -> None:
    world = World(kind="postgres", place=str(tmp_path), url=postgres_url)
    with world.open() as gateway:
        run = gateway.run(**WHO, run_id="r")
        kinds = []
        for number in range(5):
            cut_off(postgres_url)
            try:
                kinds.append(run.call("pay", {"n": number}, call_id=f"c{number}").kind)
            except LedgerUnavailable:
                kinds.append("unavailable")
        assert set(kinds) <= {"done", "unavailable"}
        assert kinds.count("done") == len(world.effects.lines())

        @gateway.tool("cut", effect="write")
        def cut() -> str:
            cut_off(postgres_url)
            return "written down all the same"

        assert run.call("cut", {}, call_id="x").value == "written down all the same"
        assert isinstance(gateway.clock, ShiftedClock)
        gateway.clock.shift += AFTER_THE_LEASE
        for number in range(5):
            assert run.call("pay", {"n": number}, call_id=f"c{number}").kind in ("done", "unknown")
        examine(gateway, world.effects)
        settle_everything(gateway, world.effects)
