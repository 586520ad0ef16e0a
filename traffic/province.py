"""Put the model province into the database: what is missing or differs is written, what agrees is left alone."""

from collections.abc import Iterable, Sequence
from dataclasses import astuple, dataclass, field, fields
from datetime import datetime
from typing import Any

import psycopg
from psycopg import sql
from psycopg.types.json import Jsonb

from traffic.database import connect
from traffic.demonstration import load_demo
from traffic.errors import SettingsError
from traffic.network import RoadsideObject
from traffic.province_tables import Division, Province, model_province
from traffic.roads.cycle import DEFAULTS as ROADS
from traffic.settings import Settings

# What the rules stand on when an instance begins; from then on the table alone counts (each change is a new version).
RULES: tuple[tuple[int, str, str, str, dict[str, Any]], ...] = (
    (1, "watch_hit", "布控车辆比中", "经审批的布控申请（缉查布控）", {"lateness_s": 900}),
    (
        2,
        "section_speed",
        "区间平均速度超过限速",
        "《道路交通安全法》第四十二条；GA/T 959《机动车区间测速技术规范》",
        {"tolerance_percent": 10, "lateness_s": 900, "travel_s_min": 20},
    ),
    (
        101,
        "link_levels",
        "路段交通状态分级",
        "城市快速路拥堵分级（通行做法）；其他道路按自由流速度比例",
        ROADS["link_levels"],
    ),
    (102, "sensor_health", "检测设备健康判定", "检测器自动故障判定（通行做法）", ROADS["sensor_health"]),
    (103, "congestion", "拥堵事件判定", "本系统规则", ROADS["congestion"]),
    (104, "incident_detection", "交通事件自动检测", "本系统规则", ROADS["incident_detection"]),
    (105, "road_risk", "路段安全风险评估", "专家权重，未经事故数据标定", ROADS["road_risk"]),
    (106, "weather_limits", "恶劣天气通行条件", "《道路交通安全法实施条例》第八十一条", ROADS["weather_limits"]),
)
RULES_SINCE = "2024-01-01T00:00:00+08:00"


@dataclass(frozen=True, slots=True, kw_only=True)
class Report:
    """How many rows of each table were written."""

    written: dict[str, int] = field(default_factory=dict)

    def __str__(self) -> str:
        changed = ", ".join(f"{table} {count}" for table, count in self.written.items() if count)
        return changed or "nothing to change"


def load(connection: psycopg.Connection, now: datetime, province: Province | None = None) -> Report:
    """Bring units, divisions, network and rules to what the model says, in one transaction of the owner.

    Rows that the model does not hold stay (others may point to them). `version` grows where something was written.
    """
    model = province or model_province()
    with connection.transaction():
        written = {
            "unit": _upsert(connection, "unit", ("id",), model.units),
            "unit_parent": _parents(connection, model),
            "division": _upsert(connection, "division", ("adcode",), model.divisions),
            "road": _upsert(connection, "road", ("id",), model.roads),
            "link": _upsert(connection, "link", ("id",), model.links),
            "checkpoint": _upsert(connection, "checkpoint", ("id",), model.checkpoints),
            "section": _upsert(connection, "section", ("id",), model.sections),
            "chainage": _upsert(connection, "chainage", ("road_id", "piece"), model.chainages),
            "detector": _upsert(connection, "detector", ("id",), model.detectors),
            "roadside_object": _objects(connection, model.objects, now),
            "crew": _upsert(connection, "crew", ("id",), model.crews),
            "key_vehicle": _upsert(connection, "key_vehicle", ("plate_key", "class_group"), model.key_vehicles),
            "rule": _rules(connection, now),
        }
        touched = {"rule": written["rule"], "network": sum(written.values()) - written["rule"]}
        for name in (name for name, count in touched.items() if count):
            connection.execute("UPDATE version SET value = value + 1 WHERE name = %s", [name])
    return Report(written=written)


def load_instance(settings: Settings) -> Report:
    """Load everything that a migrated instance begins with; repeatable."""
    if not settings.database_url:
        raise SettingsError("TRAFFIC_DATABASE_URL is needed to load the province")
    now = settings.clock.now()
    with connect(settings.database_url, None) as connection:
        report = load(connection, now)
        demo = load_demo(settings, connection, now) if settings.demo else {}
    return Report(written=report.written | demo)


def _upsert(connection: psycopg.Connection, table: str, keys: Sequence[str], rows: Sequence[Any]) -> int:
    """Insert rows (dataclasses named like the table's columns) or update those that differ; returns how many."""
    if not rows:
        return 0
    columns = [entry.name for entry in fields(rows[0])]
    statement = sql.SQL(
        "INSERT INTO {table} AS t ({columns}) VALUES ({values}) ON CONFLICT ({keys}) DO UPDATE SET {changes}"
        " WHERE ({old}) IS DISTINCT FROM ({new})"
    ).format(
        table=sql.Identifier(table),
        columns=_names(columns),
        values=sql.SQL(", ").join([sql.Placeholder()] * len(columns)),
        keys=_names(keys),
        changes=sql.SQL(", ").join(
            sql.SQL("{} = excluded.{}").format(sql.Identifier(name), sql.Identifier(name)) for name in columns
        ),
        old=_names(columns, "t"),
        new=_names(columns, "excluded"),
    )
    with connection.cursor() as cursor:
        cursor.executemany(statement, [_values(row) for row in rows])
        return cursor.rowcount


def _names(columns: Iterable[str], table: str | None = None) -> sql.Composed:
    return sql.SQL(", ").join(sql.Identifier(*((table, name) if table else (name,))) for name in columns)


def _values(row: Any) -> list[Any]:
    if isinstance(row, Division):  # its boundary is a mapping, which astuple would copy for nothing
        return [row.adcode, row.parent, row.name, row.name_en, row.level, Jsonb(row.boundary)]
    values: list[Any] = []
    for entry, value in zip(fields(row), astuple(row), strict=True):
        if entry.name in ("geometry", "facts"):
            value = Jsonb(value)
        elif isinstance(value, tuple):
            value = list(value)
        values.append(value)
    return values


def _parents(connection: psycopg.Connection, model: Province) -> int:
    """A changed history takes the place of the old one for the model's units."""
    return _upsert(connection, "unit_parent", ("unit_id", "valid_from"), model.parents)


def _objects(connection: psycopg.Connection, objects: Iterable[RoadsideObject], now: datetime) -> int:
    """What setup wrote is brought to what the model says; what people or camera lists have changed stays as it is."""
    columns = [entry.name for entry in fields(RoadsideObject)]
    statement = sql.SQL(
        "INSERT INTO roadside_object AS t ({columns}, changed_at, changed_by) VALUES ({values}, %s, 'setup')"
        " ON CONFLICT (id) DO UPDATE SET {changes}, changed_at = excluded.changed_at"
        " WHERE t.changed_by = 'setup' AND ({old}) IS DISTINCT FROM ({new})"
    ).format(
        columns=_names(columns),
        values=sql.SQL(", ").join([sql.Placeholder()] * len(columns)),
        changes=sql.SQL(", ").join(
            sql.SQL("{} = excluded.{}").format(sql.Identifier(name), sql.Identifier(name)) for name in columns
        ),
        old=_names(columns, "t"),
        new=_names(columns, "excluded"),
    )
    with connection.cursor() as cursor:
        cursor.executemany(statement, [[*_values(row), now] for row in objects])
        written = cursor.rowcount
    # Numbers given to objects that come later begin behind the model's.
    connection.execute(
        "SELECT setval(pg_get_serial_sequence('roadside_object', 'id'), greatest(max(id), 1)) FROM roadside_object"
    )
    return max(0, written)


def _rules(connection: psycopg.Connection, now: datetime) -> int:
    """First versions only: a rule that people have changed since stays as they left it."""
    written = 0
    for number, kind, name, clause, parameters in RULES:
        written += connection.execute(
            "INSERT INTO rule (id, version, kind, name, clause, parameters, valid_from, changed_at, changed_by)"
            " SELECT %s, 1, %s, %s, %s, %s, %s, %s, 'setup' WHERE NOT EXISTS (SELECT FROM rule WHERE id = %s)",
            [number, kind, name, clause, Jsonb(parameters), RULES_SINCE, now, number],
        ).rowcount
    return written
