"""Fences (电子围栏): polygons and circles on the map, and which points lie inside, over columns."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from traffic.geo import EARTH_RADIUS_M
from traffic.vehicles.said import checked_keys, checked_list, checked_mapping, checked_number, refused

FENCE_KINDS = ("forbidden", "parking", "place")
POINTS_MAX = 2_000  # of one polygon, all rings together
RINGS_MAX = 50
RADIUS_M_MIN, RADIUS_M_MAX = 10.0, 200_000.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Fence:
    """One fence, checked. `rings`: arrays (n, 2) of lon, lat: the outline, then holes; a circle has none."""

    id: int
    code: str
    name: str
    kind: str
    unit: int
    rings: tuple[np.ndarray, ...] = ()
    centre: tuple[float, float] | None = None
    radius_m: float = 0.0

    @property
    def box(self) -> tuple[float, float, float, float]:
        """West, south, east, north: a first look that most points do not pass."""
        if self.centre is None:
            outline = self.rings[0]
            west, south = outline.min(axis=0).tolist()
            east, north = outline.max(axis=0).tolist()
            return west, south, east, north
        high = float(np.degrees(self.radius_m / EARTH_RADIUS_M))
        wide = high / max(1e-6, float(np.cos(np.radians(abs(self.centre[1]) + high))))
        return self.centre[0] - wide, self.centre[1] - high, self.centre[0] + wide, self.centre[1] + high

    def inside(self, lon: np.ndarray, lat: np.ndarray) -> np.ndarray:
        """Which points (degrees) lie inside."""
        west, south, east, north = self.box
        found = (lon >= west) & (lon <= east) & (lat >= south) & (lat <= north)
        near = np.flatnonzero(found)
        if len(near):
            found[near] = self._inside(np.asarray(lon)[near], np.asarray(lat)[near])
        return found

    def _inside(self, lon: np.ndarray, lat: np.ndarray) -> np.ndarray:
        if self.centre is not None:
            return distances_m(lon, lat, *self.centre) <= self.radius_m
        crossings = np.zeros(len(lon), np.int64)
        for ring in self.rings:  # even-odd: a point in a hole crosses twice
            crossings += _crossings(ring, lon, lat)
        return crossings % 2 == 1


def distances_m(lon: np.ndarray, lat: np.ndarray, to_lon: float, to_lat: float) -> np.ndarray:
    """Great-circle distances in metres."""
    a, b = np.radians(lat), np.radians(to_lat)
    h = np.sin((b - a) / 2) ** 2 + np.cos(a) * np.cos(b) * np.sin(np.radians(to_lon - lon) / 2) ** 2
    return 2.0 * EARTH_RADIUS_M * np.arcsin(np.minimum(1.0, np.sqrt(h)))


def _crossings(ring: np.ndarray, lon: np.ndarray, lat: np.ndarray) -> np.ndarray:
    """How often a ray eastwards from each point crosses the ring."""
    crossings = np.zeros(len(lon), np.int64)
    for (x1, y1), (x2, y2) in zip(ring.tolist(), np.roll(ring, -1, axis=0).tolist(), strict=True):
        if y1 == y2:
            continue
        between = (lat >= min(y1, y2)) & (lat < max(y1, y2))
        crossings += between & (lon < x1 + (lat - y1) * (x2 - x1) / (y2 - y1))
    return crossings


def parse_fence(row: Mapping[str, Any]) -> Fence:
    """From a row of table `fence`; raises FieldRefused naming field and reason."""
    shape = checked_mapping("shape", row["shape"])
    what: dict[str, Any] = {name: row[name] for name in ("id", "code", "name", "kind")} | {"unit": row["unit_id"]}
    if row["kind"] not in FENCE_KINDS:
        raise refused("kind", f"must be one of {', '.join(FENCE_KINDS)}", row["kind"])
    if shape.get("type") == "Circle":
        checked_keys("shape", shape, ("type", "centre", "radius_m"))
        radius_m = checked_number("shape.radius_m", shape.get("radius_m"), RADIUS_M_MIN, RADIUS_M_MAX)
        return Fence(**what, centre=_point("shape.centre", shape.get("centre")), radius_m=radius_m)
    if shape.get("type") != "Polygon":
        raise refused("shape.type", "must be Polygon or Circle", shape.get("type", ""))
    checked_keys("shape", shape, ("type", "coordinates"))
    rings = checked_list("shape.coordinates", shape.get("coordinates"), RINGS_MAX)
    if not rings:
        raise refused("shape.coordinates", "must hold an outline")
    parsed = tuple(_ring(f"shape.coordinates[{number}]", ring) for number, ring in enumerate(rings))
    if sum(len(ring) for ring in parsed) > POINTS_MAX:
        raise refused("shape.coordinates", f"must hold at most {POINTS_MAX} points")
    return Fence(**what, rings=parsed)


def _ring(where: str, said: Any) -> np.ndarray:
    points = [_point(where, point) for point in checked_list(where, said, POINTS_MAX)]
    if points and points[0] == points[-1]:
        points.pop()  # GeoJSON closes its rings
    if len(set(points)) < 3:
        raise refused(where, "must have at least three different points")
    return np.array(points, np.float64)


def _point(where: str, said: Any) -> tuple[float, float]:
    pair = checked_list(where, said, 3)
    if len(pair) < 2:
        raise refused(where, "must hold points [lon, lat]", said)
    return checked_number(where, pair[0], -180.0, 180.0), checked_number(where, pair[1], -90.0, 90.0)
