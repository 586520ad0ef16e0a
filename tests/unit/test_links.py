"""State of links from sensors and travel times, told in times; a cycle is half a minute."""

from dataclasses import replace

import numpy as np
import pytest

from tests.roadkit import (
    CYCLE_US,
    LINK_M,
    NOTHING,
    RULES,
    START_US,
    Story,
    network,
    one_section,
    report,
    sensors,
    travel,
)
from traffic.errors import SettingsError
from traffic.roads import links
from traffic.roads.model import Inputs, Level, Source


def slow(which: int, speed_kmh: float):  # noqa: ANN201
    """Traffic at detector `which` drives so fast."""
    return lambda number, detector, lane: None if detector != which else story_slow(number, detector, lane, speed_kmh)


def story_slow(number: int, detector: int, lane: int, speed_kmh: float) -> np.ndarray:
    vehicles = 5 + (number + lane) % 3
    return report(
        detector, START_US + number * CYCLE_US, lane=lane, vehicles=vehicles, speed_kmh=speed_kmh + (number % 5) / 10,
        occupancy=min(100.0, vehicles * 78.0 / speed_kmh),
    )  # fmt: skip


def test_a_link_says_what_its_detector_says() -> None:
    story = Story()
    story.go(20)
    said = story.link(3)
    assert said["level"] == Level.FREE and said["sources"] == Source.DETECTORS
    assert said["speed_kmh"] == pytest.approx(92, abs=4)
    assert said["flow_vph"] == pytest.approx(1_440, rel=0.25)
    assert said["density_vkm"] == pytest.approx(said["flow_vph"] / said["speed_kmh"])
    assert said["travel_s"] == pytest.approx(LINK_M * 3.6 / said["speed_kmh"])
    assert said["travel_p90_s"] > said["travel_s"]
    assert 0.05 < said["heavy_share"] < 0.4
    assert said["confidence"] > 0.7 and said["observed_us"] == story.now_us


def test_a_queue_shows_within_two_minutes_at_its_place_and_leaves_again() -> None:
    story = Story()
    story.go(20)
    story.go(4, slow(4, 12.0))
    assert story.link(4)["level"] >= Level.MODERATE
    story.go(3, slow(4, 12.0))
    assert story.link(4)["level"] >= Level.HEAVY
    assert story.link(2)["level"] == story.link(6)["level"] == Level.FREE
    story.go(6)
    assert story.link(4)["level"] == Level.FREE


@pytest.mark.parametrize(
    ("speed_kmh", "level"),
    [(80.0, Level.FREE), (55.0, Level.LIGHT), (40.0, Level.MODERATE), (25.0, Level.HEAVY), (12.0, Level.BLOCKED)],
)
def test_levels_of_other_roads_are_shares_of_free_flow(speed_kmh: float, level: Level) -> None:
    story = Story()
    story.go(12, lambda number, detector, lane: story_slow(number, detector, lane, speed_kmh))
    assert story.link(3)["level"] == level


@pytest.mark.parametrize(
    ("speed_kmh", "level"), [(70, 1), (60, 2), (40, 3), (25, 4), (19, 5), (65, 2), (50, 3), (35, 4), (20, 5)]
)
def test_levels_of_urban_expressways_are_bands_of_speed(speed_kmh: float, level: int) -> None:
    net = replace(network(1), limit_kmh=np.array([80.0]))
    found = links.levels_of(net, np.array([speed_kmh]), np.array([76.0]), np.zeros(1, np.int8), RULES.link_levels)
    assert found.tolist() == [level]


def test_a_level_changes_only_when_the_speed_has_left_it() -> None:
    net = replace(network(1), limit_kmh=np.array([80.0]))
    level = np.array([Level.FREE], np.int8)
    told = []
    for speed in (70.0, 64.0, 62.0, 60.0, 64.0, 66.0, 68.0, 70.0, 30.0):
        level = links.levels_of(net, np.array([speed]), np.array([76.0]), level, RULES.link_levels)
        told.append(int(level[0]))
    assert told == [1, 1, 1, 2, 2, 2, 2, 1, 4]


def test_unknown_has_no_level_whatever_was_before() -> None:
    before = np.array([Level.FREE], np.int8)
    found = links.levels_of(network(1), np.array([np.nan]), np.array([95.0]), before, RULES.link_levels)
    assert found.tolist() == [Level.UNKNOWN]


def test_travel_times_alone_tell_a_link_without_sensors() -> None:
    net = network()
    story = Story(net, sensors(net, detectors=()), one_section(net))
    story.number = 40
    bucket = story.now_us - CYCLE_US
    story.turn([], travel=travel(240, 250, 260, 245, 255, bucket_us=bucket))
    said = story.link(3)
    assert said["sources"] == Source.TRAVEL_TIMES
    assert said["travel_s"] == pytest.approx(250 / 6, rel=0.01)
    assert said["observed_us"] == story.now_us and np.isnan(said["flow_vph"])
    story.number += 3
    story.turn([], travel=travel(240, 250, 260, bucket_us=bucket))
    assert story.link(3)["level"] == Level.UNKNOWN  # ninety seconds without a vehicle


def test_who_stops_at_a_service_area_and_who_was_misread_do_not_count() -> None:
    net = network()
    story = Story(net, sensors(net, detectors=()), one_section(net))
    story.number = 40
    seconds = (240, 245, 250, 255, 260, 1_500, 2_400, 700, 3, 40, np.nan, np.inf, -5)
    story.turn([], travel=travel(*seconds, bucket_us=story.now_us - CYCLE_US))
    assert story.link(1)["travel_s"] == pytest.approx(250 / 6, rel=0.01)
    assert story.link(1)["travel_p90_s"] < 1.1 * story.link(1)["travel_s"]


def test_a_jam_is_no_stop() -> None:
    net = network()
    story = Story(net, sensors(net, detectors=()), one_section(net))
    story.number = 40
    story.turn([], travel=travel(800, 900, 950, 1_000, 1_100, bucket_us=story.now_us - CYCLE_US))
    assert story.link(1)["travel_s"] == pytest.approx(950 / 6, rel=0.01)
    assert story.link(1)["level"] >= Level.HEAVY


def test_the_future_and_the_long_gone_say_nothing() -> None:
    net = network()
    story = Story(net, sensors(net, detectors=()), one_section(net))
    story.number = 40
    for bucket in (story.now_us, story.now_us - 1_000 * 1_000_000, -(2**62)):
        story.turn([], travel=travel(240, 250, bucket_us=bucket))
        assert story.link(1)["level"] == Level.UNKNOWN


def test_point_sensors_and_travel_times_together_are_surer_and_disagreement_makes_unsure() -> None:
    net = network()
    story = Story(net, sections=one_section(net))
    story.go(20)
    alone = story.link(3)["confidence"]
    fitting = travel(*([236.0] * 8), bucket_us=story.now_us)
    story.go(1, travel=fitting)
    both = story.link(3)
    assert both["sources"] == Source.DETECTORS + Source.TRAVEL_TIMES and both["confidence"] > alone
    story.go(1, travel=travel(*([1_200.0] * 8), bucket_us=story.now_us))
    assert story.link(3)["confidence"] < alone


def test_neighbours_do_not_make_a_dead_link_green() -> None:
    story = Story()
    story.go(20)
    story.go(5, lambda number, detector, lane: NOTHING if detector == 3 else None)
    said = story.link(3)
    assert said["level"] == Level.UNKNOWN and np.isnan(said["speed_kmh"]) and said["confidence"] == 0
    assert said["observed_us"] == 0 and said["sources"] == 0


def test_a_link_that_never_had_a_sensor_is_told_by_near_ones_with_less_confidence() -> None:
    net = network()
    story = Story(net, sensors(net, detectors=(1, 2, 4, 5, 6)))
    story.go(20)
    assert story.link(3)["level"] == Level.FREE
    assert story.link(3)["confidence"] < story.link(2)["confidence"]


def test_a_device_that_tells_no_speed_is_read_by_its_occupancy() -> None:
    story = Story()
    story.go(20, lambda number, detector, lane: story.usual(detector, lane, speed_kmh=np.nan, occupancy=40.0))
    assert story.link(3)["level"] >= Level.HEAVY


def test_the_usual_speed_raises_free_flow_and_hostile_values_do_not() -> None:
    net, rule = network(2), RULES.link_levels
    free = links.free_flow_kmh(net, Inputs(usual_kmh=np.array([99.0, 40.0])), rule)
    assert free.tolist() == [99.0, 95.0]
    for odd in (np.array([np.nan, np.inf]), np.array([1e300, -5.0]), np.empty(0)):
        assert (links.free_flow_kmh(net, Inputs(usual_kmh=odd), rule) <= 105).all()


def test_the_rule_refuses_what_makes_no_sense() -> None:
    with pytest.raises(SettingsError, match="bands_kmh"):
        links.from_parameters({"bands_kmh": [20, 35, 50, 65]})
    with pytest.raises(SettingsError, match="free_share"):
        links.from_parameters({"free_share": {"expressway": 1.0}})
    assert links.from_parameters(links.DEFAULTS) == links.LinkRule()
