"""Section speed, told as moments in time: minutes after T0 on a road A -10 km-> B -10 km-> C, limit 100 km/h."""

import numpy as np
import pytest

from tests.sightings import MINUTE, RULES, SECTIONS, T0, A, B, C, D, fold_all, passages, rulebook
from traffic.errors import SettingsError
from traffic.findings import Finding
from traffic.network import Section
from traffic.vehicles import absorb, build_rulebook, judge_batch
from traffic.vehicles.section_speed import SectionRule, Sections, confidence, level
from traffic.vehicles.state import VehicleState


def told(*batches: np.ndarray, book=None) -> tuple[dict, list[Finding]]:
    """The findings after these batches, and every revision on the way."""
    state, stored, revisions = VehicleState(), {}, []
    for rows in batches:
        revisions += fold_all(stored, judge_batch(state, book or rulebook(), rows))
    return stored, revisions


def speeds(stored: dict) -> dict[str, float]:
    """Of the findings that stand: by the exit's time in minutes, the speed."""
    return {
        f"{(f.observed_at - T0) / MINUTE:g}": f.detail["section"]["speed_kmh"]
        for f in stored.values()
        if f.state == "active"
    }


def test_ten_kilometres_in_five_minutes_are_120_and_a_finding_that_names_both_ends() -> None:
    stored, _ = told(passages((0, A), (5, B)))
    (finding,) = stored.values()
    assert finding.detail["section"] == {
        "id": 1, "from": A, "to": B, "length_m": 10_000, "limit_kmh": 100, "travel_s": 300.0, "speed_kmh": 120.0,
    }  # fmt: skip
    assert [(o.at, o.checkpoint) for o in finding.observations] == [(T0, A), (T0 + 5 * MINUTE, B)]
    assert (finding.change, finding.level, finding.rule_version, finding.clause) == ("new", 3, 3, "条款二")
    assert finding.audience.units == {1, 11}
    assert finding.cause is None


def test_the_tolerance_is_allowed_and_one_microsecond_less_is_not() -> None:
    exactly = round(10_000 * 3.6e6 / 110.00000000000001)
    rows = passages((0, A), (0, B))
    rows["observed_at"][1] = T0 + exactly + 1
    assert not told(rows)[0]
    rows["observed_at"][1] = T0 + exactly - 1
    assert len(told(rows)[0]) == 1


def test_a_vehicle_that_drives_on_is_judged_on_each_section_from_its_own_start() -> None:
    stored, _ = told(passages((0, A)), passages((5, B)), passages((9, C)))
    assert speeds(stored) == {"5": 120.0, "9": 150.0}


def test_slow_driving_a_missing_entry_and_the_other_direction_are_no_findings() -> None:
    assert not told(passages((0, A), (6, B)))[0]
    assert not told(passages((5, B)))[0]
    assert not told(passages((0, B), (5, A)))[0]
    assert not told(passages((0, A), (5, D)))[0]


def test_faster_than_any_vehicle_is_for_another_rule() -> None:
    assert not told(passages((0, A), (2, B)))[0]  # 300 km/h: a clone or a misread


def test_the_entry_is_the_last_reading_at_the_start_before_the_exit() -> None:
    stored, _ = told(passages((0, A), (20, A), (25, B)))
    assert speeds(stored) == {"25": 120.0}


def test_an_entry_of_hours_ago_belongs_to_another_journey() -> None:
    slow = (((1, A, B, 500_000, 100),), RULES)
    book = rulebook(sections=slow[0])
    assert not told(passages((0, A), (121, B)), book=book)[0]
    assert told(passages((0, A), (120, B)), book=book)[0]


def test_two_cameras_at_the_end_make_one_finding_of_one_drive() -> None:
    stored, _ = told(passages((0, A)), passages((5, B, 1), (5.01, B, 2)))
    assert speeds(stored) == {"5": 120.0}


def test_two_vehicles_that_share_a_number_but_not_a_class_are_not_one() -> None:
    assert not told(np.concatenate([passages((0, A)), passages((5, B), plate_class=1)]))[0]


def test_unreadable_plates_are_not_a_vehicle() -> None:
    assert not told(passages((0, A), (5, B), plate=""))[0]


def test_a_late_entry_corrects_the_speed_and_is_named_as_the_cause() -> None:
    stored, revisions = told(passages((0, A), (5, B)), passages((1, A)))
    assert [r.change for r in revisions] == ["new", "corrected"]
    assert speeds(stored) == {"5": 150.0}
    assert revisions[-1].cause == {
        "reason": "late_entry", "at": T0 + MINUTE, "checkpoint": A, "record": f"{T0 + MINUTE}:{MINUTE * 10 + A}",
    }  # fmt: skip
    assert [o.at for o in revisions[-1].observations] == [T0 + MINUTE, T0 + 5 * MINUTE]


def test_a_late_entry_can_bring_what_was_not_said_and_refute_what_was() -> None:
    stored, revisions = told(passages((0, A), (7, B)), passages((2, A)), passages((6.9, A)))
    assert [(r.change, r.state) for r in revisions] == [("new", "active"), ("retracted", "retracted")]
    assert revisions[0].cause["reason"] == "late_entry"
    assert revisions[1].cause["at"] == T0 + round(6.9 * MINUTE)
    assert [o.at for o in revisions[1].observations] == [T0 + 2 * MINUTE, T0 + 7 * MINUTE]  # what was said stays read
    assert speeds(stored) == {}


def test_an_earlier_exit_that_comes_late_takes_the_place_of_the_later_one() -> None:
    stored, revisions = told(passages((0, A), (5, B)), passages((4, B)))
    assert sorted(r.change for r in revisions) == ["new", "new", "retracted"]
    retracted = next(r for r in revisions if r.change == "retracted")
    assert retracted.cause["reason"] == "late_exit"
    assert speeds(stored) == {"4": 150.0}


def test_a_retracted_finding_stands_again_when_its_entry_arrives_at_last() -> None:
    stored, revisions = told(passages((0, A), (9, B)), passages((4, B)), passages((4.5, A)))
    assert speeds(stored) == {"4": 150.0, "9": 133.3}
    stored, revisions = told(passages((0, A), (5, B)), passages((1, B)), passages((1.5, A)))
    of_exit = [r for r in revisions if r.observed_at == T0 + 5 * MINUTE]
    assert [r.change for r in of_exit] == ["new", "retracted", "corrected"]
    assert [r.revision for r in of_exit] == [1, 2, 3]
    assert speeds(stored) == {"5": 171.4}


def test_the_same_records_again_say_nothing() -> None:
    _, revisions = told(passages((0, A), (5, B)), passages((0, A), (5, B)), passages((5, B)))
    assert [r.change for r in revisions] == ["new"]


def test_replayed_records_are_taken_in_silently_and_the_next_one_is_judged_with_them() -> None:
    state, stored = VehicleState(), {}
    absorb(state, passages((0, A)))
    fold_all(stored, judge_batch(state, rulebook(), passages((5, B))))
    assert speeds(stored) == {"5": 120.0}


def test_a_full_ring_forgets_the_entry_and_retracts_nothing() -> None:
    crowd = [(5 + n / 100, D) for n in range(1, 30)]
    stored, revisions = told(passages((0, A), (5, B)), *(passages(one) for one in crowd), passages((6, B)))
    assert [r.change for r in revisions] == ["new"]
    assert speeds(stored) == {"5": 120.0}


def test_what_is_older_than_a_full_ring_says_nothing_any_more() -> None:
    crowd = passages(*((4 + n / 100, D) for n in range(16)))
    _, revisions = told(passages((2, A)), crowd, passages((5, B)), passages((1, A), (1.9, A)))
    assert revisions == []  # the entry at 2 was forgotten; an older one that comes late must not take its place
    assert told(passages((2, A)), crowd[1:], passages((5, B)))[0]


@pytest.mark.parametrize("split", [1, 7, 40, 120])
def test_more_readings_of_one_vehicle_than_its_ring_holds_are_judged_as_if_they_came_one_by_one(split: int) -> None:
    rows = passages(*((round(n) * 10 + offset, c) for n in range(40) for offset, c in ((0, A), (5, B), (9, C))))
    stored, revisions = told(*np.array_split(rows, len(rows) // split))
    assert len(speeds(stored)) == 80
    assert {r.change for r in revisions} == {"new"}


def test_a_rule_that_is_off_or_a_network_without_sections_says_nothing() -> None:
    assert not told(passages((0, A), (5, B)), book=rulebook(rules=RULES[:1]))[0]
    assert not told(passages((0, A), (5, B)), book=rulebook(sections=()))[0]


def test_a_rule_that_fails_leaves_the_state_as_it_was() -> None:
    class Broken(Sections):
        def judge(self, histories):
            raise ZeroDivisionError

    book = rulebook()
    broken = type(book)(**{**{f: getattr(book, f) for f in book.__slots__}, "sections": Broken([Section(
        id=1, from_checkpoint=A, to_checkpoint=B, length_m=10_000, limit_kmh=100)])})  # fmt: skip
    state = VehicleState()
    with pytest.raises(ZeroDivisionError):
        judge_batch(state, broken, passages((0, A), (5, B)))
    assert len(state) == 0
    assert judge_batch(state, book, passages((0, A), (5, B)))


def test_a_checkpoint_that_the_network_does_not_know_is_shown_to_those_who_see_all() -> None:
    book = build_rulebook(entries=(), sections=((1, A, 99, 10_000, 100),), rules=RULES, audience_of_checkpoint={
        A: frozenset({1, 11}), C: frozenset({1, 12})})  # fmt: skip
    (finding,) = told(passages((0, A), (5, 99)), book=book)[0].values()
    assert finding.audience.units == {1, 11}


def test_level_and_confidence_follow_the_excess_and_the_clocks() -> None:
    section = Section(id=1, from_checkpoint=A, to_checkpoint=B, length_m=2_000, limit_kmh=100)
    assert [level(section, speed) for speed in (111, 120, 149.9, 150)] == [4, 3, 3, 2]
    at_115 = round(2_000 * 3.6e6 / 115)
    assert confidence(section, SectionRule(), at_115) > confidence(section, SectionRule(), at_115 + 2_000_000)


@pytest.mark.parametrize(
    "parameters",
    [{"tolerance_percent": -1}, {"speed_kmh_max": "fast"}, {"travel_s_min": 0}, {"tolerance_percent": None}],
)
def test_senseless_parameters_are_refused(parameters: dict) -> None:
    with pytest.raises(SettingsError, match="section_speed"):
        build_rulebook(
            entries=(), sections=SECTIONS, audience_of_checkpoint={}, rules=({**RULES[1], "parameters": parameters},)
        )
