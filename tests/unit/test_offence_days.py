"""Days with offences: journeys that can be, truths that are true, sensors that err as often as told."""

from dataclasses import replace

import numpy as np
import pytest

from dashboards.evaluate.offence_days import DAY_US, MIDNIGHT_US
from dashboards.evaluate.rules import Options, measure
from sim.journeys import Map, Stop
from sim.observed import Nature, misread, observe
from sim.offences import HOUR_US, SCRIPTS, Day, perform, plate, tiredness
from traffic.plates import plate_key
from traffic.province_tables import model_province

PROVINCE = model_province()


@pytest.fixture(scope="module")
def ground() -> Map:
    return Map(PROVINCE.links, PROVINCE.checkpoints)


def a_day(ground: Map, seed: int = 3) -> Day:
    rests = [thing for thing in PROVINCE.objects if thing.kind == "service_area"]
    return Day(ground=ground, random=np.random.default_rng(seed), begin_us=MIDNIGHT_US, rests=rests)


def test_a_drive_is_as_long_as_its_way_and_takes_its_stops(ground):
    way = ground.route(np.random.default_rng(1), (80, 160))
    plain = ground.drive(way, start_us=MIDNIGHT_US + 10 * HOUR_US, factor=0.8)
    rested = ground.drive(way, start_us=plain.start_us, factor=0.8, stops=[Stop(at_m=30_000, for_s=1_800)])
    assert plain.metres[-1] == ground.roads.length_m(way)
    assert rested.end_us - plain.end_us == pytest.approx(1_800e6, abs=1e6 * len(way))
    assert (np.diff(rested.at_us) > 0).all() and (np.diff(rested.metres) >= 0).all()
    moment = rested.when(30_000) + 60_000_000
    assert rested.is_off_road(moment) and rested.speed_kmh(moment) == 0.0


def test_gates_are_passed_in_order_and_never_faster_than_the_vehicle_can_drive(ground):
    for seed in range(5):
        way = ground.route(np.random.default_rng(seed), (100, 300), gates_min=4)
        drive = ground.drive(way, start_us=MIDNIGHT_US, factor=0.9, kmh_max=110.0)
        passings = ground.passings(drive)
        assert len(passings) >= 4
        assert [p.at_us for p in passings] == sorted(p.at_us for p in passings)
        assert max(p.speed_kmh for p in passings) <= 110.0 + 1e-6


def test_a_rest_of_twenty_minutes_parts_driving_and_a_shorter_one_does_not(ground):
    way = ground.route(np.random.default_rng(2), (400, 600), gates_min=4)
    half_m = ground.roads.length_m(way) / 2
    start_us = MIDNIGHT_US + 7 * HOUR_US

    def truths(rest_min: float) -> list:
        stop = Stop(at_m=half_m, for_s=rest_min * 60)
        drive = ground.drive(way, start_us=start_us, factor=0.75, stops=[stop], kmh_max=80.0)
        assert drive.end_us - drive.start_us > 4.5 * HOUR_US
        return [truth for truth in tiredness([drive], "吉A00000", night_min=120.0) if truth.certain]

    assert len(truths(19)) == 1 and truths(21) == []


def test_plates_differ_and_every_script_says_the_truth_of_its_own_vehicle(ground):
    acts = list(perform(a_day(ground), dict.fromkeys(SCRIPTS, 2)))
    assert len({act.plate for act in acts}) == len(acts) == 2 * len(SCRIPTS)
    for act in acts:
        for truth in act.truths:
            assert truth.plate == act.plate and truth.from_us <= truth.to_us
            assert MIDNIGHT_US <= truth.from_us < MIDNIGHT_US + DAY_US
    assert {truth.kind for act in acts for truth in act.truths} >= {
        "cloned_plate",
        "ban",
        "registry_state",
        "long_stop",
    }
    assert len({plate(number) for number in range(20_000)}) == 20_000


def test_sensors_err_as_often_as_they_are_told(ground):
    acts = list(perform(a_day(ground), {"ordinary": 300}))
    passings = sum(len(ground.passings(drive)) for act in acts for drive in act.drives)
    nature = Nature(missed_share=0.2, misread_share=0.3, repeated_share=0.0, unreadable_share=0.0)
    seen = observe(acts, ground, np.random.default_rng(5), nature)
    assert len(seen.passages) / passings == pytest.approx(0.8, abs=0.05)
    assert seen.misread.mean() == pytest.approx(0.3, abs=0.05)
    own = {plate_key(act.plate) for act in acts}
    assert all((int(key) in own) != wrong for key, wrong in zip(seen.passages["plate_key"], seen.misread, strict=True))
    assert (seen.passages["received_at"] >= seen.passages["observed_at"] - 10_000_000).all()
    clean = observe(acts, ground, np.random.default_rng(5), replace(nature, missed_share=0.0, misread_share=0.0))
    assert len(clean.passages) == passings and not clean.misread.any()


def test_a_misreading_differs_in_one_character(ground):
    random = np.random.default_rng(7)
    for number in range(200):
        right = plate(number)
        wrong = misread(right, random, Nature())
        assert sum(a != b for a, b in zip(right, wrong, strict=True)) == 1


def test_a_parked_vehicle_stands_beside_every_road(ground):
    acts = list(perform(a_day(ground), {"unplugged_lorry": 3}))
    seen = observe(acts, ground, np.random.default_rng(5), Nature())
    assert (seen.positions["speed_kmh"] == 0).all()
    spread = [np.ptp(seen.positions["lon"][seen.positions["subject"] == plate_key(act.plate)]) for act in acts]
    assert max(spread) < 0.002


def test_the_rules_find_most_of_a_small_day_and_more_than_the_plain_methods():
    told = measure(Options(ordinary=20, offenders=1, step_s=120, seed=11), lambda line: None).as_json()
    rules, plain = told["details"]["rules"], told["details"]["plain"]
    for kind in ("ban", "registry_state", "device_alarm", "night_running", "long_stop"):
        assert rules[kind]["recall"] == 1.0, kind
    assert told["details"]["mean_f1_of_those_two"] > (plain["cloned_plate"]["f1"] + plain["driving_time"]["f1"]) / 2
    assert rules["cloned_plate"]["precision"] >= plain["cloned_plate"]["precision"]
