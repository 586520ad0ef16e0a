"""Overspeed at a checkpoint: of key vehicles, over the limit of the place or of the rule."""

from typing import Any

import numpy as np
import pytest

from tests.rulekit import NOON_US, registry, rule
from traffic.findings import Candidate
from traffic.plates import plate_key
from traffic.readings import PASSAGE
from traffic.vehicles import build_rulebook, judge_batch
from traffic.vehicles.checkpoints import Checkpoints
from traffic.vehicles.state import VehicleState

TANKER, STRANGER = "吉A20002", "吉A99999"
GATES = Checkpoints.of([(1, 1, 0, 100, 125.0, 43.0), (2, 1, 10_000, 60, 125.1, 43.0)])


def said(speed_kmh: float, plate: str = TANKER, checkpoint: int = 1, **fields: Any) -> list[Candidate]:
    rows = np.zeros(1, PASSAGE)
    rows["observed_at"], rows["received_at"] = NOON_US, NOON_US + 1_000_000
    rows["plate_key"], rows["plate_class"], rows["checkpoint"] = plate_key(plate), 1, checkpoint
    rows["speed_kmh"], rows["direction"], rows["source_hash"] = speed_kmh, 1, 5
    book = build_rulebook(
        entries=(), sections=(), rules=(), audience_of_checkpoint={1: frozenset({1}), 2: frozenset({1, 2})},
        terms=(rule("overspeed", **fields),), registry=registry({"plate": TANKER}), checkpoints=GATES,
    )  # fmt: skip
    return judge_batch(VehicleState(), book, rows)


def test_a_key_vehicle_over_the_limit_and_its_tolerance_is_told_with_its_numbers() -> None:
    (found,) = said(125.0, parameters={"tolerance_percent": 10})
    assert found.detail["overspeed"] == {
        "speed_kmh": 125.0, "limit_kmh": 100, "over_percent": 25.0, "tolerance_percent": 10.0,
    }  # fmt: skip
    assert (found.level, found.anchor) == (3, f"6:{NOON_US}:5")
    assert not said(109.0, parameters={"tolerance_percent": 10})


def test_the_lower_of_the_places_and_the_rules_limit_counts() -> None:
    assert said(95.0, parameters={"limit_kmh": 80, "tolerance_percent": 10})[0].detail["overspeed"]["limit_kmh"] == 80
    assert said(75.0, checkpoint=2, parameters={"limit_kmh": 80})[0].detail["overspeed"]["limit_kmh"] == 60


def test_who_is_no_key_vehicle_is_meant_only_where_the_scope_says_so() -> None:
    assert not said(150.0, STRANGER)
    assert said(150.0, STRANGER, scope={"class_groups": [1]})
    assert not said(150.0, "", scope={"class_groups": [1]})


@pytest.mark.parametrize("speed_kmh", [np.nan, np.inf, -np.inf, -5.0, 600.0])
def test_what_no_vehicle_drives_is_a_fault_of_the_radar(speed_kmh: float) -> None:
    assert not said(speed_kmh)


def test_a_place_without_a_limit_says_nothing() -> None:
    assert not said(200.0, checkpoint=77)
