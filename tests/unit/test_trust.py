"""Stories of sensors that fail and come back; a cycle is half a minute."""

import numpy as np
import pytest

from tests import roadkit
from tests.roadkit import CYCLE_US, LANES, NOTHING, Story, flow, network, report, sensors
from traffic.errors import SettingsError
from traffic.road_readings import SELF_FAULT
from traffic.roads import trust


def one_says(which: int, what, lanes=(1, 2)):  # noqa: ANN001, ANN201
    """Detector `which` says something else, the others the usual."""
    return lambda number, detector, lane: what(number, lane) if detector == which and lane in lanes else None


def states(story: Story, detector: int, lane: int = 1) -> list[tuple[str, str]]:
    return [(state, reason) for _, state, reason in story.told(detector, lane)]


def test_sound_sensors_are_believed_and_nothing_is_said_of_them() -> None:
    story = Story()
    turned = story.go(60)
    assert story.changes == []
    assert (turned.window.trust > 0.95).all()


def test_a_detector_dies_its_link_is_grey_within_90_s_and_comes_back() -> None:
    story = Story()
    story.go(20)
    assert story.link(3)["level"] == 1
    grey = 0
    for _ in range(6):
        story.go(1, one_says(3, lambda number, lane: NOTHING))
        if story.link(3)["level"] == 0 and not grey:
            grey = story.number
    assert (grey - 20) * 30 <= 90
    assert np.isnan(story.link(3)["speed_kmh"]) and story.link(3)["confidence"] == 0
    assert story.link(2)["level"] == story.link(4)["level"] == 1
    assert states(story, 3) == [("silent", "silent")]
    story.go(3)
    assert story.link(3)["level"] == 1
    assert states(story, 3)[-1] == ("ok", "")


def test_a_detector_that_never_spoke_is_silent_by_its_lane_0_alone() -> None:
    story = Story()
    story.go(10, one_says(2, lambda number, lane: NOTHING))
    assert states(story, 2, 0) == []  # it may yet begin: nobody is told, and its link is grey all the same
    assert story.link(2)["level"] == 0
    story.go(12, one_says(2, lambda number, lane: NOTHING))
    assert states(story, 2, 0) == [("silent", "silent")] and states(story, 2, 1) == []
    assert story.link(2)["level"] == 0
    story.go(2)
    assert states(story, 2, 0)[-1] == ("ok", "")


def test_an_empty_road_at_night_is_no_dead_detector() -> None:
    story = Story()

    def seldom(number: int, detector: int, lane: int) -> np.ndarray:
        seen = number % 40 == detector and lane == 1
        return story.usual(detector, lane, vehicles=int(seen), speed_kmh=95.0 if seen else np.nan, occupancy=0.1)

    story.go(200, seldom, usual_vph=np.full(6, 4.0))
    assert story.changes == []
    assert story.link(3)["level"] == 1 and story.link(3)["flow_vph"] < 200


def test_a_detector_without_vehicles_on_a_busy_road_is_found_by_its_neighbours() -> None:
    story = Story()
    story.go(20)
    story.go(12, one_says(3, lambda number, lane: story.usual(3, lane, vehicles=0, speed_kmh=np.nan, occupancy=0.0)))
    assert ("failed", "no_hits") in states(story, 3)
    assert story.link(3)["level"] == 0


def test_one_dead_lane_is_found_by_the_other_and_the_link_stays_known() -> None:
    story = Story()
    story.go(20)

    def dead(number: int, lane: int) -> np.ndarray:
        return story.usual(3, lane, vehicles=0, speed_kmh=np.nan, occupancy=0.0)

    story.go(130, one_says(3, dead, lanes=(2,)))
    assert states(story, 3, 2)[-1] == ("failed", "no_hits") and states(story, 3, 1) == []
    assert story.link(3)["level"] == 1
    assert story.link(3)["flow_vph"] == pytest.approx(1_440, rel=0.3)  # the dead lane is taken to flow as the other


CHATTER = dict(vehicles=60, heavy=0)
LOCKED = dict(occupancy=100.0, vehicles=0, speed_kmh=np.nan)
FROZEN = dict(vehicles=7, speed_kmh=88.0, occupancy=6.0)


@pytest.mark.parametrize(
    ("values", "reason", "within"),
    [
        (CHATTER, "chatter", 4),
        (LOCKED, "locked_on", 6),
        (FROZEN, "no_change", 11),
        (dict(flags=SELF_FAULT), "self_reported", 1),
    ],
)
def test_a_failing_detector_fails_quickly_and_recovers_slowly(values: dict, reason: str, within: int) -> None:
    story = Story()
    story.go(20)
    story.go(within, one_says(3, lambda number, lane: story.usual(3, lane, **values)))
    assert states(story, 3)[-1] == ("failed", reason)
    assert story.link(3)["level"] == 0
    story.go(5)
    assert states(story, 3)[-1] == ("failed", reason)  # not believed at once
    story.go(30)
    assert [state for state, _ in states(story, 3)[-2:]] == ["suspect", "ok"]
    assert story.link(3)["level"] == 1


def test_a_standing_queue_is_no_locked_detector() -> None:
    story = Story()
    story.go(20)
    slow, full = dict(speed_kmh=20.0, occupancy=35.0), dict(vehicles=0, speed_kmh=np.nan, occupancy=100.0)
    for cycles, values in ((2, slow), (40, full)):
        story.go(cycles, lambda n, detector, lane, v=values: story.usual(3, lane, **v) if detector == 3 else None)
    assert states(story, 3) == []
    assert story.link(3)["level"] == 5 and story.link(3)["density_vkm"] > 200


def test_neighbours_that_are_locked_at_one_blow_do_not_vouch_for_each_other() -> None:
    story = Story()
    story.go(20)
    full = dict(vehicles=0, speed_kmh=np.nan, occupancy=100.0)
    story.go(8, lambda n, detector, lane: story.usual(detector, lane, **full) if detector in (3, 4) else None)
    assert states(story, 3)[-1] == states(story, 4)[-1] == ("failed", "locked_on")
    assert story.link(3)["level"] == story.link(4)["level"] == 0


def test_occupancy_and_speed_that_jump_are_found() -> None:
    story = Story()
    story.go(20)
    story.go(8, one_says(2, lambda number, lane: story.usual(2, lane, occupancy=90.0 if number % 2 else 5.0)))
    assert states(story, 2)[-1] == ("failed", "occupancy_spike")
    story.go(8, one_says(5, lambda number, lane: story.usual(5, lane, speed_kmh=200.0 if number % 2 else 60.0)))
    assert states(story, 5)[-1][0] == "failed" and states(story, 5)[-1][1] in ("speed_spike", "implausible")


def test_flow_occupancy_and_speed_that_do_not_fit_together_are_found() -> None:
    story = Story()
    story.go(20)
    story.go(16, one_says(3, lambda number, lane: story.usual(3, lane, occupancy=0.4)))
    assert ("failed", "implausible") in states(story, 3)


@pytest.mark.parametrize("ahead_s", [-600, -75, 60])
def test_a_clock_that_is_wrong_is_found(ahead_s: int) -> None:
    story = Story()
    story.go(10)

    def skewed(number: int, lane: int) -> np.ndarray:
        now = story.now_us
        return story.usual(3, lane, observed_at=now + ahead_s * 1_000_000, received_at=now + 1_000_000)

    story.go(6, one_says(3, skewed))
    assert states(story, 3)[-1] == ("failed", "clock_skew")
    assert story.link(3)["level"] == 0


def test_what_holds_all_reports_up_is_no_clocks_fault_and_a_clock_that_is_wrong_beside_it_is_found() -> None:
    story = Story()
    story.go(10)

    def held_up(number: int, detector: int, lane: int) -> np.ndarray:
        behind_s = 100 + (600 if detector == 3 else 0)
        return story.usual(detector, lane, observed_at=story.now_us - behind_s * 1_000_000, received_at=story.now_us)

    story.go(8, held_up)
    assert states(story, 3)[-1] == ("failed", "clock_skew")
    assert [change.id for _, change in story.changes if change.reason == "clock_skew" and change.id != 3] == []


def test_a_detector_that_misses_most_vehicles_is_found_by_those_on_its_link() -> None:
    net = network()
    story = Story(net, sensors(net, gates=(3,)))
    minutes = []

    def flows() -> np.ndarray:
        begin = story.now_us // 60_000_000 * 60_000_000
        minutes[:] = [flow(3, begin - back * 60_000_000, int(story.chance.poisson(24))) for back in range(1, 6)]
        return np.concatenate(minutes)

    for _ in range(40):
        story.go(1, one_says(3, lambda number, lane: story.usual(3, lane, vehicles=1)), flows=flows())
    assert states(story, 3)[-1][1] in ("count_mismatch", "implausible")


def test_a_gate_that_reads_few_plates_is_suspect_and_its_counts_are_still_taken() -> None:
    net = network()
    story = Story(net, sensors(net, detectors=(), gates=(3,)))
    for _ in range(12):
        story.number += 1
        begin = story.now_us // 60_000_000 * 60_000_000
        flows = [flow(3, begin - back * 60_000_000, 20, readable=8) for back in range(1, 6)]
        story.turn([], flows=np.concatenate(flows))
    gate = [(change.lane, change.state, change.reason) for _, change in story.changes if change.kind == 2]
    assert gate[-1] == (1, "suspect", "read_rate")
    assert story.link(3)["level"] == 1 and story.link(3)["flow_vph"] == pytest.approx(1_200)


def test_reports_that_were_held_up_and_come_all_at_once_are_no_wrong_clock() -> None:
    story = Story()
    story.go(10)
    held = []
    for _ in range(3):
        story.number += 1
        held += [story.usual(detector, lane) for detector in range(1, 7) for lane in (1, 2)]
        if len(held) < 36:
            story.turn([])
    for row in held:
        row["received_at"] = story.now_us
    turned = story.turn(held)
    assert [change for _, change in story.changes if change.reason == "clock_skew"] == []
    assert (turned.picture.level == 1).all() and not np.isnan(turned.window.flow_vph[:, -3:]).any()


def test_a_gate_without_keepalive_is_silent_and_with_it_an_empty_road() -> None:
    net = network()
    points = sensors(net, detectors=(), gates=(2, 4))
    story = Story(net, points)
    for _ in range(20):
        story.number += 1
        story.turn([], alive_us={2: story.now_us, 4: roadkit.START_US})
    assert story.link(2)["level"] == 1 and story.link(2)["flow_vph"] == 0
    assert story.link(4)["level"] == 0
    gate = [(change.id, change.lane, change.state) for _, change in story.changes]
    assert (4, 1, "silent") in gate
    assert [entry for entry in gate if entry[0] == 2][-1:] in ([], [(2, 1, "ok")])


def test_lanes_and_detectors_that_do_not_exist_are_left_out() -> None:
    story = Story()
    story.go(2)
    story.number += 1
    odd = [report(99, story.now_us), report(3, story.now_us, lane=9), report(3, story.now_us, lane=-1)]
    turned = story.turn([*odd, *(story.usual(d, lane) for d in range(1, 7) for lane in range(1, LANES + 1))])
    assert story.changes == [] and (turned.picture.level == 1).all()


def test_the_rule_refuses_what_makes_no_sense() -> None:
    with pytest.raises(SettingsError, match="silent_s"):
        trust.from_parameters({"silent_s": -1})
    with pytest.raises(SettingsError, match="nonsense"):
        trust.from_parameters({"nonsense": 1})
    assert trust.from_parameters(trust.DEFAULTS) == trust.HealthRule()


def test_a_cycle_that_comes_late_judges_by_the_time_that_passed() -> None:
    story = Story()
    story.go(10)
    story.number += 20  # ten minutes without a monitor
    turned = story.turn([story.usual(d, lane) for d in range(1, 7) for lane in (1, 2)])
    assert story.changes == [] and (turned.picture.level == 1).all()
    assert story.now_us - int(story.link(1)["observed_us"]) < CYCLE_US
