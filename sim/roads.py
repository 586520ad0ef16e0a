"""The network as a driver knows it: edges, what follows on them, and the quickest way. Pure."""

import heapq
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from traffic.network import Link


@dataclass(frozen=True, slots=True, kw_only=True)
class Edge:
    """One edge of the simulation; `draw` is how much traffic it draws, `reverse` the edge of the other direction."""

    id: str
    length_m: int
    limit_kmh: int
    lanes: int
    draw: float
    reverse: str


class Roads:
    """Quickest routes between edges; answers are kept, the network being small (some hundred edges)."""

    def __init__(self, links: Sequence[Link], after: Mapping[str, Sequence[str]]) -> None:
        self.edges = {
            str(link.id): Edge(
                id=str(link.id),
                length_m=link.length_m,
                limit_kmh=link.limit_kmh,
                lanes=link.lanes,
                draw=link.length_m * link.lanes**1.5 * (link.limit_kmh / 80) ** 2,
                reverse=str(link.id + 1 if link.direction == 1 else link.id - 1),
            )
            for link in links
        }
        self._after = after
        self._trees: dict[str, dict[str, str]] = {}

    def after(self, edge: str) -> Sequence[str]:
        """Edges that a vehicle may take next; at the end of a road into the neighbour province there is none."""
        return self._after.get(edge, ())

    def route(self, origin: str, destination: str) -> tuple[str, ...] | None:
        """The quickest way, both ends included; None where there is none."""
        if origin == destination:
            return (origin,)
        tree = self._tree(origin)
        if destination not in tree:
            return None
        way = [destination]
        while way[-1] != origin:
            way.append(tree[way[-1]])
        return tuple(reversed(way))

    def length_m(self, route: Sequence[str]) -> int:
        """Sum of the edges' lengths."""
        return sum(self.edges[edge].length_m for edge in route)

    def _tree(self, origin: str) -> dict[str, str]:
        """Dijkstra by free travel time: each reached edge with the one before it."""
        if origin in self._trees:
            return self._trees[origin]
        before: dict[str, str] = {}
        done: set[str] = set()
        open_edges: list[tuple[float, str, str]] = [(0.0, origin, "")]
        while open_edges:
            seconds, edge, came_from = heapq.heappop(open_edges)
            if edge in done:
                continue
            done.add(edge)
            if came_from:
                before[edge] = came_from
            facts = self.edges[edge]
            seconds += facts.length_m / facts.limit_kmh * 3.6
            for following in self.after(edge):
                if following not in done:
                    heapq.heappush(open_edges, (seconds, following, edge))
        self._trees[origin] = before
        return before
