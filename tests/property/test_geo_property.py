"""What must hold for any place: conversions and stakes come back to where they began."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from traffic import geo
from traffic.network import Network, StakeUnreadable, parse_stake, stake_text
from traffic.province_tables import model_province

PLACE = st.tuples(st.floats(73.0, 135.0), st.floats(3.0, 54.0))
NETWORK = Network(model_province().links)


@given(PLACE)
def test_gcj02_and_back_is_the_same_place(place):
    assert geo.distance_m(place, geo.gcj02_to_wgs84(*geo.wgs84_to_gcj02(*place))) < 0.01


@given(PLACE)
def test_no_place_is_shifted_by_more_than_a_kilometre(place):
    assert geo.distance_m(place, geo.wgs84_to_gcj02(*place)) < 1_000


@given(st.integers(0, 9_999_999))
def test_a_stake_is_read_as_it_was_written(stake_m):
    assert parse_stake(stake_text(stake_m)) == stake_m


@given(st.text(max_size=12))
def test_any_text_is_a_stake_or_is_refused_as_none(text):
    try:
        stake_m = parse_stake(text)
    except StakeUnreadable:
        return
    assert 0 <= stake_m < 10_000_000


@given(st.sampled_from(model_province().links), st.floats(0.01, 0.99))
def test_a_stake_of_any_link_leads_to_a_point_and_back(link, share):
    stake_m = round(link.from_stake_m + share * (link.to_stake_m - link.from_stake_m))
    point, bearing = NETWORK.point_at(link.road_id, stake_m, link.direction)
    place = NETWORK.place_of(point, road_id=link.road_id)
    assert place.away_m < 1.0
    assert place.stake_m == pytest.approx(stake_m, abs=20)
    assert 0 <= bearing < 360
