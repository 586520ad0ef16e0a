"""Keeps the hub up with the feed: woken by Redis, looking each second anyway, and starting over when it must."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import TypeVar

import psycopg
import redis
import redis.asyncio
import structlog

from dashboards.beginning import load_facts, load_start
from dashboards.facts import Facts, Start
from dashboards.hub import Hub
from dashboards.reach import SQL, with_options
from traffic import feed_rows
from traffic.clock import Clock, monotonic_s
from traffic.database import HUB, as_role
from traffic.feed import Cursor, FeedEntry
from traffic.stream import WAKE_CHANNEL

POLL_S = 1.0
LOOK_S = 2.0
FACTS_S = 60.0  # units come and go by time alone
PAGE_ROWS = 2_000  # of each partition
MISSED_ROWS_MAX = 20_000  # caught up with at a new start; beyond it screens are replayed from the database
READ_S = 20.0
BACKOFF_S = (0.25, 0.5, 1.0, 2.0)

Answer = TypeVar("Answer")

log = structlog.get_logger(__name__)


class FeedReader:
    """One for each API process, with one connection as the hub's role. `hub` is None until the first reading."""

    def __init__(self, url: str, clock: Clock, wrap: Callable[[bytes], bytes]) -> None:
        self._url = as_role(with_options(url, "-c statement_timeout=15000"), HUB)
        self._clock = clock
        self._wrap = wrap
        self._told: Callable[[], None] = lambda: None
        self._wake = asyncio.Event()
        self._lock = asyncio.Lock()
        self._connection: psycopg.AsyncConnection | None = None
        self._looked_s = self._facts_s = 0.0
        self.hub: Hub | None = None
        self.ready = asyncio.Event()
        self.entries = 0  # read so far
        self.restarts = 0

    def tell(self, told: Callable[[], None]) -> None:
        """What to call when the hub changed."""
        self._told = told

    def wake(self) -> None:
        """There may be something new."""
        self._wake.set()

    async def run(self) -> None:
        """Until cancelled. The database may go away and come back: the hub keeps what it knows."""
        failures = 0
        try:
            while True:
                try:
                    await self._connect()
                    failures = 0
                    while True:
                        await self._turn()
                except (psycopg.Error, OSError, TimeoutError) as error:
                    log.warning("the feed cannot be read; screens stand still", why=str(error) or type(error).__name__)
                await self._disconnect()
                await asyncio.sleep(BACKOFF_S[min(failures, len(BACKOFF_S) - 1)])
                failures += 1
        finally:
            await self._disconnect()

    async def listen(self, client: redis.asyncio.Redis) -> None:
        """Be woken by Redis, until cancelled; without it the reader looks each second."""
        while True:
            try:
                async with client.pubsub(ignore_subscribe_messages=True) as subscription:
                    await subscription.subscribe(WAKE_CHANNEL)
                    while True:
                        if await subscription.get_message(timeout=5.0) is not None:
                            self._wake.set()
            except (redis.RedisError, OSError) as error:
                log.warning("no wake-ups from Redis; the feed is read each second", why=str(error))
            await asyncio.sleep(POLL_S)

    async def is_kept(self, cursor: Cursor) -> bool:
        """Whether the feed still holds all behind a cursor; raises psycopg.Error or TimeoutError."""
        return await self._bounded(lambda connection: feed_rows.is_kept(connection, cursor))

    # ------------------------------------------------------------ one turn
    async def _connect(self) -> None:
        async with asyncio.timeout(READ_S):
            self._connection = await psycopg.AsyncConnection.connect(self._url, autocommit=True, connect_timeout=5)
        stands = await self._bounded(feed_rows.position)
        hub = self.hub
        if hub is None or stands.epoch != hub.cursor.epoch or not stands.reaches(hub.cursor):
            await self._start_over()
        self._looked_s = 0.0

    async def _turn(self) -> None:
        self._wake.clear()
        hub = self.hub
        assert hub is not None
        entries = await self._bounded(lambda connection: feed_rows.read_since(connection, hub.cursor, limit=PAGE_ROWS))
        if not hub.follows(entries):
            log.warning("the feed no longer holds what follows: starting over", cursor=str(hub.cursor))
            await self._start_over()
        elif entries:
            hub.fold(entries, self._clock.now_us())
            self.entries += len(entries)
            self._told()
        await self._look()
        if not _is_full(entries):
            try:
                async with asyncio.timeout(POLL_S):
                    await self._wake.wait()
            except TimeoutError:
                pass

    async def _look(self) -> None:
        """Has the network changed?"""
        now_s = monotonic_s()
        hub = self.hub
        if hub is None or now_s - self._looked_s < LOOK_S:
            return
        self._looked_s = now_s
        version = await self._bounded(_read_network_version)
        if version != hub.facts.network_version:
            await self._start_over()
        elif now_s - self._facts_s > FACTS_S:
            self._facts_s = now_s
            facts = await self._bounded(lambda connection: load_facts(connection, self._clock, hub.facts))
            if facts != hub.facts:
                await self._start_over()

    async def _start_over(self) -> None:
        start, missed = await self._bounded(self._read_start)
        now_us = self._clock.now_us()
        if self.hub is None:
            self.hub = Hub(start, now_us, wrap=self._wrap)
        else:
            self.hub.restart(start, missed, now_us)
            self.restarts += 1
        self._facts_s = monotonic_s()
        self.ready.set()
        self._told()

    async def _read_start(self, connection: psycopg.AsyncConnection) -> tuple[Start, list[FeedEntry] | None]:
        async with connection.transaction():
            await connection.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ READ ONLY")
            start = await load_start(connection, self._clock, self._known_facts())
            return start, await self._read_missed(connection, start.cursor)

    def _known_facts(self) -> Facts | None:
        return self.hub.facts if self.hub is not None else None

    async def _read_missed(self, connection: psycopg.AsyncConnection, until: Cursor) -> list[FeedEntry] | None:
        hub = self.hub
        if hub is None or until.epoch != hub.cursor.epoch or not until.reaches(hub.cursor):
            return None
        missed: list[FeedEntry] = []
        cursor = hub.cursor
        while len(missed) <= MISSED_ROWS_MAX:
            page = await feed_rows.read_since(connection, cursor, limit=PAGE_ROWS)
            missed += page
            cursor = cursor.after(page)
            if not page:
                return missed if hub.follows(missed) and cursor.reaches(until) else None
        return None

    async def _bounded(self, ask: Callable[[psycopg.AsyncConnection], Awaitable[Answer]]) -> Answer:
        async with self._lock, asyncio.timeout(READ_S):
            if self._connection is None:
                raise psycopg.OperationalError("the feed's connection is away")
            return await ask(self._connection)

    async def _disconnect(self) -> None:
        connection, self._connection = self._connection, None
        if connection is not None:
            await connection.close()


def _is_full(entries: list[FeedEntry]) -> bool:
    counts: dict[int, int] = {}
    for entry in entries:
        counts[entry.partition] = counts.get(entry.partition, 0) + 1
    return any(count >= PAGE_ROWS for count in counts.values())


async def _read_network_version(connection: psycopg.AsyncConnection) -> int:
    version = await (await connection.execute(SQL["network_version"])).fetchone()
    return version[0] if version else 0
