"""What is PostgreSQL's own: lost connections, a server that goes and comes, migrations, and what an error may say."""

import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path
from typing import Any

import psycopg
import pytest

from interlock.core.budget import AccountKey, Amounts, Window
from interlock.core.record import Record
from interlock.errors import ConfigError, LedgerUnavailable
from interlock.ports import HeadKey, RunKey
from interlock.stores import wire
from interlock.stores.postgres import PostgresStore
from interlock.stores.postgres_switches import PostgresSwitchBoard
from interlock.testing import samples
from interlock.testing.samples import appends, call_key, counts, record, writes
from interlock.unit import Tx, Unit
from tests.postgres_server import PostgresServer, as_superuser

COUNTER = AccountKey("acme", "tenant", "acme", Window.DAY, 0)
SECRET = "pa55-wörd"


@pytest.fixture
def store(postgres_url: str) -> Iterator[PostgresStore]:
    with closing(PostgresStore(postgres_url)) as opened:
        yield opened


def run_sql(url: str, statement: str) -> list[Any]:
    with psycopg.connect(as_superuser(url), autocommit=True) as connection:
        cursor = connection.execute(statement.encode())
        return cursor.fetchall() if cursor.description else []


def kill_sessions(url: str) -> None:
    """Throw out every other session of the database, and wait until it is gone."""
    others = "FROM pg_stat_activity WHERE datname = current_database() AND pid <> pg_backend_pid()"
    run_sql(url, f"SELECT pg_terminate_backend(pid, 5000) {others}")


# --- connections ------------------------------------------------------------------------------------------------------


def test_sessions_that_were_ended_while_idle_are_replaced_unnoticed(store: PostgresStore, postgres_url: str) -> None:
    with closing(PostgresSwitchBoard(postgres_url)) as board:
        for turn in range(1, 4):
            assert store.transact([counts(COUNTER)]) == [turn]
            assert board.active() == ()
            kill_sessions(postgres_url)
        board.put(samples.switch())
        kill_sessions(postgres_url)
        assert board.active() == (samples.switch(),)
        assert len(list(store.entries("acme"))) == 3


def test_a_session_that_ends_inside_a_transaction_fails_it_and_lands_nothing(
    store: PostgresStore, postgres_url: str
) -> None:
    def cut(tx: Tx) -> None:
        tx.append(samples.entry())
        kill_sessions(postgres_url)
        tx.get(RunKey("acme", "late"))
        tx.append(samples.entry())

    def swallow(tx: Tx) -> None:
        with pytest.raises(LedgerUnavailable):
            cut(tx)

    for unit in (Unit([HeadKey("acme")], cut), Unit([HeadKey("acme")], swallow)):
        with pytest.raises(LedgerUnavailable):
            store.transact([unit])
    assert list(store.entries("acme")) == []
    store.transact([counts(COUNTER)])


def test_a_connection_lost_during_the_commit_says_that_its_fate_is_unknown(
    store: PostgresStore, postgres_url: str
) -> None:
    def cut(tx: Tx) -> None:
        tx.append(samples.entry())
        kill_sessions(postgres_url)

    for _ in range(2):
        with pytest.raises(LedgerUnavailable, match="whether it landed is not known"):
            store.transact([Unit([HeadKey("acme")], cut)])
        store.transact([appends("acme", 1)])
    assert len(list(store.entries("acme"))) == 2


def test_a_server_that_was_stopped_is_an_error() -> None:
    with PostgresServer() as server, closing(PostgresStore(server.create_database())) as store:
        store.transact([counts(COUNTER)])
        server.stop()
        with pytest.raises(LedgerUnavailable, match=r"start the server|start it"):
            store.transact([counts(COUNTER)])
        with pytest.raises(LedgerUnavailable):
            store.load(COUNTER)
        with pytest.raises(LedgerUnavailable):
            list(store.entries("acme"))


def test_a_server_that_crashed_and_came_back_is_found_again_and_has_lost_nothing() -> None:
    with PostgresServer() as server, closing(PostgresStore(server.create_database())) as store:
        store.transact([counts(COUNTER)])
        assert server.folder is not None
        pid = int((server.folder / "data" / "postmaster.pid").read_text().splitlines()[0])
        children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
        victim = max(children, key=int)  # a crashed session takes all others down, and the server recovers
        subprocess.run(["kill", "-9", victim], check=True)
        until = time.monotonic() + 20
        while True:
            try:
                assert store.transact([counts(COUNTER)]) == [2]
                break
            except LedgerUnavailable:
                assert time.monotonic() < until
                time.sleep(0.05)
        assert len(list(store.entries("acme"))) == 2


def test_a_closed_store_says_so(store: PostgresStore) -> None:
    store.close()
    store.close()
    for act in (lambda: store.load(COUNTER), lambda: store.transact([counts(COUNTER)])):
        with pytest.raises(LedgerUnavailable, match="closed"):
            act()


def test_a_tenant_that_is_held_for_too_long_is_an_error_that_names_the_remedy(
    store: PostgresStore, postgres_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    store.transact([counts(COUNTER)])
    monkeypatch.setattr(wire, "SETTINGS", wire.SETTINGS.replace("lock_timeout = '20s'", "lock_timeout = '200ms'"))
    with closing(PostgresStore(postgres_url)) as other, psycopg.connect(as_superuser(postgres_url)) as holder:
        holder.execute("SELECT FROM heads WHERE tenant = 'acme' FOR UPDATE")
        with pytest.raises(LedgerUnavailable, match="held a tenant for too long"):
            other.transact([counts(COUNTER)])
        assert other.transact([appends("free", 1)]) == [None]  # nobody else waits
        holder.rollback()
        assert other.transact([counts(COUNTER)]) == [2]


def test_a_slow_server_is_waited_for_asleep(postgres_url: str) -> None:
    quick, slow = wire.Step(wire.Statement(b"q", b"SELECT 1")), wire.Step(wire.Statement(b"s", b"SELECT pg_sleep(0.3)"))
    connection = wire.Wire(postgres_url)
    for _ in range(3):
        connection.trip([quick], again=True)
    began = time.thread_time()
    assert len(connection.trip([slow])[0]) == len(connection.trip([slow])[0]) == 1
    assert time.thread_time() - began < 0.1
    connection.close()


# --- what is remembered -----------------------------------------------------------------------------------------------


def remember(store: PostgresStore) -> None:
    """The first transaction opens the connection, and the second is the first to be remembered for it."""
    for number in range(2):
        store.transact([appends("acme", number)])
    assert store._memory.trusts({"acme"}, store._writer.generation)


def test_what_was_remembered_is_not_believed_when_another_gateway_has_written(
    store: PostgresStore, postgres_url: str
) -> None:
    first, second = record(key="k1"), record(key="k2", asked_at=2, tenant_wide=True)

    def ask(tx: Tx) -> list[Any]:
        tx.append(samples.entry())
        alike = [tx.same("acme", "r1", "f1"), tx.same_in_tenant("acme", "f1", 0)]
        return [tx.get(call_key(first)), *([each.call.key for each in calls] for calls in alike)]

    look = Unit([HeadKey("acme"), call_key(first)], ask)
    with closing(PostgresStore(postgres_url)) as other:
        assert store.transact([look]) == store.transact([look]) == [[None, [], []]]
        other.transact([writes("acme", (call_key(first), first), (call_key(second), second))])
        for _ in range(3):
            assert store.transact([look]) == [[first, ["k1", "k2"], ["k2"]]]
    assert len(list(store.entries("acme"))) == 5


def test_what_is_taken_for_absent_is_looked_for_whatever_the_heads_say(store: PostgresStore, postgres_url: str) -> None:
    """A person with psql moves no head."""
    value = record()
    key = call_key(value)
    remember(store)
    store.transact([writes("acme", (key, value))])  # remembered for its run; a settled call itself is not

    def get(tx: Tx) -> Any:
        tx.append(samples.entry())
        return tx.get(key)

    def same(tx: Tx) -> Any:
        tx.append(samples.entry())
        return tx.same("acme", "r1", "f2")

    assert store.transact([Unit([HeadKey("acme")], get)]) == [value]
    run_sql(postgres_url, "UPDATE calls SET fingerprint = 'f2'")
    assert store.transact([Unit([HeadKey("acme")], same)]) == [[value]]
    assert len(list(store.entries("acme"))) == 4


@pytest.mark.parametrize("units", [1, 2, 5])  # few rows are written and refused one by one, many at once
def test_what_is_written_as_new_replaces_nothing_that_is_there(store: PostgresStore, units: int) -> None:
    old = [record(key=f"k{number}", error="old") for number in range(units)]
    remember(store)
    store.transact([writes("acme", (call_key(each), each)) for each in old[1:] or old])  # settled: not remembered

    def ask(value: Record) -> Unit[Record]:
        def put(tx: Tx) -> Record:
            tx.append(samples.entry())
            if (found := tx.get(call_key(value))) is None:
                tx.put(call_key(value), value)
            return found or value

        return Unit([HeadKey("acme")], put)

    new = [record(key=f"k{number}", error="new") for number in range(units)]
    there = old if units == 1 else [new[0], *old[1:]]
    assert store.transact([ask(each) for each in new]) == there == list(store.calls_of("acme", "r1"))
    assert len(list(store.entries("acme"))) == 2 + units
    assert store._writer.generation == 1  # a refusal costs no connection


@pytest.mark.parametrize("units", [1, 2, 5])
def test_a_likeness_is_found_though_only_one_of_a_batch_has_it(
    store: PostgresStore, postgres_url: str, units: int
) -> None:
    value = record(fingerprint="f0", tenant_wide=True, asked_at=7)
    remember(store)
    store.transact([writes("acme", (call_key(value), value))])
    last = f"f{units - 1}"
    run_sql(postgres_url, f"UPDATE calls SET fingerprint = '{last}'")  # and moves no head

    def alike(number: int, wide: bool) -> Unit[Any]:
        def ask(tx: Tx) -> Any:
            tx.append(samples.entry())
            name = f"f{number}"
            return tx.same_in_tenant("acme", name, 7) if wide else tx.same("acme", "r1", name)

        return Unit([HeadKey("acme")], ask)

    for wide in (False, True):
        store._memory.repeated.clear()
        found = store.transact([alike(number, wide) for number in range(units)])
        assert found == [[]] * (units - 1) + [[value]]
    assert len(list(store.entries("acme"))) == 2 + 2 * units


def test_an_error_on_what_was_remembered_is_not_believed(store: PostgresStore, postgres_url: str) -> None:
    def limited(tx: Tx) -> int:
        account = tx.get(COUNTER) or samples.ACCOUNT
        if account.held.tool_calls == 1:
            raise ValueError("out of date")
        return account.held.tool_calls

    store.transact([counts(COUNTER)])
    with closing(PostgresStore(postgres_url)) as other:
        other.transact([counts(COUNTER)])
        assert store.transact([Unit([HeadKey("acme"), COUNTER], limited)]) == [2]


def test_memory_does_not_grow_with_the_ledger(store: PostgresStore) -> None:
    for number in range(300):
        done = record(key=f"k{number}")
        leased = record(key=f"k{number}", lease_until=1)
        store.transact([writes("acme", (call_key(leased), leased))])
        store.transact([writes("acme", (call_key(done), done))])
    assert store._memory._size < 10
    assert sum(len(tenant.rows) for tenant in store._memory._tenants.values()) == store._memory._size


def test_a_unit_that_strays_to_a_tenant_that_is_not_locked_raises(store: PostgresStore) -> None:
    for _ in range(2):
        with pytest.raises(ValueError, match="not locked"):
            store.transact([Unit([HeadKey("acme")], lambda tx: tx.append(samples.entry("other")))])
        with pytest.raises(ValueError, match="not locked"):
            store.transact([Unit([HeadKey("acme")], lambda tx: tx.put(RunKey("other", "r1"), samples.run("other")))])
        store.transact([appends("acme", 1)])
    assert store.tenants() == ["acme"]


# --- processes --------------------------------------------------------------------------------------------------------

_HOLD = """
import sys
from interlock.core.budget import AccountKey, Window
from interlock.stores.postgres import PostgresStore
from interlock.testing.samples import counts
store = PostgresStore(sys.argv[1])
for _ in range(int(sys.argv[2])):
    store.transact([counts(AccountKey("acme", "tenant", "acme", Window.DAY, 0))])
    print("one", flush=True)
"""


def test_a_process_that_is_killed_leaves_whole_transactions_and_no_lock(
    store: PostgresStore, postgres_url: str
) -> None:
    with subprocess.Popen([sys.executable, "-c", _HOLD, postgres_url, "100000"], stdout=subprocess.PIPE) as child:
        assert child.stdout is not None
        told = sum(1 for _, _ in zip(range(50), child.stdout, strict=False))
        child.kill()
        told += sum(1 for _ in child.stdout)
    count = store.transact([counts(COUNTER)])[0]
    assert count >= told + 1
    assert count == len(list(store.entries("acme")))


def test_readers_are_not_held_up_by_a_transaction(store: PostgresStore, postgres_url: str) -> None:
    inside, go_on = threading.Event(), threading.Event()

    def wait(tx: Tx) -> None:
        tx.put(COUNTER, samples.ACCOUNT)
        inside.set()
        assert go_on.wait(10)

    with ThreadPoolExecutor(1) as pool, closing(PostgresSwitchBoard(postgres_url)) as board:
        running = pool.submit(store.transact, [Unit([HeadKey("acme")], wait)])
        assert inside.wait(10)
        assert store.load(COUNTER) is None
        board.put(samples.switch())
        assert board.active() == (samples.switch(),)
        go_on.set()
        running.result()
    assert store.load(COUNTER) == samples.ACCOUNT


# --- migrations -------------------------------------------------------------------------------------------------------


def test_many_may_migrate_at_once(postgres_url: str) -> None:
    with ThreadPoolExecutor(8) as pool:
        for each in pool.map(PostgresStore, [postgres_url] * 8):
            each.close()
    applied = run_sql(postgres_url, "SELECT number, name, length(sha256) FROM interlock_migrations ORDER BY number")
    assert applied[:2] == [(1, "ledger", 64), (2, "switches", 64)]


def test_a_newer_ledger_is_refused(store: PostgresStore, postgres_url: str) -> None:
    run_sql(postgres_url, "INSERT INTO interlock_migrations (number, name, sha256) VALUES (9000, 'later', '')")
    with pytest.raises(LedgerUnavailable, match=r"newer than this program.*9000.*upgrade Interlock"):
        PostgresStore(postgres_url)


def test_a_migration_that_was_changed_is_refused(store: PostgresStore, postgres_url: str) -> None:
    run_sql(postgres_url, "UPDATE interlock_migrations SET sha256 = 'x' WHERE number = 1")
    with pytest.raises(ConfigError, match=r"0001_ledger was applied to this ledger with other contents"):
        PostgresStore(postgres_url)


def test_a_migration_that_fails_leaves_nothing(postgres_url: str) -> None:
    run_sql(postgres_url, "CREATE TABLE switches ()")  # in the way of the second one
    with pytest.raises(LedgerUnavailable, match="switches"):
        PostgresStore(postgres_url)
    assert run_sql(postgres_url, "SELECT to_regclass('heads')::text, to_regclass('interlock_migrations')::text") == [
        (None, None)
    ]


def test_a_user_without_the_right_to_create_can_open_a_migrated_ledger(
    store: PostgresStore, postgres_url: str, postgres: PostgresServer
) -> None:
    store.transact([counts(COUNTER)])
    database = postgres_url.rsplit("/", 1)[1]
    for statement in (
        "DROP ROLE IF EXISTS plain",
        f"CREATE ROLE plain LOGIN PASSWORD '{SECRET}'",
        "REVOKE CREATE ON SCHEMA public FROM PUBLIC",
        "GRANT SELECT, INSERT, UPDATE ON ALL TABLES IN SCHEMA public TO plain",
    ):
        run_sql(postgres_url, statement)
    with closing(PostgresStore(f"postgresql://plain@127.0.0.1:{postgres.port}/{database}")) as other:
        assert other.transact([counts(COUNTER)]) == [2]
    run_sql(postgres_url, "DROP OWNED BY plain")
    run_sql(postgres_url, "DROP ROLE plain")


# --- the schema, and what an error may say ----------------------------------------------------------------------------


def test_the_audit_cannot_be_changed_by_accident(store: PostgresStore, postgres_url: str) -> None:
    store.transact([appends("acme", 1)])
    for statement in ("UPDATE audit SET body = ''", "DELETE FROM audit", "TRUNCATE audit"):
        with pytest.raises(psycopg.Error, match="append-only"):
            run_sql(postgres_url, statement)
    assert len(list(store.entries("acme"))) == 1


def test_bodies_can_be_read_as_json_by_people(store: PostgresStore, postgres_url: str) -> None:
    store.transact([writes("acme", (RunKey("acme", "r1"), samples.run(labels={"é": "🧨"}))), appends("acme", 1)])
    assert run_sql(postgres_url, "SELECT body::json #>> '{labels,é}' FROM runs") == [("🧨",)]
    assert run_sql(postgres_url, "SELECT body::json ->> 'seq' FROM audit") == [("1",)]


def test_prepared_statements_find_every_row_by_its_primary_key(store: PostgresStore, postgres_url: str) -> None:
    """On an empty table several indexes look equally good, and a plan once made is kept."""
    key, account = call_key(record()), COUNTER
    for number in range(3):
        store.transact([writes("acme", (key, record(attempts=number)), (account, samples.ACCOUNT))])
        store.load(key)
    store.close()  # a session tells what it has used when it ends
    kill_sessions(postgres_url)
    query = "SELECT idx_scan FROM pg_stat_user_indexes WHERE indexrelname = '{}'"
    assert run_sql(postgres_url, query.format("calls_pkey"))[0][0] > 0
    assert run_sql(postgres_url, query.format("calls_by_fingerprint")) == [(0,)]


@pytest.mark.parametrize(
    "url",
    [
        "postgresql://mia:{secret}@127.0.0.1:1/ledger",
        "postgresql://mia:{secret}@127.0.0.1:port/ledger",
        "postgresql://mia:{secret}/x@127.0.0.1:5432/ledger",
        "postgresql://mia:{secret}%zz@127.0.0.1/ledger",
        "postgresql://mia:{secret}@nowhere.invalid/ledger?connect_timeout=2",
        "host=127.0.0.1 port=1 password={secret}",
        "password={secret} nonsense",
    ],
)
def test_no_error_tells_the_password(url: str) -> None:
    with pytest.raises((LedgerUnavailable, ConfigError)) as caught:
        PostgresStore(url.format(secret=SECRET))
    error: BaseException | None = caught.value
    while error is not None:
        assert SECRET not in repr(error)
        error = error.__cause__ or error.__context__


def test_errors_name_what_to_do(postgres: PostgresServer, postgres_url: str) -> None:
    with pytest.raises(LedgerUnavailable, match=r"127\.0\.0\.1:1/ledger.*start the server, or correct `ledger:`"):
        PostgresStore("postgresql://127.0.0.1:1/ledger")
    with pytest.raises(LedgerUnavailable, match=r"create the database|correct `ledger:`"):
        PostgresStore(postgres.url_of("nothing_here"))
    with closing(PostgresStore(postgres_url)) as store:
        database = postgres_url.rsplit("/", 1)[1]
        run_sql(postgres_url, f"ALTER DATABASE {database} SET default_transaction_read_only = on")
        kill_sessions(postgres_url)
        with pytest.raises(LedgerUnavailable, match="name the primary"):
            store.transact([counts(COUNTER)])


def test_amounts_beyond_a_column_are_no_problem(store: PostgresStore) -> None:
    huge = samples.ACCOUNT.hold(Amounts(usd=2**80))
    store.transact([writes("acme", (COUNTER, huge))])
    assert store.load(COUNTER) == huge
