"""What the 30 s cycle rests on, read from the tables in one go and kept until a version changes."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, fields
from hashlib import blake2b

import numpy as np
import psycopg
import structlog
from psycopg.rows import class_row, dict_row

from traffic.database import queries
from traffic.errors import SettingsError
from traffic.network import STAKES_DECREASE, STAKES_INCREASE, Checkpoint, Detector, Link, Road, Section
from traffic.roads.cycle import DEFAULTS, RoadRules
from traffic.roads.model import RoadNetwork, Sections, SensorKind, Sensors, build_network, place_sensors
from traffic.store import SQL as SHARED
from traffic.store import when

log = structlog.get_logger()
SQL = queries("traffic", "monitor.sql")
WATCHED = ("rule", "network", "device")  # versions that this book rests on


@dataclass(frozen=True, slots=True, kw_only=True)
class Circle:
    """Units that see the state of the same links: their owner, neighbours along the corridor, and all above these."""

    key: str
    units: frozenset[int]


@dataclass(frozen=True, slots=True, kw_only=True)
class RoadBook:
    """Network, sensors, measured sections and rules, and who may see what comes of them."""

    versions: dict[str, int]
    network: RoadNetwork
    sensors: Sensors
    sections: Sections
    rules: RoadRules
    refused: tuple[str, ...]  # sentences: rules in the table that cannot be followed
    circles: tuple[Circle, ...]
    circle_of_link: np.ndarray  # int64, by row
    audience_of_sensor: dict[tuple[int, int], frozenset[int]]  # (SensorKind, id)
    above_unit: dict[int, frozenset[int]]  # a unit and all above it
    unit_of_device: dict[int, int]
    keepalive_of_checkpoint: dict[int, tuple[int, ...]]  # devices whose sign of life counts for it
    top_unit: int

    @property
    def everyone(self) -> frozenset[int]:
        """Every unit: for what is told of the province and its roads."""
        return frozenset(self.above_unit) or frozenset({self.top_unit})

    def audience_of_link(self, row: int) -> frozenset[int]:
        """Who sees the state of a link."""
        return self.circles[int(self.circle_of_link[row])].units

    def audience_of_unit(self, unit: int) -> frozenset[int]:
        """A unit and all above it; of an unknown unit the top one alone."""
        return self.above_unit.get(unit, frozenset({self.top_unit}))

    def is_same_ground(self, other: "RoadBook") -> bool:
        """Whether links and sensors are the same ones, so that what is remembered of them still holds."""
        mine, theirs = _columns(self), _columns(other)
        return all(np.array_equal(a, b) for a, b in zip(mine, theirs, strict=True))

    def is_same_audience(self, other: "RoadBook") -> bool:
        """Whether the same units see each link."""
        return self.circles == other.circles and np.array_equal(self.circle_of_link, other.circle_of_link)


def _columns(book: RoadBook) -> list[np.ndarray]:
    return [getattr(part, entry.name) for part in (book.network, book.sensors) for entry in fields(part)]


def read_versions(connection: psycopg.Connection) -> dict[str, int]:
    """Versions of what this book rests on."""
    found: dict[str, int] = dict(connection.execute(SHARED["versions"]).fetchall())
    return {name: int(found.get(name, 0)) for name in (*WATCHED, "watchlist")}


def load_roadbook(connection: psycopg.Connection, *, now_us: int) -> RoadBook:
    """Read everything in one snapshot, so that the versions belong to what was read."""
    at = {"at": when(now_us)}
    with connection.transaction():
        connection.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ")
        versions = read_versions(connection)
        roads = _rows(connection, "roads", Road)
        links = _links(connection)
        checkpoints = _rows(connection, "checkpoints", Checkpoint)
        detectors = _rows(connection, "detectors", Detector)
        sections = [
            Section(id=row[0], from_checkpoint=row[1], to_checkpoint=row[2], length_m=row[3], limit_kmh=row[4])
            for row in connection.execute(SHARED["sections"])
        ]
        above = {unit: frozenset(units) for unit, units in connection.execute(SHARED["units_above"], at)}
        devices: dict[int, int] = dict(connection.execute(SHARED["device_units"]).fetchall())
        keepalive = connection.execute(SQL["keepalive_units"]).fetchall()
        with connection.cursor(row_factory=dict_row) as cursor:
            of_kind = {row["kind"]: row["parameters"] for row in cursor.execute(SHARED["rules"], at)}
    top = min((unit for unit, units in above.items() if len(units) == 1), default=0)
    network = build_network(roads, links)
    circles, circle_of_link = _circles(links, above, top)
    rules, refused = read_rules(of_kind)
    return RoadBook(
        versions=versions,
        network=network,
        sensors=place_sensors(network, detectors, checkpoints),
        sections=lay_sections(network, sections, checkpoints),
        rules=rules,
        refused=refused,
        circles=circles,
        circle_of_link=circle_of_link,
        audience_of_sensor=_sensor_audiences(detectors, checkpoints, above, top),
        above_unit=above,
        unit_of_device=devices,
        keepalive_of_checkpoint={
            gate.id: tuple(device for device, unit in keepalive if unit in above.get(gate.unit_id, ()))
            for gate in checkpoints
        },
        top_unit=top,
    )


def _rows(connection: psycopg.Connection, name: str, kind: type) -> list:
    cursor: psycopg.Cursor = connection.cursor(row_factory=class_row(kind))
    with cursor:
        return cursor.execute(SQL[name]).fetchall()


def _links(connection: psycopg.Connection) -> list[Link]:
    """Links without their geometry, which only screens need."""
    with connection.cursor(row_factory=dict_row) as cursor:
        return [Link(**row, geometry=()) for row in cursor.execute(SQL["links"]).fetchall()]


def read_rules(of_kind: Mapping[str, Mapping]) -> tuple[RoadRules, tuple[str, ...]]:
    """The six rules; one that cannot be followed keeps its defaults, and the sentence says why.

    A slip in one row must not take the picture from every screen.
    """
    good: dict[str, Mapping] = {}
    refused = []
    for kind in DEFAULTS:
        if kind not in of_kind:
            continue
        try:
            RoadRules.from_parameters({kind: of_kind[kind]})
            good[kind] = of_kind[kind]
        except SettingsError as error:
            log.error("rule refused", kind=kind, why=str(error))
            refused.append(str(error))
    return RoadRules.from_parameters(good), tuple(refused)


def lay_sections(network: RoadNetwork, sections: Sequence[Section], checkpoints: Sequence[Checkpoint]) -> Sections:
    """Measured pairs on the links between their checkpoints; a pair on two roads covers no link."""
    gates = {gate.id: gate for gate in checkpoints}
    low = np.minimum(network.from_stake_m, network.to_stake_m)
    high = np.maximum(network.from_stake_m, network.to_stake_m)
    lists: list[np.ndarray] = []
    weights: list[np.ndarray] = []
    for section in sections:
        begin, end = gates.get(section.from_checkpoint), gates.get(section.to_checkpoint)
        covered = np.zeros(len(network), np.float64)
        if begin is not None and end is not None and begin.road_id == end.road_id and begin.stake_m != end.stake_m:
            direction = STAKES_INCREASE if end.stake_m > begin.stake_m else STAKES_DECREASE
            first, last = sorted((begin.stake_m, end.stake_m))
            on_way = (network.road == begin.road_id) & (network.direction == direction)
            overlap = np.clip(np.minimum(high, last) - np.maximum(low, first), 0, None)
            covered = np.where(on_way, overlap / np.maximum(high - low, 1) * network.length_m, 0.0)
        rows = np.flatnonzero(covered)
        lists.append(rows)
        weights.append(covered[rows])
    start = np.zeros(len(sections) + 1, np.int64)
    np.cumsum([len(rows) for rows in lists], out=start[1:])
    return Sections(
        id=np.array([section.id for section in sections], np.int64),
        length_m=np.array([section.length_m for section in sections], np.float64),
        start=start,
        link=np.concatenate(lists).astype(np.int64) if lists else np.empty(0, np.int64),
        weight_m=np.concatenate(weights) if weights else np.empty(0, np.float64),
    )


def _audience(owner: int, corridor: Iterable[int], above: Mapping[int, frozenset[int]], top: int) -> frozenset[int]:
    seen = frozenset(unit for member in (owner, *corridor) for unit in above.get(member, ()))
    return seen or frozenset({top})


def _circles(
    links: Sequence[Link], above: Mapping[int, frozenset[int]], top: int
) -> tuple[tuple[Circle, ...], np.ndarray]:
    """The circles of units, and which is that of each link (links ascend by id, as in the network)."""
    numbers: dict[frozenset[int], int] = {}
    of_link = np.zeros(len(links), np.int64)
    for row, link in enumerate(links):
        units = _audience(link.unit_id, link.corridor, above, top)
        of_link[row] = numbers.setdefault(units, len(numbers))
    return tuple(Circle(key=_key(units), units=units) for units in numbers), of_link


def _key(units: frozenset[int]) -> str:
    """A name of a circle that stays the same while its members do."""
    return blake2b(",".join(map(str, sorted(units))).encode(), digest_size=6).hexdigest()


def _sensor_audiences(
    detectors: Sequence[Detector], checkpoints: Sequence[Checkpoint], above: Mapping[int, frozenset[int]], top: int
) -> dict[tuple[int, int], frozenset[int]]:
    places: list[tuple[SensorKind, Detector | Checkpoint]] = [(SensorKind.DETECTOR, place) for place in detectors]
    places += [(SensorKind.CHECKPOINT, place) for place in checkpoints]
    return {
        (int(kind), place.id): _audience(place.unit_id, tuple(place.corridor), above, top) for kind, place in places
    }
