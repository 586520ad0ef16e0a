"""Real services for tests: one PostgreSQL and one Redis for the run; a fresh database and empty Redis for each test."""

import asyncio
import inspect
import secrets
import tempfile
import threading
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path

import psycopg
import pytest
import redis

from tests.world import World, build
from traffic.clock import monotonic_s
from traffic.database import as_role, migrate
from traffic.embedded import Embedded
from traffic.settings import Settings, load_settings

PARTITIONS = 8
TEMPLATE = "template_traffic"


def wait_until(condition: Callable[[], object], timeout_s: float = 20.0, what: str = "") -> object:
    """Poll until the condition holds (its value is returned); fails after the time-out."""
    deadline = monotonic_s() + timeout_s
    pause = threading.Event()
    while not (value := condition()):
        if monotonic_s() > deadline:
            raise AssertionError(f"waited {timeout_s:.0f} s in vain for {what or inspect.getsource(condition).strip()}")
        pause.wait(0.02)
    return value


async def wait_until_async(
    condition: Callable[[], object | Awaitable[object]], timeout_s: float = 20.0, what: str = ""
) -> object:
    """As `wait_until`, without blocking the loop; the condition may be a coroutine function."""
    deadline = monotonic_s() + timeout_s
    while True:
        value = condition()
        if inspect.isawaitable(value):
            value = await value
        if value:
            return value
        if monotonic_s() > deadline:
            raise AssertionError(f"waited {timeout_s:.0f} s in vain for {what or condition}")
        await asyncio.sleep(0.02)


@pytest.fixture(scope="session")
def services() -> Iterator[Embedded]:
    """One PostgreSQL and one Redis, and a migrated template database."""
    with tempfile.TemporaryDirectory(prefix="traffic-test-") as folder:
        Path(folder).chmod(0o755)
        embedded = Embedded(load_settings(data_dir=Path(folder) / "data"))
        embedded.start()
        try:
            _execute(embedded, f"CREATE DATABASE {TEMPLATE}")
            migrate(embedded.url_of(TEMPLATE), partitions=PARTITIONS)
            # A template is copied only while nobody is connected to it: TimescaleDB's own workers have to leave.
            with psycopg.connect(embedded.url_of(TEMPLATE), autocommit=True) as connection:
                connection.execute("SELECT _timescaledb_functions.stop_background_workers()")
            _execute(embedded, f"ALTER DATABASE {TEMPLATE} WITH ALLOW_CONNECTIONS false")
            yield embedded
        finally:
            embedded.stop()


def _execute(embedded: Embedded, statement: str) -> None:
    with psycopg.connect(embedded.url_of("postgres"), autocommit=True) as connection:
        connection.execute(statement)  # type: ignore[call-overload]


@pytest.fixture
def database_url(services: Embedded) -> Iterator[str]:
    """URL (as owner) of a fresh, migrated database."""
    name = f"test_{secrets.token_hex(6)}"
    _execute(services, f"CREATE DATABASE {name} TEMPLATE {TEMPLATE} STRATEGY FILE_COPY")
    with psycopg.connect(services.url_of(name), autocommit=True) as connection:
        connection.execute("UPDATE instance SET epoch = gen_random_uuid()")
    yield services.url_of(name)
    _execute(services, f"DROP DATABASE {name} WITH (FORCE)")


@pytest.fixture
def redis_url(services: Embedded) -> str:
    """URL of an empty Redis."""
    with redis.Redis.from_url(services.redis_url) as client:
        client.flushall()
    return services.redis_url


@pytest.fixture
def settings(database_url: str, redis_url: str, tmp_path: Path) -> Settings:
    """Settings bound to the test's database and Redis."""
    return load_settings(
        database_url=database_url, redis_url=redis_url, data_dir=tmp_path, partitions=PARTITIONS, secret_key="test-key"
    )


@pytest.fixture
def owner(database_url: str) -> Iterator[psycopg.Connection]:
    """A connection as the database's owner, autocommit."""
    with psycopg.connect(as_role(database_url, None), autocommit=True) as connection:
        yield connection


@pytest.fixture
def world(owner: psycopg.Connection, settings: Settings) -> World:
    """The tiny province of tests/world.py in the test's database."""
    return build(owner, settings, settings.clock.now())
