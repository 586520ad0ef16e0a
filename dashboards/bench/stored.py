"""A passage table that is full: days of passages of many vehicles, written as fast as PostgreSQL takes them."""

from concurrent.futures import ThreadPoolExecutor

import numpy as np
import psycopg

from dashboards.bench.bare_copy import COPY
from dashboards.bench.measured import Progress
from dashboards.bench.scratch import Scratch
from dashboards.bench.vehicles import plate_keys
from traffic.readings import PASSAGE, Door
from traffic.store import pack_passages

DAY_US = 86_400_000_000
PART_ROWS = 500_000
INDEXES = {  # as the schema makes them; they are built behind the rows, chunk by chunk
    "passage_once": "CREATE UNIQUE INDEX passage_once ON passage (checkpoint, observed_at, source_hash)",
    "passage_by_plate": "CREATE INDEX passage_by_plate ON passage (plate_key, observed_at) WHERE plate_key <> 0",
}


def passages(count: int, *, begin_us: int, end_us: int, plates: int, checkpoints: np.ndarray, seed: int) -> np.ndarray:
    """Passages spread over a span in time order. A few vehicles drive much: half of the readings are of a tenth."""
    random = np.random.default_rng(seed)
    rows = np.zeros(count, PASSAGE)
    rows["observed_at"] = np.sort(random.integers(begin_us, end_us, count))
    rows["received_at"] = rows["observed_at"] + 400_000
    rows["source_hash"] = random.integers(-(2**62), 2**62, count)
    often = random.random(count) < 0.5
    numbers = np.where(often, random.integers(0, max(1, plates // 10), count), random.integers(0, plates, count))
    rows["plate_key"] = plate_keys(numbers)
    rows["checkpoint"] = checkpoints[random.integers(0, len(checkpoints), count)]
    rows["speed_kmh"], rows["length_m"] = random.uniform(40, 130, count), np.nan
    rows["plate_class"], rows["direction"] = 2, random.integers(1, 3, count)
    rows["lane"], rows["door"], rows["vehicle_class"] = 1, Door.NATIVE, 1133
    return rows


def fill(instance: Scratch, rows: int, *, plates: int, days: int, until_us: int, progress: Progress) -> None:
    """Store so many passages of the days before `until_us`: rows first, then the indexes, then statistics."""
    with instance.connect() as connection:
        gates = np.array([row[0] for row in connection.execute("SELECT id FROM checkpoint ORDER BY id")], np.int32)
        for name in INDEXES:
            connection.execute(f"DROP INDEX {name}")  # type: ignore[call-overload]
    begin_us = until_us - days * DAY_US
    parts = -(-rows // PART_ROWS)

    def write(number: int) -> None:
        span = (until_us - begin_us) // parts
        part = passages(
            min(PART_ROWS, rows - number * PART_ROWS), begin_us=begin_us + number * span,
            end_us=begin_us + (number + 1) * span, plates=plates, checkpoints=gates, seed=number,
        )  # fmt: skip
        with instance.connect() as connection, connection.cursor() as cursor:
            connection.execute("SET synchronous_commit = off")
            with cursor.copy(COPY) as writer:  # type: ignore[call-overload]
                writer.write(pack_passages(part))
        if number % 20 == 19:
            progress(f"{(number + 1) * PART_ROWS:,} of {rows:,} passages stored")

    with ThreadPoolExecutor(2) as pool:
        list(pool.map(write, range(parts)))
    with psycopg.connect(str(instance.settings.database_url), autocommit=True) as connection:
        connection.execute("SET maintenance_work_mem = '1GB'")
        for name, statement in INDEXES.items():
            progress(f"building {name}")
            connection.execute(statement)  # type: ignore[call-overload]
        progress("statistics")
        connection.execute("VACUUM (ANALYZE) passage")
        connection.execute("CHECKPOINT")
