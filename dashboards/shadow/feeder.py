"""The feeder of a replay: reads the source ahead of the shadow's clock, and lets each record arrive when it did."""

import asyncio
import signal
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from functools import partial

import numpy as np
import psycopg
import structlog

from dashboards.shadow.records import AHEAD_US, Waiting, read_between, read_roadside
from traffic import database
from traffic.errors import BusClosed, BusFull, ServiceError
from traffic.health import Heartbeat, instance_name
from traffic.readings import PassageBatch
from traffic.settings import Settings
from traffic.stream import BusWriter, connect_redis

READ_US = 30_000_000  # of event time at once
STEP_S = 0.2  # real time between two looks at the clock
AGAIN_S = 0.5
BATCH_ROWS = 10_000
BEAT_S = 2.0

log = structlog.get_logger()


@dataclass(frozen=True, slots=True, kw_only=True)
class Stretch:
    """What is replayed, microseconds of the source's time."""

    from_us: int
    until_us: int


def run(settings: Settings, source_url: str, stretch: Stretch) -> None:
    """Process `feeder`: until all has arrived and then until told to stop."""
    asyncio.run(_run(settings, source_url, stretch))


async def _run(settings: Settings, source_url: str, stretch: Stretch) -> None:
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    assert settings.redis_url and settings.database_url
    client = connect_redis(settings.redis_url)
    feeder = Feeder(settings, BusWriter(client, partitions=settings.partitions, bytes_max=settings.bus_bytes_max))
    beating = asyncio.create_task(_beat(settings.database_url, feeder))
    try:
        with database.connect(source_url, None, autocommit=True) as source:
            source.execute("SET default_transaction_read_only = on")
            await feeder.feed(source, stretch, stop)
        log.info("the replay has reached its end: nothing comes in any more", **feeder.counts)
        await stop.wait()
    finally:
        beating.cancel()
        await asyncio.gather(beating, return_exceptions=True)
        await client.aclose()


async def _beat(url: str, feeder: "Feeder") -> None:
    """Signs of life as the shadow's door, which this is: nothing else hands records to its bus."""
    heartbeat = Heartbeat("doors", instance_name())
    while True:
        try:
            async with await psycopg.AsyncConnection.connect(
                database.as_role(url, database.WRITER), autocommit=True, connect_timeout=5
            ) as connection:
                while True:
                    await heartbeat.beat(connection, {**feeder.counts, "behind_s": feeder.behind_s})
                    await asyncio.sleep(BEAT_S)
        except psycopg.Error as error:
            log.warning("the shadow's database does not answer", why=str(error))
            await asyncio.sleep(BEAT_S)


class Feeder:
    """Hands records to the shadow's bus at the shadow's time."""

    def __init__(self, settings: Settings, writer: BusWriter) -> None:
        self.clock = settings.clock
        self._writer = writer
        self.counts = {"passage": 0, "detector_report": 0, "position": 0, "roadside": 0}
        self.behind_s = 0.0

    async def feed(self, source: psycopg.Connection, stretch: Stretch, stop: asyncio.Event) -> None:
        """Until everything of the stretch has arrived, or `stop`."""
        waiting = Waiting(items=read_roadside(source, stretch.from_us, stretch.until_us))
        read_us = stretch.from_us
        odd: dict[int, str] = dict(source.execute("SELECT plate_key, plate FROM odd_plate").fetchall())
        while not stop.is_set():
            now_us = min(self.clock.now_us(), stretch.until_us)
            while read_us < min(now_us + AHEAD_US, stretch.until_us) and not stop.is_set():
                end_us = min(read_us + READ_US, stretch.until_us)
                await asyncio.to_thread(read_between, source, waiting, read_us, end_us)
                read_us = end_us
                await self._hand_over(waiting, min(now_us, read_us), odd, stop)
            await self._hand_over(waiting, now_us, odd, stop)
            self.behind_s = max(0.0, (min(self.clock.now_us(), stretch.until_us) - now_us) / 1e6)
            if read_us >= stretch.until_us and now_us >= stretch.until_us:
                # What arrived after the end is of events before it.
                await self._hand_over(waiting, 2**62, odd, stop)
                return
            await _pause(stop, STEP_S)

    async def _hand_over(self, waiting: Waiting, now_us: int, odd: dict[int, str], stop: asyncio.Event) -> None:
        rows, items = waiting.due(now_us)
        for table, found in rows.items():
            for start in range(0, len(found), BATCH_ROWS):
                await self._append(table, found[start : start + BATCH_ROWS], odd, stop)
            self.counts[table] += len(found)
        self.counts["roadside"] += len(items)
        while items and not stop.is_set():
            taken = await self._until_taken(partial(self._writer.append_roadside, items), stop)
            if taken is not None:
                items = [item for item, is_on_bus in zip(items, taken.tolist(), strict=True) if not is_on_bus]

    async def _append(self, table: str, rows: np.ndarray, odd: dict[int, str], stop: asyncio.Event) -> None:
        """Until every row is on the bus: what a full bus did not take is offered again."""
        append = {
            "passage": lambda left: self._writer.append_passages(_batch(left, odd)),
            "position": self._writer.append_positions,
            "detector_report": self._writer.append_detectors,
        }[table]
        while len(rows) and not stop.is_set():
            taken = await self._until_taken(partial(append, rows), stop)
            if taken is not None:
                rows = rows[~taken]

    async def _until_taken(self, append: Callable[[], Awaitable[np.ndarray]], stop: asyncio.Event) -> np.ndarray | None:
        """The bus's answer; a full or closed bus is asked again, as a good sender does."""
        while not stop.is_set():
            try:
                return await append()
            except (BusFull, BusClosed, ServiceError) as error:
                log.info("the shadow's bus takes nothing yet", why=str(error))
                await _pause(stop, AGAIN_S)
        return None


def _batch(rows: np.ndarray, odd: dict[int, str]) -> PassageBatch:
    keys = set(rows["plate_key"].tolist())
    return PassageBatch(rows=rows, odd_plates={key: plate for key, plate in odd.items() if key in keys})


async def _pause(stop: asyncio.Event, seconds: float) -> None:
    try:
        await asyncio.wait_for(stop.wait(), seconds)
    except TimeoutError:
        return
