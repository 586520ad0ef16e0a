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
from traffic.province_registry import load_registry_tables
from traffic.province_rules import RULES as RULES
from traffic.province_rules import RULES_SINCE, holidays
from traffic.province_tables import Division, Province, model_province
from traffic.settings import Settings


@dataclass(frozen=True, slots=True, kw_only=True)
class Report:
    """How many rows of each table were written."""

    written: dict[str, int] = field(default_factory=dict)

    def __str__(self) -> str:
        changed = ", ".join(f"{table} {count}" for table, count in self.written.items() if count)
        return changed or "nothing to change"


def load(connection: psycopg.Connection, now: datetime, province: Province | None = None) -> Report:
    """Bring units, divisions, network, rules and registry to what the model says, in one transaction of the owner.

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
            "rule": _rules(connection, now),
            "holiday": _holidays(connection),
        }
        touched = {"rule": written["rule"], "calendar": written["holiday"]}
        touched["network"] = sum(written.values()) - sum(touched.values())
        for name in (name for name, count in touched.items() if count):
            connection.execute("UPDATE version SET value = value + 1 WHERE name = %s", [name])
        registry = load_registry(connection, now) if province is None else {}
    return Report(written=written | registry)


def load_instance(settings: Settings) -> Report:
    """Load everything that a migrated instance begins with; repeatable."""
    if not settings.database_url:
        raise SettingsError("TRAFFIC_DATABASE_URL is needed to load the province")
    now = settings.clock.now()
    with connect(settings.database_url, None) as connection:
        report = load(connection, now)
        demo = load_demo(settings, connection, now) if settings.demo else {}
    return Report(written=report.written | demo)


def load_registry(connection: psycopg.Connection, now: datetime) -> dict[str, int]:
    """Load the model's key vehicles with their companies, permits and drivers; rows written of each kind."""
    with connection.transaction():
        connection.execute("SET LOCAL ROLE traffic_writer")  # the registry stands under row-level security
        written = load_registry_tables(connection, now)
        connection.execute("RESET ROLE")
    return written


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
    for row in RULES:
        written += connection.execute(
            "INSERT INTO rule (id, version, kind, name, clause, parameters, scope, schedule, exemptions, lateness_s,"
            " level, state, note, valid_from, changed_at, changed_by)"
            " SELECT %s, 1, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s, 'setup'"
            " WHERE NOT EXISTS (SELECT FROM rule WHERE id = %s)",
            [
                row.id, row.kind, row.name, row.clause, Jsonb(row.parameters), Jsonb(row.scope), Jsonb(row.schedule),
                Jsonb(row.exemptions), row.lateness_s, row.level, row.state, row.note, RULES_SINCE, now, row.id,
            ],
        ).rowcount  # fmt: skip
    return written


def _holidays(connection: psycopg.Connection) -> int:
    """The days of years of which the table knows nothing yet: what people wrote or took out stays so."""
    years = {row[0] for row in connection.execute("SELECT DISTINCT extract(year FROM day)::int FROM holiday")}
    days = [row for row in holidays() if row[0].year not in years]
    with connection.cursor() as cursor:
        cursor.executemany("INSERT INTO holiday (day, kind, name) VALUES (%s, %s, %s)", days)
    return len(days)
