"""Crews on patrol: up and down their squadron's stretch, stops at posts, and out to accidents. Pure."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from sim.places import Places, Spot
from traffic.network import STAKES_INCREASE, Link

PATROL_KMH, URGENT_KMH = (55.0, 85.0), 110.0
POST_S = (240.0, 900.0)
DRIVING_EVERY_S, STANDING_EVERY_S = 5.0, 10.0
NOISE_M = 4.0
OFF_SHARE = 0.12  # of the crews are off the road for a while
OFF_S = (1_800.0, 7_200.0)
STRETCH_M_MAX = 60_000.0
METRES_DEGREE = 111_200.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Beat:
    """The stretch of a crew: links with rising stakes that follow each other; places count from its begin."""

    up: tuple[Link, ...]
    length_m: float
    posts_m: tuple[float, ...] = ()

    def spot(self, place_m: float, way: int, reverse: Mapping[str, str]) -> Spot:
        """The place on the carriageway that is driven: way 1 with rising stakes, -1 back."""
        left_m = min(max(place_m, 0.0), self.length_m - 0.1)
        for link in self.up:
            if left_m < link.length_m or link is self.up[-1]:
                if way == 1:
                    return Spot(edge=str(link.id), position_m=left_m)
                return Spot(edge=reverse.get(str(link.id), str(link.id)), position_m=link.length_m - left_m)
            left_m -= link.length_m
        raise AssertionError("a beat has links")

    def place_of(self, spot: Spot, reverse: Mapping[str, str]) -> float | None:
        """Where on the beat a place of either carriageway lies; None off it."""
        before_m = 0.0
        for link in self.up:
            if spot.edge == str(link.id):
                return before_m + spot.position_m
            if spot.edge == reverse.get(str(link.id)):
                return before_m + link.length_m - spot.position_m
            before_m += link.length_m
        return None


def beats_of(links: Sequence[Link]) -> list[tuple[Link, ...]]:
    """Unbroken runs of links with rising stakes out of some links, at most STRETCH_M_MAX long each."""
    ups = sorted(
        (link for link in links if link.direction == STAKES_INCREASE),
        key=lambda link: (link.road_id, link.piece, link.from_stake_m),
    )
    runs: list[list[Link]] = []
    for link in ups:
        last = runs[-1][-1] if runs else None
        length_m = sum(part.length_m for part in runs[-1]) if runs else 0
        if last and last.to_node == link.from_node and length_m + link.length_m <= STRETCH_M_MAX:
            runs[-1].append(link)
        else:
            runs.append([link])
    return [tuple(run) for run in runs]


@dataclass(slots=True, kw_only=True)
class State:
    """One crew as it is now."""

    id: int
    code: str
    beat: Beat
    place_m: float
    way: int = 1
    target_m: float = 0.0
    speed_kmh: float = 0.0
    rest_s: float = 0.0  # stands until then
    called_to: str = ""  # id of an accident
    said_s: float = -1e9
    off: tuple[float, float] = field(default=(0.0, 0.0))


class Patrols:
    """All crews. `step` moves them, `positions` says which of them report now."""

    def __init__(
        self, crews: Sequence[tuple[int, str, Beat]], places: Places, random: np.random.Generator,
        *, always_on: frozenset[int] = frozenset(),
    ) -> None:  # fmt: skip
        self._places = places
        self._random = random
        self._always_on = always_on
        self._reverse = _reverses(places)
        self._now_s = 0.0
        self.crews = [
            State(id=number, code=code, beat=beat, place_m=float(random.uniform(0.0, beat.length_m)),
                  way=1 if random.random() < 0.5 else -1, off=self._off(number, 0.0))
            for number, code, beat in crews
        ]  # fmt: skip
        for crew in self.crews:
            self._set_out(crew)

    def step(self, now_s: float, accidents: Mapping[str, Spot]) -> None:
        """Everyone moves up to `now_s`; accidents that are open: id -> place."""
        passed_s, self._now_s = now_s - self._now_s, now_s
        self._call(accidents)
        for crew in self.crews:
            if crew.called_to and crew.called_to not in accidents:
                crew.called_to = ""
                self._set_out(crew)
            self._move(crew, passed_s)
            if not crew.off[0] <= now_s < crew.off[1] and crew.off[1] <= now_s:
                crew.off = self._off(crew.id, now_s)

    def positions(self, now_s: float) -> list[tuple[str, Spot, float, float, float]]:
        """(code, place, speed km/h, lon, lat) of those whose time it is; the receiver errs by some metres."""
        found = []
        for crew in self.crews:
            every_s = DRIVING_EVERY_S if crew.speed_kmh > 0.0 else STANDING_EVERY_S
            if now_s - crew.said_s < every_s or crew.off[0] <= now_s < crew.off[1]:
                continue
            crew.said_s = now_s
            spot = crew.beat.spot(crew.place_m, crew.way, self._reverse)
            lon, lat = noisy(self._places.point(spot.edge, spot.position_m)[0], NOISE_M, self._random)
            found.append((crew.code, spot, crew.speed_kmh, lon, lat))
        return found

    def bearing_deg(self, spot: Spot) -> float:
        """Of travel at a place."""
        return self._places.point(spot.edge, spot.position_m)[1]

    def _call(self, accidents: Mapping[str, Spot]) -> None:
        """To each accident on someone's beat goes the nearest crew that is free."""
        served = {crew.called_to for crew in self.crews}
        for name, spot in accidents.items():
            if name in served:
                continue
            near = [
                (abs(place_m - crew.place_m), crew.id, crew, place_m)
                for crew in self.crews
                if not crew.called_to and (place_m := crew.beat.place_of(spot, self._reverse)) is not None
            ]
            if near:
                _, _, crew, place_m = min(near, key=lambda entry: entry[:2])
                crew.called_to, crew.target_m, crew.rest_s, crew.off = name, place_m, 0.0, (0.0, 0.0)
                crew.way = 1 if place_m >= crew.place_m else -1
                crew.speed_kmh = URGENT_KMH

    def _move(self, crew: State, seconds: float) -> None:
        if crew.rest_s > self._now_s or (crew.called_to and crew.place_m == crew.target_m):
            crew.speed_kmh = 0.0
            return
        if crew.speed_kmh == 0.0:
            self._set_out(crew)
        step_m = crew.speed_kmh / 3.6 * seconds
        if abs(crew.target_m - crew.place_m) > step_m:
            crew.place_m += crew.way * step_m
            return
        crew.place_m, crew.speed_kmh = crew.target_m, 0.0
        if not crew.called_to:
            crew.rest_s = self._now_s + float(self._random.uniform(*POST_S))

    def _set_out(self, crew: State) -> None:
        """To a post or to some other place of the beat."""
        posts = crew.beat.posts_m
        if posts and self._random.random() < 0.7:
            crew.target_m = posts[int(self._random.integers(len(posts)))]
        else:
            crew.target_m = float(self._random.uniform(0.0, crew.beat.length_m))
        crew.way = 1 if crew.target_m >= crew.place_m else -1
        crew.speed_kmh = float(self._random.uniform(*PATROL_KMH))
        crew.rest_s = 0.0

    def _off(self, crew: int, now_s: float) -> tuple[float, float]:
        if crew in self._always_on:
            return 0.0, 0.0
        length_s = float(self._random.uniform(*OFF_S))
        if now_s == 0.0 and self._random.random() < OFF_SHARE:
            return 0.0, length_s
        begin_s = now_s + float(self._random.exponential(length_s / OFF_SHARE))
        return begin_s, begin_s + length_s


def noisy(point: tuple[float, float], metres: float, random: np.random.Generator) -> tuple[float, float]:
    """The point as a receiver with this error (one standard deviation) tells it, to 0.1 m."""
    lon, lat = point
    east, north = random.normal(0.0, metres, 2) / METRES_DEGREE
    return round(lon + float(east) / 0.72, 6), round(lat + float(north), 6)


def _reverses(places: Places) -> dict[str, str]:
    """Edge -> the edge of the other direction of the same stretch."""
    of_ends = {
        (link.road_id, link.piece, link.from_stake_m, link.to_stake_m): edge for edge, link in places.links.items()
    }
    return {
        edge: back
        for edge, link in places.links.items()
        if (back := of_ends.get((link.road_id, link.piece, link.to_stake_m, link.from_stake_m))) is not None
    }
