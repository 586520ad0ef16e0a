"""Process `registry`: keeps the registry current, by asking the national platform at a polite pace.

One at a time in an instance, held by a lock of the database; a second one waits. Vehicles whose inspection ends soon
or has ended are asked about, each once in AGAIN; what comes back is written by traffic/registry_answers.py.
"""

import asyncio
import contextlib
import signal
from collections import Counter
from datetime import timedelta

import psycopg
import structlog

from traffic import registry_answers
from traffic.clock import monotonic_s
from traffic.database import WRITER, as_role
from traffic.errors import SettingsError
from traffic.health import BEAT_S, Heartbeat, instance_name
from traffic.platform_query import Outcome, Platform, Vehicle
from traffic.settings import Settings

AGAIN = timedelta(hours=24)
PACE_S = 0.5  # between two questions
IDLE_S = 30.0  # when nobody is due, or the platform is away
AT_ONCE = 50  # vehicles looked up in one go
LOCK = 6_201_407  # advisory, of this database
FORGET_EVERY = 1_000  # rounds

log = structlog.get_logger(__name__)


class Sync:
    """The loop and its counts."""

    def __init__(self, settings: Settings, *, pace_s: float = PACE_S, idle_s: float = IDLE_S) -> None:
        if not settings.registry_url:
            raise SettingsError("TRAFFIC_REGISTRY_URL is not set: there is no platform to ask")
        if not settings.database_url:
            raise SettingsError("TRAFFIC_DATABASE_URL is not set: the registry stands in the database")
        self._url = as_role(settings.database_url, WRITER)
        self._clock = settings.clock
        self._platform = Platform(settings.registry_url, settings.registry_key, settings.clock)
        self._heartbeat = Heartbeat("registry", instance_name())
        self._pace_s, self._idle_s = pace_s, idle_s
        self.counts: Counter[str] = Counter()
        self.rounds = 0
        self._away = False

    async def run(self, stop: asyncio.Event) -> None:
        """Ask until `stop` is set; a database that is away is waited for."""
        while not stop.is_set():
            try:
                await asyncio.to_thread(self._connect)
                while not stop.is_set():
                    await self._pause(stop, self._pace_s if await self._round(stop) else self._idle_s)
            except psycopg.Error as error:
                log.warning("the registry cannot be written", why=str(error).strip())
                await _wait(stop, self._idle_s)
            finally:
                await asyncio.to_thread(self._close)

    def _connect(self) -> None:
        self._connection = psycopg.connect(self._url, autocommit=True, connect_timeout=5)
        self._holds = False

    def _close(self) -> None:
        connection = getattr(self, "_connection", None)
        if connection is not None:
            connection.close()

    async def _round(self, stop: asyncio.Event) -> bool:
        """Ask about those that are due; returns whether there may be more to do at once."""
        due = await asyncio.to_thread(self._due)
        for vehicle in due:
            outcome = await self._ask(vehicle)
            if outcome in (Outcome.UNREACHABLE, Outcome.REFUSED) or stop.is_set():
                return False
            await _wait(stop, self._pace_s)
        return bool(due)

    async def _pause(self, stop: asyncio.Event, seconds: float) -> None:
        """Wait, and say meanwhile that this process lives."""
        until_s = monotonic_s() + seconds
        while not stop.is_set() and (left_s := until_s - monotonic_s()) > 0:
            await asyncio.to_thread(self._heartbeat.beat_sync, self._connection, dict(self.counts))
            await _wait(stop, min(BEAT_S, left_s))

    def _due(self) -> list[Vehicle]:
        self._heartbeat.beat_sync(self._connection, dict(self.counts))
        if not self._holds:
            found = self._connection.execute("SELECT pg_try_advisory_lock(%s)", [LOCK]).fetchone()
            self._holds = bool(found and found[0])
        if not self._holds:
            return []
        now = self._clock.now()
        if self.rounds % FORGET_EVERY == 0:
            registry_answers.forget_old(self._connection, now)
        self.rounds += 1
        return registry_answers.list_due(self._connection, now, again=AGAIN, limit=AT_ONCE)

    async def _ask(self, vehicle: Vehicle) -> Outcome:
        answer = await self._platform.ask(vehicle)
        self.counts[str(answer.outcome)] += 1
        away = answer.outcome in (Outcome.UNREACHABLE, Outcome.REFUSED)
        if not (away and self._away):  # that it is away is worth a row once, not for every try
            now = self._clock.now()
            changed = await asyncio.to_thread(registry_answers.remember, self._connection, vehicle, answer, now)
            self.counts["changed"] += changed
        self._away = away
        return answer.outcome


async def _wait(stop: asyncio.Event, seconds: float) -> None:
    with contextlib.suppress(TimeoutError):
        await asyncio.wait_for(stop.wait(), seconds)


async def _run(settings: Settings) -> None:
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    await Sync(settings).run(stop)


def run(settings: Settings) -> None:
    """Ask until SIGTERM or SIGINT."""
    asyncio.run(_run(settings))
