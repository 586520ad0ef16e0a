"""Topic `units`: where crews and key vehicles are, the newest position of each, to those whose business it is. Pure.

Plates are personal data: a vehicle is told to the units in its feed row's audience alone, and goes from the screens of
those who were in the audience before.
"""

from collections import deque
from collections.abc import Iterable, Sequence
from typing import NamedTuple

import msgspec
import numpy as np

from dashboards.facts import Start
from dashboards.flow import NEVER
from dashboards.protocol import CrewCount, CrewRow, GoneUnits, VehicleRow
from dashboards.tiles import Tile, tile_of
from dashboards.topics.shape import TOLD_MAX, Circles, Column, Told
from traffic.audience import Audience, Viewer, may_see
from traffic.feed import FeedEntry

KEPT_US = 30 * 60 * 1_000_000  # who was not heard of for so long is no longer shown
FRESH_US = 5 * 60 * 1_000_000  # a crew that was heard of within this is counted as fresh
SUBJECTS_MAX = 200_000  # crews and vehicles kept; further ones are not shown (and counted as unreadable)
ROWS_MIN = 256
_TILE_ROW = 100_000  # a tile as one number: column * this + row

View = tuple[int, frozenset[Tile] | None]
Key = int | tuple[str, int]  # crew, or plate and class group


class CrewsBody(msgspec.Struct, frozen=True):
    """Body of a feed row of kind `crews`."""

    p: list[CrewRow]


class VehiclesBody(msgspec.Struct, frozen=True):
    """Body of a feed row of kind `vehicles`."""

    p: list[VehicleRow]


class Left(NamedTuple):
    """Somebody was in this audience and tile until this version."""

    version: int
    key: Key
    circle: int
    tile: int


_CREWS, _VEHICLES = msgspec.json.Decoder(CrewsBody), msgspec.json.Decoder(VehiclesBody)


class Units:
    """Newest positions, a row for each crew and vehicle."""

    name = "units"
    tiled = True

    def __init__(self, start: Start, now_us: int) -> None:
        self._circles = Circles()
        self._crew_audiences = dict(start.facts.crews)
        self._row_of: dict[Key, int] = {}
        self._free: list[int] = []
        self._rows: list[CrewRow | VehicleRow | None] = []
        self._column = Column(0)
        self._circle, self._tile = np.zeros(0, np.int64), np.zeros(0, np.int64)
        self._observed_us, self._is_crew = np.zeros(0, np.int64), np.zeros(0, bool)
        self._resize(ROWS_MIN)
        self._left: deque[Left] = deque(maxlen=TOLD_MAX)
        self._left_from = 0
        self.version = 1
        for told in start.positions:
            self._take(told.row, told.audience, now_us)
        self.tick(now_us)

    def _resize(self, size: int) -> None:
        before = len(self._rows)
        column = Column(size)
        circle, tile = np.zeros(size, np.int64), np.zeros(size, np.int64)
        observed, crew = np.full(size, NEVER, np.int64), np.zeros(size, bool)
        column.changed[:before] = self._column.changed
        circle[:before], tile[:before] = self._circle, self._tile
        observed[:before], crew[:before] = self._observed_us, self._is_crew
        self._column, self._circle, self._tile, self._observed_us, self._is_crew = column, circle, tile, observed, crew
        self._rows += [None] * (size - before)
        self._free += range(size - 1, before - 1, -1)

    # ------------------------------------------------------------ folding
    def fold(self, entries: Sequence[FeedEntry], now_us: int) -> int:
        """Take positions; an older one than what is known changes nothing."""
        unreadable = 0
        self.version += 1
        for entry in entries:
            try:
                rows: Sequence[CrewRow | VehicleRow] = (
                    _CREWS.decode(entry.body).p if entry.kind == "crews" else _VEHICLES.decode(entry.body).p
                )
            except msgspec.DecodeError:
                unreadable += 1
                continue
            unreadable += sum(not self._take(row, entry.audience, now_us) for row in rows)
        return unreadable

    def _take(self, told: CrewRow | VehicleRow, audience: Audience, now_us: int) -> bool:
        """False when there is no room for one more."""
        key = told.crew if isinstance(told, CrewRow) else (told.plate, told.class_group)
        row = self._row_of.get(key)
        if told.observed_us <= now_us - KEPT_US or (row is not None and told.observed_us < self._observed_us[row]):
            return True
        column, line = tile_of(told.lon, told.lat)
        circle, tile = self._circles.number(audience), column * _TILE_ROW + line
        if row is None:
            if len(self._row_of) >= SUBJECTS_MAX:
                return False
            if not self._free:
                self._resize(2 * len(self._rows))
            row = self._row_of[key] = self._free.pop()
        elif (circle, tile) != (self._circle[row], self._tile[row]):
            self._leave(row, key)
        self._rows[row] = told
        self._circle[row], self._tile[row], self._observed_us[row] = circle, tile, told.observed_us
        self._is_crew[row] = isinstance(told, CrewRow)
        self._column.touch(np.array([row]), self.version)
        return True

    def _leave(self, row: int, key: Key) -> None:
        if len(self._left) == self._left.maxlen:
            self._left_from = self._left[0].version
        self._left.append(Left(self.version, key, int(self._circle[row]), int(self._tile[row])))

    def tick(self, now_us: int) -> bool:
        """Who was not heard of for long goes."""
        old = np.flatnonzero((self._observed_us > NEVER) & (self._observed_us <= now_us - KEPT_US)).tolist()
        if not old:
            return False
        self.version += 1
        for row in old:
            told = self._rows[row]
            assert told is not None
            key = told.crew if isinstance(told, CrewRow) else (told.plate, told.class_group)
            self._leave(row, key)
            del self._row_of[key]
            self._rows[row] = None
            self._observed_us[row] = NEVER
            self._free.append(row)
        return True

    # ------------------------------------------------------------ what is shown
    def view(self, viewer: Viewer, tiles: frozenset[Tile] | None) -> View:
        """Unit and tiles."""
        return viewer.unit, tiles

    def told(self, view: View, since: int) -> Told | None:
        """Who moved within the view, and who left it."""
        if since < self._left_from:
            since = -1
        seen = self._circles.seen_by(view[0])
        codes = None if view[1] is None else np.array([x * _TILE_ROW + y for x, y in view[1]], np.int64)
        there = self._observed_us > NEVER
        if len(seen):
            there &= seen[self._circle]
        if codes is not None:
            there &= np.isin(self._tile, codes)
        rows = np.flatnonzero(there & (self._column.changed > since))
        gone = self._gone(view, there, since) if since >= 0 else GoneUnits()
        if since >= 0 and not len(rows) and not gone.crews and not gone.vehicles:
            return None
        crew = self._is_crew[rows]
        crews, vehicles = (self._column.listed(part, self._shown) for part in (rows[crew], rows[~crew]))
        kind = "snapshot" if since < 0 else "delta"
        body = b'"crews":%b,"vehicles":%b,"gone":%b' % (crews, vehicles, msgspec.json.encode(gone))
        return kind, body

    def _gone(self, view: View, there: np.ndarray, since: int) -> GoneUnits:
        unit, tiles = view
        seen = self._circles.seen_by(unit)
        found: set[Key] = set()
        for left in _newest(self._left, since):
            row = self._row_of.get(left.key)
            was_there = seen[left.circle] and (tiles is None or divmod(left.tile, _TILE_ROW) in tiles)
            if was_there and (row is None or not there[row]):
                found.add(left.key)
        crews = sorted(key for key in found if isinstance(key, int))
        return GoneUnits(crews=crews, vehicles=sorted(key for key in found if not isinstance(key, int)))

    def _shown(self, row: int) -> CrewRow | VehicleRow | None:
        return self._rows[row]

    def crews_of(self, unit: int, now_us: int) -> CrewCount:
        """Crews that are a unit's business, and how many of them were heard of lately."""
        viewer = Viewer(unit=unit)
        total = sum(may_see(viewer, audience) for audience in self._crew_audiences.values())
        fresh = self._is_crew & (self._observed_us > now_us - FRESH_US)
        seen = self._circles.seen_by(unit)
        if len(seen):
            fresh &= seen[self._circle]
        return CrewCount(fresh=int(fresh.sum()), total=total)

    def counts(self) -> tuple[int, int]:
        """Crews and vehicles that are kept."""
        kept = self._observed_us > NEVER
        crews = int((kept & self._is_crew).sum())
        return crews, int(kept.sum()) - crews


def _newest(left: deque[Left], since: int) -> Iterable[Left]:
    for one in reversed(left):
        if one.version <= since:
            return
        yield one
