"""What the simulation does to traffic: counts, jams upstream of a block, demand by the hour."""

from datetime import date

import numpy as np
import pytest

from sim import demand
from sim.casting import watched_vehicles
from sim.engine_process import Command, EngineProcess
from sim.flows import Flows, streams_of
from sim.loops import loops_of
from sim.netbuild import build
from sim.places import Places
from sim.population import Population
from sim.roads import Roads
from sim.vehicles import KINDS
from traffic.province_tables import model_province

PROVINCE = model_province()
CAR = {"id": "car", "length_m": 4.6, "speed_kmh_max": 200.0, "accel_ms2": 2.6}
TRUCK = {"id": "heavy_truck", "length_m": 13.5, "speed_kmh_max": 92.0, "accel_ms2": 1.0}
EDGE, LANES = "1041", 4
DETECTOR = next(one for one in PROVINCE.detectors if str(one.link_id) == EDGE)


@pytest.fixture(scope="module")
def built(tmp_path_factory):
    return build(PROVINCE.links, PROVINCE.checkpoints, PROVINCE.detectors, cache=tmp_path_factory.mktemp("sumo"))


@pytest.fixture
async def engine(built):
    start = {
        "network": str(built.network), "loops_file": str(built.loops_file), "seed": 3, "step_s": 1.0,
        "types": [CAR, TRUCK],
    }  # fmt: skip
    engine = await EngineProcess.start(start)
    yield engine
    await engine.close()


def trip(number: int, position_m: float, kind: str = "car") -> dict:
    factor = 0.8 + number % 5 / 20
    return {"id": f"v{number}", "type": kind, "route": [EDGE], "position_m": position_m, "speed_factor": factor}


def at_detector(built) -> float:
    return next(loop.position_m for loop in built.detector_loops.values() if loop.detector == DETECTOR.id)


async def test_a_detector_counts_each_vehicle_that_crossed_it_once_and_no_other(built, engine):
    place_m = at_detector(built)
    before = [trip(n, place_m - 900.0 + 12.0 * n, "heavy_truck" if n % 3 == 0 else "car") for n in range(60)]
    behind = [trip(100 + n, place_m + 60.0 + 12.0 * n) for n in range(20)]
    total = {"vehicles": 0, "heavy": 0}
    for _ in range(8):
        stretch = await engine.run(Command(add=before + behind, count=True), 30)
        before = behind = []
        rows = [row for row in stretch.counts if row[0].startswith(f"d{DETECTOR.id}-")]
        total["vehicles"] += sum(row[1] for row in rows)
        total["heavy"] += sum(row[2] for row in rows)
        assert all(0.0 < row[3] <= 30.0 + 1e-6 for row in rows)
    assert total == {"vehicles": 60, "heavy": 20}
    assert not (await engine.run(Command(count=True), 1)).counts or total["vehicles"] == 60


async def test_a_blocked_road_makes_a_queue_upstream_and_none_downstream_and_it_dissolves(built, engine):
    place_m = at_detector(built) + 100.0
    block = [
        {"id": f"o{lane}", "edge": EDGE, "lane": lane, "position_m": place_m} for lane in range(LANES)
    ]  # fmt: skip
    upstream = [trip(n, place_m - 4_000.0 + 24.0 * n) for n in range(160)]
    downstream = [trip(1_000 + n, place_m + 300.0 + 40.0 * n) for n in range(30)]
    names = [vehicle["id"] for vehicle in upstream + downstream]
    assert not (await engine.run(Command(add=upstream + downstream, block=block), 1)).refused
    await engine.run(Command(count=True), 209)
    jam = await engine.run(Command(where=names, count=True), 60)
    standing = [position_m for name, _, position_m, speed_ms in jam.places if speed_ms < 1.0]
    driving = [speed_ms for name, _, position_m, speed_ms in jam.places if position_m > place_m + 10.0]
    assert len(standing) > 100 and max(standing) < place_m and min(standing) > place_m - 1_000.0
    assert not driving or min(driving) > 15.0  # who was ahead of it drives on, or has left already
    occupied = [row for row in jam.counts if row[0].startswith(f"d{DETECTOR.id}-")]
    assert min(standing) < at_detector(built) and all(row[1] == 0 for row in occupied)  # nobody crosses it any more
    assert jam.running == len(jam.places)  # what blocks the road is no vehicle
    later = await engine.run(Command(unblock=[f"o{lane}" for lane in range(LANES)], where=names), 240)
    assert not [name for name, _, _, speed_ms in later.places if speed_ms < 1.0]


async def test_vehicles_are_held_where_an_accident_is_and_those_behind_go_on_when_it_is_over(built, engine):
    place_m = at_detector(built) + 60.0
    lanes = [
        {"id": f"h{lane}", "edge": EDGE, "lane": lane, "position_m": place_m, "hold": True} for lane in range(LANES)
    ]
    cars = [trip(n, place_m - 3_000.0 + 20.0 * n) for n in range(140)]
    names = [car["id"] for car in cars]
    await engine.run(Command(add=cars, block=lanes), 200)
    jam = await engine.run(Command(where=names, count=True), 20)
    first = sorted((position_m for _, _, position_m, speed_ms in jam.places if speed_ms < 0.5), reverse=True)
    assert first[:LANES] == pytest.approx([place_m] * LANES, abs=2.0) and len(first) > 60
    await engine.run(Command(unblock=["h0", "never heard of"], count=True), 60)
    passed = await engine.run(Command(where=names, count=True), 60)
    assert sum(row[1] for row in passed.counts if row[0].startswith(f"d{DETECTOR.id}-")) > 5  # one lane lets them past
    await engine.run(Command(unblock=["h1", "h2", "h3"]), 120)
    free = await engine.run(Command(where=names), 1)
    assert not [name for name, _, _, speed_ms in free.places if speed_ms < 1.0]


async def test_a_lower_limit_is_driven_and_sums_of_edges_are_speed_times_time(built, engine):
    cars = [trip(5 * n, 1_000.0 + 100.0 * n) for n in range(20)]
    await engine.run(Command(add=cars, limits={EDGE: 60.0}), 60)
    await engine.run(Command(count=True), 30)
    stretch = await engine.run(Command(count=True, where=[car["id"] for car in cars]), 30)
    ((edge, vehicle_s, vehicle_m),) = stretch.edges
    assert edge == EDGE and vehicle_s == pytest.approx(20 * 30.0)
    assert vehicle_m / vehicle_s * 3.6 == pytest.approx(60.0 * 0.8, rel=0.03)
    assert all(speed_ms * 3.6 < 50.0 for _, _, _, speed_ms in stretch.places)


# ---------------------------------------------------------------- demand
def test_hours_and_kinds_of_days_differ_and_nothing_jumps():
    wednesday, sunday, holiday = date(2026, 3, 11), date(2026, 3, 15), date(2026, 10, 3)
    assert [demand.kind_of(day) for day in (wednesday, sunday, holiday)] == ["weekday", "weekend", "holiday"]
    at = {day: demand.day_begin_us(day) for day in (wednesday, sunday, holiday)}

    def share(day: date, hour: float) -> float:
        return demand.share(at[day] + round(hour * demand.HOUR_US))

    assert share(wednesday, 8) > 2 * share(wednesday, 3) and share(wednesday, 17) > share(wednesday, 12)
    assert share(sunday, 8) < share(wednesday, 8) < share(holiday, 9.5)
    week = demand.shares(at[wednesday] + np.arange(0, 7 * demand.DAY_US, 60_000_000))
    assert week.min() >= 0.9 * demand.FLOOR and np.abs(np.diff(week)).max() < 0.01
    heavy = demand.heavy_shares(at[wednesday] + np.arange(0, demand.DAY_US, demand.HOUR_US))
    assert heavy[2] > 2 * heavy[9]


def test_as_many_vehicles_drive_as_the_hour_wants(built):
    roads = Roads(PROVINCE.links, built.after)
    people = Population(
        roads, loops_of(PROVINCE.links, PROVINCE.checkpoints), size=40, watched=watched_vehicles(), seed=5
    )
    people.begin()
    keys = [vehicle for vehicle in watched_vehicles()[:3]]
    people.keys(keys, {})
    assert set(people.of_key) == {vehicle.plate for vehicle in keys}

    def ordinary() -> int:
        return sum(trip.role == "ordinary" for trip in people.trips.values())

    people.expect(70, 0.2)
    assert ordinary() == 70
    people.expect(30, 0.2)
    assert ordinary() == 70  # nobody vanishes from the road
    people.ended(list(people.trips))
    assert ordinary() == 30 and set(people.of_key) == {vehicle.plate for vehicle in keys}
    people.ended(list(people.trips))
    assert ordinary() == 30 and all(people.of_key[vehicle.plate] in people.trips for vehicle in keys)


def test_streams_bring_as_many_an_hour_as_they_should_and_heavy_ones_by_night(built):
    roads, places = Roads(PROVINCE.links, built.after), Places(PROVINCE.links)
    streams = streams_of(PROVINCE.roads, places)
    lengths = {edge: facts.length_m for edge, facts in roads.edges.items()}
    flows = Flows(streams, lengths, np.random.default_rng(4))
    begun = flows.begin(1.0)
    for number, stream in enumerate(streams):
        own = [entry for entry in begun if entry.stream == number]
        assert len(own) == pytest.approx(stream.per_h * stream.free_s / 3_600.0, abs=1.0)
        assert all(0.0 < entry.position_m < lengths[entry.route[0]] for entry in own)
        assert {entry.route[-1] for entry in own} == {stream.route[-1]}
    came = []
    for minute in range(1, 61):
        entries = flows.due(minute * 60.0, 0.5)
        came += entries
        for entry in entries:
            flows.left(entry.stream)
    wanted = sum(stream.per_h for stream in streams) * 0.5
    assert len(came) == pytest.approx(wanted, abs=4 * wanted**0.5)
    assert not Flows(streams, lengths, np.random.default_rng(4)).due(-1.0, 1.0)

    def heavy(share: float) -> float:
        people = Population(roads, [], size=0, watched=[], seed=1)
        people.expect(0, share)
        kinds = [trip.vehicle.kind for trip in people.through(begun)]
        return sum(kind in ("heavy_truck", "coach") for kind in kinds) / len(kinds)

    assert heavy(0.4) == pytest.approx(0.4, abs=0.05) and heavy(0.1) == pytest.approx(0.1, abs=0.04)
    assert {kind.id for kind in KINDS if not kind.share} == {"tanker", "school_bus"}
