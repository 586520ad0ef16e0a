"""Cloned plates, told in minutes after T0 on a road A - B - C - D, six minutes from one to the next."""

import numpy as np
import pytest

from tests.clones import JAM_HOUR, clone_book, clone_terms, usual_times
from tests.sightings import MINUTE, T0, A, B, C, D, fold_all, passages
from traffic.errors import SettingsError
from traffic.findings import Finding
from traffic.vehicles import judge_batch
from traffic.vehicles.cloned_plate import from_parameters
from traffic.vehicles.rules import RuleBook
from traffic.vehicles.state import VehicleState
from traffic.vehicles.usual_times import hours_of

BOTH = ((0, A), (2, D), (6, B), (8, C), (12, C), (14, B))  # one drives up the road, the other down: both at once
HOUR_US = 60 * MINUTE


def told(*batches: np.ndarray, book: RuleBook | None = None) -> tuple[dict, list[Finding]]:
    """The findings after these batches, and every revision on the way."""
    state, stored, revisions = VehicleState(), {}, []
    for rows in batches:
        revisions += fold_all(stored, judge_batch(state, book or clone_book(), rows))
    return stored, revisions


def standing(stored: dict) -> list[float]:
    """Minutes of the later readings of the findings that stand."""
    return sorted((f.observed_at - T0) / MINUTE for f in stored.values() if f.state == "active")


def sensitive(**given: object) -> RuleBook:
    """A book that tells conflicts already when a clone is unlikely."""
    return clone_book(clone_terms(probability_min=0.01), **given)


def the_detail(rows: np.ndarray, book: RuleBook | None = None) -> dict:
    stored, _ = told(rows, book=book or sensitive())
    return max(stored.values(), key=lambda finding: finding.observed_at).detail["cloned_plate"]


def by_day(rows: np.ndarray, hour: int = 12) -> np.ndarray:
    """The same at another local hour."""
    rows = rows.copy()
    move = (hour - int(hours_of(np.array(T0)))) * HOUR_US - T0 % HOUR_US
    rows["observed_at"] += move
    rows["received_at"] += move
    return rows


def test_one_vehicle_that_drives_quickly_is_no_clone() -> None:
    assert not told(passages((0, A), (5, B), (9.5, C), (14, D)), book=sensitive())[0]


def test_two_journeys_side_by_side_are_a_clone() -> None:
    stored, _ = told(by_day(passages(*BOTH)))
    assert len(stored) >= 3
    finding = next(f for f in stored.values() if f.detail["cloned_plate"]["probability"] > 0.6)
    assert finding.kind == "cloned_plate"
    assert finding.confidence == pytest.approx(finding.detail["cloned_plate"]["probability"], abs=1e-3)
    assert finding.rule_version == 2
    assert finding.audience.units == {1, 11, 12}


def test_a_single_impossible_reading_is_more_likely_a_misread_and_is_not_told() -> None:
    rows = by_day(passages((0, A), (6, B), (7, D), (12, C)))
    assert not told(rows)[0]
    detail = the_detail(rows)
    assert detail["explanations"]["misread"] > detail["explanations"]["clone"] > detail["explanations"]["clock"]


def test_the_numbers_that_it_rests_on_are_told() -> None:
    detail = the_detail(by_day(passages((0, A), (1, D))))
    assert detail.pop("explanations").keys() == {"clone", "misread", "clock", "fast_driving"}
    assert 0 < detail.pop("probability") < 1
    fastest_s = detail.pop("fastest_s")
    assert detail == {"gap_s": 60.0, "distance_m": 30_000, "median_s": 1080.0, "implied_kmh": 1800, "hour": 12}
    assert fastest_s == pytest.approx(1080 * np.exp(-3.09 * 0.12), abs=0.5)


def test_explanations_add_up_to_one() -> None:
    assert sum(the_detail(by_day(passages((0, A), (1, D))))["explanations"].values()) == pytest.approx(1, abs=1e-3)


def test_two_sound_clocks_may_differ() -> None:
    fastest_s = 360 * np.exp(-3.0902 * 0.12)
    within, beyond = ((0, A), ((fastest_s - 1.9) / 60, B)), ((0, A), ((fastest_s - 2.1) / 60, B))
    book = clone_book(clone_terms(probability_min=0.01, clone_share=0.1))
    assert not told(passages(*within), book=book)[0]
    assert told(passages(*beyond), book=book)[0]


def test_at_two_checkpoints_at_one_moment_nothing_else_is_possible_and_nothing_breaks() -> None:
    detail = the_detail(by_day(passages((0, A, 1), (0, D, 2))))
    assert detail["gap_s"] == 0
    assert detail["implied_kmh"] is None


def test_what_is_impossible_in_the_rush_hour_is_ordinary_by_night() -> None:
    rows = passages((0, A), (4, B), (8, C))
    book = clone_book(clone_terms(probability_min=0.01, clone_share=0.1))
    assert told(by_day(rows, JAM_HOUR), book=book)[0]
    assert not told(by_day(passages((0, A), (6, B), (12, C)), 2), book=book)[0]


def test_between_fast_and_impossible_a_fast_driver_explains_it() -> None:
    at_165, at_600 = the_detail(by_day(passages((0, A), (10.9, D)))), the_detail(by_day(passages((0, A), (3, D))))
    assert at_165["explanations"]["fast_driving"] > 0.8 > 0.01 > at_600["explanations"]["fast_driving"]


def test_a_plate_that_others_are_easily_taken_for_is_a_clone_less_likely() -> None:
    plain, alike = (
        the_detail(by_day(passages((0, A), (1, D), plate=plate)))["probability"] for plate in ("吉A34679", "吉AB8D02")
    )
    assert plain > alike


def test_by_night_a_misread_is_more_likely() -> None:
    rows = passages((0, A), (1, D))
    assert the_detail(by_day(rows, 13))["probability"] > the_detail(by_day(rows, 23))["probability"]


def test_a_distrusted_clock_explains_much() -> None:
    rows, terms = by_day(passages((0, A), (2, B))), clone_terms(probability_min=0.01, clone_share=0.05)
    sound, suspect = (
        the_detail(rows, clone_book(terms, clock_suspects=frozenset(suspects))) for suspects in ((), (B,))
    )
    assert suspect["explanations"]["clock"] > 0.5 > 0.05 > sound["explanations"]["clock"]


def test_other_looks_speak_against_one_vehicle() -> None:
    rows = by_day(passages((0, A), (9.5, D)))
    rows["body_color"] = [1, 1]
    same = the_detail(rows)
    rows["body_color"] = [1, 4]
    other = the_detail(rows)
    assert other["probability"] > same["probability"]
    assert other["explanations"]["fast_driving"] < same["explanations"]["fast_driving"]


def test_a_late_reading_between_shows_another_pair_and_is_named_as_the_cause() -> None:
    rows = by_day(passages(*BOTH))
    late = rows[:1].copy()
    late["checkpoint"], late["source_hash"] = C, 99
    late["observed_at"] = rows["observed_at"][0] + 7 * MINUTE
    stored, revisions = told(rows, late)
    assert any(f.change in ("corrected", "retracted") for f in revisions)
    changed = next(f for f in revisions if f.change in ("corrected", "retracted"))
    assert changed.cause["record"] == f"{int(late['observed_at'][0])}:99"
    assert changed.cause["reason"] == "late_reading"


def test_a_further_reading_raises_what_one_alone_did_not() -> None:
    rows = by_day(passages(*BOTH))
    _, revisions = told(*(rows[n : n + 1] for n in range(len(rows))))
    further = [f for f in revisions if f.cause and f.cause["reason"] == "further_reading"]
    assert further
    assert all(f.cause["at"] > f.observed_at for f in further)


def test_a_vehicle_at_one_checkpoint_or_at_unknown_ones_is_never_in_conflict() -> None:
    assert not told(passages((0, A, 1), (0.01, A, 2), (0.02, 77), (0.03, 78)), book=sensitive())[0]
    assert not told(passages((0, A), (0.1, D)), book=sensitive(usual=type(usual_times())()))[0]


def test_scope_and_class_hold_for_the_later_reading() -> None:
    rows = by_day(passages((0, A), (1, D)))
    assert not told(rows, book=clone_book(clone_terms({"class_groups": [1]}, probability_min=0.01)))[0]
    assert told(rows, book=clone_book(clone_terms({"class_groups": [2]}, probability_min=0.01)))[0]


def test_extreme_times_and_odd_plates_break_nothing() -> None:
    rows = passages((0, A), (1, D), (2, A), (3, D))
    rows["observed_at"][2:] = [np.iinfo(np.int64).max, np.iinfo(np.int64).min]
    rows["plate_key"] = -5
    rows["speed_kmh"] = np.nan
    rows["vehicle_class"], rows["body_color"] = -32_768, 32_767
    told(rows, rows[::-1], book=sensitive())


@pytest.mark.parametrize("parameters", [{"clone_share": 2}, {"quantile": "small"}, {"speed": 3}])
def test_senseless_parameters_are_refused(parameters: dict) -> None:
    with pytest.raises(SettingsError, match="cloned_plate"):
        from_parameters(parameters)
