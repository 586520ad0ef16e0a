"""Which worker owns which partition: leases in PostgreSQL, by the database's time, fenced by an epoch."""

from dataclasses import dataclass, field
from math import ceil

import psycopg

from traffic.limits import LEASE_S
from traffic.store import SQL

VEHICLES, ROADS = "vehicles", "roads"  # kinds of partitions: the workers' and the monitor's


@dataclass(slots=True, kw_only=True)
class Held:
    """A partition that this worker owns, and where it believes that the partition stands."""

    id: int
    epoch: int
    generation: int
    offset: int
    feed_seq: int
    covered_from_us: int  # event times before it may be known to the table without being known in memory
    snapshot: tuple[int, int]
    read: list[tuple[int, int, int]] = field(default_factory=list)  # (generation, counter, in_bytes) committed


class Leases:
    """Takes, keeps and gives back partitions of one kind, a fair share of them among the workers that are alive."""

    def __init__(self, name: str, partitions: int, kind: str = VEHICLES) -> None:
        self.name = name
        self.partitions = partitions
        self.kind = kind

    def renew(self, connection: psycopg.Connection, held: dict[int, Held]) -> list[int]:
        """Prolong the leases held; returns the partitions that another worker took."""
        if self.kind == VEHICLES:
            connection.execute(SQL["worker_seen"], {"name": self.name})
        rows = connection.execute(SQL["lease_renew"], {"name": self.name, "lease_s": LEASE_S}).fetchall()
        epochs = {partition: epoch for partition, epoch in rows}
        return [partition for partition, own in held.items() if epochs.get(partition) != own.epoch]

    def fair_share(self, connection: psycopg.Connection) -> int:
        """How many partitions each living worker should own at most."""
        row = connection.execute(SQL["workers_alive"], {"lease_s": LEASE_S}).fetchone()
        return ceil(self.partitions / max(1, row[0] if row else 1))

    def acquire(self, connection: psycopg.Connection, want: int) -> list[Held]:
        """Take at most `want` partitions whose lease ran out or was given back."""
        rows = connection.execute(
            SQL["lease_acquire"], {"name": self.name, "kind": self.kind, "want": want, "lease_s": LEASE_S}
        ).fetchall()
        return [
            Held(
                id=row[0],
                epoch=row[1],
                generation=row[2],
                offset=row[3],
                feed_seq=row[4],
                covered_from_us=row[5] + 1_000_000,
                snapshot=(row[6], row[7]),
            )
            for row in rows
        ]

    def release(self, connection: psycopg.Connection, ids: list[int]) -> None:
        """Give partitions back so that another worker takes them at once."""
        connection.execute(SQL["lease_release"], {"ids": ids, "name": self.name})

    def leave(self, connection: psycopg.Connection, ids: list[int]) -> None:
        """Give everything back and be forgotten (a clean stop)."""
        self.release(connection, ids)
        connection.execute(SQL["worker_gone"], {"name": self.name})
