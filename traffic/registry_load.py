"""The registry out of the database: whole, or only the rows that changed since the one before."""

import numpy as np
import psycopg

from traffic.database import queries
from traffic.vehicles.registry import COLUMNS, EMPTY, KINDS, NEVER_US, ROUTE_KINDS, STATES, Registry

SQL = queries("traffic", "registry.sql")
ROWS_AT_ONCE = 50_000


def load_registry(connection: psycopg.Connection, before: Registry | None = None) -> Registry:
    """What the tables say (in the caller's transaction if there is one); `before` is given back where nothing has changed since."""
    known = before or EMPTY
    found = connection.execute(SQL["registry_version"]).fetchone()
    version = int(found[0]) if found else 0
    if before is not None and version == before.version:
        return before
    if version < known.version:  # the tables were made anew
        known = EMPTY
    values = {"kinds": list(KINDS), "states": list(STATES), "route_kinds": list(ROUTE_KINDS), "never": NEVER_US}
    parts = [EMPTY]
    with connection.transaction(), connection.cursor(name="registry") as cursor:
        cursor.execute(SQL["registry_changed"], {**values, "since": known.version if len(known) else -1})
        while rows := cursor.fetchmany(ROWS_AT_ONCE):
            parts.append(_columns(rows))
    columns = {name: np.concatenate([getattr(part, name) for part in parts]) for name in COLUMNS}
    return known.with_changes(Registry.of(version, columns))


def _columns(rows: list[tuple]) -> Registry:
    """Rows of `registry_changed`, whose columns are those of the registry in their order."""
    named = zip(COLUMNS, zip(*rows, strict=True), strict=True)
    return Registry.of(0, {name: np.array(values, getattr(EMPTY, name).dtype) for name, values in named})
