"""Places as people write them, and lines as screens need them."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dashboards.gazetteer import RoadName, road_of, spoken
from dashboards.lines import thinned
from traffic.network import stake_text

ROADS = (
    RoadName(id=1, code="G1", name="京哈高速", name_en="Jingha Expressway"),
    RoadName(id=2, code="G11", name="鹤大高速", name_en="Heda Expressway"),
    RoadName(id=3, code="G102", name="京抚线", name_en="Jingfu Highway"),
)


def meant(text: str) -> list[tuple[str, int | None, str]]:
    return [(place.road.code, place.stake_m, place.side) for place in spoken(text, ROADS)]


@pytest.mark.parametrize(
    "text",
    [
        "G1 K1023+500", "g1k1023+500", "G1 1023.5", "G1 1023+500", "京哈 1023+500", "京哈高速K1023+500",
        "Ｇ１　Ｋ１０２３＋５００", "G1京哈高速 K1023+500", "jingha expressway 1023.5",
        "G1, 1023+500", "  G1   K1023+500 ", "G1-K1023+500",
    ],
)  # fmt: skip
def test_one_place_in_many_spellings(text):
    assert meant(text) == [("G1", 1_023_500, "")]


@pytest.mark.parametrize(
    ("text", "places"),
    [
        ("G1", [("G1", None, "")]),
        ("G102", [("G102", None, "")]),  # the code, not kilometre 102 of a road G
        ("京", [("G1", None, ""), ("G102", None, "")]),
        ("K12", [("G1", 12_000, ""), ("G11", 12_000, ""), ("G102", 12_000, "")]),
        ("G11023+500", [("G1", 1_023_500, ""), ("G11", 23_500, "")]),  # either may be meant
        ("G1 K943+200后", [("G1", 943_200, "后")]),
        ("京哈高速1023公里", [("G1", 1_023_000, "")]),
        ("G10", [("G102", None, "")]),
        ("1023", []), ("", []), (" ", []), ("K", []), ("+", []), ("W-1", []), ("'; DROP TABLE road; --", []), ("%", []),
    ],
)  # fmt: skip
def test_what_a_text_may_mean(text, places):
    assert meant(text) == places


def test_a_code_is_meant_alone_and_a_name_by_any_part_of_it():
    assert [road.code for road in road_of("g1", ROADS)] == ["G1"]
    assert [road.code for road in road_of("高速", ROADS)] == ["G1", "G11"]
    assert [road.code for road in road_of("Heda", ROADS)] == ["G11"]


@given(st.text(max_size=300))
def test_any_text_is_answered(text):
    for place in spoken(text, ROADS):
        assert place.stake_m is None or place.stake_m >= 0


@given(st.sampled_from(ROADS), st.integers(0, 9_999_999), st.sampled_from(["", " ", ", "]))
def test_every_stake_as_it_is_shown_is_found_again(road, stake_m, between):
    assert (road.code, stake_m, "") in meant(f"{road.code}{between}{stake_text(stake_m)}")


def test_a_line_keeps_its_ends_and_its_bends():
    line = [(0.0, 0.0), (0.5, 0.00001), (1.0, 0.0), (1.0, 1.0)]
    assert thinned(line, 5e-5) == [(0.0, 0.0), (1.0, 0.0), (1.0, 1.0)]
    assert thinned([(0.0, 0.0), (0.0, 0.0), (0.0, 0.0)], 5e-5) == [(0.0, 0.0), (0.0, 0.0)]
    assert thinned([(0.0, 0.0)], 5e-5) == [(0.0, 0.0)] and thinned([], 5e-5) == []


@given(st.lists(st.tuples(st.floats(-1, 1), st.floats(-1, 1)), min_size=2, max_size=40), st.floats(1e-6, 0.5))
def test_no_point_that_is_left_out_lies_far_from_what_is_left(line, tolerance):
    kept = thinned(line, tolerance)
    assert kept[0] == line[0] and kept[-1] == line[-1]
    assert all(
        min(_away(point, a, b) for a, b in zip(kept, kept[1:], strict=False)) <= tolerance * 1.0001 for point in line
    )


def _away(point, a, b) -> float:
    dx, dy = b[0] - a[0], b[1] - a[1]
    square = dx * dx + dy * dy
    share = max(0.0, min(1.0, ((point[0] - a[0]) * dx + (point[1] - a[1]) * dy) / square)) if square else 0.0
    return ((point[0] - a[0] - share * dx) ** 2 + (point[1] - a[1] - share * dy) ** 2) ** 0.5
