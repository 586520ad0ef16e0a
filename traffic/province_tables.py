"""The model province as read from traffic/data: units, divisions, roads, links, checkpoints, sections."""

import csv
import json
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from functools import cache
from importlib.resources import files

from traffic.geo import Point
from traffic.network import STAKES_DECREASE, STAKES_INCREASE, Checkpoint, Link, Road, Section
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
class Province:
    """All tables of the model province."""

    divisions: tuple[Division, ...]
    units: tuple[Unit, ...]
    parents: tuple[Parent, ...]
    roads: tuple[Road, ...]
    links: tuple[Link, ...]
    checkpoints: tuple[Checkpoint, ...]
    sections: tuple[Section, ...]


@cache
def model_province() -> Province:
    """Read the tables (about 0.1 s, once a process); a damaged file raises what its parser raises."""
    roads = list(_rows("roads.csv"))
    return Province(
        divisions=tuple(_divisions()),
        units=tuple(_unit(row) for row in _rows("units.csv")),
        parents=tuple(_parent(row) for row in _rows("unit_parents.csv")),
        roads=tuple(_road(row) for row in roads),
        links=tuple(_links({row["id"]: row for row in roads})),
        checkpoints=tuple(_checkpoint(row) for row in _rows("checkpoints.csv")),
        sections=tuple(Section(**{key: int(value) for key, value in row.items()}) for row in _rows("sections.csv")),
    )


def _rows(name: str) -> Iterator[dict[str, str]]:
    text = (files("traffic") / "data" / "jilin" / name).read_text(encoding="utf-8")
    return csv.DictReader(text.splitlines())


def _divisions() -> Iterator[Division]:
    text = (files("traffic") / "data" / "jilin" / "boundaries.json").read_text(encoding="utf-8")
    shapes = json.loads(text)["divisions"]
    for row in _rows("names.csv"):
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
    for row in _rows("links.csv"):
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
