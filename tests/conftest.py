"""Fixtures for every test: a PostgreSQL server of our own, started when the first test asks for it."""

from collections.abc import Iterator

import pytest
from hypothesis import HealthCheck, settings

from tests.postgres_server import PostgresServer

settings.register_profile("any machine", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("any machine")


@pytest.fixture(scope="session")
def postgres() -> Iterator[PostgresServer]:
    """A private server for the whole session. Fails, and does not skip, where there are no binaries."""
    with PostgresServer() as server:
        yield server


@pytest.fixture
def postgres_url(postgres: PostgresServer) -> Iterator[str]:
    """A fresh database for one test; dropped after it, whoever is still connected."""
    url = postgres.create_database()
    yield url
    postgres.drop_database(url)
