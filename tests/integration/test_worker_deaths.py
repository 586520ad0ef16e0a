"""Workers that die, sleep and hand over: exactly once all the same, and the same state afterwards."""

import signal
from collections.abc import Callable

import pytest

from tests.conftest import wait_until
from tests.dying_worker import STEPS
from tests.workbench import Bench, seen
from tests.workerkit import PARTITIONS, assert_exactly_once, process, running, state_pages, traffic_of
from tests.world import World
from traffic import commit
from traffic.errors import LeaseLost
from traffic.limits import RING_OBSERVATIONS
from traffic.pipeline import Worker
from traffic.store import us_of
from traffic.stream import stream_key


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
