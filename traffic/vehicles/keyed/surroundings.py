"""Where sightings are as the rules see it: fences near them, whether standing matters, routes that are permitted.

Fences lie in a grid of cells, so that a point is held against the few that may be near it.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

import numpy as np

from traffic.geo import EARTH_RADIUS_M
from traffic.vehicles.areas import Fence, distances_m
from traffic.vehicles.permits import Permits

_CELL_DEG = 0.02
_ROWS = 1 << 20  # cells in a column
_CELLS_MAX = 20_000  # a fence over more cells is held against every point
_DEGREE_M = float(np.radians(1.0)) * EARTH_RADIUS_M
REST_RADIUS_M = 400.0  # of a service area or toll plaza


def rest_fences(places: Iterable[tuple[float, float]]) -> list[Fence]:
    """Service areas and toll plazas (lon, lat) as fences of kind parking."""
    return [
        Fence(id=0, code="", name="", kind="parking", unit=0, centre=(lon, lat), radius_m=REST_RADIUS_M)
        for lon, lat in places
    ]


@dataclass(frozen=True, slots=True, kw_only=True)
class FenceGrid:
    """Fences with a margin around them. Make it with `FenceGrid.of`."""

    fences: tuple[Fence, ...] = ()
    cells: np.ndarray = field(default_factory=lambda: np.empty(0, np.int64))  # ascending
    in_cell: np.ndarray = field(default_factory=lambda: np.empty(0, np.int64))  # number of the fence
    wide: tuple[int, ...] = ()

    @staticmethod
    def of(fences: Sequence[Fence], margin_m: float) -> "FenceGrid":
        """The grid; points within the margin are near."""
        cells: list[np.ndarray] = []
        numbers: list[np.ndarray] = []
        wide = []
        for number, fence in enumerate(fences):
            west, south, east, north = fence.box
            high = margin_m / _DEGREE_M
            across = high / max(0.05, float(np.cos(np.radians(min(89.0, abs(south) + high)))))
            low = np.floor(np.array([west - across, south - high]) / _CELL_DEG).astype(np.int64)
            top = np.floor(np.array([east + across, north + high]) / _CELL_DEG).astype(np.int64)
            if int(np.prod(top - low + 1)) > _CELLS_MAX:
                wide.append(number)
                continue
            columns = np.arange(low[0], top[0] + 1)[:, None] * _ROWS
            found = (columns + np.arange(low[1], top[1] + 1)[None, :]).ravel()
            cells.append(found)
            numbers.append(np.full(len(found), number, np.int64))
        together = np.concatenate(cells) if cells else np.empty(0, np.int64)
        order = np.argsort(together, kind="stable")
        in_cell = np.concatenate(numbers)[order] if cells else np.empty(0, np.int64)
        return FenceGrid(fences=tuple(fences), cells=together[order], in_cell=in_cell, wide=tuple(wide))

    def near(self, lon: np.ndarray, lat: np.ndarray) -> dict[int, np.ndarray]:
        """Of each fence that is near any of the points: their numbers."""
        found: dict[int, np.ndarray] = {number: np.arange(len(lon)) for number in self.wide}
        if not len(self.cells):
            return found
        cell = np.floor(lon / _CELL_DEG).astype(np.int64) * _ROWS + np.floor(lat / _CELL_DEG).astype(np.int64)
        first = np.searchsorted(self.cells, cell, "left")
        many = np.searchsorted(self.cells, cell, "right") - first
        point = np.repeat(np.arange(len(lon)), many)
        fence = self.in_cell[np.arange(len(point)) - np.repeat(np.cumsum(many) - many - first, many)]
        for number in np.unique(fence).tolist():
            found[number] = point[fence == number]
        return found

    def inside(self, lon: np.ndarray, lat: np.ndarray) -> np.ndarray:
        """Which points lie inside any of the fences."""
        held = np.zeros(len(lon), bool)
        for number, points in self.near(lon, lat).items():
            held[points] |= self.fences[number].inside(lon[points], lat[points])
        return held


def border_m(fence: Fence, lon: np.ndarray, lat: np.ndarray) -> np.ndarray:
    """Metres from points to the border of a fence, negative inside."""
    if fence.centre is not None:
        return distances_m(lon, lat, *fence.centre) - fence.radius_m
    nearest = np.full(len(lon), np.inf)
    east = np.cos(np.radians(lat)) * _DEGREE_M
    for ring in fence.rings:
        ends = np.roll(ring, -1, axis=0)
        for (x1, y1), (x2, y2) in zip(ring.tolist(), ends.tolist(), strict=True):
            ax, ay = (x1 - lon) * east, (y1 - lat) * _DEGREE_M
            dx, dy = (x2 - x1) * east, (y2 - y1) * _DEGREE_M
            square = dx * dx + dy * dy
            share = np.clip(-(ax * dx + ay * dy) / np.where(square > 0, square, 1.0), 0.0, 1.0)
            nearest = np.minimum(nearest, np.hypot(ax + share * dx, ay + share * dy))
    return np.where(fence.inside(lon, lat), -nearest, nearest)


# ---------------------------------------------------------------- permitted routes
@dataclass(frozen=True, slots=True, kw_only=True)
class PermittedRoutes:
    """The route permits of hazardous goods, and all their stretches: those of the n-th permit from first[n]."""

    permits: Permits
    first: np.ndarray
    stretches: np.ndarray  # (n, 4): road, from, to, direction

    @staticmethod
    def of(permits: Permits) -> "PermittedRoutes":
        """The stretches of all permits in one table."""
        first, rows = [0], []
        for permit in permits.permits:
            if permit.stretches is not None:
                held = permit.stretches
                columns = (held.road, held.from_stake_m, held.to_stake_m, held.direction)
                rows += list(zip(*(column.tolist() for column in columns), strict=True))
            first.append(len(rows))
        table = np.array(rows, np.int64).reshape(-1, 4)
        return PermittedRoutes(permits=permits, first=np.array(first, np.int64), stretches=table)

    def held(self, keys: np.ndarray, times_us: np.ndarray, places: np.ndarray, margin_m: float) -> np.ndarray:
        """Of each sighting (n, 3): whether any permit is valid, leads over the place, and does so at the hour."""
        said = np.zeros((len(keys), 3), bool)
        if not len(self.permits) or not len(keys):
            return said
        from traffic.vehicles.keyed.kernels.stretches import on_stretch

        row, number = self.permits.pairs(keys, ("hazardous_route",))
        valid = (times_us[row] >= self.permits.valid_from_us[number]) & (
            times_us[row] < self.permits.valid_to_us[number]
        )
        row, number = row[valid], number[valid]
        along = ~self.permits.stretched[number] | on_stretch(
            self.first, self.stretches, number, places["road"][row].astype(np.int64),
            places["stake_m"][row].astype(np.int64), places["direction"][row].astype(np.int64), margin_m,
        )  # fmt: skip
        hours = self.permits.in_force(number, times_us[row])
        said[row, 0] = True
        said[row[along], 1] = True
        said[row[along & hours], 2] = True
        return said
