"""What a shadow takes from its source before the replay begins: the standing tables, as they are now.

Rules, units and watch entries carry their own terms, so the shadow's clock finds those that were in force then.
"""

import psycopg
from psycopg import sql

from traffic.errors import ServiceError

# In the order of their references. `version` last: what is read with it stands by then.
TABLES = (
    "unit", "unit_parent", "division", "road", "chainage", "link", "checkpoint", "section", "detector",
    "roadside_object", "crew", "company", "key_vehicle", "permit", "driver", "device", "rule",
    "watchlist_entry", "odd_plate", "person",
)  # fmt: skip
# By the time when the source learnt of it; what came before the replay's begin is there from the first moment.
STANDING = (("weather_report", "received_at"), ("road_work", "received_at"))
# What trends and "usual" rest on: buckets that had ended before the begin, so that nothing of what is to come is told.
HISTORY = tuple(
    (f"{what}_{width}", length)
    for what in ("link", "checkpoint", "unit", "index")
    for width, length in (("quarter", "15 minutes"), ("hour", "1 hour"), ("day", "1 day"))
)


def copy_world(source: psycopg.Connection, shadow: psycopg.Connection, *, before: str) -> dict[str, int]:
    """Copy the standing tables and what stood at the begin (`before`, an ISO time); returns rows of each table.

    Raises ServiceError when the source's schema is another version's.
    """
    _require_same_schema(source, shadow)
    copied = {}
    with shadow.transaction():
        for table in TABLES:
            copied[table] = _copy(source, shadow, table, sql.SQL(""))
        for table, column in STANDING:
            condition = sql.SQL(" WHERE {} < {}").format(sql.Identifier(column), sql.Literal(before))
            copied[table] = _copy(source, shadow, table, condition)
        for table, length in HISTORY:
            ended = sql.SQL(" WHERE bucket <= {}::timestamptz - {}::interval")
            copied[table] = _copy(source, shadow, table, ended.format(sql.Literal(before), sql.Literal(length)))
        for name, value in source.execute("SELECT name, value FROM version"):
            shadow.execute("UPDATE version SET value = %s WHERE name = %s", [value, name])
    return copied


def _require_same_schema(source: psycopg.Connection, shadow: psycopg.Connection) -> None:
    def migrations(connection: psycopg.Connection) -> list[str]:
        return [row[0] for row in connection.execute("SELECT name FROM migration ORDER BY name")]

    try:
        theirs, ours = migrations(source), migrations(shadow)
    except psycopg.errors.UndefinedTable as error:
        raise ServiceError("the source is no database of this system: it holds no migrations") from error
    if theirs != ours:
        missing = sorted(set(ours) ^ set(theirs))
        raise ServiceError(
            f"the source is of another version ({', '.join(missing)}): bring its schema up to date first"
        )


def _copy(source: psycopg.Connection, shadow: psycopg.Connection, table: str, condition: sql.Composable) -> int:
    """Every column that is not made by the database itself, straight from one COPY into the other."""
    columns = [
        row[0]
        for row in shadow.execute(
            "SELECT attname FROM pg_attribute WHERE attrelid = %s::regclass AND attnum > 0 AND NOT attisdropped"
            " AND attgenerated = '' AND attidentity <> 'a' ORDER BY attnum",
            [table],
        )
    ]
    names = sql.SQL(", ").join(map(sql.Identifier, columns))
    name = sql.Identifier(table)
    out = sql.SQL("COPY (SELECT {names} FROM {name}{condition}) TO STDOUT (FORMAT BINARY)")
    into = sql.SQL("COPY {name} ({names}) FROM STDIN (FORMAT BINARY)").format(name=name, names=names)
    with source.cursor() as reading, shadow.cursor() as writing:
        with reading.copy(out.format(names=names, name=name, condition=condition)) as rows, writing.copy(into) as copy:
            for data in rows:
                copy.write(data)
        return writing.rowcount
