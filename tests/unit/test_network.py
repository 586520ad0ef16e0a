"""Stakes, units and the model province's tables: what other parts rely on."""

from collections import Counter
from datetime import UTC, datetime

import pytest

from traffic import geo
from traffic.data.jilin import build_tables
from traffic.network import (
    EXPRESSWAY,
    Chainage,
    Link,
    Network,
    NoSuchPlace,
    StakeAmbiguous,
    StakeUnreadable,
    parse_sided_stake,
    parse_stake,
    stake_text,
)
from traffic.province_tables import model_province
from traffic.units import BRIGADE, DETACHMENT, SQUADRON, Parent, TreeBroken, Unit, UnitTree, UnknownUnit

PROVINCE = model_province()
ROADS = {road.id: road for road in PROVINCE.roads}
EARLY, NOW = datetime(2020, 6, 1, tzinfo=UTC), datetime(2026, 11, 1, tzinfo=UTC)
TREE = UnitTree(PROVINCE.units, PROVINCE.parents, at=NOW)


@pytest.mark.parametrize(
    ("text", "stake_m"),
    [("K1023+500", 1_023_500), ("k0+007", 7), ("Ｋ12＋000", 12_000), ("K5", 5_000), (" K1 + 250.5", 1_250)],
)
def test_stakes_are_read_in_the_ways_they_are_written(text, stake_m):
    assert parse_stake(text) == stake_m


@pytest.mark.parametrize("text", ["", "K", "K1+5", "K12345+000", "1023-500", "K1+5000", "K٣+000"])
def test_what_is_no_stake_is_refused(text):
    with pytest.raises(StakeUnreadable):
        parse_stake(text)
    with pytest.raises(StakeUnreadable):
        stake_text(-1)


def test_there_are_nine_prefectures_and_sixty_counties_and_each_county_lies_in_its_prefecture():
    assert Counter(division.level for division in PROVINCE.divisions) == {1: 1, 2: 9, 3: 60}
    shapes = {division.adcode: division for division in PROVINCE.divisions}
    for county in (division for division in PROVINCE.divisions if division.level == 3):
        assert county.parent == county.adcode // 100 * 100
        assert shapes[county.parent].level == 2


def test_borders_of_neighbours_are_one_line_so_every_county_vertex_is_shared_or_on_the_province_border():
    def rings(division):
        shape = division.boundary
        polygons = [shape["coordinates"]] if shape["type"] == "Polygon" else shape["coordinates"]
        return [ring for polygon in polygons for ring in polygon]

    segments = Counter(
        frozenset((tuple(a), tuple(b)))
        for division in PROVINCE.divisions
        if division.level == 3
        for ring in rings(division)
        for a, b in zip(ring, ring[1:], strict=False)
    )
    outline = {
        frozenset((tuple(a), tuple(b)))
        for ring in rings(next(division for division in PROVINCE.divisions if division.level == 1))
        for a, b in zip(ring, ring[1:], strict=False)
    }
    assert max(segments.values()) == 2
    assert {segment for segment, uses in segments.items() if uses == 1} == outline


def test_the_tree_has_one_corps_ten_detachments_and_every_squadron_reaches_the_corps():
    assert Counter(unit.level for unit in TREE.units.values())[DETACHMENT] == 10
    assert TREE.subtree(1) == frozenset(TREE.units)
    for unit in TREE.units.values():
        assert len(TREE.ancestors(unit.id)) == unit.level - 1
        assert unit.code.isdigit() and len(unit.code) == 12
    assert len({unit.code for unit in TREE.units.values()}) == len(TREE.units)


def test_gongzhuling_stood_under_siping_until_june_2020_and_under_changchun_since():
    before = UnitTree(PROVINCE.units, PROVINCE.parents, at=EARLY)
    assert before.at_level(18402, DETACHMENT) == 300
    assert TREE.at_level(18402, DETACHMENT) == 100
    assert 18402 in before.subtree(300) and 18402 not in TREE.subtree(300)


def test_an_audience_is_the_owners_and_everyone_above():
    assert TREE.audience_of([18402, 10202]) == {18402, 184, 10202, 102, 100, 1}
    assert TREE.audience_of([]) == frozenset()


def test_a_broken_tree_is_refused():
    def unit(number):
        return Unit(
            id=number,
            code=f"{number:012d}",
            name="",
            name_en="",
            level=1,
            branch="territorial",
            adcode=None,
            valid_from=EARLY,
        )

    def above(child, parent):
        return Parent(unit_id=child, parent_id=parent, valid_from=EARLY)

    units = [unit(1), unit(2)]
    for rows in ([above(1, 2), above(2, 1)], [above(1, 9)], [above(1, 2), above(1, 2)], [above(1, 1)]):
        with pytest.raises(TreeBroken):
            UnitTree(units, rows, at=NOW)
    with pytest.raises(UnknownUnit):
        UnitTree(units, [], at=NOW).subtree(3)


def test_there_are_197_checkpoints_each_on_its_road_at_its_stake_and_owned_by_a_squadron():
    network = Network(PROVINCE.links)
    assert len(PROVINCE.checkpoints) == 197
    for gate in PROVINCE.checkpoints:
        point, bearing = network.point_at(gate.road_id, gate.stake_m)
        assert geo.distance_m(point, (gate.lon, gate.lat)) < 5
        assert bearing == pytest.approx(gate.bearing_deg, abs=0.2)
        assert gate.name == f"{ROADS[gate.road_id].name}{stake_text(gate.stake_m)}卡口"
        assert TREE.units[gate.unit_id].level == SQUADRON
        assert len(gate.code) == 20 and gate.code.isdigit()
        assert gate.unit_id not in gate.corridor
        expected = "expressway" if ROADS[gate.road_id].kind == EXPRESSWAY else "territorial"
        assert TREE.units[gate.unit_id].branch == expected
    assert len({gate.code for gate in PROVINCE.checkpoints}) == 197
    assert any(gate.inter_provincial for gate in PROVINCE.checkpoints)


def test_links_go_both_ways_and_belong_to_a_squadron_or_its_brigade():
    by_id = {link.id: link for link in PROVINCE.links}
    for link in PROVINCE.links:
        back = by_id[link.id + (1 if link.direction == 1 else -1)]
        assert back.geometry == link.geometry[::-1]
        assert (link.to_stake_m > link.from_stake_m) == (link.direction == 1)
        assert TREE.units[link.unit_id].level in (BRIGADE, SQUADRON)
        assert (back.from_node, back.to_node) == (link.to_node, link.from_node)
        assert 1.0 <= link.length_m / geo.line_length_m(link.geometry) < 1.2


def test_sections_join_neighbours_of_one_expressway_both_ways_and_some_are_short():
    gates = {gate.id: gate for gate in PROVINCE.checkpoints}
    pairs = {(section.from_checkpoint, section.to_checkpoint) for section in PROVINCE.sections}
    assert pairs == {(end, start) for start, end in pairs}
    for section in PROVINCE.sections:
        start, end = gates[section.from_checkpoint], gates[section.to_checkpoint]
        assert start.road_id == end.road_id and ROADS[start.road_id].kind == EXPRESSWAY
        assert abs(end.stake_m - start.stake_m) == section.length_m
    assert sum(4_000 <= section.length_m <= 8_000 for section in PROVINCE.sections) >= 12


def test_a_stake_beyond_the_road_or_where_it_runs_with_another_has_no_place():
    network = Network(PROVINCE.links)
    with pytest.raises(NoSuchPlace):
        network.point_at(1, 5_000_000)
    with pytest.raises(NoSuchPlace):
        network.point_at(2, 470_000)  # G12 between 长春东 and 长春北
    with pytest.raises(NoSuchPlace):
        network.place_of((125.0, 43.0), road_id=999)


def test_the_committed_tables_are_what_the_hand_written_ones_make():
    for name, rows in build_tables.tables().items():
        made = [{column: str(value) for column, value in row.items()} for row in rows]
        assert made == build_tables.read(name), name


# ---------------------------------------------------------------- broken chainage (断链)
def broken_road() -> Network:
    """Road 7: K0-K10, then K11-K20 (1 km of numbers is left out), then K19+500-K25 (500 m of numbers come twice)."""

    def link(piece, begin_m, end_m, west):
        return Link(
            id=piece * 10 + 1, road_id=7, direction=1, from_stake_m=begin_m, to_stake_m=end_m, length_m=end_m - begin_m,
            lanes=2, limit_kmh=80, unit_id=1, geometry=((west, 43.0), (west + 0.1, 43.0)), piece=piece,
        )  # fmt: skip

    pieces = ((0, 0, 10_000, 0), (1, 11_000, 20_000, 10_000), (2, 19_500, 25_000, 19_000))
    return Network(
        [link(0, 0, 10_000, 125.0), link(1, 11_000, 20_000, 125.1), link(2, 19_500, 25_000, 125.2)],
        [Chainage(road_id=7, piece=p, from_stake_m=a, to_stake_m=b, from_m=m) for p, a, b, m in pieces],
    )


def test_a_stake_that_a_break_leaves_out_has_no_place_and_the_reason_names_the_jump():
    with pytest.raises(NoSuchPlace, match=r"K10\+500: its stakes jump from K10\+000 to K11\+000"):
        broken_road().point_at(7, 10_500)


def test_a_stake_that_comes_twice_needs_its_side():
    network = broken_road()
    with pytest.raises(StakeAmbiguous, match=r"K19\+700 comes twice"):
        network.point_at(7, 19_700)
    stake_m, side = parse_sided_stake("K19+700（后）")
    behind, _ = network.point_at(7, stake_m, piece=network.piece_of(7, stake_m, side))
    before, _ = network.point_at(7, stake_m, piece=network.piece_of(7, stake_m, "前"))
    assert behind[0] == pytest.approx(125.2 + 0.1 * 200 / 5500, abs=1e-6)
    assert before[0] == pytest.approx(125.1 + 0.1 * 8700 / 9000, abs=1e-6)


def test_a_point_behind_a_break_is_told_with_its_side_and_the_true_distance_crosses_breaks():
    network = broken_road()
    place = network.place_of((125.2 + 0.1 * 200 / 5500, 43.0))
    assert (place.stake_m, place.piece, place.side) == (19_700, 2, "后")
    assert network.place_of((125.05, 43.0)).side == ""
    assert network.along_m(7, 19_700, 2) - network.along_m(7, 9_000) == 1_000 + 9_000 + 200


def test_the_model_roads_with_breaks_lead_from_stake_to_point_and_back():
    network = Network(PROVINCE.links, PROVINCE.chainages)
    broken = {piece.road_id for piece in PROVINCE.chainages if piece.piece > 0}
    assert len(broken) == 2
    for piece in PROVINCE.chainages:
        stake_m = (piece.from_stake_m + piece.to_stake_m) // 2
        if piece.road_id in broken:
            point, _ = network.point_at(piece.road_id, stake_m, piece=piece.piece)
            place = network.place_of(point, road_id=piece.road_id)
            assert (place.stake_m, place.piece) == (pytest.approx(stake_m, abs=2), piece.piece)
