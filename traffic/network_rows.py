"""Roads and links that come from a site's own map, and how they get into the tables.

A link is known by its road's map edge (`source`): a map that is imported again keeps the numbers, because sensors and
histories point to them. What an earlier import brought and this one does not is left and told.
"""

from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import psycopg
from psycopg.types.json import Jsonb

from traffic.errors import TrafficError
from traffic.geo import Point, contains
from traffic.network import EXPRESSWAY

LINKS_MAX = 500_000


class NetworkRefused(TrafficError):
    """Imported rows do not fit what the tables hold; nothing of them was written."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RoadRow:
    """A road as a map names it: `code` is its number (ref) or name, or made where it has neither."""

    code: str
    name: str
    kind: str


@dataclass(frozen=True, slots=True, kw_only=True)
class LinkRow:
    """One direction between two junctions; `source` is the edge's id in the map. See network.Link."""

    source: str
    road: str
    piece: int
    direction: int
    from_stake_m: int
    to_stake_m: int
    length_m: int
    lanes: int
    limit_kmh: int
    unit_id: int
    from_node: int
    to_node: int
    geometry: tuple[Point, ...]
    corridor: tuple[int, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Stored:
    """What an import did to the tables. `gone`: links of earlier imports that this one no longer brings."""

    roads: int
    links: int
    gone: int


def load_owner(connection: psycopg.Connection, default: int | None) -> Callable[[Point, str], int | None]:
    """Who polices a point: the brigade of the county that it lies in, or `default` where there is none."""
    rows = connection.execute(
        "SELECT d.boundary, u.id FROM division d JOIN unit u ON u.adcode = d.adcode AND u.level = 3"
        " WHERE d.level = 3 ORDER BY d.adcode"
    ).fetchall()
    if default is not None and connection.execute("SELECT FROM unit WHERE id = %s", [default]).fetchone() is None:
        raise NetworkRefused(f"there is no unit {default}")

    def owner(point: Point, _kind: str) -> int | None:
        return next((unit for boundary, unit in rows if contains(boundary, point)), default)

    return owner


def with_neighbours(links: Sequence[LinkRow]) -> list[LinkRow]:
    """The links with the owners of the links that they meet."""
    at_node: dict[int, set[int]] = defaultdict(set)
    for link in links:
        at_node[link.from_node].add(link.unit_id)
        at_node[link.to_node].add(link.unit_id)
    return [
        replace(link, corridor=tuple(sorted((at_node[link.from_node] | at_node[link.to_node]) - {link.unit_id})))
        for link in links
    ]


def store_network(connection: psycopg.Connection, roads: Sequence[RoadRow], links: Sequence[LinkRow]) -> Stored:
    """Write imported rows in one transaction of the owner; raises NetworkRefused with what does not fit."""
    if len(links) > LINKS_MAX:
        raise NetworkRefused(f"{len(links)} links are more than the {LINKS_MAX} that one instance holds")
    with connection.transaction():
        connection.execute("LOCK TABLE road, link IN SHARE ROW EXCLUSIVE MODE")
        numbers = _store_roads(connection, roads)
        gone = _gone(connection, numbers, links)
        _store_links(connection, numbers, with_neighbours(links))
        _store_chainage(connection, numbers, links)
        connection.execute("UPDATE version SET value = value + 1 WHERE name = 'network'")
    return Stored(roads=len(roads), links=len(links), gone=gone)


def _store_roads(connection: psycopg.Connection, roads: Sequence[RoadRow]) -> dict[str, int]:
    """Number of each road: kept where an import made it, new where it is new; drawn roads are not overwritten."""
    known = {
        code: (number, approximate)
        for number, code, approximate in connection.execute("SELECT id, code, approximate FROM road")
    }
    if drawn := sorted(road.code for road in roads if road.code in known and known[road.code][1]):
        raise NetworkRefused(
            f"the instance has drawn roads of the same numbers ({', '.join(drawn[:5])}): import a surveyed map into an"
            " instance without the model province (TRAFFIC_DEMO=false)"
        )
    number = max([0, *(kept for kept, _ in known.values())])
    numbers: dict[str, int] = {}
    for road in roads:
        if road.code not in known:
            number += 1
        numbers[road.code] = known[road.code][0] if road.code in known else number
    with connection.cursor() as cursor:
        cursor.executemany(
            "INSERT INTO road (id, code, name, name_en, kind, approximate) VALUES (%s, %s, %s, %s, %s, false)"
            " ON CONFLICT (id) DO UPDATE SET name = excluded.name, name_en = excluded.name_en, kind = excluded.kind",
            [[numbers[road.code], road.code, road.name, _english(road), road.kind] for road in roads],
        )
    return numbers


def _english(road: RoadRow) -> str:
    suffix = "Expressway" if road.kind == EXPRESSWAY else "Road"
    return road.name if road.name.isascii() else f"{road.code} {suffix}"


def _gone(connection: psycopg.Connection, numbers: dict[str, int], links: Sequence[LinkRow]) -> int:
    row = connection.execute(
        "SELECT count(*) FROM link WHERE road_id = ANY (%s) AND source IS NOT NULL AND source <> ALL (%s)",
        [list(numbers.values()), [link.source for link in links]],
    ).fetchone()
    return row[0] if row else 0


def _store_links(connection: psycopg.Connection, numbers: dict[str, int], links: Sequence[LinkRow]) -> None:
    """New links get the next numbers; those of an earlier import keep theirs."""
    row = connection.execute("SELECT coalesce(max(id), 0) FROM link").fetchone()
    first = (row[0] if row else 0) + 1
    with connection.cursor() as cursor:
        cursor.executemany(
            "INSERT INTO link (id, source, road_id, piece, direction, from_stake_m, to_stake_m, length_m, lanes,"
            " limit_kmh, unit_id, from_node, to_node, geometry, corridor)"
            " VALUES (%s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s)"
            " ON CONFLICT (source) DO UPDATE SET road_id = excluded.road_id, piece = excluded.piece,"
            " direction = excluded.direction, from_stake_m = excluded.from_stake_m, to_stake_m = excluded.to_stake_m,"
            " length_m = excluded.length_m, lanes = excluded.lanes, limit_kmh = excluded.limit_kmh,"
            " unit_id = excluded.unit_id, from_node = excluded.from_node, to_node = excluded.to_node,"
            " geometry = excluded.geometry, corridor = excluded.corridor",
            [
                [
                    first + place, link.source, numbers[link.road], link.piece, link.direction, link.from_stake_m,
                    link.to_stake_m, link.length_m, link.lanes, link.limit_kmh, link.unit_id, link.from_node,
                    link.to_node, Jsonb(link.geometry), list(link.corridor),
                ]
                for place, link in enumerate(links)
            ],
        )  # fmt: skip


def _store_chainage(connection: psycopg.Connection, numbers: dict[str, int], links: Sequence[LinkRow]) -> None:
    """Each axis of a road is a piece of its chainage."""
    spans: dict[tuple[str, int], tuple[int, int]] = {}
    for link in links:
        ends = link.from_stake_m, link.to_stake_m
        low, high = spans.get((link.road, link.piece), ends)
        spans[link.road, link.piece] = min(low, *ends), max(high, *ends)
    with connection.cursor() as cursor:
        cursor.executemany(
            "INSERT INTO chainage (road_id, piece, from_stake_m, to_stake_m, from_m) VALUES (%s, %s, %s, %s, %s)"
            " ON CONFLICT (road_id, piece) DO UPDATE SET from_stake_m = excluded.from_stake_m,"
            " to_stake_m = excluded.to_stake_m, from_m = excluded.from_m",
            [[numbers[road], piece, low, high, low] for (road, piece), (low, high) in spans.items()],
        )
