"""The second wall of tenancy: a statement that forgets its WHERE shows and changes nothing of another tenant."""

import logging
import subprocess
from collections.abc import Callable, Iterator
from contextlib import closing
from typing import Any

import msgspec
import psycopg
import pytest

from interlock.core.audit import SYSTEM
from interlock.core.budget import AccountKey, Window
from interlock.core.record import Record
from interlock.errors import LedgerUnavailable
from interlock.ports import ApprovalKey, DefinitionKey, HeadKey, PinKey, RunKey, StepKey
from interlock.stores import migrate, postgres, wire
from interlock.stores.postgres import PostgresStore
from interlock.stores.postgres_tables import statement
from interlock.stores.postgres_wall import EVERYBODY, GUARDED, only
from interlock.stores.wire import Step, Wire, text
from interlock.testing import samples
from interlock.testing.samples import HOSTILE, appends, call_key, record, writes
from interlock.unit import Tx, Unit
from tests.postgres_server import PostgresServer, as_superuser

TENANTS = ("acme", "globex")
REFUSED = "violates row-level security policy|in a read-only transaction"


def account(tenant: str) -> AccountKey:
    return AccountKey(tenant, "tenant", tenant, Window.DAY, 0)


def fill(store: PostgresStore, *tenants: str) -> None:
    """Something of every kind for each tenant."""
    for number, tenant in enumerate(tenants):
        call = record(tenant, lease_until=10)
        pairs: list[tuple[Any, Any]] = [
            (RunKey(tenant, "r1"), samples.run(tenant)),
            (StepKey(tenant, "r1", "s1"), samples.step(tenant)),
            (call_key(call), call),
            (account(tenant), samples.ACCOUNT),
            (ApprovalKey(tenant, f"a{number}"), samples.approval(tenant, f"a{number}")),
            (PinKey(tenant, "t"), samples.pin("t")),
            (DefinitionKey(tenant, "t", "d"), samples.definition("t")),
        ]
        store.transact([writes(tenant, *pairs), appends(tenant, 1)])


@pytest.fixture
def store(postgres_url: str) -> Iterator[PostgresStore]:
    with closing(PostgresStore(postgres_url)) as opened:
        fill(opened, *TENANTS)
        yield opened


@pytest.fixture
def connection(store: PostgresStore) -> Wire:
    """The store's own connection: its role, its settings."""
    return store._reader


def ask(connection: Wire, sql: str, *named: Step) -> list[Any]:
    """What one statement shows in a transaction that began with these."""
    step = Step(statement(f"raw {sql}", sql))
    with connection:
        *_, rows = connection.trip([*named, step], again=True)
    return [(row[0] or b"").decode() for row in rows]


# --- reading ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("table", GUARDED)
def test_a_statement_without_a_where_shows_the_named_tenants_rows_alone(connection: Wire, table: str) -> None:
    everything = f"SELECT tenant FROM {table} ORDER BY tenant"
    assert ask(connection, everything, only("acme")) == ["acme"]
    assert ask(connection, everything, only("globex")) == ["globex"]
    assert ask(connection, everything, only("acme", "globex", "nobody")) == ["acme", "globex"]
    assert ask(connection, everything, only("nobody")) == []


@pytest.mark.parametrize("table", GUARDED)
def test_who_names_no_tenant_sees_nothing(connection: Wire, postgres_url: str, table: str) -> None:
    everything = f"SELECT tenant FROM {table}"
    for named in ((), (only(),), (only("acme"),), (only(*TENANTS),), (EVERYBODY,)):
        ask(connection, everything, *named)
        assert ask(connection, everything) == []  # nothing that a transaction named outlives it
    with psycopg.connect(postgres_url) as person:
        assert person.execute(f"TABLE {table}".encode()).fetchall() == []


FORGOTTEN: dict[str, tuple[str, Callable[[PostgresStore], Any]]] = {
    "_CALLS_OF": (
        "SELECT body FROM calls WHERE $1::text <> $2::text",
        lambda store: [each.call.tenant for each in store.calls_of("acme", "r1")],
    ),
    "_STEPS_OF": (
        "SELECT body FROM steps WHERE $1::text <> $2::text",
        lambda store: [each.tenant for each in store.steps_of("acme", "r1")],
    ),
    "_RUNS_OF": (
        "SELECT body FROM runs WHERE opened_at < $1::bigint AND $2::bigint > 0 AND $3::text <> ''",
        lambda store: [each.tenant for each in store.runs("acme")],
    ),
    "_SAME": (
        "SELECT body FROM calls WHERE $1::text <> '' AND $2::text <> '' AND fingerprint = $3::text",
        lambda store: store.transact(
            [Unit([HeadKey("acme")], lambda tx: [each.call.tenant for each in tx.same("acme", "r1", "f1")])]
        )[0],
    ),
    "_ENTRIES": (
        "SELECT seq, hash, body FROM audit WHERE $1::text <> '' AND seq > $2::bigint LIMIT $3::bigint",
        lambda store: ["acme" for _ in store.entries("acme")],
    ),
}


@pytest.mark.parametrize("name", FORGOTTEN)
def test_a_where_that_the_store_forgets_leaks_nothing(
    store: PostgresStore, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    sql, read = FORGOTTEN[name]
    store._memory.forget()
    monkeypatch.setattr(postgres, name, statement(f"forgotten {name}", sql))
    assert read(store) == ["acme"]


def test_a_function_in_a_where_is_not_shown_other_tenants_rows(connection: Wire) -> None:
    """An error may quote a row, so it must not come before the policy."""
    with connection:
        connection.trip([only("globex"), Step(statement("odd", "UPDATE runs SET agent = 'secret'"))], again=True)
    assert ask(connection, "SELECT tenant FROM runs WHERE agent::text <> 'secret' OR agent::int = 1", only("acme")) == [
        "acme"
    ]


def test_a_name_names_itself_and_nobody_else(store: PostgresStore, connection: Wire) -> None:
    odd = [*HOSTILE, "{acme,globex}", 'acme","globex', "acme,globex", "=acme", "acme'", "*", "ACME"]
    for name in odd:
        store.transact([appends(name, 1)])
    everybody = sorted({*odd, *TENANTS})
    for name in odd:
        assert ask(connection, "SELECT tenant FROM heads", only(name)) == [name]
        both = ask(connection, "SELECT tenant FROM heads", only(name, "globex"))
        assert sorted(both) == sorted([name, "globex"])
    assert ask(connection, "SELECT tenant FROM heads", only(*odd)) != []
    assert ask(connection, "SELECT tenant FROM heads ORDER BY tenant", only(*everybody)) == everybody
    assert ask(connection, "SELECT tenant FROM heads") == []


def test_many_tenants_are_named_at_once(store: PostgresStore, connection: Wire) -> None:
    names = [f"tenant-{number:03}" for number in range(300)]
    for _ in range(2):  # with the heads made, and on what is remembered
        store.transact([appends(name, 1) for name in names])
    assert ask(connection, "SELECT tenant FROM heads ORDER BY tenant", only(*names)) == names
    assert store.tenants() == sorted([*TENANTS, *names])


# --- writing ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "sql",
    [
        "INSERT INTO pins (tenant, tool, body) VALUES ('globex', 'new', '')",
        "INSERT INTO audit (tenant, seq, hash, body) VALUES ('globex', 2, '', '')",
        "INSERT INTO pins VALUES ('globex', 't', '') ON CONFLICT (tenant, tool) DO UPDATE SET body = ''",
        "UPDATE runs SET tenant = 'globex'",
        "UPDATE runs SET tenant = 'globex' WHERE tenant = 'acme'",
    ],
)
@pytest.mark.parametrize("named", [[only("acme")], [only("acme", "other")], [EVERYBODY], []], ids=str)
def test_another_tenants_row_cannot_be_written(
    store: PostgresStore, connection: Wire, sql: str, named: list[Step]
) -> None:
    before = contents(store)
    if sql.startswith("UPDATE") and not named:
        assert ask(connection, sql + " RETURNING tenant") == []
    else:
        with pytest.raises(LedgerUnavailable, match=REFUSED):
            ask(connection, sql, *named)
    assert contents(store) == before


@pytest.mark.parametrize(
    "sql", ["UPDATE {} SET tenant = tenant", "DELETE FROM {}", "SELECT tenant FROM {} FOR UPDATE"]
)
@pytest.mark.parametrize("table", sorted({*GUARDED} - {"audit"}))  # which has a trigger that refuses all of it
def test_what_changes_every_row_changes_the_named_tenants_rows_alone(
    store: PostgresStore, connection: Wire, sql: str, table: str
) -> None:
    returning = "" if sql.startswith("SELECT") else " RETURNING tenant"
    assert ask(connection, sql.format(table) + returning, only("acme")) == ["acme"]
    assert ask(connection, sql.format(table) + returning) == []
    assert ask(connection, f"SELECT tenant FROM {table}", only("globex")) == ["globex"]


def test_to_see_everybody_takes_a_read_only_transaction(connection: Wire) -> None:
    every = Step(statement("every", "SELECT set_config('interlock.every_tenant', 'yes', true)"))
    assert ask(connection, "SELECT tenant FROM runs", every) == []
    assert ask(connection, "SELECT tenant FROM runs ORDER BY tenant", EVERYBODY) == list(TENANTS)
    with pytest.raises(LedgerUnavailable, match="read-only"):
        ask(connection, "UPDATE runs SET body = ''", EVERYBODY)


def test_a_unit_that_strays_to_a_tenant_that_it_did_not_name_finds_nothing(store: PostgresStore) -> None:
    """The store refuses it too; here its check is gone around."""
    found: list[Any] = []

    def stray(tx: Tx) -> None:
        session: Any = tx._session
        session._tenants = {*TENANTS}
        found.extend(tx.get(RunKey(tenant, "r1")) for tenant in TENANTS)
        tx.put(RunKey("globex", "r1"), samples.run("globex"))

    store._memory.forget()
    before = contents(store)
    with pytest.raises(LedgerUnavailable, match=REFUSED):
        store.transact([Unit([HeadKey("acme")], stray)])
    assert found == [samples.run("acme"), None]
    assert contents(store) == before


def contents(store: PostgresStore) -> list[Any]:
    found: list[Any] = []
    for tenant in TENANTS:
        keys = (RunKey(tenant, "r1"), StepKey(tenant, "r1", "s1"), call_key(record(tenant)), PinKey(tenant, "t"))
        found += [store.load(key) for key in keys]
        found += [store.load(HeadKey(tenant)), *store.entries(tenant)]
        found += [*store.accounts(tenant), *store.approvals(tenant)]
    assert None not in found
    return found


# --- the wall itself --------------------------------------------------------------------------------------------------


def test_every_table_with_a_tenant_is_behind_the_wall(store: PostgresStore, postgres_url: str) -> None:
    """So that a table of a later migration is not forgotten."""
    tables = (
        "SELECT c.relname, c.relrowsecurity, c.relforcerowsecurity, count(p.oid) FROM pg_class AS c"
        " JOIN pg_attribute AS a ON a.attrelid = c.oid AND a.attname = 'tenant' AND NOT a.attisdropped"
        " LEFT JOIN pg_policy AS p ON p.polrelid = c.oid"
        " WHERE c.relkind IN ('r', 'p') AND c.relnamespace = 'public'::regnamespace GROUP BY 1, 2, 3"
    )
    with psycopg.connect(postgres_url) as person:
        found = person.execute(tables.encode()).fetchall()
        owners = person.execute("SELECT DISTINCT tableowner = current_user FROM pg_tables WHERE tablename = 'calls'")
        assert owners.fetchall() == [(True,)]  # the owner of the tables is bound like everybody
    assert sorted(found) == [(name, True, True, 1) for name in sorted(GUARDED)]


def test_a_role_that_the_wall_does_not_bind_is_warned_of(
    postgres_url: str, caplog: pytest.LogCaptureFixture
) -> None:
    def warnings(url: str) -> list[str]:
        caplog.clear()
        with caplog.at_level(logging.WARNING, "interlock.ledger"), closing(PostgresStore(url)) as store:
            store.transact([appends("acme", 1)])
        return caplog.messages

    assert warnings(postgres_url) == []
    (warning,) = warnings(as_superuser(postgres_url))
    assert "superuser" in warning
    assert "let `ledger:` name a user without these rights" in warning
    with psycopg.connect(as_superuser(postgres_url), autocommit=True) as person:
        person.execute("ALTER TABLE steps DISABLE ROW LEVEL SECURITY")
    assert len(warnings(postgres_url)) == 1


def test_a_ledger_from_before_the_wall_is_upgraded_and_keeps_its_rows(postgres_url: str) -> None:
    with psycopg.connect(postgres_url) as old:
        old.execute(migrate._CREATE.encode())
        for each in migrate.migrations("postgres")[:3]:
            for part in migrate.statements(each.script):
                old.execute(part.encode())
            old.execute(
                "INSERT INTO interlock_migrations (number, name, sha256) VALUES (%s, %s, %s)",
                (each.number, each.name, each.sha256),
            )
        for tenant in TENANTS:
            old.execute(
                "INSERT INTO pins (tenant, tool, body) VALUES (%s, 't', %s)",
                (tenant, msgspec.json.encode(samples.pin("t")).decode()),
            )
    with closing(PostgresStore(postgres_url)) as store:
        assert [store.load(PinKey(tenant, "t")) for tenant in TENANTS] == [samples.pin("t")] * 2
        assert ask(store._reader, "SELECT tenant FROM pins", only("acme")) == ["acme"]
        assert ask(store._reader, "SELECT tenant FROM pins") == []


def test_pins_are_the_systems_and_every_tenant_of_the_watch_is_seen(store: PostgresStore) -> None:
    store.transact([writes(SYSTEM, (PinKey(SYSTEM, "a.x"), samples.pin("a.x")))])
    assert "a.x" in [pin.tool for pin in store.pins()]
    assert sorted(each.call.tenant for each in store.lapsed(100)) == list(TENANTS)
    assert sorted(each.tenant for each in store.approvals()) == list(TENANTS)
    assert sorted(each.tenant for each in store.runs()) == list(TENANTS)
    assert store.find_approval("a1") == samples.approval("globex", "a1")


def test_a_dump_by_a_role_that_is_bound_fails_and_is_not_half_a_backup(
    store: PostgresStore, postgres: PostgresServer, postgres_url: str
) -> None:
    def dump(url: str) -> subprocess.CompletedProcess[str]:
        order = [str(postgres.binaries / "pg_dump"), "--data-only", "--table=runs", f"--dbname={url}"]
        return subprocess.run(order, capture_output=True, text=True, check=False)

    refused = dump(postgres_url)
    assert refused.returncode != 0
    assert "row-level security" in refused.stderr
    whole = dump(as_superuser(postgres_url))
    assert whole.returncode == 0
    assert all(tenant in whole.stdout for tenant in TENANTS)


@pytest.mark.parametrize("name", ["load", "refuse", "same", "same in tenant"])
def test_behind_the_wall_a_statement_still_reads_those_rows_alone_that_its_keys_find(
    store: PostgresStore, postgres_url: str, name: str
) -> None:
    """A young table has no statistics, and the planner must not take the policy for a filter that finds rows."""
    table = postgres.TABLES[postgres.CallKey]
    asked = {
        "load": (table.load, "text[], text[], text[]"),
        "refuse": (table.refuse, "text[], text[], text[]"),
        "same": (postgres._REFUSE_SAME[1], "text[], text[], text[]"),
        "same in tenant": (postgres._REFUSE_SAME_IN_TENANT[1], "text[], text[], bigint[]"),
    }
    with psycopg.connect(postgres_url, autocommit=True) as person:
        person.execute(wire.SETTINGS.encode())
        query, types = asked[name]
        person.execute(f"PREPARE asked ({types}) AS ".encode() + query.sql)
        absent = "'{acme,acme,acme}', '{x,y,z}', " + ("'{1,2,3}'" if "bigint" in types else "'{x,y,z}'")
        person.execute("SELECT set_config('interlock.tenant', '=acme', false)")
        person.execute(f"EXPLAIN ANALYZE EXECUTE asked ({absent})".encode())
        calls: list[Record] = [record(key=f"k{number}", tenant_wide=True) for number in range(500)]
        store.transact([writes("acme", *((call_key(each), each) for each in calls))])
        plan = person.execute(f"EXPLAIN (ANALYZE, COSTS OFF) EXECUTE asked ({absent})".encode()).fetchall()
    lines = [str(line) for (line,) in plan]
    assert any("Index Cond" in line for line in lines), lines
    assert not any("Rows Removed" in line or "Materialize" in line for line in lines), lines


def test_a_person_looks_around_as_the_operations_page_says(store: PostgresStore, postgres_url: str) -> None:
    def seen(begin: str, setting: str) -> list[str]:
        with psycopg.connect(postgres_url, autocommit=True) as person:
            person.execute(begin.encode())
            person.execute(f"SET LOCAL {setting}".encode())
            return [tenant for (tenant,) in person.execute("SELECT tenant FROM runs ORDER BY tenant").fetchall()]

    assert seen("BEGIN READ ONLY", "interlock.tenant = '=acme'") == ["acme"]
    assert seen("BEGIN READ ONLY", "interlock.every_tenant = 'yes'") == list(TENANTS)
    assert seen("BEGIN", "interlock.every_tenant = 'yes'") == []
    assert seen("BEGIN", "interlock.tenant = 'acme'") == []


def test_the_setting_of_a_transaction_is_that_of_the_wire(store: PostgresStore) -> None:
    """A statement that comes with another tenant's name in its parameters still sees the named tenant."""
    step = Step(statement("other", "SELECT tenant FROM runs WHERE tenant = $1::text"), (text("globex"),))
    with store._reader as connection:
        assert connection.trip([only("acme"), step], again=True)[1] == []
