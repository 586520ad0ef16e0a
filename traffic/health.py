"""Each process says every two seconds that it lives, with a few figures, in table `part`."""

import os
import socket
from collections.abc import Mapping
from datetime import UTC, datetime

import psycopg
from psycopg.types.json import Jsonb

from traffic.clock import monotonic_s

BEAT_S = 2.0
SILENT_S = 10.0  # a part that said nothing for so long has stopped

# Real time on purpose: whether a process lives has nothing to do with the domain's clock.
_BEAT = """
INSERT INTO part (kind, instance, started_at, seen_at, figures)
VALUES (%(kind)s, %(instance)s, clock_timestamp() - make_interval(secs => %(age)s), clock_timestamp(), %(figures)s)
ON CONFLICT (kind, instance) DO UPDATE
SET started_at = excluded.started_at, seen_at = excluded.seen_at, figures = excluded.figures
"""


def instance_name() -> str:
    """Names a process among its kind: host and process number."""
    return f"{socket.gethostname()}:{os.getpid()}"


class Heartbeat:
    """The row of one process in table `part`. The caller beats each BEAT_S and bears a failing connection."""

    def __init__(self, kind: str, instance: str) -> None:
        self._kind = kind
        self._instance = instance
        self._began_s = monotonic_s()

    def _row(self, figures: Mapping[str, object]) -> dict[str, object]:
        return {
            "kind": self._kind,
            "instance": self._instance,
            "age": monotonic_s() - self._began_s,
            "figures": Jsonb(dict(figures)),
        }

    async def beat(self, connection: psycopg.AsyncConnection, figures: Mapping[str, object]) -> None:
        """Upsert the row; the connection commits (autocommit, or the caller's transaction)."""
        await connection.execute(_BEAT, self._row(figures))

    def beat_sync(self, connection: psycopg.Connection, figures: Mapping[str, object]) -> None:
        """As `beat`, on a synchronous connection."""
        connection.execute(_BEAT, self._row(figures))


def is_silent(seen_at: datetime, real_now: datetime) -> bool:
    """Whether a part that was last seen then counts as stopped."""
    return (real_now.astimezone(UTC) - seen_at.astimezone(UTC)).total_seconds() > SILENT_S
