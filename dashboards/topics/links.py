"""Topic `links`: the state of every link as the newest cycle told it, and "unknown" where that is too old. Pure.

The monitor says when a link has no fresh data; this is for the time when the monitor itself says nothing any more.
"""

from collections.abc import Iterable, Sequence

import msgspec
import numpy as np

from dashboards.facts import Start
from dashboards.flow import NEVER
from dashboards.protocol import LinkRow
from dashboards.tiles import Tile
from dashboards.topics.shape import Column, Places, Told
from traffic.audience import Viewer
from traffic.feed import FeedEntry
from traffic.limits import CYCLE_S, LINK_FRESH_S

DATA_US = (LINK_FRESH_S + CYCLE_S) * 1_000_000  # data older than this says nothing, whatever the last cycle said
CYCLE_US = LINK_FRESH_S * 1_000_000  # without a cycle for so long nothing is known of any link

View = tuple[int, frozenset[Tile] | None]


class LinksBody(msgspec.Struct, frozen=True):
    """Body of a feed row of kind `links`."""

    at: int
    l: list[LinkRow]  # noqa: E741 - the name on the wire


_LINKS = msgspec.json.Decoder(LinksBody)


def unknown(link: int) -> LinkRow:
    """What is shown of a link of which nothing is known."""
    return LinkRow(link, 0, None, None, None, None, None, 0.0, None, 0, 0)


class Links:
    """The newest picture. Rows are the facts' links in their order."""

    name = "links"
    tiled = True

    def __init__(self, start: Start, now_us: int) -> None:
        links = start.facts.links
        size = len(links)
        self.ids = [link.id for link in links]
        self._row_of = {link.id: row for row, link in enumerate(links)}
        self._places = Places((link.audience, link.tiles) for link in links)
        self._told: list[LinkRow | None] = [None] * size
        self._observed_us = np.full(size, NEVER, np.int64)
        self._lapsed = np.ones(size, bool)  # shown as unknown
        self._column = Column(size)
        self.version = 1
        self.cycle_us: int | None = None
        self._take(start.links, start.cycle_us)
        self.tick(now_us)

    def fold(self, entries: Sequence[FeedEntry], now_us: int) -> int:
        """Take what cycles told."""
        unreadable = 0
        self.version += 1
        for entry in entries:
            try:
                body = _LINKS.decode(entry.body)
            except msgspec.DecodeError:
                unreadable += 1
            else:
                self._take(body.l, body.at)
        self.tick(now_us)
        return unreadable

    def cycle(self, at_us: int) -> None:
        """A cycle was made, even if it changed no link."""
        self.cycle_us = max(self.cycle_us or at_us, at_us)

    def _take(self, told: Iterable[LinkRow], cycle_us: int | None) -> None:
        if cycle_us is not None:
            self.cycle(cycle_us)
        rows: list[int] = []
        for link in told:
            row = self._row_of.get(link.link)
            if row is not None:
                rows.append(row)
                self._told[row] = link
                observed_us = link.observed_us if link.level > 0 else None
                self._observed_us[row] = NEVER if observed_us is None else observed_us
        self._column.touch(np.array(rows, np.int64), self.version)

    def tick(self, now_us: int) -> bool:
        """Data and cycles grow old."""
        if self.cycle_us is None or self.cycle_us <= now_us - CYCLE_US:
            lapsed = np.ones(len(self.ids), bool)
        else:
            lapsed = self._observed_us <= now_us - DATA_US
        changed = np.flatnonzero(lapsed != self._lapsed)
        if not len(changed):
            return False
        self._lapsed = lapsed
        self.version += 1
        self._column.touch(changed, self.version)
        return True

    def view(self, viewer: Viewer, tiles: frozenset[Tile] | None) -> View:
        """Unit and tiles."""
        return self._places.view(viewer, tiles)

    def told(self, view: View, since: int) -> Told | None:
        """Links of the view that changed."""
        rows = self._column.since(self.rows(*view), since)
        if since >= 0 and not len(rows):
            return None
        cycle = b"null" if self.cycle_us is None else b"%d" % self.cycle_us
        kind = "snapshot" if since < 0 else "delta"
        return kind, b'"cycle_at":%b,"links":%b' % (cycle, self._column.listed(rows, self._shown))

    def _shown(self, row: int) -> LinkRow:
        told = self._told[row]
        return unknown(self.ids[row]) if told is None or self._lapsed[row] else told

    def rows(self, unit: int, tiles: frozenset[Tile] | None = None) -> np.ndarray:
        """Rows of the links that a unit may see."""
        return self._places.rows(unit, tiles)

    def known(self) -> int:
        """How many links have a state."""
        return int((~self._lapsed).sum())
