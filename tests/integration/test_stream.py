"""The bus on a real Redis: dense counters, bounds, generations, and what happens when Redis loses something."""

from collections.abc import Iterator
from datetime import UTC, datetime

import numpy as np
import pytest

from tests.workbench import Bench, batch, seen
from tests.world import Gate, World
from traffic.errors import BusClosed, BusFull, ServiceError
from traffic.limits import ENTRY_RECORDS_MAX, ROADS_PARTITION
from traffic.plates import CLASS_SMALL
from traffic.readings import EntryKind, PassageBatch, Reject, Tick, decode_entry, logical_partitions, routing_keys
from traffic.road_readings import DETECTOR_REPORT, POSITION, RoadWork, Subject
from traffic.settings import load_settings
from traffic.stream import meta_key, stream_key

WORLD = World(
    now=datetime(2026, 11, 24, 8, tzinfo=UTC),
    gates=tuple(Gate(id=n + 1, code=f"g{n}", stake_m=n * 10_000, unit=1) for n in range(4)),
    section_length_m=10_000, section_limit_kmh=100, gat_id=1, gat_code="", gat_password="", native_id=2,
    native_name="", native_key="", watched_plate="",
)  # fmt: skip
KILOBYTES = 8
WORKS = [
    RoadWork(
        code=str(n), observed_at=1, received_at=2, device=3, unit_id=4, road_id=5, from_stake_m=6, to_stake_m=7,
        direction=1, lanes_closed=(1, 2), from_at=8, to_at=9, kind="x",
    )
    for n in range(3)
]  # fmt: skip


@pytest.fixture
def bench(redis_url: str) -> Iterator[Bench]:
    bench = Bench(load_settings(redis_url=redis_url, partitions=8, bus_bytes_max=KILOBYTES * 1024))
    yield bench
    bench.close()


@pytest.fixture
def wide(redis_url: str) -> Iterator[Bench]:
    bench = Bench(load_settings(redis_url=redis_url, partitions=8))
    yield bench
    bench.close()


def many(count: int, first: int = 0) -> PassageBatch:
    """Passages of as many vehicles."""
    return batch(*(seen(WORLD, n % 4, -n, f"吉B{n:05d}") for n in range(first, first + count)))


def read_all(bench: Bench) -> dict[int, list]:
    """Entries of all partitions, from the beginning of the generation."""
    return bench.reader.read({p: (1, 0) for p in range(8)}, count=1000, wait_ms=1)


def test_what_is_sent_is_read_back_in_the_partition_of_its_vehicle(wide: Bench):
    wide.open()
    sent = many(200)
    assert wide.send_batch(sent).all()

    found = []
    for partition, entries in read_all(wide).items():
        for entry in entries:
            kind, content = decode_entry(entry.data)
            assert kind is EntryKind.PASSAGES and isinstance(content, PassageBatch)
            assert (logical_partitions(routing_keys(content.rows)) % 8 == partition).all()
            found.append(content.rows)
    assert sorted(row.tobytes() for row in np.concatenate(found)) == sorted(row.tobytes() for row in sent.rows)


def test_a_vehicles_positions_are_in_the_partition_of_its_passages_and_reports_in_the_roads(wide: Bench):
    wide.open()
    passages = many(100)
    positions = np.zeros(200, POSITION)
    positions["subject"][:100], positions["subject_kind"][:100] = passages.rows["plate_key"], Subject.VEHICLE
    positions["class_group"][:100] = CLASS_SMALL
    positions["subject"][100:], positions["subject_kind"][100:] = np.arange(100), Subject.CREW
    reports = np.zeros(ENTRY_RECORDS_MAX + 1, DETECTOR_REPORT)
    reports["detector"] = np.arange(len(reports))
    for kind, rows in ((EntryKind.DETECTORS, reports), (EntryKind.ROADSIDE, WORKS)):
        with pytest.raises(BusClosed, match="monitor"):
            wide.send_kind(kind, rows)
    wide.reader.open(ROADS_PARTITION, 1)
    for kind, rows in ((EntryKind.POSITIONS, positions), (EntryKind.DETECTORS, reports), (EntryKind.ROADSIDE, WORKS)):
        assert wide.send_kind(kind, rows).tolist() == [True] * len(rows)

    assert wide.send_kind(EntryKind.DETECTORS, reports[:0]).tolist() == []
    crews = {}
    wanted = dict(zip(passages.rows["plate_key"], logical_partitions(routing_keys(passages.rows)) % 8, strict=True))
    for partition, entries in read_all(wide).items():
        for entry in entries:
            kind, rows = decode_entry(entry.data)
            assert kind is EntryKind.POSITIONS
            for row in rows:
                if row["subject_kind"] == Subject.VEHICLE:
                    assert wanted.pop(row["subject"]) == partition
                else:
                    crews[int(row["subject"])] = partition
    assert (wanted, set(crews)) == ({}, set(range(100)))
    assert len(set(crews.values())) == 8, "crews spread as well"
    first, second, third = (decode_entry(e.data)[1] for e in wide.reader.read({64: (1, 0)}, count=9, wait_ms=1)[64])
    assert np.concatenate((first, second)).tobytes() == reports.tobytes()
    assert third == WORKS


def test_pictures_and_odd_plates_travel_with_their_row(wide: Bench):
    wide.open()
    odd = batch(seen(WORLD, 0, -1, "使馆车一二三四五六七八"), images=("http://a/1.jpg",))
    odd.odd_plates[int(odd.rows["plate_key"][0])] = "使馆车一二三四五六七八"
    wide.send_batch(odd)

    ((entry,),) = read_all(wide).values()
    _, content = decode_entry(entry.data)
    assert content.extras[0].images == ("http://a/1.jpg",)
    assert content.odd_plates == odd.odd_plates


def test_counters_are_dense_whoever_writes(wide: Bench):
    wide.open()
    other = wide.new_writer()
    for turn in range(10):
        wide.send_batch(many(40, turn * 40), writer=other if turn % 2 else None)
        wide.send_small(EntryKind.TICK, [Tick(at=turn)], routing=turn)

    for entries in read_all(wide).values():
        assert [entry.counter for entry in entries] == list(range(1, len(entries) + 1))
        assert [entry.in_bytes for entry in entries] == np.cumsum([len(entry.data) for entry in entries]).tolist()


def test_a_large_batch_is_split_into_entries_of_bounded_size(wide: Bench):
    wide.open()
    one_vehicle = PassageBatch(rows=np.concatenate([seen(WORLD, 0, -n) for n in range(ENTRY_RECORDS_MAX + 1)]))
    assert wide.send_batch(one_vehicle).all()
    (entries,) = read_all(wide).values()
    assert [len(decode_entry(entry.data)[1]) for entry in entries] == [ENTRY_RECORDS_MAX, 1]


def test_a_partition_that_no_worker_has_opened_takes_nothing(bench: Bench):
    with pytest.raises(BusClosed, match="not open"):
        bench.send_batch(many(10))
    with pytest.raises(BusClosed):
        bench.send_small(EntryKind.TICK, [Tick(at=1)])
    assert read_all(bench) == {}


def test_a_full_bus_refuses_whole_and_takes_again_after_a_trim(bench: Bench):
    bench.open()
    one_vehicle = PassageBatch(rows=np.concatenate([seen(WORLD, 0, -n) for n in range(40)]))
    taken = 0
    with pytest.raises(BusFull):
        for _ in range(100):
            assert bench.send_batch(one_vehicle).all()
            taken += 1
    assert 1 <= taken < 100

    ((partition, entries),) = read_all(bench).items()
    assert len(entries) == taken and entries[-1].in_bytes <= KILOBYTES * 1024
    bench.reader.trim(partition, (1, entries[-1].counter), entries[-1].in_bytes)
    assert bench.reader.meta(partition).waiting_bytes == 0
    assert bench.send_batch(one_vehicle).all()


def test_one_full_partition_does_not_hold_up_the_others(bench: Bench):
    bench.open()
    crowd = PassageBatch(rows=np.concatenate([seen(WORLD, 0, -n) for n in range(60)]))
    with pytest.raises(BusFull):
        for _ in range(100):
            bench.send_batch(crowd)

    mixed = PassageBatch.concat([crowd, many(30)])
    taken = bench.send_batch(mixed)
    full = logical_partitions(routing_keys(crowd.rows))[0] % 8
    assert (taken == (logical_partitions(routing_keys(mixed.rows)) % 8 != full)).all()
    assert taken.any() and not taken.all()


def test_refused_records_and_ticks_obey_the_same_bound(bench: Bench):
    bench.open()
    reject = Reject(
        received_at=1, door=2, device_id=2, unit_id=1, position=0, field="plate", reason="too_long", detail="",
        body=b"x" * 3000,
    )  # fmt: skip
    with pytest.raises(BusFull):
        for _ in range(10):
            bench.send_small(EntryKind.REJECTS, [reject])
    (entries,) = read_all(bench).values()
    assert len(entries) == 2


def test_opening_a_generation_twice_changes_nothing_and_an_older_one_never_returns(wide: Bench):
    wide.open(3)
    wide.send_batch(many(40))
    before = [wide.reader.meta(p) for p in range(8)]
    wide.open(3)
    wide.open(2)
    assert [wide.reader.meta(p) for p in range(8)] == before

    wide.open(4)
    after = [wide.reader.meta(p) for p in range(8)]
    assert {meta.generation for meta in after} == {4} and {meta.counter for meta in after} == {0}
    assert [(m.previous_generation, m.previous_end) for m in after] == [(3, m.counter) for m in before]


def test_trimming_forgets_what_is_committed_and_nothing_else(wide: Bench):
    wide.open()
    for turn in range(5):
        wide.send(seen(WORLD, 0, -turn))
    ((partition, entries),) = read_all(wide).items()
    wide.reader.trim(partition, (1, 3), entries[2].in_bytes)
    assert [entry.counter for entry in wide.reader.read_between(partition, (1, 0), (1, 9), 100)] == [4, 5]
    wide.reader.trim(partition, (1, 1), entries[0].in_bytes)  # an older word changes nothing
    assert wide.reader.meta(partition).waiting_bytes == entries[-1].in_bytes - entries[2].in_bytes


def test_a_door_notices_that_redis_came_back_with_an_older_state(wide: Bench):
    wide.open()
    wide.send(seen(WORLD, 0, -1))
    ((partition, _),) = read_all(wide).items()
    older = {k: v for k, v in wide.redis.hgetall(meta_key(partition)).items()}
    wide.send(seen(WORLD, 0, -2))
    wide.send(seen(WORLD, 0, -3))
    wide.redis.hset(meta_key(partition), mapping=older)
    wide.redis.xdel(stream_key(partition), "1-2", "1-3")

    with pytest.raises(BusClosed):
        wide.send(seen(WORLD, 0, -4))
    meta = wide.reader.meta(partition)
    assert (meta.generation, meta.lost_counter) == (None, 3)
    with pytest.raises(BusClosed):  # also for a door that had not seen it
        wide.send(seen(WORLD, 0, -4), writer=wide.new_writer())
    wide.reader.open(partition, 2)
    assert wide.send(seen(WORLD, 0, -4)).all()
    assert wide.reader.meta(partition).lost_counter is None


def test_an_emptied_redis_takes_nothing_until_a_worker_opens_it(wide: Bench):
    wide.open()
    wide.send_batch(many(20))
    wide.redis.flushall()
    with pytest.raises(BusClosed):
        wide.send_batch(many(20))


def test_a_redis_that_does_not_answer_is_a_service_error(tmp_path):
    bench = Bench(load_settings(redis_url=f"unix://{tmp_path}/nobody.sock", partitions=8))
    try:
        with pytest.raises(ServiceError, match="Redis"):
            bench.send_batch(many(3))
    finally:
        bench.close()
