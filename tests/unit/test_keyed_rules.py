"""The other rules of key vehicles, each as a story told in times."""

import numpy as np
import pytest

from tests.keyedkit import (
    COACH,
    GATES,
    HOUR_US,
    LORRY,
    MINUTE_US,
    SECOND_US,
    TANKER,
    UNIT,
    Story,
    alarm,
    at,
    book,
    clock,
    drive,
    ground,
    passage,
    permits,
    position,
    rule,
    stand,
    usual,
)  # fmt: skip
from tests.rulekit import registry
from traffic.errors import SettingsError
from traffic.vehicles.areas import Fence
from traffic.vehicles.keyed.rules import KINDS


def _details(story: Story, kind: str) -> list[dict]:
    return [finding.detail[kind] for finding in story.active if finding.kind == kind]


# ---------------------------------------------------------------- 02:00-05:00
NIGHT = {"scope": {"kinds": ["tour_coach", "scheduled_coach"]}}


def test_a_coach_seen_at_half_past_two_runs_by_night() -> None:
    story = Story(book(rule("night_running", 5, **NIGHT)))
    story.tell(passage(COACH, 3, clock("02:30")), passage(LORRY, 3, clock("02:30")))
    (finding,) = story.active
    assert finding.detail["night_running"]["sightings"] == 1
    assert finding.anchor == "5:2026-11-24" and finding.audience.units == {UNIT}


@pytest.mark.parametrize("when", ["01:59:59", "05:00"])
def test_before_two_and_from_five_on_it_may_run(when: str) -> None:
    story = Story(book(rule("night_running", 5, **NIGHT)))
    story.tell(passage(COACH, 3, clock(when)))
    assert story.active == []


def test_positions_speak_once_they_have_it_moving_for_some_time() -> None:
    story = Story(book(rule("night_running", 5, **NIGHT)))
    story.live(drive(COACH, clock("02:10"), 2))
    assert story.active == []
    story.live(drive(COACH, clock("02:13"), 2, from_m=5_000))
    assert len(story.active) == 1


def test_a_relay_permit_an_airport_line_and_a_short_line_are_exempt() -> None:
    exempt = {"permits": ["relay"], "route_kinds": ["airport", "other"], "route_km_max": 100}
    vehicles = registry(
        {"plate": COACH, "kind": 0, "unit": UNIT},
        {"plate": TANKER, "kind": 1, "unit": UNIT, "route_kind": 1, "route_km": 60.0},
        {"plate": LORRY, "kind": 1, "unit": UNIT, "route_kind": 4, "route_km": 101.0},
    )
    held = permits({"plate": COACH, "kind": "relay"})
    story = Story(book(rule("night_running", 5, exemptions=exempt, **NIGHT), vehicles=vehicles, permits=held))
    story.tell(*(passage(plate, 3, clock("03:00")) for plate in (COACH, TANKER, LORRY)))
    assert [finding.plate_key for finding in story.active] == [int(passage(LORRY, 3, 1)["plate_key"][0])]


# ---------------------------------------------------------------- overspeed
def test_a_minute_over_the_limit_is_told_with_its_peak_and_its_end() -> None:
    story = Story(book(rule("overspeed", 8)))
    story.live([position(COACH, 1000 + 600 * n, clock("09:00") + n * 20 * SECOND_US, kmh)
                for n, kmh in enumerate([100, 112, 121, 118, 115, 108, 104, 90])], batch_s=20)  # fmt: skip
    (said,) = _details(story, "overspeed")
    assert said["speed_kmh"] == 121.0 and said["limit_kmh"] == 100 and said["ended"]
    assert said["lasted_s"] == 80.0  # 108 km/h lies within the hysteresis, 104 does not


def test_a_speed_about_the_limit_and_a_short_one_above_are_no_matter() -> None:
    story = Story(book(rule("overspeed", 8)))
    story.live([position(COACH, 600 * n, clock("09:00") + n * 20 * SECOND_US, kmh)
                for n, kmh in enumerate([108, 111, 104, 111, 104, 130, 104, 109])])  # fmt: skip
    assert story.active == []


def test_two_fast_positions_far_apart_may_lie_on_another_road() -> None:
    story = Story(book(rule("overspeed", 8)))
    story.live(
        [position(COACH, 2000 * n, clock("09:00") + n * MINUTE_US, kmh) for n, kmh in enumerate([90, 120, 121, 90])]
    )
    assert story.active == []


def test_the_limit_of_a_kind_is_the_lower_one() -> None:
    story = Story(book(rule("overspeed", 8, parameters={"limit_kmh": 60}, scope={"kinds": ["hazardous_goods"]})))
    for plate in (COACH, TANKER):
        story.live(drive(plate, clock("09:00"), 3, kmh=75, every_s=20))
    (finding,) = story.active
    assert finding.detail["overspeed"]["limit_kmh"] == 60 and finding.plate_key == int(
        passage(TANKER, 1, 1)["plate_key"][0]
    )


# ---------------------------------------------------------------- long stop
def test_standing_on_the_expressway_is_told_after_ten_minutes_and_ends() -> None:
    story = Story(book(rule("long_stop", 14)))
    story.live(stand(COACH, clock("09:00"), 9, 50_000))
    assert story.active == []
    story.live([*stand(COACH, clock("09:10"), 5, 50_000), position(COACH, 51_000, clock("09:16"))])
    (said,) = _details(story, "long_stop")
    assert said == {"stood_min": 16.0, "seen_standing_min": 15.0, "for_min": 10.0, "silent": False, "ended": True}


def test_standing_in_a_parking_fence_or_near_a_service_area_is_no_matter() -> None:
    parking = Fence(id=1, code="P", name="停车场", kind="parking", unit=UNIT, centre=at(50_000), radius_m=500.0)
    of = book(rule("long_stop", 14, ground([parking])), rests=(at(80_100),))
    story = Story(of)
    story.live([*stand(COACH, clock("09:00"), 30, 50_100), *stand(TANKER, clock("09:00"), 30, 80_000)])
    story.live(stand(LORRY, clock("09:00"), 30, 60_000))
    assert [finding.plate_key for finding in story.active] == [int(passage(LORRY, 3, 1)["plate_key"][0])]


def test_a_terminal_that_falls_silent_while_it_stands_is_told_by_a_tick() -> None:
    story = Story(book(rule("long_stop", 14)))
    story.live(stand(COACH, clock("09:00"), 3, 50_000))
    assert story.tick(clock("09:09")) == []
    story.tick(clock("09:10:05"))
    (said,) = _details(story, "long_stop")
    assert said["silent"] and story.active[0].confidence < 0.7
    assert story.active[0].observations[-1].source == "silence"
    assert story.tick(clock("09:20")) == []


def test_who_parks_and_switches_off_is_seen_standing_once_and_no_matter() -> None:
    story = Story(book(rule("long_stop", 14)))
    story.live([position(COACH, 49_000, clock("08:59")), position(COACH, 50_000, clock("09:00"), 0.0)])
    assert story.tick(clock("10:00")) == []


def test_a_late_position_shows_that_it_had_gone_on_and_takes_the_stop_back() -> None:
    story = Story(book(rule("long_stop", 14)))
    story.live(stand(COACH, clock("09:00"), 3, 50_000))
    story.tick(clock("09:10:05"))
    story.tell(position(COACH, 52_000, clock("09:05"), received_at=clock("09:12")))
    (finding,) = story.findings.values()
    assert finding.state == "retracted"
    assert finding.cause["reason"] == "late_position" and finding.cause["at"] == clock("09:05")
    assert finding.cause["before"]["silent"] and finding.cause["after"] is None


# ---------------------------------------------------------------- fences
def _fenced(**parameters: float) -> Story:
    fence = Fence(id=9, code="W", name="水源地", kind="forbidden", unit=UNIT, centre=at(60_000), radius_m=2_000.0)
    return Story(book(rule("geofence", 15, ground([fence]), parameters=parameters)))


def test_a_fence_is_told_after_the_dwell_time_and_left_beyond_the_margin() -> None:
    story = _fenced(dwell_s=120, margin_m=300)
    story.live([position(COACH, 58_100 + 900 * n, clock("09:00") + n * 60 * SECOND_US, 54) for n in range(4)])
    (said,) = _details(story, "geofence")
    assert said["fence"] == 9 and said["inside_s"] == 120.0 and not said["left"]
    story.live([position(COACH, 62_200, clock("09:05"), 54)])  # outside, within the margin
    assert not _details(story, "geofence")[0]["left"]
    story.live([position(COACH, 62_400, clock("09:06"), 54)])
    assert _details(story, "geofence")[0]["left"]


def test_shorter_than_the_dwell_time_is_no_matter_and_a_border_makes_one_episode() -> None:
    story = _fenced(dwell_s=120, margin_m=300)
    story.live([position(COACH, 58_100, clock("09:00")), position(COACH, 63_000, clock("09:01"))])
    assert story.active == []
    places = [61_950, 62_100, 61_950, 62_200, 61_900]
    story.live([position(COACH, place, clock("09:10") + n * 60 * SECOND_US, 5) for n, place in enumerate(places)])
    assert len(story.active) == 1


def test_a_terminal_silent_inside_is_told_by_a_tick() -> None:
    story = _fenced(dwell_s=600)
    story.live([position(COACH, 60_000, clock("09:00"), 0.0)])
    assert story.tick(clock("09:09:59")) == []
    story.tick(clock("09:10:05"))
    assert _details(story, "geofence")[0]["silent"]


# ---------------------------------------------------------------- routes of hazardous goods
def _routed(*rows: dict, **parameters: float) -> Story:
    rules = rule("route_deviation", 7, scope={"kinds": ["hazardous_goods"]}, parameters=parameters)
    return Story(book(rules, permits=permits(*rows)))


UP_TO_90 = {"plate": TANKER, "roads": [{"road": "G1", "from_stake_m": 0, "to_stake_m": 90_000}]}


def test_a_camera_beyond_the_permitted_stakes_tells_it_at_once() -> None:
    story = _routed(UP_TO_90)
    story.live([passage(TANKER, 3, clock("09:00")), passage(TANKER, 4, clock("09:25"))])
    (said,) = _details(story, "route_deviation")
    assert said["reason"] == "off_route" and story.active[0].observations[0].checkpoint == 4


def test_positions_beyond_the_margin_tell_it_after_five_minutes_and_it_ends() -> None:
    story = _routed(UP_TO_90)
    story.live([position(TANKER, 88_000 + 1000 * n, clock("09:00") + n * 60 * SECOND_US, 60) for n in range(9)])
    assert story.active == []  # 92 km is within the margin; 93 to 96 km are off for three minutes
    story.live([position(TANKER, 97_000, clock("09:10"), 60), position(TANKER, 89_000, clock("09:20"), 60)])
    (said,) = _details(story, "route_deviation")
    assert said["ended"] and said["off_s"] >= 300


def test_outside_the_permitted_hours_and_without_any_permit_are_told_as_such() -> None:
    story = _routed({**UP_TO_90, "hours": [["06:00", "18:00"]]})
    story.tell(passage(TANKER, 2, clock("19:00")))
    assert _details(story, "route_deviation")[0]["reason"] == "outside_hours"
    story = _routed()
    story.tell(passage(TANKER, 2, clock("12:00")), passage(LORRY, 2, clock("12:00")))
    assert [said["reason"] for said in _details(story, "route_deviation")] == ["no_permit"]
    story = _routed(permit_needed=0)
    story.tell(passage(TANKER, 2, clock("12:00")))
    assert story.active == []


def test_off_the_known_roads_nothing_is_said() -> None:
    story = _routed(UP_TO_90)
    story.live([position(TANKER, 0, clock("09:00") + n * MINUTE_US, 20, lat=44.5) for n in range(20)])
    assert story.active == []


# ---------------------------------------------------------------- overdue
def _overdue(**more: object) -> Story:
    return Story(book(rule("overdue_arrival", 13, parameters={"margin_s": 600}), **more))  # 20 min usual, 23.6 at most


def test_a_vehicle_not_seen_at_the_next_gate_is_overdue_when_a_tick_says_so() -> None:
    story = _overdue()
    story.tell(passage(TANKER, 3, clock("09:00")))
    assert story.tick(clock("09:33")) == []
    (said,) = story.tick(clock("09:34"))
    assert said.detail["overdue_arrival"]["expected_at"] == 4
    assert [seen.source for seen in said.observations] == ["passage", "silence"]
    assert story.tick(clock("09:40")) == []


def test_a_vehicle_seen_in_time_is_not() -> None:
    story = _overdue()
    story.tell(passage(TANKER, 3, clock("09:00")))
    story.tell(passage(TANKER, 4, clock("09:21")))
    assert story.tick(clock("09:40")) == []


def test_a_passage_that_is_heard_of_late_takes_it_back_with_the_cause() -> None:
    story = _overdue()
    story.tell(passage(TANKER, 3, clock("09:00")))
    story.tick(clock("09:34"))
    late = passage(TANKER, 4, clock("09:22"), received_at=clock("09:35"))
    story.tell(late)
    (finding,) = story.findings.values()
    assert finding.state == "retracted" and finding.cause["checkpoint"] == 4
    assert finding.cause["before"]["overdue_s"] > 0


def test_a_vehicle_that_really_came_late_stays_told_with_when_it_came() -> None:
    story = _overdue()
    story.tell(passage(TANKER, 3, clock("09:00")))
    story.tick(clock("09:34"))
    story.tell(passage(TANKER, 4, clock("10:10")))
    (said,) = _details(story, "overdue_arrival")
    assert said["seen_again"] and said["since_s"] == 4200.0


def test_while_the_next_gate_is_not_heard_of_nothing_is_expected() -> None:
    story = _overdue()
    story.tell(passage(TANKER, 3, clock("09:00")))
    story.tick(clock("09:10"), quiet=[4])
    assert story.tick(clock("09:50")) == []
    assert story.active == []


def test_a_terminal_that_speaks_begins_the_count_anew() -> None:
    story = _overdue()
    story.tell(passage(TANKER, 3, clock("09:00")))
    story.live([position(TANKER, 100_000, clock("09:30"))])
    assert story.tick(clock("09:40")) == []
    assert len(story.tick(clock("10:05"))) == 1


@pytest.mark.parametrize("kmh, lat", [(0.0, 43.5), (60.0, 44.0)])
def test_who_stands_or_has_turned_off_is_not_expected_until_it_drives_on(kmh: float, lat: float) -> None:
    story = _overdue()
    story.tell(passage(TANKER, 3, clock("09:00")))
    story.live([position(TANKER, 100_000, clock("09:10"), kmh, lat=lat)])
    assert story.tick(clock("12:00")) == []
    story.live([position(TANKER, 101_000, clock("12:10"))])
    assert len(story.tick(clock("12:50"))) == 1


def test_at_the_end_of_the_road_and_where_no_usual_time_is_known_nothing_is_expected() -> None:
    story = _overdue()
    story.tell(passage(TANKER, max(GATES), clock("09:00")))
    assert story.tick(clock("20:00")) == []
    story = _overdue(usual_times=usual(kmh=float("nan")))
    story.tell(passage(TANKER, 3, clock("09:00")))
    assert story.tick(clock("20:00")) == []


# ---------------------------------------------------------------- alarms
def test_an_sos_is_of_the_first_level_and_bits_that_do_not_matter_say_nothing() -> None:
    story = Story(book(rule("device_alarm", 16)))
    story.tell(alarm(COACH, clock("09:00"), 0, 5))
    (finding,) = story.active
    assert finding.level == 1 and finding.detail["device_alarm"]["alarm"] == "sos"
    assert finding.observations[0].source == "alarm"


def test_the_same_bit_within_the_gap_is_one_episode_and_later_another() -> None:
    story = Story(book(rule("device_alarm", 16, parameters={"step_min": 5})))
    story.live([alarm(COACH, clock("09:00") + n * 5 * MINUTE_US, 2) for n in range(4)])
    assert len(story.active) == 1
    assert story.active[0].detail["device_alarm"]["lasted_s"] == 900.0
    story.live([alarm(COACH, clock("09:26"), 2), alarm(COACH, clock("09:27"), 29)])
    assert [f.detail["device_alarm"]["alarm"] for f in story.active] == ["fatigue", "fatigue", "collision"]


# ---------------------------------------------------------------- positions against cameras
def _mismatch() -> Story:
    return Story(book(rule("position_mismatch", 17)))


def test_a_terminal_driving_elsewhere_than_its_plate_means_a_clone() -> None:
    story = _mismatch()
    records = drive(COACH, clock("09:00"), 60, from_m=300_000, kmh=60)
    records += [passage(COACH, 2 + n, clock("09:10:30") + n * 20 * MINUTE_US) for n in range(3)]
    story.live(records)
    (said,) = _details(story, "position_mismatch")
    assert said["explanation"] == "clone" and said["passages"] == 3 and said["away_km"] > 100
    assert 0.7 < said["probability"] < 0.8 and sum(one["probability"] for one in said["explanations"]) == pytest.approx(
        1
    )


def test_a_terminal_at_the_depot_while_cameras_see_the_vehicle_drive_was_removed() -> None:
    story = _mismatch()
    story.live([*stand(COACH, clock("09:00"), 60, 10_000),
                *(passage(COACH, 5 + n, clock("09:10:30") + n * 20 * MINUTE_US) for n in range(2))])  # fmt: skip
    (said,) = _details(story, "position_mismatch")
    assert said["explanation"] == "device_removed" and said["terminal_moved_m"] == 0


def test_one_passage_elsewhere_may_be_a_misreading_and_its_own_gates_are_none() -> None:
    story = _mismatch()
    records = drive(COACH, clock("09:00"), 60, from_m=30_000, kmh=90)
    records += [
        passage(COACH, 2, clock("09:20")),
        passage(COACH, 3, clock("09:40")),
        passage(COACH, 15, clock("09:50:30")),
    ]
    story.live(records)
    (said,) = _details(story, "position_mismatch")
    assert said["passages"] == 1
    assert said["explanations"][0] == {"explanation": "misread", "probability": 0.5}


def test_a_terminal_silent_while_three_gates_see_its_vehicle_was_unplugged() -> None:
    story = _mismatch()
    story.live([position(COACH, 30_000, clock("09:00")),
                *(passage(COACH, 2 + n, clock("09:50") + n * 20 * MINUTE_US) for n in range(3))])  # fmt: skip
    (said,) = _details(story, "position_mismatch")
    assert said["explanation"] == "device_removed" and said["silent_min"] == 90.0


# ---------------------------------------------------------------- hostile values, rules, memory
def test_values_that_make_no_sense_harm_nobody() -> None:
    every = [rule(kind, number, parameters={}) for number, kind in enumerate(KINDS, start=101)]
    story = Story(book(*every))
    nonsense = [float("nan"), float("inf"), -1e9, 1e30]
    records = [position(COACH, 10_000, clock("09:00") + n * MINUTE_US, value) for n, value in enumerate(nonsense)]
    records += [
        position(COACH, 0, clock("09:10") + n * MINUTE_US, 50, lon=value, lat=value)
        for n, value in enumerate(nonsense[1:])
    ]
    records += [
        position(COACH, 0, clock("09:20"), 50, lon=0.0, lat=0.0),
        passage(COACH, 9999, clock("09:30"), direction=77),
    ]
    records += [
        alarm(COACH, clock("09:31"), *range(32)),
        passage(COACH, 3, 0, received_at=5),
        passage(COACH, -5, clock("09:32")),
    ]
    story.live(records)
    story.tick(clock("12:00"))
    story.live(drive(COACH, clock("13:00"), 5))
    assert {finding.kind for finding in story.active} <= set(KINDS)


def test_records_later_than_the_lateness_and_of_strangers_are_left_aside() -> None:
    story = Story(book(rule("device_alarm", 16)))
    story.tell(alarm("吉B99999", clock("09:00"), 0))
    story.tell(alarm(COACH, clock("09:00"), 0, received_at=clock("09:15:01")))
    assert story.active == [] and len(story.keyed) == 0


def test_a_flood_of_one_vehicle_is_bounded_and_judged_in_turns() -> None:
    story = Story(book(rule("overspeed", 8)))
    flood = [position(COACH, 1000 + n, clock("09:00") + n * 250_000, 130) for n in range(3000)]
    story.tell(*flood, now=clock("09:13"))
    row = int(story.keyed.find(np.array([int(flood[0]["subject"][0]) << 3 | 1]))[0])
    assert story.keyed.store.held[row] <= 192
    assert len(story.active) == 1


def test_of_two_rules_of_one_kind_the_younger_one_speaks() -> None:
    story = Story(book(rule("overspeed", 8), rule("overspeed", 1001, parameters={"limit_kmh": 80})))
    story.live(drive(COACH, clock("09:00"), 4, kmh=95, every_s=20))
    (finding,) = story.active
    assert finding.rule_id == 1001


def test_a_rule_that_was_put_off_ends_what_it_followed() -> None:
    story = Story(book(rule("overspeed", 8)))
    story.live(drive(COACH, clock("09:00"), 4, kmh=130, every_s=20))
    story.book = book(rule("long_stop", 14))
    story.live(drive(COACH, clock("09:05"), 4, from_m=10_000, kmh=130, every_s=20))
    story.tell(position(COACH, 9_000, clock("09:04:30"), 130, received_at=clock("09:10")))
    assert len(story.active) == 1


def test_who_is_idle_leaves_memory_and_who_is_dropped_too() -> None:
    story = Story(book(rule("overspeed", 8)))
    story.live([position(COACH, 1000, clock("09:00")), position(TANKER, 1000, clock("10:00"))])
    assert story.keyed.evict(clock("09:30")) == 1 and len(story.keyed) == 1
    story.keyed.drop(range(64))
    assert len(story.keyed) == 0 and story.keyed.dirty() == set()
    story.live([position(COACH, 1000, clock("11:00"))])
    assert len(story.keyed) == 1


@pytest.mark.parametrize("kind", sorted(KINDS))
def test_parameters_out_of_bounds_and_unknown_ones_are_refused_by_name(kind: str) -> None:
    module = KINDS[kind]
    assert module.from_parameters({}) == module.from_parameters(module.DEFAULTS)
    with pytest.raises(SettingsError, match=f"rule {kind}: .*speed_of_light"):
        module.from_parameters({"speed_of_light": 1})
    name = next(iter(module.DEFAULTS))
    for bad in (float("nan"), -1e12, "60", None, True, [1]):
        with pytest.raises(SettingsError, match=name):
            module.from_parameters({name: bad})


def test_hours_apart_do_not_matter_to_a_day(  # a week of silence, then a night
) -> None:
    story = Story(book(rule("night_running", 5)))
    story.tell(passage(COACH, 3, clock("02:30")))
    story.tell(passage(COACH, 3, clock("02:30") + 7 * 24 * HOUR_US))
    assert [finding.anchor for finding in story.active] == ["5:2026-11-24", "5:2026-12-01"]
