"""What a screen is told of alerts when it comes or comes back: the feed behind its cursor, or the newest 200."""

from collections.abc import AsyncGenerator, Iterator

import msgspec
import psycopg
from psycopg.rows import dict_row

from dashboards.feed_reader import FeedReader
from dashboards.hub import Screen
from dashboards.reach import SQL, Reach
from traffic import feed_rows, findings, store
from traffic.audience import Viewer
from traffic.feed import Cursor, FeedEntry, parse_cursor
from traffic.plates import plate_text

SNAPSHOT_ALERTS = 200
PAGE_ROWS = 1_000  # of all partitions together
PIECE_BYTES = 256 * 1024  # of one frame: far smaller than what a socket may hold unsent
FOR_EVER = "9999-01-01 00:00:00+00"
HIGHEST_ID = "ffffffff-ffff-ffff-ffff-ffffffffffff"


async def cards(connection: psycopg.AsyncConnection, statement: str, values: dict[str, object]) -> list[dict]:
    """Findings of a statement that selects whole rows, as cards, in the viewer's transaction."""
    async with connection.cursor(row_factory=dict_row) as cursor:
        await cursor.execute(statement, values)
        found = [store.finding_of_row(row) for row in await cursor.fetchall()]
    odd = [finding.plate_key for finding in found if plate_text(finding.plate_key) is None]
    texts: dict[int, str] = {}
    if odd:
        texts = dict(await (await connection.execute(SQL["odd_plates"], {"keys": odd})).fetchall())
    return [
        findings.card(finding, plate_text(finding.plate_key) or texts.get(finding.plate_key, "")) for finding in found
    ]


async def alerts(
    reach: Reach, reader: FeedReader, screen: Screen, since: str | Cursor | None
) -> AsyncGenerator[bytes, None]:
    """Frames for a screen that waits; at the end it is joined to the hub. Raises psycopg.Error or TimeoutError.

    After each frame `screen.delivered` is where a next call may go on.
    """
    cursor = parse_cursor(since) if isinstance(since, str) else since
    while cursor is not None:
        hub = reader.hub
        assert hub is not None
        position = hub.log.end
        page, stands = await _page(reach, screen.viewer, cursor)
        cursor = _complete(cursor, stands)
        # Asked after the reading: what is kept now was kept then.
        if cursor is None or not await reader.is_kept(cursor):
            break
        told, whole = _told(page, cursor, stands, limit=_share(stands))
        for part in _pieces(page):
            cursor = screen.delivered = cursor.after(part) if part[-1] is not page[-1] else told
            yield hub.replayed(part, cursor)
        if whole:
            hub.join(screen, position, told)
            return
        cursor = told
    async for frame in _snapshot(reach, reader, screen):
        yield frame


async def _page(reach: Reach, viewer: Viewer, cursor: Cursor) -> tuple[list[FeedEntry], Cursor]:
    async with reach.as_viewer(viewer, one_moment=True) as connection:
        stands = await feed_rows.position(connection)
        complete = _complete(cursor, stands)
        if complete is None:
            return [], stands
        return await feed_rows.read_since(connection, complete, limit=_share(stands), alerts_only=True), stands


def _pieces(page: list[FeedEntry]) -> Iterator[list[FeedEntry]]:
    """The page cut into frames: each entry's place in its partition stays behind those before it."""
    piece: list[FeedEntry] = []
    size = 0
    for entry in page:
        if piece and size + len(entry.body) > PIECE_BYTES:
            yield piece
            piece, size = [], 0
        piece.append(entry)
        size += len(entry.body)
    if piece:
        yield piece


def _share(stands: Cursor) -> int:
    return max(8, PAGE_ROWS // max(1, len(stands.places)))


def _complete(cursor: Cursor, stands: Cursor) -> Cursor | None:
    """The cursor with every partition named; None when it is of another instance or ahead of this one."""
    if cursor.epoch != stands.epoch or not stands.reaches(cursor):
        return None
    return Cursor(epoch=stands.epoch, places={partition: cursor.place(partition) for partition in stands.places})


def _told(page: list[FeedEntry], cursor: Cursor, stands: Cursor, *, limit: int) -> tuple[Cursor, bool]:
    """How far a page leads, and whether it was the last: a partition that filled its share has more."""
    counts: dict[int, int] = dict.fromkeys(stands.places, 0)
    for entry in page:
        counts[entry.partition] += 1
    after = cursor.after(page)
    places = {p: after.place(p) if counts[p] >= limit else stands.place(p) for p in stands.places}
    return Cursor(epoch=stands.epoch, places=places), all(count < limit for count in counts.values())


async def _snapshot(reach: Reach, reader: FeedReader, screen: Screen) -> AsyncGenerator[bytes, None]:
    hub = reader.hub
    assert hub is not None
    position = hub.log.end
    values = {"before": FOR_EVER, "before_id": HIGHEST_ID, "limit": SNAPSHOT_ALERTS}
    async with reach.as_viewer(screen.viewer, one_moment=True) as connection:
        told = await feed_rows.position(connection)
        found = await cards(connection, SQL["findings_newest"], values)
    screen.delivered = told
    yield hub.alerts_snapshot([msgspec.json.encode(card) for card in found], told)
    hub.join(screen, position, told)
