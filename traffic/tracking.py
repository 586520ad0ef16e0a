"""Positions in the one transaction of a batch: each exactly once, the newest of each subject, and rows of the feed."""

from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import psycopg
from psycopg import sql

from traffic.binary_copy import Columns
from traffic.feed_writer import FeedRow, int_array
from traffic.plates import CLASS_UNCERTAIN, plate_text
from traffic.positions import PlaceIndex, newest, spots
from traffic.road_readings import POSITION, Subject
from traffic.store import SQL
from traffic.vehicles.registry import KINDS, Registry

_POSITIONS = Columns(POSITION, times=("observed_at", "received_at"))


@dataclass(frozen=True, slots=True, kw_only=True)
class Tracked:
    """Whose positions are shown to whom: places, units of crews, the registry of key vehicles (重点车辆)."""

    places: PlaceIndex
    crews: Mapping[int, int]
    registry: Registry
    above_unit: Mapping[int, frozenset[int]]
    top_unit: int

    def units(self, unit: int) -> frozenset[int]:
        """A unit and all above it."""
        return self.above_unit.get(unit, frozenset({self.top_unit}))


@dataclass(frozen=True, slots=True, kw_only=True)
class _Owner:
    """Whose a position is now, and how screens name its subject: nothing when it is for nobody's eyes."""

    unit: int
    units: frozenset[int]
    feed_kind: str = ""
    names: tuple[int | str, ...] = ()


def store_positions(connection: psycopg.Connection, tracked: Tracked, rows: np.ndarray, *, slot: int) -> list[FeedRow]:
    """Write POSITION rows and give the feed what became of them; a position that is stored already changes nothing.

    Crews are shown to their unit and all above it, key vehicles to the owner of the place and all above; where any
    other vehicle is, is shown to nobody.
    """
    if not len(rows):
        return []
    staged = _POSITIONS.stage(connection, "position", rows)
    connection.execute(sql.SQL(SQL["positions_add"]).format(staged=sql.Identifier(staged)))  # type: ignore[arg-type]
    rows, registered = _as_registered(tracked, rows)
    which = newest(rows)
    last = rows[which]
    places = tracked.places.find(last["lon"], last["lat"], last["speed_kmh"], last["bearing_deg"])
    owners = _owners(tracked, last, registered[which], places["unit"].tolist())
    moved = _write_latest(connection, last, places, owners)
    return _feed_rows(last[moved], places[moved], [owners[at] for at in moved.tolist()], slot=slot)


def _as_registered(tracked: Tracked, rows: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """(rows, row in the registry or -1): a key vehicle is one subject, whether or not its device tells the class."""
    found = np.full(len(rows), -1, np.int64)
    vehicles = np.flatnonzero(rows["subject_kind"] == Subject.VEHICLE)
    found[vehicles] = tracked.registry.find((rows["subject"][vehicles] << 3) | rows["class_group"][vehicles])
    uncertain = (found >= 0) & (rows["class_group"] == CLASS_UNCERTAIN)
    if uncertain.any():
        rows = rows.copy()
        rows["class_group"][uncertain] = tracked.registry.keys[found[uncertain]] & 7
    return rows, found


def _subjects(rows: np.ndarray) -> tuple[list[int], list[int], list[int]]:
    return rows["subject_kind"].tolist(), rows["subject"].tolist(), rows["class_group"].tolist()


def _owners(tracked: Tracked, rows: np.ndarray, registered: np.ndarray, units: list[int]) -> list[_Owner]:
    return [
        _owner(tracked, (kind, subject, group), row, unit)
        for kind, subject, group, row, unit in zip(*_subjects(rows), registered.tolist(), units, strict=True)
    ]


def _owner(tracked: Tracked, subject: tuple[int, int, int], row: int, unit: int) -> _Owner:
    """Whose it is, at a place of `unit` (0: off the roads), and who sees it: nobody but for crews and key vehicles."""
    kind, key, group = subject
    if kind == Subject.CREW:
        own = tracked.crews.get(key, tracked.top_unit)
        return _Owner(unit=own, units=tracked.units(own), feed_kind="crews", names=(key,))
    text = plate_text(key) if row >= 0 else None
    if text is None:
        return _Owner(unit=unit or tracked.top_unit, units=frozenset())
    here = unit or int(tracked.registry.unit[row])
    names = (text, group, KINDS[tracked.registry.kind[row]])
    return _Owner(unit=here, units=tracked.units(here), feed_kind="vehicles", names=names)


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
    key_of = {key: number for number, key in enumerate(zip(*_subjects(rows), strict=True))}
    return np.array(sorted(key_of[row] for row in changed), np.int64)


def _feed_rows(rows: np.ndarray, places: np.ndarray, owners: list[_Owner], *, slot: int) -> list[FeedRow]:
    """One row for each kind and unit."""
    bodies: dict[tuple[str, int], list] = defaultdict(list)
    units: dict[tuple[str, int], frozenset[int]] = {}
    shown = [number for number, owner in enumerate(owners) if owner.feed_kind]
    for number, spot in zip(shown, spots(rows[shown], places[shown]), strict=True):
        owner = owners[number]
        key = (owner.feed_kind, owner.unit)
        units[key] = owner.units
        # Of vehicles the direction is not shown.
        bodies[key].append([*owner.names, *(spot if owner.feed_kind == "crews" else spot[:-1])])
    return [
        FeedRow(partition=slot, topic="units", kind=kind, key=str(unit), units=units[kind, unit], body={"p": body})
        for (kind, unit), body in bodies.items()
    ]
