"""The stream worker on a real database and bus: exactly once, whoever dies, sleeps or lies."""

import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import timedelta

import numpy as np
import psycopg
import pytest

from tests.conftest import wait_until
from tests.dying_worker import STEPS
from tests.workbench import Bench, batch, identities_of, seen
from tests.world import CORPS, UNITS, WEST, World, build
from traffic import commit, database, pipeline, store
from traffic.errors import BusClosed, LeaseLost
from traffic.limits import LOGICAL_PARTITIONS, RING_OBSERVATIONS
from traffic.pipeline import Worker
from traffic.plates import plate_key, plate_text
from traffic.readings import (
    DeviceEvent,
    Door,
    EntryKind,
    PassageBatch,
    Reject,
    decode_entry,
    logical_partitions,
    routing_keys,
)
from traffic.settings import Settings
from traffic.store import us_of
from traffic.stream import meta_key, stream_key
from traffic.vehicles import Verdict

PARTITIONS = 4


@pytest.fixture
def owner(settings: Settings) -> Iterator[psycopg.Connection]:
    with database.connect(str(settings.database_url), None, autocommit=True) as connection:
        yield connection


@pytest.fixture
def world(owner: psycopg.Connection, settings: Settings) -> World:
    return build(owner, settings, settings.clock.now())


@pytest.fixture
def bench(settings: Settings, owner: psycopg.Connection, world: World) -> Iterator[Bench]:
    bench = Bench(settings, owner)
    yield bench
    bench.close()


# ---------------------------------------------------------------- helpers
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
    return {logical: worker.state.dump(logical) for logical in range(LOGICAL_PARTITIONS)}


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


# ---------------------------------------------------------------- the ordinary day
def test_traffic_is_stored_judged_and_told_once_although_every_batch_comes_twice(bench: Bench, world: World):
    worker = bench.worker()
    rows = traffic_of(world)
    bench.send(*rows[:70])
    bench.send(*rows[40:])
    bench.drain(worker)
    bench.send(*rows)
    bench.drain(worker)

    assert_exactly_once(bench, rows)
    assert bench.one("SELECT count(*) FROM passage_amendment") == 0
    assert bench.one("SELECT count(*) FROM passage_source") == 0
    assert worker.figures["records"] == len(rows)


def test_any_order_of_arrival_ends_in_the_same_findings(bench: Bench, world: World):
    worker = bench.worker()
    rows = traffic_of(world)
    for number in np.random.default_rng(7).permutation(len(rows)):
        bench.send(rows[number])
        if number % 10 == 0:
            bench.drain(worker)
    bench.drain(worker)

    assert_exactly_once(bench, rows)
    (hit,) = bench.rows("SELECT grounds -> 'count', grounds -> 'observations' FROM finding WHERE kind = 'watch_hit'")
    assert hit[0] == 2 and [o["checkpoint"] for o in hit[1]] == [world.gates[2].id, world.gates[3].id]
    ((speed, travel),) = bench.rows(
        "SELECT grounds -> 'detail' -> 'section' -> 'speed_kmh', grounds -> 'detail' -> 'section' -> 'travel_s'"
        " FROM finding WHERE kind = 'section_speed' AND plate_key = %s AND state = 'active'",
        plate_key("吉S00001"),
    )
    assert (speed, travel) == (150.0, 240.0)


def test_what_was_read_late_corrects_the_finding_and_the_feed_says_so(bench: Bench, world: World):
    worker = bench.worker()
    early, late, leaving = (seen(world, gate, at_s, "吉S00001") for gate, at_s in ((0, -400), (0, -350), (1, -160)))
    for row in (early, leaving, late):
        bench.send(row)
        bench.drain(worker)
    told = bench.rows("SELECT body ->> 'change', body -> 'section' -> 'travel_s' FROM feed WHERE topic = 'alerts'")
    assert told == [("new", 240.0), ("corrected", 190.0)]
    assert_feed_is_dense(bench)


def test_a_vehicle_without_a_readable_plate_is_counted_and_judged_by_no_rule(bench: Bench, world: World):
    worker = bench.worker()
    nameless = [seen(world, gate, -400 + 200 * gate, "", source_hash=gate + 1) for gate in (0, 1)]
    bench.send(*nameless)
    bench.drain(worker)
    assert bench.identities() == identities_of(*nameless)
    assert bench.one("SELECT count(*) FROM finding") == 0
    assert len(worker.state) == 0


def test_a_plate_that_no_key_holds_is_kept_in_words_and_can_be_watched(bench: Bench, world: World):
    text = "外交使馆车ABCD1234"
    watch(bench, world, text)
    worker = bench.worker()
    row = seen(world, 0, -5, text)
    bench.send_batch(batch(row, odd={int(row["plate_key"][0]): text}))
    bench.drain(worker)
    assert bench.rows("SELECT plate_key, plate FROM odd_plate") == [(plate_key(text), text)]
    assert bench.rows("SELECT body ->> 'plate' FROM feed WHERE topic = 'alerts'") == [(text,)]


def test_pictures_are_kept_beside_the_passage(bench: Bench, world: World):
    worker = bench.worker()
    row = seen(world, 0, -5)
    bench.send_batch(batch(row, images=("http://pictures/1.jpg", "http://pictures/2.jpg")))
    bench.drain(worker)
    ((images, source),) = bench.rows("SELECT images, source_hash FROM passage_extra")
    assert (images, source) == (["http://pictures/1.jpg", "http://pictures/2.jpg"], int(row["source_hash"][0]))


def test_the_flow_of_a_checkpoint_goes_to_its_units_and_along_the_corridor(bench: Bench, world: World):
    worker = bench.worker()
    bench.send(*(seen(world, 1, -20 - n / 1000, f"吉D{n:05d}") for n in range(7)))
    bench.drain(worker)
    flows = bench.rows("SELECT body -> 'b', audience FROM feed WHERE kind = 'flow'")
    assert sum(part[3] for buckets, _ in flows for part in buckets) == 7
    for _, audience in flows:
        assert set(audience) == {CORPS, 11, 111, 1111, 12, 121, 1211}


def test_the_word_of_a_device_is_kept_and_an_older_one_changes_nothing(bench: Bench, world: World):
    worker = bench.worker()
    now_us = us_of(world.now)
    for at, state in ((now_us, "registered"), (now_us + 5, "alive"), (now_us + 1, "registered")):
        event = DeviceEvent(at=at, device_id=world.gat_id, state=state, peer="10.0.0.1")
        bench.send_small(EntryKind.DEVICE, [event], world.gat_id)
    bench.drain(worker)
    assert bench.rows("SELECT device_id, state FROM device_status") == [(world.gat_id, "alive")]
    assert bench.rows("SELECT body ->> 'state', audience FROM feed WHERE kind = 'device'") == [
        ("registered", [CORPS, WEST]),
        ("alive", [CORPS, WEST]),
    ]


# ---------------------------------------------------------------- the same record again
SECOND_DOOR = {"door": int(Door.GAT1400), "device": 1, "received_at": 1_790_000_000_000_000}


@pytest.mark.parametrize("between", ["one batch", "two batches", "a takeover"])
def test_a_second_door_adds_a_source_and_no_passage(bench: Bench, world: World, between: str):
    worker = bench.worker()
    row = seen(world, 0, -5)
    other = row.copy()
    for name, value in SECOND_DOOR.items():
        other[name] = value
    if between == "one batch":
        bench.send(row, other, other)
    else:
        bench.send(row)
        bench.drain(worker)
        if between == "a takeover":
            bench.dies(worker)
            worker = bench.worker()
        bench.send(other)
        bench.send(row)
    bench.drain(worker)
    bench.send(other)
    bench.drain(worker)

    assert bench.rows("SELECT door, device FROM passage") == [(int(Door.NATIVE), world.native_id)]
    assert bench.rows("SELECT door, device FROM passage_source") == [(int(Door.GAT1400), 1)]
    assert bench.one("SELECT count(*) FROM passage_amendment") == 0


def test_who_amended_a_passage_that_another_device_sent_is_kept(bench: Bench, world: World):
    worker = bench.worker()
    row = seen(world, 0, -5, speed_kmh=96.5)
    other = seen(world, 0, -5, speed_kmh=40.0)
    for name, value in {**SECOND_DOOR, "received_at": int(row["received_at"][0]) + 1}.items():
        other[name] = value
    bench.send(row)
    bench.drain(worker)
    bench.send(other)
    bench.drain(worker)

    assert bench.rows("SELECT door, device FROM passage") == [(int(Door.NATIVE), world.native_id)]
    assert bench.rows("SELECT door, device, before->'speed_kmh', after->'speed_kmh' FROM passage_amendment") == [
        (SECOND_DOOR["door"], SECOND_DOOR["device"], 96.5, 40.0)
    ]


@pytest.mark.parametrize("between", ["one batch", "two batches", "a takeover"])
def test_other_content_amends_the_passage_and_keeps_what_it_said(bench: Bench, world: World, between: str):
    worker = bench.worker()
    row = seen(world, 0, -5, speed_kmh=96.5, lane=1)
    other = seen(world, 0, -5, speed_kmh=np.nan, lane=2, received_at=int(row["received_at"][0]) + 1)
    if between == "one batch":
        bench.send(row, other)
    else:
        bench.send(row)
        bench.drain(worker)
        if between == "a takeover":
            bench.dies(worker)
            worker = bench.worker()
        bench.send(other)
    bench.drain(worker)
    bench.send(other)
    bench.drain(worker)

    assert bench.rows("SELECT lane, speed_kmh = 'NaN' FROM passage") == [(2, True)]
    assert bench.rows("SELECT revision, before, after FROM passage_amendment") == [
        (1, {"lane": 1, "speed_kmh": 96.5}, {"lane": 2, "speed_kmh": None})
    ]
    assert_roll_ups_agree(bench)


@pytest.mark.parametrize("order", ["as sent", "the correction first"])
def test_a_corrected_plate_is_an_amendment_although_another_partition_carries_it(
    bench: Bench, world: World, order: str
):
    wrong = seen(world, 0, -5, "吉E00001", source_hash=77)
    plates = (f"吉E{n:05d}" for n in range(2, 100))
    right = next(
        row
        for row in (seen(world, 0, -5, p, source_hash=77) for p in plates)
        if partition_of(row) != partition_of(wrong)
    )
    right["received_at"] = wrong["received_at"] + 1_000_000
    watch(bench, world, "吉E00001", "BK-WRONG")
    worker = bench.worker()
    for row in (wrong, right) if order == "as sent" else (right, wrong):
        bench.send(row)
        bench.drain(worker)
        bench.dies(worker)  # the second partition belongs to a worker that has not seen the first
        worker = bench.worker()

    assert bench.rows("SELECT plate_key FROM passage") == [(int(right["plate_key"][0]),)]
    assert bench.rows("SELECT before, after FROM passage_amendment") == [
        ({"plate_key": int(wrong["plate_key"][0])}, {"plate_key": int(right["plate_key"][0])})
    ]
    assert bench.rows("SELECT anchor FROM finding") == [("BK-WRONG",)]
    assert_roll_ups_agree(bench)


def test_a_plate_corrected_to_a_watched_one_raises_the_alert(bench: Bench, world: World):
    worker = bench.worker()
    bench.send(seen(world, 0, -5, "吉A88880", source_hash=77))
    bench.drain(worker)
    assert bench.one("SELECT count(*) FROM finding") == 0
    bench.send(seen(world, 0, -5, world.watched_plate, source_hash=77, received_at=us_of(world.now)))
    bench.drain(worker)
    assert bench.rows("SELECT kind, plate_key FROM finding") == [("watch_hit", plate_key(world.watched_plate))]
    assert bench.one("SELECT count(*) FROM passage") == 1


def test_a_record_older_than_the_window_is_looked_up_before_it_is_stored(bench: Bench, world: World):
    worker = bench.worker()
    old = [seen(world, 0, -3600 * hours, f"吉F{hours:05d}") for hours in range(1, 20)]
    for _ in range(3):
        bench.send(*old)
        bench.drain(worker)
        worker.due.pop("tick", None)  # time passes: the window moves on
    assert bench.identities() == identities_of(*old)
    assert worker.figures["duplicates"] == 2 * len(old)


# ---------------------------------------------------------------- death and sleep
@pytest.mark.parametrize("step", list(STEPS))
def test_a_worker_killed_between_two_steps_leaves_nothing_half_done(bench: Bench, world: World, step: str):
    first = bench.worker()
    rows = traffic_of(world)
    bench.send(*rows[:60])
    bench.drain(first)
    bench.dies(first)
    bench.send(*rows[60:])
    victim = process(bench.settings, "-m", "tests.dying_worker", step)
    assert victim.wait(30) == -signal.SIGKILL

    bench.execute("UPDATE partition SET until = '1970-01-01+00'")
    bench.execute("DELETE FROM worker")
    bench.drain(bench.worker())
    assert_exactly_once(bench, rows)


def asleep_before(monkeypatch: pytest.MonkeyPatch, where: object, name: str, meanwhile: Callable[[], None]) -> None:
    """The next call of a step is held up while `meanwhile` happens."""
    step = getattr(where, name)

    def late(*arguments: object, **named: object) -> object:
        monkeypatch.setattr(where, name, step)
        meanwhile()
        return step(*arguments, **named)

    monkeypatch.setattr(where, name, late)


def test_a_worker_that_slept_through_its_lease_writes_nothing_when_it_wakes(
    bench: Bench, world: World, monkeypatch: pytest.MonkeyPatch
):
    sleeper = bench.worker()
    rows = traffic_of(world)
    bench.send(*rows)

    def another_takes_over() -> None:
        bench.lease_runs_out(sleeper)
        bench.drain(bench.worker())

    asleep_before(monkeypatch, commit, "commit", another_takes_over)
    with pytest.raises(LeaseLost):
        sleeper.step()
    assert_exactly_once(bench, rows)


def test_a_snapshot_by_a_worker_that_lost_its_partition_is_refused(bench: Bench, world: World):
    sleeper = bench.worker()
    bench.send(*traffic_of(world)[:40])
    bench.drain(sleeper)
    bench.lease_runs_out(sleeper)
    successor = bench.worker()
    bench.send(*traffic_of(world)[40:])
    bench.drain(successor)
    successor._snapshot(successor._connected())
    pages = bench.rows("SELECT logical, body FROM snapshot ORDER BY 1")
    with pytest.raises(LeaseLost):
        sleeper._snapshot(sleeper._connected())
    assert bench.rows("SELECT logical, body FROM snapshot ORDER BY 1") == pages


def test_two_workers_share_and_the_one_left_over_takes_all(bench: Bench, world: World):
    first = bench.worker()
    assert len(first.held) == PARTITIONS
    second = Worker(bench.settings)
    bench.workers.append(second)
    second.step()
    bench.step_until(first, lambda: len(first.held) == 2)
    bench.step_until(second, lambda: len(second.held) == 2)
    assert set(first.held) | set(second.held) == set(range(PARTITIONS))

    rows = traffic_of(world)
    bench.send(*rows)
    bench.drain(first)
    bench.dies(first)
    bench.step_until(second, lambda: len(second.held) == PARTITIONS)
    bench.drain(second)
    assert_exactly_once(bench, rows)


def test_sigterm_writes_snapshots_and_gives_everything_back(bench: Bench, world: World):
    worker = process(
        bench.settings,
        "-c",
        "from traffic.settings import load_settings as s; import traffic.pipeline as p; p.run(s())",
    )
    try:
        wait_until(
            lambda: bench.one("SELECT count(*) FROM partition WHERE generation = 1") == PARTITIONS,
            what="open partitions",
        )
        rows = traffic_of(world)
        bench.send(*rows)
        wait_until(lambda: bench.one("SELECT count(*) FROM passage") == len(rows), what="the records")
        worker.send_signal(signal.SIGTERM)
        assert worker.wait(20) == 0
    finally:
        worker.kill()
    assert bench.one("SELECT count(*) FROM partition WHERE owner IS NOT NULL") == 0
    assert bench.one("SELECT count(*) FROM partition WHERE snapshot_offset <> bus_offset") == 0
    assert bench.one("SELECT count(*) FROM worker") == 0
    assert_exactly_once(bench, rows)


def test_a_lost_connection_costs_a_batch_and_no_record(bench: Bench, world: World):
    rows = traffic_of(world)
    with running(bench.worker()) as worker:
        for number, row in enumerate(rows):
            bench.send(row)
            if number % 40 == 20:
                bench.execute(
                    "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE usename = current_user"
                    " AND pid <> pg_backend_pid() AND datname = current_database() AND backend_type = 'client backend'"
                )
        wait_until(lambda: bench.one("SELECT count(*) FROM passage") == len(rows), what="all records")
        wait_until(lambda: len(worker.held) == PARTITIONS, what="the worker to be back")
    assert_exactly_once(bench, rows)


# ---------------------------------------------------------------- state
def test_snapshot_and_replay_bring_back_the_same_state(bench: Bench, world: World):
    first = bench.worker()
    rows = traffic_of(world)
    amended = seen(world, 0, -5, "吉G00002", source_hash=5, received_at=us_of(world.now))
    bench.send(*rows[:50], seen(world, 0, -5, "吉G00001", source_hash=5))
    bench.drain(first)
    first._snapshot(first._connected())
    for part in (rows[50:80], rows[70:], rows[:10], [amended]):
        bench.send(*part)
        bench.drain(first)
    before = state_pages(first)
    bench.dies(first)

    second = bench.worker()
    assert state_pages(second) == before
    assert second.figures["restored_from_snapshot"] == PARTITIONS


def test_what_a_worker_only_knows_from_replay_goes_into_its_own_snapshot(bench: Bench, world: World):
    first = bench.worker()
    rows = traffic_of(world)
    bench.send(*rows[:60])
    bench.drain(first)
    bench.dies(first)

    second = bench.worker()
    bench.send(*rows[60:62])
    bench.drain(second)
    second._snapshot(second._connected())
    before = state_pages(second)
    bench.dies(second)

    third = bench.worker()
    assert third.figures["restored_from_snapshot"] == PARTITIONS
    assert state_pages(third) == before


def test_an_unreadable_snapshot_means_a_rebuild_from_the_tables(bench: Bench, world: World):
    first = bench.worker()
    rows = traffic_of(world)
    bench.send(*rows)
    bench.drain(first)
    first._snapshot(first._connected())
    before = state_pages(first)
    bench.dies(first)
    bench.execute("UPDATE snapshot SET body = set_byte(body, 0, 99) WHERE logical %% 2 = 0")
    bench.execute("UPDATE snapshot SET body = substr(body, 1, 20) WHERE logical %% 2 = 1")

    second = bench.worker()
    assert state_pages(second) == before
    assert second.figures["restored_from_snapshot"] == 0
    second._tick()
    bench.drain(second)
    second._snapshot(second._connected())
    bench.dies(second)
    third = bench.worker()
    assert third.figures["restored_from_snapshot"] == PARTITIONS
    assert state_pages(third) == before


def test_a_bus_that_no_longer_holds_what_follows_the_snapshot_means_a_rebuild(bench: Bench, world: World):
    first = bench.worker()
    rows = traffic_of(world)
    bench.send(*rows[:60])
    bench.drain(first)
    first._snapshot(first._connected())
    bench.send(*rows[60:])
    bench.drain(first)
    before = state_pages(first)
    bench.dies(first)
    for partition in range(PARTITIONS):
        bench.redis.xtrim(stream_key(partition), maxlen=0)

    assert state_pages(bench.worker()) == before


def test_the_bus_is_trimmed_to_what_a_restored_state_needs(bench: Bench, world: World):
    worker = bench.worker()
    bench.send(*traffic_of(world))
    bench.drain(worker)
    assert sum(bench.redis.xlen(stream_key(p)) for p in range(PARTITIONS)) > 0
    worker._snapshot(worker._connected())
    assert [bench.redis.xlen(stream_key(p)) for p in range(PARTITIONS)] == [0] * PARTITIONS
    assert [bench.reader.meta(p).waiting_bytes for p in range(PARTITIONS)] == [0] * PARTITIONS


def test_a_bus_that_is_half_full_of_what_is_committed_is_trimmed_at_once(bench: Bench, world: World):
    bench.settings = bench.settings.model_copy(update={"bus_bytes_max": 4096})
    bench.writer = bench.new_writer()
    worker = bench.worker()
    worker._is_due("snapshot", 1e9)
    for turn in range(20):
        bench.send(*(seen(world, 0, -turn - n / 100, "吉N00001") for n in range(30)))
        bench.step_until(worker, lambda: all(bench.reader.meta(p).waiting_bytes < 2048 for p in range(PARTITIONS)))
    assert bench.one("SELECT count(*) FROM passage") == 20 * 30


def test_a_vehicle_that_is_read_more_often_than_its_ring_holds_still_counts_every_time(bench: Bench, world: World):
    worker = bench.worker()
    rows = [seen(world, n % 4, -800 + n, world.watched_plate) for n in range(3 * RING_OBSERVATIONS)]
    bench.send(*rows)
    bench.drain(worker)
    assert bench.one("SELECT grounds -> 'count' FROM finding WHERE kind = 'watch_hit'") == len(rows)


# ---------------------------------------------------------------- what the bus lost
def gaps(bench: Bench) -> list[tuple]:
    return bench.rows("SELECT partition, generation, from_counter, to_counter FROM bus_gap ORDER BY id")


def one_partition(world: World, count: int) -> list[np.ndarray]:
    """Passages of one vehicle, so that all go to one partition."""
    return [seen(world, n % 4, -500 + n, "吉H00001") for n in range(count)]


def send_each(bench: Bench, rows: list[np.ndarray]) -> None:
    """One entry for each row."""
    for row in rows:
        bench.send(row)


def assert_reopened_and_sound(bench: Bench, rows: list[np.ndarray]) -> None:
    """After a loss the senders send all again: everything is there once, under a new generation."""
    partition = partition_of(rows[0])
    assert bench.one("SELECT generation FROM partition WHERE id = %s", partition) == 2
    assert bench.reader.meta(partition).generation == 2
    worker = bench.workers[-1]
    bench.send(*rows)
    bench.drain(worker)
    assert bench.identities() == identities_of(*rows)
    assert_roll_ups_agree(bench)
    assert_feed_is_dense(bench)


def test_a_hole_in_the_counters_is_noted_and_what_stands_around_it_is_stored(bench: Bench, world: World):
    worker = bench.worker()
    rows = one_partition(world, 9)
    partition = partition_of(rows[0])
    send_each(bench, rows)
    bench.redis.xdel(stream_key(partition), "1-4", "1-5")
    bench.step_until(worker, lambda: gaps(bench))
    bench.drain(worker)
    assert gaps(bench) == [(partition, 1, 4, 5)]
    assert bench.identities() == identities_of(*rows[:3], *rows[5:])
    assert_reopened_and_sound(bench, rows)
    assert len(gaps(bench)) == 1


def test_a_stream_that_was_deleted_is_noticed_by_the_next_tick(bench: Bench, world: World):
    worker = bench.worker()
    rows = one_partition(world, 6)
    partition = partition_of(rows[0])
    send_each(bench, rows[:2])
    bench.drain(worker)
    send_each(bench, rows[2:])
    bench.redis.delete(stream_key(partition))
    worker.due.pop("tick")
    bench.step_until(worker, lambda: gaps(bench))
    bench.drain(worker)
    here = bench.rows("SELECT from_counter, to_counter FROM bus_gap WHERE partition = %s", partition)
    assert [to - first + 1 for first, to in here] == [4]
    assert_reopened_and_sound(bench, rows)


def test_an_emptied_redis_is_reopened_under_a_new_generation(bench: Bench, world: World):
    worker = bench.worker()
    rows = one_partition(world, 6)
    partition = partition_of(rows[0])
    send_each(bench, rows[:3])
    bench.drain(worker)
    send_each(bench, rows[3:])
    bench.redis.flushall()
    bench.step_until(worker, lambda: all(own.generation == 2 for own in worker.held.values()))
    assert (partition, 1, 4, None) in gaps(bench)
    assert len(gaps(bench)) == PARTITIONS
    assert_reopened_and_sound(bench, rows)


def test_an_emptied_redis_is_noticed_by_a_worker_that_starts_afterwards(bench: Bench, world: World):
    first = bench.worker()
    rows = one_partition(world, 6)
    send_each(bench, rows[:3])
    bench.drain(first)
    bench.dies(first)
    bench.redis.flushall()
    worker = Worker(bench.settings)
    bench.workers.append(worker)
    bench.step_until(worker, lambda: gaps(bench))
    assert (partition_of(rows[0]), 1, 4, None) in gaps(bench)
    assert_reopened_and_sound(bench, rows)


def test_a_restarted_redis_set_back_takes_nothing_before_its_worker_has_compared(bench: Bench, world: World):
    """Neither door nor worker remembers: new entries must not stand at counters that count as committed."""
    worker = bench.worker()
    rows = one_partition(world, 6)
    partition = partition_of(rows[0])
    send_each(bench, rows[:2])
    older = bench.redis.hgetall(meta_key(partition))
    send_each(bench, rows[2:5])
    bench.drain(worker)
    bench.redis.delete(stream_key(partition))
    bench.redis.hset(meta_key(partition), mapping={**older, b"run": b"the one before"})
    with pytest.raises(BusClosed):
        bench.send(*rows, writer=bench.new_writer())
    bench.step_until(worker, lambda: gaps(bench))
    assert gaps(bench) == [(partition, 1, 6, None)]
    assert_reopened_and_sound(bench, rows)


def test_a_restarted_redis_that_lost_nothing_goes_on_where_it_was(bench: Bench, world: World):
    worker = bench.worker()
    rows = one_partition(world, 6)
    send_each(bench, rows[:3])
    for partition in range(PARTITIONS):
        bench.redis.hset(meta_key(partition), "run", "the one before")
    with pytest.raises(BusClosed):
        send_each(bench, rows[3:])
    bench.step_until(worker, lambda: all(bench.reader.meta(p).confirmed for p in range(PARTITIONS)))
    send_each(bench, rows[3:])
    bench.drain(worker)
    assert bench.identities() == identities_of(*rows)
    assert gaps(bench) == [] and worker.held[partition_of(rows[0])].generation == 1


def test_a_closed_partition_is_opened_although_others_are_never_quiet(bench: Bench, world: World):
    worker = bench.worker()
    rows = one_partition(world, 2)
    closed = partition_of(rows[0])
    bench.redis.delete(meta_key(closed))
    busy = next(row for row in (seen(world, 0, -n, f"吉M{n:05d}") for n in range(99)) if partition_of(row) != closed)
    for turn in range(100):
        if bench.reader.meta(closed).generation:
            break
        bench.send(seen(world, 1, -turn / 1000, plate_text(int(busy["plate_key"][0])) or ""))
        worker.due.pop("settle", None)
        worker.step()
    assert bench.reader.meta(closed).generation == 2


@pytest.mark.parametrize("committed", [5, 2])
def test_a_redis_set_back_to_an_older_state_is_noticed(bench: Bench, world: World, committed: int):
    """Set back to counter 3: behind what was committed, or between that and what a door had acknowledged."""
    worker = bench.worker()
    rows = one_partition(world, 6)
    partition = partition_of(rows[0])
    send_each(bench, rows[:2])
    bench.drain(worker)
    send_each(bench, rows[2:3])
    older = bench.redis.hgetall(meta_key(partition))
    send_each(bench, rows[3:5])
    if committed == 5:
        bench.drain(worker)
    bench.redis.hset(meta_key(partition), mapping=older)
    bench.redis.xdel(stream_key(partition), "1-4", "1-5")
    with pytest.raises(BusClosed):  # until the worker has opened the partition anew
        send_each(bench, rows[5:])
    bench.step_until(worker, lambda: gaps(bench))
    bench.drain(worker)
    ((where, generation, first, upto),) = gaps(bench)
    assert (where, generation) == (partition, 1)
    assert (first, upto) == ((6, 5) if committed == 5 else (4, 5))
    assert_reopened_and_sound(bench, rows)


def test_an_entry_that_cannot_be_unpacked_is_kept_whole_in_quarantine(bench: Bench, world: World):
    worker = bench.worker()
    rows = one_partition(world, 4)
    partition = partition_of(rows[0])
    send_each(bench, rows[:2])
    assert bench.reader.append(partition, b"\x63\x01\x00\x00rubbish")
    assert bench.reader.append(partition, b"")
    send_each(bench, rows[2:])
    bench.drain(worker)
    assert bench.identities() == identities_of(*rows)
    kept = bench.rows("SELECT reason, body, audience FROM quarantine ORDER BY id")
    assert kept == [("malformed", b"\x63\x01\x00\x00rubbish", [CORPS]), ("malformed", b"", [CORPS])]
    assert gaps(bench) == []


# ---------------------------------------------------------------- rules that fail, lists that change
def test_a_record_that_breaks_a_rule_is_stored_and_quarantined_and_the_others_are_judged(
    bench: Bench, world: World, monkeypatch: pytest.MonkeyPatch
):
    judge = pipeline.judge
    poison = 66.25

    def fragile(state: object, rules: object, rows: np.ndarray) -> Verdict:
        if (rows["speed_kmh"] == poison).any():
            raise ZeroDivisionError("a rule that cannot bear this speed")
        return judge(state, rules, rows)  # type: ignore[arg-type]

    monkeypatch.setattr(pipeline, "judge", fragile)
    rows = traffic_of(world)
    rows[13]["speed_kmh"] = rows[77]["speed_kmh"] = poison
    with running(bench.worker()):
        bench.send(*rows)
        wait_until(lambda: bench.one("SELECT count(*) FROM passage") == len(rows), what="all records")
    assert_exactly_once(bench, rows)
    kept = bench.rows("SELECT reason, detail, body FROM quarantine")
    assert len(kept) == 2
    assert {reason for reason, *_ in kept} == {"rule_failed"}
    assert all("ZeroDivisionError: a rule that cannot bear this speed" in detail for _, detail, _ in kept)
    assert all(str(poison).encode() in bytes(body) for *_, body in kept)


def test_an_entry_that_the_database_refuses_for_good_is_set_aside_and_the_partition_goes_on(bench: Bench, world: World):
    rows = one_partition(world, 12)
    with running(bench.worker()) as worker:
        send_each(bench, rows[:4])
        bench.send_batch(batch(rows[4], images=("no\0where",)))  # no door lets it through; a rolled-back door might
        send_each(bench, rows[5:])
        bench.send(*traffic_of(world))
        wait_until(lambda: bench.one("SELECT count(*) FROM quarantine"), what="the entry in quarantine")
        everything = len(rows) - 1 + len(traffic_of(world))
        wait_until(lambda: bench.one("SELECT count(*) FROM passage") == everything, what="all other records")
    assert bench.identities() == identities_of(*rows[:4], *rows[5:], *traffic_of(world))
    ((reason, detail, body),) = bench.rows("SELECT reason, detail, body FROM quarantine")
    assert reason == "not_storable" and "NUL" in detail
    assert decode_entry(bytes(body))[1].rows["source_hash"] == rows[4]["source_hash"]
    assert worker.figures["rejects"] == 1
    assert_feed_is_dense(bench)


def test_a_fault_outside_the_rules_stops_nothing_but_its_own_entry(
    bench: Bench, world: World, monkeypatch: pytest.MonkeyPatch
):
    copy = store.copy_passages

    def fragile(connection: psycopg.Connection, records: PassageBatch) -> None:
        if (records.rows["lane"] == 66).any():
            raise TypeError("a fault of the programme")
        copy(connection, records)

    monkeypatch.setattr(store, "copy_passages", fragile)
    rows = one_partition(world, 6)
    rows[2]["lane"] = 66
    with running(bench.worker()):
        send_each(bench, rows)
        wait_until(lambda: bench.one("SELECT count(*) FROM passage") == len(rows) - 1, what="the other records")
    assert bench.rows("SELECT reason, detail FROM quarantine") == [
        ("not_storable", "TypeError: a fault of the programme")
    ]


def test_a_refusal_that_quotes_a_nul_does_not_stop_the_partition(bench: Bench, world: World):
    worker = bench.worker()
    hostile = Reject(
        received_at=1_790_000_000_000_000, door=2, device_id=1, unit_id=WEST, position=0, field="check\0point",
        reason="unknown_checkpoint", detail="no checkpoint has the code a\0b", body=b"a\0b",
    )  # fmt: skip
    bench.send_small(EntryKind.REJECTS, [hostile])
    bench.drain(worker)
    assert bench.rows("SELECT reason, detail, body FROM quarantine") == [
        ("unknown_checkpoint", "no checkpoint has the code a\N{SYMBOL FOR NULL}b", b"a\0b")
    ]


def test_a_watch_entry_looks_back_half_an_hour_when_it_is_activated(bench: Bench, world: World):
    worker = bench.worker()
    before, within, again = (seen(world, 0, -60 * minutes, "吉K00001") for minutes in (40, 20, 10))
    bench.send(before, within, again)
    bench.drain(worker)
    watch(bench, world, "吉K00001")
    bench.step_until(worker, lambda: bench.one("SELECT count(*) FROM finding"))
    bench.send(seen(world, 1, -1, "吉K00001"))
    bench.drain(worker)
    ((observations, count),) = bench.rows("SELECT grounds -> 'observations', grounds -> 'count' FROM finding")
    assert count == 3
    assert [o["at"] for o in observations[:2]] == [int(row["observed_at"][0]) for row in (within, again)]
    assert_feed_is_dense(bench)


def test_a_watch_entry_activated_while_no_worker_lived_is_looked_up_by_the_next(bench: Bench, world: World):
    first = bench.worker()
    bench.send(seen(world, 0, -60, "吉K00001"))
    bench.drain(first)
    bench.dies(first)
    watch(bench, world, "吉K00001")
    second = bench.worker()
    assert bench.one("SELECT count(*) FROM finding") == 1
    bench.dies(second)
    bench.worker()
    assert bench.rows("SELECT revision FROM finding") == [(1,)]


def test_each_committed_stretch_tells_the_versions_that_it_was_judged_with(bench: Bench, world: World):
    worker = bench.worker()
    bench.send(*one_partition(world, 2))
    bench.drain(worker)
    watch(bench, world, "吉K00001")
    bench.step_until(
        worker,
        lambda: (
            bench.rows("SELECT value FROM version WHERE name = 'watchlist'")[0][0]
            == (worker.book.versions["watchlist"] if worker.book else -1)
        ),
    )
    bench.send(*one_partition(world, 3)[2:])
    bench.drain(worker)
    versions = [row[0] for row in bench.rows("SELECT watchlist_version FROM batch ORDER BY to_offset")]
    assert len(versions) == 2 and versions[1] == versions[0] + 1


# ---------------------------------------------------------------- quarantine
def refused(number: int, unit: int | None = WEST) -> Reject:
    return Reject(
        received_at=1_790_000_000_000_000, door=2, device_id=1, unit_id=unit, position=number, field="plate",
        reason="too_long", detail="a plate has at most 16 characters", body=b"%d" % number,
    )  # fmt: skip


def test_refused_records_are_kept_for_the_eyes_of_the_senders_units(bench: Bench, world: World):
    worker = bench.worker()
    bench.send_small(EntryKind.REJECTS, [refused(1), refused(2, unit=None), refused(3, unit=4711)])
    bench.drain(worker)
    assert bench.rows("SELECT position, body, audience, state FROM quarantine ORDER BY position") == [
        (1, b"1", [CORPS, WEST], "open"),
        (2, b"2", [CORPS], "open"),
        (3, b"3", [CORPS], "open"),
    ]


def test_quarantine_is_bounded_and_what_is_dropped_is_counted(
    bench: Bench, world: World, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(pipeline, "QUARANTINE_ROWS_MAX", 10)
    worker = bench.worker()
    bench.send_small(EntryKind.REJECTS, [refused(n) for n in range(30)])
    bench.drain(worker)
    bench.execute("UPDATE quarantine SET state = 'dismissed' WHERE position >= 25")
    worker._prune(worker._connected())
    assert [row[0] for row in bench.rows("SELECT position FROM quarantine ORDER BY id")] == list(range(15, 25))
    assert bench.one("SELECT value FROM counter WHERE name = 'quarantine_dropped_open'") == 15
