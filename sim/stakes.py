"""Stakes for roads that come without: which stretches make one road, and how far along it each begins and ends. Pure.

A map gives edges between junctions with a name or number. The longest run of a road's edges that follow each other
without a sharp turn is its axis; edges that lie beside an axis get their stakes by projection onto it, so that both
carriageways of a road count alike; what lies elsewhere becomes a further axis, with stakes of its own behind the last.
"""

import math
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from enum import StrEnum

import shapely

from traffic.geo import Point

BESIDE_M = 45.0  # a carriageway's distance from its road's axis, at most
BESIDE_SHARE = 0.6  # of its points
SAMPLE_M = 50.0
TURN_DEG_MAX = 60.0  # a sharper turn is not the same road going on
BEHIND_M = 1_000  # between two axes of one road
ALONG_SHARE = 0.5  # of an edge's length that its stakes must span
STAKE_MAX = 9_999_999


class Unusable(StrEnum):
    """Why an edge of a map is left out. Closed: told in the report by this code."""

    NOT_FOR_CARS = "not_for_cars"
    MINOR_ROAD = "minor_road"
    TOO_SHORT = "too_short"
    NO_STAKES = "no_stakes"  # it runs across its own road, or the road is too long for stakes
    NO_OWNER = "no_owner"  # in no unit's area, and no unit was named
    WITHOUT_SPEED = "without_speed"


@dataclass(frozen=True, slots=True, kw_only=True)
class MapEdge:
    """One direction between two junctions. `plane`: metres; `line`: WGS-84, both in the direction of travel."""

    id: str
    road: str
    name: str
    kind: str
    from_node: str
    to_node: str
    length_m: float
    lanes: int
    limit_kmh: int
    plane: tuple[tuple[float, float], ...]
    line: tuple[Point, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Staked:
    """An edge with its place on its road; direction 1 where stakes increase. `piece`: number of the axis."""

    edge: MapEdge
    piece: int
    from_stake_m: int
    to_stake_m: int

    @property
    def direction(self) -> int:
        """1: stakes increase in the direction of travel; 2: they decrease."""
        return 1 if self.to_stake_m > self.from_stake_m else 2


def give_stakes(edges: Iterable[MapEdge]) -> tuple[list[Staked], list[tuple[MapEdge, Unusable]]]:
    """Stakes for every edge of every road; what cannot get any is told with the reason."""
    by_road: dict[str, list[MapEdge]] = defaultdict(list)
    for edge in edges:
        by_road[edge.road].append(edge)
    staked: list[Staked] = []
    unusable: list[tuple[MapEdge, Unusable]] = []
    for _, members in sorted(by_road.items()):
        _stake_road(members, staked, unusable)
    return staked, unusable


def _stake_road(edges: list[MapEdge], staked: list[Staked], unusable: list[tuple[MapEdge, Unusable]]) -> None:
    axes: list[tuple[shapely.LineString, int]] = []
    base_m = 0
    for chain in _chains(edges):
        line = shapely.LineString(_joined(chain))
        at = _beside(line, axes)
        if at is None:
            if not _goes_on(line):
                line = shapely.reverse(line)
            at = len(axes)
            axes.append((line, base_m))
            base_m += math.ceil(line.length) + BEHIND_M
        axis, begin_m = axes[at]
        for edge in chain:
            ends = [begin_m + round(axis.project(shapely.Point(edge.plane[place]))) for place in (0, -1)]
            if axis.is_ring or axis.is_closed:
                ends = _around(axis, begin_m, edge, ends)
            if abs(ends[1] - ends[0]) < max(1.0, ALONG_SHARE * edge.length_m) or max(ends) > STAKE_MAX:
                unusable.append((edge, Unusable.NO_STAKES))
            else:
                staked.append(Staked(edge=edge, piece=at, from_stake_m=ends[0], to_stake_m=ends[1]))


def _around(axis: shapely.LineString, begin_m: int, edge: MapEdge, ends: list[int]) -> list[int]:
    """On a ring the point where it closes is both its begin and its end: the middle of the edge says which is meant."""
    middle = shapely.LineString(edge.plane).interpolate(0.5, normalized=True)
    here_m = begin_m + axis.project(middle)
    length_m = axis.length
    return [round(end + length_m * round((here_m - end) / length_m)) if end in (begin_m,) else end for end in ends]


def _beside(line: shapely.LineString, axes: Sequence[tuple[shapely.LineString, int]]) -> int | None:
    """The axis beside which a run of edges lies, the nearest one of several."""
    count = max(2, int(line.length / SAMPLE_M) + 1)
    points = shapely.line_interpolate_point(line, [i / (count - 1) for i in range(count)], normalized=True)
    best: tuple[float, int] | None = None
    for number, (axis, _) in enumerate(axes):
        away = shapely.distance(axis, points)
        share = float((away <= BESIDE_M).mean())
        if share >= BESIDE_SHARE and (best is None or share > best[0]):
            best = share, number
    return best[1] if best else None


def _goes_on(line: shapely.LineString) -> bool:
    """Whether it leads east or south: where stakes are not given, they count that way."""
    (x0, y0), (x1, y1) = line.coords[0], line.coords[-1]
    return (x1 - x0) >= (y1 - y0) if (x0, y0) != (x1, y1) else True


def _joined(chain: Sequence[MapEdge]) -> list[tuple[float, float]]:
    points = list(chain[0].plane)
    for edge in chain[1:]:
        points += edge.plane[1:] if edge.plane[0] == points[-1] else edge.plane
    return points


def _chains(edges: Sequence[MapEdge]) -> list[list[MapEdge]]:
    """Runs of edges that follow each other most straightly, the longest first."""
    begins: dict[str, list[MapEdge]] = defaultdict(list)
    ends: dict[str, list[MapEdge]] = defaultdict(list)
    for edge in edges:
        begins[edge.from_node].append(edge)
        ends[edge.to_node].append(edge)
    free = {edge.id for edge in edges}
    chains: list[list[MapEdge]] = []
    for edge in sorted(edges, key=lambda edge: (-edge.length_m, edge.id)):
        if edge.id not in free:
            continue
        free.discard(edge.id)
        chain = [edge]
        while following := _straightest(chain[-1], begins[chain[-1].to_node], free, ahead=True):
            free.discard(following.id)
            chain.append(following)
        while leading := _straightest(chain[0], ends[chain[0].from_node], free, ahead=False):
            free.discard(leading.id)
            chain.insert(0, leading)
        chains.append(chain)
    return sorted(chains, key=lambda chain: (-sum(edge.length_m for edge in chain), chain[0].id))


def _straightest(edge: MapEdge, candidates: Sequence[MapEdge], free: set[str], *, ahead: bool) -> MapEdge | None:
    best: tuple[float, MapEdge] | None = None
    for other in candidates:
        if other.id not in free or {other.from_node, other.to_node} == {edge.from_node, edge.to_node}:
            continue
        turn = _turn_deg(edge, other) if ahead else _turn_deg(other, edge)
        if turn <= TURN_DEG_MAX and (best is None or turn < best[0]):
            best = turn, other
    return best[1] if best else None


def _turn_deg(before: MapEdge, after: MapEdge) -> float:
    (x0, y0), (x1, y1) = before.plane[-2:]
    (x2, y2), (x3, y3) = after.plane[:2]
    turn = math.degrees(math.atan2(y3 - y2, x3 - x2) - math.atan2(y1 - y0, x1 - x0))
    return abs((turn + 180.0) % 360.0 - 180.0)
