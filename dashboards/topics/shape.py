"""What all topics that show a state have in common, and which standing things a view holds. Pure."""

from collections.abc import Callable, Iterable, Sequence
from typing import Protocol, TypeVar

import msgspec
import numpy as np

from dashboards.protocol import json_list
from dashboards.tiles import Tile, within
from traffic.audience import Audience, Viewer, may_see
from traffic.feed import FeedEntry

VIEWS_MAX = 512  # rows of views remembered; beyond it they are found again
TOLD_MAX = 4_096

Told = tuple[str, bytes]  # snapshot or delta, and the fields of its frame
View = TypeVar("View")


class Topic(Protocol[View]):
    """A state that screens follow: whoever was told everything up to a version is told what changed since then.

    `tiled`: what a screen is told depends on where its map looks.
    """

    name: str
    tiled: bool

    @property
    def version(self) -> int:
        """Grows with each change of what is shown."""

    def fold(self, entries: Sequence[FeedEntry], now_us: int) -> int:
        """Take the feed's next entries of this topic; returns how many could not be read."""

    def tick(self, now_us: int) -> bool:
        """Time passes; True when something changed by it (and `version` grew)."""

    def view(self, viewer: Viewer, tiles: frozenset[Tile] | None) -> View:
        """What a viewer sees of it: equal views are told the same."""

    def told(self, view: View, since: int) -> Told | None:
        """The fields of a frame that brings this view up to now (`since` -1: all of it); None: nothing to tell."""


class Circles:
    """Audiences by number, so that "who sees it" of many things is a column. Open matters only."""

    def __init__(self) -> None:
        self._number: dict[Audience, int] = {}
        self._seen: dict[int, np.ndarray] = {}

    def number(self, audience: Audience) -> int:
        """The number of an audience."""
        number = self._number.get(audience)
        if number is None:
            number = self._number[audience] = len(self._number)
            self._seen.clear()
        return number

    def seen_by(self, unit: int) -> np.ndarray:
        """Of each number, whether a unit sees it."""
        seen = self._seen.get(unit)
        if seen is None:
            viewer = Viewer(unit=unit)
            seen = self._seen[unit] = np.array([may_see(viewer, audience) for audience in self._number], bool)
        return seen


class Places:
    """Things that stand still, each in some tiles and with an audience: which rows of them a view holds."""

    def __init__(self, things: Iterable[tuple[Audience, Sequence[Tile]]]) -> None:
        self._circles = Circles()
        circles: list[int] = []
        rows: list[int] = []
        at: list[int] = []
        self._tiles: dict[Tile, int] = {}
        for row, (audience, tiles) in enumerate(things):
            circles.append(self._circles.number(audience))
            for tile in tiles:
                rows.append(row)
                at.append(self._tiles.setdefault(tile, len(self._tiles)))
        self._circle = np.array(circles, np.int64)
        self._row, self._at = np.array(rows, np.int64), np.array(at, np.int64)
        self._occupied: dict[int, frozenset[Tile]] = {}
        self._rows: dict[tuple[int, frozenset[Tile] | None], np.ndarray] = {}

    def view(self, viewer: Viewer, tiles: frozenset[Tile] | None) -> tuple[int, frozenset[Tile] | None]:
        """Unit and the tiles that matter to it: neighbouring screens share a view."""
        return viewer.unit, within(tiles, self._tiles_of(viewer.unit))

    def rows(self, unit: int, tiles: frozenset[Tile] | None = None) -> np.ndarray:
        """Rows that a unit may see, in some tiles."""
        key = unit, tiles
        found = self._rows.get(key)
        if found is None:
            if len(self._rows) >= VIEWS_MAX:
                self._rows.clear()
            found = self._rows[key] = np.flatnonzero(self._mask(unit, tiles)).astype(np.int32)
        return found

    def _mask(self, unit: int, tiles: frozenset[Tile] | None) -> np.ndarray:
        if not len(self._circle):
            return np.zeros(0, bool)
        mask: np.ndarray = self._circles.seen_by(unit)[self._circle]
        if tiles is not None:
            wanted = np.zeros(max(1, len(self._tiles)), bool)
            wanted[[self._tiles[tile] for tile in tiles if tile in self._tiles]] = True
            inside = np.zeros(len(mask), bool)
            inside[self._row[wanted[self._at]]] = True
            mask = mask & inside
        return mask

    def _tiles_of(self, unit: int) -> frozenset[Tile]:
        if unit not in self._occupied:
            seen = self._mask(unit, None)
            there = np.zeros(max(1, len(self._tiles)), bool)
            if len(self._row):
                there[self._at[seen[self._row]]] = True
            self._occupied[unit] = frozenset(tile for tile, number in self._tiles.items() if there[number])
        return self._occupied[unit]


class Column:
    """In which version each row last changed, and its JSON, made once for each change."""

    def __init__(self, size: int) -> None:
        self.changed = np.ones(size, np.int64)
        self._items: list[bytes | None] = [None] * size

    def touch(self, rows: np.ndarray, version: int) -> None:
        """These rows changed."""
        self.changed[rows] = version
        for row in rows.tolist():
            self._items[row] = None

    def since(self, rows: np.ndarray, version: int) -> np.ndarray:
        """Of these rows, those that changed after a version."""
        return rows[self.changed[rows] > version]

    def listed(self, rows: np.ndarray, shown: Callable[[int], object]) -> bytes:
        """A JSON list of these rows; `shown(row)` is what is encoded of one."""
        items = self._items
        found: list[bytes] = []
        for row in rows.tolist():
            item = items[row]
            if item is None:
                item = items[row] = msgspec.json.encode(shown(row))
            found.append(item)
        return json_list(found)
