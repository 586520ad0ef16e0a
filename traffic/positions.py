"""Positions of crews and vehicles: the road, stake and direction of a point, and whose newest word counts. Pure.

Links lie in a grid of small cells, so that thousands of points find their nearest links in one go.
"""

from collections.abc import Iterable, Sequence

import numpy as np

from traffic.geo import EARTH_RADIUS_M
from traffic.limits import PLACE_AWAY_M_MAX
from traffic.network import Link

PLACE = np.dtype(
    [
        ("road", "<i4"),  # 0: off the known roads
        ("stake_m", "<i4"),
        ("link", "<i4"),
        ("unit", "<i4"),  # owner of the link
        ("direction", "<i2"),  # 0: cannot be told
        ("away_m", "<f4"),
    ]
)
_CELL_DEG = 0.01
_PIECE_DEG_MAX = 0.01  # longer straight lines are cut, so that the box around each is small
_METRES_PER_DEG = np.pi / 180.0 * EARTH_RADIUS_M
_AGAINST_M = 60.0  # driving the other way on a link counts like being so much farther from it
_MOVING_KMH_MIN = 3.0  # below it the bearing of a device is noise
_COLUMNS_OF_GRID = 1 << 16


class PlaceIndex:
    """The links of a network, to find the place of points."""

    def __init__(self, links: Iterable[Link]) -> None:
        pieces = [piece for link in links for piece in _pieces(link)]
        table = np.array(pieces, np.float64).reshape(-1, 11)
        self._from, self._to = table[:, 0:2], table[:, 2:4]
        self._stakes, self._bearing = table[:, 4:6], table[:, 6]
        self._of_link = table[:, 7:11].astype(np.int64)  # link, road, direction, unit
        self._cells, self._first, self._pieces = _grid(self._from, self._to)

    def find(self, lon: np.ndarray, lat: np.ndarray, speed_kmh: np.ndarray, bearing_deg: np.ndarray) -> np.ndarray:
        """The PLACE of each point: the nearest link within PLACE_AWAY_M_MAX, one in the direction of travel preferred.

        Speed and bearing may be NaN; without a bearing, or standing, the direction cannot be told.
        """
        found = np.zeros(len(lon), PLACE)
        point, piece = self._near(lon, lat)
        if not len(point):
            return found
        away_m, share = self._distance(np.column_stack([lon[point], lat[point]]), piece)
        moves = np.isfinite(bearing_deg) & ~(speed_kmh < _MOVING_KMH_MIN)
        turn = np.radians(np.where(moves, bearing_deg, 0.0)[point] - self._bearing[piece])
        cost = away_m + np.where(moves[point], (1.0 - np.cos(turn)) / 2.0 * _AGAINST_M, 0.0)
        within = np.flatnonzero(away_m <= PLACE_AWAY_M_MAX)
        order = within[np.lexsort((piece[within], cost[within], point[within]))]
        best = order[np.append(True, point[order][1:] != point[order][:-1])[: len(order)]]
        at, chosen = point[best], piece[best]
        begin, end = self._stakes[chosen, 0], self._stakes[chosen, 1]
        found["stake_m"][at] = np.rint(begin + share[best] * (end - begin))
        for column, name in enumerate(("link", "road", "direction", "unit")):
            found[name][at] = self._of_link[chosen, column]
        found["direction"][~moves] = 0
        found["away_m"][at] = away_m[best]
        return found

    def _near(self, lon: np.ndarray, lat: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Pairs of point and piece that share a cell."""
        if not len(self._cells):
            return np.empty(0, np.int64), np.empty(0, np.int64)
        cell = _cell_of(lon, lat)
        at = np.minimum(np.searchsorted(self._cells, cell), len(self._cells) - 1)
        hit = np.flatnonzero(self._cells[at] == cell)
        many = self._first[at[hit] + 1] - self._first[at[hit]]
        within = np.arange(many.sum()) - np.repeat(np.cumsum(many) - many, many)
        return np.repeat(hit, many), self._pieces[np.repeat(self._first[at[hit]], many) + within]

    def _distance(self, points: np.ndarray, piece: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Metres from each point to its piece, and the share of the piece where it is nearest."""
        scale = np.column_stack([np.cos(np.radians(points[:, 1])), np.ones(len(points))])
        line = (self._to[piece] - self._from[piece]) * scale
        toward = (points - self._from[piece]) * scale
        square = (line**2).sum(axis=1)
        share = np.clip((toward * line).sum(axis=1) / np.where(square > 0, square, 1.0), 0.0, 1.0)
        return np.hypot(*(toward - share[:, None] * line).T) * _METRES_PER_DEG, share


def _pieces(link: Link) -> list[tuple[float, ...]]:
    """A link as short straight pieces: ends, stakes of the ends, bearing, and what they belong to."""
    line = np.array(link.geometry, np.float64)
    mean_lat = np.radians((line[1:, 1] + line[:-1, 1]) / 2)
    step = np.diff(line, axis=0)
    lengths = np.hypot(step[:, 0] * np.cos(mean_lat), step[:, 1])
    total = lengths.sum()
    if not total > 0:
        return []
    bearings = np.degrees(np.arctan2(step[:, 0] * np.cos(mean_lat), step[:, 1])) % 360.0
    before = np.concatenate([[0.0], np.cumsum(lengths)]) / total
    pieces = []
    for number in np.flatnonzero(lengths > 0).tolist():
        cuts = max(1, int(np.ceil(np.abs(step[number]).max() / _PIECE_DEG_MAX)))
        shares = np.linspace(0.0, 1.0, cuts + 1)
        ends = line[number] + shares[:, None] * step[number]
        of_link = before[number] + shares * (before[number + 1] - before[number])
        stakes = link.from_stake_m + of_link * (link.to_stake_m - link.from_stake_m)
        belongs = (link.id, link.road_id, link.direction, link.unit_id)
        pieces += [(*ends[n], *ends[n + 1], stakes[n], stakes[n + 1], bearings[number], *belongs) for n in range(cuts)]
    return pieces


def _cell_of(lon: np.ndarray, lat: np.ndarray) -> np.ndarray:
    x = np.floor((lon + 180.0) / _CELL_DEG).astype(np.int64)
    y = np.floor((lat + 90.0) / _CELL_DEG).astype(np.int64)
    return y * _COLUMNS_OF_GRID + x


def _grid(begin: np.ndarray, end: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Cells in order, where the list of each begins, and the pieces that a point of the cell can be near to."""
    low, high = np.minimum(begin, end), np.maximum(begin, end)
    reach_lat = PLACE_AWAY_M_MAX / _METRES_PER_DEG * 1.01
    reach_lon = reach_lat / np.cos(np.radians(np.minimum(80.0, np.abs(high[:, 1]) + reach_lat)))
    x1 = np.floor((low[:, 0] - reach_lon + 180.0) / _CELL_DEG).astype(np.int64)
    x2 = np.floor((high[:, 0] + reach_lon + 180.0) / _CELL_DEG).astype(np.int64)
    y1 = np.floor((low[:, 1] - reach_lat + 90.0) / _CELL_DEG).astype(np.int64)
    y2 = np.floor((high[:, 1] + reach_lat + 90.0) / _CELL_DEG).astype(np.int64)
    wide, many = x2 - x1 + 1, (x2 - x1 + 1) * (y2 - y1 + 1)
    piece = np.repeat(np.arange(len(many)), many)
    within = np.arange(many.sum()) - np.repeat(np.cumsum(many) - many, many)
    cell = (y1[piece] + within // wide[piece]) * _COLUMNS_OF_GRID + x1[piece] + within % wide[piece]
    order = np.argsort(cell, kind="stable")
    cells, first = np.unique(cell[order], return_index=True)
    return cells, np.append(first, len(cell)), piece[order]


def newest(rows: np.ndarray) -> np.ndarray:
    """Row numbers of the newest POSITION of each subject; of two of one time the same one in any order of arrival."""
    if not len(rows):
        return np.empty(0, np.int64)
    told = [np.where(np.isnan(rows[name]), -1.0, rows[name]) for name in ("bearing_deg", "speed_kmh")]
    order = np.lexsort(
        (*told, rows["lat"], rows["lon"], rows["received_at"], rows["observed_at"],
         rows["class_group"], rows["subject"], rows["subject_kind"])
    )  # fmt: skip
    sorted_rows = rows[order]
    last = np.ones(len(order), bool)
    last[:-1] = np.any(
        [sorted_rows[name][1:] != sorted_rows[name][:-1] for name in ("subject_kind", "subject", "class_group")], axis=0
    )
    return order[last]


def number(value: float, digits: int) -> float | None:
    """A figure for screens; NaN (not told) is null."""
    return None if value != value else round(value, digits)


def spots(rows: np.ndarray, places: np.ndarray) -> Sequence[list[float | int | None]]:
    """For each position what screens are told of it: observed_us, lon, lat, speed, bearing, road, stake, direction."""
    return [
        [
            int(row["observed_at"]),
            round(float(row["lon"]), 6),
            round(float(row["lat"]), 6),
            number(float(row["speed_kmh"]), 1),
            number(float(row["bearing_deg"]), 0),
            int(place["road"]) or None,
            int(place["stake_m"]) if place["road"] else None,
            int(place["direction"]) or None,
        ]
        for row, place in zip(rows, places, strict=True)
    ]
