"""Indices of roads, units and the province from a picture with known numbers."""

from dataclasses import replace

import numpy as np
import pytest

from tests.roadkit import RULES, START_US, network
from traffic.roads.indices import index_of, indices
from traffic.roads.model import Index, Inputs, Level, Picture, RiskPicture

NET = network()  # odd links belong to unit 11, even ones to 10; free flow is 95 km/h
ABOVE = {10: (10, 5, 1), 11: (11, 5, 1), 5: (5, 1), 1: (1,), 12: (12, 1)}


def picture(speed_kmh: np.ndarray, flow_vph: np.ndarray, level: np.ndarray) -> Picture:
    many = len(speed_kmh)
    unknown = np.full(many, np.nan)
    return Picture(
        at_us=START_US, observed_us=np.full(many, START_US), level=level.astype(np.int8), speed_kmh=speed_kmh,
        flow_vph=flow_vph, density_vkm=unknown, travel_s=unknown, travel_p90_s=unknown, heavy_share=unknown,
        confidence=np.ones(many), sources=np.ones(many, np.int8),
    )  # fmt: skip


def risk(levels: list[int]) -> RiskPicture:
    score = np.zeros(len(levels))
    level = np.array(levels, np.int8)
    return RiskPicture(
        factors=(), now=score, next_hour=score, now_level=level, next_level=level,
        now_parts=np.zeros((len(levels), 0)), next_parts=np.zeros((len(levels), 0)),
    )  # fmt: skip


def told(shown: Picture, levels: list[int] | None = None, **inputs: object) -> dict[tuple[str, int], Index]:
    found = indices(NET, ABOVE, shown, risk(levels or [1] * 6), Inputs(**inputs), RULES.link_levels)  # type: ignore[arg-type]
    return {(index.scope, index.scope_id): index for index in found}


def test_the_index_grows_with_delay_in_steps_of_the_index_of_beijing() -> None:
    assert index_of(np.array([1.0, 1.1, 1.2, 1.5, 1.8, 2.1, 2.4, 9.0])).tolist() == pytest.approx(
        [0, 1, 2, 4, 6, 8, 10, 10]
    )


def test_free_flow_is_zero_and_faster_than_that_is_not_less() -> None:
    found = told(picture(np.full(6, 120.0), np.full(6, 1_000.0), np.full(6, Level.FREE)))
    for scope in (("province", 0), ("unit", 1), ("unit", 10), ("road", 1)):
        assert found[scope].index == 0
        assert found[scope].speed_kmh == 120 and found[scope].congested_km == 0 and found[scope].known_share == 1


def test_units_hold_all_below_them_and_links_weigh_by_vehicle_kilometres() -> None:
    speed = np.array([95.0, 47.5, 95.0, 47.5, 95.0, 47.5])  # even links take twice their time
    flow = np.array([1_000.0, 3_000.0] * 3)
    found = told(picture(speed, flow, np.array([1, 3] * 3)), [1, 4, 2, 4, 3, 4])
    assert found["unit", 11].index == 0
    assert found["unit", 10].index == pytest.approx(index_of(np.array(2.0)), abs=0.01)
    expected = index_of(np.array((1_000 + 3_000 * 2) / 4_000))
    for scope in (("unit", 5), ("unit", 1), ("province", 0), ("road", 1)):
        assert found[scope].index == pytest.approx(float(expected), abs=0.01)
        assert found[scope].congested_km == 3 and found[scope].vehicle_km_h == 12_000
        assert found[scope].speed_kmh == pytest.approx(12_000 / (3_000 / 95 + 9_000 / 47.5), abs=0.1)
        assert found[scope].risk_links == (1, 1, 1, 3)
    assert found["unit", 10].risk_links == (0, 0, 0, 3)


def test_too_little_known_is_no_index_and_never_zero() -> None:
    speed, flow = np.full(6, np.nan), np.full(6, np.nan)
    level = np.zeros(6)
    found = told(picture(speed, flow, level), [0] * 6)
    assert found["province", 0].index is None and found["province", 0].speed_kmh is None
    assert found["province", 0].known_share == 0 and found["province", 0].vehicle_km_h is None
    speed[0], flow[0], level[0] = 95.0, 500.0, 1
    found = told(picture(speed, flow, level))
    assert found["province", 0].index is None and found["unit", 11].index == 0
    assert found["unit", 12].index is None and found["unit", 12].known_share == 0  # it has no links at all


def test_the_usual_index_comes_from_the_usual_speeds() -> None:
    shown = picture(np.full(6, 95.0), np.full(6, 1_000.0), np.full(6, 1))
    found = told(shown, usual_kmh=np.full(6, 95.0 / 1.5))
    assert found["road", 1].usual_index == pytest.approx(4.0) and found["road", 1].index == 0
    assert told(shown)["road", 1].usual_index is None
    for odd in (np.full(6, np.nan), np.full(6, -1.0), np.zeros(6), np.empty(0)):
        assert told(shown, usual_kmh=odd)["road", 1].usual_index is None


def test_a_unit_that_the_tree_does_not_know_stands_alone() -> None:
    shown = picture(np.full(6, 95.0), np.full(6, 1_000.0), np.full(6, 1))
    other = replace(NET, unit=np.full(6, 77))
    found = indices(other, {}, shown, risk([1] * 6), Inputs(), RULES.link_levels)
    assert [(index.scope, index.scope_id) for index in found] == [("province", 0), ("unit", 77), ("road", 1)]
