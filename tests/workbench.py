"""A bench for the bus and its workers: records onto the bus, workers driven step by step, and looks into the tables."""

import asyncio
from collections.abc import Callable
from datetime import timedelta

import numpy as np
import psycopg
import redis
import redis.asyncio

from tests.world import World
from traffic.clock import monotonic_s
from traffic.pipeline import Worker
from traffic.plates import plate_key
from traffic.readings import HAS_EXTRA, PASSAGE, Door, EntryKind, Extra, PassageBatch
from traffic.settings import Settings
from traffic.store import us_of
from traffic.stream import BusReader, BusWriter

STEPS_S = 20.0


def seen(world: World, gate: int, at_s: float, plate: str = "吉A12345", **fields: object) -> np.ndarray:
    """One PASSAGE row at gate 0..3, so many seconds after the world's now (mostly before: negative).

    Its identity is told by `source_hash`, or follows from gate, time and plate.
    """
    row = np.zeros(1, PASSAGE)
    at_us = us_of(world.now + timedelta(seconds=at_s))
    row["observed_at"], row["received_at"] = at_us, at_us + 400_000
    row["plate_key"] = plate_key(plate)
    row["source_hash"] = fields.pop("source_hash", hash((gate, at_us)) ^ plate_key(plate))
    row["checkpoint"], row["device"], row["door"] = world.gates[gate].id, world.native_id, Door.NATIVE
    row["speed_kmh"], row["length_m"] = 96.5, np.nan
    row["plate_class"], row["direction"], row["lane"] = 2, 1, 1
    for name, value in fields.items():
        row[name] = value
    return row


def batch(*rows: np.ndarray, images: tuple[str, ...] = (), odd: dict[int, str] | None = None) -> PassageBatch:
    """One batch of rows; `images` hang on its first row."""
    together = np.concatenate(rows)
    extras = {}
    if images:
        together["flags"][0] = HAS_EXTRA
        extras[0] = Extra(plate_raw=None, images=images)
    return PassageBatch(rows=together, extras=extras, odd_plates=odd or {})


class Bench:
    """Everything that a test of the stream does. Workers are driven by the test: nothing happens beside it."""

    def __init__(self, settings: Settings, owner: psycopg.Connection | None = None) -> None:
        assert settings.redis_url
        self.settings = settings
        self.owner = owner
        self.redis = redis.Redis.from_url(settings.redis_url)
        self.reader = BusReader(self.redis, bytes_max=settings.bus_bytes_max)
        self._loop = asyncio.Runner()
        self._client = redis.asyncio.Redis.from_url(settings.redis_url)
        self.writer = self.new_writer()
        self.workers: list[Worker] = []

    def new_writer(self) -> BusWriter:
        """Another door's writer."""
        return BusWriter(self._client, partitions=self.settings.partitions, bytes_max=self.settings.bus_bytes_max)

    # ------------------------------------------------------------ sending

    def send(self, *rows: np.ndarray, writer: BusWriter | None = None) -> np.ndarray:
        """Put rows on the bus as one batch; what was taken."""
        return self.send_batch(batch(*rows), writer=writer)

    def send_batch(self, records: PassageBatch, writer: BusWriter | None = None) -> np.ndarray:
        """As `send`."""
        return self._loop.run((writer or self.writer).append_passages(records))

    def send_kind(self, kind: EntryKind, records: np.ndarray | list) -> np.ndarray:
        """As `send`, of positions, detector reports or roadside items."""
        return self._loop.run(self.writer.append(kind, records))

    def send_small(self, kind: EntryKind, items: list, routing: int = 0) -> None:
        """Put an entry of a rare kind on the bus."""
        self._loop.run(self.writer.append_small(kind, items, routing))

    def open(self, generation: int = 1) -> None:
        """Open every partition without a worker."""
        for partition in range(self.settings.partitions):
            self.reader.open(partition, generation)

    # ------------------------------------------------------------ workers

    def worker(self, settings: Settings | None = None) -> Worker:
        """A worker that owns its share and has opened it."""
        worker = Worker(settings or self.settings)
        self.workers.append(worker)
        self.step_until(worker, lambda: self.settled(worker))
        return worker

    def step_until(self, worker: Worker, condition: Callable[[], object]) -> None:
        """Let the worker work, upkeep always due, until the condition holds; it begins anew after an error, as ever."""
        deadline = monotonic_s() + STEPS_S
        while not condition():
            assert monotonic_s() < deadline, "the worker did not get there"
            for what in ("settle", "lease", "versions"):
                worker.due.pop(what, None)
            try:
                worker.step()
            except psycopg.Error:
                worker.abandon()

    def settled(self, worker: Worker) -> bool:
        """Whether the worker stands where the bus stands, in each partition that it holds."""
        if not worker.held:
            return False
        for partition, own in worker.held.items():
            meta = self.reader.meta(partition)
            if (meta.generation, meta.counter) != (own.generation, own.offset):
                return False
        return True

    def drain(self, worker: Worker) -> None:
        """Let the worker work until the bus holds nothing new for it."""
        self.step_until(worker, lambda: self.settled(worker))

    def dies(self, worker: Worker) -> None:
        """The worker is gone without a word, and its leases have run out."""
        worker.abandon()
        self.lease_runs_out(worker)

    def lease_runs_out(self, worker: Worker) -> None:
        """As if the worker had been silent for the length of a lease."""
        self.execute("UPDATE worker SET seen_at = '1970-01-01+00' WHERE name = %s", worker.name)
        self.execute("UPDATE partition SET until = '1970-01-01+00' WHERE owner = %s", worker.name)

    def close(self) -> None:
        """End of the test."""
        for worker in self.workers:
            worker.abandon()
        self._loop.run(self._client.aclose())
        self._loop.close()
        self.redis.close()

    # ------------------------------------------------------------ looking

    def execute(self, statement: str, *values: object) -> None:
        """Run a statement as the owner."""
        assert self.owner is not None
        self.owner.execute(statement, values)  # type: ignore[call-overload]

    def rows(self, query: str, *values: object) -> list[tuple]:
        """What a query gives, as the writer sees it."""
        assert self.owner is not None
        with self.owner.transaction():
            self.owner.execute("SET LOCAL ROLE traffic_writer")
            return self.owner.execute(query, values).fetchall()  # type: ignore[call-overload]

    def one(self, query: str, *values: object) -> object:
        """The one value that a query gives."""
        (row,) = self.rows(query, *values)
        return row[0]

    def identities(self) -> list[tuple[int, int]]:
        """(observed_at, source_hash) of every stored passage, sorted."""
        return sorted((us_of(at), source) for at, source in self.rows("SELECT observed_at, source_hash FROM passage"))


def identities_of(*rows: np.ndarray) -> list[tuple[int, int]]:
    """(observed_at, source_hash) of rows, sorted."""
    together = np.concatenate(rows)
    return sorted(zip(together["observed_at"].tolist(), together["source_hash"].tolist(), strict=True))
