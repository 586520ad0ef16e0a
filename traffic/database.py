"""The database: connections under a role, migrations, and the commented SQL files."""

import re
from importlib.resources import files
from pathlib import Path
from urllib.parse import quote

import psycopg
from psycopg.conninfo import conninfo_to_dict, make_conninfo

from traffic.errors import ServiceError

WRITER, API, HUB = "traffic_writer", "traffic_api", "traffic_hub"
MIGRATION_LOCK = 6_201_400


def as_role(url: str, role: str | None) -> str:
    """The connection string that starts as `role`; `RESET ROLE` leads back to it. None: the owner."""
    parts = conninfo_to_dict(url)
    options = f"{parts.pop('options', '') or ''} -c timezone=UTC".strip()
    if role:
        options += f" -c role={role}"
    return make_conninfo("", **{**parts, "options": options})


def connect(url: str, role: str | None, **kwargs: object) -> psycopg.Connection:
    """A connection as `role`; raises ServiceError with one sentence when the database cannot be reached."""
    try:
        return psycopg.connect(as_role(url, role), **kwargs)  # type: ignore[arg-type]
    except psycopg.OperationalError as error:
        raise ServiceError(f"PostgreSQL cannot be reached: {str(error).strip().splitlines()[0]}") from error


def socket_url(folder: Path, port: int, database: str, user: str) -> str:
    """URL of a database behind a Unix socket."""
    return f"postgresql://{quote(user)}@/{database}?host={quote(str(folder))}&port={port}"


def migrate(url: str, *, partitions: int) -> list[str]:
    """Apply the numbered migrations that are still missing; returns their names. Safe to call from many processes."""
    applied: list[str] = []
    with connect(url, None) as connection:
        connection.execute("SELECT pg_advisory_xact_lock(%s)", [MIGRATION_LOCK])
        connection.execute(
            "CREATE TABLE IF NOT EXISTS migration"
            " (name text PRIMARY KEY, applied_at timestamptz NOT NULL DEFAULT now())"
        )
        known = {row[0] for row in connection.execute("SELECT name FROM migration")}
        for script in sorted((files("traffic") / "schema").iterdir(), key=lambda entry: entry.name):
            if script.name.endswith(".sql") and script.name not in known:
                connection.execute(script.read_text(encoding="utf-8"))  # type: ignore[arg-type]
                connection.execute("INSERT INTO migration (name) VALUES (%s)", [script.name])
                applied.append(script.name)
        _open_instance(connection, partitions)
    return applied


def _open_instance(connection: psycopg.Connection, partitions: int) -> None:
    connection.execute("INSERT INTO instance (partitions) VALUES (%s) ON CONFLICT DO NOTHING", [partitions])
    stored = connection.execute("SELECT partitions FROM instance").fetchone()
    if stored and stored[0] != partitions:
        raise ServiceError(
            f"TRAFFIC_PARTITIONS is {partitions}, but this database was made with {stored[0]}:"
            " the number is fixed at first start"
        )
    connection.execute(
        "INSERT INTO partition (id) SELECT generate_series(0, %s - 1) ON CONFLICT DO NOTHING", [partitions]
    )


def queries(package: str, name: str = "queries.sql") -> dict[str, str]:
    """The statements of a commented SQL file: each begins with a line `-- name: <name>`."""
    text = (files(package) / name).read_text(encoding="utf-8")
    parts = re.split(r"^-- name: *(\w+) *$", text, flags=re.MULTILINE)
    return {title: body.strip() for title, body in zip(parts[1::2], parts[2::2], strict=True)}
