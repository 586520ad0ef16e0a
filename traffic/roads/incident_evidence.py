"""What speaks for an incident between two stations, at one station, and in a link's travel time, as numbers.

Each is a difference between now and the minutes before, so that what is usual at a place (a queue of every morning, a
pair of stations that never agree) speaks for nothing. Literature: upstream-downstream occupancy and speed after Payne
and Tignor (1978, California algorithms); sudden change against the minutes before after Dudek, Messer and Nuckles
(1974, standard normal deviate) and Persaud and Hall (1989, McMaster: speed falls, flow does not come through); sums of
log-likelihood ratios after Page (1954, CUSUM).
"""

from dataclasses import dataclass

import numpy as np

from traffic.roads.model import RoadNetwork, Sensors, Window
from traffic.roads.queue_ends import Neighbours

BEFORE = slice(-22, -6)  # columns of the window: 11 to 3 minutes ago
SHORT = 2  # newest intervals of speed and occupancy
FLOW = 4  # newest intervals of flow: it is noisier
NEAR_M = 50.0  # two stations nearer to each other say the same
STANDING_OCCUPANCY = 35.0  # per cent, without a vehicle passing: somebody stands on the loop
PAIR_FEATURES = ("speed_fell", "speed_difference", "occupancy_difference", "flow_fell_downstream")
STATION_FEATURES = ("speed_fell", "occupancy_rose", "flow_fell")
HOPS_MAX = 40  # links without a station between two of a pair


@dataclass(frozen=True, slots=True, kw_only=True)
class Pairs:
    """Rows of neighbouring stations (sensors) on one road, upstream and downstream, and how far they are apart."""

    up: np.ndarray
    down: np.ndarray
    gap_m: np.ndarray
    of_up: np.ndarray  # pair of each sensor as the upstream one; -1: none

    def __len__(self) -> int:
        return len(self.up)


def pairs_of(network: RoadNetwork, sensors: Sensors, neighbours: Neighbours, *, gap_m_max: float) -> Pairs:
    """Every sensor with the next one on its road that is not at the same place, at most `gap_m_max` away."""
    many = len(sensors)
    begin = np.searchsorted(sensors.link, np.arange(len(network)))
    end = np.searchsorted(sensors.link, np.arange(len(network)), "right")
    at_m = sensors.share * network.length_m[sensors.link] if many else np.empty(0)
    down = np.full(many, -1, np.int64)
    gap_m = np.full(many, np.inf)
    link, away_m = sensors.link.copy(), -at_m  # from the station to the begin of `link`
    for _ in range(HOPS_MAX):
        looking = np.flatnonzero((down < 0) & (link >= 0) & (away_m <= gap_m_max))
        if not len(looking):
            break
        found, found_m = _first_beyond(link[looking], away_m[looking], at_m, begin, end)
        down[looking], gap_m[looking] = found, found_m
        away_m[looking] += network.length_m[link[looking]]
        link[looking] = neighbours.after[link[looking]]
    up = np.flatnonzero((down >= 0) & (gap_m <= gap_m_max))
    of_up = np.full(many, -1, np.int64)
    of_up[up] = np.arange(len(up))
    return Pairs(up=up, down=down[up], gap_m=gap_m[up], of_up=of_up)


def _first_beyond(
    link: np.ndarray, away_m: np.ndarray, at_m: np.ndarray, begin: np.ndarray, end: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """The first station on each link that lies at least NEAR_M ahead; -1: none."""
    row = begin[link].copy()
    for _ in range(8):  # stations at one place: a detector and both kinds of camera at most
        inside = row < end[link]
        near = np.zeros(len(row), bool)
        near[inside] = away_m[inside] + at_m[row[inside]] < NEAR_M
        if not near.any():
            break
        row[near] += 1
    inside = row < end[link]
    gap_m = np.full(len(row), np.inf)
    gap_m[inside] = away_m[inside] + at_m[row[inside]]
    return np.where(inside, row, -1), gap_m


@dataclass(frozen=True, slots=True, kw_only=True)
class Stations:
    """Each sensor now and in the minutes before: speed km/h, flow vph, occupancy %. NaN: not known."""

    speed: np.ndarray
    flow: np.ndarray
    occupancy: np.ndarray
    speed_before: np.ndarray
    flow_before: np.ndarray
    occupancy_before: np.ndarray


def stations_of(window: Window) -> Stations:
    """The newest minute or two beside the minutes before. Where nobody passes a free station its speed is as before."""
    flow, occupancy = _mean(window.flow_vph[:, -FLOW:]), _mean(window.occupancy[:, -SHORT:])
    speed, before = _mean(window.speed_kmh[:, -SHORT:]), _mean(window.speed_kmh[:, BEFORE])
    empty = np.isnan(speed) & (_mean(window.flow_vph[:, -SHORT:]) == 0)
    with np.errstate(invalid="ignore"):
        standing = empty & (occupancy >= STANDING_OCCUPANCY)
    return Stations(
        speed=np.where(standing, 0.0, np.where(empty, before, speed)),
        flow=flow,
        occupancy=occupancy,
        speed_before=before,
        flow_before=_mean(window.flow_vph[:, BEFORE]),
        occupancy_before=_mean(window.occupancy[:, BEFORE]),
    )


def _mean(values: np.ndarray) -> np.ndarray:
    """Of each row, over what is known; NaN: nothing is. Column by column, which is several times faster than by row."""
    total, many = np.zeros(len(values)), np.zeros(len(values))
    for column in values.T:
        known = ~np.isnan(column)
        total += np.where(known, column, 0.0)
        many += known
    return np.where(many > 0, total / np.maximum(many, 1.0), np.nan)


def pair_features(stations: Stations, pairs: Pairs, limit_kmh: np.ndarray) -> np.ndarray:
    """(pairs, PAIR_FEATURES); `limit_kmh` of each sensor's link. A row with NaN: too little is known.

    Occupancy that is not measured speaks for nothing.
    """
    up, down = pairs.up, pairs.down
    limit = limit_kmh[up]
    fell = (stations.speed_before[up] - stations.speed[up]) / limit
    apart = (stations.speed[down] - stations.speed[up]) / limit
    apart_before = (stations.speed_before[down] - stations.speed_before[up]) / limit
    occupancy = stations.occupancy[up] - stations.occupancy[down]
    occupancy_before = stations.occupancy_before[up] - stations.occupancy_before[down]
    columns = (
        np.clip(fell, -1, 1),
        np.clip(apart - apart_before, -1, 1),
        np.clip(_or_0(occupancy - occupancy_before) / 20, -2, 2),
        fewer(stations.flow_before[down], stations.flow[down]),
    )
    return np.stack(columns, axis=1) if len(pairs) else np.empty((0, len(columns)))


def station_features(stations: Stations, limit_kmh: np.ndarray) -> np.ndarray:
    """(sensors, STATION_FEATURES). A row with NaN: too little is known."""
    columns = (
        np.clip((stations.speed_before - stations.speed) / limit_kmh, -1, 1),
        np.clip(_or_0(stations.occupancy - stations.occupancy_before) / 20, -2, 2),
        fewer(stations.flow_before, stations.flow),
    )
    return np.stack(columns, axis=1) if len(limit_kmh) else np.empty((0, len(columns)))


def _or_0(values: np.ndarray) -> np.ndarray:
    return np.where(np.isnan(values), 0.0, values)


def fewer(before_vph: np.ndarray | float, now_vph: np.ndarray | float) -> np.ndarray:
    """How many standard deviations fewer vehicles come than before, counts taken as Poisson; within -4..4."""
    hours = FLOW * 30 / 3600
    expected, came = before_vph * hours, now_vph * hours
    with np.errstate(invalid="ignore"):
        return np.clip((expected - came) / np.sqrt(expected + 1.0), -4, 4)


def log_likelihood_ratio(features: np.ndarray, weights: tuple[float, ...], *, most: float) -> np.ndarray:
    """Base (last of `weights`) and weighted sum of each row, within -most..most; 0 where too little is known."""
    said = features @ np.array(weights[:-1]) + weights[-1]
    return np.where(np.isnan(said), 0.0, np.clip(said, -most, most))
