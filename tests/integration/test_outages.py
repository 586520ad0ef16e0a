"""The live view while PostgreSQL or Redis is away: screens stay, say how old they are, and lose nothing."""

import os
import signal
from collections.abc import Iterator

import psycopg
import pytest

from tests.apikit import Feed, add_person, running
from tests.conftest import PARTITIONS
from tests.world import CORPS, WEST_SQUADRON, build
from traffic.database import as_role, migrate
from traffic.embedded import Embedded
from traffic.settings import Settings, load_settings

TOPICS = ["roads", "alerts", "figures"]


@pytest.fixture(scope="module")
def own(open_folder) -> Iterator[Embedded]:
    """Services that may be killed."""
    with Embedded(load_settings(data_dir=open_folder / "outages")) as embedded:
        assert embedded.database_url
        migrate(embedded.database_url, partitions=PARTITIONS)
        with psycopg.connect(as_role(embedded.database_url, None), autocommit=True) as owner:
            settings = load_settings(secret_key="tests-secret-key-tests-secret-key")
            build(owner, settings, settings.clock.now())
            add_person(owner, "chief", CORPS)
        yield embedded


@pytest.fixture
def at(own: Embedded, tmp_path) -> Settings:
    return load_settings(
        data_dir=tmp_path, database_url=own.database_url, redis_url=own.redis_url, partitions=PARTITIONS,
        secret_key="tests-secret-key-tests-secret-key",
    )  # fmt: skip


def stale(*parts: str):
    """A condition: the banner names these among the parts that stand still."""
    return lambda live: live.stale is not None and set(parts) <= {part["part"] for part in live.stale["parts"]}


def healthy(part: str):
    return lambda live: live.stale is not None and part not in {entry["part"] for entry in live.stale["parts"]}


def finding(settings: Settings) -> str:
    feed = Feed(str(settings.database_url), settings.clock.now_us())
    try:
        return feed.finding(WEST_SQUADRON)
    finally:
        feed.close()


async def test_screens_outlive_a_killed_database_and_miss_no_alert(own, at):
    async with running(at) as api, api.client("chief") as client, api.live(client) as live:
        await live.say(type="subscribe", topics=TOPICS)
        await live.until(lambda live: live.figures)
        first = finding(at)
        await live.until(lambda live: first in live.alerts)
        own.postgres.kill()
        await live.until(stale("database"), timeout_s=30)
        assert live.stale["age_s"] >= 0
        assert (await client.get("/api/me")).json()["error"]["code"] == "database_unavailable"
        assert (await client.get("/readyz")).status_code == 503
        assert (await client.get("/healthz")).status_code == 200
        own.postgres.start()
        second = finding(at)
        await live.until(lambda live: second in live.alerts, timeout_s=60)
        await live.until(healthy("database"), timeout_s=60)
        assert live.alerts == [first, second]
        assert (await client.get("/api/me")).status_code == 200


async def test_a_database_that_only_hangs_is_named_too(own, at):
    async with running(at) as api, api.client("chief") as client, api.live(client) as live:
        await live.say(type="subscribe", topics=TOPICS)
        await live.until(lambda live: live.figures)
        stopped = own.postgres.processes()
        for pid in stopped:
            os.kill(pid, signal.SIGSTOP)
        try:
            await live.until(stale("database"), timeout_s=30)
        finally:
            for pid in stopped:
                os.kill(pid, signal.SIGCONT)
        later = finding(at)
        await live.until(lambda live: later in live.alerts, timeout_s=60)
        await live.until(healthy("database"), timeout_s=60)
        assert live.alerts == [later]


async def test_without_redis_alerts_come_by_looking(own, at):
    async with running(at) as api, api.client("chief") as client, api.live(client) as live:
        await live.say(type="subscribe", topics=TOPICS)
        await live.until(lambda live: live.figures)
        own.redis.kill()
        await live.until(stale("bus"), timeout_s=30)
        later = finding(at)
        await live.until(lambda live: later in live.alerts)
        own.redis.start()
        await live.until(healthy("bus"), timeout_s=30)


async def test_a_database_made_anew_ends_sessions_and_old_cursors(own, at):
    """Another epoch: whoever comes back gets a snapshot, also at a process that was up all the time."""
    async with running(at) as api, api.client("chief") as client:
        async with api.live(client) as live:
            await live.say(type="subscribe", topics=["alerts"])
            await live.until(lambda live: live.cursor)
            cursor = live.cursor
        with psycopg.connect(as_role(str(at.database_url), None), autocommit=True) as owner:
            owner.execute("UPDATE instance SET epoch = gen_random_uuid()")
            owner.execute("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE pid <> pg_backend_pid()")
        known = finding(at)
        async with api.live(client) as live:
            await live.say(type="resume", topics=["alerts"], since=cursor)
            await live.until(lambda live: known in live.shown, timeout_s=30)
            assert live.cursor.split("|")[0] != cursor.split("|")[0]
