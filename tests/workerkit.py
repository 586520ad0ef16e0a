"""What tests of the stream worker share: traffic, what must hold of the tables, workers in threads and processes."""

import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta

import numpy as np

from tests.workbench import Bench, identities_of, seen
from tests.world import CORPS, UNITS, World
from traffic.limits import LOGICAL_PARTITIONS
from traffic.pipeline import Worker
from traffic.plates import plate_key
from traffic.readings import (
    logical_partitions,
    routing_keys,
)
from traffic.settings import Settings

PARTITIONS = 4


def traffic_of(world: World, vehicles: int = 30) -> list[np.ndarray]:
    """A stretch of traffic: each vehicle at every gate, the watched one and a speeding one among them."""
    rows = []
    for vehicle in range(vehicles):
        for gate in range(4):
            rows.append(seen(world, gate, -600 + 20 * vehicle + 450 * gate / 3, f"吉C{vehicle:05d}"))
    rows += [seen(world, gate, -500 + 100 * gate, world.watched_plate) for gate in (2, 3)]
    rows += [seen(world, gate, -400 + 240 * gate, "吉S00001") for gate in (0, 1)]  # 10 km in 240 s: 150 km/h
    return rows


def assert_exactly_once(bench: Bench, rows: list[np.ndarray]) -> None:
    """Every record once, roll-ups of just these, the feed and the revisions without holes."""
    assert bench.identities() == identities_of(*rows)
    assert_roll_ups_agree(bench)
    assert_feed_is_dense(bench)
    kinds = bench.rows("SELECT kind, state, revision FROM finding ORDER BY kind, plate_key")
    assert [row[:2] for row in kinds if row[0] == "section_speed"].count(("section_speed", "active")) >= 1
    assert [row[0] for row in kinds].count("watch_hit") == 1
    for revision, made, told in bench.rows(
        "SELECT f.revision, (SELECT array_agg(r.revision ORDER BY r.revision) FROM finding_revision r"
        " WHERE r.finding_id = f.id), (SELECT array_agg((e.body ->> 'revision')::int ORDER BY e.seq) FROM feed e"
        " WHERE e.key = f.id::text AND e.kind = 'finding') FROM finding f"
    ):
        assert made == told == list(range(1, revision + 1))


def assert_roll_ups_agree(bench: Bench) -> None:
    minutes = bench.rows(
        "SELECT minute, checkpoint, direction, sum(passages), sum(measured), round(sum(speed_sum)::numeric, 2)"
        " FROM checkpoint_minute GROUP BY 1, 2, 3 HAVING sum(passages) <> 0 ORDER BY 1, 2, 3"
    )
    passages = bench.rows(
        "SELECT date_trunc('minute', observed_at), checkpoint, direction, count(*),"
        " count(*) FILTER (WHERE speed_kmh <> 'NaN'),"
        " round(sum(CASE WHEN speed_kmh <> 'NaN' THEN speed_kmh::float8 ELSE 0 END)::numeric, 2)"
        " FROM passage GROUP BY 1, 2, 3 ORDER BY 1, 2, 3"
    )
    assert minutes == passages


def assert_feed_is_dense(bench: Bench) -> None:
    for partition, feed_seq, count, first, last in bench.rows(
        "SELECT p.id, p.feed_seq, count(f.seq), min(f.seq), max(f.seq)"
        " FROM partition p LEFT JOIN feed f ON f.partition = p.id GROUP BY 1, 2"
    ):
        assert (count, first or 1, last or 0) == (feed_seq, 1, feed_seq), f"feed of partition {partition}"


def state_pages(worker: Worker) -> dict[int, bytes]:
    """The whole state, page by page."""
    return {logical: worker.memory.passages.dump(logical) for logical in range(LOGICAL_PARTITIONS)}


def partition_of(row: np.ndarray) -> int:
    return int(logical_partitions(routing_keys(row))[0] % PARTITIONS)


@contextmanager
def running(worker: Worker) -> Iterator[Worker]:
    """The worker's own loop in a thread, stopped cleanly at the end."""
    thread = threading.Thread(target=worker.run)
    thread.start()
    try:
        yield worker
    finally:
        worker.stop.set()
        thread.join()


def process(settings: Settings, *command: str) -> subprocess.Popen:
    """A process of the system with the test's settings."""
    environment = {
        **os.environ,
        "TRAFFIC_DATABASE_URL": str(settings.database_url),
        "TRAFFIC_REDIS_URL": str(settings.redis_url),
        "TRAFFIC_SECRET_KEY": str(settings.secret_key),
        "TRAFFIC_PARTITIONS": str(settings.partitions),
        "TRAFFIC_DATA_DIR": str(settings.data_dir),
    }
    return subprocess.Popen([sys.executable, *command], env=environment, stderr=subprocess.DEVNULL)


def watch(bench: Bench, world: World, plate: str, number: str = "BK-0002") -> None:
    """Activate a watch-list entry now."""
    with bench.owner.transaction():  # type: ignore[union-attr]
        bench.execute("SET LOCAL ROLE traffic_writer")
        bench.execute("UPDATE version SET value = value + 1 WHERE name = 'watchlist'")
        bench.execute(
            "INSERT INTO watchlist_entry (number, plate, plate_key, category, level, facts, intercept, unit_id,"
            " audience, state, valid_from, valid_to, version, applied_by, approved_by)"
            " VALUES (%s, %s, %s, 1, 2, '测试', true, %s, %s, 'active', %s, %s,"
            " (SELECT value FROM version WHERE name = 'watchlist'), 'applicant', 'approver')",
            number, plate, plate_key(plate), CORPS, list(UNITS), world.now, world.now + timedelta(days=1),
        )  # fmt: skip


def gaps(bench: Bench) -> list[tuple]:
    return bench.rows("SELECT partition, generation, from_counter, to_counter FROM bus_gap ORDER BY id")


def one_partition(world: World, count: int) -> list[np.ndarray]:
    """Passages of one vehicle, so that all go to one partition."""
    return [seen(world, n % 4, -500 + n, "吉H00001") for n in range(count)]


def send_each(bench: Bench, rows: list[np.ndarray]) -> None:
    """One entry for each row."""
    for row in rows:
        bench.send(row)
