"""A beat: a stretch of one road that some vehicles drive up and down, as people do who live there. Pure."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from sim.roads import Roads
from traffic.network import STAKES_INCREASE, Checkpoint, Link

END_M = 20.0  # a beat ends so far before the end of its last link
LOCAL_M = 4_000  # how far a beat about one checkpoint reaches to either side


@dataclass(frozen=True, slots=True, kw_only=True)
class Way:
    """One direction of a beat: its edges, where on the first it begins and where on the last it ends."""

    route: tuple[str, ...]
    enter_m: float
    leave_m: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Run:
    """What is left of a way from a place on it."""

    way: int
    route: tuple[str, ...]
    position_m: float
    arrival_m: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Beat:
    """Up and down again is a round of twice `length_m`; places on it count from where the way up begins.

    `gates`: the places of the beat's checkpoints, each met on the way up and on the way down.
    """

    ways: tuple[Way, Way]
    length_m: float
    limit_kmh: int
    gates: tuple[float, ...]

    def run_from(self, place_m: float, roads: Roads) -> Run:
        """From a place of the round (any number; rounds repeat) to the end of the way that it lies on."""
        place_m %= 2 * self.length_m
        if -place_m % self.length_m < END_M:  # too near to an end to drive on to it
            place_m = (place_m + END_M) % (2 * self.length_m) // self.length_m * self.length_m
        number, gone_m = (0, place_m) if place_m < self.length_m else (1, place_m - self.length_m)
        way = self.ways[number]
        position_m, first = way.enter_m + gone_m, 0
        while first < len(way.route) - 1 and position_m >= roads.edges[way.route[first]].length_m:
            position_m -= roads.edges[way.route[first]].length_m
            first += 1
        return Run(way=number, route=way.route[first:], position_m=position_m, arrival_m=way.leave_m)

    def back_from(self, way: int, roads: Roads) -> Run:
        """The way back after a way was driven to its end."""
        return self.run_from(self.length_m if way == 0 else 0.0, roads)


def local_beats(links: Sequence[Link], gates: Iterable[Checkpoint], roads: Roads) -> list[Beat]:
    """A beat about each of these checkpoints."""
    spans = ((gate, gate.stake_m - LOCAL_M, gate.stake_m + LOCAL_M) for gate in gates)
    found = (_beat(links, [gate], (low_m, high_m), roads) for gate, low_m, high_m in spans)
    return [beat for beat in found if beat is not None]


def beats_past(links: Sequence[Link], gates: Sequence[Checkpoint], roads: Roads) -> list[Beat]:
    """Beats past some checkpoints: a single one along the road that they all stand on, else one about each."""
    if len({gate.road_id for gate in gates}) == 1:
        beat = beat_along(links, gates, roads)
        return [beat] if beat is not None else []
    return local_beats(links, gates, roads)


def beat_along(links: Sequence[Link], gates: Sequence[Checkpoint], roads: Roads) -> Beat | None:
    """One beat past all of these checkpoints of one road, as far as the road is not interrupted."""
    stakes = [gate.stake_m for gate in gates]
    return _beat(links, gates, (min(stakes) - LOCAL_M, max(stakes) + LOCAL_M), roads)


def _beat(links: Sequence[Link], gates: Sequence[Checkpoint], span: tuple[int, int], roads: Roads) -> Beat | None:
    ups = _unbroken(links, gates[0], span, roads)
    if not ups:
        return None
    low_m = max(span[0], ups[0].from_stake_m + END_M)
    high_m = min(span[1], ups[-1].to_stake_m - END_M)
    length_m = high_m - low_m
    inside = sorted(gate.stake_m - low_m for gate in gates if low_m < gate.stake_m < high_m)
    if length_m < 10 * END_M or not inside:
        return None
    begin_m, rest_m = low_m - ups[0].from_stake_m, ups[-1].to_stake_m - high_m
    up = Way(
        route=tuple(str(link.id) for link in ups),
        enter_m=begin_m,
        leave_m=ups[-1].length_m - rest_m,
    )
    down = Way(
        route=tuple(roads.edges[edge].reverse for edge in reversed(up.route)),
        enter_m=rest_m,
        leave_m=ups[0].length_m - begin_m,
    )
    places = (*inside, *sorted(2 * length_m - place for place in inside))
    return Beat(ways=(up, down), length_m=length_m, limit_kmh=ups[0].limit_kmh, gates=places)


def _unbroken(links: Sequence[Link], gate: Checkpoint, span: tuple[int, int], roads: Roads) -> list[Link]:
    """Links with rising stakes about a checkpoint, each going on into the next in both directions.

    Only those as long as their stakes say: a beat counts in metres of both.
    """
    line = sorted(
        (link for link in links if link.road_id == gate.road_id and link.direction == STAKES_INCREASE),
        key=lambda link: link.from_stake_m,
    )
    line = [link for link in line if link.to_stake_m > span[0] and link.from_stake_m < span[1]]
    own = next((place for place, link in enumerate(line) if link.from_stake_m <= gate.stake_m < link.to_stake_m), None)
    if own is None:
        return []
    first = last = own
    while first > 0 and _goes_on(line[first - 1], line[first], roads):
        first -= 1
    while last + 1 < len(line) and _goes_on(line[last], line[last + 1], roads):
        last += 1
    found = line[first : last + 1]
    return found if all(link.length_m == link.to_stake_m - link.from_stake_m for link in found) else []


def _goes_on(one: Link, other: Link, roads: Roads) -> bool:
    back = roads.edges[str(other.id)].reverse, roads.edges[str(one.id)].reverse
    return str(other.id) in roads.after(str(one.id)) and back[1] in roads.after(back[0])
