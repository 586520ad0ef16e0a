"""Accidents of the demonstration: where, which lanes, how long; the next one by a seeded generator. Pure."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from sim.places import Places, Spot
from traffic.network import Detector, Link

NEXT_S = 480.0  # mean time between two of them, all over the province
LASTS_S = (480.0, 1_500.0)
NEAR_SHARE = 0.6  # so many happen a little downstream of a detector: busy places are watched
BEHIND_M = (60.0, 220.0)
ALL_LANES_SHARE = 0.55
CLEARED_SHARE = 0.65  # of its time, after which an accident on all lanes leaves one lane free
# Until then, when the first minutes are over, that lane is opened once a minute, and the queue creeps.
UNTOUCHED_S, RELEASE_EVERY_S, RELEASE_LANE_S = 120.0, 60.0, 3.0  # the longer, the more lanes there are
OPEN_MAX = 6  # at the same time


@dataclass(frozen=True, slots=True, kw_only=True)
class Accident:
    """Lanes (from the median) that are blocked in [from_s, to_s); those of `cleared` only until `cleared_s`.

    Before that somebody waves a few vehicles past on them now and then.
    """

    id: str
    edge: str
    position_m: float
    lanes: tuple[int, ...]
    cleared: tuple[int, ...]
    from_s: float
    cleared_s: float
    to_s: float

    def blocked(self, now_s: float) -> tuple[int, ...]:
        """The lanes that are blocked now."""
        if not self.from_s <= now_s < self.to_s:
            return ()
        age_s, closed_s = now_s - self.from_s, RELEASE_EVERY_S - RELEASE_LANE_S * len(self.lanes)
        is_released = age_s >= UNTOUCHED_S and age_s % RELEASE_EVERY_S >= closed_s
        is_passed = is_released or now_s >= self.cleared_s
        return tuple(lane for lane in self.lanes if lane not in self.cleared) if is_passed else self.lanes


def accident_at(name: str, spot: Spot, lanes: int, span_s: tuple[float, float], *, all_lanes: bool = True) -> Accident:
    """One on a road of so many lanes; where all of them were blocked one is free again after a while."""
    from_s, to_s = span_s
    cleared_s = from_s + CLEARED_SHARE * (to_s - from_s)
    # The outer lane of a wide road stays open, of two lanes the inner one is blocked.
    blocked = tuple(range(1, lanes + 1)) if all_lanes or lanes == 1 else tuple(range(1, lanes))
    cleared = blocked[-1:] if len(blocked) == lanes and lanes > 1 else ()
    return Accident(
        id=name, edge=spot.edge, position_m=spot.position_m, lanes=blocked, cleared=cleared,
        from_s=from_s, cleared_s=cleared_s, to_s=to_s,
    )  # fmt: skip


def behind(detector: Detector, places: Places, away_m: float) -> Spot | None:
    """A place so far downstream of a detector on its own link; None where the link ends before."""
    link = places.links.get(str(detector.link_id))
    spot = places.spot(detector.road_id, detector.stake_m, detector.direction) if link else None
    if link is None or spot is None or spot.edge != str(link.id) or spot.position_m + away_m > link.length_m - 20.0:
        return None
    return Spot(edge=spot.edge, position_m=spot.position_m + away_m)


class Accidents:
    """Those of now, and the next ones. `busy`: how much traffic each edge draws."""

    def __init__(
        self, links: Sequence[Link], detectors: Sequence[Detector], busy: dict[str, float],
        random: np.random.Generator,
    ) -> None:  # fmt: skip
        self._places = Places(links)
        self._links = [link for link in links if busy.get(str(link.id), 0.0) > 0.0]
        weights = np.array([busy[str(link.id)] for link in self._links], float)
        self._weights = weights / weights.sum() if len(weights) else weights
        self._detectors = [detector for detector in detectors if busy.get(str(detector.link_id), 0.0) > 0.0]
        per_m = np.array([busy[str(d.link_id)] / self._places.links[str(d.link_id)].length_m for d in self._detectors])
        self._near = per_m / per_m.sum() if len(per_m) else per_m
        self._random = random
        self._due_s = NEXT_S
        self._made = 0
        self.open: list[Accident] = []

    def add(self, accident: Accident) -> None:
        """One out of the script; it begins when its time comes."""
        self.open.append(accident)

    def turn(self, now_s: float, share: float) -> tuple[list[Accident], list[Accident]]:
        """(new ones, those that are over); `share` of the busiest hour: less traffic, fewer accidents."""
        over = [accident for accident in self.open if accident.to_s <= now_s]
        self.open = [accident for accident in self.open if accident.to_s > now_s]
        new: list[Accident] = []
        while self._due_s <= now_s and self._links:
            self._due_s += float(self._random.exponential(NEXT_S / max(0.3, share)))
            accident = self._next(now_s) if len(self.open) + len(new) < OPEN_MAX else None
            if accident is not None:
                new.append(accident)
        self.open += new
        return new, over

    def _next(self, now_s: float) -> Accident | None:
        spot = self._spot()
        if spot is None or any(other.edge == spot.edge for other in self.open):
            return None
        self._made += 1
        to_s = now_s + float(self._random.uniform(*LASTS_S))
        lanes = self._places.links[spot.edge].lanes
        all_lanes = bool(self._random.random() < ALL_LANES_SHARE)
        return accident_at(f"a{self._made}", spot, lanes, (now_s, to_s), all_lanes=all_lanes)

    def _spot(self) -> Spot | None:
        if self._detectors and self._random.random() < NEAR_SHARE:
            detector = self._detectors[int(self._random.choice(len(self._detectors), p=self._near))]
            return behind(detector, self._places, float(self._random.uniform(*BEHIND_M)))
        link = self._links[int(self._random.choice(len(self._links), p=self._weights))]
        return Spot(edge=str(link.id), position_m=float(self._random.uniform(0.1, 0.9)) * link.length_m)


@dataclass(frozen=True, slots=True, kw_only=True)
class Obstacle:
    """Something that stands on a lane (counted as SUMO does, from the outside): a cone, or vehicles that are held."""

    id: str
    edge: str
    lane: int
    position_m: float
    is_hold: bool

    def command(self) -> dict[str, object]:
        """What the engine is told."""
        return {
            "id": self.id, "edge": self.edge, "lane": self.lane, "position_m": self.position_m, "hold": self.is_hold,
        }  # fmt: skip


class Obstacles:
    """What stands on the roads, and what has to be put there or taken away to make it so."""

    def __init__(self, loop_places: dict[str, list[float]], lanes: dict[str, int], lengths_m: dict[str, float]) -> None:
        self._loops = loop_places
        self._lanes = lanes
        self._lengths_m = lengths_m
        self._there: dict[str, Obstacle] = {}

    def move(
        self, wanted: dict[str, tuple[str, int, float]], *, holds: frozenset[str] = frozenset()
    ) -> tuple[list[Obstacle], list[str]]:
        """(to put, ids to take away) for what is wanted: id -> (edge, lane from the median, metres).

        `holds`: those of them where vehicles are held.
        """
        gone = [name for name in self._there if name not in wanted]
        for name in gone:
            del self._there[name]
        new = []
        for name, (edge, lane, position_m) in wanted.items():
            if name not in self._there:
                place = self._off_loops(edge, position_m)
                obstacle = Obstacle(
                    id=name, edge=edge, lane=self._lanes[edge] - lane, position_m=place, is_hold=name in holds
                )
                self._there[name] = obstacle
                new.append(obstacle)
        return new, gone

    def refused(self, names: Sequence[str]) -> None:
        """What the engine could not put there is not there, and will be tried again."""
        for name in names:
            self._there.pop(name, None)

    def _off_loops(self, edge: str, position_m: float) -> float:
        """An obstacle on a loop would be counted; it stands a little further on."""
        place = min(max(position_m, 12.0), self._lengths_m[edge] - 6.0)
        for loop_m in sorted(self._loops.get(edge, ())):
            if loop_m - 3.0 < place < loop_m + 12.0:
                place = loop_m + 12.0
        return min(place, self._lengths_m[edge] - 3.0)
