"""From a place on an edge of the simulation to stakes and to the map, and back. Pure."""

from bisect import bisect_left
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import accumulate, pairwise

from traffic.geo import Point, bearing_deg, distance_m
from traffic.network import STAKES_INCREASE, Link


@dataclass(frozen=True, slots=True, kw_only=True)
class Spot:
    """A place on one carriageway: metres from the begin of an edge."""

    edge: str
    position_m: float


class Places:
    """The links by their edges. A link's drawn curve is stretched to its length by stakes."""

    def __init__(self, links: Sequence[Link]) -> None:
        self.links = {str(link.id): link for link in links}
        self._of_road: dict[tuple[int, int], list[Link]] = defaultdict(list)
        for link in sorted(links, key=lambda link: (link.piece, min(link.from_stake_m, link.to_stake_m))):
            self._of_road[link.road_id, link.direction].append(link)
        self._marks: dict[str, list[float]] = {}

    def point(self, edge: str, position_m: float) -> tuple[Point, float]:
        """(lon, lat) and the bearing of travel."""
        link = self.links[edge]
        line, marks = link.geometry, self._marks_of(edge)
        gone_m = min(1.0, max(0.0, position_m / link.length_m)) * marks[-1]
        piece = min(max(1, bisect_left(marks, gone_m)), len(line) - 1)
        a, b = line[piece - 1], line[piece]
        span_m = marks[piece] - marks[piece - 1]
        part = (gone_m - marks[piece - 1]) / span_m if span_m else 0.0
        return (a[0] + (b[0] - a[0]) * part, a[1] + (b[1] - a[1]) * part), bearing_deg(a, b)

    def stake_m(self, edge: str, position_m: float) -> int:
        """The stake there."""
        link = self.links[edge]
        share = min(1.0, max(0.0, position_m / link.length_m))
        return round(link.from_stake_m + share * (link.to_stake_m - link.from_stake_m))

    def spot(self, road_id: int, stake_m: int, direction: int) -> Spot | None:
        """Where a stake lies in one direction; of two (长链) the first, None where the road has no such stake."""
        for link in self._of_road.get((road_id, direction), ()):
            low, high = sorted((link.from_stake_m, link.to_stake_m))
            if low <= stake_m <= high:
                share = abs(stake_m - link.from_stake_m) / max(1, high - low)
                return Spot(edge=str(link.id), position_m=share * link.length_m)
        return None

    def between(self, road_id: int, low_m: int, high_m: int, direction: int) -> list[Link]:
        """Links of one direction that overlap with a stretch, in the direction of travel."""
        found = [
            link
            for link in self._of_road.get((road_id, direction), ())
            if min(link.from_stake_m, link.to_stake_m) < high_m and max(link.from_stake_m, link.to_stake_m) > low_m
        ]
        return found if direction == STAKES_INCREASE else found[::-1]

    def _marks_of(self, edge: str) -> list[float]:
        if edge not in self._marks:
            line = self.links[edge].geometry
            self._marks[edge] = list(accumulate((distance_m(a, b) for a, b in pairwise(line)), initial=0.0))
        return self._marks[edge]
