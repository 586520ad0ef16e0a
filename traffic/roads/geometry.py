"""Where links and their point sensors lie along a road, and how much each sensor says of each link: sparse weights.

What depends on geometry alone is worked out once; a cycle then costs a few products of sparse matrices.
"""

from dataclasses import dataclass, fields

import numpy as np
from scipy import sparse

from traffic.limits import CYCLE_S
from traffic.roads.model import RoadNetwork, Sensors
from traffic.roads.parameters import bounded

SPEED_INTERVALS = 8  # of 30 s, that speeds now rest on
POINTS_MAX = 5  # of a link, where speed is worked out
POINT_EVERY_M = 500.0
NEAREST = 3  # sensors up and down the road that a point looks at
SHIFT_S_MAX = 120.0  # what was seen farther off than a wave runs in so long is taken as seen then
LEAST_WEIGHT = 1e-4


@dataclass(frozen=True, slots=True, kw_only=True)
class Smoothing:
    """Kernels of the adaptive smoothing method (Treiber, Helbing 2002; van Lint, Hoogendoorn 2010)."""

    smooth_m: float = bounded(250.0, 50.0, 10_000.0)
    smooth_s: float = bounded(30.0, 10.0, 600.0)
    wave_free_kmh: float = bounded(70.0, 20.0, 200.0)  # free flow is carried downstream
    wave_jam_kmh: float = bounded(15.0, 5.0, 40.0)  # a jam grows upstream
    bridge_m: float = bounded(2_000.0, 0.0, 20_000.0)  # a link without sensors is told by others no farther away


@dataclass(frozen=True, slots=True, kw_only=True)
class Weights:
    """Sparse: points (in order of links) over columns (interval * sensors + sensor), and links over sensors."""

    key: tuple[float, ...]  # the smoothing's numbers
    link: np.ndarray  # int64 (points): row of its link
    first: np.ndarray  # int64 (links): its first point
    points: np.ndarray  # int64 (links)
    free: sparse.csr_matrix  # (points, SPEED_INTERVALS * sensors)
    jam: sparse.csr_matrix
    near: sparse.csr_matrix  # (links, sensors): of its points together
    own: np.ndarray  # int64 (links): sensors that stand on it


def smoothing_key(smoothing: Smoothing) -> tuple[float, ...]:
    """What weights depend on: they are good for every rule of the same key."""
    return tuple(getattr(smoothing, entry.name) for entry in fields(Smoothing))


def weigh(network: RoadNetwork, sensors: Sensors, smoothing: Smoothing) -> Weights:
    """Weights of all sensors for all points and links."""
    length = np.maximum(network.length_m, 1.0)
    points = np.clip(np.ceil(length / POINT_EVERY_M), 1, POINTS_MAX).astype(np.int64)
    first = np.cumsum(points) - points
    link = np.repeat(np.arange(len(network)), points)
    share = (np.arange(len(link)) - np.repeat(first, points) + 0.5) / points[link]
    point, sensor, away_m = _pairs(network, sensors, (link, share), smoothing)
    own = np.bincount(sensors.link, minlength=len(network))
    shape = (len(link), len(sensors) * SPEED_INTERVALS)
    free = _kernel((point, sensor, away_m), smoothing, smoothing.wave_free_kmh, shape)
    jam = _kernel((point, sensor, away_m), smoothing, -smoothing.wave_jam_kmh, shape)
    near = sparse.csr_matrix(
        (np.exp(-_eased(np.abs(away_m), point, len(link)) / smoothing.smooth_m), (link[point], sensor)),
        shape=(len(network), len(sensors)),
    )
    near.sum_duplicates()
    return Weights(
        key=smoothing_key(smoothing), link=link, first=first, points=points, free=free, jam=jam, near=near, own=own
    )


def _along_m(network: RoadNetwork, link: np.ndarray, share: np.ndarray) -> np.ndarray:
    """Metres along the road in the direction of travel, by stakes (a few metres of a break do not matter here)."""
    begin, end = network.from_stake_m[link], network.to_stake_m[link]
    stake = begin + (end - begin) * share
    return np.where(end >= begin, stake, -stake)


def _pairs(
    network: RoadNetwork, sensors: Sensors, points: tuple[np.ndarray, np.ndarray], smoothing: Smoothing
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """(point, sensor, metres downstream of the point): those on its own link, and near ones of the same road."""
    link, share = points
    if not len(sensors):
        return np.empty(0, np.int64), np.empty(0, np.int64), np.empty(0)
    way = network.road * 4 + network.direction  # sensors of one carriageway lie together
    at_m = _along_m(network, sensors.link, sensors.share)
    order = np.lexsort([at_m, way[sensors.link]])
    base = _along_m(network, link, share)
    span = 1e9  # more than any road is long
    _, number = np.unique(way, return_inverse=True)
    key = number[sensors.link[order]] * span + at_m[order]
    place = np.searchsorted(key, number[link] * span + base)
    found = []
    for offset in range(-NEAREST, NEAREST):
        at = place + offset
        valid = (at >= 0) & (at < len(order))
        sensor = order[np.clip(at, 0, len(order) - 1)]
        away_m = at_m[sensor] - base
        valid &= way[sensors.link[sensor]] == way[link]
        mine = sensors.link[sensor] == link
        valid &= mine | (np.abs(away_m) <= smoothing.bridge_m)
        point = np.flatnonzero(valid)
        found.append((point, sensor[point], away_m[point]))
    point, sensor, away_m = (np.concatenate(column) for column in zip(*found, strict=True))
    return point, sensor, away_m


def _eased(away_m: np.ndarray, point: np.ndarray, points: int) -> np.ndarray:
    """Distances less that of the nearest one: only how much farther another is counts, and nothing underflows."""
    least = np.full(points, np.inf)
    np.minimum.at(least, point, away_m)
    return away_m - least[point]


def _kernel(
    pairs: tuple[np.ndarray, np.ndarray, np.ndarray], smoothing: Smoothing, wave_kmh: float, shape: tuple[int, int]
) -> sparse.csr_matrix:
    """exp(-|x| / smooth_m - |t - x / c| / smooth_s) for every pair and interval."""
    point, sensor, away_m = pairs
    sensors = shape[1] // SPEED_INTERVALS
    shift_s = np.clip(away_m / (wave_kmh / 3.6), -SHIFT_S_MAX, SHIFT_S_MAX)
    far = np.exp(-_eased(np.abs(away_m), point, shape[0]) / smoothing.smooth_m)
    rows, columns, data = [], [], []
    for interval in range(SPEED_INTERVALS):
        ago_s = (SPEED_INTERVALS - 1 - interval) * CYCLE_S + CYCLE_S / 2  # its middle
        weight = far * np.exp(-np.abs(-ago_s - shift_s) / smoothing.smooth_s)
        chosen = weight > LEAST_WEIGHT
        rows.append(point[chosen])
        columns.append(interval * sensors + sensor[chosen])
        data.append(weight[chosen])
    packed = (np.concatenate(data), (np.concatenate(rows), np.concatenate(columns)))
    return sparse.csr_matrix(packed, shape=shape)
