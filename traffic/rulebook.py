"""What the stream's rules rest on, read from the tables in one go and kept until a version changes."""

from collections.abc import Iterator
from dataclasses import dataclass

import psycopg

from traffic.limits import WATCH_LOOKBACK_S
from traffic.network import Link
from traffic.plates import CLASS_UNCERTAIN
from traffic.positions import PlaceIndex
from traffic.store import SQL, us_of, when
from traffic.tracking import KeyVehicle, Tracked
from traffic.vehicles import RuleBook, build_rulebook
from traffic.vehicles.watchlist import WatchEntry


@dataclass(frozen=True, slots=True, kw_only=True)
class Book:
    """The rules and, for each checkpoint, unit and device, who may see what comes of it."""

    versions: dict[str, int]
    rules: RuleBook
    entries: tuple[WatchEntry, ...]
    owner_of_checkpoint: dict[int, int]
    traffic_of_checkpoint: dict[int, frozenset[int]]
    above_unit: dict[int, frozenset[int]]  # a unit and all above it
    unit_of_device: dict[int, int]
    top_unit: int
    tracked: Tracked  # whose positions are shown to whom


def load_book(connection: psycopg.Connection, before: Book | None = None, *, now_us: int) -> Book:
    """Read everything in one snapshot, so that the versions belong to what was read.

    The places of the network, which is large, are taken from the book before where they did not change.
    """
    at = {"at": when(now_us)}
    with connection.transaction():
        connection.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ")
        versions: dict[str, int] = dict(connection.execute(SQL["versions"]).fetchall())
        checkpoints = connection.execute(SQL["checkpoints_with_audience"], at).fetchall()
        above = {unit: frozenset(units) for unit, units in connection.execute(SQL["units_above"], at)}
        sections = connection.execute(SQL["sections"]).fetchall()
        places = before.tracked.places if before and before.versions["network"] == versions["network"] else None
        if places is None:
            places = PlaceIndex(_links(connection))
        crews: dict[int, int] = dict(connection.execute(SQL["crews"]).fetchall())
        vehicles = _key_vehicles(connection)
        devices: dict[int, int] = dict(connection.execute(SQL["device_units"]).fetchall())
        with connection.cursor(row_factory=psycopg.rows.dict_row) as cursor:
            rules = cursor.execute(SQL["rules"], at).fetchall()
            entries = tuple(_entry(row) for row in cursor.execute(SQL["watchlist"], at))
    top = min((unit for unit, units in above.items() if len(units) == 1), default=0)
    return Book(
        versions=versions,
        rules=build_rulebook(
            entries=entries,
            sections=sections,
            rules=rules,
            audience_of_checkpoint={row[0]: frozenset(row[2]) for row in checkpoints},
        ),
        entries=entries,
        owner_of_checkpoint={row[0]: row[1] for row in checkpoints},
        traffic_of_checkpoint={row[0]: frozenset(row[3]) for row in checkpoints},
        above_unit=above,
        unit_of_device=devices,
        top_unit=top,
        tracked=Tracked(places=places, crews=crews, key_vehicles=vehicles, above_unit=above, top_unit=top),
    )


def _links(connection: psycopg.Connection) -> Iterator[Link]:
    with connection.cursor(row_factory=psycopg.rows.dict_row) as cursor:
        for row in cursor.execute(SQL["links"]):
            geometry = tuple((lon, lat) for lon, lat in row.pop("geometry"))
            yield Link(**{**row, "corridor": tuple(row["corridor"])}, geometry=geometry)


def _key_vehicles(connection: psycopg.Connection) -> dict[tuple[int, int], KeyVehicle]:
    """The registry; a device that tells no class is of the plate's first class."""
    found: dict[tuple[int, int], KeyVehicle] = {}
    for key, group, plate, kind, unit in connection.execute(SQL["key_vehicles"]):
        found[key, group] = vehicle = KeyVehicle(plate=plate, class_group=group, kind=kind, unit=unit)
        found.setdefault((key, CLASS_UNCERTAIN), vehicle)
    return found


def _entry(row: dict) -> WatchEntry:
    """A watch-list row; it matches from half an hour before it became valid, whatever the order of arrival."""
    return WatchEntry(
        id=row["id"],
        number=row["number"],
        plate=row["plate"],
        plate_key=row["plate_key"],
        class_group=row["class_group"],
        category=row["category"],
        level=row["level"],
        facts=row["facts"],
        intercept=row["intercept"],
        unit_id=row["unit_id"],
        visibility=row["visibility"],
        audience=frozenset(row["audience"]),
        addressees=frozenset(row["addressees"]),
        valid_from_us=us_of(row["valid_from"]) - WATCH_LOOKBACK_S * 1_000_000,
        valid_to_us=us_of(row["valid_to"]),
        version=row["version"],
        misread=row["misread"],
    )
