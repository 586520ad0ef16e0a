"""A site's own map: an OpenStreetMap extract or a SUMO network, read into plain rows of roads and links.

What cannot be used is listed with its reason. Nothing is written here: `traffic/network_rows.py` says what a row is and
puts it into the database. Stakes are counted from the begin of each road, because maps carry none (`stakes.py`).
"""

import math
import os
import subprocess
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from hashlib import blake2b
from itertools import pairwise
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from sim.stakes import MapEdge, Staked, Unusable, give_stakes
from traffic.errors import TrafficError
from traffic.geo import Point, plane_to_lonlat
from traffic.network import EXPRESSWAY, TRUNK, URBAN
from traffic.network_rows import LinkRow, RoadRow

OSM_SUFFIXES = (".osm", ".osm.xml", ".osm.gz", ".osm.bz2")
NET_SUFFIXES = (".net.xml", ".net.xml.gz")
NETCONVERT_S_MAX = 3_600
FILE_BYTES_MAX = 4 * 1024**3
LENGTH_M_MIN = 5.0
LANES_MAX = 12
KIND_OF_TYPE = {
    "motorway": EXPRESSWAY, "motorway_link": EXPRESSWAY, "trunk": TRUNK, "trunk_link": TRUNK,
    "primary": TRUNK, "primary_link": TRUNK, "secondary": URBAN, "secondary_link": URBAN,
    "tertiary": URBAN, "tertiary_link": URBAN, "unclassified": URBAN,
}  # fmt: skip
MINOR_TYPES = frozenset(
    ("residential", "living_street", "service", "track", "road", "pedestrian", "footway", "path", "cycleway", "steps")
)


class MapUnreadable(TrafficError):
    """A file is no map that can be read; the sentence says what is wrong with it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Left:
    """An edge that could not be used."""

    source: str
    reason: Unusable
    detail: str


@dataclass(slots=True, kw_only=True)
class MapRows:
    """What a map gives, what it does not, and what netconvert complained of."""

    roads: list[RoadRow] = field(default_factory=list)
    links: list[LinkRow] = field(default_factory=list)
    left: list[Left] = field(default_factory=list)
    complaints: list[str] = field(default_factory=list)

    def counts(self) -> dict[str, int]:
        """How many edges were left out for each reason."""
        return dict(Counter(entry.reason.value for entry in self.left))


Owner = Callable[[Point, str], int | None]  # point and kind of road -> unit


def read_map(path: Path, *, owner: Owner, name: str = "", minor: bool = False, origin: Point | None = None) -> MapRows:
    """Rows of a map file. `minor`: residential and service roads too; `origin`: where a network without places lies.

    `name` (else the file's) stands before each edge's id, so that two maps may use one id; a later state of a map that
    comes under the same name keeps its links. Raises MapUnreadable.
    """
    known_as = name or path.name.partition(".")[0]
    file = path.name.lower()
    if not path.is_file():
        raise MapUnreadable(f"{path} is no file")
    if path.stat().st_size > FILE_BYTES_MAX:
        raise MapUnreadable(
            f"{path.name} has more than {FILE_BYTES_MAX // 1024**3} GiB: cut the extract to the province"
        )
    if file.endswith(".pbf"):
        raise MapUnreadable(f"{path.name} is packed (PBF): turn it into .osm first, for example with osmium cat")
    if file.endswith(NET_SUFFIXES):
        rows = _rows(path, owner=owner, minor=minor, origin=origin)
        return _named_rows(rows, known_as, nodes=True)
    if not file.endswith(OSM_SUFFIXES):
        wanted = ", ".join((*NET_SUFFIXES, *OSM_SUFFIXES))
        raise MapUnreadable(f"{path.name} is neither a SUMO network nor an OpenStreetMap extract ({wanted})")
    with TemporaryDirectory(prefix="map-") as folder:
        network = Path(folder) / "map.net.xml"
        complaints = _netconvert(path, network)
        rows = _rows(network, owner=owner, minor=minor, origin=origin)
    rows.complaints = complaints
    return _named_rows(rows, known_as, nodes=False)  # nodes of OpenStreetMap have one number all over the world


def _named_rows(rows: MapRows, name: str, *, nodes: bool) -> MapRows:
    rows.links = [
        replace(
            link,
            source=f"{name}:{link.source}",
            from_node=_node(f"{name}:{link.from_node}") if nodes else link.from_node,
            to_node=_node(f"{name}:{link.to_node}") if nodes else link.to_node,
        )
        for link in rows.links
    ]
    return rows


def _netconvert(path: Path, network: Path) -> list[str]:
    import sumo  # the wheel; imported late, because only an import of a map needs it

    home = Path(sumo.SUMO_HOME)
    command = [
        str(home / "bin" / "netconvert"), "--osm-files", str(path), "--output-file", str(network),
        "--type-files", str(home / "data" / "typemap" / "osmNetconvert.typ.xml"),
        "--keep-edges.by-vclass", "passenger", "--osm.all-attributes", "--output.street-names", "--proj.utm",
        "--geometry.remove", "--ramps.guess", "--no-turnarounds", "--no-internal-links",
        "--geometry.min-radius.fix", "false", "--xml-validation", "never",
    ]  # fmt: skip
    try:
        done = subprocess.run(
            command, env={**os.environ, "SUMO_HOME": str(home)}, capture_output=True, text=True,
            timeout=NETCONVERT_S_MAX, check=False,
        )  # fmt: skip
    except (OSError, subprocess.TimeoutExpired) as error:
        raise MapUnreadable(f"netconvert cannot be run: {error}") from error
    said = [line.strip() for line in done.stderr.splitlines() if line.strip()]
    if done.returncode or not network.exists():
        raise MapUnreadable(f"{path.name} cannot be read: {(said or ['no word from netconvert'])[0]}")
    return said


def _rows(network: Path, *, owner: Owner, minor: bool, origin: Point | None) -> MapRows:
    net = _read_net(network)
    to_lonlat = _places(net, network, origin)
    rows = MapRows()
    edges = list(_edges(net, to_lonlat, rows, minor=minor))
    staked, unusable = give_stakes(edges)
    rows.left += [Left(source=edge.id, reason=reason, detail=f"road {edge.road}") for edge, reason in unusable]
    for entry in sorted(staked, key=lambda entry: (entry.edge.road, entry.piece, entry.from_stake_m, entry.edge.id)):
        middle = entry.edge.line[len(entry.edge.line) // 2]
        unit = owner(middle, entry.edge.kind)
        if unit is None:
            place = f"{middle[0]:.5f}, {middle[1]:.5f} is in no unit's area"
            rows.left.append(Left(source=entry.edge.id, reason=Unusable.NO_OWNER, detail=place))
        else:
            rows.links.append(_link(entry, unit))
    used = {link.road for link in rows.links}
    kinds: dict[str, Counter[str]] = {}
    names: dict[str, str] = {}
    for edge in edges:
        kinds.setdefault(edge.road, Counter())[edge.kind] += 1
        names.setdefault(edge.road, edge.name)
    rows.roads = [RoadRow(code=code, name=names[code], kind=kinds[code].most_common(1)[0][0]) for code in sorted(used)]
    return rows


def _read_net(path: Path) -> Any:
    import sumolib

    try:
        return sumolib.net.readNet(str(path), withInternal=False)
    except Exception as error:  # noqa: BLE001 - sumolib raises whatever its parsers raise
        raise MapUnreadable(f"{path.name} is no SUMO network: {str(error) or type(error).__name__}") from error


def _places(net: Any, path: Path, origin: Point | None) -> Callable[[float, float], Point]:
    if net.hasGeoProj():
        return net.convertXY2LonLat
    if origin is None:
        raise MapUnreadable(
            f"{path.name} says not where on earth it lies: give --origin LON,LAT of its south-west corner"
        )

    west, south = net.getBBoxXY()[0]
    return lambda x, y: plane_to_lonlat((x - west, y - south), origin)


def _edges(net: Any, to_lonlat: Callable, rows: MapRows, *, minor: bool) -> Iterator[MapEdge]:
    """Usable edges; the others are noted in `rows`. Edges without number and name make roads of their own clusters."""
    nameless = _clusters(net)
    for edge in sorted(net.getEdges(withInternal=False), key=lambda edge: edge.getID()):
        kind_text = edge.getType().removeprefix("highway.").partition("|")[0]
        reason, detail = _unusable(edge, kind_text, minor)
        if reason is not None:
            rows.left.append(Left(source=edge.getID(), reason=reason, detail=detail))
            continue
        code, name = _named(edge)
        road = code or name or f"~{nameless[edge.getID()]}"
        shape = tuple((float(x), float(y)) for x, y, *_ in edge.getRawShape() or edge.getShape())
        plane = _with_ends(shape, edge.getFromNode().getCoord(), edge.getToNode().getCoord())
        yield MapEdge(
            id=edge.getID(),
            road=road[:60],
            name=(name or code or "未命名道路")[:100],
            kind=KIND_OF_TYPE.get(kind_text) or _kind_of_speed(edge.getSpeed() * 3.6),
            from_node=edge.getFromNode().getID(),
            to_node=edge.getToNode().getID(),
            length_m=edge.getLength() + max(0.0, _drawn_m(plane) - _drawn_m(shape)),  # from junction to junction
            lanes=min(LANES_MAX, sum(lane.allows("passenger") for lane in edge.getLanes())),
            limit_kmh=max(5, round(edge.getSpeed() * 3.6)),
            plane=plane,
            line=tuple(_rounded(to_lonlat(x, y)) for x, y in plane),
        )


def _with_ends(
    plane: tuple[tuple[float, float], ...], begin: tuple[float, float], end: tuple[float, float]
) -> tuple[tuple[float, float], ...]:
    """A line from junction to junction, so that neighbours meet."""
    first, last = (float(begin[0]), float(begin[1])), (float(end[0]), float(end[1]))
    inner = tuple(point for point in plane if point not in (first, last))
    return (first, *inner, last) if first != last or inner else (first, (last[0] + 0.01, last[1]))


def _drawn_m(plane: tuple[tuple[float, float], ...]) -> float:
    return sum(math.dist(a, b) for a, b in pairwise(plane))


def _unusable(edge: Any, kind_text: str, minor: bool) -> tuple[Unusable | None, str]:
    if not edge.allows("passenger"):
        return Unusable.NOT_FOR_CARS, kind_text
    if kind_text in MINOR_TYPES and not minor:
        return Unusable.MINOR_ROAD, kind_text
    if edge.getLength() < LENGTH_M_MIN:
        return Unusable.TOO_SHORT, f"{edge.getLength():.1f} m"
    if edge.getSpeed() <= 0:
        return Unusable.WITHOUT_SPEED, f"{edge.getSpeed()} m/s"
    return None, ""


def _named(edge: Any) -> tuple[str, str]:
    """Number (the first of several: G1;G102) and name of the edge's road."""
    ref = (edge.getParam("ref", "") or "").replace(",", ";").partition(";")[0].strip()
    name = (edge.getParam("name", "") or edge.getName() or "").strip()
    return ref, name if name != ref else ""


def _clusters(net: Any) -> dict[str, int]:
    """Edges without number and name, in clusters that hang together."""
    bare = [edge for edge in net.getEdges(withInternal=False) if not any(_named(edge))]
    head: dict[str, str] = {}

    def find(node: str) -> str:
        while head.setdefault(node, node) != node:
            head[node] = head[head[node]]
            node = head[node]
        return node

    for edge in bare:
        head[find(edge.getFromNode().getID())] = find(edge.getToNode().getID())
    numbers: dict[str, int] = {}
    for edge in sorted(bare, key=lambda edge: edge.getID()):
        numbers.setdefault(find(edge.getFromNode().getID()), len(numbers) + 1)
    return {edge.getID(): numbers[find(edge.getFromNode().getID())] for edge in bare}


def _kind_of_speed(kmh: float) -> str:
    return EXPRESSWAY if kmh >= 90 else TRUNK if kmh >= 70 else URBAN


def _rounded(point: Point) -> Point:
    return round(point[0], 6), round(point[1], 6)


def _link(entry: Staked, unit: int) -> LinkRow:
    edge = entry.edge
    return LinkRow(
        source=edge.id,
        road=edge.road,
        piece=entry.piece,
        direction=entry.direction,
        from_stake_m=entry.from_stake_m,
        to_stake_m=entry.to_stake_m,
        length_m=max(1, round(edge.length_m)),
        lanes=max(1, edge.lanes),
        limit_kmh=edge.limit_kmh,
        unit_id=unit,
        from_node=_node(edge.from_node),
        to_node=_node(edge.to_node),
        geometry=edge.line,
    )


def _node(name: str) -> int:
    """A node's number: the same for the same name of the map, and never 0."""
    return int.from_bytes(blake2b(name.encode(), digest_size=8).digest(), "little") >> 2 | 1 << 61
