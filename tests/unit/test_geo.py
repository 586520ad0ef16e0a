"""Coordinates and curves against values that others computed."""

import pytest

from traffic import geo

# (WGS-84, GCJ-02): Changchun, Yanji, Baicheng as two independent converters agree to 1 cm; Shanghai as published.
PAIRS = [
    ((125.324, 43.817), (125.3305076, 43.8194524)),
    ((129.51, 42.9), (129.5169284, 42.9024595)),
    ((122.84, 45.62), (122.8458695, 45.6219064)),
    ((121.4737, 31.2304), (121.4782231, 31.2284577)),
]
SQUARE = {
    "type": "Polygon",
    "coordinates": [[[0, 0], [4, 0], [4, 4], [0, 4], [0, 0]], [[1, 1], [2, 1], [2, 2], [1, 2], [1, 1]]],
}


@pytest.mark.parametrize(("wgs", "gcj"), PAIRS)
def test_the_shift_of_chinese_maps_agrees_with_other_converters(wgs, gcj):
    assert geo.wgs84_to_gcj02(*wgs) == pytest.approx(gcj, abs=2e-7)
    assert geo.gcj02_to_wgs84(*gcj) == pytest.approx(wgs, abs=2e-7)


def test_the_shift_at_changchun_is_589_metres():
    assert geo.distance_m(PAIRS[0][0], geo.wgs84_to_gcj02(*PAIRS[0][0])) == pytest.approx(589, abs=1)


def test_outside_china_nothing_is_shifted():
    assert geo.wgs84_to_gcj02(2.35, 48.86) == (2.35, 48.86)
    assert geo.gcj02_to_wgs84(2.35, 48.86) == (2.35, 48.86)


def test_a_degree_of_latitude_is_111_km_and_points_north():
    assert geo.distance_m((125.0, 43.0), (125.0, 44.0)) == pytest.approx(111_195, abs=5)
    assert geo.bearing_deg((125.0, 43.0), (125.0, 44.0)) == pytest.approx(0.0)
    assert geo.bearing_deg((125.0, 43.0), (124.0, 43.0)) == pytest.approx(270, abs=0.5)


def test_a_curve_goes_exactly_through_its_places():
    places = [(125.0, 43.0), (125.2, 43.1), (125.2, 43.1), (125.9, 43.0)]  # one place doubled
    lines = geo.smooth(places, 2_000.0)
    assert [line[0] for line in lines] == places[:-1]
    assert [line[-1] for line in lines] == places[1:]
    assert geo.smooth(places[:1], 2_000.0) == []


def test_a_hole_and_the_outside_are_not_inside():
    assert geo.contains(SQUARE, (3.0, 3.0))
    assert not geo.contains(SQUARE, (1.5, 1.5))
    assert not geo.contains(SQUARE, (5.0, 1.5))
    assert geo.contains({"type": "MultiPolygon", "coordinates": [SQUARE["coordinates"]]}, (0.5, 0.5))
    assert geo.bounds(SQUARE) == (0, 0, 4, 4)
