"""Whoever dies, sleeps or loses the line: the roads' picture, its events and their ids are those of a quiet run."""

import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import numpy as np
import psycopg
import pytest

from tests.conftest import wait_until
from tests.dying_monitor import STEPS
from tests.fake_cycle import FakeCycle
from tests.road_story import TABLES, assert_same, begin_anew, entries, outcome
from tests.roadbench import CYCLE_US, RoadBench, report
from tests.world import World
from traffic import database
from traffic.errors import LeaseLost
from traffic.limits import ROADS_PARTITION
from traffic.monitor import Monitor
from traffic.readings import EntryKind, Tick, encode_small
from traffic.settings import Settings
from traffic.stream import stream_key

CYCLES = 22


@pytest.fixture
def bench(settings: Settings, owner: psycopg.Connection, world: World) -> Iterator[RoadBench]:
    bench = RoadBench(settings, owner, world)
    yield bench
    bench.close()


def put_story(bench: RoadBench) -> None:
    """Open the roads' partition and lay the whole story on the bus; nobody owns it then."""
    monitor = bench.monitor()
    for entry in entries(bench, CYCLES):
        bench.append(entry)
    bench.monitor_dies(monitor)


def quiet_run(bench: RoadBench) -> dict[str, list[tuple]]:
    """What one monitor makes of the story that nothing happens to."""
    put_story(bench)
    monitor = bench.monitor()
    bench.drain_roads(monitor)
    found = outcome(bench)
    assert all(found[name] for name in TABLES), "a table that says nothing compares nothing"
    changes = {card["change"] for (card,) in bench.rows("SELECT body FROM road_event_revision")}
    assert changes == {"new", "updated", "ended"}
    bench.monitor_dies(monitor)
    begin_anew(bench)
    return found


# ---------------------------------------------------------------- ended in the middle
def test_a_monitor_that_is_killed_anywhere_leaves_the_picture_of_a_quiet_run(bench: RoadBench, settings: Settings):
    wanted = quiet_run(bench)
    put_story(bench)
    chance = np.random.default_rng(5)
    deaths = [(step, str(chance.integers(1, 6))) for step in chance.permutation(list(STEPS)).tolist()]
    command = [sys.executable, "-m", "tests.dying_monitor", *(word for death in deaths for word in death)]
    killed = subprocess.run(
        command, env=standing_still(settings, bench), stderr=subprocess.PIPE, text=True, timeout=100, check=False
    )
    assert killed.returncode == 0, killed.stderr[-500:]
    survivor = bench.monitor()
    bench.drain_roads(survivor)
    assert survivor.figures["restored_from_snapshot"] == 1
    assert_same(outcome(bench), wanted)


def standing_still(settings: Settings, bench: RoadBench) -> dict[str, str]:
    """Environment of a process whose clock stands where the bench's does: only the story's ticks move it on."""
    return {
        **os.environ,
        "TRAFFIC_DATABASE_URL": str(settings.database_url),
        "TRAFFIC_REDIS_URL": str(settings.redis_url),
        "TRAFFIC_PARTITIONS": str(settings.partitions),
        "TRAFFIC_DATA_DIR": str(settings.data_dir),
        "TRAFFIC_CLOCK_RATE": "0.000001",
        "TRAFFIC_CLOCK_ORIGIN_US": str(bench.clock.us),
    }


class CutLine(psycopg.Connection):
    """A connection that breaks where the test says, before or after a statement or a commit."""

    fate: Callable[[], bool] = staticmethod(lambda: False)

    def execute(self, *arguments: object, **named: object) -> psycopg.Cursor:  # type: ignore[override]
        self._cut()
        answer = super().execute(*arguments, **named)  # type: ignore[arg-type]
        self._cut()
        return answer

    @contextmanager
    def transaction(self, *arguments: object, **named: object) -> Iterator[psycopg.Transaction]:  # type: ignore[override]
        with super().transaction(*arguments, **named) as transaction:  # type: ignore[arg-type]
            yield transaction
        self._cut()

    def _cut(self) -> None:
        if type(self).fate():
            self.close()
            raise psycopg.OperationalError("the line was cut by the test")


def test_a_line_that_is_cut_again_and_again_changes_nothing(bench: RoadBench, monkeypatch: pytest.MonkeyPatch):
    wanted = quiet_run(bench)
    put_story(bench)
    chance = np.random.default_rng(3)
    cuts = 0

    def fate() -> bool:
        nonlocal cuts
        cut = cuts < 30 and chance.random() < 0.02
        cuts += cut
        return cut

    def connect(url: str, role: str | None, **named: object) -> psycopg.Connection:
        return CutLine.connect(database.as_role(url, role), **named)  # type: ignore[arg-type]

    monkeypatch.setattr(CutLine, "fate", staticmethod(fate))
    monkeypatch.setattr("traffic.partition_keeper.database.connect", connect)
    monitor = bench.monitor()
    bench.drain_roads(monitor)
    assert cuts >= 10
    assert_same(outcome(bench), wanted)


# ---------------------------------------------------------------- two monitors
def test_a_second_monitor_waits_and_goes_on_where_the_first_ended(bench: RoadBench):
    first, second = bench.monitor(cycle=FakeCycle()), bench.idle_monitor(cycle=FakeCycle())
    second._pause = lambda seconds: None  # type: ignore[method-assign]
    bench.send_reports(report(bench.world, 1, bench.clock.us + CYCLE_US, speed_kmh=20.0))
    bench.drain_roads(first)
    bench.cycle(first)
    for _ in range(3):
        second.due.clear()
        second.step()
    assert not second.held and bench.one("SELECT owner FROM partition WHERE id = 64") == first.name

    bench.send_reports(report(bench.world, 1, bench.clock.us + CYCLE_US, speed_kmh=22.0))
    bench.drain_roads(first)
    bench.monitor_dies(first)
    bench.advance_until(second, lambda: second.held)
    assert second.figures["restored_from_snapshot"] == 1
    bench.cycle(second)
    ((identity, revision, state),) = bench.rows("SELECT id, revision, state FROM road_event")
    assert (revision, state) == (2, "open"), "the same episode goes on"


@pytest.mark.parametrize("moment", ["batch", "cycle", "snapshot", "gap"])
def test_a_monitor_that_slept_through_its_lease_writes_nothing(bench: RoadBench, moment: str):
    sleeper = bench.monitor(cycle=FakeCycle())
    bench.cycle(sleeper)
    bench.execute("UPDATE partition SET until = '1970-01-01+00' WHERE id = %s", ROADS_PARTITION)
    successor = bench.monitor(cycle=FakeCycle())
    bench.send_reports(*bench.interval(bench.clock.us))
    if moment == "cycle":
        bench.drain_roads(successor)
        place = (successor.own.generation, successor.own.offset)
        sleeper.own.generation, sleeper.own.offset = place  # it was read before it slept
        bench.append(encode_small(EntryKind.TICK, [Tick(at=bench.clock.us + CYCLE_US)]))
    before = outcome(bench) | everything_else(bench)
    sleeper.due = dict.fromkeys(("lease", "heartbeat", "tick", "settle", "versions", "prune"), float("inf"))
    sleeper.due["snapshot 64"] = float("-inf") if moment == "snapshot" else float("inf")
    if moment == "snapshot":
        sleeper.own.offset += 1
    if moment == "gap":
        bench.redis.xdel(stream_key(ROADS_PARTITION), f"{sleeper.own.generation}-{sleeper.own.offset + 1}")
        sleeper.own.offset -= 1
    with pytest.raises(LeaseLost):
        sleeper.step()
    assert outcome(bench) | everything_else(bench) == before


def everything_else(bench: RoadBench) -> dict[str, list[tuple]]:
    return {
        "partition": bench.rows("SELECT generation, bus_offset, feed_seq, snapshot_offset, epoch FROM partition"),
        "monitor_snapshot": bench.rows("SELECT * FROM monitor_snapshot"),
        "bus_gap": bench.rows("SELECT * FROM bus_gap"),
    }


def test_sigterm_writes_a_snapshot_and_gives_the_roads_back(bench: RoadBench, settings: Settings):
    process = subprocess.Popen(
        [sys.executable, "-m", "dashboards.cli", "monitor"], env=standing_still(settings, bench),
        stderr=subprocess.DEVNULL,
    )  # fmt: skip
    try:
        wait_until(lambda: bench.one("SELECT generation FROM partition WHERE id = 64") == 1, what="the roads are open")
        bench.send_reports(*bench.interval(bench.clock.us))
        wait_until(lambda: bench.one("SELECT count(*) FROM detector_report") == 8, what="the reports are stored")
        assert bench.one("SELECT count(*) FROM part WHERE kind = 'monitor'") == 1
        process.send_signal(signal.SIGTERM)
        assert process.wait(timeout=20) == 0
    finally:
        process.kill()
    assert bench.one("SELECT owner FROM partition WHERE id = 64") is None
    assert bench.one("SELECT snapshot_offset = bus_offset FROM partition WHERE id = 64")
    assert bench.one("SELECT count(*) FROM worker") == 0, "a monitor takes no share of the vehicles"


# ---------------------------------------------------------------- what the state is made of again
def restarted(bench: RoadBench, monitor: Monitor) -> Monitor:
    bench.monitor_dies(monitor)
    return bench.monitor()


def test_a_bus_that_no_longer_holds_what_follows_the_snapshot_means_the_table(bench: RoadBench):
    wanted = quiet_run(bench)
    monitor = bench.monitor()
    story = list(entries(bench, CYCLES))
    for entry in story[:38]:  # in the middle of a half minute
        bench.append(entry)
    bench.drain_roads(monitor)
    assert monitor.own.snapshot < (monitor.own.generation, monitor.own.offset)
    behind = f"{monitor.own.generation}-{monitor.own.offset + 1}"
    bench.redis.xtrim(stream_key(ROADS_PARTITION), minid=behind, approximate=False)
    monitor = restarted(bench, monitor)
    assert monitor.figures["restored_from_tables"] == 1
    for entry in story[38:]:
        bench.append(entry)
    bench.drain_roads(monitor)
    assert_same(outcome(bench), wanted)


def test_a_state_that_is_lost_ends_its_open_events_and_finds_anew_what_goes_on(bench: RoadBench):
    put_story(bench)
    monitor = bench.idle_monitor()
    jams = "SELECT id FROM road_event WHERE kind = 'congestion' AND state = 'open'"
    bench.advance_until(monitor, lambda: monitor.held and bench.rows(jams))
    ((old,),) = bench.rows(jams)
    bench.execute("UPDATE monitor_snapshot SET body = '\\x00'")
    monitor = restarted(bench, monitor)
    bench.drain_roads(monitor)
    assert bench.rows("SELECT state, grounds ->> 'ended_by' FROM road_event WHERE id = %s", old) == [
        ("ended", "memory_lost")
    ]
    assert bench.one("SELECT count(*) FROM road_event WHERE kind = 'congestion' AND id <> %s", old) >= 1
    for identity, revision, count in bench.rows(
        "SELECT e.id, e.revision, count(r) FROM road_event e JOIN road_event_revision r ON r.event_id = e.id GROUP BY 1"
    ):
        assert revision == count, identity
