"""Weather, road works and cameras on their way through the monitor: what is kept, changes nothing, or is refused."""

from collections.abc import Iterator

import msgspec
import psycopg
import pytest

from tests.fake_cycle import FakeCycle
from tests.roadbench import CYCLE_US, RoadBench
from tests.world import EAST_SQUADRON, TOLL_CODE, WEST_SQUADRON, World
from traffic.monitor import Monitor
from traffic.road_readings import CameraRow, RoadWork, WeatherReport
from traffic.settings import Settings

HOUR_US = 3_600_000_000


@pytest.fixture
def bench(settings: Settings, owner: psycopg.Connection, world: World) -> Iterator[RoadBench]:
    bench = RoadBench(settings, owner, world)
    yield bench
    bench.close()


def weather(bench: RoadBench, after_s: float = 0.0, **fields: object) -> WeatherReport:
    at_us = bench.clock.us + int(after_s * 1e6)
    report = WeatherReport(
        station="W-1", observed_at=at_us, received_at=at_us + 1_000_000, valid_to=at_us + HOUR_US,
        device=bench.world.native_id, unit_id=1, road_id=1, from_stake_m=0, to_stake_m=20_000, direction=0,
        visibility_m=150,
    )  # fmt: skip
    return msgspec.structs.replace(report, **fields)


def works(bench: RoadBench, after_s: float = 0.0, **fields: object) -> RoadWork:
    at_us = bench.clock.us + int(after_s * 1e6)
    item = RoadWork(
        code="SG-1", observed_at=at_us, received_at=at_us + 1_000_000, device=bench.world.native_id,
        unit_id=WEST_SQUADRON, road_id=1, from_stake_m=12_000, to_stake_m=13_000, direction=1, lanes_closed=(2, 1, 2),
        from_at=at_us, to_at=at_us + 2 * HOUR_US, kind="paving", state="active",
    )  # fmt: skip
    return msgspec.structs.replace(item, **fields)


def camera(bench: RoadBench, after_s: float = 0.0, **fields: object) -> CameraRow:
    item = CameraRow(
        code="CAM-1", name="西一号", received_at=bench.clock.us + int(after_s * 1e6), device=bench.world.native_id,
        unit_id=WEST_SQUADRON, road_id=1, stake_m=5_000, direction=1, lon=125.1, lat=43.5, facts={"channels": 2},
    )  # fmt: skip
    return msgspec.structs.replace(item, **fields)


def taken_in(bench: RoadBench, monitor: Monitor, *items: WeatherReport | RoadWork | CameraRow) -> None:
    bench.send_items(*items)
    bench.drain_roads(monitor)


def refusals(bench: RoadBench) -> list[tuple]:
    return bench.rows("SELECT reason, door, device_id FROM quarantine ORDER BY id")


def test_weather_in_force_reaches_the_cycle_the_newest_word_of_each_stretch(bench: RoadBench):
    cycle = FakeCycle()
    monitor = bench.monitor(cycle=cycle)
    taken_in(
        bench, monitor, weather(bench), weather(bench, 10, visibility_m=80), weather(bench, 5, station="W-2"),
        weather(bench, 1, station="W-3", valid_to=bench.clock.us + 2_000_000), weather(bench, 90, station="W-4"),
    )  # fmt: skip
    bench.cycle(monitor)
    assert [(report.station, report.visibility_m) for report in cycle.told[-1][1].weather] == [
        ("W-1", 80),
        ("W-2", 150),
    ]
    bench.clock.us += HOUR_US
    bench.cycle(monitor)
    assert [report.station for report in cycle.told[-1][1].weather] == ["W-4"]


def test_weather_sent_again_is_one_row_and_a_corrected_copy_takes_its_place(bench: RoadBench):
    monitor = bench.monitor(cycle=FakeCycle())
    first = weather(bench, note="雾\0", surface="ice")
    later = msgspec.structs.replace(first, visibility_m=40, received_at=first.received_at + 1)
    taken_in(bench, monitor, first, first, later)
    taken_in(bench, monitor, first)
    assert bench.rows("SELECT visibility_m, surface, note FROM weather_report") == [(40, "ice", "雾␀")]
    assert (monitor.figures["items"], monitor.figures["items_repeated"]) == (2, 2)


def test_an_older_word_on_works_changes_nothing_and_a_newer_one_is_a_revision(bench: RoadBench):
    cycle = FakeCycle()
    monitor = bench.monitor(cycle=cycle)
    taken_in(bench, monitor, works(bench, 10))
    taken_in(bench, monitor, works(bench, 0, state="cancelled"), works(bench, 10), works(bench, 20, to_stake_m=14_000))
    assert bench.rows("SELECT state, to_stake_m, lanes_closed, revision FROM road_work") == [
        ("active", 14_000, [1, 2], 2)
    ]
    bench.cycle(monitor)
    assert [(item.code, item.lanes_closed) for item in cycle.told[-1][1].works] == [("SG-1", (1, 2))]
    taken_in(bench, monitor, works(bench, 30, state="ended"))
    bench.cycle(monitor)
    assert cycle.told[-1][1].works == []


def test_works_are_in_the_cycle_from_an_hour_before_they_begin_until_they_end(bench: RoadBench):
    cycle = FakeCycle()
    monitor = bench.monitor(cycle=cycle)
    soon = bench.clock.us + CYCLE_US + HOUR_US
    taken_in(
        bench, monitor, works(bench, code="NOW", state="planned"),
        works(bench, code="SOON", state="planned", from_at=soon, to_at=soon + 1),
        works(bench, code="LATER", state="planned", from_at=soon + 1, to_at=soon + HOUR_US),
    )  # fmt: skip
    bench.cycle(monitor)
    assert {item.code for item in cycle.told[-1][1].works} == {"NOW", "SOON"}


def test_another_sender_does_not_take_over_works_on_another_units_road(bench: RoadBench):
    monitor = bench.monitor(cycle=FakeCycle())
    taken_in(bench, monitor, works(bench))
    taken_in(bench, monitor, works(bench, 10, device=bench.world.gat_id, unit_id=EAST_SQUADRON, state="cancelled"))
    assert bench.rows("SELECT state, revision FROM road_work") == [("active", 1)]
    assert refusals(bench) == [("not_this_device", 6, bench.world.gat_id)]


def test_a_new_or_moved_camera_is_a_new_network_and_the_same_one_again_is_none(bench: RoadBench):
    monitor = bench.monitor(cycle=FakeCycle())
    version = "SELECT value FROM version WHERE name = 'network'"
    before = bench.one(version)
    taken_in(bench, monitor, camera(bench), camera(bench, 1), camera(bench, 2, code="CAM-2"))
    assert bench.one(version) == before + 1
    taken_in(bench, monitor, camera(bench, 3))
    assert bench.one(version) == before + 1
    taken_in(bench, monitor, camera(bench, 4, enabled=False), camera(bench, 3, stake_m=9_000))
    assert bench.one(version) == before + 2
    assert bench.rows("SELECT enabled, stake_m, facts FROM roadside_object WHERE code = 'CAM-1'") == [
        (False, 5_000, {"channels": 2})
    ]
    bench.cycle(monitor)
    assert monitor.figures["restored_from_tables"] == 1, "cameras are no sensors: the state goes on"


def test_what_no_table_holds_goes_to_quarantine_and_takes_nothing_with_it(bench: RoadBench):
    monitor = bench.monitor(cycle=FakeCycle())
    nonsense = [
        works(bench, code="BACK", from_at=bench.clock.us, to_at=bench.clock.us - 1),
        works(bench, code="WIDE", from_stake_m=9_000, to_stake_m=8_000),
        works(bench, code="NOWHERE", road_id=99),
        works(bench, code="STATE", state="perhaps"),
        weather(bench, station="RAIN", precipitation="frogs"),
        weather(bench, station="DEEP", visibility_m=2**40),
        camera(bench, code="UNIT", unit_id=4711),
        camera(bench, code=TOLL_CODE),
    ]
    good = [works(bench, code="GOOD", lanes_closed=tuple(range(200))), weather(bench), camera(bench, code="CAM\0")]
    taken_in(bench, monitor, *nonsense[:4], *good, *nonsense[4:])

    assert bench.rows("SELECT code FROM road_work") == [("GOOD",)]
    assert bench.rows("SELECT station FROM weather_report") == [("W-1",)]
    assert bench.one("SELECT count(*) FROM roadside_object WHERE kind = 'camera'") == 1
    assert bench.rows("SELECT kind FROM roadside_object WHERE code = %s", TOLL_CODE) == [("toll_station",)]
    assert [reason for reason, *_ in refusals(bench)].count("not_storable") == 7
    assert [reason for reason, *_ in refusals(bench)].count("not_this_device") == 1
    bench.cycle(monitor)


def test_a_thousand_overlapping_works_are_bounded_and_told_whole(bench: RoadBench):
    cycle = FakeCycle()
    monitor = bench.monitor(cycle=cycle)
    taken_in(bench, monitor, *(works(bench, code=f"SG-{n}", from_stake_m=n, to_stake_m=49_000) for n in range(1_000)))
    bench.cycle(monitor)
    assert len(cycle.told[-1][1].works) == 1_000
