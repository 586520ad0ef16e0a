"""Whatever comes to the roads' partition, the monitor goes on; what is not storable is kept aside with its bytes."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
import psycopg
import pytest

from tests.conftest import wait_until
from tests.fake_cycle import FakeCycle
from tests.roadbench import CYCLE_US, RoadBench, report
from tests.workbench import seen
from tests.workerkit import assert_feed_is_dense
from tests.world import EAST_SQUADRON, WEST_SQUADRON, World
from traffic.limits import ROADS_PARTITION
from traffic.monitor import Monitor
from traffic.readings import DeviceEvent, EntryKind, PassageBatch, Reject, encode_passages, encode_rows, encode_small
from traffic.road_readings import DETECTOR_REPORT
from traffic.settings import Settings
from traffic.stream import meta_key, stream_key


@pytest.fixture
def bench(settings: Settings, owner: psycopg.Connection, world: World) -> Iterator[RoadBench]:
    bench = RoadBench(settings, owner, world)
    yield bench
    bench.close()


@contextmanager
def running(monitor: Monitor) -> Iterator[Monitor]:
    """The monitor's own loop in a thread, stopped cleanly at the end."""
    monitor._pause = lambda seconds: monitor.stop.wait(min(seconds, 0.01))  # type: ignore[method-assign]
    thread = threading.Thread(target=monitor.run)
    thread.start()
    try:
        yield monitor
    finally:
        monitor.stop.set()
        thread.join()


def two_intervals(bench: RoadBench, monitor: Monitor) -> None:
    """All detectors speak, twice."""
    for _ in range(2):
        bench.send_reports(*bench.interval(bench.clock.us + CYCLE_US))
        bench.drain_roads(monitor)
        bench.cycle(monitor)


# ---------------------------------------------------------------- reports
def test_detectors_and_lanes_that_nobody_knows_are_kept_and_change_no_picture(bench: RoadBench):
    monitor = bench.monitor()
    bench.send_reports(
        *(
            report(bench.world, detector, bench.clock.us, lane=lane)
            for detector in (-1, 0, 999, 2**31 - 1)
            for lane in (1, 99)
        )
    )
    bench.drain_roads(monitor)
    bench.cycle(monitor, 2)
    assert bench.one("SELECT count(*) FROM detector_report") == 8
    assert bench.one("SELECT count(*) FROM link_state WHERE level <> 0") == 0


def test_not_a_number_everywhere_makes_no_picture_and_stops_nothing(bench: RoadBench):
    monitor = bench.monitor()
    nan, inf = float("nan"), float("inf")
    for speed, occupancy, vehicles in ((nan, nan, 0), (inf, -inf, 2**31 - 1), (-1.0, 1e30, -5), (nan, inf, 7)):
        bench.send_reports(*bench.interval(bench.clock.us + CYCLE_US, speed_kmh=speed, occupancy=occupancy))
        bench.send_reports(report(bench.world, 1, bench.clock.us, vehicles=vehicles, heavy=-7, period_s=0))
        bench.drain_roads(monitor)
        bench.cycle(monitor)
    assert bench.one("SELECT count(*) FROM link_state WHERE speed_kmh = 'NaN' OR speed_kmh = 'Infinity'") == 0
    assert bench.one("SELECT count(*) FROM feed WHERE body::text ILIKE '%%nan%%'") == 0
    assert_feed_is_dense(bench)


def test_a_storm_of_reports_is_taken_in_bounded_batches(bench: RoadBench):
    monitor = bench.monitor()
    rows = np.repeat(report(bench.world, 1, bench.clock.us), 100_000)
    rows["lane"] = np.arange(len(rows)) % 13
    rows["detector"] = np.arange(len(rows)) // 13 % 4_000
    for start in range(0, len(rows), 2_000):
        bench.append(encode_rows(EntryKind.DETECTORS, rows[start : start + 2_000]))
    bench.drain_roads(monitor)
    bench.cycle(monitor)
    assert bench.one("SELECT count(*) FROM detector_report") == 52_000
    assert monitor.figures["reports"] == 52_000 and monitor.figures["repeated"] == 48_000
    assert monitor.figures["batches"] >= 5


def test_thousands_of_reports_of_yesterday_are_kept_and_leave_the_picture_alone(bench: RoadBench):
    monitor = bench.monitor()
    two_intervals(bench, monitor)
    before = bench.rows("SELECT link_id, level, speed_kmh FROM link_state ORDER BY 1")
    old = np.repeat(report(bench.world, 1, bench.clock.us, speed_kmh=5.0, received_at=bench.clock.us), 5_000)
    old["observed_at"] -= 86_400_000_000 - np.arange(len(old)) * 1_000_000
    bench.send_reports(*np.split(old, 5))
    bench.drain_roads(monitor)
    bench.cycle(monitor)
    assert bench.rows("SELECT link_id, level, speed_kmh FROM link_state ORDER BY 1") == before
    assert bench.one("SELECT count(*) FROM detector_report") == 5_016


def test_a_clock_that_jumps_by_a_day_gives_one_cycle_of_the_new_day(bench: RoadBench):
    cycle = FakeCycle()
    monitor = bench.monitor(cycle=cycle)
    bench.cycle(monitor)
    cycle.told.clear()
    bench.clock.us += 86_400_000_000
    bench.cycle(monitor)
    assert [at for at, _ in cycle.told] == [bench.clock.us]


# ---------------------------------------------------------------- entries
def test_an_entry_that_cannot_be_stored_even_alone_goes_to_quarantine_with_its_bytes(bench: RoadBench):
    monitor = bench.monitor(cycle=FakeCycle())
    impossible = report(bench.world, 1, bench.clock.us, observed_at=2**63 - 1)
    bench.send_reports(report(bench.world, 1, bench.clock.us))
    bench.send_reports(impossible)
    bench.send_reports(report(bench.world, 2, bench.clock.us))
    with running(monitor):
        wait_until(lambda: bench.settled_roads(monitor), what="the monitor goes on behind it")
    assert bench.rows("SELECT detector FROM detector_report ORDER BY 1") == [(1,), (2,)]
    ((reason, body),) = bench.rows("SELECT reason, body FROM quarantine")
    assert reason == "not_storable" and bytes(body) == encode_rows(EntryKind.DETECTORS, impossible)


def test_what_belongs_elsewhere_or_to_nobody_is_refused_and_what_is_refused_is_kept(bench: RoadBench):
    monitor = bench.monitor(cycle=FakeCycle())
    reject = Reject(
        received_at=bench.clock.us, door=3, device_id=1, unit_id=WEST_SQUADRON, position=0, field="vehicles",
        reason="out_of_range", detail="-1", body=b"{}",
    )  # fmt: skip
    alive = DeviceEvent(at=bench.clock.us, device_id=bench.world.gat_id, state="alive", peer="127.0.0.1")
    for entry in (
        b"", b"\x01", b"\x01\x02", b"\x07\x05damaged", encode_rows(EntryKind.DETECTORS, np.empty(0, DETECTOR_REPORT)),
        encode_rows(EntryKind.DETECTORS, report(bench.world, 1, 0))[:-1], encode_small(EntryKind.TICK, []),
        encode_passages(PassageBatch(rows=seen(bench.world, 0, -10))), encode_small(EntryKind.REJECTS, [reject]),
        encode_small(EntryKind.DEVICE, [alive]),
    ):  # fmt: skip
        bench.append(entry)
    bench.drain_roads(monitor)
    assert bench.one("SELECT count(*) FROM passage") == 0
    reasons = [row[0] for row in bench.rows("SELECT reason FROM quarantine ORDER BY id")]
    assert sorted(reasons) == ["malformed"] * 5 + ["not_storable", "out_of_range"]
    assert bench.rows("SELECT state FROM device_status") == [("alive",)]
    assert bench.one("SELECT count(*) FROM feed WHERE kind = 'device'") == 1
    bench.cycle(monitor)


def test_a_hole_in_the_counters_is_recorded_and_the_picture_goes_on(bench: RoadBench):
    monitor = bench.monitor(cycle=FakeCycle())
    bench.send_reports(report(bench.world, 1, bench.clock.us + CYCLE_US))
    bench.drain_roads(monitor)
    for detector in (2, 3):
        bench.send_reports(report(bench.world, detector, bench.clock.us + CYCLE_US))
    bench.redis.xdel(stream_key(ROADS_PARTITION), f"1-{monitor.own.offset + 1}")
    bench.advance_until(monitor, lambda: monitor.own.generation == 2 and bench.settled_roads(monitor))
    assert bench.rows("SELECT partition, generation FROM bus_gap") == [(ROADS_PARTITION, 1)]
    bench.cycle(monitor)
    assert bench.rows("SELECT link_id FROM link_state WHERE level > 0 ORDER BY 1") == [(1,), (3,)]
    bench.monitor_dies(monitor)
    monitor = bench.monitor(cycle=FakeCycle())
    assert monitor.figures["restored_from_snapshot"] == 1


def test_a_hole_right_before_a_tick_is_noticed_too(bench: RoadBench):
    monitor = bench.monitor(cycle=FakeCycle())
    lost = monitor.own.offset + 1
    bench.send_reports(report(bench.world, 2, bench.clock.us + CYCLE_US))
    bench.redis.xdel(stream_key(ROADS_PARTITION), f"1-{lost}")
    bench.cycle(monitor)
    assert bench.rows("SELECT partition, from_counter, to_counter FROM bus_gap") == [(64, lost, lost)]


def test_a_redis_that_comes_back_empty_is_a_gap_and_nothing_else(bench: RoadBench):
    monitor = bench.monitor(cycle=FakeCycle())
    bench.send_reports(*bench.interval(bench.clock.us))
    bench.drain_roads(monitor)
    bench.cycle(monitor)
    bench.redis.delete(stream_key(ROADS_PARTITION), meta_key(ROADS_PARTITION))
    bench.advance_until(monitor, lambda: monitor.own.generation == 2 and bench.settled_roads(monitor))
    bench.cycle(monitor)
    assert bench.one("SELECT count(*) FROM bus_gap") == 1


# ---------------------------------------------------------------- rules and networks
@pytest.mark.parametrize(("fails", "figure"), [("with reports", "cycles_bare"), ("always", "cycles_left_out")])
def test_a_rule_that_fails_costs_its_cycle_and_never_the_reports(bench: RoadBench, fails: str, figure: str):
    cycle = FakeCycle()
    monitor = bench.monitor(cycle=cycle)
    broken_us = bench.clock.us + CYCLE_US

    def fault(now_us: int, inputs) -> None:
        if now_us == broken_us and (fails == "always" or len(inputs.reports)):
            raise ZeroDivisionError("a rule fails")

    cycle.fault = fault
    bench.send_reports(*bench.interval(broken_us))
    bench.clock.us += CYCLE_US
    with running(monitor):
        wait_until(lambda: monitor.figures[figure], what="the monitor goes on")
    bench.monitor_dies(monitor)
    cycle.fault = None
    monitor = bench.monitor(cycle=cycle)
    bench.send_reports(*bench.interval(broken_us + CYCLE_US))
    bench.drain_roads(monitor)
    bench.cycle(monitor)
    assert bench.one("SELECT count(*) FROM link_state WHERE level > 0") == 4
    assert bench.one("SELECT count(*) FROM detector_report") == 16
    reasons = bench.rows("SELECT reason, detail FROM quarantine")
    assert reasons and {reason for reason, _ in reasons} == {"rule_failed"} and "ZeroDivision" in reasons[0][1]


def test_a_rule_in_the_table_that_cannot_be_followed_keeps_its_defaults_and_is_counted(bench: RoadBench):
    bench.execute(
        "INSERT INTO rule (id, version, kind, name, clause, parameters, valid_from, changed_at, changed_by)"
        " VALUES (101, 1, 'link_levels', 'x', 'y', '{\"nonsense\": 1}', '2020-01-01+00', '2020-01-01+00', 'test')"
    )
    monitor = bench.monitor()
    assert monitor._figures()["rules_refused"] == 1
    two_intervals(bench, monitor)
    assert bench.one("SELECT count(*) FROM link_state WHERE level > 0") == 4


def test_a_network_that_changes_goes_on_with_the_last_quarter_of_an_hour(bench: RoadBench):
    monitor = bench.monitor()
    for _ in range(3):
        bench.send_reports(*bench.interval(bench.clock.us + CYCLE_US))
        bench.drain_roads(monitor)
        bench.cycle(monitor)
    bench.execute(
        "INSERT INTO sensor_health (sensor_kind, sensor_id, lane, state, reason, trust, since, detail, audience)"
        " VALUES ('detector', 4, 1, 'failed', 'x', 0, now(), '{}', '{1}')"
    )
    bench.execute("DELETE FROM detector WHERE id = 4")
    bench.execute("UPDATE link SET corridor = %s WHERE id = 1", [EAST_SQUADRON])
    bench.execute("UPDATE version SET value = value + 1 WHERE name = 'network'")
    bench.advance_until(monitor, lambda: monitor.book and len(monitor.book.sensors) == 11)
    bench.send_reports(*bench.interval(bench.clock.us + CYCLE_US))
    bench.drain_roads(monitor)
    bench.cycle(monitor)
    assert bench.rows("SELECT link_id FROM link_state WHERE level > 0 ORDER BY 1") == [(1,), (2,), (3,)]
    assert EAST_SQUADRON in bench.one("SELECT audience FROM link_state WHERE link_id = 1")
    assert bench.one("SELECT count(*) FROM sensor_health WHERE sensor_id = 4 AND sensor_kind = 'detector'") == 0
