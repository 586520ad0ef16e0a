"""A SUMO network from rows: links become edges of the same id, checkpoints and detectors induction loops on each lane.

Lengths are those of the stakes, not of the drawn curve, so that a simulated travel time fits the road's own distances.
"""

import hashlib
import json
import math
import os
import shutil
import subprocess
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from tempfile import mkdtemp
from xml.etree import ElementTree
from xml.sax.saxutils import quoteattr

from sim.loops import DetectorLoop, Loop, detector_loops_of, loops_of
from traffic.errors import TrafficError
from traffic.geo import EARTH_RADIUS_M, Point
from traffic.network import Checkpoint, Detector, Link

FORMAT = 4  # of what is built; a change makes older cached networks unused
NETCONVERT_S_MAX = 120


class NetworkNotBuilt(TrafficError):
    """netconvert refused the rows or cannot be run; the sentence holds its own first complaint."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Built:
    """Files of a network, and the loops of checkpoints and detectors by id."""

    network: Path
    loops_file: Path
    loops: dict[str, Loop]
    detector_loops: dict[str, DetectorLoop]
    after: dict[str, tuple[str, ...]]  # edge -> edges that a vehicle may go on to

    def loop_places(self) -> list[tuple[str, float]]:
        """(edge, metres) of every loop."""
        gates = [(loop.edge, loop.position_m) for loop in self.loops.values()]
        return gates + [(loop.edge, loop.position_m) for loop in self.detector_loops.values()]


def build(
    links: Sequence[Link], checkpoints: Sequence[Checkpoint], detectors: Sequence[Detector] = (), *, cache: Path
) -> Built:
    """The network of these rows out of the cache folder, made by netconvert (a second or so) where it is missing."""
    if not links or len({link.id for link in links}) != len(links):
        raise NetworkNotBuilt("a network needs links, each with an id of its own")
    loops = {loop.id: loop for loop in loops_of(links, checkpoints)}
    detector_loops = {loop.id: loop for loop in detector_loops_of(links, detectors)}
    folder = cache / _content_hash(links, [*checkpoints, *detectors])
    if not (folder / "net.xml").exists():
        cache.mkdir(parents=True, exist_ok=True)
        scratch = Path(mkdtemp(prefix="build-", dir=cache))
        try:
            _make(links, [*loops.values(), *detector_loops.values()], scratch)
            _keep(scratch, folder)
        finally:
            shutil.rmtree(scratch, ignore_errors=True)
    return Built(
        network=folder / "net.xml", loops_file=folder / "loops.xml", loops=loops, detector_loops=detector_loops,
        after=_connections(folder / "net.xml"),
    )  # fmt: skip


def node_of(point: Point) -> str:
    """Links that begin or end at one place (to 1e-5 degrees, a metre) meet there."""
    return f"n{round(point[0] * 1e5)}_{round(point[1] * 1e5)}"


def _make(links: Sequence[Link], loops: Iterable[Loop | DetectorLoop], folder: Path) -> None:
    to_plane = _projection(links)
    nodes = {node_of(end): to_plane(end) for link in links for end in (link.geometry[0], link.geometry[-1])}
    _write(
        folder / "nodes.xml",
        "nodes",
        (f'<node id="{name}" x="{x:.2f}" y="{y:.2f}" type="priority"/>' for name, (x, y) in sorted(nodes.items())),
    )
    _write(folder / "edges.xml", "edges", (_edge(link, to_plane) for link in links))
    _write(
        folder / "loops.xml",
        "additional",
        (
            f'<inductionLoop id={quoteattr(loop.id)} lane="{loop.edge}_{loop.sumo_lane}"'
            f' pos="{loop.position_m:.2f}" period="86400" file="NUL"/>'
            for loop in loops
        ),
    )
    _netconvert(folder)


def _projection(links: Sequence[Link]):  # noqa: ANN202
    """Local metres: equirectangular about the middle of the network (distances are given apart, see `length`)."""
    lons = [point[0] for link in links for point in link.geometry]
    lats = [point[1] for link in links for point in link.geometry]
    lon0, lat0 = (min(lons) + max(lons)) / 2, (min(lats) + max(lats)) / 2
    degree_m = math.radians(1.0) * EARTH_RADIUS_M
    narrow = math.cos(math.radians(lat0))

    def to_plane(point: Point) -> tuple[float, float]:
        return (point[0] - lon0) * degree_m * narrow, (point[1] - lat0) * degree_m

    return to_plane


def _edge(link: Link, to_plane) -> str:  # noqa: ANN001
    shape = " ".join(f"{x:.2f},{y:.2f}" for x, y in map(to_plane, link.geometry))
    return (
        f'<edge id="{link.id}" from="{node_of(link.geometry[0])}" to="{node_of(link.geometry[-1])}"'
        f' numLanes="{link.lanes}" speed="{link.limit_kmh / 3.6:.3f}" length="{link.length_m}"'
        f' priority="{link.lanes * 10 + link.limit_kmh // 10}" shape="{shape}" spreadType="right"/>'
    )


def _write(path: Path, root: str, lines: Iterable[str]) -> None:
    path.write_text(f"<{root}>\n" + "\n".join(lines) + f"\n</{root}>\n", encoding="utf-8")


def _netconvert(folder: Path) -> None:
    import sumo  # the wheel; imported late, because only a build needs it

    command = [
        str(Path(sumo.SUMO_HOME) / "bin" / "netconvert"),
        "--node-files", "nodes.xml", "--edge-files", "edges.xml", "--output-file", "net.xml",
        "--no-turnarounds", "true", "--no-internal-links", "true", "--junctions.corner-detail", "0",
        "--offset.disable-normalization", "true", "--xml-validation", "never", "--no-warnings", "true",
    ]  # fmt: skip
    try:
        done = subprocess.run(
            command,
            cwd=folder,
            env={**os.environ, "SUMO_HOME": sumo.SUMO_HOME},
            capture_output=True,
            text=True,
            timeout=NETCONVERT_S_MAX,
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        raise NetworkNotBuilt(f"netconvert cannot be run: {error}") from error
    if done.returncode or not (folder / "net.xml").exists():
        complaint = (done.stderr.strip().splitlines() or ["no word from it"])[0]
        raise NetworkNotBuilt(f"netconvert refused the network: {complaint}")


def _connections(network: Path) -> dict[str, tuple[str, ...]]:
    found: dict[str, set[str]] = defaultdict(set)
    for _, element in ElementTree.iterparse(network):
        if element.tag == "connection" and not element.attrib["from"].startswith(":"):
            found[element.attrib["from"]].add(element.attrib["to"])
    return {edge: tuple(sorted(ways)) for edge, ways in found.items()}


def _keep(scratch: Path, folder: Path) -> None:
    """Move a finished build to its place; who comes second uses what the first one made."""
    try:
        scratch.rename(folder)
    except OSError:
        if not (folder / "net.xml").exists():
            raise


def _content_hash(links: Sequence[Link], sensors: Sequence[Checkpoint | Detector]) -> str:
    rows = [[asdict(link) for link in links], [asdict(sensor) for sensor in sensors]]
    text = json.dumps([FORMAT, rows], sort_keys=True, ensure_ascii=False)
    return hashlib.sha256(text.encode()).hexdigest()[:16]
