"""Bans and registry states as stories told in times: who, where, when, and what is said once a day."""

from itertools import permutations
from types import SimpleNamespace

import numpy as np
import pytest

from tests.rulekit import DAY_US, HOUR_US, NOON_US, passage, registry, rule
from tests.world import CORPS, WEST, WEST_BRIGADE, WEST_SQUADRON
from traffic import findings
from traffic.vehicles import bans, registry_state
from traffic.vehicles.checkpoints import Checkpoints
from traffic.vehicles.registry import KINDS, STATES

NIGHT_US = NOON_US - NOON_US % DAY_US - 8 * HOUR_US + DAY_US + 2 * HOUR_US  # Wednesday 02:00 local
TANKER, COACH, STRANGER = "吉A66666", "吉A77777", "吉A88888"
WEST_ABOVE = frozenset({CORPS, WEST, WEST_BRIGADE, WEST_SQUADRON})


def book(*terms, known=None):
    return SimpleNamespace(
        terms=terms,
        registry=known or registry({"plate": TANKER}, {"plate": COACH, "kind": KINDS.index("tour_coach")}),
        permits=None,
        audience_of_checkpoint={1: WEST_ABOVE, 2: WEST_ABOVE},
        audience_of_unit={WEST_SQUADRON: WEST_ABOVE},
        everywhere=frozenset({CORPS}),
        trusted=lambda confidence, checkpoints: confidence,
        checkpoints=Checkpoints(road_codes={1: "G1"}),
        places=None,
    )


HAZARDOUS = {
    "scope": {"kinds": ["hazardous_goods"], "road_kinds": ["expressway"]},
    "schedule": {"hours": [["00:00", "06:00"]]},
    "level": 2,
}


def test_a_tanker_on_an_expressway_by_night_is_one_finding_with_all_its_sightings():
    rows = np.concatenate([passage(TANKER, gate, NIGHT_US + gate * HOUR_US) for gate in (1, 2)])
    (said,) = bans.judge(book(rule(**HAZARDOUS)), rows)
    assert (said.kind, said.anchor, said.level, said.grows) == ("ban", "6:2026-11-25", 2, True)
    assert [seen.checkpoint for seen in said.observations] == [1, 2] and said.audience.units == WEST_ABOVE
    assert said.detail["ban"]["vehicle_kind"] == "hazardous_goods" and said.detail["ban"]["hours"] == [
        ["00:00", "06:00"]
    ]


@pytest.mark.parametrize(
    "row",
    [
        passage(TANKER, 1, NIGHT_US + 5 * HOUR_US),  # by day
        passage(COACH, 1, NIGHT_US),
        passage(STRANGER, 1, NIGHT_US),
        passage("", 1, NIGHT_US),
        passage(TANKER, 99, NIGHT_US),  # where the network knows of no road
        passage(TANKER, 1, NIGHT_US, received_at=NIGHT_US + 901_000_000),  # later than the rule takes
    ],
    ids=["by day", "another kind", "not registered", "not read", "nowhere", "too late"],
)
def test_what_the_ban_does_not_mean_is_left_alone(row):
    assert bans.judge(book(rule(**HAZARDOUS)), row) == []


def test_a_ban_may_mean_whoever_has_a_large_plate():
    said = bans.judge(book(rule(scope={"class_groups": [1], "checkpoints": [1]})), passage(STRANGER, 1, NOON_US))
    assert [one.detail["ban"]["vehicle_kind"] for one in said] == [None]


def test_two_days_are_two_findings():
    rows = np.concatenate([passage(TANKER, 1, NIGHT_US + day * DAY_US) for day in (0, 1)])
    assert [said.anchor for said in bans.judge(book(rule(**HAZARDOUS)), rows)] == ["6:2026-11-25", "6:2026-11-26"]


def test_any_order_of_arrival_ends_in_the_same_finding():
    rows = [passage(TANKER, 1 + n % 2, NIGHT_US + n * 60_000_000) for n in range(4)]
    ends = set()
    for order in permutations(rows):
        stands = None
        for row in order:
            (said,) = bans.judge(book(rule(**HAZARDOUS)), row)
            stands = findings.fold(stands, said, now_us=0) or stands
        ends.add(
            (stands.count, stands.observations, stands.first_at, stands.level, stands.confidence, str(stands.detail))
        )
    assert len(ends) == 1


# ---------------------------------------------------------------- what the registry says
OVER = {"inspection_until_us": NOON_US - NOON_US % DAY_US - 8 * HOUR_US}  # held up to and with 2026-11-23


def states(condition: str, at_us: int = NOON_US, grace_days: int = 0, **columns):
    terms = rule("registry_state", id=9, parameters={"condition": condition, "grace_days": grace_days})
    known = registry({"plate": TANKER} | columns)
    return registry_state.judge(book(terms, known=known), passage(TANKER, 1, at_us))


def test_an_inspection_is_overdue_from_the_day_behind_its_last_one():
    assert states("overdue_inspection", NOON_US - DAY_US, **OVER) == []
    (said,) = states("overdue_inspection", **OVER)
    assert said.anchor == "9:2026-11-24" and said.level == 4 and said.grows
    assert said.detail["registry_state"] | {"as_of": 0} == {
        "condition": "overdue_inspection", "vehicle_kind": "hazardous_goods", "state": "normal", "until": "2026-11-23",
        "overdue_days": 1, "as_of": 0,
    }  # fmt: skip
    assert states("overdue_inspection", grace_days=1, **OVER) == []
    assert states("overdue_inspection") == [], "of which no end is known"


@pytest.mark.parametrize(
    ("condition", "columns", "speaks"),
    [
        ("scrapped", {"state": STATES.index("scrapped")}, True),
        ("scrapped", {"scrap_by_us": NOON_US - 10 * DAY_US}, True),
        ("scrapped", {"scrap_by_us": NOON_US + 10 * DAY_US}, False),
        ("scrapped", {}, False),
        ("false_registered", {"state": STATES.index("false_registered")}, True),
        ("false_registered", {"state": STATES.index("deregistered")}, True),
        ("false_registered", {"state": STATES.index("seized")}, False),
        ("seized", {"state": STATES.index("seized")}, True),
        ("ex_commercial", {"ex_commercial": True}, True),
        ("ex_commercial", {"kind": KINDS.index("ex_commercial_coach")}, True),
        ("ex_commercial", {}, False),
    ],
)
def test_the_registry_speaks_against_a_vehicle_in_the_state_that_the_rule_names(condition, columns, speaks):
    assert bool(states(condition, **columns)) is speaks


def test_a_vehicle_that_is_not_registered_or_has_left_the_registry_says_nothing():
    terms = rule("registry_state", parameters={"condition": "scrapped"})
    gone = registry({"plate": TANKER, "state": STATES.index("scrapped"), "enabled": False})
    for plate in (TANKER, STRANGER):
        assert registry_state.judge(book(terms, known=gone), passage(plate)) == []
