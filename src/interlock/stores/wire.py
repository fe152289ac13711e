"""A PostgreSQL connection on which several statements go out at once, and little Python is spent on each.

Not a store, and no SQL but the session's settings. Law: a connection that has seen an error is thrown away and opened
anew; every foreign error leaves as LedgerUnavailable or ConfigError with a remedy, and never holds the password.

psycopg's cursors cost 20-50 µs of Python a statement, its pipelines more; here, on its documented `psycopg.pq`, a
statement costs about 3 µs. Values travel as binary arrays of text and integers, which need no quoting.
"""

from __future__ import annotations

import os
import select
import threading
import time
from collections.abc import Sequence
from functools import partial
from struct import Struct
from typing import Any, NamedTuple

import psycopg
from psycopg import pq

from interlock.errors import ConfigError, LedgerUnavailable
from interlock.stores.migrate import TABLE, Migration, migrate, migrations, pending
from interlock.stores.postgres_words import error_of, remedy_for, settings_of, went_away

#: Every statement finds its rows by an index, whatever the statistics of a young table say. A process that is frozen
#: inside a transaction gives its tenants free after a while, and one that waits for them does not wait for ever.
SETTINGS = """
SET jit = off; SET enable_seqscan = off; SET enable_hashjoin = off; SET enable_mergejoin = off;
SET plan_cache_mode = force_generic_plan; SET default_transaction_isolation = 'read committed';
SET lock_timeout = '20s'; SET idle_in_transaction_session_timeout = '10s';
SELECT set_config('synchronous_commit', 'on', false) WHERE current_setting('synchronous_commit') = 'off';
"""

#: An answer that came sooner than this, in seconds, is waited for awake the next time: a core that has gone to sleep
#: takes some 40 µs to come back, as long as a look at the switches takes. A slower server is waited for asleep.
PROMPT = 300e-6
SPARE_CORE = (os.cpu_count() or 1) > 1 and hasattr(os, "sched_yield")

MIGRATING = 0x696E7465726C6F63  #: the advisory lock of those who migrate; the letters "interloc"

UNIQUE = "23505"  #: there is a row with this key already
STALE = frozenset({"IL001", "IL002", UNIQUE})  #: see the migration

TEXT, BIGINT, BOOLEAN = 25, 20, 16  #: type oids, as the protocol has them

_HEADER = Struct("!iiIii").pack  # dimensions, has nulls, element type, length, lower bound
_SIZE = Struct("!i").pack
_LONG = Struct("!q")
_NULL = _SIZE(-1)
_BOOL = {True: _SIZE(1) + b"\x01", False: _SIZE(1) + b"\x00"}
_BINARY = tuple([1] * n for n in range(32))

_BAD, _SYNC, _FATAL = pq.ConnStatus.BAD, pq.ExecStatus.PIPELINE_SYNC, pq.ExecStatus.FATAL_ERROR
_ABORTED = pq.ExecStatus.PIPELINE_ABORTED


class Stale(Exception):
    """The database refused a transaction because it stood on something out of date; the connection is whole."""

    def __init__(self, state: str) -> None:
        super().__init__(state)
        self.state = state  #: its SQLSTATE, one of STALE


class Statement(NamedTuple):
    """A statement that is prepared when it is first used."""

    name: bytes
    sql: bytes


class Step(NamedTuple):
    """One execution: the statement, and its parameters in binary form."""

    statement: Statement
    values: Sequence[bytes | None] = ()


Rows = list[tuple[bytes | None, ...]]


class Wire:
    """One connection, for one caller at a time; opened when it is first needed, and again after it broke."""

    def __init__(self, url: str) -> None:
        self._settings, self.name, self._password = settings_of(url)  # the name holds no secret
        self._connection: psycopg.Connection[Any] | None = None
        self._prepared: set[bytes] = set()
        self._poll = select.poll()
        self._prompt = False  #: the last answer was
        self._process = 0
        self._lock = threading.RLock()
        self._closed = False
        self.generation = 0  #: the number of the connection

    def __enter__(self) -> Wire:
        """Keep other threads out."""
        self._lock.acquire()
        return self

    def __exit__(self, *_: object) -> None:
        self._lock.release()

    def trip(
        self, steps: Sequence[Step], *, again: bool = False, commits: bool = False, whole: bool = False
    ) -> list[Rows]:
        """Send all, then read all: the rows of each.

        `again`: this is a beginning, and nothing is lost if it runs twice; so a connection is opened where there is
        none, and one that broke while it lay idle is replaced unnoticed. Anything else goes on with the connection
        that its beginning had, or fails. `commits`: if the connection is lost, the error says that it may have landed.
        `whole`: the steps are a transaction of their own, and Stale says that it stood on something out of date.
        """
        connection = self._connection if self._process == os.getpid() else None
        if connection is None and not again:
            raise LedgerUnavailable(f"{self.name}: the connection was lost inside a transaction; try again")
        problem: LedgerUnavailable | None = None
        for tries_left in (again and connection is not None, False):
            try:
                return self._trip(connection or self._open(), steps)
            except psycopg.Error as error:
                if whole and error.sqlstate in STALE:
                    raise Stale(error.sqlstate) from None
                self.drop()
                connection = None
                if not (tries_left and went_away(error)):
                    problem = self._unavailable(error, in_doubt=commits and went_away(error))
            except BaseException:  # Ctrl-C in the middle: nobody knows what is still to be read
                self.drop()
                raise
            if problem is not None:
                break
        raise problem or AssertionError  # out here, so that what psycopg said is not its context

    def migrate(self, folder: str) -> None:
        """Bring the database to the newest migration, on a connection of its own. Many processes may do so at once."""
        problem: LedgerUnavailable | None = None
        try:
            with self._connect() as connection:
                _migrate(connection, folder)
        except psycopg.Error as error:
            problem = self._unavailable(error)
        if problem is not None:
            raise problem  # out here, as above

    def pending(self, folder: str) -> list[Migration]:
        """What is still to be applied to the database. It is only looked at."""
        problem: LedgerUnavailable | None = None
        try:
            with self._connect() as connection:
                return _pending(connection, folder)
        except psycopg.Error as error:
            problem = self._unavailable(error)
        raise problem  # out here, as above

    def idle(self) -> bool:
        """True where there is a connection, and nothing has come on it unasked: a server that goes says so."""
        connection = self._connection
        return connection is not None and self._process == os.getpid() and not self._poll.poll(0)

    def drop(self) -> None:
        """Throw the connection away; the next trip opens another."""
        connection, self._connection = self._connection, None
        self._prepared.clear()
        if connection is not None and self._process == os.getpid():  # after a fork it is the parent's
            connection.close()

    def close(self) -> None:
        """Open no more."""
        with self._lock:
            self._closed = True
            self.drop()

    def _connect(self) -> psycopg.Connection[Any]:
        if self._closed:
            raise LedgerUnavailable(f"{self.name} was closed; open the gateway again")
        connection = psycopg.connect(**self._settings, autocommit=True)
        try:
            connection.execute(SETTINGS)
        except BaseException:
            connection.close()
            raise
        return connection

    def _open(self) -> psycopg.Connection[Any]:
        connection = self._connect()
        connection.pgconn.enter_pipeline_mode()
        self._prepared.clear()
        self._poll = select.poll()
        self._poll.register(connection.pgconn.socket, select.POLLIN)
        self._process = os.getpid()
        self._connection = connection
        self.generation += 1
        return connection

    def _trip(self, connection: psycopg.Connection[Any], steps: Sequence[Step]) -> list[Rows]:
        pgconn = connection.pgconn
        expected: list[bytes | None] = []  # what each result is of: a preparation, or (None) an execution
        for statement, values in steps:
            if statement.name not in self._prepared and statement.name not in expected:
                pgconn.send_prepare(statement.name, statement.sql)
                expected.append(statement.name)
            pgconn.send_query_prepared(statement.name, values, _BINARY[len(values)], 1)
            expected.append(None)
        pgconn.pipeline_sync()
        self._send_all(pgconn)
        return self._receive(pgconn, expected)

    def _send_all(self, pgconn: pq.abc.PGconn) -> None:
        while pgconn.flush():
            writable = select.poll()
            writable.register(pgconn.socket, select.POLLIN | select.POLLOUT)
            if any(event & ~select.POLLOUT for _, event in writable.poll()):
                pgconn.consume_input()  # or the server, which cannot get rid of its answers, would read no more

    def _receive(self, pgconn: pq.abc.PGconn, expected: Sequence[bytes | None]) -> list[Rows]:
        rows: list[Rows] = []
        failure: psycopg.Error | None = None
        place = 0
        while True:
            while pgconn.is_busy():
                self._wait()
                pgconn.consume_input()
            result = pgconn.get_result()
            if result is None:
                if pgconn.status == _BAD:
                    raise failure or psycopg.OperationalError("the connection is lost")
                continue  # the end of one statement's results
            status = result.status
            if status == _SYNC:
                break
            if status == _FATAL:
                failure = failure or error_of(result)
            elif status != _ABORTED:
                if (prepared := expected[place]) is None:
                    rows.append(_rows_of(result))
                else:
                    self._prepared.add(prepared)
            place += 1
        if failure is not None:
            raise failure
        return rows

    def _wait(self) -> None:
        """Until the server says something. Without the GIL, which `get_result` would hold."""
        poll, began = self._poll.poll, time.perf_counter()
        if self._prompt:
            while not poll(0):
                if time.perf_counter() - began > PROMPT:
                    poll()
                    break
                os.sched_yield()  # whoever is short of a core, the server perhaps, comes first
        else:
            poll()
        self._prompt = SPARE_CORE and time.perf_counter() - began <= PROMPT

    def _unavailable(self, error: psycopg.Error, *, in_doubt: bool = False) -> LedgerUnavailable:
        text = " ".join(str(error).split())
        if self._password:
            text = text.replace(self._password, "***")
        doubt = "the connection was lost during the commit, and whether it landed is not known: " if in_doubt else ""
        return LedgerUnavailable(f"{self.name}: {doubt}{text}; {remedy_for(error)}")


def _migrate(connection: psycopg.Connection[Any], folder: str) -> None:
    encoding = connection.info.parameter_status("server_encoding")
    if encoding != "UTF8":
        raise ConfigError(f"the ledger's database is encoded in {encoding}; create it with ENCODING 'UTF8'")

    if not _pending(connection, folder):
        return  # nothing to do takes no lock, and needs no right to create anything
    execute = partial(_rows, connection)
    with connection.transaction():
        execute(f"SELECT pg_advisory_xact_lock({MIGRATING})")
        migrate(folder, execute)


def _pending(connection: psycopg.Connection[Any], folder: str) -> list[Migration]:
    execute = partial(_rows, connection)
    if execute(f"SELECT to_regclass('{TABLE}') IS NOT NULL") == [(True,)]:
        return pending(folder, execute)
    return migrations(folder)


def _rows(connection: psycopg.Connection[Any], statement: str) -> list[tuple[Any, ...]]:
    cursor = connection.execute(statement.encode())
    return cursor.fetchall() if cursor.description else []


def texts(values: Sequence[str | None]) -> bytes:
    """A text[]."""
    return _array(TEXT, [None if value is None else value.encode() for value in values])


def blobs(values: Sequence[bytes]) -> bytes:
    """A text[] of what is UTF-8 already."""
    return _array(TEXT, values)


def bigints(values: Sequence[int | None]) -> bytes:
    """A bigint[]."""
    return _array(BIGINT, [None if value is None else _LONG.pack(value) for value in values])


def booleans(values: Sequence[bool]) -> bytes:
    """A boolean[]."""
    return _HEADER(1, 0, BOOLEAN, len(values), 1) + b"".join([_BOOL[value] for value in values])


def text(value: str) -> bytes:
    """A text."""
    return value.encode()


def boolean(value: bool) -> bytes:
    """A boolean."""
    return b"\x01" if value else b"\x00"


def bigint(value: int) -> bytes:
    """A bigint."""
    return _LONG.pack(value)


def number(value: bytes | None) -> int:
    """What a bigint column holds."""
    return int.from_bytes(value or b"", "big", signed=True)


def _array(oid: int, items: Sequence[bytes | None]) -> bytes:
    parts = [_HEADER(1, 0, oid, len(items), 1)]
    for item in items:
        if item is None:
            parts.append(_NULL)
        else:
            parts.append(_SIZE(len(item)))
            parts.append(item)
    return b"".join(parts)


def _rows_of(result: pq.abc.PGresult) -> Rows:
    get, columns = result.get_value, range(result.nfields)
    return [tuple([get(row, column) for column in columns]) for row in range(result.ntuples)]
