"""Journeys worked out without a simulation: a route driven at speeds that follow limit, driver and hour, with stops.

For evaluations over whole days, where what matters is when a vehicle passes which checkpoint and where its terminal
says that it is, and not how it follows the vehicle in front. Pure; chance comes in as a seeded generator.
"""

from bisect import bisect_right
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import accumulate

import numpy as np

from sim.places import Places
from sim.roads import Roads
from traffic.buckets import SHANGHAI_US
from traffic.network import STAKES_INCREASE, Checkpoint, Link, StakeAmbiguous
from traffic.positions import PlaceIndex

SLOW_HOURS = {7: 0.94, 8: 0.92, 17: 0.92, 18: 0.93}  # of the day's speed, when many are on the road
ROUTE_TRIES = 5_000
YARD_RADII_DEG = (0.004, 0.008, 0.016)  # 400 m to 1.8 km


@dataclass(frozen=True, slots=True, kw_only=True)
class Stop:
    """Where on the route (metres from its begin) and for how long; on the lane, or in a yard beside the road."""

    at_m: float
    for_s: float
    on_lane: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Passing:
    """A true crossing of a checkpoint. `at_us`: microseconds UTC."""

    at_us: int
    checkpoint: int
    direction: int
    speed_kmh: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Drive:
    """One way driven: time (us, strictly growing) and metres (not falling) at its knots; between them evenly."""

    route: tuple[str, ...]
    begins_m: tuple[float, ...]  # of each edge of the route
    at_us: np.ndarray
    metres: np.ndarray
    off_road: tuple[tuple[int, int], ...] = ()  # (from, to) of the stops beside the road

    @property
    def start_us(self) -> int:
        """When it begins."""
        return int(self.at_us[0])

    @property
    def end_us(self) -> int:
        """When it ends."""
        return int(self.at_us[-1])

    def when(self, metres: float) -> int:
        """When the vehicle is so far, the first time."""
        after = int(np.clip(np.searchsorted(self.metres, metres), 1, len(self.metres) - 1))
        gone_m = (metres - self.metres[after - 1]) / max(1e-9, self.metres[after] - self.metres[after - 1])
        return int(self.at_us[after - 1] + gone_m * (self.at_us[after] - self.at_us[after - 1]))

    def place(self, at_us: int) -> tuple[str, float]:
        """The edge, and metres from its begin."""
        gone_m = float(np.interp(at_us, self.at_us, self.metres))
        number = max(0, bisect_right(self.begins_m, gone_m) - 1)
        return self.route[number], gone_m - self.begins_m[number]

    def is_off_road(self, at_us: int) -> bool:
        """Whether it stands beside the road then: in a yard before and after, in a rest area between."""
        if not self.start_us <= at_us < self.end_us:
            return True
        return any(begin <= at_us < end for begin, end in self.off_road)

    def speed_kmh(self, at_us: int) -> float:
        """Of the stretch that it is on then."""
        after = int(np.clip(np.searchsorted(self.at_us, at_us, "right"), 1, len(self.at_us) - 1))
        gone_m = self.metres[after] - self.metres[after - 1]
        return float(gone_m / max(1, self.at_us[after] - self.at_us[after - 1]) * 3.6e6)


class Map:
    """The links as a driver knows them, with the checkpoints on them."""

    def __init__(self, links: Sequence[Link], checkpoints: Iterable[Checkpoint]) -> None:
        starts: dict[int, list[Link]] = defaultdict(list)
        for link in links:
            starts[link.from_node].append(link)
        after = {
            str(link.id): [str(onward.id) for onward in starts[link.to_node] if onward.to_node != link.from_node]
            for link in links
        }
        self.roads = Roads(links, after)
        self.places = Places(links)
        self.edges = tuple(self.roads.edges)
        self._index = PlaceIndex(iter(links))
        self._yards: dict[tuple[float, float], tuple[float, float]] = {}
        self.gates: dict[str, list[tuple[float, Checkpoint, int]]] = defaultdict(list)
        for gate in checkpoints:
            for direction in (STAKES_INCREASE, 3 - STAKES_INCREASE):
                try:
                    spot = self.places.spot(gate.road_id, gate.stake_m, direction)
                except StakeAmbiguous:
                    continue
                if spot is not None:
                    self.gates[spot.edge].append((spot.position_m, gate, direction))

    def route(
        self, random: np.random.Generator, km: tuple[float, float], *, gates_min: int = 2, after: str = ""
    ) -> tuple[str, ...]:
        """A way of about such a length that passes checkpoints, from where an edge ended (`after`) or from anywhere.

        Raises LookupError when there is none to be found.
        """
        back = self.roads.edges[after].reverse if after else ""
        for _ in range(ROUTE_TRIES):
            origin, destination = (self.edges[int(n)] for n in random.integers(0, len(self.edges), 2))
            origin = back if back in self.roads.edges else origin
            way = self.roads.route(origin, destination)
            if way is None or not km[0] * 1e3 <= self.roads.length_m(way) <= km[1] * 1e3:
                continue
            if sum(len(self.gates[edge]) for edge in way) >= gates_min:
                return way
        raise LookupError(f"no way of {km[0]:.0f} to {km[1]:.0f} km past {gates_min} checkpoints")

    def drive(
        self, route: Sequence[str], *, start_us: int, factor: float, stops: Sequence[Stop] = (), kmh_max: float = 130.0
    ) -> Drive:
        """Drive the route: each edge at limit x factor (at most `kmh_max`), slower in the rush, with stops."""
        lengths = [float(self.roads.edges[edge].length_m) for edge in route]
        begins = (0.0, *accumulate(lengths))
        at_us, gone_m = float(start_us), 0.0
        times, metres = [start_us], [0.0]
        beside: list[tuple[int, int]] = []
        waiting = sorted(stops, key=lambda stop: stop.at_m)
        for number, edge in enumerate(route):
            kmh = min(kmh_max, self.roads.edges[edge].limit_kmh * factor) * _rush(int(at_us))
            while waiting and waiting[0].at_m < begins[number + 1]:
                stop = waiting.pop(0)
                at_us += (max(gone_m, stop.at_m) - gone_m) / kmh * 3.6e6
                gone_m = max(gone_m, stop.at_m)
                times += [int(at_us), int(at_us + stop.for_s * 1e6)]
                if not stop.on_lane:
                    beside.append((times[-2], times[-1]))
                metres += [gone_m, gone_m]
                at_us += stop.for_s * 1e6
            at_us += (begins[number + 1] - gone_m) / kmh * 3.6e6
            gone_m = begins[number + 1]
            times.append(int(at_us))
            metres.append(gone_m)
        knots = np.maximum.accumulate(np.array(times, np.int64) + np.arange(len(times)))  # strictly growing
        return Drive(
            route=tuple(route), begins_m=begins[:-1], at_us=knots, metres=np.array(metres), off_road=tuple(beside)
        )

    def passings(self, drive: Drive) -> list[Passing]:
        """Crossings in time order."""
        found = []
        for begin_m, edge in zip(drive.begins_m, drive.route, strict=True):
            for position_m, gate, direction in self.gates.get(edge, ()):
                at_us = drive.when(begin_m + position_m)
                found.append(
                    Passing(at_us=at_us, checkpoint=gate.id, direction=direction, speed_kmh=drive.speed_kmh(at_us))
                )
        return sorted(found, key=lambda passing: passing.at_us)

    def yard(self, lon: float, lat: float) -> tuple[float, float]:
        """Where a vehicle stands that has left the road near a point: the nearest place beside all roads."""
        key = (round(lon, 3), round(lat, 3))
        if key not in self._yards:
            tries = [
                (lon + radius * np.cos(turn) * 1.37, lat + radius * np.sin(turn))
                for radius in YARD_RADII_DEG
                for turn in np.arange(8) * np.pi / 4
            ]
            lons, lats = np.array(tries).T
            nothing = np.full(len(tries), np.nan)
            beside = np.flatnonzero(self._index.find(lons, lats, nothing, nothing)["road"] == 0)
            self._yards[key] = tries[int(beside[0])] if len(beside) else tries[-1]
        return self._yards[key]

    def point(self, drive: Drive, at_us: int) -> tuple[float, float, float]:
        """(lon, lat, bearing of travel)."""
        edge, position_m = drive.place(at_us)
        (lon, lat), bearing = self.places.point(edge, position_m)
        return lon, lat, bearing


def local_hour(at_us: int) -> int:
    """The hour of the day in Asia/Shanghai."""
    return (at_us + SHANGHAI_US) // 3_600_000_000 % 24


def _rush(at_us: int) -> float:
    return SLOW_HOURS.get(local_hour(at_us), 1.0)
