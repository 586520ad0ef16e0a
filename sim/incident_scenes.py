"""What an incident trial is made of: roads with loops each few hundred metres, demand, and what goes wrong.

Two real networks of the eclipse-sumo wheel: a motorway with its interchange (`motorway`) and a town quarter with
signals (`town`). Seeded; the same seed gives the same trial.
"""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from xml.etree import ElementTree

import numpy as np
import sumolib

STATION_SPACING_M = 300.0
STATION_FROM_STOP_LINE_M = 30.0
ROAD_M_MIN = 450.0
MAIN = ("highway.motorway", "highway.primary", "highway.secondary", "highway.tertiary")
HORIZON_S = 5_400
WARM_UP_S = 900  # nothing is judged before
INTERVAL_S = 30
AT_ONCE = 3  # incidents at about the same time, on different roads


@dataclass(frozen=True, slots=True, kw_only=True)
class Ground:
    """A network of the wheel, how many vehicles an hour come onto it at a share of 1, and who they are."""

    name: str
    folder: str
    file: str
    vehicles_per_h: float
    reroute_share: float = 0.0  # of drivers look for another way
    whole_share: float = 0.0  # of incidents block every lane of the direction
    routes: tuple[str, ...] = ()


GROUNDS = {
    "motorway": Ground(
        name="motorway",
        folder="A10KW",
        file="osm.net.xml",
        vehicles_per_h=9_000.0,
        routes=("osm.passenger.rou.xml", "osm.truck.rou.xml", "osm.passenger_mw.rou.xml", "osm.truck_mw.rou.xml"),
    ),
    "town": Ground(
        name="town", folder="DRT", file="osm.net.xml", vehicles_per_h=5_000.0, reroute_share=0.15, whole_share=0.5
    ),
}
# Share of the demand at each quarter of an hour: the peak in the middle makes jams that come every day.
DAY = (0.6, 0.85, 1.05, 1.0, 0.75, 0.6)


@dataclass(frozen=True, slots=True, kw_only=True)
class Link:
    """One edge of a road; stakes count from the road's begin in the direction of travel."""

    edge: str
    road: int
    begin_m: float
    end_m: float
    lanes: tuple[int, ...]  # that cars may use
    limit_kmh: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Station:
    """Loops across the lanes of a link at one place."""

    link: int  # number in `Layout.links`
    share: float
    x: float
    y: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Layout:
    """Roads of a network, and where loops stand on them."""

    links: tuple[Link, ...]
    stations: tuple[Station, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Blockage:
    """What happens: vehicles stand still on some lanes of a link (`kind` incident), or one drives slowly (convoy)."""

    kind: str
    link: int
    share: float
    lanes_many: int
    at_s: float
    lasting_s: float


def network_path(ground: Ground) -> Path:
    """The network's file in the wheel."""
    import sumo

    return Path(sumo.SUMO_HOME) / "tools" / "game" / ground.folder / ground.file


def layout(net: "sumolib.net.Net") -> Layout:
    """Main roads as chains of edges that go on straight under one name, with stations at even distances."""
    links: list[Link] = []
    stations: list[Station] = []
    number = 0
    for chain in _chains(net):
        if sum(edge.getLength() for edge in chain) < ROAD_M_MIN:
            continue
        number += 1
        begin_m, first = 0.0, len(links)
        for edge in chain:
            lanes = tuple(lane.getIndex() for lane in edge.getLanes() if lane.allows("passenger"))
            links.append(
                Link(
                    edge=edge.getID(), road=number, begin_m=begin_m, end_m=begin_m + edge.getLength(),
                    lanes=lanes, limit_kmh=edge.getSpeed() * 3.6,
                )
            )  # fmt: skip
            begin_m += edge.getLength()
        stations += _stations(net, links, first)
    return Layout(links=tuple(links), stations=tuple(stations))


def _chains(net: "sumolib.net.Net") -> list[list["sumolib.net.edge.Edge"]]:
    main = sorted((e for e in net.getEdges() if e.allows("passenger") and e.getType() in MAIN), key=lambda e: e.getID())
    follower: dict[str, sumolib.net.edge.Edge] = {}
    taken: set[str] = set()
    for edge in main:
        onward = [e for e in edge.getOutgoing() if e in main and e.getToNode() is not edge.getFromNode()]
        straight = [(_turn(edge, e), e.getName() != edge.getName(), e.getID(), e) for e in onward]
        for turn, _, name, best in sorted(straight, key=lambda entry: (entry[1], entry[0], entry[2])):
            if turn < 60 and name not in taken:
                follower[edge.getID()] = best
                taken.add(name)
                break
    chains = []
    for edge in main:
        if edge.getID() not in taken:
            chain = [edge]
            while chain[-1].getID() in follower:
                chain.append(follower[chain[-1].getID()])
            chains.append(chain)
    return chains


def _turn(before: "sumolib.net.edge.Edge", after: "sumolib.net.edge.Edge") -> float:
    def heading(points: Sequence[tuple[float, float]]) -> float:
        (x0, y0), (x1, y1) = points[0], points[-1]
        return float(np.degrees(np.arctan2(y1 - y0, x1 - x0)))

    turn = heading(after.getShape()[:2]) - heading(before.getShape()[-2:])
    return abs((turn + 180) % 360 - 180)


def _stations(net: "sumolib.net.Net", links: Sequence[Link], first: int) -> list[Station]:
    found: list[Station] = []
    end_m = links[-1].end_m
    for place_m in np.arange(120.0, end_m - 60.0, STATION_SPACING_M):
        row = next(n for n in range(first, len(links)) if place_m <= links[n].end_m)
        length_m = links[row].end_m - links[row].begin_m
        at_m = min(max(place_m - links[row].begin_m, 5.0), max(length_m - STATION_FROM_STOP_LINE_M, length_m / 2))
        shape = net.getEdge(links[row].edge).getShape()
        x, y = sumolib.geomhelper.positionAtShapeOffset(shape, min(at_m, sumolib.geomhelper.polyLength(shape)))
        station = Station(link=row, share=at_m / length_m, x=x, y=y)
        if not found or _place(links, station) - _place(links, found[-1]) > 120.0:
            found.append(station)
    return found


def _place(links: Sequence[Link], station: Station) -> float:
    link = links[station.link]
    return link.begin_m + station.share * (link.end_m - link.begin_m)


# ---------------------------------------------------------------- demand
@dataclass(frozen=True, slots=True, kw_only=True)
class Ways:
    """Routes over a network (edges), and how often each is driven."""

    routes: list[list[str]]
    share: np.ndarray


def ways(ground: Ground, net: "sumolib.net.Net") -> Ways:
    """What is driven on a network: the routes that come with it, or the quickest ways through it."""
    routes, weights = _known_routes(ground) if ground.routes else _town_routes(net)
    return Ways(routes=routes, share=np.array(weights) / sum(weights))


def write_demand(ground: Ground, driven: Ways, path: Path, rng: np.random.Generator) -> dict[str, float]:
    """Vehicles with their routes over HORIZON_S, as SUMO reads them; trucks are 12 %. Returns vehicles by edge."""
    quarter_s = 900
    departs: list[float] = []
    for quarter, share in enumerate(DAY):
        expected = ground.vehicles_per_h * share * rng.normal(1.0, 0.05) * quarter_s / 3600
        departs += (quarter * quarter_s + rng.random(rng.poisson(max(0.0, expected))) * quarter_s).tolist()
    chosen = rng.choice(len(driven.routes), len(departs), p=driven.share)
    heavy = rng.random(len(departs)) < 0.12
    use: Counter[str] = Counter()
    with path.open("w", encoding="utf-8") as out:
        out.write('<routes><vType id="car" vClass="passenger" sigma="0.5" speedFactor="normc(1.0,0.1,0.6,1.4)"/>')
        out.write('<vType id="truck" vClass="truck" length="12" maxSpeed="24" speedFactor="normc(0.95,0.05,0.7,1.1)"/>')
        out.write('<vType id="convoy" vClass="passenger" length="20" maxSpeed="9"/>')
        for number, route in enumerate(driven.routes):
            out.write(f'<route id="r{number}" edges="{" ".join(route)}"/>')
        for number, at in enumerate(np.argsort(departs, kind="stable").tolist()):
            use.update(driven.routes[chosen[at]])
            out.write(
                f'<vehicle id="v{number}" type="{"truck" if heavy[at] else "car"}" route="r{chosen[at]}"'
                f' depart="{departs[at]:.2f}" departLane="best" departSpeed="max" departPos="base"/>'
            )
        out.write("</routes>")
    return dict(use)


def _known_routes(ground: Ground) -> tuple[list[list[str]], list[float]]:
    """Routes that come with the network, by how often they are driven; only whole ways."""
    many: Counter[tuple[str, ...]] = Counter()
    for name in ground.routes:
        for route in ElementTree.parse(network_path(ground).with_name(name)).getroot().iter("route"):
            many[tuple(route.get("edges", "").split())] += 1
    usual = [(list(route), float(times)) for route, times in sorted(many.items()) if times >= 5]
    return [route for route, _ in usual], [times for _, times in usual]


def _town_routes(net: "sumolib.net.Net") -> tuple[list[list[str]], list[float]]:
    """Quickest ways between the edges where roads enter and leave the quarter, wide and fast ones more often."""
    rng = np.random.default_rng(7)  # the town's habits are the same in every trial
    edges = [e for e in net.getEdges() if e.allows("passenger")]
    gates_in = [e for e in edges if not [p for p in e.getIncoming() if p.allows("passenger")] or e.is_fringe()]
    gates_in = [e for e in gates_in if e.getOutgoing()]
    gates_out = [e for e in edges if e.is_fringe() and e.getIncoming()]
    weight = {edge.getID(): _importance(edge) for edge in edges}
    routes, weights = [], []
    for begin in gates_in:
        for end in gates_out:
            if begin is end or begin.getFromNode() is end.getToNode():
                continue
            way, _ = net.getFastestPath(begin, end, vClass="passenger")
            if way and 3 <= len(way):
                routes.append([edge.getID() for edge in way])
                weights.append(weight[begin.getID()] * weight[end.getID()] * rng.lognormal(0, 0.5))
    keep = np.argsort(weights)[-400:]
    return [routes[n] for n in keep], [weights[n] for n in keep]


def _importance(edge: "sumolib.net.edge.Edge") -> float:
    rank = 3.0 if edge.getType() in MAIN[:2] else 1.5 if edge.getType() in MAIN else 0.3
    return rank * len(edge.getLanes())


# ---------------------------------------------------------------- what happens
def script(
    ground: Ground, plan: Layout, use: dict[str, float], rng: np.random.Generator, *, incidents: int, convoys: int
) -> list[Blockage]:
    """Incidents where most is driven, AT_ONCE of them on different roads; slow convoys where they are asked for."""
    length = np.array([link.end_m - link.begin_m for link in plan.links])
    driven = np.array([use.get(link.edge, 0.0) for link in plan.links]) * length
    driven = np.where(_between_stations(plan) & (length >= 60.0), driven, 0.0)
    said: list[Blockage] = []
    room_s = AT_ONCE * (HORIZON_S - WARM_UP_S - 600) / max(AT_ONCE, incidents)
    taken: list[int] = []
    for number in range(incidents):
        others = [link.road in taken[-(AT_ONCE - 1) :] for link in plan.links]
        left = np.where(others, 0.0, driven)
        row = int(rng.choice(len(driven), p=left / left.sum()))
        taken.append(plan.links[row].road)
        lanes = len(plan.links[row].lanes)
        blocked = _lanes_blocked(lanes, rng, whole_share=ground.whole_share)
        lasting_s = float(rng.uniform(420, 720))
        at_s = WARM_UP_S + number // AT_ONCE * room_s + float(rng.uniform(0, max(1.0, room_s - lasting_s - 480)))
        said.append(
            Blockage(
                kind="incident",
                link=row,
                share=float(rng.uniform(0.35, 0.9)),
                lanes_many=blocked,
                at_s=at_s,
                lasting_s=lasting_s,
            )  # fmt: skip
        )
    for at_s in sorted(rng.uniform(WARM_UP_S, HORIZON_S - 900, convoys).tolist()):
        said.append(Blockage(kind="convoy", link=-1, share=0.0, lanes_many=1, at_s=at_s, lasting_s=0.0))
    return said


def _between_stations(plan: Layout) -> np.ndarray:
    """Links behind the first station of their road and before the last: what happens elsewhere nobody could find."""
    inside = np.zeros(len(plan.links), bool)
    for road in {link.road for link in plan.links}:
        rows = [station.link for station in plan.stations if plan.links[station.link].road == road]
        if len(rows) > 1:
            inside[min(rows) : max(rows)] = True
    return inside


def _lanes_blocked(lanes: int, rng: np.random.Generator, *, whole_share: float) -> int:
    """Mostly one lane, sometimes more; in narrow streets often all."""
    if whole_share and rng.random() < whole_share:
        return lanes
    return 1 if lanes < 3 or rng.random() < 0.65 else int(rng.integers(2, lanes))
