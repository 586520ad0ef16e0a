"""The nearest place on the roads, beside a plain search over all links."""

import math

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from traffic.geo import gcj02_to_wgs84, gcj02_to_wgs84_columns, nearest_on_line
from traffic.limits import PLACE_AWAY_M_MAX
from traffic.nearest import NearestPlaces
from traffic.network import Link


def link(number: int, direction: int, *line: tuple[float, float], road_id: int = 1) -> Link:
    stakes = (number * 10_000, number * 10_000 + 10_000)
    begin, end = stakes if direction == 1 else stakes[::-1]
    return Link(
        id=number * 2 + direction, road_id=road_id, direction=direction, from_stake_m=begin, to_stake_m=end,
        length_m=10_000, lanes=2, limit_kmh=100, unit_id=1, geometry=line if direction == 1 else line[::-1],
    )  # fmt: skip


BENT = ((125.0, 43.5), (125.03, 43.52), (125.1, 43.51))
LINKS = [
    link(0, 1, *BENT),
    link(0, 2, *BENT),
    link(1, 1, (125.1, 43.51), (125.3, 43.60)),
    link(5, 1, (125.05, 43.49), (125.05, 43.55), road_id=2),
]
PLACES = NearestPlaces(LINKS)


@given(st.lists(st.tuples(st.floats(124.95, 125.35), st.floats(43.47, 43.63)), max_size=20))
def test_the_index_finds_what_a_search_over_all_links_finds(points):
    lon, lat = (np.array([point[axis] for point in points], np.float64) for axis in (0, 1))
    found = PLACES.find(lon, lat)
    assert len(found.row) == len(points)
    for number, point in enumerate(points):
        away_m = min(nearest_on_line(one.geometry, point)[1] for one in LINKS)
        if found.row[number] < 0:
            assert away_m > PLACE_AWAY_M_MAX - 1
            continue
        assert found.away_m[number] <= PLACE_AWAY_M_MAX
        assert math.isclose(found.away_m[number], away_m, abs_tol=0.5)
        one = PLACES.links[found.row[number]]
        share, _ = nearest_on_line(one.geometry, point)
        wanted = one.from_stake_m + share * (one.to_stake_m - one.from_stake_m)
        assert abs(found.stake_m[number] - wanted) < 3


def test_a_road_and_a_direction_may_be_asked_for():
    at = (125.05, 43.5172)  # where the roads cross
    assert PLACES.find_one(at, road_id=2)[0].id == 11
    assert PLACES.find_one(at, road_id=1, direction=2)[0].id == 2
    assert PLACES.find_one(at, road_id=1)[0].id == 1, "stakes increase where nothing else is asked for"
    assert PLACES.find_one(at, road_id=3) is None
    assert PLACES.find_one((0.0, 0.0)) is None
    assert NearestPlaces([]).find_one(at) is None


@given(st.lists(st.tuples(st.floats(73.0, 137.0), st.floats(1.0, 55.0)), min_size=1, max_size=10))
def test_columns_are_shifted_back_as_single_points_are(points):
    lon, lat = gcj02_to_wgs84_columns(*np.array(points, np.float64).T)
    for number, point in enumerate(points):
        assert np.allclose((lon[number], lat[number]), gcj02_to_wgs84(*point), atol=1e-9)
