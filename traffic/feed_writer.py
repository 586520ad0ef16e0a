"""Visible changes on their way to the screens, numbered without gaps by partition, in the transaction of their data."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import msgspec
import psycopg

from traffic.lease import Held
from traffic.store import SQL, when


@dataclass(frozen=True, slots=True, kw_only=True)
class FeedRow:
    """A visible change on its way to the screens."""

    partition: int
    topic: str
    kind: str
    key: str
    units: Iterable[int]
    body: dict
    visibility: int = 0
    addressees: Iterable[int] = ()


def write_feed(
    connection: psycopg.Connection, held: Mapping[int, Held], rows: list[FeedRow], *, now_us: int
) -> dict[int, int]:
    """Number the rows without gaps in each partition and write them; returns where each feed stands now."""
    if not rows:
        return {}
    moved: dict[int, int] = {}
    seqs = []
    for row in rows:
        moved[row.partition] = moved.get(row.partition, held[row.partition].feed_seq) + 1
        seqs.append(moved[row.partition])
    connection.execute(
        SQL["feed_write"],
        {
            "at": when(now_us),
            "partitions": [row.partition for row in rows],
            "seqs": seqs,
            "topics": [row.topic for row in rows],
            "kinds": [row.kind for row in rows],
            "keys": [row.key for row in rows],
            "audiences": [int_array(row.units) for row in rows],
            "visibilities": [row.visibility for row in rows],
            "addressees": [int_array(row.addressees) for row in rows],
            "bodies": [msgspec.json.encode(row.body).decode() for row in rows],
        },
    )
    connection.execute(SQL["feed_moved"], {"ids": list(moved), "seqs": list(moved.values())})
    return moved


def int_array(numbers: Iterable[int]) -> str:
    """An int[] as PostgreSQL writes it."""
    return f"{{{','.join(map(str, sorted(numbers)))}}}"
