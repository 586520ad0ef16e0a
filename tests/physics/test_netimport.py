"""A site's own map becomes rows: a real motorway and a town out of SUMO's examples, and an extract drawn by hand."""

import gzip
from collections import Counter
from pathlib import Path

import psycopg
import pytest
import sumo

from dashboards import map_import
from sim.netimport import MapRows, MapUnreadable, read_map
from sim.stakes import Unusable
from tests.world import EAST_SQUADRON, WEST_SQUADRON
from traffic import geo, network_rows
from traffic.errors import SettingsError
from traffic.network import Link, Network
from traffic.network_rows import LinkRow, NetworkRefused, RoadRow
from traffic.roads.model import build_network

EXAMPLES = Path(sumo.SUMO_HOME) / "tools" / "game"
MOTORWAY, TOWN = EXAMPLES / "A10KW" / "osm.net.xml", EXAMPLES / "DRT" / "osm.net.xml"
EXTRACT = Path(__file__).parent.parent / "captures" / "extract.osm"


def read(path: Path, **kwargs: object) -> MapRows:
    return read_map(path, owner=lambda _point, _kind: 7, **kwargs)  # type: ignore[arg-type]


@pytest.fixture(scope="module")
def motorway() -> MapRows:
    return read(MOTORWAY)


@pytest.fixture(scope="module")
def town() -> MapRows:
    return read(TOWN)


@pytest.fixture(scope="module")
def extract() -> MapRows:
    return read(EXTRACT)


def as_links(rows: MapRows) -> list[Link]:
    roads = {road.code: number for number, road in enumerate(rows.roads, start=1)}
    return [
        Link(
            id=number, road_id=roads[row.road], direction=row.direction, from_stake_m=row.from_stake_m,
            to_stake_m=row.to_stake_m, length_m=row.length_m, lanes=row.lanes, limit_kmh=row.limit_kmh,
            unit_id=row.unit_id, geometry=row.geometry, piece=row.piece, from_node=row.from_node, to_node=row.to_node,
        )
        for number, row in enumerate(rows.links, start=1)
    ]  # fmt: skip


@pytest.mark.parametrize("which", ["motorway", "town", "extract"])
def test_every_edge_of_a_map_is_used_or_listed_with_its_reason(which, request):
    import sumolib

    rows: MapRows = request.getfixturevalue(which)
    assert len({link.source for link in rows.links}) == len(rows.links) > 10
    assert all(entry.reason in Unusable and entry.detail for entry in rows.left)
    if which != "extract":
        path = MOTORWAY if which == "motorway" else TOWN
        edges = {edge.getID() for edge in sumolib.net.readNet(str(path)).getEdges(withInternal=False)}
        told = {link.source.partition(":")[2] for link in rows.links} | {entry.source for entry in rows.left}
        assert told == edges and len(rows.links) + len(rows.left) == len(edges)


@pytest.mark.parametrize("which", ["motorway", "town", "extract"])
def test_rows_hold_what_the_tables_ask_of_links(which, request):
    rows: MapRows = request.getfixturevalue(which)
    codes = {road.code for road in rows.roads}
    for link in rows.links:
        assert link.road in codes and link.unit_id == 7
        assert (link.to_stake_m > link.from_stake_m) == (link.direction == 1) and link.to_stake_m != link.from_stake_m
        assert link.length_m > 0 and 1 <= link.lanes <= 12 and 5 <= link.limit_kmh <= 300
        assert link.from_node > 0 and link.to_node > 0 and len(link.geometry) >= 2
        drawn_m = geo.line_length_m(link.geometry)
        assert abs(drawn_m - link.length_m) < 40 + 0.2 * link.length_m, link.source


def test_both_carriageways_of_a_motorway_count_along_one_axis(extract):
    g1 = [link for link in extract.links if link.road == "G1"]
    assert Counter(link.direction for link in g1) == {1: 2, 2: 2} and {link.piece for link in g1} == {0}
    for direction in (1, 2):
        own = sorted(
            (min(s.from_stake_m, s.to_stake_m), max(s.from_stake_m, s.to_stake_m))
            for s in g1
            if s.direction == direction
        )
        assert own[0][0] <= 25 and abs(own[0][1] - own[1][0]) <= 5
    east = next(link for link in g1 if link.direction == 1)
    assert east.geometry[-1][0] > east.geometry[0][0]


def test_numbers_names_and_kinds_come_from_the_map(extract):
    assert {(road.code, road.name, road.kind) for road in extract.roads if not road.code.startswith("~")} == {
        ("G1", "京哈高速公路", "expressway"),
        ("G102", "京抚线", "trunk"),
        ("缺点路", "缺点路", "urban"),  # one of its points is missing: drawn without it
    }
    assert all(link.lanes == 3 and link.limit_kmh == 120 for link in extract.links if link.road == "G1")


def test_a_residential_street_is_left_out_unless_asked_for(extract):
    assert extract.counts().get("minor_road", 0) >= 2
    assert "幸福街" in {road.code for road in read(EXTRACT, minor=True).roads}


def test_links_follow_each_other_where_the_map_says_so(motorway):
    links = as_links(motorway)
    from traffic.network import Road

    roads = [
        Road(id=number, code=row.code, name=row.name, name_en=row.name, kind=row.kind, approximate=False)
        for number, row in enumerate(motorway.roads, start=1)
    ]
    network = build_network(roads, links)
    followed = sum(network.next_start[row + 1] > network.next_start[row] for row in range(len(network)))
    assert followed > 0.7 * len(network)


def test_a_stake_of_an_imported_road_leads_to_its_point_and_back(town):
    links = as_links(town)
    network = Network(links)
    asked = 0
    for link in links:
        if link.direction == 1 and link.length_m > 60:
            stake_m = (link.from_stake_m + link.to_stake_m) // 2
            point, _ = network.point_at(link.road_id, stake_m, 1, link.piece)
            place = network.place_of(point, road_id=link.road_id)
            assert place.away_m < 1.0
            asked += 1
    assert asked > 50


def test_the_same_map_gives_the_same_rows(extract):
    again = read(EXTRACT)
    assert again.links == extract.links and again.roads == extract.roads and again.left == extract.left


def test_an_extract_may_be_packed(tmp_path, extract):
    packed = tmp_path / "extract.osm.gz"
    packed.write_bytes(gzip.compress(EXTRACT.read_bytes()))
    assert read(packed).links == extract.links


@pytest.mark.parametrize(
    ("name", "content", "sentence"),
    [
        ("a.osm", b"", "cannot be read"),
        ("a.osm", b"<osm", "cannot be read"),
        ("a.osm", b'<!DOCTYPE o [<!ENTITY a SYSTEM "file:///etc/passwd">]><osm>&a;</osm>', "cannot be read"),
        ("a.net.xml", b"\x00\x01nonsense", "no SUMO network"),
        ("a.net.xml", b"<net></net>", "no SUMO network"),
        ("a.pbf", b"OSMHeader", "osmium"),
        ("a.txt", b"roads", "neither a SUMO network nor"),
    ],
)  # fmt: skip
def test_what_is_no_map_is_refused_with_one_sentence(tmp_path, name, content, sentence):
    path = tmp_path / name
    path.write_bytes(content)
    with pytest.raises(MapUnreadable, match=sentence):
        read(path)


def test_a_network_that_says_not_where_it_lies_needs_an_origin():
    grid = EXAMPLES / "grid6" / "grid6.net.xml"
    with pytest.raises(MapUnreadable, match="--origin"):
        read(grid)
    points = [point for link in read(grid, origin=(125.0, 43.0)).links for point in link.geometry]
    assert all(124.99 < lon < 125.02 and 42.99 < lat < 43.02 for lon, lat in points)
    with pytest.raises(SettingsError, match="longitude first"):
        map_import.read_origin("43.8,125.3")
    with pytest.raises(SettingsError, match="LON,LAT"):
        map_import.read_origin("somewhere")


# ---------------------------------------------------------------- into the tables
def test_a_map_comes_into_the_tables_and_keeps_its_numbers_when_it_comes_again(world, owner, database_url, tmp_path):
    told: list[str] = []
    wish = map_import.Wish(file=EXTRACT, unit=WEST_SQUADRON, name="site")
    owner.execute("UPDATE road SET approximate = false, code = 'G1' WHERE id = 1")
    before = owner.execute("SELECT value FROM version WHERE name = 'network'").fetchone()
    map_import.run(database_url, wish, report=tmp_path / "left.csv", tell=told.append)
    first = owner.execute("SELECT source, id, road_id FROM link WHERE source IS NOT NULL ORDER BY id").fetchall()
    assert first and all(source.startswith("site:") for source, _, _ in first)
    assert owner.execute("SELECT value FROM version WHERE name = 'network'").fetchone() > before
    assert any("not used, minor_road" in line for line in told)
    assert "minor_road" in (tmp_path / "left.csv").read_text(encoding="utf-8-sig")
    map_import.run(database_url, wish, report=None, tell=told.append)
    again = owner.execute("SELECT source, id, road_id FROM link WHERE source IS NOT NULL ORDER BY id").fetchall()
    assert again == first
    assert owner.execute("SELECT count(*) FROM link WHERE source IS NULL").fetchone() == (8,)


def test_only_asked_what_would_be_nothing_is_written(world, owner, database_url):
    told: list[str] = []
    wish = map_import.Wish(file=EXTRACT, unit=WEST_SQUADRON, write=False)
    map_import.run(database_url, wish, report=None, tell=told.append)
    assert owner.execute("SELECT count(*) FROM link WHERE source IS NOT NULL").fetchone() == (0,)
    assert told[-1] == "nothing was written (--dry-run)"


def test_edges_in_no_units_area_are_listed_where_no_unit_is_named(world, database_url):
    told: list[str] = []
    rows = map_import.run(database_url, map_import.Wish(file=EXTRACT), report=None, tell=told.append)
    assert not rows.links and rows.counts()["no_owner"] > 5
    assert told[-1].startswith("nothing was written")


def test_a_surveyed_map_does_not_overwrite_drawn_roads_and_nothing_of_it_is_written(world, owner, database_url):
    owner.execute("UPDATE road SET approximate = true WHERE id = 1")
    with pytest.raises(NetworkRefused, match="G1"):
        map_import.run(
            database_url, map_import.Wish(file=EXTRACT, unit=WEST_SQUADRON), report=None, tell=lambda _line: None
        )
    assert owner.execute("SELECT count(*) FROM link WHERE source IS NOT NULL").fetchone() == (0,)


def test_an_unknown_unit_is_named(world, database_url):
    with pytest.raises(NetworkRefused, match="no unit 4711"):
        map_import.run(database_url, map_import.Wish(file=EXTRACT, unit=4711), report=None, tell=lambda _line: None)


def test_neighbours_of_a_link_see_its_state_and_a_later_map_says_what_is_gone(world, owner, database_url):
    def row(source: str, unit: int, nodes: tuple[int, int]) -> LinkRow:
        return LinkRow(
            source=source, road="G9", piece=0, direction=1, from_stake_m=0, to_stake_m=100, length_m=100, lanes=1,
            limit_kmh=60, unit_id=unit, from_node=nodes[0], to_node=nodes[1], geometry=((125.0, 43.0), (125.1, 43.0)),
        )  # fmt: skip

    road = RoadRow(code="G9", name="九", kind="trunk")
    with psycopg.connect(database_url) as connection:
        both = [row("m:a", WEST_SQUADRON, (1, 2)), row("m:b", EAST_SQUADRON, (2, 3))]
        assert network_rows.store_network(connection, [road], both).gone == 0
        assert network_rows.store_network(connection, [road], both[:1]).gone == 1
    found = dict(owner.execute("SELECT source, corridor FROM link WHERE source IS NOT NULL").fetchall())
    assert found == {"m:a": [], "m:b": [WEST_SQUADRON]}
