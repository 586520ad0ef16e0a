"""A rule tried on records in memory: what is counted, whose eyes it is for, and that its memory has a bound."""

from dataclasses import replace

import numpy as np
import pytest

from tests import rulekit
from tests.rulekit import DAY_US, NOON_US, passage, registry, rule
from tests.world import CORPS, EAST, EAST_BRIGADE, EAST_SQUADRON, WEST, WEST_BRIGADE, WEST_SQUADRON
from traffic import dry_run
from traffic.dry_run import Trial, with_only
from traffic.road_readings import ALARM, POSITION
from traffic.vehicles import build_rulebook

WEST_ABOVE = frozenset({CORPS, WEST, WEST_BRIGADE, WEST_SQUADRON})
EAST_ABOVE = frozenset({CORPS, EAST, EAST_BRIGADE, EAST_SQUADRON})
OWNERS = {gate: unit for gate, _, unit in rulekit.GATES}
NOTHING = {"positions": np.empty(0, POSITION), "alarms": np.empty(0, ALARM)}


def trial(unit: int = CORPS, **fields) -> Trial:
    audiences = {gate: WEST_ABOVE if owner == WEST_SQUADRON else EAST_ABOVE for gate, owner in OWNERS.items()}
    book = build_rulebook(
        entries=(), sections=(), rules=(), audience_of_checkpoint=audiences, registry=registry({"plate": "吉A66666"})
    )
    return Trial(with_only(replace(book, permits=None), rule(**fields)), OWNERS, unit)


def told(one: Trial, *rows: np.ndarray) -> dict:
    for row in rows:
        one.step(row, **NOTHING, until_us=int(row["observed_at"].max()) + 1)
    return one.result()


def test_what_is_said_is_counted_by_day_place_unit_class_and_vehicle():
    rows = [
        passage(plate, gate, NOON_US + day * DAY_US) for day in (0, 1) for plate, gate in (("吉A1", 1), ("吉A2", 4))
    ]
    result = told(trial(), *rows, passage("吉A1", 2, NOON_US + DAY_US + 1))
    assert result["fired"] == 4 and result["records"] == 5 and result["vehicles_count"] == 2
    assert result["by_day"] == [{"day": "2026-11-24", "count": 2}, {"day": "2026-11-25", "count": 2}]
    assert {(one["checkpoint"], one["count"]) for one in result["by_checkpoint"]} == {(1, 1), (2, 1), (4, 2)}
    assert {(one["unit"], one["count"]) for one in result["by_unit"]} == {(WEST_SQUADRON, 2), (EAST_SQUADRON, 2)}
    assert result["by_class"] == [{"class_group": 1, "count": 4}] and result["by_level"] == [{"level": 3, "count": 4}]
    first = result["vehicles"][0]
    assert (first["plate"], first["count"], first["first"], first["last"]) == ("吉A1", 2, NOON_US, NOON_US + DAY_US + 1)
    assert sorted(card["plate"] for card in result["samples"]) == ["吉A1", "吉A1", "吉A2", "吉A2"]


@pytest.mark.parametrize(("unit", "seen"), [(CORPS, 2), (WEST, 1), (EAST_SQUADRON, 1)])
def test_only_what_its_asker_may_see_is_counted(unit, seen):
    assert told(trial(unit), passage("吉A1", 1), passage("吉A2", 4))["fired"] == seen


def test_its_memory_has_a_bound_and_counts_stay_right(monkeypatch):
    monkeypatch.setattr(dry_run, "OPEN_FINDINGS_MAX", 5)
    monkeypatch.setattr(dry_run, "VEHICLES_MAX", 7)
    one = trial()
    for number in range(60):
        one.step(passage(f"吉B{number:05d}", 1, NOON_US + number * 60_000_000), **NOTHING, until_us=NOON_US + number)
        assert one.open_findings <= 6
    result = one.result()
    assert result["fired"] == 60 and result["vehicles_count"] == 7 and len(result["samples"]) == 10


def test_samples_are_the_same_whatever_the_order_of_counting():
    rows = [passage(f"吉B{number:05d}", 1, NOON_US + number) for number in range(50)]
    forth, back = (told(trial(), np.concatenate(order)) for order in (rows, rows[::-1]))
    assert forth["samples"] == back["samples"] and len(forth["samples"]) == 10


def test_nothing_stored_comes_to_nothing():
    result = told(trial())
    assert (result["fired"], result["records"], result["vehicles"], result["samples"]) == (0, 0, [], [])
