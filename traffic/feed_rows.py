"""The feed's rows in the database, read behind a cursor by whatever role asks."""

import psycopg

from traffic.audience import Audience
from traffic.database import queries
from traffic.feed import Cursor, FeedEntry, in_feed_order

SQL = queries("traffic", "feed.sql")


def entry_of_row(row: tuple) -> FeedEntry:
    """A row of the statements here as a frozen fact."""
    partition, seq, at, topic, kind, key, units, visibility, addressees, body = row
    audience = Audience(units=frozenset(units or ()), visibility=visibility, addressees=frozenset(addressees or ()))
    return FeedEntry(
        partition=partition, seq=seq, at=at, topic=topic, kind=kind, key=key, audience=audience, body=body.encode()
    )


async def position(connection: psycopg.AsyncConnection) -> Cursor:
    """Where the feed stands now, in the caller's transaction."""
    row = await (await connection.execute(SQL["feed_position"])).fetchone()
    if row is None:
        raise psycopg.OperationalError("the database holds no instance: it was not migrated")
    epoch, ids, seqs = row
    return Cursor(epoch=epoch, places=dict(zip(ids or [], seqs or [], strict=True)))


async def read_since(
    connection: psycopg.AsyncConnection, cursor: Cursor, *, limit: int, alerts_only: bool = False
) -> list[FeedEntry]:
    """Rows behind the cursor, at most `limit` of each partition that the cursor names, in feed order."""
    statement = SQL["alerts_since" if alerts_only else "feed_since"]
    places = sorted(cursor.places.items())
    found = await connection.execute(
        statement, {"ids": [p for p, _ in places], "seqs": [seq for _, seq in places], "limit": limit}
    )
    return in_feed_order([entry_of_row(row) async for row in found])


async def is_kept(connection: psycopg.AsyncConnection, cursor: Cursor) -> bool:
    """Whether the feed still holds everything behind the cursor, and stands not before it. Asked as the hub's role."""
    places = sorted(cursor.places.items())
    found = await connection.execute(
        SQL["feed_kept_from"], {"ids": [p for p, _ in places], "seqs": [seq for _, seq in places]}
    )
    rows = await found.fetchall()
    known = len(rows) == len(places)
    return known and all(
        stands == seq if oldest is None else oldest == seq + 1 and stands >= seq for _, seq, stands, oldest in rows
    )
