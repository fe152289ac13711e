"""The private PostgreSQL server keeps its promises."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import psycopg
import pytest

from tests.postgres_server import PostgresServer, PostgresUnavailable, find_binaries, free_port


def ask(url: str, question: str) -> object:
    with psycopg.connect(url, connect_timeout=5) as connection:
        row = connection.execute(question).fetchone()
        assert row is not None
        return row[0]


def server_pid(folder: Path) -> int:
    return int((folder / "data" / "postmaster.pid").read_text().splitlines()[0])


def is_gone(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return True
    return False


def wait_until_gone(pid: int, folder: Path) -> None:
    until = time.monotonic() + 20
    while not (is_gone(pid) and not folder.exists()):
        assert time.monotonic() < until, f"server {pid} or its folder {folder} is still there"
        time.sleep(0.05)


def test_a_server_answers_and_is_durable_unless_told_otherwise(postgres: PostgresServer) -> None:
    assert ask(postgres.url, "SELECT 1") == 1
    assert ask(postgres.url, "SHOW fsync") == "on"
    assert ask(postgres.url, "SHOW synchronous_commit") == "on"


def test_a_server_is_not_run_by_root(postgres: PostgresServer) -> None:
    assert postgres.folder is not None
    owner = (postgres.folder / "data").stat().st_uid
    assert owner != 0
    assert owner == Path(f"/proc/{server_pid(postgres.folder)}").stat().st_uid


def test_a_server_listens_on_loopback_only(postgres: PostgresServer) -> None:
    assert ask(postgres.url, "SHOW listen_addresses") == "127.0.0.1"
    assert ask(postgres.url, "SHOW unix_socket_directories") == str(postgres.folder)


def test_every_test_has_a_fresh_database(postgres: PostgresServer, postgres_url: str) -> None:
    with psycopg.connect(postgres_url) as connection:
        connection.execute("CREATE TABLE mine (id int)")
    other = postgres.create_database()
    assert ask(other, "SELECT to_regclass('mine')") is None
    assert ask(postgres_url, "SELECT to_regclass('mine')") == "mine"
    postgres.drop_database(other)


def test_a_database_can_be_copied_from_a_template(postgres: PostgresServer, postgres_url: str) -> None:
    with psycopg.connect(postgres_url) as connection:
        connection.execute("CREATE TABLE mine (id int)")
    copy = postgres.create_database(template=postgres_url.rsplit("/", 1)[1])
    assert ask(copy, "SELECT to_regclass('mine')") == "mine"
    postgres.drop_database(copy)


def test_a_database_is_dropped_under_an_open_connection(postgres: PostgresServer) -> None:
    url = postgres.create_database()
    with psycopg.connect(url) as connection:
        postgres.drop_database(url)
        with pytest.raises(psycopg.OperationalError):
            connection.execute("SELECT 1")


def test_a_stopped_server_is_gone_with_its_folder() -> None:
    server = PostgresServer(durable=False)
    with server:
        folder, url = server.folder, server.url
        assert folder is not None
        pid = server_pid(folder)
        assert ask(url, "SHOW fsync") == "off"
        lingering = psycopg.connect(url)  # an open connection holds nobody up
    assert is_gone(pid)
    assert not folder.exists()
    lingering.close()
    server.stop()


def test_a_server_does_not_outlive_a_process_that_was_killed() -> None:
    program = (
        "import time; from tests.postgres_server import PostgresServer; server = PostgresServer(durable=False);"
        "server.start(); print(server.folder, flush=True); time.sleep(600)"
    )
    with subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        folder = Path(process.stdout.readline().strip())
        pid = server_pid(folder)
        process.send_signal(signal.SIGKILL)
    wait_until_gone(pid, folder)


def test_a_server_takes_another_port_where_somebody_was_quicker(postgres: PostgresServer) -> None:
    ports = iter([postgres.port, free_port()])
    with PostgresServer(durable=False, choose_port=lambda: next(ports)) as server:
        assert server.port != postgres.port
        assert ask(server.url, "SELECT 1") == 1


def test_missing_binaries_are_an_error_that_names_the_remedy(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(PostgresUnavailable, match=r"scripts/postgres\.sh"):
        find_binaries(debian=tmp_path)
