"""Roll-ups by 1 minute, 15 minutes, 1 hour and 1 day: of links, checkpoints, units, classes and indices.

Who learns the finest level writes it: the worker `checkpoint_minute`, the monitor `add_links` and `add_indices` in the
transaction of each cycle. Whoever writes marks the buckets that changed; `settle` computes them anew from the next
finer level. So a bucket is the sum of its parts whatever came in which order, and late data changes it like any other.
History (`write_history`) comes as quarters of an hour; what is coarser follows from these. Screens read by functions of
the database (schema/003_rollups.sql), which know what the viewer may see; `trends.usual` tells what is usual now.
"""

from collections.abc import Iterable, Sequence
from datetime import timedelta
from enum import IntEnum

import numpy as np
import psycopg
from psycopg import sql

from traffic.binary_copy import Columns
from traffic.buckets import WIDTH_US, Width, begin_us, begins_us, due_us
from traffic.database import queries
from traffic.roads.model import Index, Level, Picture, RiskPicture, RoadNetwork
from traffic.store import when

SQL = queries("traffic", "rollups.sql")
LOCK = 6_201_401
SCOPES = {"province": 0, "unit": 1, "road": 2}  # of indices
BUCKETS_MAX = 200  # computed anew in one transaction

# One row a link and bucket; columns as those of table `link_quarter`. None known: 0, and NaN in speed_min.
LINK_ROLLUP = np.dtype(
    [
        ("bucket", "<i8"),  # begin, microseconds
        ("link", "<i4"),
        ("cycles", "<i4"),  # of 30 s, in which the state was known: 30 in a quarter of an hour
        *((f"level_{level}", "<i4") for level in range(1, 6)),  # of them at each level
        ("speeds", "<i4"),  # of them with a speed, and their sum and least (km/h)
        ("speed_sum", "<f8"),
        ("speed_min", "<f4"),
        ("flows", "<i4"),
        ("flow_sum", "<f8"),  # vehicles/h
        ("travels", "<i4"),
        ("travel_sum", "<f8"),  # s
        ("travel_max", "<f4"),
        ("heavies", "<i4"),
        ("heavy_sum", "<f8"),  # shares
        ("risks", "<i4"),
        ("risk_sum", "<f8"),
        ("risk_max", "<f4"),
        ("confidence_sum", "<f8"),
        ("source", "<i2"),  # write_history sets it
    ]
)
CHECKPOINT_ROLLUP = np.dtype(
    [
        ("bucket", "<i8"),
        ("checkpoint", "<i4"),
        ("direction", "<i2"),
        ("class", "<i2"),  # VehicleGroup
        ("passages", "<i8"),
        ("measured", "<i8"),  # of them with a speed
        ("speed_sum", "<f8"),
        ("source", "<i2"),
    ]
)
INDEX_ROLLUP = np.dtype(
    [
        ("bucket", "<i8"),
        ("scope", "<i2"),  # SCOPES
        ("scope_id", "<i4"),  # 0 for the province
        ("cycles", "<i4"),
        ("indexes", "<i4"),  # cycles with an index, and so on; sums over these
        ("index_sum", "<f8"),
        ("index_max", "<f4"),
        ("usuals", "<i4"),
        ("usual_sum", "<f8"),
        ("speeds", "<i4"),
        ("speed_sum", "<f8"),
        ("loads", "<i4"),
        ("load_sum", "<f8"),  # vehicle-kilometres/h
        ("congested_km_sum", "<f8"),  # over all cycles, as what follows
        ("known_share_sum", "<f8"),
        *((f"risk_{level}_sum", "<i8") for level in range(1, 5)),
        ("source", "<i2"),
    ]
)


class Subject(IntEnum):
    """What a roll-up is of; units go with the checkpoints."""

    LINKS = 1
    CHECKPOINTS = 2
    INDICES = 3


_COLUMNS = {
    Subject.LINKS: Columns(LINK_ROLLUP, times=("bucket",)),
    Subject.CHECKPOINTS: Columns(CHECKPOINT_ROLLUP, times=("bucket",)),
    Subject.INDICES: Columns(INDEX_ROLLUP, times=("bucket",)),
}
_TABLES = {Subject.LINKS: "link", Subject.CHECKPOINTS: "checkpoint", Subject.INDICES: "index"}
_ANEW = {Subject.LINKS: "links_anew", Subject.CHECKPOINTS: "checkpoints_anew", Subject.INDICES: "indices_anew"}


# ---------------------------------------------------------------- the monitor's cycles
def add_links(
    connection: psycopg.Connection, network: RoadNetwork, picture: Picture, risk: RiskPicture | None, *, at_us: int
) -> None:
    """Add one cycle to the minute of every link whose state is known, inside the caller's transaction."""
    rows = link_rows(network, picture, risk, at_us=at_us)
    _add(connection, Subject.LINKS, rows, "links_minute", at_us=at_us)


def add_indices(connection: psycopg.Connection, indices: Sequence[Index], *, at_us: int) -> None:
    """Add one cycle's indices to their minute, inside the caller's transaction."""
    _add(connection, Subject.INDICES, index_rows(indices, at_us=at_us), "indices_minute", at_us=at_us)


def link_rows(network: RoadNetwork, picture: Picture, risk: RiskPicture | None, *, at_us: int) -> np.ndarray:
    """One cycle of the links that are known, as LINK_ROLLUP."""
    known = np.flatnonzero(picture.level != Level.UNKNOWN)
    rows = np.zeros(len(known), LINK_ROLLUP)
    rows["bucket"], rows["link"], rows["cycles"] = begin_us(at_us, Width.MINUTE), network.ids[known], 1
    for level in range(1, 6):
        rows[f"level_{level}"] = picture.level[known] == level
    _put(rows, picture.speed_kmh[known], "speeds", "speed_sum")
    rows["speed_min"] = picture.speed_kmh[known]
    _put(rows, picture.flow_vph[known], "flows", "flow_sum")
    _put(rows, picture.travel_s[known], "travels", "travel_sum", "travel_max")
    _put(rows, picture.heavy_share[known], "heavies", "heavy_sum")
    if risk is not None:
        _put(rows, risk.now[known], "risks", "risk_sum", "risk_max")
    rows["confidence_sum"] = np.nan_to_num(picture.confidence[known])
    return rows


def index_rows(indices: Sequence[Index], *, at_us: int) -> np.ndarray:
    """One cycle of indices as INDEX_ROLLUP."""
    rows = np.zeros(len(indices), INDEX_ROLLUP)
    rows["bucket"], rows["cycles"] = begin_us(at_us, Width.MINUTE), 1
    rows["scope"] = [SCOPES[index.scope] for index in indices]
    rows["scope_id"] = [index.scope_id for index in indices]

    def column(values: Iterable[float | None]) -> np.ndarray:
        return np.array([np.nan if value is None else value for value in values], np.float64)

    _put(rows, column(index.index for index in indices), "indexes", "index_sum", "index_max")
    _put(rows, column(index.usual_index for index in indices), "usuals", "usual_sum")
    _put(rows, column(index.speed_kmh for index in indices), "speeds", "speed_sum")
    _put(rows, column(index.vehicle_km_h for index in indices), "loads", "load_sum")
    rows["congested_km_sum"] = [index.congested_km for index in indices]
    rows["known_share_sum"] = [index.known_share for index in indices]
    for level in range(4):
        rows[f"risk_{level + 1}_sum"] = [index.risk_links[level] for index in indices]
    return rows


def _put(rows: np.ndarray, values: np.ndarray, count: str, total: str, most: str | None = None) -> None:
    told = np.isfinite(values)
    rows[count], rows[total] = told, np.where(told, values, 0.0)
    if most:
        rows[most] = rows[total]


def _add(connection: psycopg.Connection, subject: Subject, rows: np.ndarray, statement: str, *, at_us: int) -> None:
    if not len(rows):
        return
    staged = _COLUMNS[subject].stage(connection, f"{_TABLES[subject]}_minute", rows)
    connection.execute(sql.SQL(SQL[statement]).format(staged=sql.Identifier(staged)))  # type: ignore[arg-type]
    connection.execute(sql.SQL("DELETE FROM {}").format(sql.Identifier(staged)))  # a second call in the transaction
    mark(connection, subject, Width.QUARTER, [begin_us(at_us, Width.QUARTER)], now_us=at_us)


def mark(connection: psycopg.Connection, subject: Subject, width: Width, buckets: list[int], *, now_us: int) -> None:
    """Say that the parts of these buckets changed, in the transaction that changes them."""
    connection.execute(
        SQL["mark"],
        {
            "subject": int(subject),
            "width": int(width),
            "buckets": buckets,
            "dues": [due_us(bucket, width, now_us=now_us) for bucket in buckets],
        },
    )


# ---------------------------------------------------------------- from fine to coarse
def settle(connection: psycopg.Connection, *, now_us: int, limit: int = BUCKETS_MAX) -> int:
    """Compute marked buckets anew, the oldest first and at most `limit`, in one transaction; how many.

    Any number of processes may call it; while one computes, the others find nothing to do.
    """
    done = 0
    with connection.transaction():
        row = connection.execute(SQL["alone"], {"lock": LOCK}).fetchone()
        if not row or not row[0]:
            return 0
        kept: dict[str, int | None] = dict(connection.execute(SQL["kept_days"]).fetchall())
        for width in (Width.QUARTER, Width.HOUR, Width.DAY):
            wanted = {"width": int(width), "now": when(now_us), "limit": limit - done}
            for number, bucket in connection.execute(SQL["take"], wanted).fetchall():
                subject = Subject(number)
                days = kept.get(f"{_TABLES[subject]}_minute")
                is_whole = width is not Width.QUARTER or days is None or now_us - bucket < days * 86_400_000_000
                if is_whole and _compute(connection, subject, width, bucket) and width is not Width.DAY:
                    coarser = Width(width + 1)
                    mark(connection, subject, coarser, [begin_us(bucket, coarser)], now_us=now_us)
                done += 1
    return done


def _compute(connection: psycopg.Connection, subject: Subject, width: Width, bucket_us: int) -> bool:
    """One bucket from its parts; False where it is history, which has none."""
    stretch = _stretch(width, bucket_us, bucket_us)
    if width is Width.QUARTER:
        row = connection.execute(_named("is_history", _table(subject, width)), stretch).fetchone()
        if row and row[0]:
            return False
    _compute_stretch(connection, subject, width, stretch)
    return True


def _stretch(width: Width, first_us: int, last_us: int) -> dict[str, object]:
    """From the first to the last bucket, as parameters."""
    step = timedelta(microseconds=WIDTH_US[width])
    return {"width": step, "since": when(first_us), "until": when(last_us) + step}


def _table(subject: Subject, width: Width) -> str:
    return f"{_TABLES[subject]}_{width.name.lower()}"


def _compute_stretch(connection: psycopg.Connection, subject: Subject, width: Width, stretch: dict) -> None:
    """All buckets of a stretch from their parts."""
    coarse, fine = _table(subject, width), _table(subject, Width(width - 1))
    anew = "checkpoints_from_minutes" if fine == "checkpoint_minute" else _ANEW[subject]
    connection.execute(_named("clear", coarse), stretch)
    connection.execute(_named(anew, coarse, fine), stretch)
    if subject is Subject.CHECKPOINTS:
        _compute_units(connection, width, stretch)


def _compute_units(connection: psycopg.Connection, width: Width, stretch: dict) -> None:
    coarse, fine = f"unit_{width.name.lower()}", f"unit_{Width(width - 1).name.lower()}"
    connection.execute(_named("clear", coarse), stretch)
    if width is Width.QUARTER:
        connection.execute(SQL["units_from_checkpoints"], stretch)
    else:
        connection.execute(_named("units_anew", coarse, fine), stretch)


def _named(statement: str, coarse: str, fine: str = "") -> sql.Composed:
    return sql.SQL(SQL[statement]).format(coarse=sql.Identifier(coarse), fine=sql.Identifier(fine or coarse))  # type: ignore[arg-type]


# ---------------------------------------------------------------- history
def write_history(
    connection: psycopg.Connection,
    *,
    links: np.ndarray | None = None,
    checkpoints: np.ndarray | None = None,
    indices: np.ndarray | None = None,
    source: int = 1,
) -> None:
    """Bring in quarters of an hour of the past, as rows of LINK_ROLLUP, CHECKPOINT_ROLLUP and INDEX_ROLLUP.

    They take the place of what these quarters held, and hours, days and units follow from them, in one transaction. A
    call holds whole quarters: all links, checkpoints or indices of each one. Quarters that history gave are not
    computed anew from what comes late. Any number of calls (a day or a week at a time); the rows need no order, but
    what lies between the first and the last of a call is computed too.
    """
    given = {Subject.LINKS: links, Subject.CHECKPOINTS: checkpoints, Subject.INDICES: indices}
    with connection.transaction():
        connection.execute(SQL["wait_alone"], {"lock": LOCK})
        for subject, rows in given.items():
            if rows is not None and len(rows):
                _put_history(connection, subject, rows, source)


def _put_history(connection: psycopg.Connection, subject: Subject, rows: np.ndarray, source: int) -> None:
    rows = rows.copy()
    rows["source"] = source
    quarters = begins_us(rows["bucket"], Width.QUARTER)
    if not np.isin(rows["bucket"], quarters).all():
        raise ValueError("a row of history begins in the middle of a quarter of an hour")
    table = _table(subject, Width.QUARTER)
    connection.execute(_named("history_clear", table), {"buckets": [when(us) for us in quarters.tolist()]})
    _COLUMNS[subject].copy_in(connection, table, rows)
    first_us, last_us = int(quarters[0]), int(quarters[-1])
    if subject is Subject.CHECKPOINTS:
        _compute_units(connection, Width.QUARTER, _stretch(Width.QUARTER, first_us, last_us))
    for width in (Width.HOUR, Width.DAY):
        stretch = _stretch(width, begin_us(first_us, width), begin_us(last_us, width))
        _compute_stretch(connection, subject, width, stretch)
