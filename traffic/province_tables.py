"""The model province as read from traffic/data: units, divisions, the network, its sensors and objects, who drives."""

import csv
import json
from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from functools import cache
from importlib.resources import files

from traffic.geo import Point
from traffic.network import (
    STAKES_DECREASE,
    STAKES_INCREASE,
    Chainage,
    Checkpoint,
    Detector,
    Link,
    Road,
    RoadsideObject,
    Section,
    node_of,
)
from traffic.plates import class_group, plate_key
from traffic.units import FOR_EVER, Parent, Unit


@dataclass(frozen=True, slots=True, kw_only=True)
class Division:
    """A province, prefecture or county (level 1, 2, 3) with its GeoJSON boundary, WGS-84."""

    adcode: int
    parent: int | None
    name: str
    name_en: str
    level: int
    boundary: dict


@dataclass(frozen=True, slots=True, kw_only=True)
class Crew:
    """A mobile crew (警组) of a squadron, and its vehicle."""

    id: int
    code: str
    name: str
    name_en: str
    unit_id: int
    plate: str


@dataclass(frozen=True, slots=True, kw_only=True)
class KeyVehicle:
    """A vehicle of the classes that are watched on the road (重点车辆), as it looks; `unit_id`: where it is registered.

    `drives`: the twin lets it drive; the others stand in the registry alone.
    """

    plate_key: int
    class_group: int
    plate: str
    plate_class: int
    plate_color: int
    vehicle_class: str
    body_color: int
    kind: str
    company: str
    unit_id: int
    drives: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Province:
    """All tables of the model province."""

    divisions: tuple[Division, ...]
    units: tuple[Unit, ...]
    parents: tuple[Parent, ...]
    roads: tuple[Road, ...]
    links: tuple[Link, ...]
    checkpoints: tuple[Checkpoint, ...]
    sections: tuple[Section, ...]
    chainages: tuple[Chainage, ...] = ()
    detectors: tuple[Detector, ...] = ()
    objects: tuple[RoadsideObject, ...] = ()
    crews: tuple[Crew, ...] = ()
    key_vehicles: tuple[KeyVehicle, ...] = ()


@cache
def model_province() -> Province:
    """Read the tables (about 0.1 s, once a process); a damaged file raises what its parser raises."""
    roads = list(rows_of("roads.csv"))
    checkpoints = tuple(_checkpoint(row) for row in rows_of("checkpoints.csv"))
    detectors = tuple(_detector(row) for row in rows_of("detectors.csv"))
    links = with_corridors(tuple(_links({row["id"]: row for row in roads})), checkpoints, detectors)
    corridors = {link.id: (link.unit_id, *link.corridor) for link in links}
    return Province(
        divisions=tuple(_divisions()),
        units=tuple(_unit(row) for row in rows_of("units.csv")),
        parents=tuple(_parent(row) for row in rows_of("unit_parents.csv")),
        roads=tuple(_road(row) for row in roads),
        links=links,
        checkpoints=checkpoints,
        sections=tuple(Section(**{key: int(value) for key, value in row.items()}) for row in rows_of("sections.csv")),
        chainages=tuple(Chainage(**{key: int(value) for key, value in row.items()}) for row in rows_of("chainage.csv")),
        detectors=tuple(
            replace(detector, corridor=tuple(sorted({*corridors[detector.link_id]} - {detector.unit_id})))
            for detector in detectors
        ),
        objects=tuple(_object(row) for row in rows_of("objects.csv")),
        crews=tuple(_crew(row) for row in rows_of("crews.csv")),
        key_vehicles=tuple(_key_vehicle(row) for row in rows_of("key_vehicles.csv")),
    )


def rows_of(name: str) -> Iterator[dict[str, str]]:
    """The rows of one of the model's tables, as texts."""
    text = (files("traffic") / "data" / "jilin" / name).read_text(encoding="utf-8")
    return csv.DictReader(text.splitlines())


def _divisions() -> Iterator[Division]:
    text = (files("traffic") / "data" / "jilin" / "boundaries.json").read_text(encoding="utf-8")
    shapes = json.loads(text)["divisions"]
    for row in rows_of("names.csv"):
        yield Division(
            adcode=int(row["adcode"]),
            parent=int(row["parent"]) if row["parent"] else None,
            name=row["name"],
            name_en=row["name_en"],
            level=int(row["level"]),
            boundary=shapes[row["adcode"]],
        )


def _unit(row: dict[str, str]) -> Unit:
    return Unit(
        id=int(row["id"]),
        code=row["code"],
        name=row["name"],
        name_en=row["name_en"],
        level=int(row["level"]),
        branch=row["branch"],
        adcode=int(row["adcode"]) if row["adcode"] else None,
        valid_from=datetime.fromisoformat(row["valid_from"]),
        valid_to=_end(row["valid_to"]),
    )


def _parent(row: dict[str, str]) -> Parent:
    return Parent(
        unit_id=int(row["unit_id"]),
        parent_id=int(row["parent_id"]),
        valid_from=datetime.fromisoformat(row["valid_from"]),
        valid_to=_end(row["valid_to"]),
    )


def _end(text: str) -> datetime:
    return datetime.fromisoformat(text) if text else FOR_EVER


def _road(row: dict[str, str]) -> Road:
    """All roads of the model are drawn from a table of places."""
    return Road(
        id=int(row["id"]),
        code=row["code"],
        name=row["name"],
        name_en=row["name_en"],
        kind=row["kind"],
        approximate=True,
    )


def _links(roads: dict[str, dict[str, str]]) -> Iterator[Link]:
    """Both directions of each stretch. Link id: road, number of the stretch, direction (G1's second, upwards: 1011)."""
    for row in rows_of("links.csv"):
        road, number = roads[row["road_id"]], int(row["number"])
        line = tuple(_point(text) for text in row["geometry"].split())
        stakes = int(row["from_stake_m"]), int(row["to_stake_m"])
        for direction in (STAKES_INCREASE, STAKES_DECREASE):
            up = direction == STAKES_INCREASE
            yield Link(
                id=int(row["road_id"]) * 1000 + number * 10 + direction,
                road_id=int(row["road_id"]),
                direction=direction,
                from_stake_m=stakes[0] if up else stakes[1],
                to_stake_m=stakes[1] if up else stakes[0],
                length_m=stakes[1] - stakes[0],
                lanes=int(road["lanes"]),
                limit_kmh=int(road["limit_kmh"]),
                unit_id=int(row["unit_id"]),
                geometry=line if up else line[::-1],
                piece=int(row["piece"]),
                from_node=node_of(line[0 if up else -1]),
                to_node=node_of(line[-1 if up else 0]),
            )


def with_corridors(
    links: Sequence[Link], checkpoints: Iterable[Checkpoint], detectors: Iterable[Detector]
) -> tuple[Link, ...]:
    """The links with who else sees their state: whose sensors stand on them, and the owners of the next links."""
    on_road: dict[int, list[Link]] = defaultdict(list)
    at_node: dict[int, set[int]] = defaultdict(set)
    near: dict[int, set[int]] = defaultdict(set)
    for link in links:
        on_road[link.road_id].append(link)
        for node in {link.from_node, link.to_node} - {0}:
            at_node[node].add(link.unit_id)
    for gate in checkpoints:
        for link in on_road[gate.road_id]:
            low, high = sorted((link.from_stake_m, link.to_stake_m))
            if low <= gate.stake_m <= high:
                near[link.id].add(gate.unit_id)
    for detector in detectors:
        near[detector.link_id].add(detector.unit_id)
    return tuple(
        replace(
            link,
            corridor=tuple(sorted((near[link.id] | at_node[link.from_node] | at_node[link.to_node]) - {link.unit_id})),
        )
        for link in links
    )


def _point(text: str) -> Point:
    lon, lat = text.split(",")
    return float(lon), float(lat)


def _checkpoint(row: dict[str, str]) -> Checkpoint:
    return Checkpoint(
        id=int(row["id"]),
        code=row["code"],
        name=row["name"],
        name_en=row["name_en"],
        road_id=int(row["road_id"]),
        stake_m=int(row["stake_m"]),
        bearing_deg=float(row["bearing_deg"]),
        lanes=int(row["lanes"]),
        limit_kmh=int(row["limit_kmh"]),
        lon=float(row["lon"]),
        lat=float(row["lat"]),
        unit_id=int(row["unit_id"]),
        corridor=tuple(int(number) for number in row["corridor"].split()),
        inter_provincial=row["inter_provincial"] == "1",
    )


def _detector(row: dict[str, str]) -> Detector:
    return Detector(
        id=int(row["id"]),
        code=row["code"],
        name=row["name"],
        name_en=row["name_en"],
        kind=row["kind"],
        road_id=int(row["road_id"]),
        stake_m=int(row["stake_m"]),
        direction=int(row["direction"]),
        link_id=int(row["link_id"]),
        lanes=int(row["lanes"]),
        lon=float(row["lon"]),
        lat=float(row["lat"]),
        unit_id=int(row["unit_id"]),
    )


def _object(row: dict[str, str]) -> RoadsideObject:
    return RoadsideObject(
        id=int(row["id"]),
        kind=row["kind"],
        code=row["code"],
        name=row["name"],
        name_en=row["name_en"],
        road_id=int(row["road_id"]),
        stake_m=int(row["stake_m"]),
        direction=int(row["direction"]),
        lon=float(row["lon"]),
        lat=float(row["lat"]),
        unit_id=int(row["unit_id"]),
        facts=json.loads(row["facts"]),
    )


def _crew(row: dict[str, str]) -> Crew:
    return Crew(
        id=int(row["id"]),
        code=row["code"],
        name=row["name"],
        name_en=row["name_en"],
        unit_id=int(row["unit_id"]),
        plate=row["plate"],
    )


def _key_vehicle(row: dict[str, str]) -> KeyVehicle:
    return KeyVehicle(
        plate_key=plate_key(row["plate"]),
        class_group=class_group(int(row["plate_class"])),
        plate=row["plate"],
        plate_class=int(row["plate_class"]),
        plate_color=int(row["plate_color"]),
        vehicle_class=row["vehicle_class"],
        body_color=int(row["body_color"]),
        kind=row["kind"],
        company=row["company"],
        unit_id=int(row["unit_id"]),
        drives=row["drives"] == "1",
    )
