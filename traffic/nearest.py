"""The nearest place on the roads for many points at once: the links' pieces of line, in a grid of cells.

Only places within PLACE_AWAY_M_MAX are found; farther away a point is off the roads.
"""

import math
from collections.abc import Iterable
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from traffic.geo import EARTH_RADIUS_M, Point, line_length_m
from traffic.limits import PLACE_AWAY_M_MAX
from traffic.network import Link

CELL_DEG = 0.02  # about 2 km: a piece of road lies in few cells, a cell holds few pieces
DEGREE_M = math.radians(1.0) * EARTH_RADIUS_M
CELL_ROWS = 1 << 20  # cells in a column: more than lie between the poles
_POINTS_AT_ONCE = 4096
AGAINST_M = 60.0  # moving the other way on a link counts like being so much farther from it


@dataclass(frozen=True, slots=True, kw_only=True)
class Found:
    """For each point: `row` of its link in `NearestPlaces.links` (-1: off the roads), the stake, and how far it is."""

    row: np.ndarray
    stake_m: np.ndarray
    away_m: np.ndarray


class Pieces(NamedTuple):
    """The pieces of line and their grid as columns, for a compiled search."""

    begin: np.ndarray
    step: np.ndarray
    bearing: np.ndarray
    stakes: np.ndarray
    row: np.ndarray
    cells: np.ndarray
    in_cell: np.ndarray


class NearestPlaces:
    """Index of all links.

    Where both directions share a line, the one of the point's bearing is found, without one that of increasing stakes.
    """

    def __init__(self, links: Iterable[Link]) -> None:
        self.links = tuple(sorted(links, key=lambda link: (link.direction, link.id)))
        begin, end, stakes, row = [], [], [], []
        for number, link in enumerate(self.links):
            for a, b, share_a, share_b in _pieces(link):
                begin.append(a)
                end.append(b)
                span = link.to_stake_m - link.from_stake_m
                stakes.append((link.from_stake_m + share_a * span, link.from_stake_m + share_b * span))
                row.append(number)
        self._begin = np.array(begin, np.float64).reshape(-1, 2)
        self._step = np.array(end, np.float64).reshape(-1, 2) - self._begin
        east = self._step[:, 0] * np.cos(np.radians(self._begin[:, 1] + self._step[:, 1] / 2))
        self._bearing = np.arctan2(east, self._step[:, 1])
        self._stakes = np.array(stakes, np.float64).reshape(-1, 2)
        self._row = np.array(row, np.int64)
        self._road = np.array([link.road_id for link in self.links], np.int64)
        self._direction = np.array([link.direction for link in self.links], np.int64)
        self._cells, self._pieces = self._grid()

    def _grid(self) -> tuple[np.ndarray, np.ndarray]:
        """(cell of each entry, ascending; its piece): every piece in each cell that it may be found from."""
        margin = np.array([PLACE_AWAY_M_MAX / DEGREE_M] * 2)
        if len(self._begin):
            most = min(np.abs(self._begin[:, 1]).max(), 85.0)
            margin = margin / np.array([math.cos(math.radians(most)), 1.0])
        ends = self._begin + self._step
        low = np.floor((np.minimum(self._begin, ends) - margin) / CELL_DEG).astype(np.int64)
        high = np.floor((np.maximum(self._begin, ends) + margin) / CELL_DEG).astype(np.int64)
        wide = high - low + 1
        count = wide[:, 0] * wide[:, 1]
        piece = np.repeat(np.arange(len(count)), count)
        place = np.arange(len(piece)) - np.repeat(np.cumsum(count) - count, count)
        column = low[piece, 0] + place // wide[piece, 1]
        cells = column * CELL_ROWS + low[piece, 1] + place % wide[piece, 1]
        order = np.argsort(cells, kind="stable")
        return cells[order], piece[order]

    @property
    def pieces(self) -> Pieces:
        """All that the search goes by."""
        return Pieces(
            begin=self._begin,
            step=self._step,
            bearing=self._bearing,
            stakes=self._stakes,
            row=self._row,
            cells=self._cells,
            in_cell=self._pieces,
        )

    def find(self, lon: np.ndarray, lat: np.ndarray, bearing_deg: np.ndarray | None = None) -> Found:
        """The nearest place of each point on any road; a link along the bearing (NaN: not known) is preferred."""
        parts = []
        for start in range(0, max(len(lon), 1), _POINTS_AT_ONCE):
            part = slice(start, start + _POINTS_AT_ONCE)
            point, piece = self._near(lon[part], lat[part])
            toward = None if bearing_deg is None else bearing_deg[part]
            parts.append(self._nearest(lon[part], lat[part], (point, piece), toward))
        return Found(**{name: np.concatenate([getattr(p, name) for p in parts]) for name in Found.__slots__})

    def find_one(self, point: Point, *, road_id: int | None = None, direction: int = 0) -> tuple[Link, int] | None:
        """(link, stake) nearest to a point, on one road and direction where they are given; None: off the roads."""
        lon, lat = np.array([point[0]]), np.array([point[1]])
        of_point, piece = self._near(lon, lat)
        row = self._row[piece]
        wanted = np.ones(len(row), bool) if road_id is None else self._road[row] == road_id
        if direction:
            wanted &= self._direction[row] == direction
        found = self._nearest(lon, lat, (of_point[wanted], piece[wanted]))
        best = int(found.row[0])
        return None if best < 0 else (self.links[best], int(found.stake_m[0]))

    def _near(self, lon: np.ndarray, lat: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Pairs of a point and a piece that it may be near to."""
        cells = np.floor(lon / CELL_DEG).astype(np.int64) * CELL_ROWS + np.floor(lat / CELL_DEG).astype(np.int64)
        first = np.searchsorted(self._cells, cells, "left")
        count = np.searchsorted(self._cells, cells, "right") - first
        point = np.repeat(np.arange(len(lon)), count)
        return point, self._pieces[np.arange(len(point)) - np.repeat(np.cumsum(count) - count - first, count)]

    def _nearest(
        self,
        lon: np.ndarray,
        lat: np.ndarray,
        pairs: tuple[np.ndarray, np.ndarray],
        bearing_deg: np.ndarray | None = None,
    ) -> Found:
        point, piece = pairs
        scale = np.stack((np.cos(np.radians(lat[point])) * DEGREE_M, np.full(len(point), DEGREE_M)), axis=1)
        step = self._step[piece] * scale
        apart = (np.stack((lon[point], lat[point]), axis=1) - self._begin[piece]) * scale
        square = (step * step).sum(axis=1)
        share = np.where(square > 0, (step * apart).sum(axis=1) / np.where(square > 0, square, 1.0), 0.0).clip(0.0, 1.0)
        away_m = np.hypot(*(apart - step * share[:, None]).T)
        cost = away_m
        if bearing_deg is not None:
            turn = np.radians(bearing_deg)[point] - self._bearing[piece]
            cost = away_m + np.where(np.isnan(turn), 0.0, (1.0 - np.cos(turn)) / 2.0 * AGAINST_M)
        best = np.flatnonzero(away_m <= PLACE_AWAY_M_MAX)
        best = best[np.lexsort((piece[best], cost[best], point[best]))]
        best = best[np.flatnonzero(np.diff(point[best], prepend=-1))]
        stake = self._stakes[piece[best]]
        found = Found(
            row=np.full(len(lon), -1, np.int64),
            stake_m=np.zeros(len(lon), np.int64),
            away_m=np.full(len(lon), np.inf),
        )
        at = point[best]
        found.row[at] = self._row[piece[best]]
        found.stake_m[at] = np.rint(stake[:, 0] + share[best] * (stake[:, 1] - stake[:, 0])).astype(np.int64)
        found.away_m[at] = away_m[best]
        return found


def _pieces(link: Link) -> Iterable[tuple[Point, Point, float, float]]:
    """Each straight piece of a link's line, with the shares of the line's length at which it begins and ends."""
    total = line_length_m(link.geometry) or 1.0
    before = 0.0
    for a, b in zip(link.geometry, link.geometry[1:], strict=False):
        behind = before + line_length_m((a, b))
        yield a, b, before / total, behind / total
        before = behind
