"""What judges the link states: faults are put where they belong, scores add up, and the bench of the cycle runs."""

import numpy as np
import pytest

from dashboards.bench import cycle as bench_cycle
from dashboards.evaluate.corridor import Corridor, Truth
from dashboards.evaluate.links import Detected, Grey, draw_faults, errors, naive, run
from dashboards.evaluate.sensor_faults import FAULTS, Fault, spoil
from tests.roadkit import CYCLE_US, LANES, RULES, START_US, network, no_sections, report, sensors
from traffic.roads.model import CHECKPOINT_FLOW, TRAVEL

CYCLES, LINKS, SPEED_KMH = 60, 6, 90.0


def road() -> Corridor:
    """Six links on which everybody drives the same."""
    net = network(LINKS)
    chance = np.random.default_rng(3)
    rows = []
    for at in range(CYCLES):
        for detector in range(1, LINKS + 1):
            for lane in range(1, LANES + 1):
                vehicles = 6 + int(chance.integers(-1, 2))
                speed = SPEED_KMH + float(chance.normal(0, 1))
                rows.append(
                    report(
                        detector, START_US + (at + 1) * CYCLE_US, lane=lane, vehicles=vehicles, speed_kmh=speed,
                        occupancy=vehicles * 78.0 / speed,
                    )
                )  # fmt: skip
    shape = (CYCLES, LINKS)
    return Corridor(
        network=net, sensors=sensors(net), sections=no_sections(), reports=np.concatenate(rows),
        flows=np.empty(0, CHECKPOINT_FLOW), travel=np.empty(0, TRAVEL), cycles=CYCLES,
        truth=Truth(
            speed_kmh=np.full(shape, SPEED_KMH), flow_vph=np.full(shape, 1_440.0), travel_s=np.full(shape, 40.0)
        ),
    )  # fmt: skip


@pytest.fixture(scope="module")
def sound() -> Corridor:
    return road()


@pytest.mark.parametrize("kind", FAULTS)
def test_a_fault_touches_its_detector_from_its_time_on_and_nothing_else(kind: str, sound: Corridor) -> None:
    since_us = START_US + 20 * CYCLE_US
    chance = np.random.default_rng(1)
    spoiled = spoil(sound.reports, [Fault(detector=2, kind=kind, since_us=since_us)], chance)
    assert (np.diff(spoiled["received_at"]) >= 0).all()
    hit = (sound.reports["detector"] == 2) & (sound.reports["observed_at"] > since_us)
    untouched = sound.reports[~hit]
    for row in (untouched[0], untouched[len(untouched) // 2], untouched[-1]):
        assert row.tobytes() in {one.tobytes() for one in spoiled}
    mine = spoiled[(spoiled["detector"] == 2) & (spoiled["received_at"] > since_us + 2_000_000)]
    assert len(mine) == (0 if kind == "silent" else hit.sum())
    assert kind == "silent" or mine.tobytes() != sound.reports[hit].tobytes()


def test_sound_sensors_give_small_errors_to_both_methods(sound: Corridor) -> None:
    for told in (run(sound, sound.reports, RULES), naive(sound, sound.reports)):
        found = errors(sound, told, None)
        assert found.speed_kmh < 2 and found.flow_share < 0.15 and found.travel_share < 0.03
        assert found.known_share == 1


def test_a_faulty_sensor_spoils_the_plain_mean_and_not_the_picture(sound: Corridor) -> None:
    faults = [Fault(detector=2, kind="speed_spike", since_us=START_US + 30 * CYCLE_US)]
    reports = spoil(sound.reports, faults, np.random.default_rng(1))
    told = run(sound, reports, RULES)
    assert errors(sound, told, None).speed_kmh < errors(sound, naive(sound, reports), None).speed_kmh
    health = Detected()
    health.add(sound, faults, told)
    found = health.as_details()
    assert found["of_kind"]["speed_spike"]["recall"] == 1 and found["precision"] == 1
    assert found["sound_detectors"] == LINKS - 1


def test_dead_links_are_grey(sound: Corridor) -> None:
    grey = Grey()
    grey.add(sound, RULES, seed=5)
    assert grey.dead > 0 and grey.grey == grey.dead


def test_draws_take_kinds_in_turn_and_differ(sound: Corridor) -> None:
    drawn = [draw_faults(sound, draw, np.random.default_rng([1, draw])) for draw in range(len(FAULTS))]
    assert {fault.kind for faults in drawn for fault in faults} == set(FAULTS)
    assert len({tuple(fault.detector for fault in faults) for faults in drawn}) > 1


def test_the_bench_of_the_cycle_tells_every_size() -> None:
    options = bench_cycle.Options(warm=2, repeats=1, links=300)
    told = bench_cycle.measure(options, lambda line: None).as_json()
    assert [size["links"] for size in told["details"]["sizes"]] == [300]
    assert told["value"] > 0 and told["reference"]["value"] >= 0 and told["details"]["dump_bytes"] > 0
