"""The registry out of the database: whole, or only the rows that changed since the one before."""

import numpy as np
import psycopg
from psycopg import sql

from traffic.binary_rows import BinaryRows
from traffic.database import queries
from traffic.vehicles.registry import COLUMNS, EMPTY, KINDS, NEVER_US, ROUTE_KINDS, STATES, Registry

SQL = queries("traffic", "registry.sql")
# As the statement sends them: PostgreSQL has no integer of one byte.
_ROW = np.dtype([(name, "<i2" if (kept := getattr(EMPTY, name).dtype) == np.int8 else kept) for name in COLUMNS])


def load_registry(connection: psycopg.Connection, before: Registry | None = None) -> Registry:
    """What the tables say, in the caller's transaction; `before` is given back where nothing has changed since."""
    known = before or EMPTY
    found = connection.execute(SQL["registry_version"]).fetchone()
    version = int(found[0]) if found else 0
    if before is not None and version == before.version:
        return before
    if version < known.version:  # the tables were made anew
        known = EMPTY
    values = {"kinds": list(KINDS), "states": list(STATES), "route_kinds": list(ROUTE_KINDS), "never": NEVER_US}
    statement = sql.SQL(SQL["registry_changed"]).format(
        since=sql.Literal(known.version if len(known) else -1),
        **{name: sql.Literal(value) for name, value in values.items()},
    )
    reader = BinaryRows(_ROW)
    with connection.cursor() as cursor, cursor.copy(statement) as copy:
        for piece in copy:
            reader.add(piece)
    rows = reader.rows()
    columns = {name: rows[name].astype(getattr(EMPTY, name).dtype) for name in COLUMNS}
    return known.with_changes(Registry.of(version, columns))
