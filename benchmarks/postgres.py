"""`postgres`: a governed call on PostgreSQL, one tenant's hot budget row, and four processes on it.

A private server is started for it (`tests/postgres_server.py`), with fsync and synchronous_commit on. The yardstick of
the hot tenant is the classical way, written out here, by 64 asyncio tasks with a connection each: a transaction of
seven statements before the effect and one of three after it. Its `SELECT … FOR UPDATE` on the tenant's budget row comes
as late as it can, so that the row is locked as briefly as it can be.
"""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from statistics import median
from typing import Any

import psycopg

from benchmarks.bare import ROW
from benchmarks.figures import CannotRun, Figure, Size, figure, percentile, require
from benchmarks.load import HERE, TENANT, Governed, arguments, on_postgres, scratch
from tests.postgres_server import PostgresServer, PostgresUnavailable

BLOCK = 25
CALLERS = 64
PROCESSES = 4
SCHEMA = """
CREATE TABLE budgets (tenant text PRIMARY KEY, calls_left bigint NOT NULL, held bigint NOT NULL, spent bigint NOT NULL);
CREATE TABLE switches (scope text PRIMARY KEY, active boolean NOT NULL);
CREATE TABLE calls (tenant text, run text, key text, state text NOT NULL, args text NOT NULL, result text,
    PRIMARY KEY (tenant, run, key));
CREATE TABLE audit (id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY, tenant text NOT NULL, body text NOT NULL);
CREATE TABLE log (id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY, body text NOT NULL);
INSERT INTO budgets VALUES ('acme', 1000000000, 0, 0);
"""


def postgres(size: Size) -> Iterator[Figure]:
    """All of it on one server."""
    try:
        with scratch() as folder, PostgresServer() as server:
            yield from _one_caller(size, server, folder)
            yield from _hot_tenant(size, server, folder)
            yield from _four_processes(size, server, folder)
    except PostgresUnavailable as error:
        raise CannotRun(str(error)) from None


def _yardstick(server: PostgresServer) -> str:
    url = server.create_database()
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute(SCHEMA)
    return url


def _one_caller(size: Size, server: PostgresServer, folder: Path) -> Iterator[Figure]:
    blocks = size.of(40, 4)
    ratios: list[float] = []
    ours: list[float] = []
    theirs: list[float] = []
    governed = Governed(on_postgres(server.create_database(), folder))
    with psycopg.connect(_yardstick(server), autocommit=True, prepare_threshold=0) as bare:
        governed.serial(BLOCK)
        _inserts(bare, BLOCK)
        for _ in range(size.rounds):
            mine, yard = [], []
            for _ in range(blocks):
                yard += _inserts(bare, BLOCK)
                mine += governed.serial(BLOCK)
            ratios.append(median(mine) / median(yard))
            ours += mine
            theirs += yard
    governed.check(len(ours) + BLOCK)
    governed.close()
    seen = {"call_us": median(ours) * 1e6, "insert_us": median(theirs) * 1e6}
    yield figure(
        "PostgreSQL: governed call, one caller / a one-insert commit", ratios, at_most=3.0, stretch=2.5, seen=seen
    )


def _inserts(connection: psycopg.Connection[Any], calls: int) -> list[float]:
    taken, clock = [], time.perf_counter
    for _ in range(calls):
        began = clock()
        connection.execute("INSERT INTO log (body) VALUES (%s)", (ROW,))
        taken.append(clock() - began)
    return taken


# --- one hot tenant --------------------------------------------------------------------------------------------------


def _hot_tenant(size: Size, server: PostgresServer, folder: Path) -> Iterator[Figure]:
    each = size.of(60, 6)
    rates: list[float] = []
    tails: list[float] = []
    ours: list[tuple[float, float]] = []
    theirs: list[tuple[float, float]] = []
    url, done = _yardstick(server), 0
    governed = Governed(on_postgres(server.create_database(), folder))
    with asyncio.Runner() as runner:
        runner.run(governed.together(CALLERS, 4))
        for number in range(size.rounds):
            slow, latencies = runner.run(_transaction_per_call(url, each, number))
            theirs.append((len(latencies) / slow, percentile(latencies, 0.99)))
            fast, latencies = runner.run(governed.together(CALLERS, each * 4))
            ours.append((len(latencies) / fast, percentile(latencies, 0.99)))
            rates.append(ours[-1][0] / theirs[-1][0])
            tails.append(ours[-1][1] / theirs[-1][1])
            done += len(latencies)
    governed.check(done + CALLERS * 4)
    governed.close()
    with psycopg.connect(url) as connection:
        spent = connection.execute("SELECT spent, held FROM budgets").fetchone()
    require(spent == (CALLERS * each * size.rounds, 0), f"the yardstick itself is wrong: {spent}")
    seen = {"ours_per_s": median(rate for rate, _ in ours), "theirs_per_s": median(rate for rate, _ in theirs)}
    yield figure(
        "PostgreSQL: 64 callers on one hot tenant / a transaction per call, calls per second", rates, at_least=6.0,
        stretch=10.0, seen=seen,
    )
    seen = {
        "ours_p99_ms": median(tail for _, tail in ours) * 1e3,
        "theirs_p99_ms": median(tail for _, tail in theirs) * 1e3,
    }
    yield figure(
        "PostgreSQL: 64 callers on one hot tenant / a transaction per call, p99", tails, at_most=1 / 15, stretch=1 / 25,
        seen=seen,
    )


async def _transaction_per_call(url: str, each: int, number: int) -> tuple[float, list[float]]:
    connections = [
        await psycopg.AsyncConnection.connect(url, autocommit=True, prepare_threshold=0) for _ in range(CALLERS)
    ]
    taken: list[float] = []
    clock = time.perf_counter

    async def caller(connection: psycopg.AsyncConnection[Any], run: str) -> None:
        for call in range(each):
            began = clock()
            require(await _admit(connection, run, f"c{call}"), "the yardstick refused a call")
            await _finish(connection, run, f"c{call}")
            taken.append(clock() - began)

    began = clock()
    await asyncio.gather(*(caller(each, f"r{number}-{place}") for place, each in enumerate(connections)))
    seconds = clock() - began
    for connection in connections:
        await connection.close()
    return seconds, taken


async def _admit(connection: psycopg.AsyncConnection[Any], run: str, key: str) -> bool:
    """Seven statements: begin, switches, known?, call, audit, budget, hold; then commit. The hot row comes last."""
    execute = connection.execute
    await execute("BEGIN")
    killed = await (await execute("SELECT 1 FROM switches WHERE active AND scope IN ('', %s)", (TENANT,))).fetchone()
    known = await (
        await execute("SELECT state FROM calls WHERE tenant = %s AND run = %s AND key = %s", (TENANT, run, key))
    ).fetchone()
    await execute("INSERT INTO calls VALUES (%s, %s, %s, 'leased', %s)", (TENANT, run, key, ROW))
    await execute("INSERT INTO audit (tenant, body) VALUES (%s, %s)", (TENANT, ROW))
    left = await (await execute("SELECT calls_left FROM budgets WHERE tenant = %s FOR UPDATE", (TENANT,))).fetchone()
    if killed or known or left is None or left[0] < 1:
        await execute("ROLLBACK")
        return False
    await execute("UPDATE budgets SET calls_left = calls_left - 1, held = held + 1 WHERE tenant = %s", (TENANT,))
    await execute("COMMIT")
    return True


async def _finish(connection: psycopg.AsyncConnection[Any], run: str, key: str) -> None:
    execute = connection.execute
    await execute("BEGIN")
    await execute(
        "UPDATE calls SET state = 'done', result = %s WHERE tenant = %s AND run = %s AND key = %s",
        (ROW, TENANT, run, key),
    )
    await execute("INSERT INTO audit (tenant, body) VALUES (%s, %s)", (TENANT, ROW))
    await execute("UPDATE budgets SET held = held - 1, spent = spent + 1 WHERE tenant = %s", (TENANT,))
    await execute("COMMIT")


# --- four processes --------------------------------------------------------------------------------------------------


def _four_processes(size: Size, server: PostgresServer, folder: Path) -> Iterator[Figure]:
    """Each wishes half of the budget, so that it runs out while all four are busy."""
    quota = size.of(4_000, 200)
    url = server.create_database()
    Governed(on_postgres(url, folder, quota=quota)).close()  # makes the schema
    order = [sys.executable, "-m", "benchmarks.postgres", url, str(folder), str(quota), str(quota // 2)]
    began = time.perf_counter()
    children = [subprocess.Popen(order, cwd=HERE, stdout=subprocess.PIPE, text=True) for _ in range(PROCESSES)]
    told = [json.loads(child.communicate()[0]) for child in children]
    seconds = time.perf_counter() - began
    governed = Governed(on_postgres(url, folder, quota=quota))
    governed.performed = sum(each["performed"] for each in told)
    for each in told:
        governed.effects.update(each["effects"])
    governed.check(quota)
    governed.close()
    seen = {"effects": governed.performed, "budget": quota, "wished": 2 * quota, "seconds": seconds}
    yield figure(
        "PostgreSQL: four processes on one tenant's budget, effects beyond or below it",
        [abs(governed.performed - quota)], unit="", at_most=0, seen=seen,
    )


async def _wish(governed: Governed, wishes: int) -> None:
    async def caller(number: int) -> None:
        run = governed.run()
        for call in range(number, wishes, 16):
            await run.acall("ticket.acreate", arguments(call), call_id=f"c{call}")

    await asyncio.gather(*(caller(number) for number in range(16)))


def _child(url: str, folder: Path, quota: int, wishes: int) -> None:
    governed = Governed(on_postgres(url, folder, quota=quota))
    asyncio.run(_wish(governed, wishes))
    governed.close()
    print(json.dumps({"performed": governed.performed, "effects": governed.effects}))


if __name__ == "__main__":
    _child(sys.argv[1], Path(sys.argv[2]), int(sys.argv[3]), int(sys.argv[4]))
