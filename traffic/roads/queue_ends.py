"""Where a queue ends: between the last slow sensor and the next free one, or at the link's border where none tells.

Nothing is carried over a place where the road does not go on: only the one link that follows on the same road and
direction is looked at, and only over `bridge_m_max`.
"""

from dataclasses import dataclass

import numpy as np

from traffic.roads.episodes import stake_at
from traffic.roads.model import RoadNetwork, Sensors, Window

INTERVALS = 4  # of 30 s: speed of a sensor is their mean, so that one interval does not move a tail


@dataclass(frozen=True, slots=True, kw_only=True)
class Neighbours:
    """Row of the one link before and after on the same road and direction; -1: none, or not one alone."""

    before: np.ndarray
    after: np.ndarray


@dataclass(frozen=True, slots=True, kw_only=True)
class QueueBounds:
    """`trust_min` of a sensor that is heard; below `speed_share` of the limit it stands in the queue."""

    trust_min: float
    speed_share: float
    bridge_m_max: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Ends:
    """`stake_m` of each queue's end, by how many metres it makes the queue of whole links longer, and who tells it.

    `slow`, `free`: rows of sensors; -1 where the end is the link's border.
    """

    stake_m: np.ndarray
    longer_m: np.ndarray
    slow: np.ndarray
    free: np.ndarray


def recent_speed(window: Window, intervals: int = INTERVALS) -> np.ndarray:
    """Mean speed of each sensor over the newest intervals that have one; NaN: none."""
    speed = window.speed_kmh[:, -intervals:]
    known = ~np.isnan(speed)
    with np.errstate(invalid="ignore"):
        return np.where(known, speed, 0.0).sum(axis=1) / np.where(known.any(axis=1), known.sum(axis=1), np.nan)


@dataclass(frozen=True, slots=True, kw_only=True)
class Readings:
    """Sensors that can tell a queue's end: speed, and whether so slow that they stand in the queue."""

    network: RoadNetwork
    sensors: Sensors
    neighbours: Neighbours
    speed: np.ndarray
    usable: np.ndarray
    slow: np.ndarray
    speed_share: float
    bridge_m_max: float

    def ends(self, links: np.ndarray, *, downstream: bool) -> Ends:
        """The downstream or upstream ends of queues whose last congested link there is `links` (rows).

        Speeds are taken to change evenly between two sensors; the queue ends where they pass `speed_share` of the
        limit.
        """
        network, onward = self.network, (self.neighbours.after if downstream else self.neighbours.before)[links]
        if not len(self.sensors):
            nobody = np.full(len(links), -1, np.int64)
            border = (network.to_stake_m if downstream else network.from_stake_m)[links]
            return Ends(stake_m=border.astype(np.float64), longer_m=np.zeros(len(links)), slow=nobody, free=nobody)
        slow = _outermost(self.sensors.link, self.slow, links, last=downstream)
        free = _next_usable(self.sensors, self.usable, slow, onward, downstream=downstream)
        told = (slow >= 0) & (free >= 0) & ~self.slow[free]
        x_slow = self._beyond(links, onward, slow, downstream=downstream)
        x_free = self._beyond(links, onward, free, downstream=downstream)
        near = told & (x_free - x_slow <= self.bridge_m_max)
        v_slow, v_free = self.speed[slow], self.speed[free]
        with np.errstate(invalid="ignore", divide="ignore"):
            part = np.clip((self.speed_share * network.limit_kmh[links] - v_slow) / (v_free - v_slow), 0.0, 1.0)
        beyond = np.where(near, x_slow + part * (x_free - x_slow), 0.0)
        return Ends(
            stake_m=_stake(network, links, onward, beyond, downstream=downstream),
            longer_m=beyond,
            slow=np.where(near, slow, -1),
            free=np.where(near, free, -1),
        )

    def _beyond(self, links: np.ndarray, onward: np.ndarray, rows: np.ndarray, *, downstream: bool) -> np.ndarray:
        """Metres of each sensor beyond the outer border of `links`, negative inside the link."""
        share, here = self.sensors.share[rows], self.sensors.link[rows] == links
        inside = (share - 1.0) if downstream else -share
        outside = share if downstream else (1.0 - share)
        return np.where(here, inside * self.network.length_m[links], outside * self.network.length_m[onward])


def readings_of(
    network: RoadNetwork,
    sensors: Sensors,
    window: Window,
    neighbours: Neighbours,
    *,
    bounds: QueueBounds,
) -> Readings:
    """What the sensors can tell of queues now."""
    speed = recent_speed(window)
    usable = ~np.isnan(speed) & (window.trust >= bounds.trust_min)
    return Readings(
        network=network,
        sensors=sensors,
        neighbours=neighbours,
        speed=speed,
        usable=usable,
        slow=usable & (speed < bounds.speed_share * network.limit_kmh[sensors.link]),
        speed_share=bounds.speed_share,
        bridge_m_max=bounds.bridge_m_max,
    )


def _outermost(link_of: np.ndarray, chosen: np.ndarray, links: np.ndarray, *, last: bool) -> np.ndarray:
    """Row of the first or last chosen sensor on each link; -1: none. Sensors lie in order of (link, share)."""
    rows = np.flatnonzero(chosen)
    if not len(rows):
        return np.full(len(links), -1, np.int64)
    of_rows = link_of[rows]
    at = np.searchsorted(of_rows, links, "right") - 1 if last else np.searchsorted(of_rows, links, "left")
    inside = np.clip(at, 0, len(rows) - 1)
    return np.where((at >= 0) & (at < len(rows)) & (of_rows[inside] == links), rows[inside], -1)


def _next_usable(
    sensors: Sensors, usable: np.ndarray, slow: np.ndarray, onward: np.ndarray, *, downstream: bool
) -> np.ndarray:
    """The next usable sensor beyond `slow` on its link, else the nearest one on the link beyond; -1: none."""
    rows = np.flatnonzero(usable)
    if not len(rows):
        return np.full(len(slow), -1, np.int64)
    at = np.searchsorted(rows, slow, "right") if downstream else np.searchsorted(rows, slow, "left") - 1
    inside = np.clip(at, 0, len(rows) - 1)
    same = (slow >= 0) & (at >= 0) & (at < len(rows)) & (sensors.link[rows[inside]] == sensors.link[slow])
    across = _outermost(sensors.link, usable, onward, last=not downstream)
    return np.where(same, rows[inside], np.where(onward >= 0, across, -1))


def _stake(
    network: RoadNetwork, links: np.ndarray, onward: np.ndarray, beyond: np.ndarray, *, downstream: bool
) -> np.ndarray:
    """Stake at `beyond` metres outside (or, negative, inside) the outer border of each link."""
    out = beyond > 0
    row = np.where(out, onward, links)
    moved = beyond / network.length_m[row]
    share = np.where(out, moved, 1.0 + moved) if downstream else np.where(out, 1.0 - moved, -moved)
    return np.rint(stake_at(network.from_stake_m[row], network.to_stake_m[row], np.clip(share, 0.0, 1.0)))
