"""What the platform said, kept: as an answer with its date, and in the vehicle's row where it knows something newer."""

from datetime import datetime, timedelta
from typing import Any

import msgspec
import psycopg
from psycopg.types.json import Jsonb

from traffic.platform_query import Answer, Outcome, Vehicle
from traffic.registry_store import SQL, Line, Origin, store

SOON = timedelta(days=30)  # before its inspection ends a vehicle is asked about again and again
KEPT = timedelta(days=90)  # answers, but for the newest of each vehicle


def remember(connection: psycopg.Connection, vehicle: Vehicle, answer: Answer, now: datetime) -> bool:
    """Keep an answer, in one transaction; returns whether the vehicle's row changed. Vehicles are never added by it."""
    key, group = vehicle.key
    body = {**msgspec.to_builtins(dict(answer.values)), **({"reason": answer.reason} if answer.reason else {})}
    row = {
        "plate_key": key,
        "class_group": group,
        "asked_at": now,
        "outcome": str(answer.outcome),
        "as_of": answer.as_of,
        "took_ms": answer.took_ms,
        "body": Jsonb(body),
    }
    with connection.transaction():
        connection.execute(SQL["query_add"], row)
        if answer.outcome is not Outcome.FOUND or answer.as_of is None:
            return False
        line = Line(line=0, values={**answer.values, "plate_key": key, "class_group": group})
        origin = Origin(source="platform", as_of=answer.as_of, adds=False)
        return store(connection, "vehicles", [line], origin).changed > 0


def find_newest(connection: psycopg.Connection, vehicle: Vehicle) -> dict[str, Any] | None:
    """The newest answer kept of a vehicle, whatever its outcome."""
    key, group = vehicle.key
    found = connection.execute(SQL["query_newest"], {"plate_key": key, "class_group": group}).fetchone()
    return None if found is None else dict(zip(("asked_at", "outcome", "as_of", "took_ms", "body"), found, strict=True))


def list_due(connection: psycopg.Connection, now: datetime, *, again: timedelta, limit: int) -> list[Vehicle]:
    """Vehicles that it is time to ask about; `again`: how long an answer is fresh."""
    values = {"until": (now + SOON).date(), "asked_before": now - again, "limit": limit}
    return [Vehicle(plate=plate, plate_class=number) for plate, number in connection.execute(SQL["due"], values)]


def forget_old(connection: psycopg.Connection, now: datetime) -> int:
    """Answers of long ago go; returns how many."""
    return connection.execute(SQL["queries_forget"], {"before": now - KEPT}).rowcount
