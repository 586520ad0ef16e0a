"""Reading roll-ups: series for screens within the viewer's reach, and what is usual at this time of such a day."""

from dataclasses import dataclass

import numpy as np
import psycopg
from msgspec import Struct
from psycopg import sql

from traffic.binary_copy import Columns
from traffic.buckets import WIDTH_US, Width, like_quarters
from traffic.database import queries
from traffic.roads.model import RoadNetwork
from traffic.store import when

SQL = queries("traffic", "rollups.sql")
POINTS_MAX = 3_000  # of one series; a longer one wants wider buckets
USUAL_DAYS = 28
_USUAL = Columns(np.dtype([("link", "<i4"), ("days", "<i8"), ("kmh", "<f8"), ("vph", "<f8")]), times=())


class LinkPoint(Struct, frozen=True, kw_only=True):
    """A link in the bucket that begins at `at` (us): means over the `cycles` of 30 s in which it was known."""

    at: int
    cycles: int
    congested: int  # cycles at level 3 or worse
    speed_kmh: float | None
    speed_min_kmh: float | None
    flow_vph: float | None
    travel_s: float | None
    travel_max_s: float | None
    heavy_share: float | None
    risk: float | None
    risk_max: float | None
    confidence: float | None
    source: int  # 0: measured; 1: history that was brought in


class FlowPoint(Struct, frozen=True, kw_only=True):
    """Passages of a checkpoint or of a unit's checkpoints in one bucket."""

    at: int
    passages: int
    measured: int
    speed_kmh: float | None
    source: int


class IndexPoint(Struct, frozen=True, kw_only=True):
    """Indices of the province, a unit or a road in one bucket: means over cycles."""

    at: int
    cycles: int
    index: float | None
    index_max: float | None
    usual: float | None
    speed_kmh: float | None
    vehicle_km_h: float | None
    congested_km: float | None
    known_share: float | None
    risk_1: float | None
    risk_2: float | None
    risk_3: float | None
    risk_4: float | None
    source: int


Point = LinkPoint | FlowPoint | IndexPoint


@dataclass(frozen=True, slots=True, kw_only=True)
class Wanted:
    """A series that is asked for: buckets that begin in [since, until).

    `kind` link gives LinkPoints; checkpoint and unit give FlowPoints (on demand of one direction, of one VehicleGroup);
    province (id 0), unit-index and road give IndexPoints.
    """

    kind: str
    id: int
    since_us: int
    until_us: int
    width: Width
    direction: int | None = None
    group: int | None = None


_STATEMENTS: dict[str, tuple[str, type[LinkPoint] | type[FlowPoint] | type[IndexPoint]]] = {
    "link": ("link_series", LinkPoint),
    "checkpoint": ("checkpoint_series", FlowPoint),
    "unit": ("unit_series", FlowPoint),
    "province": ("index_series", IndexPoint),
    "unit-index": ("index_series", IndexPoint),
    "road": ("index_series", IndexPoint),
}


async def series(connection: psycopg.AsyncConnection, wanted: Wanted, *, now_us: int) -> list[Point]:
    """The buckets in order; those without data are not there, and the newest may not be whole yet.

    Empty for what the viewer of this transaction may not see. Raises ValueError for an unknown kind, or for more than
    POINTS_MAX buckets.
    """
    if wanted.kind not in _STATEMENTS:
        raise ValueError(f"there are series of {', '.join(_STATEMENTS)}, not of {wanted.kind!r}")
    if (wanted.until_us - wanted.since_us) / WIDTH_US[wanted.width] > POINTS_MAX:
        raise ValueError(f"a series of more than {POINTS_MAX} buckets: ask for wider ones")
    statement, point = _STATEMENTS[wanted.kind]
    found = await connection.execute(
        SQL[statement],
        {
            "id": wanted.id,
            "since": when(wanted.since_us),
            "until": when(wanted.until_us),
            "width": wanted.width.name.lower(),
            "at": when(now_us),
            "direction": wanted.direction,
            "group": wanted.group,
            "scope": wanted.kind.removesuffix("-index"),
        },
    )
    names = point.__struct_fields__
    return [point(**dict(zip(names, row, strict=True))) for row in await found.fetchall()]


def usual(
    connection: psycopg.Connection, network: RoadNetwork, *, at_us: int, days: int = USUAL_DAYS
) -> tuple[np.ndarray, np.ndarray]:
    """Speed (km/h) and flow (vehicles/h) of each link, in the network's order, usual in this quarter of an hour.

    Medians over the same quarter of the days before that are like today (working days, or weekends); NaN: not known.
    """
    buckets = [when(us) for us in like_quarters(at_us, days=days)]
    statement = sql.SQL(SQL["usual"]).format(buckets=sql.Literal(buckets))  # type: ignore[arg-type]
    found = _USUAL.copy_out(connection, statement)
    kmh, vph = np.full(len(network), np.nan), np.full(len(network), np.nan)
    rows = network.rows_of(found["link"].astype(np.int64))
    known = rows >= 0
    kmh[rows[known]], vph[rows[known]] = found["kmh"][known], found["vph"][known]
    return kmh, vph
