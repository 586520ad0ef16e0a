"""How long what is kept: table `retention` is the rule, and this is who acts on it.

Both editions of TimescaleDB drop what is older than its time by the instance's clock. The Community edition compresses
too, and where the clock is the real one its own jobs do both; by another clock they would drop the wrong things.
"""

from dataclasses import dataclass

import psycopg

from traffic.clock import Clock

LOCK = 6_201_402


@dataclass(frozen=True, slots=True, kw_only=True)
class Kept:
    """What one look did: chunks (of plain tables: rows) dropped, chunks compressed, policies changed, by table."""

    dropped: dict[str, int]
    compressed: dict[str, int]
    policies: tuple[str, ...]


def keep(connection: psycopg.Connection, clock: Clock) -> Kept:
    """Act on every row of table `retention`, a transaction each; what another process is at is left to it.

    Raises psycopg.errors.LockNotAvailable where `lock_timeout` is set and a table is in use: the next look will do.
    """
    names = [row[0] for row in connection.execute("SELECT what FROM retention ORDER BY what")]
    dropped, compressed, policies = {}, {}, []
    for name in names:
        with connection.transaction():
            row = connection.execute("SELECT pg_try_advisory_xact_lock(%s)", [LOCK]).fetchone()
            if not row or not row[0]:
                continue
            dropped[name] = _number(connection, "SELECT retention_drop(%s, %s)", name, clock.now())
            if is_real(clock):
                if _number(connection, "SELECT retention_policies(%s)::int", name):
                    policies.append(name)
            else:
                connection.execute("SELECT retention_no_policies(%s)", [name])
                compressed[name] = _number(connection, "SELECT retention_compress(%s, %s)", name, clock.now())
    return Kept(
        dropped={name: number for name, number in dropped.items() if number},
        compressed={name: number for name, number in compressed.items() if number},
        policies=tuple(policies),
    )


def is_real(clock: Clock) -> bool:
    """Whether the instance lives in real time, as TimescaleDB's jobs do."""
    return clock.rate == 1.0 and clock.offset_s == 0.0


def _number(connection: psycopg.Connection, statement: str, *values: object) -> int:
    row = connection.execute(statement, values).fetchone()  # type: ignore[call-overload]
    return int(row[0]) if row else 0
