"""Kernel of `nearest.NearestPlaces.find`: the same search, point by point."""

import math

import numpy as np
from numba import types

from traffic.limits import PLACE_AWAY_M_MAX
from traffic.nearest import AGAINST_M, CELL_DEG, CELL_ROWS, DEGREE_M, Pieces
from traffic.vehicles.compiled import kernel, numbers, read, together

_REALS = types.Array(types.float64, 1, "C")
_PAIRS = types.Array(types.float64, 2, "C")
_FOUND = types.Tuple((numbers, numbers, _REALS))
_POINTS = read(np.float64, layout="A")


@kernel(_FOUND, together(Pieces, _PAIRS, _PAIRS, _REALS, _PAIRS, numbers, numbers, numbers), _POINTS, _POINTS, _POINTS)
def nearest(pieces, lon, lat, bearing_deg):
    """(row of the link or -1, stake, metres away) of each point."""
    rows = np.full(len(lon), -1, np.int64)
    stakes = np.zeros(len(lon), np.int64)
    away = np.full(len(lon), np.inf)
    for point in range(len(lon)):
        cell = np.int64(math.floor(lon[point] / CELL_DEG)) * CELL_ROWS + np.int64(math.floor(lat[point] / CELL_DEG))
        at = np.searchsorted(pieces.cells, cell)
        east, best, best_cost, best_share = math.cos(math.radians(lat[point])) * DEGREE_M, -1, np.inf, 0.0
        while at < len(pieces.cells) and pieces.cells[at] == cell:
            piece = pieces.in_cell[at]
            at += 1
            step_x, step_y = pieces.step[piece, 0] * east, pieces.step[piece, 1] * DEGREE_M
            apart_x = (lon[point] - pieces.begin[piece, 0]) * east
            apart_y = (lat[point] - pieces.begin[piece, 1]) * DEGREE_M
            square = step_x * step_x + step_y * step_y
            share = 0.0
            if square > 0.0:
                share = min(1.0, max(0.0, (step_x * apart_x + step_y * apart_y) / square))
            away_m = math.hypot(apart_x - step_x * share, apart_y - step_y * share)
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
    return rows, stakes, away
