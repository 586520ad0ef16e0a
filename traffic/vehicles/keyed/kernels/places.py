"""Kernel of `nearest.NearestPlaces.find`: the same search, point by point."""

import math

import numpy as np
from numba import types

from traffic.limits import PLACE_AWAY_M_MAX
from traffic.nearest import AGAINST_M, CELL_DEG, CELL_ROWS, DEGREE_M, Pieces
from traffic.vehicles.compiled import kernel, numbers, part, read, together

_REALS = types.Array(types.float64, 1, "C")
_PAIRS = types.Array(types.float64, 2, "C")
_FOUND = types.Tuple((numbers, numbers, _REALS, numbers))
_NEARLY_M = 80.0  # a terminal may be so far off
_POINTS = read(np.float64, layout="A")


@part
def _share_and_away_m(pieces, piece, lon, lat, east):
    """Where on a piece of line (0..1) a point is nearest to it, and how far it is; `east`: metres of a degree there."""
    step_x, step_y = pieces.step[piece, 0] * east, pieces.step[piece, 1] * DEGREE_M
    apart_x, apart_y = (lon - pieces.begin[piece, 0]) * east, (lat - pieces.begin[piece, 1]) * DEGREE_M
    square = step_x * step_x + step_y * step_y
    share = 0.0
    if square > 0.0:
        share = min(1.0, max(0.0, (step_x * apart_x + step_y * apart_y) / square))
    return share, math.hypot(apart_x - step_x * share, apart_y - step_y * share)


@kernel(
    _FOUND,
    together(Pieces, _PAIRS, _PAIRS, _REALS, _PAIRS, numbers, numbers, numbers),
    numbers,
    _POINTS,
    _POINTS,
    _POINTS,
)
def nearest(pieces, limits_kmh, lon, lat, bearing_deg):
    """(row of the link or -1, stake, metres away, limit) of each point.

    The limit is the highest of the links that are nearly as near: which of two roads side by side it is, is not known.
    """
    rows = np.full(len(lon), -1, np.int64)
    stakes = np.zeros(len(lon), np.int64)
    away = np.full(len(lon), np.inf)
    limits = np.zeros(len(lon), np.int64)
    for point in range(len(lon)):
        cell = np.int64(math.floor(lon[point] / CELL_DEG)) * CELL_ROWS + np.int64(math.floor(lat[point] / CELL_DEG))
        first = at = np.searchsorted(pieces.cells, cell)
        east, best, best_cost, best_share = math.cos(math.radians(lat[point])) * DEGREE_M, -1, np.inf, 0.0
        while at < len(pieces.cells) and pieces.cells[at] == cell:
            piece = pieces.in_cell[at]
            at += 1
            share, away_m = _share_and_away_m(pieces, piece, lon[point], lat[point], east)
            if away_m > PLACE_AWAY_M_MAX:
                continue
            cost = away_m
            if bearing_deg[point] == bearing_deg[point]:
                turn = math.radians(bearing_deg[point]) - pieces.bearing[piece]
                cost += (1.0 - math.cos(turn)) / 2.0 * AGAINST_M
            if cost < best_cost or (cost == best_cost and piece < best):
                best, best_cost, best_share, away[point] = piece, cost, share, away_m
        if best >= 0:
            rows[point] = pieces.row[best]
            stakes[point] = np.int64(
                np.rint(pieces.stakes[best, 0] + best_share * (pieces.stakes[best, 1] - pieces.stakes[best, 0]))
            )
        at = first
        while best >= 0 and at < len(pieces.cells) and pieces.cells[at] == cell:
            _, away_m = _share_and_away_m(pieces, pieces.in_cell[at], lon[point], lat[point], east)
            if away_m <= away[point] + _NEARLY_M:
                limits[point] = max(limits[point], limits_kmh[pieces.row[pieces.in_cell[at]]])
            at += 1
    return rows, stakes, away, limits
