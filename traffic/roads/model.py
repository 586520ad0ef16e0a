"""The words of the 30 s picture: the network, its sensors and sections as columns, what comes in, what is said of it.

Rows of links are numbered 0..n-1 in the order of `RoadNetwork.ids`; every other table points to them by row.
Not known is NaN in a column of numbers and 0 in a column of codes or times. Times are microseconds UTC.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from enum import IntEnum, StrEnum
from typing import Any
from uuid import UUID

import numpy as np

from traffic.network import EXPRESSWAY, TRUNK, URBAN, Checkpoint, Detector, Link, Road
from traffic.road_readings import DETECTOR_REPORT, RoadWork, WeatherReport

KINDS = {EXPRESSWAY: 0, TRUNK: 1, URBAN: 2}  # of roads, in column `kind`


class Level(IntEnum):
    """Congestion of a link."""

    UNKNOWN = 0
    FREE = 1  # 畅通
    LIGHT = 2  # 轻度拥堵
    MODERATE = 3  # 中度拥堵
    HEAVY = 4  # 严重拥堵
    BLOCKED = 5  # 阻断


class RiskLevel(IntEnum):
    """Risk of a link in four colours."""

    UNKNOWN = 0
    LOW = 1  # blue
    RAISED = 2  # yellow
    HIGH = 3  # orange
    GRAVE = 4  # red


class Source(IntEnum):
    """Bits of `Picture.sources`: what a link's state rests on."""

    DETECTORS = 1
    CHECKPOINTS = 2
    TRAVEL_TIMES = 4


class SensorKind(IntEnum):
    """Kinds of point sensors."""

    DETECTOR = 1
    CHECKPOINT = 2


class EventKind(StrEnum):
    """What can be wrong on a road."""

    CONGESTION = "congestion"
    INCIDENT = "incident"
    WEATHER = "weather"
    WORKS = "works"
    SENSOR = "sensor"


# ---------------------------------------------------------------- what stands still
@dataclass(frozen=True, slots=True, kw_only=True)
class RoadNetwork:
    """Links as columns, in ascending order of `ids`, and which follows which (rows, as start and list of each row)."""

    ids: np.ndarray  # int64
    road: np.ndarray  # int64
    kind: np.ndarray  # int8, KINDS
    direction: np.ndarray  # int8
    from_stake_m: np.ndarray  # int64, in the direction of travel
    to_stake_m: np.ndarray  # int64
    length_m: np.ndarray  # float64
    lanes: np.ndarray  # int64
    limit_kmh: np.ndarray  # float64
    unit: np.ndarray  # int64
    next_start: np.ndarray  # int64, n + 1: row r is followed by next_rows[next_start[r]:next_start[r + 1]]
    next_rows: np.ndarray  # int64
    prev_start: np.ndarray  # int64, n + 1
    prev_rows: np.ndarray  # int64

    def __len__(self) -> int:
        return len(self.ids)

    def rows_of(self, ids: np.ndarray) -> np.ndarray:
        """Row of each link id; -1 where there is no such link."""
        if not len(self.ids):
            return np.full(len(ids), -1, np.int64)
        at = np.minimum(np.searchsorted(self.ids, ids), len(self.ids) - 1)
        return np.where(self.ids[at] == ids, at, -1)


def build_network(roads: Iterable[Road], links: Iterable[Link]) -> RoadNetwork:
    """Columns of the links; one follows another where its begin is the other's end, except straight back."""
    kinds = {road.id: KINDS[road.kind] for road in roads}
    ordered = sorted(links, key=lambda link: link.id)

    def column(name: str, dtype: type) -> np.ndarray:
        return np.array([getattr(link, name) for link in ordered], dtype)

    from_node, to_node = column("from_node", np.int64), column("to_node", np.int64)
    before, after = _pairs(from_node, to_node)
    next_start, next_rows = _grouped(before, after, len(ordered))
    prev_start, prev_rows = _grouped(after, before, len(ordered))
    return RoadNetwork(
        ids=column("id", np.int64),
        road=column("road_id", np.int64),
        kind=np.array([kinds[link.road_id] for link in ordered], np.int8),
        direction=column("direction", np.int8),
        from_stake_m=column("from_stake_m", np.int64),
        to_stake_m=column("to_stake_m", np.int64),
        length_m=column("length_m", np.float64),
        lanes=column("lanes", np.int64),
        limit_kmh=column("limit_kmh", np.float64),
        unit=column("unit_id", np.int64),
        next_start=next_start,
        next_rows=next_rows,
        prev_start=prev_start,
        prev_rows=prev_rows,
    )


def _pairs(from_node: np.ndarray, to_node: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Rows (before, after) of links that follow each other; the opposite direction of the same stretch does not."""
    order = np.argsort(from_node, kind="stable")
    sorted_nodes = from_node[order]
    left, right = np.searchsorted(sorted_nodes, to_node, "left"), np.searchsorted(sorted_nodes, to_node, "right")
    many = np.where(to_node != 0, right - left, 0)
    before = np.repeat(np.arange(len(to_node)), many)
    within = np.arange(many.sum()) - np.repeat(np.cumsum(many) - many, many)
    after = order[np.repeat(left, many) + within] if len(before) else np.empty(0, np.int64)
    back = to_node[after] == from_node[before]
    return before[~back], after[~back]


def _grouped(key: np.ndarray, value: np.ndarray, size: int) -> tuple[np.ndarray, np.ndarray]:
    order = np.argsort(key, kind="stable")
    start = np.zeros(size + 1, np.int64)
    np.cumsum(np.bincount(key, minlength=size), out=start[1:])
    return start, value[order].astype(np.int64)


@dataclass(frozen=True, slots=True, kw_only=True)
class Sensors:
    """Points that count and measure, a row for each detector and for each direction of a checkpoint.

    In order of (link, share); `share` 0..1 is how far along the link in the direction of travel.
    """

    kind: np.ndarray  # int8, SensorKind
    id: np.ndarray  # int64
    direction: np.ndarray  # int8
    link: np.ndarray  # int64, row
    share: np.ndarray  # float64
    lanes: np.ndarray  # int64

    def __len__(self) -> int:
        return len(self.id)

    def rows_of(self, kind: SensorKind, ids: np.ndarray, directions: np.ndarray | None = None) -> np.ndarray:
        """Row of each sensor (checkpoints need directions); -1 where there is no such one."""
        mine = np.flatnonzero(self.kind == kind)
        keys = self.id[mine] * 4 + (self.direction[mine] if directions is not None else 0)
        wanted = ids.astype(np.int64) * 4 + (directions.astype(np.int64) if directions is not None else 0)
        order = np.argsort(keys, kind="stable")
        if not len(mine):
            return np.full(len(wanted), -1, np.int64)
        at = np.minimum(np.searchsorted(keys[order], wanted), len(mine) - 1)
        return np.where(keys[order][at] == wanted, mine[order[at]], -1)


@dataclass(frozen=True, slots=True, kw_only=True)
class Sections:
    """Measured pairs of checkpoints: a section covers `weight_m` metres of each link in its list."""

    id: np.ndarray  # int64
    length_m: np.ndarray  # float64
    start: np.ndarray  # int64, n + 1
    link: np.ndarray  # int64, rows
    weight_m: np.ndarray  # float64

    def __len__(self) -> int:
        return len(self.id)


# ---------------------------------------------------------------- what comes in
CHECKPOINT_FLOW = np.dtype(
    [
        ("checkpoint", "<i8"),
        ("direction", "<i8"),
        ("minute", "<i8"),  # begin, microseconds
        ("group", "<i8"),  # road_readings.VehicleGroup
        ("passages", "<i8"),
        ("measured", "<i8"),
        ("speed_sum", "<f8"),
        ("readable", "<i8"),  # passages whose plate was read
    ]
)
TRAVEL = np.dtype([("section", "<i8"), ("bucket", "<i8"), ("seconds", "<f8")])  # one row a vehicle


@dataclass(frozen=True, slots=True, kw_only=True)
class Inputs:
    """What one cycle is told. `reports`: new since the last cycle; flows and travel: all of their window, each time."""

    reports: np.ndarray = field(default_factory=lambda: np.empty(0, DETECTOR_REPORT))
    flows: np.ndarray = field(default_factory=lambda: np.empty(0, CHECKPOINT_FLOW))  # of the last 5 minutes
    travel: np.ndarray = field(default_factory=lambda: np.empty(0, TRAVEL))  # of the last TRAVEL_WINDOW_S
    alive_us: Mapping[int, int] = field(default_factory=dict)  # checkpoint -> last sign of life of its sender
    weather: Sequence[WeatherReport] = ()  # in force
    works: Sequence[RoadWork] = ()  # planned within the hour, or active
    usual_kmh: np.ndarray | None = None  # of each link in this quarter of an hour, from history; NaN: not known
    usual_vph: np.ndarray | None = None
    usual_next_vph: np.ndarray | None = None  # the highest usual flow of the coming hour
    above: Mapping[int, tuple[int, ...]] = field(default_factory=dict)  # unit -> itself and all above, for the indices


@dataclass(frozen=True, slots=True, kw_only=True)
class Window:
    """What point sensors said in the last intervals of 30 s; the last column is the newest whole interval.

    Rows as in `Sensors`. Values of lanes are taken together: flow of the carriageway, speed weighted by vehicles.
    """

    ends_us: np.ndarray  # int64 (k): end of each interval
    speed_kmh: np.ndarray  # float64 (sensors, k)
    flow_vph: np.ndarray
    occupancy: np.ndarray  # per cent
    heavy_share: np.ndarray
    trust: np.ndarray  # float64 (sensors): 0 useless .. 1; what sensor health makes of each


# ---------------------------------------------------------------- what is said
@dataclass(slots=True, kw_only=True)
class Picture:
    """State of every link at one cycle. Level 0 goes with NaN in all numbers, and with risk unknown."""

    at_us: int
    observed_us: np.ndarray  # int64: newest data that the state rests on; 0: none
    level: np.ndarray  # int8, Level
    speed_kmh: np.ndarray
    flow_vph: np.ndarray
    density_vkm: np.ndarray  # vehicles per kilometre, all lanes
    travel_s: np.ndarray
    travel_p90_s: np.ndarray  # spread: nine of ten are faster
    heavy_share: np.ndarray
    confidence: np.ndarray  # 0..1
    sources: np.ndarray  # int8, bits of Source


@dataclass(frozen=True, slots=True, kw_only=True)
class RiskPicture:
    """Risk of every link, 0..1. `now_parts` (links, factors): contributions that add up to the score."""

    factors: tuple[str, ...]
    now: np.ndarray
    next_hour: np.ndarray
    now_level: np.ndarray  # int8, RiskLevel
    next_level: np.ndarray
    now_parts: np.ndarray
    next_parts: np.ndarray


@dataclass(frozen=True, slots=True, kw_only=True)
class RoadEvent:
    """Something that is wrong on a road, as it stands in one revision. `id` comes from kind and anchor alone.

    The head is the downstream end, the tail the upstream one; for a point both are equal. `grounds`: what it rests on
    (for screens), JSON values only. `change`: new, updated or ended.
    """

    id: UUID
    kind: EventKind
    change: str
    state: str  # open, ended
    level: int  # 1 gravest .. 4
    revision: int
    link: int | None  # id
    road: int
    direction: int
    head_stake_m: int
    tail_stake_m: int
    unit: int
    started_us: int
    changed_us: int
    ended_us: int | None
    observed_us: int
    confidence: float
    grounds: Mapping[str, Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class HealthChange:
    """A sensor's health became another. `lane`: of a detector; of a checkpoint its direction. `reason` '' when ok."""

    kind: SensorKind
    id: int
    lane: int
    state: str  # ok, suspect, failed, silent
    reason: str
    trust: float
    since_us: int
    detail: Mapping[str, Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class Index:
    """How a road, a unit's area or the province (scope_id 0) stands. `index` 0..10; None: too little is known."""

    scope: str  # province, unit, road
    scope_id: int
    index: float | None
    usual_index: float | None
    speed_kmh: float | None
    congested_km: float
    known_share: float
    vehicle_km_h: float | None
    risk_links: tuple[int, int, int, int]


@dataclass(frozen=True, slots=True, kw_only=True)
class Turn:
    """What one cycle says: the whole picture, and what changed since the last one."""

    picture: Picture
    risk: RiskPicture
    window: Window
    events: Sequence[RoadEvent]
    health: Sequence[HealthChange]
    indices: Sequence[Index]


def place_sensors(network: RoadNetwork, detectors: Sequence[Detector], checkpoints: Sequence[Checkpoint]) -> Sensors:
    """Every detector, and every checkpoint in each direction that has a link at its stake, on its link."""
    rows: list[tuple[int, int, int, int, float, int]] = []
    at = {int(number): row for row, number in enumerate(network.ids.tolist())}
    for detector in detectors:
        row = at.get(detector.link_id)
        if row is not None:
            share = _share(network, row, detector.stake_m)
            rows.append((SensorKind.DETECTOR, detector.id, detector.direction, row, share, detector.lanes))
    low = np.minimum(network.from_stake_m, network.to_stake_m)
    high = np.maximum(network.from_stake_m, network.to_stake_m)
    for gate in checkpoints:
        here = (network.road == gate.road_id) & (low <= gate.stake_m) & (gate.stake_m <= high)
        for direction in (1, 2):
            found = np.flatnonzero(here & (network.direction == direction))
            if len(found):
                row = int(found[0])
                rows.append(
                    (SensorKind.CHECKPOINT, gate.id, direction, row, _share(network, row, gate.stake_m), gate.lanes)
                )
    rows.sort(key=lambda entry: (entry[3], entry[4], entry[0], entry[1]))
    columns = list(zip(*rows, strict=True)) or [()] * 6
    return Sensors(
        kind=np.array(columns[0], np.int8),
        id=np.array(columns[1], np.int64),
        direction=np.array(columns[2], np.int8),
        link=np.array(columns[3], np.int64),
        share=np.array(columns[4], np.float64),
        lanes=np.array(columns[5], np.int64),
    )


def _share(network: RoadNetwork, row: int, stake_m: int) -> float:
    begin, end = int(network.from_stake_m[row]), int(network.to_stake_m[row])
    return min(1.0, max(0.0, (stake_m - begin) / (end - begin))) if end != begin else 0.0
