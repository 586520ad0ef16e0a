"""The place of points, against the plain search, and whose newest word counts."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from traffic.geo import along, distance_m
from traffic.limits import PLACE_AWAY_M_MAX
from traffic.network import Link, Network
from traffic.positions import PlaceIndex, newest, spots
from traffic.road_readings import POSITION

NAN = float("nan")


def link(number: int, road: int, direction: int, stakes: tuple[int, int], *line: tuple[float, float]) -> Link:
    return Link(
        id=number, road_id=road, direction=direction, from_stake_m=stakes[0], to_stake_m=stakes[1], length_m=1,
        lanes=2, limit_kmh=100, unit_id=1000 + number, geometry=line,
    )  # fmt: skip


WEST, MIDDLE, EAST = (125.0, 43.5), (125.11, 43.55), (125.3, 43.52)
EASTWARD = link(1, 1, 1, (1000, 30_000), WEST, MIDDLE, EAST)
WESTWARD = link(2, 1, 2, (30_000, 1000), EAST, MIDDLE, WEST)
NORTHWARD = link(3, 2, 1, (0, 20_000), (125.15, 43.45), (125.15, 43.63))
LINKS = (EASTWARD, WESTWARD, NORTHWARD)
INDEX = PlaceIndex(LINKS)


def place_of(lon: float, lat: float, speed: float = NAN, bearing: float = NAN) -> np.void:
    return INDEX.find(np.array([lon]), np.array([lat]), np.array([speed]), np.array([bearing]))[0]


@given(st.floats(124.98, 125.32), st.floats(43.44, 43.64))
def test_any_point_has_the_place_that_the_plain_search_finds(lon: float, lat: float):
    plain, place = Network(LINKS).place_of((lon, lat)), place_of(lon, lat)
    if abs(plain.away_m - PLACE_AWAY_M_MAX) < 0.5:
        return  # the two measure distances a little differently
    if plain.away_m > PLACE_AWAY_M_MAX:
        assert place["road"] == 0 and place["unit"] == 0 and place["direction"] == 0
        return
    if place["road"] != plain.road_id:  # where two roads are as near
        assert place["away_m"] == pytest.approx(plain.away_m, abs=0.5)
        return
    assert place["stake_m"] == pytest.approx(plain.stake_m, abs=2 + plain.away_m / 10)
    assert place["away_m"] == pytest.approx(plain.away_m, abs=0.5)


@given(st.floats(0.01, 0.99), st.sampled_from(LINKS))
def test_a_vehicle_that_drives_along_a_link_is_on_it_in_its_direction(share: float, on: Link):
    (lon, lat), bearing = along(on.geometry, share)
    place = place_of(lon, lat, 80.0, bearing)
    crossing = distance_m((lon, lat), (125.15, 43.5437)) < 100
    if crossing:
        return
    assert (place["road"], place["direction"], place["unit"]) == (on.road_id, on.direction, on.unit_id)
    assert place["stake_m"] == pytest.approx(on.from_stake_m + share * (on.to_stake_m - on.from_stake_m), abs=30)


@pytest.mark.parametrize(("speed", "bearing"), [(NAN, NAN), (0.0, 60.0), (2.9, 240.0), (80.0, NAN)])
def test_the_direction_cannot_be_told_without_bearing_or_while_standing(speed: float, bearing: float):
    place = place_of(*MIDDLE, speed, bearing)
    assert (place["road"], place["direction"]) == (1, 0)


def test_a_point_beyond_every_road_or_of_no_number_is_off_the_roads():
    for lon, lat in ((0.0, 0.0), (-179.99, -89.99), (180.0, 90.0), (125.05, 43.6), (1e6, 43.5)):
        assert place_of(lon, lat)["road"] == 0
    nowhere = PlaceIndex(()).find(np.array([125.0]), np.array([43.5]), np.array([NAN]), np.array([NAN]))
    assert nowhere["road"].tolist() == [0]


def test_a_link_of_no_length_is_a_place_like_any_other():
    index = PlaceIndex([link(1, 1, 1, (10, 20), WEST, WEST)])
    (place,) = index.find(np.array([WEST[0]]), np.array([WEST[1]]), np.array([80.0]), np.array([90.0]))
    assert (place["road"], place["stake_m"], place["away_m"]) == (1, 10, 0)


@st.composite
def reports(draw: st.DrawFn) -> np.ndarray:
    rows = np.zeros(draw(st.integers(0, 25)), POSITION)
    for row in rows:
        row["subject_kind"], row["subject"] = draw(st.sampled_from((1, 2))), draw(st.integers(1, 3))
        row["class_group"] = draw(st.integers(0, 1))
        row["observed_at"], row["received_at"] = draw(st.integers(0, 3)), draw(st.integers(0, 2))
        row["lon"], row["lat"] = draw(st.integers(0, 2)), draw(st.integers(0, 2))
        row["speed_kmh"], row["bearing_deg"] = (
            draw(st.sampled_from((NAN, 0.0, 50.0))),
            draw(st.sampled_from((NAN, 9.0))),
        )
    return rows


@given(reports(), st.randoms(use_true_random=False))
def test_the_newest_word_of_each_subject_is_the_same_in_any_order(rows: np.ndarray, chance):
    order = list(range(len(rows)))
    chance.shuffle(order)
    shuffled = rows[order]
    assert rows[newest(rows)].tobytes() == shuffled[newest(shuffled)].tobytes()
    for row in rows[newest(rows)]:
        same = rows[(rows["subject"] == row["subject"]) & (rows["subject_kind"] == row["subject_kind"])]
        assert row["observed_at"] == same[same["class_group"] == row["class_group"]]["observed_at"].max()


def test_what_is_not_told_is_null_on_screens():
    row = np.zeros(1, POSITION)
    row["observed_at"], row["lon"], row["lat"], row["speed_kmh"], row["bearing_deg"] = 5, 125.1234567, 43.5, NAN, NAN
    off = INDEX.find(np.array([0.0]), np.array([0.0]), row["speed_kmh"], row["bearing_deg"])
    assert spots(row, off) == [[5, 125.123457, 43.5, None, None, None, None, None]]
