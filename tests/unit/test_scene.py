"""What happens in the demonstration, as decisions: accidents, faults, works, weather, crews and terminals."""

from dataclasses import replace
from datetime import date

import numpy as np
import pytest

from sim import demand
from sim.accidents import RELEASE_EVERY_S, UNTOUCHED_S, Accidents, Obstacles, accident_at, behind
from sim.casting import patrols
from sim.crews import STANDING_EVERY_S, URGENT_KMH
from sim.detectors import Observer, Report
from sim.faults import (
    CHATTER,
    CHECKPOINT,
    CLOCK_SKEW,
    DETECTOR,
    DETECTOR_FAULTS,
    LOCKED_ON,
    LOW_READ_RATE,
    NO_CHANGE,
    SELF_REPORTED,
    SILENT,
    SKEW_S,
    SPIKE,
    Fault,
    Faults,
)
from sim.fleet import ALARM_SOS, ALARM_SPEED, Fleet, tunnels_of
from sim.instants import rfc3339
from sim.loops import detector_loops_of
from sim.places import Places, Spot
from sim.weather import FOG, REPORT_EVERY_US, SNOW, Almanac, Front, Sky, plan, slowed, visibility_m
from sim.works import Calendar, cones
from traffic.clock import Clock
from traffic.demonstration import LIVELY_SQUADRON
from traffic.geo import distance_m
from traffic.network import parse_stake
from traffic.province_tables import model_province
from traffic.units import UnitTree

PROVINCE = model_province()
PLACES = Places(PROVINCE.links)
LINKS = {str(link.id): link for link in PROVINCE.links}
DAY = date(2026, 1, 14)  # a working day in winter
NOON_US = demand.day_begin_us(DAY) + 12 * demand.HOUR_US
BUSY = {edge: link.length_m * link.lanes for edge, link in LINKS.items()}


def random(seed: int = 1) -> np.random.Generator:
    return np.random.default_rng(seed)


# ---------------------------------------------------------------- places
def test_a_place_is_found_by_stake_and_lies_on_the_drawn_line():
    for edge in ("1041", "1042", "39011", "40022"):
        link = LINKS[edge]
        for share in (0.0, 0.31, 1.0):
            position_m = share * link.length_m
            spot = PLACES.spot(link.road_id, PLACES.stake_m(edge, position_m), link.direction)
            assert spot is not None and (spot.edge != edge or spot.position_m == pytest.approx(position_m, abs=2.0))
        assert PLACES.point(edge, 0.0)[0] == pytest.approx(link.geometry[0])
        assert PLACES.point(edge, link.length_m)[0] == pytest.approx(link.geometry[-1])
        assert PLACES.point(edge, link.length_m + 500.0) == PLACES.point(edge, link.length_m)
    assert PLACES.spot(1, 10, 1) is None and PLACES.spot(999, 10, 1) is None


# ---------------------------------------------------------------- accidents
def test_an_accident_on_all_lanes_lets_some_past_now_and_then_and_later_leaves_a_lane_free():
    accident = accident_at("a", Spot(edge="1041", position_m=500.0), 4, (100.0, 1_100.0))
    assert accident.blocked(99.0) == () and accident.blocked(1_100.0) == ()
    assert accident.blocked(100.0) == (1, 2, 3, 4)
    assert accident.blocked(100.0 + RELEASE_EVERY_S - 1.0) == (1, 2, 3, 4)  # nobody is there yet to wave
    assert accident.blocked(100.0 + UNTOUCHED_S + RELEASE_EVERY_S - 1.0) == (1, 2, 3)
    assert accident.blocked(100.0 + UNTOUCHED_S + RELEASE_EVERY_S) == (1, 2, 3, 4)
    assert accident.blocked(900.0) == (1, 2, 3)
    assert accident_at("b", Spot(edge="1041", position_m=5.0), 4, (0.0, 9.0), all_lanes=False).lanes == (1, 2, 3)
    narrow = accident_at("c", Spot(edge="33011", position_m=5.0), 1, (0.0, 900.0))
    assert {narrow.blocked(second) for second in range(900)} == {(1,)}


def test_accidents_come_by_chance_the_same_for_a_seed_and_never_too_many_or_two_on_one_edge():
    def driven(seed: int) -> list[str]:
        accidents, seen = Accidents(PROVINCE.links, PROVINCE.detectors, BUSY, random(seed)), []
        for minute in range(600):
            new, _ = accidents.turn(minute * 60.0, 1.0)
            seen += [f"{one.edge} {one.position_m:.0f} {one.to_s:.0f}" for one in new]
            assert len(accidents.open) <= 6
            assert len({one.edge for one in accidents.open}) == len(accidents.open)
            assert all(0.0 < one.position_m < LINKS[one.edge].length_m for one in accidents.open)
        return seen

    assert driven(3) == driven(3) != driven(4)
    assert 40 < len(driven(3)) < 120
    assert not Accidents([], [], {}, random()).turn(1e6, 1.0)[0]


def test_obstacles_stand_beside_loops_and_are_put_and_taken_away_once():
    obstacles = Obstacles({"1041": [500.0]}, {"1041": 4}, {"1041": 9_000.0})
    wanted = {"a": ("1041", 1, 501.0), "b": ("1041", 4, 8_999.0)}
    put, gone = obstacles.move(wanted)
    assert [(one.lane, one.position_m) for one in put] == [(3, 512.0), (0, 8_994.0)] and not gone
    assert obstacles.move(wanted) == ([], [])
    obstacles.refused(["b", "never heard of"])
    assert [one.id for one in obstacles.move(wanted)[0]] == ["b"]
    assert obstacles.move({}) == ([], ["a", "b"])


def test_a_place_behind_a_detector_is_on_its_own_link_or_nowhere():
    detector = PROVINCE.detectors[0]
    spot = behind(detector, PLACES, 100.0)
    assert spot is not None and abs(PLACES.stake_m(spot.edge, spot.position_m) - detector.stake_m) == 100
    assert behind(detector, PLACES, 1e6) is None
    assert behind(replace(detector, link_id=-1), PLACES, 1.0) is None


# ---------------------------------------------------------------- detectors and their faults
def report(**fields) -> Report:
    base = Report(detector=7, lane=1, observed_us=NOON_US, vehicles=9, heavy=2, occupancy=6.0, speed_kmh=88.0)
    return replace(base, **fields)


def said_by(kind: str, reports: list[Report], *, lane: int = 1, times: int = 1) -> list[list[Report]]:
    faults = Faults([(7, 2)], [], random())
    faults.add(Fault(kind=kind, sensor_kind=DETECTOR, sensor=7, lane=lane, from_s=0.0, to_s=9_999.0))
    return [faults.said(reports, 1.0 + 30.0 * number) for number in range(times)]


def test_each_fault_says_what_such_a_sensor_would_say_and_only_on_its_lane():
    other = report(lane=2)
    assert said_by(SILENT, [report(), other]) == [[other]]
    assert said_by(SILENT, [report(), other], lane=0) == [[]]
    ((full, same),) = said_by(LOCKED_ON, [report(), other])
    assert (full.vehicles, full.occupancy, full.speed_kmh, same) == (0, 100.0, None, other)
    ((chatter, _),) = said_by(CHATTER, [report(), other])
    assert chatter.vehicles > 20 and chatter.occupancy < 5.0
    ((late, _),) = said_by(CLOCK_SKEW, [report(), other])
    assert late.observed_us == NOON_US - SKEW_S * 1e6
    ((own, _),) = said_by(SELF_REPORTED, [report(), other])
    assert own.fault and not other.fault
    spikes = [rows[0] for rows in said_by(SPIKE, [report()], times=200)]
    assert 20 < sum(row.speed_kmh == 240.0 for row in spikes) < 90
    faults = Faults([(7, 2)], [], random())
    faults.add(Fault(kind=NO_CHANGE, sensor_kind=DETECTOR, sensor=7, lane=1, from_s=0.0, to_s=100.0))
    first, second = (faults.said([report(vehicles=n, observed_us=NOON_US + n)], 5.0)[0] for n in (9, 0))
    assert (first.vehicles, second.vehicles, second.observed_us) == (9, 9, NOON_US)
    assert faults.said([report(vehicles=0)], 100.0) == [report(vehicles=0)]  # it is over


def test_faults_come_one_kind_after_the_other_and_end():
    faults, kinds, ended = Faults([(1, 2), (2, 3)], [5], random()), set(), 0
    for minute in range(0, 6_000):
        began, over = faults.turn(minute * 60.0)
        kinds |= {fault.kind for fault in began}
        ended += len(over)
        assert all(fault.lane <= 3 for fault in began)
    assert kinds == {*DETECTOR_FAULTS, LOW_READ_RATE} and ended > 100
    assert Faults([], [], random()).turn(1e9) == ([], [])


def test_a_dirty_camera_misses_most_plates_and_only_its_own():
    faults = Faults([], [5], random())
    faults.add(Fault(kind=LOW_READ_RATE, sensor_kind=CHECKPOINT, sensor=5, lane=0, from_s=10.0, to_s=20.0))
    missed = sum(faults.unreadable(5, 15.0) for _ in range(1_000))
    assert 500 < missed < 700
    assert not any(faults.unreadable(gate, at_s) for gate, at_s in ((6, 15.0), (5, 9.0), (5, 20.0)) for _ in range(50))


def test_reports_are_of_every_lane_also_of_those_that_saw_nobody():
    loops = detector_loops_of(PROVINCE.links, PROVINCE.detectors)
    assert len(loops) == sum(detector.lanes for detector in PROVINCE.detectors)
    observer = Observer(PROVINCE.detectors, loops, random())
    reports = observer.reports([("d1-2", 1_000, 300, 12.0, 25_000.0)], NOON_US)
    assert len(reports) == len(loops)
    seen = next(one for one in reports if (one.detector, one.lane) == (1, 2))
    assert 970 < seen.vehicles <= 1_000 and seen.heavy == 300 and seen.speed_kmh == pytest.approx(90.0, rel=0.1)
    assert seen.occupancy == 100.0
    nobody = [one for one in reports if one is not seen]
    assert all((one.vehicles, one.occupancy, one.speed_kmh) == (0, 0.0, None) for one in nobody)
    records = observer.records(reports)
    assert {record["observed_at"] for record in records} == {"2026-01-14T12:00:00.000+08:00"}
    assert all(("speed_kmh" in record) == (record["vehicles"] > 0) for record in records)


# ---------------------------------------------------------------- works and weather
def test_the_calendar_alone_decides_on_works_and_each_lively_unit_always_has_one():
    lively = [[link for link in PROVINCE.links if link.unit_id == LIVELY_SQUADRON]]
    own = {str(link.id) for link in lively[0]}
    calendar, again = (Calendar(PROVINCE.links, PROVINCE.roads, lively) for _ in range(2))
    for hour in range(0, 24 * 9, 5):
        now_us = NOON_US + hour * demand.HOUR_US
        works = calendar.known(now_us)
        assert works == again.known(now_us) and len({work.code for work in works}) == len(works)
        assert any(work.edge in own and work.state(now_us) == "active" for work in works)
        assert all(work.state(now_us) in ("planned", "active") for work in works)
        for work in works:
            link = LINKS[work.edge]
            low, high = sorted((link.from_stake_m, link.to_stake_m))
            assert low <= work.low_m < work.high_m <= high and len(work.lanes_closed) < link.lanes
            assert all(0.0 <= place_m <= link.length_m for _, place_m in cones(work, link))
    assert not Calendar([], [], []).known(NOON_US)


def test_a_work_is_told_as_planned_then_active_then_ended():
    calendar = Calendar(PROVINCE.links, PROVINCE.roads, [])
    work = calendar.make("X-1", LINKS["1042"], (NOON_US, NOON_US + demand.HOUR_US), random())
    assert [work.state(NOON_US + n * demand.HOUR_US) for n in (-1, 0, 1)] == ["planned", "active", "ended"]
    record = work.record(NOON_US - 1)
    assert parse_stake(str(record["from_stake"])) < parse_stake(str(record["to_stake"]))
    assert (record["road"], record["direction"], record["state"]) == ("G1", 2, "planned")
    first = min(place_m for _, place_m in cones(work, LINKS["1042"]))
    assert PLACES.stake_m("1042", first) == pytest.approx(work.high_m, abs=5)  # downwards: the higher stake comes first


FRONT = Front(
    id="f", kind=SNOW, lon=125.3, lat=43.9, east_kmh=30.0, north_kmh=0.0, radius_km=40.0,
    from_us=NOON_US, to_us=NOON_US + 2 * demand.HOUR_US, strongest=0.8,
)  # fmt: skip


def test_a_front_grows_drifts_fades_and_slows_what_lies_under_it():
    middle_us = NOON_US + demand.HOUR_US
    assert [FRONT.strength(at) for at in (NOON_US - 1, NOON_US, middle_us, FRONT.to_us, FRONT.to_us + 1)] == [
        0,
        0,
        0.8,
        0,
        0,
    ]
    assert distance_m(FRONT.centre(NOON_US), FRONT.centre(middle_us)) == pytest.approx(30_000, rel=0.01)
    sky = Sky(PROVINCE.links, PROVINCE.roads)
    factors = sky.factors([FRONT], middle_us)
    assert 5 < len(factors) < 100 and set(factors.values()) == {slowed(SNOW, 0.8)}
    assert sky.factors([FRONT, replace(FRONT, kind=FOG)], middle_us) == {
        e: min(f, slowed(FOG, 0.8)) for e, f in factors.items()
    }
    records = sky.records(FRONT, middle_us)
    assert len({record["station"] for record in records}) == len(records) >= 3
    for record in records:
        assert parse_stake(str(record["from_stake"])) < parse_stake(str(record["to_stake"]))
        assert record["precipitation"] == "snow" and record["valid_to"] > record["observed_at"]
    assert REPORT_EVERY_US < 12 * 60_000_000  # reports are renewed before they lapse
    assert visibility_m(FOG, 1.0) < 50 < visibility_m(FOG, 0.8) < 200 < visibility_m(FOG, 0.3)
    assert [slowed(FOG, strength) for strength in (1.0, 0.7, 0.5, 0.1)] == [0.4, 0.6, 0.9, 0.9]


def test_fronts_are_the_calendars_and_a_script_may_add_one():
    almanac = Almanac()
    assert plan(DAY) == plan(DAY) != plan(date(2026, 1, 15))
    assert {front.kind for day in range(1, 28) for front in plan(date(2026, 1, day))} == {SNOW, FOG}
    assert "rain" in {front.kind for day in range(1, 28) for front in plan(date(2026, 7, day))}
    before = almanac.now(NOON_US + demand.HOUR_US)
    almanac.add(FRONT)
    assert FRONT in almanac.now(NOON_US + demand.HOUR_US) and FRONT not in before
    spans = almanac.between(NOON_US, NOON_US + demand.DAY_US)
    assert len(spans) >= 3 and all(front.to_us > NOON_US for front in spans)


# ---------------------------------------------------------------- crews and terminals
@pytest.fixture
def crews():
    tree = UnitTree(PROVINCE.units, PROVINCE.parents, at=Clock().now())
    return patrols(PROVINCE, tree, PLACES, 9)


def test_every_crew_patrols_a_stretch_of_its_squadron_and_reports_every_few_seconds(crews):
    assert len(crews.crews) == len(PROVINCE.crews)
    owner = {crew.code: crew.unit_id for crew in PROVINCE.crews}
    has_road = {link.unit_id for link in PROVINCE.links}
    driven: dict[str, set[float]] = {crew.code: set() for crew in PROVINCE.crews}
    last: dict[str, float] = {}
    for second in range(0, 3_600, 5):
        crews.step(float(second), {})
        for code, spot, speed_kmh, lon, lat in crews.positions(float(second)):
            link = LINKS[spot.edge]
            assert owner[code] not in has_road or link.unit_id == owner[code]
            assert distance_m((lon, lat), PLACES.point(spot.edge, spot.position_m)[0]) < 40.0
            assert 0.0 <= speed_kmh <= URGENT_KMH and second - last.get(code, -5) >= 5
            driven[code].add(round(spot.position_m, 1))
            last[code] = second
    assert len(last) > 0.8 * len(crews.crews)
    assert sum(len(places) > 3 for places in driven.values()) > 0.8 * len(last)
    standing = [crew for crew in crews.crews if crew.speed_kmh == 0.0]
    assert standing  # some are at a post
    crews.positions(3_595.0 + STANDING_EVERY_S)
    assert not crews.positions(3_595.0 + STANDING_EVERY_S)


def test_the_nearest_crew_drives_to_an_accident_stays_and_goes_on_afterwards(crews):
    spot = Spot(edge="1041", position_m=9_000.0)
    stake_m = PLACES.stake_m(spot.edge, spot.position_m)
    crews.step(1.0, {"a": spot})
    (called,) = [crew for crew in crews.crews if crew.called_to == "a"]
    for second in range(2, 2_400):
        crews.step(float(second), {"a": spot})
    assert called.speed_kmh == 0.0 and called.called_to == "a"
    edge = called.beat.spot(called.place_m, 1, {})
    assert PLACES.stake_m(edge.edge, edge.position_m) == pytest.approx(stake_m, abs=5)
    crews.step(2_401.0, {})
    crews.step(2_700.0, {})
    assert called.called_to == "" and called.place_m != called.target_m or called.rest_s > 0.0


def test_terminals_speak_in_turn_are_mute_in_tunnels_and_some_for_a_while():
    plates = [(f"吉A{number:05d}", 1) for number in range(60)]
    tunnels = tunnels_of(PROVINCE.links, PROVINCE.roads)
    assert tunnels and all(0.0 < begin < end < LINKS[edge].length_m for edge, (begin, end) in tunnels.items())
    assert "1041" not in tunnels
    edge, (begin_m, end_m) = next(iter(tunnels.items()))
    fleet = Fleet(plates, PLACES, tunnels, random())
    spoke: dict[str, list[int]] = {}
    for second in range(0, 7_200, 2):
        due = fleet.due(float(second))
        where = {plate: ("1041", 100.0, 25.0) for plate in due}
        for record in fleet.records(where, float(second), NOON_US + second * 1_000_000):
            spoke.setdefault(str(record["plate"]), []).append(second)
            assert record["observed_at"] == rfc3339(NOON_US + second * 1_000_000)
            assert record["speed_kmh"] == pytest.approx(90.0, abs=5.0) and 0.0 <= record["bearing_deg"] < 360.0
    assert 50 <= len(spoke) < 60  # a few are off for good
    gaps = [b - a for times in spoke.values() for a, b in zip(times, times[1:], strict=False)]
    assert min(gaps) >= 10 and np.percentile(gaps, 90) <= 32 and max(gaps) > 100
    inside = fleet.records({plates[0][0]: (edge, (begin_m + end_m) / 2, 20.0)}, 9_000.0, NOON_US)
    assert inside == []


def test_terminals_of_their_own_keep_what_they_measure_near_a_tunnel_and_say_nothing_in_it():
    edge = next(iter(tunnels_of(PROVINCE.links, PROVINCE.roads)))
    tunnels = {edge: (3_000.0, 4_000.0)}
    fleet = Fleet([("A", 1), ("B", 1)], PLACES, tunnels, random(), straight=frozenset({"A"}))
    told = {}
    for second, place_m in enumerate((1_000.0, 2_500.0, 3_500.0, 4_500.0, 6_000.0)):
        places = {plate: (edge, place_m, 20.0) for plate in ("A", "B")}
        for one in fleet.told(places, float(second), second * 1_000_000).values():
            told[place_m] = one
        assert {record["plate"] for record in fleet.records(places, float(second), second)} <= {"B"}
    assert {place_m: one.kept for place_m, one in told.items()} == {
        1_000.0: False, 2_500.0: True, 4_500.0: True, 6_000.0: False,
    }  # fmt: skip
    assert told[6_000.0].position.items.mileage_km == pytest.approx(0.1)


def test_a_terminal_raises_the_alarm_when_it_is_too_fast_and_a_driver_presses_the_button_now_and_then():
    fleet = Fleet([("A", 1)], PLACES, {}, random(), straight=frozenset({"A"}))
    alarms = {}
    for second in range(0, 40_000, 20):
        speed_ms = 25.0 if second % 40 else 33.0
        for one in fleet.told({"A": ("1041", 100.0, speed_ms)}, float(second), second).values():
            alarms[second] = one.position.alarms
    assert all(bool(bits & ALARM_SPEED) == (second % 40 == 0) for second, bits in alarms.items())
    pressed = sum(bool(bits & ALARM_SOS) for bits in alarms.values())
    assert 0 < pressed < len(alarms) / 10
