"""Positions in the one transaction of a batch: each exactly once, the newest of each subject, and rows of the feed."""

from collections import defaultdict
from dataclasses import dataclass

import numpy as np
import psycopg
from psycopg import sql

from traffic.binary_copy import Columns
from traffic.feed_writer import FeedRow, int_array
from traffic.positions import PlaceIndex, newest, spots
from traffic.road_readings import POSITION, Subject
from traffic.store import SQL

_POSITIONS = Columns(POSITION, times=("observed_at", "received_at"))


@dataclass(frozen=True, slots=True, kw_only=True)
class KeyVehicle:
    """A vehicle of the registry (重点车辆), as its positions are shown."""

    plate: str
    kind: str
    unit: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Tracked:
    """Whose positions are shown to whom: places, units of crews, key vehicles by (plate key, class group)."""

    places: PlaceIndex
    crews: dict[int, int]
    key_vehicles: dict[tuple[int, int], KeyVehicle]
    above_unit: dict[int, frozenset[int]]
    top_unit: int

    def units(self, unit: int) -> frozenset[int]:
        """A unit and all above it."""
        return self.above_unit.get(unit, frozenset({self.top_unit}))


@dataclass(frozen=True, slots=True, kw_only=True)
class _Owner:
    """Whose a position is now, and how screens name its subject: nothing when it is for nobody's eyes."""

    unit: int
    units: frozenset[int]
    feed_kind: str
    names: list[int | str]


def store_positions(connection: psycopg.Connection, tracked: Tracked, rows: np.ndarray, *, slot: int) -> list[FeedRow]:
    """Write POSITION rows and give the feed what became of them; a position that is stored already changes nothing.

    Crews are shown to their unit and all above it, key vehicles to the owner of the place and all above; where any
    other vehicle is, is shown to nobody.
    """
    if not len(rows):
        return []
    staged = _POSITIONS.stage(connection, "position", rows)
    connection.execute(sql.SQL(SQL["positions_add"]).format(staged=sql.Identifier(staged)))  # type: ignore[arg-type]
    last = rows[newest(rows)]
    places = tracked.places.find(last["lon"], last["lat"], last["speed_kmh"], last["bearing_deg"])
    owners = [_owner(tracked, row, place) for row, place in zip(last, places, strict=True)]
    moved = _write_latest(connection, last, places, owners)
    return _feed_rows(last[moved], places[moved], [owners[at] for at in moved.tolist()], slot=slot)


def _owner(tracked: Tracked, row: np.void, place: np.void) -> _Owner:
    subject, group = int(row["subject"]), int(row["class_group"])
    if row["subject_kind"] == Subject.CREW:
        unit = tracked.crews.get(subject, tracked.top_unit)
        return _Owner(unit=unit, units=tracked.units(unit), feed_kind="crews", names=[subject])
    vehicle = tracked.key_vehicles.get((subject, group))
    if vehicle is None:
        unit = int(place["unit"]) or tracked.top_unit
        return _Owner(unit=unit, units=frozenset(), feed_kind="", names=[])
    unit = int(place["unit"]) or vehicle.unit
    return _Owner(
        unit=unit, units=tracked.units(unit), feed_kind="vehicles", names=[vehicle.plate, group, vehicle.kind]
    )


def _write_latest(
    connection: psycopg.Connection, rows: np.ndarray, places: np.ndarray, owners: list[_Owner]
) -> np.ndarray:
    """Where a subject is now, unless the table knows a newer word; the numbers of the rows that count."""
    changed = connection.execute(
        SQL["positions_latest"],
        {
            **{name: rows[name].tolist() for name in POSITION.names if name not in ("device", "door", "flags")},  # type: ignore[union-attr]
            "roads": places["road"].tolist(),
            "stakes": places["stake_m"].tolist(),
            "directions": places["direction"].tolist(),
            "units": [owner.unit for owner in owners],
            "audiences": [int_array(owner.units) for owner in owners],
        },
    ).fetchall()
    key_of = {
        key: number
        for number, key in enumerate(
            zip(*(rows[name].tolist() for name in ("subject_kind", "subject", "class_group")), strict=True)
        )
    }
    return np.array(sorted(key_of[row] for row in changed), np.int64)


def _feed_rows(rows: np.ndarray, places: np.ndarray, owners: list[_Owner], *, slot: int) -> list[FeedRow]:
    """One row for each kind and unit."""
    bodies: dict[tuple[str, int], list] = defaultdict(list)
    units: dict[tuple[str, int], frozenset[int]] = {}
    for owner, spot in zip(owners, spots(rows, places), strict=True):
        if not owner.feed_kind:
            continue
        key = (owner.feed_kind, owner.unit)
        units[key] = owner.units
        # Of vehicles the direction is not shown.
        bodies[key].append([*owner.names, *(spot if owner.feed_kind == "crews" else spot[:-1])])
    return [
        FeedRow(partition=slot, topic="units", kind=kind, key=str(unit), units=units[kind, unit], body={"p": body})
        for (kind, unit), body in bodies.items()
    ]
