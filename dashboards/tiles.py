"""The map's viewport as a set of tiles of a fixed grid, so that neighbouring screens share one view. Pure."""

import math
from collections.abc import Iterable, Sequence

from traffic.errors import TrafficError

TILE_DEG = 0.5
TILES_MAX = 400  # a viewport over more of them is the whole area

Tile = tuple[int, int]


class ViewportWrong(TrafficError):
    """The four numbers are no west, south, east, north."""


def tile_of(lon: float, lat: float) -> Tile:
    """The tile that holds a point."""
    return math.floor(lon / TILE_DEG), math.floor(lat / TILE_DEG)


def tiles_of(viewport: Sequence[float] | None) -> frozenset[Tile] | None:
    """Tiles that a viewport (west, south, east, north; degrees) touches; None: the whole area."""
    if viewport is None:
        return None
    if len(viewport) != 4 or not all(math.isfinite(edge) for edge in viewport):
        raise ViewportWrong("a viewport is four finite numbers: west, south, east, north")
    west, south, east, north = viewport
    if west > east or south > north:
        raise ViewportWrong("a viewport's west is not east of its east, nor its south north of its north")
    west, east = max(west, -180.0), min(east, 180.0)  # a map that is zoomed out shows more than the world
    south, north = max(south, -90.0), min(north, 90.0)
    if west > east or south > north:
        return frozenset()
    (left, bottom), (right, top) = tile_of(west, south), tile_of(east, north)
    if (right - left + 1) * (top - bottom + 1) > TILES_MAX:
        return None
    return frozenset((x, y) for x in range(left, right + 1) for y in range(bottom, top + 1))


def within(tiles: frozenset[Tile] | None, occupied: Iterable[Tile]) -> frozenset[Tile] | None:
    """The tiles that matter: those with something in them; None when that is all there is."""
    if tiles is None:
        return None
    there = frozenset(occupied)
    seen = tiles & there
    return None if seen == there else seen
