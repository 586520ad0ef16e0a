"""The stored records of a stretch of time, as the bus carries them."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

import msgspec
import numpy as np
import psycopg
from psycopg import sql
from psycopg.rows import dict_row

from traffic.binary_copy import Columns
from traffic.database import queries
from traffic.readings import HAS_EXTRA, PASSAGE
from traffic.road_readings import DETECTOR_REPORT, POSITION, RoadsideItem, RoadWork, WeatherReport
from traffic.store import us_of, when

SQL = queries("dashboards.shadow")
_TIMES = ("observed_at", "received_at")
TABLES = {"passage": PASSAGE, "detector_report": DETECTOR_REPORT, "position": POSITION}
_COLUMNS = {table: Columns(dtype, times=_TIMES) for table, dtype in TABLES.items()}
AHEAD_US = 120_000_000  # event times may lie so far ahead of their arrival


@dataclass(slots=True, kw_only=True)
class Waiting:
    """Records that were read and have not arrived yet, by the order of their arrival."""

    rows: dict[str, np.ndarray] = field(default_factory=lambda: {name: np.empty(0, t) for name, t in TABLES.items()})
    items: list[RoadsideItem] = field(default_factory=list)

    def add(self, table: str, rows: np.ndarray) -> None:
        """Take what was read."""
        joined = np.concatenate([self.rows[table], rows])
        self.rows[table] = joined[np.argsort(joined["received_at"], kind="stable")]

    def due(self, now_us: int) -> tuple[dict[str, np.ndarray], list[RoadsideItem]]:
        """What has arrived by now; it no longer waits."""
        arrived = {}
        for table, rows in self.rows.items():
            count = int(np.searchsorted(rows["received_at"], now_us, "right"))
            arrived[table], self.rows[table] = rows[:count], rows[count:]
        items = [item for item in self.items if item.received_at <= now_us]
        self.items = [item for item in self.items if item.received_at > now_us]
        return arrived, items

    def __len__(self) -> int:
        return sum(len(rows) for rows in self.rows.values()) + len(self.items)


def read_between(source: psycopg.Connection, waiting: Waiting, since_us: int, until_us: int) -> None:
    """Read records with since <= observed_at < until."""
    for table, columns in _COLUMNS.items():
        statement = sql.SQL(
            "COPY (SELECT {names} FROM {table} WHERE observed_at >= {since} AND observed_at < {until})"
            " TO STDOUT (FORMAT BINARY)"
        ).format(
            names=sql.SQL(", ").join(map(sql.Identifier, columns.names)),
            table=sql.Identifier(table),
            since=sql.Literal(when(since_us)),
            until=sql.Literal(when(until_us)),
        )
        rows = columns.copy_out(source, statement)
        if table == "passage":
            rows["flags"] &= ~HAS_EXTRA  # addresses of pictures stay with the source
        waiting.add(table, rows)


def read_roadside(source: psycopg.Connection, since_us: int, until_us: int) -> list[RoadsideItem]:
    """Weather and works that the source was told of in since <= received_at < until, in that order."""
    bounds = {"since": when(since_us), "until": when(until_us)}
    with source.cursor(row_factory=dict_row) as cursor:
        weather = [_item(row, WeatherReport) for row in cursor.execute(SQL["weather"], bounds)]
        works = [_item(row, RoadWork) for row in cursor.execute(SQL["works"], bounds)]
    return sorted([*weather, *works], key=lambda item: item.received_at)


def _item(row: Mapping[str, Any], kind: type) -> Any:
    values = {name: us_of(value) if isinstance(value, datetime) else value for name, value in row.items()}
    return msgspec.convert(values | {"type": kind.__struct_config__.tag}, kind)  # type: ignore[attr-defined]
