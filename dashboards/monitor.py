"""Looks at the house each two seconds: which parts stand still, whose sessions ended; and says that this part lives."""

import asyncio
from dataclasses import dataclass, field
from datetime import UTC, datetime

import psycopg
import redis
import redis.asyncio
import structlog

from dashboards.feed_reader import FeedReader
from dashboards.metrics import Metrics, Sample
from dashboards.protocol import encode, prepared
from dashboards.reach import SQL, Reach
from dashboards.sockets import LiveView
from dashboards.staleness import Banner, Lease, Look, overdue_s, stopped_for_s
from traffic.clock import Clock, monotonic_s
from traffic.health import Heartbeat, instance_name
from traffic.stream import meta_key

LOOK_S = 2.0
ANSWER_S = 3.0  # a service that takes longer counts as one that does not answer
SESSIONS_S = 2.0

log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class Seen:
    """What the database told at the last look."""

    real_now: datetime
    leases: list[Lease]  # of vehicles
    roads: list[Lease]
    doors_seen_at: datetime | None
    monitor_seen_at: datetime | None


@dataclass(slots=True)
class _Answers:
    """When a service last answered (monotonic seconds); `missing` since it does not."""

    last_s: float = field(default_factory=monotonic_s)
    answers: bool = True

    def note(self, answers: bool) -> None:
        self.answers = answers
        if answers:
            self.last_s = monotonic_s()

    @property
    def age_s(self) -> float | None:
        return None if self.answers else monotonic_s() - self.last_s


class Monitor:
    """One for each API process."""

    def __init__(
        self, reach: Reach, client: redis.asyncio.Redis, live: LiveView, reader: FeedReader, metrics: Metrics,
        clock: Clock,
    ) -> None:  # fmt: skip
        self._reach = reach
        self._client = client
        self._live = live
        self._reader = reader
        self._metrics = metrics
        self._clock = clock
        self._heartbeat = Heartbeat("api", instance_name())
        self._banner = Banner()
        self._database, self._bus = _Answers(), _Answers()
        self._asking: asyncio.Task[Seen] | None = None
        live.banner(self.stale_frame)

    def stale_frame(self) -> bytes | None:
        """The banner for a new screen; None when all is well."""
        if not self._banner.stopped:
            return None
        return prepared(encode(self._banner.frame(self._clock.now_us())))

    async def watch(self) -> None:
        """Look until cancelled."""
        while True:
            await self._look()
            await asyncio.sleep(LOOK_S)

    async def watch_sessions(self) -> None:
        """Close the sockets of sessions that ended, until cancelled."""
        while True:
            try:
                await self._live.check_sessions()
            except (psycopg.Error, TimeoutError) as error:
                log.warning("sessions cannot be checked", why=str(error) or type(error).__name__)
            await asyncio.sleep(SESSIONS_S)

    async def _look(self) -> None:
        bus, seen = await asyncio.gather(self.bus_answers(), self._database_tells())
        self._bus.note(bus)
        self._database.note(seen is not None)
        hub, now_us = self._reader.hub, self._clock.now_us()
        look = Look(
            real_now=seen.real_now if seen else datetime.fromtimestamp(0, UTC),
            database_age_s=self._database.age_s,
            bus_age_s=self._bus.age_s,
            leases=seen.leases if seen else None,
            roads=seen.roads if seen else (),
            cycle_age_s=overdue_s(hub.links.cycle_us, now_us, self._clock.rate) if hub else None,
            doors_seen_at=seen.doors_seen_at if seen else None,
            monitor_seen_at=seen.monitor_seen_at if seen else None,
        )
        if self._banner.update(stopped_for_s(look), now_us=now_us, rate=self._clock.rate):
            frame = self._banner.frame(now_us)
            log.info("parts stand still", parts=[part.part for part in frame.parts])
            self._live.tell_all(prepared(encode(frame)))

    async def bus_answers(self) -> bool:
        """Whether Redis answers soon."""
        try:
            async with asyncio.timeout(ANSWER_S):
                return bool(await self._client.ping())
        except (redis.RedisError, OSError, TimeoutError):
            return False

    async def _database_tells(self) -> Seen | None:
        """Ask beside this loop: a server that was stopped in the middle of an answer must not stop the look as well."""
        if self._asking is None:
            self._asking = asyncio.create_task(self._ask())
        await asyncio.wait({self._asking}, timeout=ANSWER_S)
        if not self._asking.done():
            return None
        asked, self._asking = self._asking, None
        try:
            return asked.result()
        except (psycopg.Error, TimeoutError) as error:
            log.warning("the database does not answer", why=str(error) or type(error).__name__)
            return None

    async def _ask(self) -> Seen:
        async with self._reach.open(wait_s=ANSWER_S) as connection:
            await self._heartbeat.beat(connection, self.figures())
            rows = await (await connection.execute(SQL["look_partitions"])).fetchall()
            seen = await (await connection.execute(SQL["parts_seen"])).fetchone()
        assert seen is not None
        of_kind: dict[str, list[Lease]] = {"vehicles": [], "roads": []}
        for row in rows:
            of_kind[row[6]].append(Lease(until=row[1], committed_at=row[2]))
        return Seen(
            real_now=seen[0],
            leases=of_kind["vehicles"],
            roads=of_kind["roads"],
            doors_seen_at=seen[1],
            monitor_seen_at=seen[2],
        )

    def figures(self) -> dict[str, int]:
        """What the heartbeat says of this process."""
        hub = self._reader.hub
        crews, vehicles = hub.units.counts() if hub else (0, 0)
        return {
            "sockets": len(self._live.clients),
            "feed_entries": self._reader.entries,
            "feed_unreadable": hub.unreadable if hub else 0,
            "feed_restarts": self._reader.restarts,
            "links_known": hub.links.known() if hub else 0,
            "events_kept": hub.events.count() if hub else 0,
            "crews_kept": crews,
            "vehicles_kept": vehicles,
        }

    # ------------------------------------------------------------ for Prometheus
    async def page(self) -> bytes:
        """The metrics page; what cannot be had at this moment is left out of it."""
        self._metrics.process(self.figures())
        samples: list[Sample] = [
            ("traffic_part_up", "Whether a service answers", {"part": "database"}, float(self._database.answers)),
            ("traffic_part_up", "Whether a service answers", {"part": "bus"}, float(self._bus.answers)),
        ]
        try:
            samples += await self._house()
        except (psycopg.Error, redis.RedisError, OSError, TimeoutError) as error:
            log.warning("metrics of the house are left out", why=str(error) or type(error).__name__)
        return self._metrics.page(samples)

    async def _house(self) -> list[Sample]:
        async with self._reach.open(wait_s=ANSWER_S) as connection:
            partitions = await (await connection.execute(SQL["look_partitions"])).fetchall()
            parts = await (await connection.execute(SQL["look_parts"])).fetchall()
        samples: list[Sample] = []
        hub = self._reader.hub
        if hub is not None and hub.links.cycle_us is not None:
            age_s = (self._clock.now_us() - hub.links.cycle_us) / 1e6
            samples.append(("traffic_cycle_age_seconds", "Domain time since the newest cycle of the roads", {}, age_s))
        for kind, instance, seen_at, figures, now in parts:
            labels = {"instance": instance}
            silent_s = (now - seen_at).total_seconds()
            samples.append(
                ("traffic_part_seen_age_seconds", "Age of a part's heartbeat", {"kind": kind, **labels}, silent_s)
            )
            samples += [
                (f"traffic_{kind}_{name}", f"Figure of the parts of kind {kind}", labels, float(value))
                for name, value in figures.items()
                if isinstance(value, int | float) and name.isidentifier() and kind != "api"  # each API tells its own
            ]
        async with asyncio.timeout(ANSWER_S):
            for number, until, committed_at, now, generation, offset, _ in partitions:
                labels = {"partition": str(number)}
                samples += [
                    ("traffic_partition_leased", "Whether a worker owns it", labels, float(until > now)),
                    ("traffic_partition_offset", "Last counter committed", labels, float(offset)),
                ]
                if committed_at is not None:
                    age_s = (now - committed_at).total_seconds()
                    samples.append(("traffic_partition_commit_age_seconds", "Since the last commit", labels, age_s))
                samples += await self._bus_samples(number, generation, offset)
        return samples

    async def _bus_samples(self, partition: int, generation: int, offset: int) -> list[Sample]:
        meta = await self._client.hgetall(meta_key(partition))  # type: ignore[misc]
        values = {_text(key): _text(value) for key, value in meta.items()}
        labels = {"partition": str(partition)}
        kept = int(values.get("in_bytes", 0)) - int(values.get("out_bytes", 0))
        samples: list[Sample] = [("traffic_bus_kept_bytes", "Bytes on the bus", labels, float(kept))]
        if values.get("gen") == str(generation):
            waiting = int(values.get("seq", 0)) - offset
            samples.append(("traffic_bus_waiting_entries", "Entries not yet committed", labels, float(waiting)))
        return samples


def _text(value: str | bytes) -> str:
    return value.decode() if isinstance(value, bytes) else value
