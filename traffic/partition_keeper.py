"""What every owner of partitions does alike: begins anew after errors, notices holes in the bus, never gets stuck.

An owner (the stream worker, the monitor) says what a batch is; how sure it is written is said here, once.
"""

import gc
import os
import signal
import socket
import threading
import traceback
from abc import ABC, abstractmethod
from collections import Counter
from types import FrameType
from uuid import uuid4

import psycopg
import redis
import structlog

from traffic import commit, database
from traffic.clock import monotonic_s
from traffic.collect import Entry, Gap, Place, settle_generation
from traffic.errors import LeaseLost, ServiceError
from traffic.health import Heartbeat
from traffic.lease import Held, Leases
from traffic.settings import Settings
from traffic.stream import BusReader

log = structlog.get_logger()

BACKOFF_S_MAX = 5.0
FAILURES_BEFORE_ALONE = 4  # then one entry at a time
FAILURES_BEFORE_SET_ASIDE = 6  # then the entry goes to quarantine whole

# The records' own fault: to wait would change nothing.
FAULT_OF_RECORDS = (
    psycopg.DataError,
    psycopg.errors.CheckViolation,
    psycopg.errors.ForeignKeyViolation,
    psycopg.errors.NotNullViolation,
    psycopg.errors.CardinalityViolation,
)


class PartitionKeeper(ABC):
    """One process that owns partitions of one kind. The subclass says what `step` does and what `forget` drops."""

    def __init__(self, settings: Settings, part: str, kind: str) -> None:
        assert settings.database_url and settings.redis_url
        self.settings = settings
        self.clock = settings.clock
        self.name = f"{socket.gethostname()}-{os.getpid()}-{uuid4().hex[:6]}"
        self.leases = Leases(self.name, settings.partitions, kind)
        self.heartbeat = Heartbeat(part, self.name)
        self.reader = BusReader(redis.Redis.from_url(settings.redis_url), bytes_max=settings.bus_bytes_max)
        self.connection: psycopg.Connection | None = None
        self.held: dict[int, Held] = {}
        self.failures: Counter[tuple[int, int, int]] = Counter()  # (partition, generation, offset) -> failures
        self.in_hand: list[tuple[int, int, int]] = []  # places of the batch that is being worked on
        self.failure = ""  # why the last batch failed
        self.figures: Counter[str] = Counter()
        self.due: dict[str, float] = {}
        self.stop = threading.Event()

    def heed_signals(self) -> None:
        """For a process that does nothing else: SIGTERM and SIGINT stop it."""
        gc.freeze()  # what was imported stays: the collector need not walk over it again and again

        def on_signal(_signal: int, _frame: FrameType | None) -> None:
            self.stop.set()

        signal.signal(signal.SIGTERM, on_signal)
        signal.signal(signal.SIGINT, on_signal)

    # ------------------------------------------------------------ what the owner says

    @abstractmethod
    def step(self) -> None:
        """One turn: upkeep that is due, then one batch. `in_hand` says which places it works on."""

    @abstractmethod
    def forget(self) -> None:
        """Drop all state that may have run ahead of what is committed."""

    @abstractmethod
    def _snapshot(self, connection: psycopg.Connection) -> None:
        """Write the state of every partition held, together with the place where it stands (a clean stop)."""

    # ------------------------------------------------------------ the loop

    def run(self) -> None:
        """Work until told to stop; every error is met by starting anew from what is committed."""
        backoff_s = 0.1
        while not self.stop.is_set():
            try:
                self.step()
                backoff_s = 0.1
            except FAULT_OF_RECORDS as error:
                self._note_failure(error)
                self._pause(backoff_s)
            except (LeaseLost, ServiceError, psycopg.Error, redis.RedisError) as error:
                log.warning("batch abandoned", why=str(error).splitlines()[0] if str(error) else repr(error))
                self.abandon()
                self._pause(backoff_s)
                backoff_s = min(BACKOFF_S_MAX, backoff_s * 2)
            except Exception as error:  # noqa: BLE001 - the one supervising loop: a fault in a rule must not end the process
                self._note_failure(error)
                self._pause(backoff_s)
        self._leave()

    def _note_failure(self, error: Exception) -> None:
        """A batch failed by what is in it: it is tried again, then more and more carefully (see `_choose`)."""
        log.error("batch failed", trace=traceback.format_exc())
        self.failure = f"{type(error).__name__}: {error}"[:2000]
        for place in self.in_hand:
            self.failures[place] += 1
        self.abandon()

    def _choose(self, places: dict[int, Place], found: dict[int, list[Entry]]) -> dict[int, list[Entry]]:
        """All that was read; where a batch failed although the rules were bisected, one entry of one partition."""
        for partition, entries in found.items():
            if self.failures[(partition, *places[partition])] >= FAILURES_BEFORE_ALONE:
                return {partition: entries[:1]}
        return found

    def _is_hopeless(self, place: tuple[int, int, int]) -> bool:
        """Whether the entry behind this place failed alone as well, again and again."""
        return self.failures[place] >= FAILURES_BEFORE_SET_ASIDE

    def abandon(self) -> None:
        """Forget everything that may have run ahead; leases are taken anew or run out."""
        if self.connection is not None:
            self.connection.close()
        self.connection = None
        self.held = {}
        self.due.clear()
        self.forget()

    def _connected(self) -> psycopg.Connection:
        if self.connection is None or self.connection.closed:
            self.connection = database.connect(
                str(self.settings.database_url), database.WRITER, autocommit=True, connect_timeout=5
            )
            self._take_back(self.connection)
        return self.connection

    def _take_back(self, connection: psycopg.Connection) -> None:
        """After an error: give back what the database still says is mine, so that it is restored on the way in."""
        rows = connection.execute("SELECT id FROM partition WHERE owner = %s", [self.name]).fetchall()
        self.leases.release(connection, [row[0] for row in rows])

    def _is_due(self, what: str, every_s: float) -> bool:
        now = monotonic_s()
        if now < self.due.get(what, 0.0):
            return False
        self.due[what] = now + every_s
        return True

    def _pause(self, seconds: float) -> None:
        self.stop.wait(seconds)

    def _leave(self) -> None:
        """A clean stop: snapshots written, leases given back, so that the next owner starts at once."""
        try:
            if self.connection is not None and not self.connection.closed:
                self._snapshot(self.connection)
                self.leases.leave(self.connection, list(self.held))
        except (LeaseLost, psycopg.Error, redis.RedisError) as error:
            log.warning("leases run out by themselves", why=str(error))
        finally:
            if self.connection is not None:
                self.connection.close()

    # ------------------------------------------------------------ the bus and its gaps

    def _trim(self, own: Held) -> None:
        """Let the bus forget what is committed and behind the snapshot."""
        behind = [place for place in own.read if place[:2] <= own.snapshot]
        if behind:
            self.reader.trim(own.id, behind[-1][:2], behind[-1][2])
            own.read = own.read[len(behind) :]

    def _settle(self, connection: psycopg.Connection, partitions: list[int]) -> None:
        """With nothing to read: does the bus stand where the database says? Open, go on, or record what is missing."""
        for partition in partitions:
            own = self.held[partition]
            here = (own.generation, own.offset)
            meta = self.reader.meta(partition)
            if 2 * meta.waiting_bytes > self.settings.bus_bytes_max:
                # What is committed can be trimmed when a snapshot stands behind it.
                self.due.pop(f"snapshot {partition}", None)
            gap, generation = settle_generation(partition, here, meta)
            if generation is None:
                if not meta.confirmed:
                    self._move_over(connection, partition, here, [])  # still mine, and it still stands here
                    self.reader.confirm(partition, meta)
                continue
            self.reader.open(partition, generation)
            self._move_over(connection, partition, (generation, 0), [gap] if gap else [])

    def _close_gaps(self, connection: psycopg.Connection, gaps: list[Gap]) -> None:
        """A hole in the counters: close this generation to the doors, note the hole, go on behind it."""
        for gap in gaps:
            own = self.held[gap.partition]
            meta = self.reader.meta(gap.partition)
            if meta.generation == own.generation:
                self.reader.open(gap.partition, own.generation + 1)
            self._move_over(connection, gap.partition, (own.generation, gap.upto or own.offset), [gap])

    def _move_over(
        self, connection: psycopg.Connection, partition: int, there: tuple[int, int], gaps: list[Gap]
    ) -> None:
        own = self.held[partition]
        move = {partition: ((own.generation, own.offset), there)}
        commit.record_gaps(connection, self.held, move, gaps, now_us=self.clock.now_us())
        for gap in gaps:
            log.error("bus gap", partition=partition, first=gap.first, upto=gap.upto, why=gap.reason)
            self.figures["gaps"] += 1
        own.generation, own.offset = there

    def _feed_moved(self, moved: dict[int, int]) -> None:
        for partition, seq in moved.items():
            self.held[partition].feed_seq = seq
        if moved:
            self.reader.wake()
