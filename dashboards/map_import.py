"""`traffic network import`: a map file read, its rows written, and what could not be used told."""

import csv
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from sim.netimport import MapRows, read_map
from traffic import network_rows
from traffic.database import connect
from traffic.errors import SettingsError
from traffic.geo import Point

COMPLAINTS_TOLD = 20


@dataclass(frozen=True, slots=True, kw_only=True)
class Wish:
    """What is to be imported, and how."""

    file: Path
    unit: int | None = None
    origin: Point | None = None
    name: str = ""
    minor: bool = False
    write: bool = True


def read_origin(text: str | None) -> Point | None:
    """LON,LAT; raises SettingsError."""
    if text is None:
        return None
    try:
        lon, lat = (float(part) for part in text.split(","))
    except ValueError as error:
        raise SettingsError(f"--origin {text}: write it as LON,LAT in degrees, for example 125.32,43.88") from error
    if not (-180 <= lon <= 180 and -85 <= lat <= 85):
        raise SettingsError(f"--origin {text}: this is no place on earth (longitude first, then latitude)")
    return lon, lat


def run(url: str, wish: Wish, *, report: Path | None, tell: Callable[[str], None]) -> MapRows:
    """Read the map, write its rows unless only asked what would be; every edge left out goes to the report file."""
    with connect(url, None) as connection:
        owner = network_rows.load_owner(connection, wish.unit)
        rows = read_map(wish.file, owner=owner, name=wish.name, minor=wish.minor, origin=wish.origin)
        tell(f"{wish.file.name}: {len(rows.roads)} roads, {len(rows.links)} links, {_kilometres(rows):.1f} km")
        for reason, count in sorted(rows.counts().items()):
            tell(f"  not used, {reason}: {count}")
        for complaint in rows.complaints[:COMPLAINTS_TOLD]:
            tell(f"  netconvert: {complaint}")
        if report is not None:
            _write_report(report, rows)
            tell(f"  each of them is in {report}")
        if not wish.write:
            tell("nothing was written (--dry-run)")
        elif not rows.links:
            tell("nothing was written: the map holds nothing that can be used")
        else:
            stored = network_rows.store_network(connection, rows.roads, rows.links)
            tell(f"written: {stored.roads} roads, {stored.links} links")
            if stored.gone:
                tell(f"  {stored.gone} links of an earlier import are not in this map; they stay: data points to them")
    return rows


def _kilometres(rows: MapRows) -> float:
    return sum(link.length_m for link in rows.links) / 1000


def _write_report(path: Path, rows: MapRows) -> None:
    with path.open("w", encoding="utf-8-sig", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["edge", "reason", "detail"])
        writer.writerows([entry.source, entry.reason.value, entry.detail] for entry in rows.left)
