"""What the bus lost, is lost visibly: holes, deleted streams, a Redis that stands further back."""

import numpy as np
import pytest

from tests.workbench import Bench, identities_of, seen
from tests.workerkit import (
    PARTITIONS,
    assert_feed_is_dense,
    assert_roll_ups_agree,
    gaps,
    one_partition,
    partition_of,
    send_each,
)
from tests.world import CORPS, World
from traffic.errors import BusClosed
from traffic.pipeline import Worker
from traffic.plates import plate_text
from traffic.stream import meta_key, stream_key


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
