"""The monitor on a real database and bus: what came in is kept, and each half minute the roads are told."""

from collections.abc import Iterator

import psycopg
import pytest

from tests.fake_cycle import FakeCycle
from tests.roadbench import CYCLE_US, RoadBench, report
from tests.workerkit import assert_feed_is_dense
from tests.world import CORPS, EAST, EAST_BRIGADE, EAST_SQUADRON, WEST, WEST_BRIGADE, WEST_SQUADRON, World
from traffic.limits import ROADS_PARTITION
from traffic.readings import EntryKind, Tick, encode_small
from traffic.settings import Settings

WEST_LINE = [CORPS, WEST, WEST_BRIGADE, WEST_SQUADRON]
BOTH_LINES = [CORPS, WEST, EAST, WEST_BRIGADE, EAST_BRIGADE, WEST_SQUADRON, EAST_SQUADRON]


@pytest.fixture
def bench(settings: Settings, owner: psycopg.Connection, world: World) -> Iterator[RoadBench]:
    bench = RoadBench(settings, owner, world)
    yield bench
    bench.close()


def link(bench: RoadBench, number: int) -> tuple:
    """Level, speed and flow of a link."""
    (row,) = bench.rows("SELECT level, speed_kmh, flow_vph FROM link_state WHERE link_id = %s", number)
    return row


def told(bench: RoadBench, kind: str, column: str = "body") -> list:
    """Bodies of the feed's rows of a kind, in order."""
    return [row[0] for row in bench.rows(f"SELECT {column} FROM feed WHERE kind = %s ORDER BY seq", kind)]


def test_a_half_minute_of_reports_becomes_rows_and_the_picture(bench: RoadBench):
    monitor = bench.monitor(cycle=FakeCycle())
    bench.send_reports(*bench.interval(bench.clock.us + CYCLE_US))
    bench.drain_roads(monitor)
    at_us = bench.cycle(monitor)

    assert bench.one("SELECT count(*) FROM detector_report WHERE revision = 0") == 8
    assert link(bench, 1) == (1, 92.0, 13 * 120)
    assert link(bench, 4) == (0, None, None)  # no detector: unknown, never green
    assert bench.one("SELECT count(*) FROM link_state WHERE level = 0 AND observed_at IS NULL") == 4
    assert bench.one("SELECT (extract(epoch FROM min(cycle_at)) * 1e6)::bigint FROM link_state") == at_us
    assert_feed_is_dense(bench)


def test_a_cycle_uses_what_was_observed_by_then_and_the_rest_waits_for_its_time(bench: RoadBench):
    monitor = bench.monitor(cycle=FakeCycle())
    bench.send_reports(report(bench.world, 1, bench.clock.us + 2 * CYCLE_US, speed_kmh=30.0))
    bench.drain_roads(monitor)
    bench.cycle(monitor)
    assert link(bench, 1)[0] == 0
    bench.cycle(monitor)
    assert link(bench, 1)[:2] == (4, 30.0)


def test_a_report_that_comes_late_still_enters_and_a_copy_that_comes_late_changes_nothing(bench: RoadBench):
    monitor = bench.monitor(cycle=FakeCycle())
    end_us = bench.clock.us
    bench.cycle(monitor)
    bench.send_reports(report(bench.world, 2, end_us, speed_kmh=35.0))
    bench.drain_roads(monitor)
    bench.cycle(monitor)
    assert link(bench, 2)[:2] == (4, 35.0)

    bench.send_reports(report(bench.world, 2, end_us, speed_kmh=99.0, received_at=end_us + 1_000_000))
    bench.drain_roads(monitor)
    assert bench.rows("SELECT speed_kmh, revision FROM detector_report") == [(35.0, 0)]


def test_reports_sent_again_are_counted_and_amended_ones_make_a_revision(bench: RoadBench):
    monitor = bench.monitor(cycle=FakeCycle())
    first = report(bench.world, 1, bench.clock.us)
    again = report(bench.world, 1, bench.clock.us, received_at=first["received_at"] + 1)
    other = report(bench.world, 1, bench.clock.us, received_at=first["received_at"] + 2, vehicles=20)
    for rows in ([first], [again, first], [other, again], [other]):
        bench.send_reports(*rows)
        bench.drain_roads(monitor)
    assert bench.rows("SELECT vehicles, revision FROM detector_report") == [(20, 1)]
    assert {name: monitor.figures[name] for name in ("reports", "amended", "repeated")} == {
        "reports": 1, "amended": 1, "repeated": 4,
    }  # fmt: skip


def test_screens_are_told_only_what_changed_each_circle_its_own_links(bench: RoadBench):
    monitor = bench.monitor(cycle=FakeCycle())
    bench.cycle(monitor)
    seen = len(told(bench, "links"))
    for detector, speed in ((1, 80.0), (2, 81.04), (4, 82.0)):
        bench.send_reports(report(bench.world, detector, bench.clock.us + CYCLE_US, speed_kmh=speed))
    bench.drain_roads(monitor)
    bench.cycle(monitor)

    rows = bench.rows("SELECT audience, body -> 'l' FROM feed WHERE kind = 'links' ORDER BY seq OFFSET %s", seen)
    circles = {tuple(audience): [item[:3] for item in items] for audience, items in rows}
    assert circles == {
        tuple(WEST_LINE): [[1, 1, 80]],
        tuple(sorted(BOTH_LINES)): [[2, 1, 81]],
        (CORPS, EAST, EAST_BRIGADE, EAST_SQUADRON): [[8, 1, 82]],
    }
    assert bench.one("SELECT audience FROM link_state WHERE link_id = 1") == WEST_LINE

    bench.cycle(monitor)  # nothing new: that the cycle was done is told, and no link
    assert told(bench, "links")[-1] == {"at": bench.clock.us, "l": []}


def test_an_event_is_told_with_each_revision_to_owner_neighbours_and_all_above(bench: RoadBench):
    monitor = bench.monitor(cycle=FakeCycle())
    for speed in (90.0, 30.0, 25.0, 25.2, 90.0):
        bench.send_reports(report(bench.world, 2, bench.clock.us + CYCLE_US, speed_kmh=speed))
        bench.drain_roads(monitor)
        bench.cycle(monitor)

    ((identity, state, revision, audience),) = bench.rows("SELECT id, state, revision, audience FROM road_event")
    assert (state, revision, audience) == ("ended", 3, sorted(BOTH_LINES))
    cards = told(bench, "event")
    assert [(card["change"], card["revision"]) for card in cards] == [("new", 1), ("updated", 2), ("ended", 3)]
    assert cards == [
        row[0]
        for row in bench.rows("SELECT body FROM road_event_revision WHERE event_id = %s ORDER BY revision", identity)
    ]
    assert cards[0]["started_at"] == cards[2]["started_at"] and cards[2]["ended_at"] == bench.clock.us


def test_sensor_health_and_indices_are_kept_and_told_where_they_change(bench: RoadBench):
    monitor = bench.monitor(cycle=FakeCycle())
    nan = float("nan")
    for speed in (nan, nan, 80.0):
        bench.send_reports(report(bench.world, 3, bench.clock.us + CYCLE_US, speed_kmh=speed))
        bench.drain_roads(monitor)
        bench.cycle(monitor)
    bench.cycle(monitor, 10)  # the bad reports are forgotten

    assert [(body["id"], body["state"]) for body in told(bench, "sensor")] == [(3, "failed"), (3, "ok")]
    assert bench.rows("SELECT state, reason FROM sensor_health WHERE sensor_id = 3") == [("ok", "")]
    assert [body["index"] for body in told(bench, "index")] == [0.0, 1.0, 0.0]
    assert bench.rows("SELECT DISTINCT audience FROM feed WHERE kind = 'index'") == [(sorted(BOTH_LINES),)]
    assert bench.one("SELECT (extract(epoch FROM cycle_at) * 1e6)::bigint FROM road_index") == bench.clock.us


def test_minutes_of_links_are_rolled_up_with_each_cycle(bench: RoadBench):
    monitor = bench.monitor(cycle=FakeCycle())
    for _ in range(2):
        bench.send_reports(report(bench.world, 1, bench.clock.us + CYCLE_US, speed_kmh=60.0))
        bench.drain_roads(monitor)
        bench.cycle(monitor)
    assert bench.one("SELECT sum(cycles) FROM link_minute WHERE link = 1") == 2
    assert bench.one("SELECT count(*) FROM link_minute WHERE link = 4") == 0
    assert bench.one("SELECT sum(cycles) FROM index_minute") >= 2


def test_a_fast_clock_runs_every_cycle_and_a_monitor_behind_goes_on_with_the_newest(bench: RoadBench):
    cycle = FakeCycle()
    monitor = bench.monitor(cycle=cycle)
    bench.clock.rate = 60.0
    bench.cycle(monitor, 5)
    assert [at for at, _ in cycle.told[-5:]] == [bench.clock.us - n * CYCLE_US for n in (4, 3, 2, 1, 0)]

    cycle.told.clear()
    for _ in range(20):  # these stand on the bus while the monitor does nothing
        bench.clock.us += CYCLE_US
        bench.send_reports(report(bench.world, 1, bench.clock.us, speed_kmh=70.0))
        bench.append(encode_small(EntryKind.TICK, [Tick(at=bench.clock.us + 1)]))
    bench.drain_roads(monitor)
    assert cycle.told[-1][0] == bench.clock.us
    assert len(cycle.told) == 1 and len(cycle.told[0][1].reports) == 20
    assert monitor.figures["cycles_given_way"] == 19


def test_the_clock_never_takes_the_picture_back(bench: RoadBench):
    cycle = FakeCycle()
    monitor = bench.monitor(cycle=cycle)
    at_us = bench.cycle(monitor, 2)
    done = len(cycle.told)
    bench.clock.us -= 10 * CYCLE_US
    bench.send_reports(report(bench.world, 1, bench.clock.us))
    monitor.due.pop("tick", None)
    bench.drain_roads(monitor)
    bench.append(encode_small(EntryKind.TICK, [Tick(at=at_us)]))
    bench.drain_roads(monitor)
    assert len(cycle.told) == done
    assert monitor._figures()["clock_behind_s"] > 4 * 60, "and it says why the picture stands still"
    bench.clock.us += 10 * CYCLE_US
    assert bench.cycle(monitor) > at_us and len(cycle.told) == done + 1


def test_each_cycle_says_which_versions_it_used_and_trims_the_bus(bench: RoadBench):
    monitor = bench.monitor(cycle=FakeCycle())
    bench.send_reports(*bench.interval(bench.clock.us))
    bench.drain_roads(monitor)
    bench.cycle(monitor)
    versions = dict(bench.rows("SELECT name, value FROM version"))
    (row,) = bench.rows(
        "SELECT rule_version, network_version, to_offset FROM batch WHERE partition = %s ORDER BY 3 DESC LIMIT 1",
        ROADS_PARTITION,
    )
    assert row == (versions["rule"], versions["network"], monitor.own.offset)
    assert bench.reader.meta(ROADS_PARTITION).waiting_bytes == 0
    assert bench.one("SELECT bus_offset FROM monitor_snapshot") == monitor.own.offset


def test_events_that_ended_long_ago_go_with_their_revisions(bench: RoadBench):
    monitor = bench.monitor(cycle=FakeCycle())
    for speed in (30.0, 90.0):
        bench.send_reports(report(bench.world, 2, bench.clock.us + CYCLE_US, speed_kmh=speed))
        bench.drain_roads(monitor)
        bench.cycle(monitor)
    bench.clock.us += 399 * 86_400_000_000
    monitor._prune(monitor._connected())
    assert bench.one("SELECT count(*) FROM road_event_revision") == 2
    bench.clock.us += 2 * 86_400_000_000
    monitor._prune(monitor._connected())
    assert bench.one("SELECT count(*) FROM road_event") == 0
    assert bench.one("SELECT count(*) FROM road_event_revision") == 0
