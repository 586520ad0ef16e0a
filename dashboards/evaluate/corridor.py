"""A simulated motorway whose truth is known: SUMO in a process of its own, its loops and gates as our sensors say it.

Twenty-three kilometres in one direction, three lanes, two for a stretch, ramps on and off, a demand that rises above
what the narrow stretch lets through and falls again, and a blocked lane further on. Links of 0.6 to 2.5 km; two of them
without detectors. Nothing of it is real: what is measured on it says how methods compare, not how they do on a road.
"""

import os
import subprocess
from collections import defaultdict
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from xml.etree import ElementTree

import numpy as np

from traffic.errors import ServiceError
from traffic.limits import CYCLE_S
from traffic.network import EXPRESSWAY
from traffic.road_readings import DETECTOR_REPORT, VehicleGroup
from traffic.roads.model import (
    CHECKPOINT_FLOW,
    KINDS,
    TRAVEL,
    RoadNetwork,
    Sections,
    SensorKind,
    Sensors,
)

START_US = 1_767_225_600_000_000
LENGTHS_M = (
    1_200,
    800,
    1_500,
    2_200,
    900,
    600,
    1_800,
    1_000,
    2_500,
    700,
    1_400,
    1_100,
    1_600,
    900,
    2_000,
    1_300,
    1_500,
)
LANES = (3,) * 9 + (2,) * 3 + (3,) * 5
RAMPS_ON = (3, 7, 12)  # before these links
RAMPS_OFF = (5, 11)
BARE = (5, 9)  # links without a detector
GATES = (0, 4, 8, 12, 16)  # checkpoints at the begin of these links
LIMIT_MS = 27.78
LIMIT_KMH = 100.0
BLOCKED = (14, (0, 1), 2_400, 600)  # link, SUMO's lanes, second, for so many seconds
RUN_S = 5_400
# Vehicles an hour on the main road from a second on.
DEMAND = ((0, 3_000), (900, 4_300), (1_800, 5_000), (3_300, 3_000), (4_500, 2_000))
SUMO_S_MAX = 1_800


@dataclass(frozen=True, slots=True, kw_only=True)
class Truth:
    """By cycle and link; row k is the cycle at (k + 1) * 30 s. NaN: no vehicle."""

    speed_kmh: np.ndarray  # of the last minute, over space
    flow_vph: np.ndarray  # of the last three minutes, over the whole link
    travel_s: np.ndarray  # of those who leave the link within half a minute


@dataclass(frozen=True, slots=True, kw_only=True)
class Corridor:
    """The network and what its sensors would say if all were well."""

    network: RoadNetwork
    sensors: Sensors
    sections: Sections
    reports: np.ndarray  # DETECTOR_REPORT in the order of time
    flows: np.ndarray  # CHECKPOINT_FLOW
    travel: np.ndarray  # TRAVEL
    truth: Truth
    cycles: int


def detector_places() -> list[tuple[int, float]]:
    """(link, share) of every detector."""
    places = []
    for link, length in enumerate(LENGTHS_M):
        if link not in BARE:
            places += [(link, 0.25), (link, 0.75)] if length >= 1_500 else [(link, 0.5)]
    return places


def drive(seed: int) -> Corridor:
    """Simulate once; raises ServiceError where SUMO cannot be run."""
    with TemporaryDirectory(prefix="corridor-") as name:
        folder = Path(name)
        _write_network(folder)
        _run(folder, "netconvert", ["-n", "n.nod.xml", "-e", "n.edg.xml", "-o", "net.xml", "--no-turnarounds", "true"])
        _write_demand(folder)
        _write_loops(folder)
        _run(
            folder,
            "sumo",
            ["-n", "net.xml", "-r", "demand.rou.xml", "-a", "loops.add.xml", "--seed", str(seed), "--end", str(RUN_S),
             "--time-to-teleport", "-1", "--vehroute-output", "ways.xml", "--vehroute-output.exit-times", "true",
             "--vehroute-output.write-unfinished", "true", "--no-step-log", "true", "--no-warnings", "true"],
        )  # fmt: skip
        network = _network()
        ways = list(_ways(folder / "ways.xml"))
        return Corridor(
            network=network,
            sensors=_sensors(),
            sections=_sections(),
            reports=_reports(folder / "detectors.xml"),
            flows=_flows(folder / "gates.xml"),
            travel=_travel(ways),
            truth=_truth(folder / "edges.xml", ways),
            cycles=RUN_S // CYCLE_S,
        )


def _run(folder: Path, program: str, arguments: list[str]) -> None:
    import sumo  # the wheel

    try:
        done = subprocess.run(
            [str(Path(sumo.SUMO_HOME) / "bin" / program), *arguments],
            cwd=folder, env={**os.environ, "SUMO_HOME": sumo.SUMO_HOME}, capture_output=True, text=True,
            timeout=SUMO_S_MAX, check=False,
        )  # fmt: skip
    except (OSError, subprocess.TimeoutExpired) as error:
        raise ServiceError(f"{program} cannot be run: {error}") from error
    if done.returncode:
        raise ServiceError(f"{program} failed: {done.stderr.strip()[:300]}")


# ---------------------------------------------------------------- SUMO's files
def _write_network(folder: Path) -> None:
    """A straight road with ramps beside it."""
    nodes, edges = [], []
    at_m = 0
    for number, (length, lanes) in enumerate(zip(LENGTHS_M, LANES, strict=True)):
        nodes.append(f'<node id="n{number}" x="{at_m}" y="0"/>')
        edges.append(_edge(f"e{number}", f"n{number}", f"n{number + 1}", lanes, LIMIT_MS))
        if number in RAMPS_ON:
            nodes.append(f'<node id="on{number}" x="{at_m - 300}" y="-60"/>')
            edges.append(_edge(f"on{number}", f"on{number}", f"n{number}", 1, 22.2))
        if number in RAMPS_OFF:
            nodes.append(f'<node id="off{number}" x="{at_m + 300}" y="-60"/>')
            edges.append(_edge(f"off{number}", f"n{number}", f"off{number}", 1, 22.2))
        at_m += length
    nodes.append(f'<node id="n{len(LENGTHS_M)}" x="{at_m}" y="0"/>')
    (folder / "n.nod.xml").write_text(f"<nodes>{''.join(nodes)}</nodes>", encoding="utf-8")
    (folder / "n.edg.xml").write_text(f"<edges>{''.join(edges)}</edges>", encoding="utf-8")


def _edge(name: str, begin: str, end: str, lanes: int, speed: float) -> str:
    priority = 10 if name.startswith("e") else 1
    return f'<edge id="{name}" from="{begin}" to="{end}" numLanes="{lanes}" speed="{speed}" priority="{priority}"/>'


def _write_demand(folder: Path) -> None:
    last = len(LENGTHS_M) - 1
    types = (
        '<vTypeDistribution id="all">'
        '<vType id="car" probability="0.86" speedDev="0.12" length="4.7"/>'
        '<vType id="heavy" vClass="truck" probability="0.14" length="13" maxSpeed="24.5" speedDev="0.05"/>'
        "</vTypeDistribution>"
    )
    timed: list[tuple[int, str]] = []
    for number, (begin, vph) in enumerate(DEMAND):
        end = DEMAND[number + 1][0] if number + 1 < len(DEMAND) else RUN_S
        turns = [("e0", f"e{last}", 0.84), *(("e0", f"off{ramp}", 0.08) for ramp in RAMPS_OFF)]
        ramps = [(f"on{ramp}", f"e{last}", 0.09) for ramp in RAMPS_ON]
        for begin_edge, end_edge, share in turns + ramps:
            line = (
                f'<flow id="f{number}{begin_edge}{end_edge}" type="all" begin="{begin}" end="{end}"'
                f' from="{begin_edge}" to="{end_edge}" period="exp({vph * share / 3600:.4f})" departLane="best"'
                f' departSpeed="max"/>'
            )
            timed.append((begin, line))
    link, lanes, begin, duration = BLOCKED
    for lane in lanes:
        timed.append(
            (
                begin,
                f'<trip id="broken{lane}" type="car" depart="{begin}" from="e{link}" to="e{last}"'
                f' departPos="600" departLane="{lane}" departSpeed="0">'
                f'<stop lane="e{link}_{lane}" endPos="700" duration="{duration}"/></trip>',
            )
        )
    body = [line for _, line in sorted(timed, key=lambda one: one[0])]
    (folder / "demand.rou.xml").write_text(f"<routes>{types}{''.join(body)}</routes>", encoding="utf-8")


def _write_loops(folder: Path) -> None:
    lines = []
    for number, (link, share) in enumerate(detector_places()):
        for lane in range(LANES[link]):
            lines.append(
                f'<inductionLoop id="d{number}_{lane}" lane="e{link}_{lane}" pos="{share * LENGTHS_M[link]:.1f}"'
                f' period="{CYCLE_S}" file="detectors.xml"/>'
            )
    for link in GATES:
        for lane in range(LANES[link]):
            place = f'lane="e{link}_{lane}" pos="30" period="60" file="gates.xml"'
            lines.append(f'<inductionLoop id="g{link}_{lane}" {place}/>')
    lines.append(f'<edgeData id="truth" file="edges.xml" period="{CYCLE_S}" excludeEmpty="true"/>')
    (folder / "loops.add.xml").write_text(f"<additional>{''.join(lines)}</additional>", encoding="utf-8")


# ---------------------------------------------------------------- rows of ours
def _network() -> RoadNetwork:
    many = len(LENGTHS_M)
    ends = np.cumsum(LENGTHS_M)
    row = np.arange(many)
    return RoadNetwork(
        ids=row + 1,
        road=np.ones(many, np.int64),
        kind=np.full(many, KINDS[EXPRESSWAY], np.int8),
        direction=np.ones(many, np.int8),
        from_stake_m=ends - LENGTHS_M,
        to_stake_m=ends,
        length_m=np.array(LENGTHS_M, np.float64),
        lanes=np.array(LANES),
        limit_kmh=np.full(many, LIMIT_KMH),
        unit=np.ones(many, np.int64),
        next_start=np.minimum(np.arange(many + 1), many - 1),
        next_rows=row[1:],
        prev_start=np.maximum(np.arange(many + 1) - 1, 0),
        prev_rows=row[:-1],
    )


def _sensors() -> Sensors:
    rows = [(link, share, SensorKind.DETECTOR, number) for number, (link, share) in enumerate(detector_places())]
    rows += [(link, 30.0 / LENGTHS_M[link], SensorKind.CHECKPOINT, link) for link in GATES]
    rows.sort()
    link = np.array([row[0] for row in rows])
    return Sensors(
        kind=np.array([row[2] for row in rows], np.int8),
        id=np.array([row[3] for row in rows]),
        direction=np.ones(len(rows), np.int8),
        link=link,
        share=np.array([row[1] for row in rows]),
        lanes=np.array(LANES)[link],
    )


def _sections() -> Sections:
    pairs = list(zip(GATES, GATES[1:], strict=False))
    lists = [list(range(begin, end)) for begin, end in pairs]
    link = np.concatenate(lists)
    weight = np.array(LENGTHS_M, np.float64)[link]
    start = np.concatenate([[0], np.cumsum([len(one) for one in lists])])
    return Sections(
        id=np.arange(1, len(pairs) + 1),
        length_m=np.add.reduceat(weight, start[:-1]),
        start=start,
        link=link,
        weight_m=weight,
    )


def _reports(path: Path) -> np.ndarray:
    found = [element.attrib for _, element in ElementTree.iterparse(path) if element.tag == "interval"]
    rows = np.zeros(len(found), DETECTOR_REPORT)
    places = detector_places()
    for at, told in enumerate(found):
        number, lane = (int(part) for part in told["id"][1:].split("_"))
        end_us = START_US + round(float(told["end"]) * 1e6)
        speed = float(told["speed"])
        rows[at] = (
            end_us, end_us + 2_000_000, number, 1, LANES[places[number][0]] - lane, CYCLE_S,
            int(told["nVehContrib"]), -1, float(told["occupancy"]), speed * 3.6 if speed >= 0 else np.nan, 3, 0,
        )  # fmt: skip
    return rows[np.argsort(rows["observed_at"], kind="stable")]


def _flows(path: Path) -> np.ndarray:
    sums: dict[tuple[int, int], list[float]] = defaultdict(lambda: [0.0, 0.0])
    for _, element in ElementTree.iterparse(path):
        if element.tag == "interval" and int(element.get("nVehContrib", "0")):
            count = int(element.attrib["nVehContrib"])
            key = (int(element.attrib["id"][1:].split("_")[0]), round(float(element.attrib["begin"])))
            sums[key][0] += count
            sums[key][1] += count * float(element.attrib["speed"]) * 3.6
    rows = np.zeros(len(sums), CHECKPOINT_FLOW)
    for at, ((gate, begin), (passed, speed_sum)) in enumerate(sorted(sums.items())):
        rows[at] = (gate, 1, START_US + begin * 1_000_000, VehicleGroup.SMALL, passed, passed, speed_sum, passed)
    return rows


Way = dict[int, tuple[float, float]]  # link -> when it was entered and left


def _ways(path: Path) -> list[Way]:
    ways = []
    for _, element in ElementTree.iterparse(path):
        if element.tag == "vehicle":
            route = next(iter(element.iter("route")))
            left = [float(text) for text in route.get("exitTimes", "").split()]
            way: Way = {}
            entered = float(element.attrib["depart"])
            for edge, at in zip(route.attrib["edges"].split(), left, strict=False):
                if at < 0:
                    break  # still there at the end
                if edge.startswith("e"):
                    way[int(edge[1:])] = (entered, at)
                entered = at
            ways.append(way)
            element.clear()
    return ways


def _travel(ways: list[Way]) -> np.ndarray:
    """Who passed both gates, by when it passed the second."""
    rows = []
    for way in ways:
        for number, (begin, end) in enumerate(zip(GATES, GATES[1:], strict=False), 1):
            if begin in way and end in way:
                entered, left = way[begin][0], way[end][0]
                rows.append((number, START_US + int(left // CYCLE_S) * CYCLE_S * 1_000_000, left - entered))
    return np.array(rows, TRAVEL)


def _truth(path: Path, ways: list[Way]) -> Truth:
    cycles, many = RUN_S // CYCLE_S, len(LENGTHS_M)
    seconds, metres = np.zeros((cycles, many)), np.zeros((cycles, many))
    for _, element in ElementTree.iterparse(path):
        if element.tag == "interval":
            at = round(float(element.attrib["begin"])) // CYCLE_S
            for edge in element.iter("edge"):
                if edge.attrib["id"].startswith("e") and "speed" in edge.attrib:
                    link, sampled = int(edge.attrib["id"][1:]), float(edge.attrib["sampledSeconds"])
                    seconds[at, link] += sampled
                    metres[at, link] += sampled * float(edge.attrib["speed"])
            element.clear()
    (seconds, speed_m), (_, flow_m) = _last(seconds, metres, 2), _last(seconds, metres, 6)
    span_s = np.minimum(np.arange(1, cycles + 1), 6)[:, None] * CYCLE_S
    took, count = np.zeros((cycles + 1, many)), np.zeros((cycles + 1, many))
    for way in ways:
        for link, (entered, left) in way.items():
            at = min(round(left / CYCLE_S), cycles)  # the cycle that it is nearest to
            took[at, link] += left - entered
            count[at, link] += 1
    with np.errstate(invalid="ignore", divide="ignore"):
        return Truth(
            speed_kmh=np.where(seconds > 0, speed_m / seconds * 3.6, np.nan),
            flow_vph=flow_m / np.array(LENGTHS_M) / span_s * 3600.0,
            travel_s=(took / count)[1:],
        )


def _last(seconds: np.ndarray, metres: np.ndarray, many: int) -> tuple[np.ndarray, np.ndarray]:
    """Sums over the last intervals up to each."""
    sums = []
    for values in (seconds, metres):
        total = np.cumsum(values, axis=0)
        total[many:] -= total[:-many].copy()
        sums.append(total)
    return sums[0], sums[1]
