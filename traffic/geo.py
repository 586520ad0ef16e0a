"""Places on the earth: WGS-84 inside, GCJ-02 at the edge, and the little geometry that roads and boundaries need.

A point is (lon, lat) in degrees. Distances are metres on a sphere of the mean radius (within 0.5 % of the ellipsoid).
"""

import math
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np

Point = tuple[float, float]

EARTH_RADIUS_M = 6_371_008.8
_AXIS_M, _ECCENTRICITY = 6_378_245.0, 0.00669342162296594323  # Krasovsky 1940, which GCJ-02 is computed on
_CHINA = (72.004, 0.8293, 137.8347, 55.8271)  # outside of it GCJ-02 is WGS-84


def wgs84_to_gcj02(lon: float, lat: float) -> Point:
    """Shift as Chinese maps do (offset 400-600 m in Jilin); identity outside China."""
    if not (_CHINA[0] <= lon <= _CHINA[2] and _CHINA[1] <= lat <= _CHINA[3]):
        return lon, lat
    return _shifted(lon, lat, math)


def gcj02_to_wgs84(lon: float, lat: float) -> Point:
    """Inverse of `wgs84_to_gcj02`, by fixed-point iteration to about 1e-9 degrees (0.1 mm)."""
    guess_lon, guess_lat = lon, lat
    for _ in range(8):
        made_lon, made_lat = wgs84_to_gcj02(guess_lon, guess_lat)
        guess_lon, guess_lat = guess_lon + lon - made_lon, guess_lat + lat - made_lat
    return guess_lon, guess_lat


def gcj02_to_wgs84_columns(lon: np.ndarray, lat: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """`gcj02_to_wgs84` of many points of China at once (float64)."""
    guess_lon, guess_lat = lon, lat
    for _ in range(8):
        made_lon, made_lat = _shifted(guess_lon, guess_lat, np)
        guess_lon, guess_lat = guess_lon + lon - made_lon, guess_lat + lat - made_lat
    return guess_lon, guess_lat


def in_china(lon: Any, lat: Any) -> Any:
    """Whether a point (or each of many) lies in the box around China: a fix outside is a fault of the device."""
    return (lon >= _CHINA[0]) & (lon <= _CHINA[2]) & (lat >= _CHINA[1]) & (lat <= _CHINA[3])


def _shifted(lon: Any, lat: Any, m: Any) -> tuple[Any, Any]:
    """The shift of one point (`m` is math) or of columns (`m` is numpy)."""
    east, north = _bent(lon - 105.0, lat - 35.0, m)
    angle = m.radians(lat)
    magic = 1.0 - _ECCENTRICITY * m.sin(angle) ** 2
    root = m.sqrt(magic)
    d_lat = north * 180.0 / (_AXIS_M * (1.0 - _ECCENTRICITY) / (magic * root) * m.pi)
    d_lon = east * 180.0 / (_AXIS_M / root * m.cos(angle) * m.pi)
    return lon + d_lon, lat + d_lat


def _bent(x: Any, y: Any, m: Any) -> tuple[Any, Any]:
    """GCJ-02's offsets in metres (east, north) at x, y degrees from 105 E 35 N."""
    pi, sin = m.pi, m.sin
    common = 20.0 * sin(6.0 * x * pi) + 20.0 * sin(2.0 * x * pi)
    root = m.sqrt(abs(x))
    north = -100.0 + 2.0 * x + 3.0 * y + 0.2 * y * y + 0.1 * x * y + 0.2 * root
    north += (common + 20.0 * sin(y * pi) + 40.0 * sin(y / 3.0 * pi)) * 2.0 / 3.0
    north += (160.0 * sin(y / 12.0 * pi) + 320.0 * sin(y * pi / 30.0)) * 2.0 / 3.0
    east = 300.0 + x + 2.0 * y + 0.1 * x * x + 0.1 * x * y + 0.1 * root
    east += (common + 20.0 * sin(x * pi) + 40.0 * sin(x / 3.0 * pi)) * 2.0 / 3.0
    east += (150.0 * sin(x / 12.0 * pi) + 300.0 * sin(x / 30.0 * pi)) * 2.0 / 3.0
    return east, north


def distance_m(a: Point, b: Point) -> float:
    """Great-circle distance in metres."""
    lat_a, lat_b = math.radians(a[1]), math.radians(b[1])
    half_lat, half_lon = (lat_b - lat_a) / 2.0, math.radians(b[0] - a[0]) / 2.0
    h = math.sin(half_lat) ** 2 + math.cos(lat_a) * math.cos(lat_b) * math.sin(half_lon) ** 2
    return 2.0 * EARTH_RADIUS_M * math.asin(min(1.0, math.sqrt(h)))


def bearing_deg(a: Point, b: Point) -> float:
    """Initial bearing from a to b in [0, 360): 0 north, 90 east."""
    lat_a, lat_b, d_lon = math.radians(a[1]), math.radians(b[1]), math.radians(b[0] - a[0])
    east = math.sin(d_lon) * math.cos(lat_b)
    north = math.cos(lat_a) * math.sin(lat_b) - math.sin(lat_a) * math.cos(lat_b) * math.cos(d_lon)
    return math.degrees(math.atan2(east, north)) % 360.0


def line_length_m(line: Sequence[Point]) -> float:
    """Length of a line of points in metres."""
    return sum(distance_m(a, b) for a, b in zip(line, line[1:], strict=False))


def along(line: Sequence[Point], share: float) -> tuple[Point, float]:
    """The point at `share` (0..1) of a line's length, and the line's bearing there in degrees."""
    left = min(1.0, max(0.0, share)) * line_length_m(line)
    for a, b in zip(line, line[1:], strict=False):
        step = distance_m(a, b)
        if left <= step and step > 0.0:
            part = left / step
            return (a[0] + (b[0] - a[0]) * part, a[1] + (b[1] - a[1]) * part), bearing_deg(a, b)
        left -= step
    return line[-1], bearing_deg(line[-2], line[-1])


def nearest_on_line(line: Sequence[Point], point: Point) -> tuple[float, float]:
    """(share of the line's length, distance in metres) of the line's place nearest to `point`."""
    scale = math.cos(math.radians(point[1]))
    best, before, total = (0.0, math.inf), 0.0, line_length_m(line)
    for a, b in zip(line, line[1:], strict=False):
        dx, dy = (b[0] - a[0]) * scale, b[1] - a[1]
        px, py = (point[0] - a[0]) * scale, point[1] - a[1]
        square = dx * dx + dy * dy
        part = 0.0 if square == 0.0 else min(1.0, max(0.0, (px * dx + py * dy) / square))
        away = distance_m(point, (a[0] + (b[0] - a[0]) * part, a[1] + (b[1] - a[1]) * part))
        step = distance_m(a, b)
        if away < best[1]:
            best = ((before + part * step) / total if total else 0.0, away)
        before += step
    return best


def smooth(places: Sequence[Point], step_m: float) -> list[list[Point]]:
    """A centripetal-like Catmull-Rom curve through the places: one densified line for each consecutive pair.

    Each line starts and ends exactly at its places, so roads that share a place touch there.
    """
    if len(places) < 2:
        return []
    padded = [places[0], *places, places[-1]]
    lines = []
    for number in range(len(places) - 1):
        p0, p1, p2, p3 = padded[number : number + 4]
        pieces = max(1, math.ceil(distance_m(p1, p2) / step_m))
        inner = [_spline(p0, p1, p2, p3, piece / pieces) for piece in range(1, pieces)]
        lines.append([p1, *inner, p2])
    return lines


def _spline(p0: Point, p1: Point, p2: Point, p3: Point, t: float) -> Point:
    """Catmull-Rom with tangents cut to the length of the middle chord, so that a short pair makes no loop."""
    chord = math.hypot(p2[0] - p1[0], p2[1] - p1[1])

    def tangent(a: Point, b: Point) -> Point:
        length = math.hypot(b[0] - a[0], b[1] - a[1])
        scale = 0.0 if length == 0.0 else min(0.5, chord / length)
        return (b[0] - a[0]) * scale, (b[1] - a[1]) * scale

    m1, m2 = tangent(p0, p2), tangent(p1, p3)
    h1, h2 = 2 * t**3 - 3 * t**2 + 1, -2 * t**3 + 3 * t**2
    g1, g2 = t**3 - 2 * t**2 + t, t**3 - t**2
    return (
        h1 * p1[0] + h2 * p2[0] + g1 * m1[0] + g2 * m2[0],
        h1 * p1[1] + h2 * p2[1] + g1 * m1[1] + g2 * m2[1],
    )


def contains(geometry: dict, point: Point) -> bool:
    """Is the point inside a GeoJSON Polygon or MultiPolygon? (Even-odd; a border point may be either.)"""
    inside = False
    for ring in _rings(geometry):
        for (x1, y1), (x2, y2) in zip(ring, ring[1:], strict=False):
            if (y1 > point[1]) != (y2 > point[1]) and point[0] < x1 + (point[1] - y1) / (y2 - y1) * (x2 - x1):
                inside = not inside
    return inside


def bounds(geometry: dict) -> tuple[float, float, float, float]:
    """(west, south, east, north) of a GeoJSON Polygon or MultiPolygon."""
    points = [point for ring in _rings(geometry) for point in ring]
    lons, lats = [point[0] for point in points], [point[1] for point in points]
    return min(lons), min(lats), max(lons), max(lats)


def _rings(geometry: dict) -> Iterable[Sequence[Sequence[float]]]:
    polygons = [geometry["coordinates"]] if geometry["type"] == "Polygon" else geometry["coordinates"]
    return (ring for polygon in polygons for ring in polygon)


def plane_to_lonlat(metres: tuple[float, float], origin: Point) -> Point:
    """A place given in metres east and north of an origin (exact enough for a town: equirectangular)."""
    degree_m = math.radians(1.0) * EARTH_RADIUS_M
    lat = origin[1] + metres[1] / degree_m
    return origin[0] + metres[0] / (degree_m * math.cos(math.radians(origin[1]))), lat
