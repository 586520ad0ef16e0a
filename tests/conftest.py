"""Real services for tests: one embedded PostgreSQL and Redis for the session, a fresh database for each test."""

import asyncio
import itertools
import os
import shutil
import socket
import tempfile
import time
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path

import hypothesis
import psycopg
import pytest
import redis

from tests.browsers import browser_path
from tests.world import World, build
from traffic import database
from traffic.clock import monotonic_s
from traffic.embedded import Embedded
from traffic.settings import Settings, load_settings

# A busy machine is no fault of the code: examples have no deadline, and slow making of them fails nothing.
hypothesis.settings.register_profile(
    "any-machine", deadline=None, suppress_health_check=[hypothesis.HealthCheck.too_slow]
)
hypothesis.settings.load_profile("any-machine")

PARTITIONS = 4
TEMPLATE = "traffic_template"
_numbers = itertools.count(1)


def wait_until(condition: Callable[[], object], timeout: float = 20.0, what: str = "the condition") -> object:
    """Poll until `condition()` is truthy and return its value; fails after `timeout` seconds."""
    until = monotonic_s() + timeout
    while not (value := condition()):
        assert monotonic_s() < until, f"{what} did not come true within {timeout} s"
        time.sleep(0.02)
    return value


async def wait_until_async(
    condition: Callable[[], Awaitable[object]] | Callable[[], object],
    timeout: float = 20.0,  # noqa: ASYNC109 - the message names the condition
    what: str = "the condition",
) -> object:
    """As `wait_until`, inside an event loop; `condition` may be a coroutine function."""
    until = monotonic_s() + timeout
    while True:
        value = condition()
        if asyncio.iscoroutine(value):
            value = await value
        if value:
            return value
        assert monotonic_s() < until, f"{what} did not come true within {timeout} s"
        await asyncio.sleep(0.02)


@pytest.fixture(autouse=True)
def _no_settings_from_outside(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in list(os.environ):
        if name.startswith("TRAFFIC_") and name not in ("TRAFFIC_PREFIX_DIR", "TRAFFIC_DEBIAN_MIRROR"):
            monkeypatch.delenv(name)


@pytest.fixture(scope="session")
def open_folder() -> Iterator[Path]:
    """A folder for the session with a short path that the services' account can enter."""
    folder = Path(tempfile.mkdtemp(prefix="traffic-tests-", dir="/tmp"))
    folder.chmod(0o755)
    yield folder
    shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture(scope="session")
def services(open_folder: Path) -> Iterator[Embedded]:
    """PostgreSQL with TimescaleDB and Redis, started once. Tests that kill services make an `Embedded` of their own."""
    with Embedded(load_settings(data_dir=open_folder / "services")) as embedded:
        yield embedded


@pytest.fixture(scope="session")
def _template(services: Embedded) -> str:
    """Name of a migrated database, from which each test's is copied."""
    with _admin(services) as connection:
        connection.execute(f"CREATE DATABASE {TEMPLATE}")
    database.migrate(_named(services, TEMPLATE), partitions=PARTITIONS)
    with _admin(services) as connection:
        # Neither TimescaleDB's scheduler nor a stray client may be connected while it is copied.
        connection.execute(f"ALTER DATABASE {TEMPLATE} WITH ALLOW_CONNECTIONS false")
        connection.execute("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = %s", [TEMPLATE])
    return TEMPLATE


def _named(services: Embedded, name: str) -> str:
    return services.database_url.replace("/traffic?", f"/{name}?", 1)


def _admin(services: Embedded) -> psycopg.Connection:
    return psycopg.connect(_named(services, "postgres"), autocommit=True)


@pytest.fixture
def database_url(services: Embedded, _template: str) -> Iterator[str]:
    """A migrated, empty database of this test alone; the URL is the owner's (see database.as_role)."""
    name = f"test_{next(_numbers)}"
    with _admin(services) as connection:
        connection.execute(f"CREATE DATABASE {name} TEMPLATE {_template}")
        connection.execute(f"ALTER DATABASE {name} WITH ALLOW_CONNECTIONS true")
    url = _named(services, name)
    with psycopg.connect(url, autocommit=True) as connection:  # each instance has an epoch of its own
        connection.execute("UPDATE instance SET epoch = gen_random_uuid()")
    yield url
    with _admin(services) as connection:
        connection.execute(f"DROP DATABASE {name} WITH (FORCE)")


@pytest.fixture
def redis_url(services: Embedded) -> Iterator[str]:
    """An empty Redis."""
    with redis.Redis.from_url(services.redis_url) as client:
        client.flushall()
    yield services.redis_url


@pytest.fixture
def settings(database_url: str, redis_url: str, tmp_path: Path) -> Settings:
    """Settings bound to this test's database and Redis, with a data folder and a secret key of its own."""
    return load_settings(
        data_dir=tmp_path / "data",
        database_url=database_url,
        redis_url=redis_url,
        partitions=PARTITIONS,
        secret_key="tests-secret-key-tests-secret-key",
        port=free_port(),
        socket_port=free_port(),
        door_port=free_port(),
        terminal_port=free_port(),
        platform_port=free_port(),
    )


def free_port() -> int:
    """A port of the loopback address that nobody listens on now."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return int(listener.getsockname()[1])


@pytest.fixture
def owner(database_url: str) -> Iterator[psycopg.Connection]:
    """A connection of the database's owner, autocommit."""
    with psycopg.connect(database.as_role(database_url, None), autocommit=True) as connection:
        yield connection


@pytest.fixture
def world(owner: psycopg.Connection, settings: Settings) -> World:
    """The tiny province of tests/world.py in this test's database."""
    return build(owner, settings, settings.clock.now())


@pytest.fixture(scope="session")
def browser_executable() -> Path:
    """The browser's program; a test that asks for it fails with one sentence where there is none."""
    return browser_path()
