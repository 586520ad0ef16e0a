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
    """What one look did, by table: chunks (of plain tables: rows) dropped, chunks compressed, policies changed.

    `busy`: tables that were in use, or that another process looked at; the next look will do.
    """

    dropped: dict[str, int]
    compressed: dict[str, int]
    policies: tuple[str, ...]
    busy: tuple[str, ...]


def keep(connection: psycopg.Connection, clock: Clock) -> Kept:
    """Act on every row of table `retention`, a transaction each. With a `lock_timeout` it waits for nobody for long."""
    done: dict[str, dict[str, int]] = {"drop": {}, "compress": {}, "policies": {}}
    busy = []
    for (name,) in connection.execute("SELECT what FROM retention ORDER BY what").fetchall():
        try:
            with connection.transaction():
                alone = _number(connection, "SELECT pg_try_advisory_xact_lock(%s)::int", LOCK)
                for step, number in _keep_one(connection, name, clock).items() if alone else ():
                    done[step][name] = number
                if not alone:
                    busy.append(name)
        except psycopg.errors.LockNotAvailable:
            busy.append(name)
    return Kept(
        dropped={name: number for name, number in done["drop"].items() if number},
        compressed={name: number for name, number in done["compress"].items() if number},
        policies=tuple(name for name, changed in done["policies"].items() if changed),
        busy=tuple(busy),
    )


def _keep_one(connection: psycopg.Connection, name: str, clock: Clock) -> dict[str, int]:
    done = {"drop": _number(connection, "SELECT retention_drop(%s, %s)", name, clock.now())}
    if is_real(clock):
        return done | {"policies": _number(connection, "SELECT retention_policies(%s)::int", name)}
    connection.execute("SELECT retention_no_policies(%s)", [name])
    return done | {"compress": _number(connection, "SELECT retention_compress(%s, %s)", name, clock.now())}


def is_real(clock: Clock) -> bool:
    """Whether the instance lives in real time, as TimescaleDB's jobs do."""
    return clock.rate == 1.0 and clock.offset_s == 0.0


def _number(connection: psycopg.Connection, statement: str, *values: object) -> int:
    row = connection.execute(statement, values).fetchone()  # type: ignore[call-overload]
    return int(row[0]) if row else 0
